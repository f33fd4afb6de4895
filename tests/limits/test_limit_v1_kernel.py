"""Limits by v1 hierarchies, one by one: what the kernel does, and where it shows nothing, what its file says."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from limits.limit_base import HOG, MIB, Driver, wait_until
from limits.v1_place import FOUND, NEEDS, Place
from support import Json

pytestmark = [pytest.mark.host, *NEEDS]

BUSY = ("/bin/sh", "-c", "while :; do :; done")


def test_shares_divide_a_processor(place: Place) -> None:
    for name, shares in (("much", 2048), ("little", 128)):
        place.start({"cpu": {"shares": shares, "cpus": "0"}}, *BUSY, name=name)

    def used(name: str) -> int:
        return int(place.read("cpuacct.usage", name))

    before = used("much"), used("little")
    wait_until(lambda: used("much") - before[0] + used("little") - before[1] > 1_000_000_000, "a second is used", 120)
    assert used("much") - before[0] > 4 * (used("little") - before[1])


def test_an_idle_group_gets_what_is_left(place: Place) -> None:
    for name, cpu in (("much", {}), ("little", {"idle": 1})):
        place.start({"cpu": {"cpus": "0", **cpu}}, *BUSY, name=name)
    assert place.read("cpu.idle", "little") == "1"
    before = [int(place.read("cpuacct.usage", name)) for name in ("much", "little")]

    def since() -> list[int]:
        return [
            int(place.read("cpuacct.usage", name)) - at for name, at in zip(("much", "little"), before, strict=True)
        ]

    wait_until(lambda: sum(since()) > 1_000_000_000, "a second is used", 120)
    much, little = since()
    assert much > 8 * little


def test_burst(place: Place) -> None:
    id = place.start({"cpu": {"quota": 20000, "period": 100000, "burst": 15000}})
    assert place.read("cpu.cfs_burst_us") == "15000"
    done = place.driver.runtime.call("update", "--cpu-quota", "10000", "--cpu-burst", "10000", id)
    assert done.returncode == 0, done.stderr
    assert (place.read("cpu.cfs_quota_us"), place.read("cpu.cfs_burst_us")) == ("10000", "10000")


@pytest.mark.skipif(not os.path.exists("/sys/fs/cgroup/cpu/cpu.rt_runtime_us"), reason="needs CONFIG_RT_GROUP_SCHED")
@pytest.mark.parametrize("budget", [0, 10000])
def test_real_time_needs_a_budget(place: Place, budget: int) -> None:
    try:
        Path(FOUND["cpu"].mount, place.name, "cpu.rt_runtime_us").write_text("20000")
    except OSError as error:
        pytest.skip(f"the machine has no real-time budget left: {error}")
    cpu = {"realtimeRuntime": budget, "realtimePeriod": 1000000} if budget else {}
    bundle = place.bundle({"cpu": cpu}, "/bin/grep", "^policy", "/proc/self/sched")
    bundle.update({"process": {"scheduler": {"policy": "SCHED_FIFO", "priority": 1}}})
    done = place.driver.runtime.run(bundle)
    assert (done.returncode == 0) is bool(budget), done.stderr
    if budget:
        assert done.stdout.split() == ["policy", ":", "1"]
    assert place.left() == []


def test_real_time_beyond_the_budget_is_refused(place: Place) -> None:
    done = place.run({"cpu": {"realtimeRuntime": 900000, "realtimePeriod": 1000000}})
    assert done.returncode == 1
    assert 'write "900000" to cpu.rt_runtime_us (linux/resources/cpu/realtimeRuntime)' in done.stderr.replace("\\", "")
    assert place.left() == []


def test_memory_and_swap_together(place: Place) -> None:
    """Without swap the limit of both is that of memory: the one that is lower kills."""
    place.start({"memory": {"limit": 64 * MIB, "swap": 64 * MIB}}, *HOG)
    wait_until(lambda: "oom_kill 1" in place.read("memory.oom_control"), "the kernel has killed")
    assert int(place.read("memory.memsw.max_usage_in_bytes")) <= 64 * MIB


def test_without_the_oom_killer_it_waits_and_can_be_removed(place: Place) -> None:
    id = place.start({"memory": {"limit": 32 * MIB, "disableOOMKiller": True}}, *HOG)
    wait_until(lambda: "under_oom 1" in place.read("memory.oom_control"), "it waits for memory")
    assert place.driver.status(id) == "running"
    place.driver.runtime.call("delete", "--force", id, check=True)
    assert place.left() == []


def test_the_oom_killer_comes_back_by_update(place: Place) -> None:
    id = place.start({"memory": {"limit": 32 * MIB, "disableOOMKiller": True}}, *HOG)
    wait_until(lambda: "under_oom 1" in place.read("memory.oom_control"), "it waits for memory")
    runtime = place.driver.runtime
    text = json.dumps({"memory": {"limit": 512 * MIB, "swap": 512 * MIB}})
    done = runtime.call("update", "--resources", "-", id, input=text)
    assert done.returncode == 0, done.stderr
    place.driver.stopped(id)
    assert "oom_kill 0" in place.read("memory.oom_control")


def test_kernel_memory_is_taken_or_warned_about(place: Place) -> None:
    done = place.run({"memory": {"kernel": 64 * MIB, "kernelTCP": 64 * MIB, "limit": 128 * MIB}}, "/bin/true")
    assert done.returncode == 0, done.stderr


def test_check_before_update(place: Place) -> None:
    id = place.start(
        {"memory": {"limit": 128 * MIB}}, "/bin/sh", "-c", "x=$(yes | head -c 20000000); sleep 1000; echo $x"
    )
    # The shell has twice what it will keep while the text grows.
    wait_until(lambda: place.read("pids.current") == "2" and int(place.read("memory.usage_in_bytes")) > 16 * MIB,
               "it uses memory, and sleeps", 60)  # fmt: skip
    text = json.dumps({"memory": {"limit": 8 * MIB, "checkBeforeUpdate": True}})
    done = place.driver.runtime.call("update", "--resources", "-", id, input=text)
    assert done.returncode == 1
    assert "rejecting memory limit 8388608 <= usage" in done.stderr
    assert place.read("memory.limit_in_bytes") == str(128 * MIB)


def disk_of(path: str) -> str:
    """The disk below a folder's file system: "" where there is none that can be throttled."""
    number = os.stat(path).st_dev
    here = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}")
    if not here.exists():
        return ""
    whole = here.resolve()
    return ((whole.parent if (whole / "partition").exists() else whole) / "dev").read_text().strip()


