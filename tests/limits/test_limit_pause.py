"""pause, resume, and what can be done to a container that is paused."""

import time
from pathlib import Path

import pytest

from limits.limit_base import Driver, wait_until
from support import Bundle

pytestmark = pytest.mark.guest


def counting(driver: Driver) -> Bundle:
    return driver.bundle({}).shell("n=0; while :; do n=$((n+1)); echo $n; sleep 0.02; done")


def size(path: Path) -> int:
    return path.stat().st_size


def test_pause_stops_and_resume_goes_on(driver: Driver) -> None:
    bundle = counting(driver)
    id, group = driver.start(bundle)
    output = bundle.path / "output"
    wait_until(lambda: size(output) > 10, "it counts")
    driver.runtime.call("pause", id, check=True)
    assert driver.status(id) == "paused"
    assert group.table("cgroup.events")["frozen"] == 1
    here = size(output)
    time.sleep(0.3)
    assert size(output) == here
    assert "container not running" in driver.fails("pause", id)
    driver.runtime.call("resume", id, check=True)
    assert driver.status(id) == "running"
    wait_until(lambda: size(output) > here, "it goes on")
    assert "container not paused" in driver.fails("resume", id)


def test_a_paused_container_can_be_killed(driver: Driver) -> None:
    id, group = driver.start(counting(driver))
    driver.runtime.call("pause", id, check=True)
    driver.runtime.call("kill", id, "KILL", check=True)
    driver.stopped(id)
    driver.runtime.call("delete", id, check=True)
    assert not group.path.exists()


def test_a_paused_container_can_be_deleted(driver: Driver) -> None:
    id, group = driver.start(counting(driver))
    driver.runtime.call("pause", id, check=True)
    assert "cannot delete container" in driver.fails("delete", id)
    driver.runtime.call("delete", "--force", id, check=True)
    assert not group.path.exists()


def test_a_signal_waits_for_resume(driver: Driver) -> None:
    bundle = driver.bundle({}).shell("trap 'echo told; exit' TERM; while :; do sleep 0.02; done")
    id, _ = driver.start(bundle)
    driver.runtime.call("pause", id, check=True)
    driver.runtime.call("kill", id, "TERM", check=True)
    time.sleep(0.2)
    assert driver.status(id) == "paused"
    driver.runtime.call("resume", id, check=True)
    driver.stopped(id)
    assert (bundle.path / "output").read_text() == "told\n"


def test_update_of_a_paused_container(driver: Driver) -> None:
    id, group = driver.start(counting(driver))
    driver.runtime.call("pause", id, check=True)
    driver.runtime.call("update", "--pids-limit", "33", id, check=True)
    assert group["pids.max"] == "33"
    assert driver.status(id) == "paused"


def test_a_created_container_can_be_paused(driver: Driver) -> None:
    id, _ = driver.create(counting(driver))
    driver.runtime.call("pause", id, check=True)
    assert driver.status(id) == "paused"
    driver.runtime.call("resume", id, check=True)
    driver.runtime.call("start", id, check=True)
    assert driver.status(id) == "running"


def test_processes_that_are_left_are_killed_by_their_cgroup(cgroupfs: Driver) -> None:
    """Without a process namespace of its own the init's end does not end the others."""
    bundle = cgroupfs.bundle({}).shell("sleep 1000 & sleep 1000 & wait")
    spaces = [n for n in bundle.config["linux"]["namespaces"] if n["type"] != "pid"]
    bundle.update({"linux": {"namespaces": spaces}})
    id, group = cgroupfs.start(bundle)
    wait_until(lambda: len(group["cgroup.procs"].split()) == 3, "three processes")
    cgroupfs.runtime.call("kill", id, "KILL", check=True)
    wait_until(lambda: not group["cgroup.procs"], "none is left")
    cgroupfs.runtime.call("delete", id, check=True)
    assert not group.path.exists()
