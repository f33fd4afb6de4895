"""Containers come and go, and nothing of them stays: no cgroup, no unit, no eBPF program.

PYRUNC_CYCLES says how many containers; the default keeps a run short.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest

from limits.limit_base import CGROUPS, Driver, wait_until

pytestmark = pytest.mark.guest

CYCLES = int(os.environ.get("PYRUNC_CYCLES", "0"))
USUAL = {"cgroupfs": 24, "systemd": 10}


def groups() -> set[str]:
    return {path for path, _, _ in os.walk(CGROUPS) if "limit-" in path}


def units() -> str:
    return subprocess.run(
        ["systemctl", "list-units", "--all", "--plain", "--no-legend", "*limit-*"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def programs() -> list[int]:
    """The ids of pyrunc's device programs; the name is cut by the kernel to 15 bytes."""
    done = subprocess.run(["bpftool", "-j", "prog", "list"], capture_output=True, text=True, check=True)
    return [p["id"] for p in json.loads(done.stdout) if p.get("name") == "pyrunc_devices"]


@pytest.mark.slow
def test_nothing_is_left(driver: Driver, root_dir: Path) -> None:
    assert (groups(), units(), programs()) == (set(), "", [])
    resources = {"pids": {"limit": 9}, "devices": [{"allow": False, "access": "rwm"}]}
    bundle = driver.bundle(resources)
    for number in range(CYCLES or USUAL[driver.name]):
        id, _ = driver.create(bundle) if number % 4 else driver.start(bundle)
        if not number:
            assert groups()
            assert len(programs()) == 1
            assert bool(units()) == (driver.name == "systemd")
        driver.runtime.call("delete", "--force", id, check=True)
        driver.runtime.ids.remove(id)
    assert groups() == set()
    assert os.listdir(driver.runtime.root) == []
    wait_until(lambda: not units(), "no unit is left")
    # The kernel frees programs once nothing can be running them any more.
    wait_until(lambda: not programs(), "no program is left")


@pytest.mark.parametrize("kind", ["args", "hook", "mount"])
def test_nothing_is_left_of_a_failed_one(driver: Driver, kind: str) -> None:
    bundle = driver.bundle({"pids": {"limit": 9}})
    if kind == "args":
        bundle.args("/nonexistent")
    elif kind == "hook":
        bundle.update({"hooks": {"createRuntime": [{"path": "/bin/false"}]}})
    else:
        mount = {"destination": "/x", "type": "bind", "source": "/nonexistent"}
        bundle.update({"mounts": [*bundle.config["mounts"], mount]})
    assert driver.runtime.run(bundle, id=f"limit-{os.getpid()}-{kind}").returncode != 0
    assert groups() == set()
    wait_until(lambda: not units(), "no unit is left")
    wait_until(lambda: not programs(), "no program is left")