@pytest.mark.parametrize("key", ["throttleWriteBpsDevice", "throttleWriteIOPSDevice", "throttleReadBpsDevice"])
def test_a_throttled_disk_takes_its_time(place: Place, key: str, tmp_path: Path) -> None:
    disk = disk_of(str(tmp_path))
    if not disk:
        pytest.skip(f"{tmp_path} is on no disk")
    major, minor = map(int, disk.split(":"))
    # Eight transfers of 256 KiB, 1 MiB or four of them in a second. What is slower than that passes as well:
    # the same with a rate that does not matter has to be shorter.
    command = ["/bin/dd", "bs=256k", "count=8"]
    read = "Read" in key
    command += ["if=/data/file", "of=/dev/null", "iflag=direct"] if read else [
        "if=/dev/zero", "of=/data/file", "oflag=direct"
    ]  # fmt: skip
    (tmp_path / "data").mkdir()
    with open(tmp_path / "data/file", "wb") as file:
        file.write(os.urandom(2 * MIB))
        os.fsync(file.fileno())

    def seconds(rate: int) -> float:
        throttle = {"blockIO": {key: [{"major": major, "minor": minor, "rate": rate}]}}
        bundle = place.bundle(throttle, *command)
        bundle.update({"mounts": [{"destination": "/data", "source": str(tmp_path / "data"), "options": ["rbind"]}]})
        begin = time.monotonic()
        done = place.driver.runtime.run(bundle)
        assert done.returncode == 0, done.stderr
        return time.monotonic() - begin

    slow = seconds(MIB if "Bps" in key else 4)
    assert slow > 1.5


