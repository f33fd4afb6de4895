"""`exec` by an unprivileged user in a container of its own."""

import json
import os
from collections.abc import Iterator

import pytest

from rootless import Rootless, made
from support import IS_ROOT

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="needs root, to become another user")


@pytest.fixture
def rootless(launcher: str) -> Iterator[Rootless]:
    with made(launcher) as it:
        it.create("a")
        yield it


def test_created_and_running(rootless: Rootless) -> None:
    for step in ("created", "running"):
        done = rootless("exec", "a", "sh", "-c", "id -u; id -g; cat /proc/self/setgroups; readlink /proc/self/ns/user")
        assert done.returncode == 0, (step, done.stderr)
        uid, gid, setgroups, space = done.stdout.split()
        assert (uid, gid, setgroups) == ("0", "0", "deny")
        assert space != os.readlink("/proc/self/ns/user")
        rootless("start", "a")


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--user", "5"], "uid 5 is not mapped"),
        (["--user", "0:5"], "gid 5 is not mapped"),
        (["-g", "0"], "setgroups"),
    ],
)
def test_ids_that_it_has_not(rootless: Rootless, flags: list[str], text: str) -> None:
    done = rootless("exec", *flags, "a", "true")
    assert done.returncode == 255
    assert text in done.stderr


@pytest.mark.parametrize("private", [True, False])
def test_processes_that_could_not_be_killed(rootless: Rootless, private: bool) -> None:
    """Without a cgroup it is the pid namespace that ends all of a container's processes."""
    file = rootless.directory / "bundle" / "config.json"
    config = json.loads(file.read_text())
    config["process"]["args"] = ["/bin/true"]
    config["linux"]["resources"] = {}
    if not private:
        config["mounts"] = []
        config["linux"].update(maskedPaths=[], readonlyPaths=[])
        config["linux"]["namespaces"].remove({"type": "pid"})
    file.write_text(json.dumps(config))
    done = rootless("run", "--bundle", str(file.parent), "b")
    assert done.returncode == 0
    assert ("Such configuration is strongly discouraged" in done.stderr) == (not private)


def test_an_oom_score_that_cannot_be_set(rootless: Rootless) -> None:
    """runc and crun refuse as well; it was left out in silence."""
    rootless.bundle.update({"process": {"args": ["/bin/true"], "oomScoreAdj": -1}})
    done = rootless("run", "--bundle", str(rootless.bundle.path), "low")
    assert done.returncode == 1
    assert "unable to set oom_score_adj (process/oomScoreAdj)" in done.stderr
    assert "permission denied" in done.stderr
    rootless.bundle.update({"process": {"oomScoreAdj": 700}})
    assert rootless("run", "--bundle", str(rootless.bundle.path), "high").returncode == 0
