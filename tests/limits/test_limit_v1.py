"""Limits by v1 hierarchies: each enforced by the kernel, in groups below one that the test makes in each hierarchy."""

import contextlib
import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from limits.limit_base import HOG, MIB, wait_until
from limits.v1_place import FOUND, NEEDS, Place, spaces
from support import Json

pytestmark = [pytest.mark.host, *NEEDS]


def test_a_group_in_each_hierarchy_and_none_afterwards(place: Place) -> None:
    id = place.start({})
    pid = str(place.driver.runtime.state(id)["pid"])
    for name in FOUND:
        assert (place.path(name) / "cgroup.procs").read_text().split() == [pid], name
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    assert {line.split(":", 2)[2] for line in lines if line.split(":")[1] in FOUND} == {f"/{place.name}/it"}
    place.driver.runtime.call("delete", "--force", id, check=True)
    assert place.left() == []


def test_without_a_path_it_lies_below_the_callers_own_group(place: Place) -> None:
    for top in place.tops:
        if "cpuset" in top:
            for file in ("cpuset.cpus", "cpuset.mems"):
                Path(top, place.name, file).write_text(Path(top, file).read_text())
    # A process that goes into our groups before it calls the runtime.
    into = "".join(f"echo $$ > {it.mount}/{place.name}/cgroup.procs; " for it in FOUND.values())
    runtime = place.driver.runtime
    own = spaces("pid", "mount", "uts")
    bundle = place.driver.bundle({"pids": {"limit": 9}}, "/bin/cat", "/proc/self/cgroup", namespaces=own)
    id = runtime.new_id()
    command = runtime.command("run", "--bundle", str(bundle.path), id)
    script = into + 'exec "$@"'
    done = subprocess.run(["sh", "-c", script, "sh", *command], capture_output=True, text=True, check=True)
    for line in done.stdout.splitlines():
        if line.split(":")[1] in FOUND:
            assert line.split(":", 2)[2] == f"/{place.name}/{id}"


def test_pids(place: Place) -> None:
    script = "for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; wait"
    done = place.run({"pids": {"limit": 4}}, "/bin/sh", "-c", script)
    assert "fork" in done.stderr


def test_memory_is_enforced_and_the_kill_is_told(place: Place) -> None:
    done = place.run({"memory": {"limit": 32 * MIB, "swap": 32 * MIB}}, *HOG)
    assert done.returncode == 137


