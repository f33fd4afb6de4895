"""`exec` by an unprivileged user in a container of its own."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import IS_ROOT, make_bundle

UID = 1000

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="needs root, to become another user")


class Rootless:
    """Calls of pyrunc as the user."""

    def __init__(self, launcher: str, directory: Path) -> None:
        self.launcher = launcher
        self.directory = directory

    def __call__(self, *words: str, quiet: bool = False) -> subprocess.CompletedProcess[str]:
        line = [self.launcher, "--root", str(self.directory / "state"), *words]
        return subprocess.run(
            line,
            check=False,
            stdin=subprocess.DEVNULL,
            text=True,
            cwd="/",
            timeout=60,
            user=UID,
            group=UID,
            extra_groups=[],
            stdout=subprocess.DEVNULL if quiet else subprocess.PIPE,
            stderr=subprocess.DEVNULL if quiet else subprocess.PIPE,
        )


@pytest.fixture
def rootless(launcher: str) -> Iterator[Rootless]:
    directory = Path(tempfile.mkdtemp(prefix="pyrunc-", dir="/var/tmp"))
    directory.chmod(0o711)
    it = Rootless(launcher, directory)
    try:
        subprocess.run([launcher, "--version"], check=True, capture_output=True, user=UID)
    except (PermissionError, subprocess.CalledProcessError):  # a checkout in a closed home directory
        shutil.rmtree(directory)
        pytest.skip(f"user {UID} may not execute {launcher}")
    mapping = [{"containerID": 0, "hostID": UID, "size": 1}]
    spaces = [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "user")]
    bundle = make_bundle(
        directory / "bundle",
        {
            "process": {"args": ["/bin/sleep", "100"]},
            "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
            "linux": {"namespaces": spaces, "uidMappings": mapping, "gidMappings": mapping},
        },
    )
    for path in (directory, bundle.path, *bundle.path.rglob("*")):
        os.chown(path, UID, UID, follow_symlinks=False)
    made = it("create", "--bundle", str(bundle.path), "a", quiet=True)
    try:
        assert made.returncode == 0
        yield it
    finally:
        it("delete", "--force", "a")
        shutil.rmtree(directory)


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
