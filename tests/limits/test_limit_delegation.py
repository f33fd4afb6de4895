"""Cgroups that are given away: to a container's user, to its own manager, and rootless."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from limits.limit_base import HOG, MIB, Driver, Group
from support import Bundle, Runtime, make_bundle, merge, unique_id

pytestmark = pytest.mark.guest

MAPPED = 100000
MAPS = {kind: [{"containerID": 0, "hostID": MAPPED, "size": 65536}] for kind in ("uidMappings", "gidMappings")}
DELEGATED = ("cgroup.procs", "cgroup.subtree_control", "cgroup.threads")


def spaces(*more: str) -> list[dict[str, str]]:
    return [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", *more)]


def cgroup_mount(*options: str) -> dict[str, object]:
    return {
        "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
        "options": ["nosuid", "noexec", "nodev", *options],
    }  # fmt: skip


def inner(driver: Driver, *options: str) -> Bundle:
    """A bundle with user and cgroup namespaces of its own, and the cgroups mounted."""
    bundle = driver.bundle({"pids": {"limit": 30}}, namespaces=spaces("user", "cgroup"), **MAPS)
    return bundle.update({"mounts": [*bundle.config["mounts"], cgroup_mount(*options)]})


def owners(group: Group) -> dict[str, int]:
    names = (".", *DELEGATED, "memory.max", "pids.max", "cgroup.freeze")
    return {name: (group.path / name).stat().st_uid for name in names}


def test_a_writable_mount_in_a_cgroup_namespace_is_the_users(driver: Driver) -> None:
    bundle = inner(driver).shell(
        "cd /sys/fs/cgroup && cat /proc/self/cgroup && mkdir leaf && echo 0 > leaf/cgroup.procs"
        " && echo +pids > cgroup.subtree_control && echo 5 > leaf/pids.max && cat leaf/pids.max;"
        "echo max > pids.max || echo refused; sleep 1000"
    )
    _, group = driver.create(bundle)
    assert owners(group) == {
        **dict.fromkeys((".", *DELEGATED), MAPPED), "memory.max": 0, "pids.max": 0,
        "cgroup.freeze": 0,
    }  # fmt: skip
    bundle.shell(bundle.config["process"]["args"][2].replace("; sleep 1000", ""))
    done = driver.runtime.run(bundle, check=True)
    assert done.stdout == "0::/\n5\nrefused\n"


def test_a_read_only_mount_gives_nothing(driver: Driver) -> None:
    _, group = driver.create(inner(driver, "ro"))
    assert set(owners(group).values()) == {0}


def test_a_group_for_the_containers_own_manager(driver: Driver) -> None:
    """run.oci.delegate-cgroup: the limits stay on the group above the one that is given away."""
    bundle = inner(driver).update({"annotations": {"run.oci.delegate-cgroup": "payload"}})
    id, group = driver.start(bundle)
    assert group.path.name == "payload"
    above = Group(group.path.parent)
    assert above["pids.max"] == "30"
    assert above["cgroup.procs"] == ""
    assert group.path.stat().st_uid == MAPPED
    assert above.path.stat().st_uid == 0
    done = driver.runtime.call("exec", id, "/bin/cat", "/proc/self/cgroup", check=True)
    assert done.stdout == "0::/\n"
    driver.runtime.call("delete", "--force", id, check=True)
    assert not above.path.exists()


class Rootless:
    """A bundle that belongs to user 1000, in a directory of its own."""

    def __init__(self, program: str, path: Path) -> None:
        self.program = program
        self.path = path
        self.bundle = make_bundle(path / "bundle")
        maps = [{"containerID": 0, "hostID": 1000, "size": 1}]
        changes = {
            "process": {"args": ["/bin/sh", "-c", "cat /proc/self/cgroup"]},
            "linux": {
                "namespaces": spaces("user"), "uidMappings": maps, "gidMappings": maps,
            },
        }  # fmt: skip
        self.bundle.update(changes)

    def call(
        self, prefix: list[str], flags: list[str], resources: dict[str, Any], **linux: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a container with these limits by `prefix` as the user."""
        config = merge(self.bundle.config, {"linux": {"resources": resources, **linux}})
        Bundle(self.bundle.path, config)
        subprocess.run(["chown", "-R", "1000:1000", str(self.path)], check=True)
        root = self.path / "state"
        command = Runtime(self.program, root, flags).command(
            "run", "--bundle", str(self.bundle.path), unique_id("rootless")
        )
        return subprocess.run(
            [*prefix, *command], capture_output=True, text=True, check=False, timeout=60,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip


@pytest.fixture
def rootless(launcher: str) -> Iterator[Rootless]:
    path = Path(tempfile.mkdtemp(prefix="pyrunc-", dir="/var/tmp"))
    path.chmod(0o755)
    yield Rootless(launcher, path)
    shutil.rmtree(path)


AS_USER = ["as-user"]
NOT_DELEGATED = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", "env", "-i",
                 "PATH=/usr/bin:/bin", "HOME=/nonexistent"]  # fmt: skip
LIMITS = {"memory": {"limit": 32 * MIB}, "pids": {"limit": 9}}
SHOW = "d=/sys/fs/cgroup$(sed s/0:://  /proc/self/cgroup); cat /proc/self/cgroup $d/pids.max $d/memory.max"


def test_rootless_by_the_users_systemd(rootless: Rootless) -> None:
    rbind = {
        "destination": "/sys/fs/cgroup", "type": "bind", "source": "/sys/fs/cgroup",
        "options": ["rbind", "ro"],
    }  # fmt: skip
    rootless.bundle.update({"mounts": [*rootless.bundle.config["mounts"], rbind]})
    rootless.bundle.shell(SHOW)
    done = rootless.call(AS_USER, ["--systemd-cgroup"], LIMITS)
    assert done.returncode == 0, done.stderr
    path, pids, memory = done.stdout.split()
    assert "/user@1000.service/" in path
    assert path.endswith(".scope")
    assert (pids, memory) == ("9", str(32 * MIB))
    assert not os.path.exists("/sys/fs/cgroup" + path.removeprefix("0::"))


def test_rootless_limits_are_enforced(rootless: Rootless) -> None:
    rootless.bundle.args(*HOG)
    limits = {"memory": {"limit": 16 * MIB, "swap": 16 * MIB}}
    done = rootless.call(AS_USER, ["--systemd-cgroup"], limits)
    assert done.returncode == 128 + 9


def test_rootless_without_delegation_or_limits(rootless: Rootless) -> None:
    done = rootless.call(NOT_DELEGATED, [], {})
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("0::/")


@pytest.mark.parametrize("linux", [{}, {"cgroupsPath": "/mine"}])
def test_rootless_without_delegation_says_what_to_do(rootless: Rootless, linux: dict[str, str]) -> None:
    done = rootless.call(NOT_DELEGATED, [], LIMITS, **linux)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "create cgroup /sys/fs/cgroup/" in done.stderr
    assert "permission denied" in done.stderr
    assert "hint: use --systemd-cgroup, or have a cgroup delegated" in done.stderr
    assert "systemd-run --user --scope -p Delegate=yes" in done.stderr


def test_rootless_without_a_systemd_to_ask(rootless: Rootless) -> None:
    done = rootless.call(NOT_DELEGATED, ["--systemd-cgroup"], LIMITS)
    assert done.returncode == 1
    assert "systemd" in done.stderr
    assert "hint:" in done.stderr
    assert "Traceback" not in done.stderr