def test_an_event_for_an_oom_kill(place: Place) -> None:
    id = place.start({"memory": {"limit": 32 * MIB, "swap": 32 * MIB}})
    runtime = place.driver.runtime
    with subprocess.Popen(runtime.command("events", "--interval", "1h", id), stdout=subprocess.PIPE, text=True) as it:
        assert it.stdout is not None

        def watches() -> bool:
            links = []
            for fd in Path(f"/proc/{it.pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    links.append(os.readlink(fd))
            # The eventfd is registered once the descriptor of memory.oom_control is closed again.
            return any("eventfd" in link for link in links) and not any("oom_control" in link for link in links)

        wait_until(watches, "events watches")
        time.sleep(0.2)
        assert runtime.call("exec", id, *HOG).returncode == 137
        assert json.loads(it.stdout.readline()) == {"type": "oom", "id": id}
        runtime.call("kill", id, "KILL", check=True)
        assert it.wait(30) == 0
    stats = json.loads(place.read("memory.oom_control").split("\n")[-1].replace("oom_kill ", ""))
    assert stats >= 1


def test_memory_properties(place: Place) -> None:
    memory = {
        "limit": 64 * MIB, "swap": 96 * MIB, "reservation": 16 * MIB, "swappiness": 7, "disableOOMKiller": True,
        "useHierarchy": True,
    }  # fmt: skip
    place.start({"memory": memory})
    assert place.read("memory.limit_in_bytes") == str(64 * MIB)
    assert place.read("memory.memsw.limit_in_bytes") == str(96 * MIB)
    assert place.read("memory.soft_limit_in_bytes") == str(16 * MIB)
    assert place.read("memory.swappiness") == "7"
    assert "oom_kill_disable 1" in place.read("memory.oom_control")


def test_cpu_quota_throttles(place: Place) -> None:
    id = place.start({"cpu": {"quota": 10000, "period": 100000, "shares": 300}}, "/bin/sh", "-c", "while :; do :; done")

    def throttled() -> bool:
        return any(line.split()[0] == "nr_throttled" and line.split()[1] != "0" for line in stat())

    def stat() -> list[str]:
        return (place.path("cpu") / "cpu.stat").read_text().splitlines()

    wait_until(throttled, "the kernel has throttled the loop")
    assert place.read("cpu.shares") == "300"
    data = json.loads(place.driver.runtime.call("events", "--stats", id, check=True).stdout)["data"]
    assert data["cpu"]["throttling"]["throttledPeriods"] > 0
    assert data["cpu"]["usage"]["total"] > 0
    assert data["memory"]["usage"]["usage"] > 0
    assert data["pids"]["current"] == 1


def test_cpu_shares_that_the_kernel_would_change(place: Place) -> None:
    done = place.run({"cpu": {"shares": 1}})
    assert done.returncode == 1
    assert "the minimum allowed cpu-shares is 2" in done.stderr
    assert place.left() == []


def test_cpuset(place: Place) -> None:
    done = place.run({"cpu": {"cpus": "0", "mems": "0"}}, "/bin/grep", "Cpus_allowed_list", "/proc/self/status")
    assert done.stdout.split() == ["Cpus_allowed_list:", "0"]


@pytest.mark.skipif(not os.path.exists("/dev/fuse"), reason="needs /dev/fuse, which anybody may open")
@pytest.mark.parametrize(("allow", "status"), [(True, 0), (False, 1)])
def test_devices(place: Place, allow: bool, status: int) -> None:
    resources = {
        "devices": [
            {"allow": False, "access": "rwm"},
            {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rwm"},
            {"allow": allow, "type": "c", "major": 10, "minor": 229, "access": "r"},
        ]
    }
    node = [{"path": "/dev/device", "type": "c", "major": 10, "minor": 229, "fileMode": 0o666}]
    done = place.run(resources, "/bin/sh", "-c", ": < /dev/device && : < /dev/null", devices=node)
    assert done.returncode == status, done.stderr
    assert ("not permitted" in done.stderr) is not allow


def test_what_the_device_list_cannot_say_is_refused(place: Place) -> None:
    devices = [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "c", "major": 10, "access": "rwm"},
        {"allow": False, "type": "c", "major": 10, "minor": 229, "access": "rwm"},
    ]
    done = place.run({"devices": devices})
    assert done.returncode == 1
    assert "cgroup v1 cannot take c 10:229 rwm out of c 10:* rwm (linux/resources/devices/2)" in done.stderr
    assert place.left() == []


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        ({"unified": {"memory.high": "1"}}, "cgroup v1 holds this host's controllers"),
        ({"memory": {"swap": MIB}}, "unable to set a swap limit without a memory limit"),
        ({"cpu": {"cpus": "4000"}}, 'write "4000" to cpuset.cpus (linux/resources/cpu/cpus)'),
    ],
)
def test_refused_with_a_reason(place: Place, resources: Json, words: str) -> None:
    done = place.run(resources)
    assert done.returncode == 1
    assert words in done.stderr.replace('\\"', '"')
    assert place.left() == []


@pytest.mark.skipif("net_cls" in FOUND, reason="this machine has net_cls")
def test_a_controller_that_is_not_mounted(place: Place) -> None:
    done = place.run({"network": {"classID": 7}})
    assert done.returncode == 1
    text = done.stderr.replace('\\"', '"')
    assert 'controller "net_cls" not available: no cgroup v1 hierarchy with it is mounted' in text
    assert place.left() == []


def test_pause_stops_and_kill_reaches_what_is_frozen(place: Place) -> None:
    runtime = place.driver.runtime
    id = place.start({}, "/bin/sh", "-c", "i=0; while :; do i=$((i+1)); echo $i > /tmp/i; done")
    group = place.path("cpuacct")
    wait_until(lambda: int((group / "cpuacct.usage").read_text()) > 0, "it runs")
    runtime.call("pause", id, check=True)
    assert place.driver.status(id) == "paused"
    assert place.read("freezer.state") == "FROZEN"
    before = (group / "cpuacct.usage").read_text()
    time.sleep(0.3)
    assert (group / "cpuacct.usage").read_text() == before
    runtime.call("resume", id, check=True)
    assert place.driver.status(id) == "running"
    wait_until(lambda: (group / "cpuacct.usage").read_text() != before, "it runs again")
    runtime.call("pause", id, check=True)
    runtime.call("kill", id, "KILL", check=True)
    place.driver.stopped(id)


