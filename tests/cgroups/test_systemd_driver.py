"""The systemd driver with a real systemd: the system instance, and a user's."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("jeepney")

from pyrunc import cgroups
from pyrunc.cgroups import Manager
from pyrunc.errors import ConfigError, Error

pytestmark = pytest.mark.guest
ROOT = Path(__file__).resolve().parents[2]
MIB = 1 << 20


def show(unit: str, *names: str) -> dict[str, str]:
    out = subprocess.run(
        ["systemctl", "show", unit, *(f"--property={name}" for name in names)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return dict(line.split("=", 1) for line in out.splitlines())


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen(["sleep", "1000"])
    yield child
    child.kill()
    child.wait()


def plan(id: str, resources: dict[str, Any], path: str = "", **annotations: str) -> Manager:
    linux = {"cgroupsPath": path, "resources": resources}
    properties = {f"org.systemd.property.{key}": text for key, text in annotations.items()}
    return cgroups.manager(linux, id, driver="systemd", rootless=False, annotations=properties)


def test_life(sleeper: subprocess.Popen[bytes]) -> None:
    resources = {
        "memory": {"limit": 64 * MIB},
        "cpu": {"shares": 512, "quota": 50000, "period": 100000},
        "pids": {"limit": 42},
    }
    id = f"life{os.getpid()}"
    manager = plan(id, resources, f"pyrunc-test.slice:pre:{id}", Description="'something else'")
    assert manager.needs_pid
    assert manager.create() is None
    manager.add(sleeper.pid)
    unit = f"pre-{id}.scope"
    assert manager.path.endswith(f"/pyrunc.slice/pyrunc-test.slice/{unit}")
    assert manager.procs() == [sleeper.pid]
    assert manager.device_program()
    shown = show(unit, "MemoryMax", "TasksMax", "CPUWeight", "CPUQuotaPerSecUSec", "Description")
    assert shown == {
        "MemoryMax": str(64 * MIB),
        "TasksMax": "42",
        "CPUWeight": "59",
        "CPUQuotaPerSecUSec": "500ms",
        "Description": "something else",
    }
    assert Path(manager.path, "memory.max").read_text() == f"{64 * MIB}\n"
    again = Manager.from_state(json.loads(json.dumps(manager.to_state())), resources)
    new = again.update({"memory": {"limit": 32 * MIB}, "pids": {"limit": -1}})
    assert new["memory"]["limit"] == 32 * MIB
    assert show(unit, "MemoryMax", "TasksMax") == {
        "MemoryMax": str(32 * MIB),
        "TasksMax": "infinity",
    }
    subprocess.run(["systemctl", "daemon-reload"], check=True)
    assert Path(manager.path, "memory.max").read_text() == f"{32 * MIB}\n"
    again.freeze()
    assert again.frozen()
    again.remove()
    assert sleeper.wait(10) == -9
    assert not os.path.exists(manager.path)
    assert show(unit, "LoadState") == {"LoadState": "not-found"}
    again.remove()


def test_a_name_can_be_used_again() -> None:
    for _ in range(3):
        child = subprocess.Popen(["sleep", "1000"])
        manager = plan(f"again{os.getpid()}", {})
        manager.create()
        manager.add(child.pid)
        manager.remove()
        assert child.wait(10) == -9


def test_a_name_in_use(sleeper: subprocess.Popen[bytes]) -> None:
    manager = plan(f"used{os.getpid()}", {})
    manager.create()
    manager.add(sleeper.pid)
    with pytest.raises(Error, match="container's cgroup is not empty"):
        plan(f"used{os.getpid()}", {}).create()
    manager.remove()


def test_a_second_process_joins(sleeper: subprocess.Popen[bytes]) -> None:
    manager = plan(f"join{os.getpid()}", {})
    manager.create()
    manager.add(sleeper.pid)
    other = subprocess.Popen(["sleep", "1000"])
    Manager.from_state(manager.to_state()).add(other.pid)
    assert manager.procs() == sorted([sleeper.pid, other.pid])
    manager.remove()
    assert other.wait(10) == -9


def test_removal_of_what_never_was() -> None:
    manager = plan(f"never{os.getpid()}", {})
    manager.create()
    Manager.from_state(manager.to_state()).remove()


def test_a_property_that_systemd_refuses(sleeper: subprocess.Popen[bytes]) -> None:
    manager = plan(f"bad{os.getpid()}", {}, NoSuchProperty="uint64 5")
    manager.create()
    with pytest.raises(Error, match=r"StartTransientUnit .*NoSuchProperty"):
        manager.add(sleeper.pid)
    manager.remove()
    assert sleeper.poll() is None


def test_paths_are_for_the_other_driver() -> None:
    with pytest.raises(ConfigError, match='of format "slice:prefix:name"'):
        plan("x", {}, "/a/b")


def test_a_users_instance() -> None:
    program = (
        "import subprocess, json, sys, os\n"
        f"sys.path[:0] = {[str(ROOT), *(p for p in sys.path if 'jeepney' in p or 'site' in p)]!r}\n"
        "from pyrunc import cgroups\n"
        "child = subprocess.Popen(['sleep', '1000'])\n"
        "linux = {'resources': {'pids': {'limit': 5}, 'memory': {'limit': 33554432}}}\n"
        "m = cgroups.manager(linux, 'rootless', driver='systemd', rootless=True)\n"
        "m.create(); m.add(child.pid)\n"
        "found = [m.path, m.procs() == [child.pid], m.stats()['pids']]\n"
        "m.remove()\n"
        "print(json.dumps([*found, child.wait(), os.path.exists(m.path)]))\n"
    )
    try:
        done = subprocess.run(["as-user", sys.executable, "-c", program], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("no command as-user here")
    assert done.returncode == 0, done.stderr
    path, inside, pids, status, left = json.loads(done.stdout)
    assert path.endswith("/user@1000.service/user.slice/pyrunc-rootless.scope")
    assert (inside, pids, status, left) == (True, {"current": 1, "limit": 5}, -9, False)


def test_a_users_cgroup_in_use() -> None:
    """A name in use, and a frozen cgroup in the unit's place: refused before the process is in it."""
    program = (
        "import subprocess, sys, os\n"
        f"sys.path[:0] = {[str(ROOT), *(p for p in sys.path if 'jeepney' in p or 'site' in p)]!r}\n"
        "from pyrunc import cgroups\n"
        "from pyrunc.errors import Error\n"
        "child = subprocess.Popen(['sleep', '1000'])\n"
        "plan = lambda: cgroups.manager({}, 'inuse', driver='systemd', rootless=True)\n"
        "first = plan(); first.create(); first.add(child.pid)\n"
        "def refused():\n"
        " other = subprocess.Popen(['sleep', '1000'])\n"
        " m = plan(); m.create()\n"
        " try: m.add(other.pid)\n"
        " except Error as error: print(error)\n"
        " m.remove() if m.ours else None\n"
        " other.kill(); other.wait()\n"
        "refused()\n"
        "print(first.procs() == [child.pid])\n"
        "first.remove(); child.wait()\n"
        "os.mkdir(first.path); open(first.path + '/cgroup.freeze', 'w').write('1')\n"
        "refused()\n"
        "os.rmdir(first.path)\n"
    )
    try:
        done = subprocess.run(
            ["as-user", sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
        )
    except FileNotFoundError:
        pytest.skip("no command as-user here")
    assert done.returncode == 0, done.stderr
    busy, untouched, frozen = done.stdout.splitlines()
    assert busy.startswith("container's cgroup is not empty: 1 process(es) found in /sys/fs/cgroup/user.slice/")
    assert untouched == "True"
    assert frozen.startswith("container's cgroup unexpectedly frozen: ")


def test_rootless_without_delegation() -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from pyrunc import cgroups\n"
        "from pyrunc.errors import Error\n"
        "for linux in ({}, {'cgroupsPath': '/x'}, {'resources': {'pids': {'limit': 5}}}):\n"
        " try: print(cgroups.manager(linux, 'x', driver='cgroupfs', rootless=True).create())\n"
        " except Error as error: print(error, '|', error.hint)\n"
    )
    done = subprocess.run(
        [
            "setpriv",
            "--reuid=1000",
            "--regid=1000",
            "--clear-groups",
            sys.executable,
            "-c",
            program,
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    nothing, path, limits = done.stdout.splitlines()
    assert nothing == "None"
    assert path.startswith("unable to apply cgroup configuration: create cgroup /sys/fs/cgroup/x: permission denied")
    assert "rootless needs no limits + no cgrouppath" in limits
    assert "delegated" in limits


def test_file_and_unit_agree_on_a_quota_between_hundredths(sleeper: subprocess.Popen[bytes]) -> None:
    id = f"quota{os.getpid()}"
    manager = plan(id, {"cpu": {"quota": 500000, "period": 900000}})
    manager.create()
    manager.add(sleeper.pid)
    try:
        limit = Path(manager.path, "cpu.max")
        assert limit.read_text().split() == ["504000", "900000"]
        assert show(f"pyrunc-{id}.scope", "CPUQuotaPerSecUSec") == {"CPUQuotaPerSecUSec": "560ms"}
        manager.update({"cpu": {"quota": 600000}})
        assert limit.read_text().split() == ["603000", "900000"]
        assert show(f"pyrunc-{id}.scope", "CPUQuotaPerSecUSec") == {"CPUQuotaPerSecUSec": "670ms"}
    finally:
        manager.remove()
