"""`events`: each field of the statistics against the file that it comes from."""

import json
import time
from typing import Any

import pytest

from limits.limit_base import MIB, Driver, Group, wait_until

pytestmark = pytest.mark.guest

NO_LIMIT = (1 << 64) - 1


def stats(driver: Driver, id: str) -> dict[str, Any]:
    line = driver.runtime.call("events", "--stats", id, check=True).stdout
    event = json.loads(line)
    assert (event["type"], event["id"], line.count("\n")) == ("stats", id, 1)
    return dict(event["data"])


def frozen(driver: Driver, resources: dict[str, Any]) -> tuple[str, Group]:
    """A container that has used some of everything and now stands still, as do its numbers."""
    bundle = driver.bundle(resources)
    bundle.shell("cat /bin/busybox > /dev/shm/x; i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done;"
                 "(sleep 1000 &); echo ready; sleep 1000; :")  # fmt: skip
    id, group = driver.start(bundle)
    wait_until(lambda: "ready" in (bundle.path / "output").read_text(), "ready", 40)
    wait_until(lambda: group["pids.current"] == "3", "three processes")
    driver.runtime.call("pause", id, check=True)
    wait_until(lambda: stands_still(group), "the last period's end")
    return id, group


def stands_still(group: Group) -> bool:
    """Whether nothing is counted any more: the timer of a quota runs once after everybody is frozen."""
    before = group.table("cpu.stat")
    time.sleep(0.3)
    return group.table("cpu.stat") == before


def test_fields_are_what_the_files_say(driver: Driver) -> None:
    resources = {
        "memory": {"limit": 64 * MIB, "swap": 64 * MIB},
        "pids": {"limit": 20},
        "cpu": {"quota": 90000, "period": 100000, "burst": 1000},
    }
    id, group = frozen(driver, resources)
    data = stats(driver, id)
    assert list(data) == [
        "cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "intel_rdt", "network_interfaces",
    ]  # fmt: skip
    cpu = group.table("cpu.stat")
    assert data["cpu"]["usage"] == {
        "total": cpu["usage_usec"] * 1000,
        "kernel": cpu["system_usec"] * 1000,
        "user": cpu["user_usec"] * 1000,
    }
    names = {"periods": "nr_periods", "throttledPeriods": "nr_throttled"}
    times = {"throttledTime": "throttled_usec", "burstTime": "burst_usec"}
    for field, value in data["cpu"]["throttling"].items():
        if field in times:
            assert value == cpu[times[field]] * 1000
        elif field in names:
            assert value == cpu[names[field]]
    memory = data["memory"]
    current = int(group["memory.current"])
    assert memory["usage"] == {
        "limit": 64 * MIB,
        "usage": current,
        "max": int(group["memory.peak"]),
        "failcnt": 0,
    }
    assert memory["swap"]["usage"] == current + int(group["memory.swap.current"])
    assert memory["swap"]["limit"] == 64 * MIB
    raw = group.table("memory.stat")
    assert set(memory["raw"]) == set(raw)
    assert memory["raw"]["shmem"] == raw["shmem"] > MIB
    assert memory["cache"] == raw["file"]
    assert memory["kernel"]["usage"] == raw["kernel"]
    counts = group.table("memory.events")
    assert memory["event_count"] == {name: counts[name] for name in memory["event_count"]}
    assert data["pids"] == {"current": 3, "limit": 20}
    assert data["intel_rdt"] == {}
    assert data["network_interfaces"] is None


def test_without_limits(driver: Driver) -> None:
    id, group = frozen(driver, {})
    data = stats(driver, id)
    assert data["memory"]["usage"]["limit"] == NO_LIMIT
    unlimited = driver.name == "cgroupfs" or group["pids.max"] == "max"
    assert ("limit" in data["pids"]) != unlimited


def test_throttling_and_io(cgroupfs: Driver) -> None:
    bundle = cgroupfs.bundle({"cpu": {"quota": 10000, "period": 100000}})
    bundle.shell("while :; do :; done")
    id, group = cgroupfs.start(bundle)
    wait_until(lambda: group.table("cpu.stat")["nr_throttled"] > 2, "throttled")
    throttling = stats(cgroupfs, id)["cpu"]["throttling"]
    assert throttling["throttledPeriods"] >= 3
    assert throttling["throttledTime"] > 0
    assert throttling["periods"] >= throttling["throttledPeriods"]


def test_statistics_come_at_intervals(driver: Driver) -> None:
    bundle = driver.bundle({})
    id, _ = driver.start(bundle)
    events = driver.events(id, bundle, "100ms")
    wait_until(lambda: len(events.lines()) >= 3, "three of them")
    driver.runtime.call("kill", id, "KILL", check=True)
    assert {event["type"] for event in events.end()} == {"stats"}


def test_of_a_stopped_container(cgroupfs: Driver) -> None:
    id, _ = cgroupfs.start(cgroupfs.bundle({}, "/bin/true"))
    cgroupfs.stopped(id)
    assert f"container with id {id} is not running" in cgroupfs.fails("events", "--stats", id)
