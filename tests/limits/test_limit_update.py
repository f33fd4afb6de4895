"""Every flag of `update`: what the file says afterwards, and the unit, and a second update."""

import json
import subprocess
from pathlib import Path

import pytest

from limits.limit_base import MIB, Driver, Group, disk
from pyrunc.container.update import FLAGS

pytestmark = pytest.mark.guest

# Flag, its text, the file, what the file says then, and systemd's property with its value.
CASES = [
    ("cpu-share", "2048", "cpu.weight", "174", "CPUWeight=174"),
    ("cpu-quota", "30000", "cpu.max", "30000 100000", "CPUQuotaPerSecUSec=300ms"),
    ("cpu-period", "50000", "cpu.max", "40000 50000", "CPUQuotaPeriodUSec=50ms"),
    ("cpu-burst", "5000", "cpu.max.burst", "5000", ""),
    ("memory", "32m", "memory.max", str(32 * MIB), f"MemoryMax={32 * MIB}"),
    ("memory", "-1", "memory.max", "max", "MemoryMax=infinity"),
    ("memory-reservation", "8M", "memory.low", str(8 * MIB), f"MemoryLow={8 * MIB}"),
    ("memory-swap", "96m", "memory.swap.max", str(32 * MIB), f"MemorySwapMax={32 * MIB}"),
    ("pids-limit", "77", "pids.max", "77", "TasksMax=77"),
    ("pids-limit", "-1", "pids.max", "max", "TasksMax=infinity"),
    ("pids-limit", "0", "pids.max", "1", "TasksMax=1"),
]
BEFORE = {
    "cpu": {"quota": 40000, "period": 100000},
    "memory": {"limit": 64 * MIB},
    "pids": {"limit": 50},
}


