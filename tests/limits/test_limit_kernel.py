"""Limits of real containers as the kernel enforces them, by both drivers."""

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from limits.limit_base import HOG, MIB, Driver, disk, wait_until
from support import SYSTEMD, unique_id

pytestmark = pytest.mark.guest


def test_a_memory_hog_is_killed(driver: Driver) -> None:
    bundle = driver.bundle({"memory": {"limit": 16 * MIB, "swap": 16 * MIB}}, *HOG)
    assert driver.runtime.run(bundle).returncode == 128 + 9


def test_events_tell_of_the_kill(driver: Driver) -> None:
    bundle = driver.bundle({"memory": {"limit": 16 * MIB, "swap": 16 * MIB}})
    bundle.shell(f"{' '.join(HOG)}; sleep 1000")
    id, group = driver.create(bundle)
    events = driver.events(id, bundle)
    driver.runtime.call("start", id, check=True)
    wait_until(events.lines, "an event")
    assert events.lines() == [{"type": "oom", "id": id}]
    assert group.table("memory.events")["oom_kill"] == 1
    driver.runtime.call("kill", id, "KILL", check=True)
    assert events.end() == [{"type": "oom", "id": id}]


def test_cpu_max_throttles(driver: Driver) -> None:
    bundle = driver.bundle({"cpu": {"quota": 20000, "period": 100000}})
    bundle.shell("while :; do :; done")
    _, group = driver.start(bundle)
    before = group.table("cpu.stat")
    wait_until(lambda: group.table("cpu.stat")["nr_throttled"] >= 8, "throttled eight times")
    after = group.table("cpu.stat")
    used, periods = (after[key] - before[key] for key in ("usage_usec", "nr_periods"))
    assert after["throttled_usec"] > before["throttled_usec"]
    # The period that has not ended counts too, and what a guest takes for running while the host runs something else.
    assert used <= 20000 * (periods + 1) + 100000, f"{used} us in {periods} periods"


def test_pids_max_stops_a_fork_bomb(driver: Driver) -> None:
    bundle = driver.bundle({"pids": {"limit": 12}})
    bundle.shell("bomb() { bomb | bomb & }; bomb; sleep 1000")
    id, group = driver.start(bundle)
    wait_until(lambda: group.table("pids.events")["max"] > 0, "a fork was refused")
    most = 0
    for _ in range(50):
        most = max(most, int(group["pids.current"]))
        time.sleep(0.01)
    # Those whose forks were refused end, and it may be all of them.
    assert most <= 12
    driver.runtime.call("delete", "--force", id, check=True)
    assert not group.path.exists()


def test_a_pids_limit_of_zero_allows_one(driver: Driver) -> None:
    bundle = driver.bundle({"pids": {"limit": 0}})
    bundle.shell("echo alone; /bin/true && echo forked; echo $?")
    done = driver.runtime.run(bundle)
    assert "alone\n" in done.stdout
    assert "forked" not in done.stdout


@pytest.fixture
def on_disk() -> Iterator[Path]:
    """A directory on the disk: /tmp may be memory."""
    path = Path(tempfile.mkdtemp(prefix="pyrunc-", dir="/var/tmp"))
    yield path
    shutil.rmtree(path)


def test_io_max_slows_a_write(driver: Driver, on_disk: Path) -> None:
    major, minor = map(int, disk().split(":"))
    rate = {"major": major, "minor": minor, "rate": 2 * MIB}
    seconds = []
    for resources in ({}, {"blockIO": {"throttleWriteBpsDevice": [rate]}}):
        bundle = driver.bundle(resources)
        mount = {
            "destination": "/mnt", "type": "bind", "source": str(on_disk), "options": ["bind"],
        }  # fmt: skip
        bundle.update({"mounts": [*bundle.config["mounts"], mount]})
        bundle.shell("dd if=/dev/zero of=/mnt/x bs=64k count=64 conv=fsync 2>/mnt/said")
        id, _ = driver.create(bundle)
        began = time.monotonic()
        driver.runtime.call("start", id, check=True)
        driver.stopped(id)
        seconds.append(time.monotonic() - began)
        assert "64+0 records out" in (on_disk / "said").read_text()
        (on_disk / "x").unlink()
    free, slow = seconds
    assert slow >= 1.5, f"4 MiB at 2 MiB a second took {slow} s ({free} s without a limit)"
    assert slow > free


def test_idle_and_weight_and_burst_arrive(driver: Driver) -> None:
    cpu = {"shares": 2048, "quota": 50000, "period": 100000, "burst": 20000}
    _, group = driver.create(driver.bundle({"cpu": cpu}))
    assert group["cpu.weight"] == "174"
    assert group["cpu.max"] == "50000 100000"
    assert group["cpu.max.burst"] == "20000"
    _, group = driver.create(driver.bundle({"cpu": {"idle": 1}}))
    assert group["cpu.idle"] == "1"


