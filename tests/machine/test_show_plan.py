"""`pyrunc plan`, and what holds for every plan of `create`."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyrunc.container.show_plan import Listing, as_json, as_text, compile_listing, facts_for, show
from pyrunc.errors import Error
from pyrunc.machine.assembler import assemble, syscall_numbers
from pyrunc.machine.ops import At, Label, Reg, Space, Step, Words
from pyrunc.options import Globals
from pyrunc.setup.drive import first_piece
from support import DEFAULT_CONFIG, ROOT, MakeBundle, merge

HOOK = {"path": "/bin/hook", "args": ["hook"], "env": ["TOKEN=hunter2"], "timeout": 5}
ROUND = {"uidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}]}
CONFIGS: dict[str, dict[str, Any]] = {
    "default": {},
    "terminal": {"process": {"terminal": True, "consoleSize": {"height": 24, "width": 80}}},
    "user namespace": {
        "linux": {
            "namespaces": [{"type": kind} for kind in ("pid", "mount", "user", "ipc", "cgroup")],
            "uidMappings": ROUND["uidMappings"],
            "gidMappings": ROUND["uidMappings"],
        }
    },
    "hooks": {"hooks": {kind: [HOOK, HOOK] for kind in ("createContainer", "startContainer")}},
    "user": {
        "process": {
            "user": {"uid": 1000, "gid": 1000, "additionalGids": [5, 10]},
            "args": ["program"],
            "env": ["PATH=/bin:/usr/bin", "SECRET=hunter2"],
            "capabilities": {"bounding": [], "ambient": ["CAP_KILL"]},
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 10, "hard": 20}],
        }
    },
    "mounts": {
        "root": {"readonly": True},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/t", "type": "tmpfs", "source": "t", "options": ["tmpcopyup", "ro"]},
            {"destination": "/b", "type": "bind", "source": "/srv", "options": ["rbind", "rro"]},
            {"destination": "/cg", "type": "cgroup", "source": "cgroup", "options": ["ro"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["shared"]},
        ],
        "linux": {
            "rootfsPropagation": "shared",
            "sysctl": {"net.ipv4.ip_forward": "1"},
            "timeOffsets": {"monotonic": {"secs": 5}},
            "namespaces": [{"type": kind} for kind in ("mount", "pid", "network", "time", "uts")],
        },
    },
    "joined namespaces": {
        "linux": {
            "namespaces": [
                {"type": "mount"},
                {"type": "network", "path": "/proc/1/ns/net"},
                {"type": "user", "path": "/proc/1/ns/user"},
            ]
        }
    },
    "no mount namespace": {
        "process": {"terminal": True},
        "linux": {"namespaces": [], "maskedPaths": [], "readonlyPaths": []},
    },
}


def listing(name: str) -> Listing:
    config: Any = merge(DEFAULT_CONFIG, CONFIGS[name])
    return compile_listing(config, facts_for(config, "/srv/bundle"))


every = pytest.mark.parametrize("name", CONFIGS)


@every
def test_lines(name: str) -> None:
    """A number, a process, a call, what becomes of the result, and why."""
    pattern = re.compile(r"^ *(\d+)([> ]) (agent|init )  (\w+[^#]*?)(  \[.*\])?  # (.+)$")
    text = as_text(listing(name))
    marked, targets = set(), set()
    for number, line in enumerate(text.splitlines(), 1):
        match = pattern.match(line)
        assert match, line
        assert int(match[1]) == number
        if match[2] == ">":
            marked.add(number)
        for target in re.findall(r"go to (\d+)", line):
            assert int(target) > number
            targets.add(int(target))
    assert marked == targets
    assert text.count(" execve(") >= 1
    assert "hunter2" not in text


@every
def test_json(name: str) -> None:
    value = json.loads(as_json(listing(name)))
    steps = value["steps"]
    assert [step["number"] for step in steps] == list(range(1, len(steps) + 1))
    assert [f"{step['text']}" in line for step, line in zip(
        steps, as_text(listing(name)).splitlines(), strict=True
    )] == [True] * len(steps)  # fmt: skip
    for step in steps:
        assert step["process"] in ("agent", "init")
        assert step["pointer"] == "" or step["pointer"][0] == "/"
        assert step["why"] or step["call"] == "move", step
        for jump in ("onError", "onZero"):
            assert step.get(jump, len(steps)) > step["number"] or len(steps) == step["number"]
    assert "hunter2" not in json.dumps(value)


@every
def test_pointers_lead_somewhere(name: str) -> None:
    """Numbers in pointers count elements that exist, and each mount has its steps."""
    config = merge(DEFAULT_CONFIG, CONFIGS[name])
    pointers = {line.step.at for line in listing(name).lines}
    for pointer in pointers - {""}:
        value: Any = config
        for part in pointer[1:].split("/"):
            if isinstance(value, list):
                assert int(part) < len(value), pointer
                value = value[int(part)]
            else:
                assert isinstance(value, dict), pointer
                value = value.get(part.replace("~1", "/").replace("~0", "~"), {})
    if name != "no mount namespace":
        for index in range(len(config["mounts"])):
            assert f"/mounts/{index}" in pointers


def pieces(name: str) -> Iterator["list[Step | Label]"]:
    """The parts between syncs, as they are sent; labels belong to the step that follows them."""
    whole = listing(name)
    for process in ("agent", "init"):
        steps = [line.step for line in whole.lines if line.process == process]
        first = next(line.number for line in whole.lines if line.process == process)
        places: dict[int, list[Label]] = {}
        for label, number in whole.places.items():
            places.setdefault(number - first, []).append(label)
        left: list[Step | Label] = []
        for index, step in enumerate(steps):
            left += [*places.get(index, ()), step]
        while left:
            piece, left = first_piece(left)
            if process == "agent":
                # The child goes on where the init's steps begin, in the same message.
                piece = [*piece, *(label for label in whole.places if label.name == "init")]
            yield piece


@every
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_pieces_stand_alone(name: str, machine: str) -> None:
    """What is sent between two syncs jumps nowhere else, and both architectures can do it."""
    numbers = syscall_numbers(machine)
    for piece in pieces(name):
        message, _ = assemble(piece, numbers)
        assert len(message) < 1 << 20


@every
def test_memory_is_not_shared_across_syncs(name: str) -> None:
    """Space and what steps store are gone when the next piece is sent."""
    seen: dict[int, tuple[int, object]] = {}
    for number, piece in enumerate(pieces(name)):
        for item in piece:
            if not isinstance(item, Step):
                continue
            for value in item.args:
                base = value.base if isinstance(value, At) else value
                changes = isinstance(base, Space) or (isinstance(base, Words) and item.name == "store")
                if changes:
                    where, _ = seen.setdefault(id(base), (number, base))
                    assert where == number, f"{item.name} at {item.at}: {item.why}"


@every
def test_registers_are_set_before_they_are_used(name: str) -> None:
    """Following the steps in their order, no argument is a register nobody has written."""
    known = {0}
    for line in listing(name).lines:
        for value in line.step.args:
            if isinstance(value, Reg):
                assert value.index in known, f"{line.number}: {value.name}"
        if line.step.dst is not None:
            known.add(line.step.dst.index)


def test_show(bundle: MakeBundle, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    path = str(bundle({}).path)
    show(Globals(), path, "text")
    text = capfdbinary.readouterr().out.decode()
    assert 'execve("/bin/true", ["/bin/true"], [PATH HOME])' in text.splitlines()[-7]
    assert f'open_tree(AT_FDCWD, "{path}/rootfs"' in text
    show(Globals(), path, "json")
    steps = json.loads(capfdbinary.readouterr().out)["steps"]
    assert len(steps) == len(text.splitlines())


def test_nothing_to_plan(bundle: MakeBundle, tmp_path: Path) -> None:
    with pytest.raises(Error, match=r"config\.json not found"):
        show(Globals(), str(tmp_path), "text")
    with pytest.raises(Error, match="process property must not be empty"):
        show(Globals(), str(bundle({"process": None}).path), "text")


def test_what_create_refuses_has_no_plan(bundle: MakeBundle) -> None:
    spaces = [{"type": "mount"}]
    with pytest.raises(Error, match="hostname without a private UTS namespace") as caught:
        show(Globals(), str(bundle({"linux": {"namespaces": spaces}}).path), "text")
    assert caught.value.pointer == "/hostname"


def test_a_root_that_is_not_there_yet(bundle: MakeBundle, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    show(Globals(), str(bundle({}).update({"root": {"path": "later"}}).path), "text")
    assert b'/later"' in capfdbinary.readouterr().out


def test_reasons_are_no_errors(bundle: MakeBundle, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    show(Globals(), str(bundle({}).path), "json")
    reasons = {step["why"] for step in json.loads(capfdbinary.readouterr().out)["steps"]}
    assert 'mounting "proc" to rootfs at "/proc"' in reasons
    assert not [why for why in reasons if why.startswith(("error", "unable", "can't"))]


def test_works_without_root(bundle: MakeBundle) -> None:
    path = bundle({}).path
    (path / "config.json").chmod(0o644)
    # The interpreter may be out of reach for others, so rights are given up once it runs.
    program = """
import os, sys
from pyrunc.container.show_plan import show
from pyrunc.options import Globals
if os.geteuid() == 0:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
show(Globals(), sys.argv[1], "text")
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env={"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert "clone3(" in done.stdout
    assert "execve(" in done.stdout


def test_reader_that_has_seen_enough(bundle: MakeBundle) -> None:
    done = subprocess.run(
        f"'{sys.executable}' -m pyrunc plan '{bundle({}).path}' | head -1",
        shell=True,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.stderr == ""
    assert "close_range" in done.stdout
