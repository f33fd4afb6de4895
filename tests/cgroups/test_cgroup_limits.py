"""Limits that the kernel enforces, statistics and updates: on pure cgroup v2 with controllers."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyrunc import cgroups
from pyrunc.cgroups import Manager, detect, files, oom, tree
from pyrunc.errors import Error

HOST = detect.detect()
NAME = f"pyrunc-limits-{os.getpid()}"
MIB = 1 << 20


def needs(*controllers: str) -> pytest.MarkDecorator:
    """Skip where cgroup v2 lacks a controller."""
    missing = [name for name in controllers if name not in HOST.controllers]
    reason = f"cgroup v2 here lacks: {' '.join(missing)}"
    return pytest.mark.skipif(bool(missing), reason=reason)


@pytest.fixture
def make(needs_v2: None) -> Iterator[Any]:
    """Factory: make(resources) -> a manager whose cgroup exists and has its limits."""
    made: list[Manager] = []

    def factory(resources: dict[str, Any], **more: Any) -> Manager:
        linux = {"cgroupsPath": f"/{NAME}/c{len(made)}", "resources": resources}
        manager = cgroups.manager(linux, "id", driver="cgroupfs", rootless=False, **more)
        made.append(manager)
        manager.create()
        manager.apply()
        return manager

    yield factory
    for manager in made:
        manager.remove()
    parent = files.open_dir(HOST.mount)
    tree.remove(parent, NAME)
    os.close(parent)


def inside(manager: Manager, code: str) -> subprocess.Popen[str]:
    """Python code run by a process of the group."""
    enter = f"open({manager.path + '/cgroup.procs'!r}, 'w').write('0')\n"
    return subprocess.Popen(
        [sys.executable, "-c", enter + code],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def value(manager: Manager, name: str) -> str:
    return Path(manager.path, name).read_text().strip()


@needs("memory", "pids", "cpu")
def test_values_arrive(make: Any) -> None:
    manager = make(
        {
            "memory": {"limit": 64 * MIB, "swap": 96 * MIB, "reservation": 32 * MIB},
            "pids": {"limit": 42},
            "cpu": {"shares": 512, "quota": 50000, "period": 100000, "burst": 1000},
            "unified": {"memory.high": str(48 * MIB)},
        }
    )
    assert value(manager, "memory.max") == str(64 * MIB)
    assert value(manager, "memory.low") == str(32 * MIB)
    assert value(manager, "memory.high") == str(48 * MIB)
    assert value(manager, "pids.max") == "42"
    assert value(manager, "cpu.weight") == "59"
    assert value(manager, "cpu.max") == "50000 100000"
    if Path(manager.path, "memory.swap.max").exists():
        assert value(manager, "memory.swap.max") == str(32 * MIB)
    if Path(manager.path, "cpu.max.burst").exists():
        assert value(manager, "cpu.max.burst") == "1000"


@needs("memory")
def test_a_memory_hog_is_killed(make: Any) -> None:
    manager = make({"memory": {"limit": 32 * MIB, "swap": 32 * MIB}})
    with oom.Watch(manager.dir()) as watch:
        hog = inside(manager, "import time; time.sleep(0.5); x = bytearray(200 << 20)")
        time.sleep(0.2)
        assert watch.wait(30) == 1
        assert hog.wait(30) == -9
        assert watch.wait(10) is None
    assert manager.oom_kills() == 1
    events = manager.stats()["memory"]["event_count"]
    assert events["oom_kill"] == 1


@needs("pids")
def test_pids_max_stops_forks(make: Any) -> None:
    manager = make({"pids": {"limit": 3}})
    code = (
        "import os, signal\nn = 0\ntry:\n while True:\n"
        "  if not os.fork(): signal.pause()\n  n += 1\n"
        "except BlockingIOError: print(n, flush=True); signal.pause()"
    )
    child = inside(manager, code)
    assert child.stdout is not None
    assert child.stdout.readline() == "2\n"
    assert manager.stats()["pids"] == {"current": 3, "limit": 3}
    manager.kill()
    assert child.wait(10) == -9


@needs("cpu")
def test_cpu_max_throttles(make: Any) -> None:
    manager = make({"cpu": {"quota": 10000, "period": 100000}})
    child = inside(manager, "while True: pass")
    time.sleep(1.5)
    cpu = manager.stats()["cpu"]
    manager.kill()
    child.wait(10)
    assert cpu["throttling"]["throttledPeriods"] > 3
    assert cpu["throttling"]["throttledTime"] > 0
    assert 0 < cpu["usage"]["total"] < 600_000_000


@pytest.mark.qemu
@needs("cpuset")
def test_cpuset_binds(make: Any) -> None:
    manager = make({"cpu": {"cpus": "0", "mems": "0"}})
    child = inside(manager, "import os; print(os.sched_getaffinity(0))")
    assert child.communicate(timeout=60)[0] == "{0}\n"
    cpuset = manager.stats()["cpuset"]
    assert (cpuset["cpus"], cpuset["mems"]) == ([0], [0])


@needs("memory", "pids", "cpu", "io")
def test_statistics(make: Any) -> None:
    manager = make({})
    child = inside(manager, "x = bytearray(8 << 20); import time; print(1, flush=True); time.sleep(99)")
    assert child.stdout is not None
    child.stdout.readline()
    stats = manager.stats()
    manager.kill()
    child.wait(10)
    assert list(stats) == [
        "cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "intel_rdt", "network_interfaces",
    ]  # fmt: skip
    assert stats["pids"] == {"current": 1}
    assert stats["memory"]["usage"]["usage"] > 8 * MIB
    assert stats["memory"]["usage"]["limit"] == (1 << 64) - 1
    assert stats["memory"]["swap"]["limit"] in ((1 << 64) - 1, 0)
    assert stats["memory"]["raw"]["anon"] > 8 * MIB
    assert stats["cpu"]["usage"]["total"] > 0
    for part, knob in (("cpu", "cpu"), ("memory", "memory"), ("blkio", "io")):
        pressure = Path(manager.path, knob + ".pressure")
        try:
            supported = bool(pressure.read_text())
        except OSError:
            supported = False
        assert ("psi" in stats[part]) == supported


@pytest.mark.qemu
def test_pressure_and_huge_pages_are_measured(make: Any) -> None:
    stats = make({}).stats()
    assert set(stats["cpu"]["psi"]["some"]) == {"avg10", "avg60", "avg300", "total"}
    assert set(stats["memory"]["psi"]) == {"some", "full"}
    assert stats["hugetlb"]["2MB"] == {"failcnt": 0}


@pytest.mark.qemu
@needs("hugetlb")
def test_huge_pages(make: Any) -> None:
    manager = make({"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}]})
    assert value(manager, "hugetlb.2MB.max") == str(4 * MIB)
    assert value(manager, "hugetlb.2MB.rsvd.max") == str(4 * MIB)
    with pytest.raises(Error, match="does not have the file") as info:
        make({"hugepageLimits": [{"pageSize": "3MB", "limit": 4 * MIB}]})
    assert "2MB" in info.value.hint


@needs("io")
def test_io_limits(make: Any) -> None:
    disk = next((line.split()[0] for line in Path("/sys/fs/cgroup/io.stat").read_text().splitlines()), "")
    if not disk:
        pytest.skip("no disk shows in io.stat")
    major, minor = map(int, disk.split(":"))
    device = {"major": major, "minor": minor, "rate": MIB}
    manager = make({"blockIO": {"throttleWriteBpsDevice": [device]}})
    assert value(manager, "io.max") == f"{disk} rbps=max wbps={MIB} riops=max wiops=max"
    new = manager.update({"blockIO": {"throttleReadIOPSDevice": [device]}})
    assert value(manager, "io.max") == f"{disk} rbps=max wbps={MIB} riops={MIB} wiops=max"
    assert len(new["blockIO"]) == 2
    manager.update({"blockIO": {"throttleWriteBpsDevice": [{**device, "rate": 0}]}})
    assert value(manager, "io.max") == f"{disk} rbps=max wbps=max riops={MIB} wiops=max"


@needs("io")
def test_a_disk_that_is_not_there(make: Any) -> None:
    device = {"major": 4095, "minor": 77, "rate": 5}
    with pytest.raises(Error) as info:
        make({"blockIO": {"throttleReadBpsDevice": [device]}})
    assert "io.max (linux/resources/blockIO/throttleReadBpsDevice/0)" in info.value.message
    assert "no such disk" in info.value.message


@needs("memory", "pids", "cpu")
def test_update(make: Any) -> None:
    manager = make({"memory": {"limit": 64 * MIB, "swap": 96 * MIB}, "cpu": {"quota": 50000, "period": 50000}})
    new = manager.update({"memory": {"limit": 32 * MIB}, "cpu": {"quota": 20000, "shares": 0}})
    assert value(manager, "memory.max") == str(32 * MIB)
    assert value(manager, "cpu.max") == "20000 50000"
    assert new == {
        "memory": {"limit": 32 * MIB, "swap": 96 * MIB},
        "cpu": {"quota": 20000, "period": 50000},
    }
    manager.update({"pids": {"limit": 7}})
    assert value(manager, "pids.max") == "7"
    manager.update({"pids": {"limit": -1}, "memory": {"limit": -1}})
    assert value(manager, "pids.max") == "max"
    assert value(manager, "memory.max") == "max"
    assert manager.resources["memory"]["swap"] == -1


@needs("cpu", "pids")
@pytest.mark.parametrize("idle", [2, 3, -1])
def test_a_refused_update_changes_nothing(make: Any, idle: int) -> None:
    manager = make({"pids": {"limit": 7}, "cpu": {"quota": 50000}})
    change = {"pids": {"limit": 9}, "cpu": {"idle": idle, "quota": 60000}}
    with pytest.raises(Error, match=r"cpu\.idle \(linux/resources/cpu/idle\)") as info:
        manager.update(change)
    assert f'"{idle}"' in info.value.message
    assert value(manager, "pids.max") == "7"
    assert value(manager, "cpu.idle") == "0"
    assert value(manager, "cpu.max") == "50000 100000"
    assert manager.resources == {"pids": {"limit": 7}, "cpu": {"quota": 50000}}


@needs("cpu")
def test_idle_and_weight(make: Any) -> None:
    manager = make({"cpu": {"idle": 1, "shares": 512}})
    assert value(manager, "cpu.idle") == "1"
    manager.update({"cpu": {"idle": 0}})
    assert value(manager, "cpu.idle") == "0"
    assert value(manager, "cpu.weight") == "59"


@needs("cpu")
def test_burst_and_quota_together(make: Any) -> None:
    manager = make({"cpu": {"quota": 50000, "burst": 40000}})
    manager.update({"cpu": {"quota": 20000, "burst": 10000}})
    assert value(manager, "cpu.max.burst") == "10000"
    manager.update({"cpu": {"quota": 60000}})
    assert value(manager, "cpu.max.burst") == "10000"


@needs("memory")
def test_check_before_update(make: Any) -> None:
    manager = make({"memory": {"limit": 64 * MIB}})
    child = inside(manager, "x = bytearray(16 << 20); print(1, flush=True); import time; time.sleep(99)")
    assert child.stdout is not None
    child.stdout.readline()
    with pytest.raises(Error, match=r"rejecting memory limit 4194304 <= usage \d+"):
        manager.update({"memory": {"limit": 4 * MIB, "checkBeforeUpdate": True}})
    with pytest.raises(Error, match=r"rejecting memory\+swap limit 4194304 <= usage \d+"):
        manager.update({"memory": {"limit": 4 * MIB, "swap": 4 * MIB, "checkBeforeUpdate": True}})
    assert value(manager, "memory.max") == str(64 * MIB)
    assert child.poll() is None


@needs("memory")
def test_unknown_files_and_controllers(make: Any) -> None:
    with pytest.raises(Error) as info:
        make({"unified": {"foo.bar": "1"}})
    assert 'unified resource "foo.bar" can\'t be set' in info.value.message
    assert 'controller "foo" not available' in info.value.message
    with pytest.raises(Error, match=r"memory\.nonsense .*this kernel does not have the file") as info:
        make({"unified": {"memory.nonsense": "1"}})
    # What people look for, and crun's own tests; in the message engines would take it for a missing command.
    assert info.value.hint.endswith("/memory.nonsense: no such file or directory")
    assert "no such file" not in info.value.message
    with pytest.raises(Error, match=r'write "x" to memory\.high .*: invalid argument'):
        make({"unified": {"memory.high": "x"}})


@needs("memory")
def test_no_internal_processes(make: Any) -> None:
    outer = make({})
    child = inside(outer, "import time; print(1, flush=True); time.sleep(99)")
    assert child.stdout is not None
    child.stdout.readline()
    path = outer.path[len(HOST.mount) :]
    linux = {"cgroupsPath": path + "/inner", "resources": {"memory": {"limit": MIB}}}
    with pytest.raises(Error, match="no internal processes") as info:
        cgroups.manager(linux, "id", driver="cgroupfs", rootless=False).create()
    assert outer.path in info.value.hint
    assert not os.path.exists(outer.path + "/inner")
    assert value(outer, "cgroup.type") == "domain"
    free = cgroups.manager({"cgroupsPath": path + "/inner"}, "id", driver="cgroupfs", rootless=False)
    assert free.create() is not None, "without limits it can run there"
    free.add(child.pid)
    assert free.procs() == [child.pid]
    free.remove()
    assert child.wait(10) == -9


@needs("pids")
def test_thread_aware_limits_below_processes(make: Any) -> None:
    outer = make({})
    child = inside(outer, "import time; print(1, flush=True); time.sleep(99)")
    assert child.stdout is not None
    child.stdout.readline()
    path = outer.path[len(HOST.mount) :] + "/inner"
    linux = {"cgroupsPath": path, "resources": {"pids": {"limit": 5}}}
    manager = cgroups.manager(linux, "id", driver="cgroupfs", rootless=False)
    manager.create()
    manager.apply()
    assert value(manager, "cgroup.type") == "threaded"
    manager.add(child.pid)
    assert manager.procs() == [child.pid]
    manager.freeze()
    manager.remove()
    assert child.wait(10) == -9
    assert not os.path.exists(manager.path)


def test_a_thousand_cycles_leave_nothing(make: Any) -> None:
    make({})
    before = sorted(os.listdir(f"{HOST.mount}/{NAME}"))
    for _ in range(1000):
        linux = {"cgroupsPath": f"/{NAME}/cycle", "resources": {"pids": {"limit": 9}}}
        manager = cgroups.manager(linux, "id", driver="cgroupfs", rootless=False)
        manager.create()
        manager.apply()
        manager.remove()
    assert sorted(os.listdir(f"{HOST.mount}/{NAME}")) == before