def test_weight_of_the_disk(place: Place) -> None:
    if not (Path(FOUND["blkio"].mount, place.name) / "blkio.bfq.weight").exists():
        pytest.skip("needs the bfq scheduler")
    place.start({"blockIO": {"weight": 300}})
    assert place.read("blkio.bfq.weight") == "300"


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ({"leafWeight": 300}, "blkio.leaf_weight (linux/resources/blockIO/leafWeight): this kernel does not have the"),
        (
            {"throttleReadBpsDevice": [{"major": 400, "minor": 7, "rate": 5}]},
            "blkio.throttle.read_bps_device (linux/resources/blockIO/throttleReadBpsDevice/0): the machine has no such",
        ),
    ],
)
def test_what_the_disks_cannot_do_is_refused(place: Place, block: Json, words: str) -> None:
    if "leafWeight" in block and Path(FOUND["blkio"].mount, place.name, "blkio.leaf_weight").exists():
        pytest.skip("this kernel has leaf weights")
    done = place.run({"blockIO": block})
    assert done.returncode == 1
    assert words in done.stderr
    assert place.left() == []


def test_pids_by_update(place: Place) -> None:
    id = place.start({"pids": {"limit": 2}})
    runtime = place.driver.runtime
    script = "sleep 0 & wait $!"
    done = runtime.call("exec", id, "/bin/sh", "-c", script)
    assert "fork" in done.stderr
    runtime.call("update", "--pids-limit", "20", id, check=True)
    assert runtime.call("exec", id, "/bin/sh", "-c", script).returncode == 0


@pytest.mark.skipif(not os.path.exists("/dev/fuse"), reason="needs /dev/fuse, which anybody may open")
def test_devices_by_update(place: Place) -> None:
    """From one set of rules to another; what is open to both stays open."""
    deny = {"allow": False, "access": "rwm"}
    one = {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"}
    other = {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "w"}
    node = [{"path": "/dev/device", "type": "c", "major": 10, "minor": 229, "fileMode": 0o666}]
    id = place.start({"devices": [deny, one]}, devices=node)
    runtime = place.driver.runtime

    def opens(how: str) -> bool:
        return runtime.call("exec", id, "/bin/sh", "-c", f": {how} /dev/device").returncode == 0

    assert opens("<")
    assert opens(">")
    done = runtime.call("update", "--resources", "-", id, input=json.dumps({"devices": [deny, other]}))
    assert done.returncode == 0, done.stderr
    assert opens(">")
    assert not opens("<")
    assert runtime.call("exec", id, "/bin/sh", "-c", ": < /dev/null").returncode == 0


def test_kill_of_all_reaches_every_process(place: Place) -> None:
    runtime = place.driver.runtime
    script = "trap '' TERM; sleep 1000 & sleep 1000 & wait"
    spaces = [{"type": kind} for kind in ("mount", "uts")]
    id = place.start({}, "/bin/sh", "-c", script, namespaces=spaces)
    wait_until(lambda: place.read("pids.current") == "3", "all three run")
    pids = [int(word) for word in (place.path("pids") / "cgroup.procs").read_text().split()]
    told = json.loads(runtime.call("ps", "--format", "json", id, check=True).stdout)
    assert sorted(told) == sorted(pids)
    table = runtime.call("ps", id, check=True).stdout.splitlines()
    assert "PID" in table[0]
    assert {int(line.split()[1]) for line in table[1:]} == set(pids)
    runtime.call("kill", "--all", id, "KILL", check=True)
    place.driver.stopped(id)
    wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids), "all have ended")