def test_kill_of_all_without_a_pid_namespace_and_delete_of_the_frozen(place: Place) -> None:
    runtime = place.driver.runtime
    id = place.start({}, "/bin/sh", "-c", "sleep 1000 & sleep 1000 & wait", namespaces=spaces("mount", "uts"))
    wait_until(lambda: len(runtime.call("ps", "--format", "json", id).stdout.split(",")) == 3, "all three run")
    members = [int(word) for word in place.read("pids.current").split()]
    assert members == [3]
    runtime.call("pause", id, check=True)
    runtime.call("delete", "--force", id, check=True)
    assert place.left() == []


def test_update_in_both_directions_and_back_where_refused(place: Place) -> None:
    runtime = place.driver.runtime
    id = place.start({"memory": {"limit": 32 * MIB, "swap": 40 * MIB}, "pids": {"limit": 10}})
    runtime.call("update", "--memory", "128m", "--memory-swap", "256m", id, check=True)
    assert place.read("memory.limit_in_bytes") == str(128 * MIB)
    runtime.call("update", "--memory", "16m", "--memory-swap", "16m", "--pids-limit", "7", id, check=True)
    assert place.read("memory.memsw.limit_in_bytes") == str(16 * MIB)
    assert place.read("pids.max") == "7"
    done = runtime.call("update", "--memory", "64m", "--memory-swap", "64m", "--cpuset-cpus", "4000", id)
    assert done.returncode == 1
    assert place.read("memory.limit_in_bytes") == str(16 * MIB)
    assert place.read("memory.memsw.limit_in_bytes") == str(16 * MIB)
    runtime.call("update", "--memory", "-1", id, check=True)
    assert int(place.read("memory.memsw.limit_in_bytes")) > 1 << 60


def test_exec_joins_every_group_or_one_below(place: Place) -> None:
    runtime = place.driver.runtime
    id = place.start({}, namespaces=spaces("pid", "mount", "uts"))
    told = runtime.call("exec", id, "/bin/cat", "/proc/self/cgroup", check=True).stdout
    assert {line.split(":", 2)[2] for line in told.splitlines() if line.split(":")[1] in FOUND} == {f"/{place.name}/it"}
    (place.path("pids") / "sub").mkdir()
    told = runtime.call("exec", "--cgroup", "pids:sub", id, "/bin/cat", "/proc/self/cgroup", check=True).stdout
    paths = {line.split(":", 2)[1]: line.split(":", 2)[2] for line in told.splitlines()}
    assert paths["pids"] == f"/{place.name}/it/sub"
    assert paths["memory"] == f"/{place.name}/it"
    done = runtime.call("exec", "--cgroup", "nonsense:sub", id, "/bin/true")
    assert 'unknown controller \\"nonsense\\"' in done.stderr


@pytest.mark.parametrize("namespace", [True, False])
def test_the_mount_has_the_containers_groups_and_no_others(place: Place, namespace: bool) -> None:
    bundle = place.bundle(
        {"pids": {"limit": 12}},
        "/bin/sh",
        "-c",
        "cat /sys/fs/cgroup/pids/pids.max; ls /sys/fs/cgroup; mkdir /sys/fs/cgroup/pids/a || touch /sys/fs/cgroup/b",
        namespaces=spaces("pid", "mount", "uts", *(("cgroup",) if namespace else ())),
    )
    mount = {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro", "nosuid"]}
    sysfs = {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]}
    proc = {"destination": "/proc", "type": "proc", "source": "proc"}
    bundle.update({"mounts": [proc, sysfs, mount]})
    done = place.driver.runtime.run(bundle)
    words = done.stdout.split()
    assert words[0] == "12"
    assert set(FOUND) <= {word if word != "systemd" else "name=systemd" for word in words[1:]}
    assert done.stderr.count("Read-only file system") == 2
    assert done.returncode != 0


def test_a_group_with_someone_elses_process_is_left_alone(place: Place) -> None:
    group = place.path("pids")
    group.mkdir()
    with subprocess.Popen(["sleep", "1000"]) as other:
        try:
            (group / "cgroup.procs").write_text(str(other.pid))
            done = place.run({})
            assert "container's cgroup is not empty: 1 process(es) found" in done.stderr
            assert other.poll() is None
        finally:
            other.kill()
    group.rmdir()
    assert place.left() == []