def test_unified_files_line_by_line(driver: Driver) -> None:
    io = f"{disk()} rbps={MIB}\n{disk()} wiops=120\n"
    unified = {"memory.high": str(8 * MIB), "io.max": io, "cgroup.max.depth": "3"}
    id, group = driver.create(driver.bundle({"unified": unified}))
    assert group["memory.high"] == str(8 * MIB)
    assert group["io.max"] == f"{disk()} rbps={MIB} wbps=max riops=max wiops=120"
    assert group["cgroup.max.depth"] == "3"
    assert driver.status(id) == "created"


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        ({"unified": {"memory.swap.high": "x"}}, 'write "x" to memory.swap.high (linux/resources/unified'),
        ({"unified": {"nonsense.max": "1"}}, 'controller "nonsense" not available'),
        (
            {"hugepageLimits": [{"pageSize": "3MB", "limit": 0}]},
            "hugetlb.3MB.max (linux/resources/hugepageLimits/0)",
        ),
    ],
)
def test_a_refused_value_is_named(driver: Driver, resources: dict[str, object], words: str) -> None:
    done = driver.runtime.run(driver.bundle(resources))
    assert done.returncode == 1
    assert words in done.stderr.replace('\\"', '"')


def test_a_quota_below_the_kernels_least(cgroupfs: Driver) -> None:
    """systemd rounds it up to a hundredth of a CPU."""
    done = cgroupfs.runtime.run(cgroupfs.bundle({"cpu": {"quota": 1}}))
    assert done.returncode == 1
    assert 'write "1 100000" to cpu.max (linux/resources/cpu/quota)' in done.stderr.replace('\\"', '"')


def test_a_used_cgroup_is_refused(cgroupfs: Driver) -> None:
    id, group = cgroupfs.create(cgroupfs.bundle({}))
    path = str(group.path).removeprefix("/sys/fs/cgroup")
    other = cgroupfs.bundle({}, cgroupsPath=path)
    assert "container's cgroup is not empty" in cgroupfs.runtime.run(other).stderr
    assert cgroupfs.status(id) == "created"


@pytest.mark.parametrize("names", ["memory pids", "cpu pids", ""])
def test_a_cgroup_that_enabled_controllers(cgroupfs: Driver, names: str) -> None:
    """One that is left over from before: the kernel lets no process into it as it is (EBUSY)."""
    path = f"/{unique_id('left')}"
    group = Path("/sys/fs/cgroup" + path)
    group.mkdir()
    (group / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in names.split()))
    bundle = cgroupfs.bundle({"memory": {"limit": 64 * MIB}}, "/bin/cat", "/proc/self/cgroup", cgroupsPath=path)
    assert cgroupfs.runtime.run(bundle, check=True).stdout == f"0::{path}\n"
    assert not group.exists()


def test_a_cgroup_that_enables_controllers_for_others(cgroupfs: Driver) -> None:
    """What is below it keeps its limits; the container is told where it cannot be."""
    path = f"/{unique_id('above')}"
    group = Path("/sys/fs/cgroup" + path)
    below = group / "below"
    below.mkdir(parents=True)
    try:
        (group / "cgroup.subtree_control").write_text("+memory")
        (below / "memory.max").write_text("1048576")
        done = cgroupfs.runtime.run(cgroupfs.bundle({}, cgroupsPath=path))
        assert done.returncode == 1
        assert f"container's cgroup cannot hold processes: {group} enables memory" in done.stderr
        assert "remove those that are there: below" in done.stderr
        assert (below / "memory.max").read_text() == "1048576\n"
    finally:
        below.rmdir()
        group.rmdir()


@pytest.mark.qemu
def test_cpuset_binds(driver: Driver) -> None:
    for cpu in ("0", "1"):
        bundle = driver.bundle({"cpu": {"cpus": cpu, "mems": "0"}}, "/bin/grep", "allowed_list",
                               "/proc/self/status")  # fmt: skip
        done = driver.runtime.run(bundle, check=True)
        assert done.stdout.split() == ["Cpus_allowed_list:", cpu, "Mems_allowed_list:", "0"]


@pytest.mark.qemu
def test_huge_pages_run_out(driver: Driver, on_disk: Path) -> None:
    pool = Path("/proc/sys/vm/nr_hugepages")
    before = pool.read_text()
    pool.write_text("8")
    try:
        bundle = driver.bundle({"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}]})
        mount = {"destination": "/mnt", "type": "hugetlbfs", "source": "none"}
        bundle.update({"mounts": [*bundle.config["mounts"], mount]})
        bundle.shell("fallocate -l 4194304 /mnt/x && echo two; fallocate -l 2097152 /mnt/y || echo no third")
        assert driver.runtime.run(bundle, check=True).stdout == "two\nno third\n"
    finally:
        pool.write_text(before)


@pytest.mark.qemu
def test_pressure_is_in_the_statistics(driver: Driver) -> None:
    id, _ = driver.start(driver.bundle({}))
    done = driver.runtime.call("events", "--stats", id, check=True)
    data = json.loads(done.stdout)["data"]
    for part in ("cpu", "memory", "blkio"):
        assert set(data[part]["psi"]["some"]) == {"avg10", "avg60", "avg300", "total"}
    assert data["hugetlb"]["2MB"]["failcnt"] == 0


def test_the_guest_has_systemd() -> None:
    assert SYSTEMD


@pytest.mark.parametrize("driver", ["systemd"], indirect=True)
def test_a_used_unit_is_refused(driver: Driver) -> None:
    id, group = driver.create(driver.bundle({}))
    name = group.path.name.removeprefix("pyrunc-").removesuffix(".scope")
    other = driver.bundle({}, cgroupsPath=f":pyrunc:{name}")
    assert driver.runtime.run(other).returncode == 1
    assert driver.status(id) == "created"
    assert group["cgroup.procs"]
