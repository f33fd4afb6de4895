"""Where cgroup v2 has no controllers because v1 has them: what works, and what is said."""

import os
from pathlib import Path

import pytest

from limits.limit_base import Driver
from pyrunc.cgroups import detect

HOST = detect.detect()

pytestmark = [
    pytest.mark.host,
    pytest.mark.skipif(HOST.mode != "hybrid" or os.geteuid() != 0, reason="needs root and a hybrid of v1 and v2"),
]


def v1_groups(id: str) -> list[str]:
    """The directories of v1 hierarchies that bear a container's name."""
    v2 = HOST.mount
    found = []
    for path, names, _ in os.walk("/sys/fs/cgroup"):
        if path == v2:
            names.clear()
        found += [f"{path}/{name}" for name in names if id in name]
    return found


def test_without_limits_a_container_runs(cgroupfs: Driver) -> None:
    id, group = cgroupfs.start(cgroupfs.bundle({}))
    del group
    assert cgroupfs.status(id) == "running"
    assert v1_groups(id) == []
    own = Path("/proc/self/cgroup").read_text().splitlines()
    its = Path(f"/proc/{cgroupfs.runtime.state(id)['pid']}/cgroup").read_text().splitlines()
    legacy = [line for line in its if not line.startswith("0::")]
    assert legacy == [line for line in own if not line.startswith("0::")]


@pytest.mark.parametrize(
    ("resources", "file", "pointer"),
    [
        ({"memory": {"limit": 1 << 25}}, "memory.max", "linux/resources/memory/limit"),
        ({"pids": {"limit": 5}}, "pids.max", "linux/resources/pids/limit"),
        ({"cpu": {"quota": 50000}}, "cpu.max", "linux/resources/cpu/quota"),
    ],
)
def test_a_limit_is_refused(cgroupfs: Driver, resources: dict[str, object], file: str, pointer: str) -> None:
    controller = file.partition(".")[0]
    done = cgroupfs.runtime.run(cgroupfs.bundle(resources), id="limit-hybrid")
    assert done.returncode == 1
    text = done.stderr.replace('\\"', '"')
    belongs = f", {controller} belongs to v1" if controller in detect.v1_controllers() else ""
    assert (
        f'set {file} ({pointer}): controller "{controller}" not available:'
        f" this host has a hybrid of cgroup v1 and v2{belongs}"
    ) in text
    assert "hint: limits need cgroup v2: boot with systemd.unified_cgroup_hierarchy=1" in text
    assert v1_groups("limit-hybrid") == []


def test_the_systemd_driver_is_refused(cgroupfs: Driver) -> None:
    cgroupfs.runtime.flags.append("--systemd-cgroup")
    done = cgroupfs.runtime.run(cgroupfs.bundle({}), id="limit-hybrid")
    assert done.returncode == 1
    assert "the systemd driver needs cgroup v2: this host has cgroup v1" in done.stderr
    assert "or use the cgroupfs driver" in done.stderr
    assert v1_groups("limit-hybrid") == []