def test_statistics_are_the_files(place: Place) -> None:
    id = place.start({"memory": {"limit": 64 * MIB}, "pids": {"limit": 9}, "cpu": {"cpus": "0"}})
    data = json.loads(place.driver.runtime.call("events", "--stats", id, check=True).stdout)["data"]
    assert data["memory"]["usage"]["limit"] == 64 * MIB
    assert data["memory"]["usage"]["max"] <= int(place.read("memory.max_usage_in_bytes"))
    assert data["pids"] == {"current": 1, "limit": 9}
    assert data["cpuset"]["cpus"] == [0]
    assert data["cpu"]["usage"]["total"] <= int(place.read("cpuacct.usage"))
    assert set(data["memory"]["raw"]) == {line.split()[0] for line in place.read("memory.stat").splitlines()}


def shape(value: Any, pointer: str = "") -> set[str]:
    """Every member's path; of a list its first entry."""
    if isinstance(value, dict):
        return {pointer}.union(*(shape(item, f"{pointer}/{key}") for key, item in value.items()))
    return shape(value[0], f"{pointer}/0") if isinstance(value, list) and value else {pointer}


@pytest.mark.skipif(not shutil.which("runc"), reason="needs runc")
def test_statistics_have_the_form_of_runc(place: Place) -> None:
    """Every member that runc prints, pyrunc prints, for the same work."""
    limits = {"memory": {"limit": 64 * MIB}, "pids": {"limit": 9}, "cpu": {"quota": 50000, "period": 100000}}
    script = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; dd if=/dev/zero of=/tmp/x bs=64k count=4; sleep 1000"
    ours = place.start(limits, "/bin/sh", "-c", script)
    bundle = place.bundle(limits, "/bin/sh", "-c", script, name="control")
    runc = ["runc", "--root", str(bundle.path / "runc-state")]
    name = f"{place.name}-control"
    subprocess.run([*runc, "create", "-b", str(bundle.path), name], check=True, stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    try:
        subprocess.run([*runc, "start", name], check=True)
        time.sleep(0.5)
        told = subprocess.run([*runc, "events", "--stats", name], check=True, capture_output=True).stdout
        theirs = json.loads(told)["data"]
    finally:
        subprocess.run([*runc, "delete", "-f", name], check=True)
    mine = json.loads(place.driver.runtime.call("events", "--stats", ours, check=True).stdout)["data"]
    # Zeroes are left out, and what a container has read or written by then differs.
    missing = {it for it in shape(theirs) - shape(mine) if not it.startswith(("/blkio", "/cpu/throttling"))}
    assert missing == set()


@pytest.mark.parametrize("options", [[], ["ro"]])
def test_the_mount_is_as_asked(place: Place, options: list[str], cgroupfs: Driver) -> None:
    bundle = place.bundle({}, "/bin/sh", "-c", "mkdir /sys/fs/cgroup/pids/below && rmdir /sys/fs/cgroup/pids/below")
    cgroup = {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", *options]}
    bundle.update({"mounts": [{"destination": "/sys", "type": "sysfs", "source": "sysfs"}, cgroup]})
    done = cgroupfs.runtime.run(bundle)
    assert (done.returncode == 0) is not bool(options), done.stderr
    assert ("Read-only file system" in done.stderr) is bool(options)


def test_paths_are_masked_beside_the_mount(place: Place) -> None:
    """The mount uses no register of the program that is somebody else's by then."""
    paths = [
        "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/scsi",
        "/sys/firmware", "/sys/fs/selinux", "/sys/dev/block", "/sys/fs/cgroup/pids/cgroup.procs",
    ]  # fmt: skip
    script = "ls -A /sys/firmware /sys/dev/block; wc -c < /proc/timer_list; wc -c < /sys/fs/cgroup/pids/cgroup.procs"
    bundle = place.bundle({}, "/bin/sh", "-c", script, maskedPaths=paths)
    mounts = [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]},
        {"destination": "/run", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs"},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]},
        {"destination": "/var/log", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]},
        {"destination": "/sys/fs/cgroup/systemd", "source": "/sys/fs/cgroup/systemd", "options": ["bind"]},
    ]
    bundle.update({"mounts": mounts})
    done = place.driver.runtime.run(bundle)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-2:] == ["0", "0"]