def unit_says(group: Group, wanted: str) -> None:
    name = wanted.partition("=")[0]
    done = subprocess.run(
        ["systemctl", "show", group.path.name, f"--property={name}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == wanted


def test_every_flag(driver: Driver) -> None:
    """On one container, that starts from BEFORE each time."""
    bundle = driver.bundle(BEFORE)
    id, group = driver.start(bundle)
    for flag, text, file, value, wanted in CASES:
        driver.runtime.call("update", f"--{flag}", text, id, check=True)
        assert group[file] == value, f"--{flag} {text}"
        if wanted and driver.name == "systemd":
            unit_says(group, wanted)
        back = json.dumps(BEFORE)
        driver.runtime.call("update", "-r", "-", id, input=back, check=True)
        assert group["memory.max"] == str(64 * MIB)
        assert group["pids.max"] == "50"


def test_idle(driver: Driver) -> None:
    id, group = driver.start(driver.bundle({"cpu": {"shares": 512}}))
    assert group["cpu.weight"] == "59"
    driver.runtime.call("update", "--cpu-idle", "1", id, check=True)
    assert group["cpu.idle"] == "1"
    driver.runtime.call("update", "--cpu-idle", "0", id, check=True)
    assert group["cpu.idle"] == "0"
    assert group["cpu.weight"] == "59"


def test_no_flag_is_forgotten() -> None:
    tested = {case[0] for case in CASES} | {"cpu-idle", "blkio-weight"}
    assert set(FLAGS) - tested == {
        "cpu-rt-period", "cpu-rt-runtime", "cpuset-cpus", "cpuset-mems",
    }  # fmt: skip


def test_a_weight_for_disks(cgroupfs: Driver) -> None:
    id, group = cgroupfs.start(cgroupfs.bundle({}))
    done = cgroupfs.runtime.call("update", "--blkio-weight", "500", id)
    if group.has("io.bfq.weight"):
        assert group["io.bfq.weight"].splitlines()[0] == "default 500"
    elif group.has("io.weight"):
        assert group["io.weight"].splitlines()[0] == "default 4950"
    else:
        assert done.returncode == 1
        assert "io.weight (linux/resources/blockIO/weight)" in done.stderr
        assert "this kernel does not have the file" in done.stderr
        assert "CONFIG_BLK_CGROUP_IOCOST" in done.stderr


def test_what_v2_does_not_have_is_warned_about(cgroupfs: Driver) -> None:
    id, _ = cgroupfs.start(cgroupfs.bundle({}))
    done = cgroupfs.runtime.call("update", "--cpu-rt-runtime", "1000", id, check=True)
    assert "cgroup v2 has no realtime budget" in done.stderr
    network = {"network": {"classID": 7, "priorities": [{"name": "eth0", "priority": 3}]}}
    done = cgroupfs.runtime.run(cgroupfs.bundle(network, "/bin/true"), check=True)
    assert "linux/resources/network/classID" in done.stderr
    assert "nftables" in done.stderr


@pytest.mark.qemu
def test_cpusets(driver: Driver) -> None:
    bundle = driver.bundle({}).shell("while :; do grep Cpus_allowed_list /proc/self/status; done")
    id, group = driver.start(bundle)
    driver.runtime.call("update", "--cpuset-cpus", "1", "--cpuset-mems", "0", id, check=True)
    assert group["cpuset.cpus"] == "1"
    assert group["cpuset.mems"] == "0"
    done = driver.runtime.call("exec", id, "/bin/grep", "Cpus_allowed_list", "/proc/self/status")
    assert done.stdout.split()[1] == "1"


def test_a_resources_file(driver: Driver, tmp_path: Path) -> None:
    rate = {"throttleWriteBpsDevice": [device(MIB)], "throttleReadIOPSDevice": [device(50)]}
    changes = {"Memory": {"Limit": 48 * MIB}, "blockIO": rate, "unified": {"memory.high": "max"}}
    file = tmp_path / "resources.json"
    file.write_text(json.dumps(changes))
    id, group = driver.start(driver.bundle(BEFORE))
    driver.runtime.call("update", "--resources", str(file), id, check=True)
    assert group["memory.max"] == str(48 * MIB)
    assert group["io.max"] == f"{disk()} rbps=max wbps={MIB} riops=50 wiops=max"
    assert group["cpu.max"] == "40000 100000"


def test_unified_of_before_gives_way(driver: Driver) -> None:
    """What config.json says of a file in `unified` must not undo an update of the member for it."""
    unified = {"pids.max": "40", "memory.max": str(64 * MIB), "memory.high": str(60 * MIB)}
    id, group = driver.start(driver.bundle({"unified": unified}))
    driver.runtime.call("update", "--pids-limit", "41", "--memory", "80m", id, check=True)
    driver.runtime.call("update", "--cpu-quota", "-5", id, check=True)
    assert group["pids.max"] == "41"
    assert group["memory.max"] == str(80 * MIB)
    assert group["memory.high"] == str(60 * MIB)
    assert group["cpu.max"].split()[0] == "max"
    if driver.name == "systemd":
        unit_says(group, "TasksMax=41")


def device(rate: int) -> dict[str, int]:
    major, minor = map(int, disk().split(":"))
    return {"major": major, "minor": minor, "rate": rate}


def test_a_refused_update_leaves_all_as_it_was(driver: Driver) -> None:
    id, group = driver.start(driver.bundle(BEFORE))
    said = driver.fails("update", "--pids-limit", "60", "--cpu-period", "5", id)
    assert "cpu.max (linux/resources/cpu/" in said
    assert group["pids.max"] == "50"
    assert group["cpu.max"] == "40000 100000"
    if driver.name == "systemd":
        unit_says(group, "TasksMax=50")


BURST = {"cpu": {"quota": 50000, "period": 100000, "burst": 20000, "shares": 512}}


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ("--cpu-quota 10000", "cpu burst 20000 is larger than the quota 10000 (linux/resources/cpu/burst)"),
        ("--cpu-burst 90000", "cpu burst 90000 is larger than the quota 50000 (linux/resources/cpu/burst)"),
        ("--cpu-burst 0 --cpu-quota 500", "cpu.max (linux/resources/cpu/quota)"),
        ("--cpu-period 10", "cpu.max (linux/resources/cpu/quota)"),
        # Refused by the kernel where the cpu's files have their new values.
        ("-r low", "cgroup.max.depth (linux/resources/unified/cgroup.max.depth)"),
        ("-r high", "cgroup.max.depth (linux/resources/unified/cgroup.max.depth)"),
        ("-r idle", "cgroup.max.depth (linux/resources/unified/cgroup.max.depth)"),
    ],
)
def test_a_refused_update_leaves_the_burst_and_the_weight(
    cgroupfs: Driver, tmp_path: Path, flags: str, says: str
) -> None:
    """cpu.max.burst is written twice, and may never be above the quota; an idle group loses its weight."""
    id, group = cgroupfs.start(cgroupfs.bundle(BURST))
    before = [group[name] for name in ("cpu.max", "cpu.max.burst", "cpu.weight", "cpu.idle")]
    assert before == ["50000 100000", "20000", "59", "0"]
    refused = {"unified": {"cgroup.max.depth": "deep"}}
    documents = {
        "low": {"cpu": {"quota": 30000, "burst": 25000}, **refused},
        "high": {"cpu": {"quota": 90000, "burst": 80000}, **refused},
        "idle": {"cpu": {"idle": 1}, **refused},
    }
    words = flags.split()
    if "-r" in words:
        file = tmp_path / "resources.json"
        file.write_text(json.dumps(documents[words[-1]]))
        words = ["-r", str(file)]
    assert says in cgroupfs.fails("update", *words, id)
    assert [group[name] for name in ("cpu.max", "cpu.max.burst", "cpu.weight", "cpu.idle")] == before


@pytest.mark.parametrize("driver", ["systemd"], indirect=True)
def test_a_reload_of_systemd_keeps_an_update(driver: Driver) -> None:
    id, group = driver.start(driver.bundle(BEFORE))
    driver.runtime.call("update", "--memory", "40m", "--pids-limit", "41", id, check=True)
    subprocess.run(["systemctl", "daemon-reload"], check=True)
    assert group["memory.max"] == str(40 * MIB)
    assert group["pids.max"] == "41"
