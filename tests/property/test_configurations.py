"""Configurations, right and slightly wrong, given to the real program: `plan`, `create`, `start`, `delete`.

Whatever is wrong with one: never a traceback, one error with a JSON pointer into the document, and nothing left behind.
How long it looks is bounded; PYRUNC_PROPERTY_SECONDS has it look longer.
"""

import ctypes
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from config.test_config_verdict import mutate
from property.fragments import FRAGMENTS
from support import DEFAULT_CONFIG, IS_ROOT, Json, Runtime, make_bundle, merge

SECONDS = float(os.environ.get("PYRUNC_PROPERTY_SECONDS") or 30)
ENOUGH = 20
PR_SET_CHILD_SUBREAPER = 36

pytestmark = [pytest.mark.skipif(not IS_ROOT, reason="needs root"), pytest.mark.slow]


@st.composite
def configurations(draw: st.DrawFn) -> Json:
    """A configuration with some fragments, in half of the cases with something changed at random."""
    config = merge(DEFAULT_CONFIG, {"process": {"args": ["/bin/true"]}})
    most = draw(st.sampled_from([0, 1, 1, 2, 5]))
    for path, strategy in draw(st.lists(st.sampled_from(FRAGMENTS), max_size=most, unique_by=lambda it: it[0])):
        value = draw(strategy)
        if path == ("more mounts",):
            config["mounts"] += value
            continue
        place = config
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] = value
    if draw(st.integers(0, 3)) == 0:
        root = config["root"]
        config = mutate(config, draw)
        # What the document says must stay harmless: no other root, and no program of the host's in its place.
        if isinstance(config, dict) and config.get("root") != root:
            config["root"] = root
    return config


class Place:
    """A bundle whose root file system is as new for each container, and a state directory."""

    def __init__(self, program: str, where: Path) -> None:
        self.bundle = make_bundle(where / "bundle")
        self.fresh = where / "fresh"
        os.rename(self.bundle.rootfs, self.fresh)
        for link in (self.fresh / "bin").iterdir():
            if link.name not in ("busybox", "sh", "true", "sleep"):
                link.unlink()
        for name in ("sbin", "usr/sbin", "usr/bin"):
            shutil.rmtree(self.fresh / name)
        self.runtime = Runtime(program, where / "state")
        self.deadline = time.monotonic() + SECONDS
        self.mounts = Path("/proc/self/mountinfo").read_text()
        self.count = 0
        self.accepted = 0

    def put(self, config: Json) -> None:
        rootfs = self.bundle.path / "rootfs"
        if rootfs.exists():
            shutil.rmtree(rootfs)
        subprocess.run(["cp", "-al", str(self.fresh), str(rootfs)], check=True)
        # Not as text: what Python writes for lone surrogates is what JSON has for them.
        (self.bundle.path / "config.json").write_text(json.dumps(config))

    def call(self, *words: str) -> tuple[int, list[Json]]:
        """Exit status, and the lines of the log."""
        command = [self.runtime.program, "--root", str(self.runtime.root), "--log-format", "json", *words]
        with open(self.bundle.path / "output", "w+b") as file:
            done = subprocess.run(
                command, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=file, timeout=60
            )
            file.seek(0)
            text = file.read().decode()
        # Hooks and programs write none of their own.
        assert all(line.startswith("{") for line in text.splitlines()), text
        lines = [json.loads(line) for line in text.splitlines()]
        assert all({"level", "msg", "time"} <= line.keys() for line in lines)
        return done.returncode, lines

    def nothing_is_left(self) -> None:
        assert not self.runtime.root.exists() or os.listdir(self.runtime.root) == []
        assert Path("/proc/self/mountinfo").read_text() == self.mounts
        assert children() == []


def children() -> list[int]:
    """Processes that were left to us, which is their reaper; those that have ended are reaped."""
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                break
        except ChildProcessError:
            return []
    return [int(pid) for pid in Path("/proc/thread-self/children").read_text().split()]


def the_error(lines: list[Json]) -> Json:
    """The one error, which is the last line."""
    assert [line["level"] for line in lines].count("error") == 1
    assert lines[-1]["level"] == "error"
    error = lines[-1]
    assert "Traceback" not in error["msg"]
    assert "internal error" not in error["msg"]
    return error


def pointer_of(error: Json) -> str:
    """The pointer; "" where it is the document itself that is wrong."""
    if "pointer" not in error:
        assert "config.json: " in error["msg"], error
    return str(error.get("pointer", ""))


def points_into(document: Any, pointer: str) -> None:
    """The pointer names something in the document, or a member that is missing from something there."""
    assert pointer == "" or pointer.startswith("/")
    parts = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]
    for number, part in enumerate(parts):
        if isinstance(document, list):
            assert part.isdigit()
            assert int(part) < len(document), pointer
            document = document[int(part)]
        elif isinstance(document, dict) and part in document:
            document = document[part]
        else:
            # `root` is missing: /root; what a default stands for may lie deeper: /process/user/uid.
            assert document is None or isinstance(document, dict), pointer
            assert number >= len(parts) - 2, pointer
            return


@pytest.fixture(scope="module")
def place(launcher: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    libc = ctypes.CDLL(None)
    assert libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    where = tmp_path_factory.mktemp("p")
    for directory in (where, *where.parents[:2]):
        directory.chmod(directory.stat().st_mode | 0o011)
    yield Place(launcher, where)
    assert libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) == 0


@settings(
    max_examples=1_000_000 if "PYRUNC_PROPERTY_SECONDS" in os.environ else 400,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.target],
    database=None,
)
@given(config=configurations())
def any_configuration(place: Place, config: Json) -> None:
    # On a busy machine it goes on until it can tell.
    if time.monotonic() < place.deadline or place.count <= ENOUGH or not place.accepted:
        one(place, config)


def one(place: Place, config: Json) -> None:
    """Give it to `plan`, and through the life of a container."""
    place.count += 1
    place.put(config)
    bundle = str(place.bundle.path)
    planned, lines = place.call("plan", bundle)
    refused = the_error(lines) if planned else None
    assert planned in (0, 1)
    id = f"property-{os.getpid()}-{place.count}"
    status, lines = place.call("create", "--bundle", bundle, id)
    if status:
        assert status == 1
        error = the_error(lines)
        points_into(config, pointer_of(error))
        if refused is not None and not pointer_of(error).startswith("/root"):
            # `plan` does not look at the root file system.
            assert pointer_of(error) == pointer_of(refused)
    else:
        assert refused is None, refused
        assert "error" not in [line["level"] for line in lines]
        place.accepted += 1
        status, lines = place.call("start", id)
        if status:
            the_error(lines)
        assert place.call("delete", "--force", id)[0] == 0
    place.nothing_is_left()


def test_any_configuration(place: Place) -> None:
    """Of what is generated a part is right, and a part is wrong."""
    any_configuration(place)
    assert place.count > ENOUGH
    assert 0 < place.accepted < place.count
