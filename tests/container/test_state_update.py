"""update and events: what command lines and files mean, and what comes of it in a cgroup."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyrunc import cli
from pyrunc.container import events
from pyrunc.container.update import amount, from_file, from_flags
from pyrunc.errors import ConfigError, Error
from pyrunc.state.state import State
from pyrunc.state.store import Store
from support import ROOT, unique_id

PROGRAM = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from pyrunc.cli import main
sys.exit(main())
"""


# -- what is asked for -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("50M", 50 << 20),
        ("50m", 50 << 20),
        ("1g", 1 << 30),
        ("1GB", 1 << 30),
        ("1GiB", 1 << 30),
        ("4096", 4096),
        ("4096b", 4096),
        ("2k", 2048),
        ("-1", -1),
        ("0", 0),
    ],
)
def test_sizes(text: str, value: int) -> None:
    assert amount(text, "memory") == value


@pytest.mark.parametrize(
    ("flag", "text"),
    [
        *(("memory", text) for text in ("", "x", "1x", "1kk", "-2", "1_0", " 1", "9e9", "9999p")),
        *(("cpu-period", text) for text in ("-1", "1m", "x", "\u0661")),
        ("memory-swap", "-2"),
        ("cpu-share", "-1"),
    ],
)
def test_bad_amounts(flag: str, text: str) -> None:
    with pytest.raises(Error, match=f"invalid value for {flag}: "):
        amount(text, flag)


def test_flags_become_resources() -> None:
    given = {
        "memory": "50M",
        "memory-swap": "-1",
        "memory-reservation": "1k",
        "cpu-quota": "-1",
        "cpu-period": "50000",
        "cpu-share": "512",
        "cpu-burst": "0",
        "cpu-idle": "1",
        "cpuset-cpus": "0-3",
        "cpuset-mems": "",
        "pids-limit": 0,
        "blkio-weight": 100,
    }
    assert from_flags(given) == {
        "memory": {"limit": 50 << 20, "swap": -1, "reservation": 1024},
        "cpu": {
            "quota": -1,
            "period": 50000,
            "shares": 512,
            "burst": 0,
            "idle": 1,
            "cpus": "0-3",
        },
        "pids": {"limit": 0},
        "blockIO": {"weight": 100},
    }
    assert from_flags({}) == {}


# Every kind of mistake, and the one error that it gives.
BAD = [
    ("[]", "resources: [] is not an object", ""),
    ('{"memory": []}', "resources: [] is not an object (memory)", "/memory"),
    ('{"memory": {"limit": "1"}}', 'resources: "1" is not an integer (memory/limit)', "/memory/limit"),
    ('{"memory": {"limit": true}}', "resources: true is not an integer (memory/limit)", "/memory/limit"),
    ('{"memory": {"limit": 1.5}}', "resources: 1.5 is not an integer (memory/limit)", "/memory/limit"),
    ('{"cpu": {"cpus": 1}}', "resources: 1 is not a string (cpu/cpus)", "/cpu/cpus"),
    ('{"cpu": {"idle": 3}}', "resources: 3 is more than 1 (cpu/idle)", "/cpu/idle"),
    ('{"cpu": {"quota": 5, "burst": 6}}', "cpu burst 6 is larger than the quota 5 (cpu/burst)", "/cpu/burst"),
    ('{"devices": {}}', "resources: {} is not a list (devices)", "/devices"),
    ('{"devices": [5]}', "resources: 5 is not an object (devices/0)", "/devices/0"),
    (
        '{"devices": [{"allow": true, "access": ""}]}',
        "device access at 0 field cannot be empty (devices/0/access)",
        "/devices/0/access",
    ),
    (
        '{"hugepageLimits": [{}]}',
        'resources: "pageSize" is missing (hugepageLimits/0/pageSize)',
        "/hugepageLimits/0/pageSize",
    ),
    ('{"unified": []}', "resources: [] is not an object (unified)", "/unified"),
    ('{"unified": {"memory.high": 5}}', "resources: 5 is not a string (unified/memory.high)", "/unified/memory.high"),
    (
        '{"unified": {"../x": "5"}}',
        'unified resource "../x" must be a file name (no slashes) (unified/..~1x)',
        "/unified/..~1x",
    ),
    ('{"network": 5}', "resources: 5 is not an object (network)", "/network"),
    ('{"network": {"classID": "x"}}', 'resources: "x" is not an integer (network/classID)', "/network/classID"),
    ('{"limit": 5}', 'resources: there is no "limit" (limit)', "/limit"),
    ('{"cpu": {"quotas": 5}}', 'resources: there is no "quotas" (cpu/quotas)', "/cpu/quotas"),
    ('{"devices": [{"allow": true, "x": 1}]}', 'resources: there is no "x" (devices/0/x)', "/devices/0/x"),
    ('{"rdma": {"mlx": {"hcaHandles": 1, "x": 1}}}', 'resources: there is no "x" (rdma/mlx/x)', "/rdma/mlx/x"),
]


@pytest.mark.parametrize(("text", "message", "pointer"), BAD, ids=[bad[0] for bad in BAD])
def test_bad_resources(tmp_path: Path, text: str, message: str, pointer: str) -> None:
    file = tmp_path / "r.json"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        from_file(str(file))
    assert (str(caught.value), caught.value.pointer) == (message, pointer)


def test_a_near_miss_is_told(tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    file.write_text('{"cpu": {"quotas": 5}}')
    with pytest.raises(ConfigError) as caught:
        from_file(str(file))
    assert caught.value.hint == 'did you mean "quota"?'


def test_resources_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    file.write_text('{"memory": {"limit": 1, "swap": null}, "pids": null}')
    assert from_file(str(file)) == {"memory": {"limit": 1}}
    file.write_text("")
    with pytest.raises(Error, match="resources"):
        from_file(str(file))
    with pytest.raises(Error, match="missing: no such file or directory"):
        from_file(str(tmp_path / "missing"))


def test_intel_rdt_is_a_section_of_its_own() -> None:
    """Its test is that of the rest of Intel RDT."""
    given = {"l3-cache-schema": "L3:0=f", "mem-bw-schema": "MB:0=50", "pids-limit": 5}
    assert from_flags(given) == {
        "intelRdt": {"l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=50"},
        "pids": {"limit": 5},
    }


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("100ms", 0.1), ("1s", 1), ("1m30s", 90), ("1.5h", 5400), ("5us", 5e-6), ("\u00b5s1", None)],
)
def test_durations(text: str, seconds: float | None) -> None:
    if seconds is None:
        with pytest.raises(Error, match="parse error"):
            events.duration(text)
    else:
        assert events.duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["1", "s", "1.2.3s", "x", "-1s", "1 s", "1d"])
def test_bad_durations(text: str) -> None:
    with pytest.raises(Error, match="parse error"):
        events.duration(text)


@pytest.mark.parametrize("text", ["0s", "", "0ms"])
def test_interval_has_to_be_positive(text: str) -> None:
    with pytest.raises(Error, match="must be greater than 0"):
        events.duration(text)


# -- containers that are plain processes -------------------------------------------------------


class Container:
    """A process in a cgroup of its own, and a state that says it is a container."""

    def __init__(self, root: str, cgroup: str, mount: str) -> None:
        self.id = unique_id("update")
        self.root = root
        self.cgroup = Path(cgroup)
        self.process = subprocess.Popen(["sleep", "100"])
        if cgroup:
            (self.cgroup / "cgroup.procs").write_text(str(self.process.pid))
        store = Store(root)
        with store.create(self.id):
            state = State(self.id, bundle="/", rootfs="/", config={"ociVersion": "1.3.0"})
            state.status_hint = "started"
            state.set_process(self.process.pid)
            state.cgroup = {"driver": "cgroupfs", "path": cgroup, "mount": mount}
            state.cgroup.update(mode="unified", rootless=False)
            store.save(state)

    def call(self, *words: str) -> int:
        return cli.main(["--root", self.root, words[0], self.id, *words[1:]])

    def file(self, name: str) -> str:
        return (self.cgroup / name).read_text().strip()

    def resources(self) -> Any:
        return Store(self.root).load(self.id).config["linux"]["resources"]

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def container(root_dir: Path, needs_v2: None) -> Iterator[Container]:
    mount = "/sys/fs/cgroup"
    path = f"{mount}/{unique_id('pyrunc-test')}"
    os.mkdir(path)
    it = Container(str(root_dir / "root"), path, mount)
    yield it
    it.end()
    os.rmdir(path)


@pytest.fixture
def without_cgroup(root_dir: Path) -> Iterator[Container]:
    it = Container(str(root_dir / "root"), "", "")
    yield it
    it.end()


def test_update_needs_a_cgroup(without_cgroup: Container, capfd: pytest.CaptureFixture[str]) -> None:
    assert without_cgroup.call("update", "--memory", "1m") == 1
    assert "it has no cgroup" in capfd.readouterr().err
    assert without_cgroup.call("events", "--stats") == 1
    assert "has no cgroup to take statistics from" in capfd.readouterr().err


def test_update_and_events_of_a_stopped_container(without_cgroup: Container, capfd: pytest.CaptureFixture[str]) -> None:
    without_cgroup.end()
    assert without_cgroup.call("update", "--memory", "1m") == 1
    assert 'msg="container not running"' in capfd.readouterr().err
    assert without_cgroup.call("events", "--stats") == 1
    assert f"container with id {without_cgroup.id} is not running" in capfd.readouterr().err


def test_update_writes_and_remembers(container: Container) -> None:
    assert container.call("update", "--memory", "50M", "--pids-limit", "10") == 0
    assert (container.file("memory.max"), container.file("pids.max")) == (str(50 << 20), "10")
    assert container.resources() == {"memory": {"limit": 50 << 20}, "pids": {"limit": 10}}
    assert container.call("update", "--pids-limit=-1", "--cpu-share", "2") == 0
    assert (container.file("memory.max"), container.file("pids.max")) == (str(50 << 20), "max")
    assert container.file("cpu.weight") == "1"
    assert container.resources()["memory"] == {"limit": 50 << 20}


def test_update_from_standard_input(container: Container) -> None:
    document = {"memory": {"limit": 0}, "CPU": {"Quota": 5000}, "pids": {"limit": 7}}
    words = ["--root", container.root, "update", "--resources", "-", container.id]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words],
        input=json.dumps(document).encode(),
        check=False,
    )
    assert done.returncode == 0
    assert (container.file("cpu.max"), container.file("pids.max")) == ("5000 100000", "7")
    assert container.file("memory.max") == "max"


def test_refused_update_changes_nothing(container: Container, capfd: pytest.CaptureFixture[str]) -> None:
    assert container.call("update", "--pids-limit", "10") == 0
    assert container.call("update", "--pids-limit", "20", "--cpu-idle", "3") == 1
    assert "cpu.idle" in capfd.readouterr().err
    assert container.file("pids.max") == "10"
    assert container.resources() == {"pids": {"limit": 10}}


def test_update_keeps_a_paused_container_paused(container: Container) -> None:
    assert container.call("pause") == 0
    assert container.call("update", "--pids-limit", "10") == 0
    assert Store(container.root).load(container.id).status() == "paused"
    assert container.call("resume") == 0


def test_stats(container: Container, capfd: pytest.CaptureFixture[str]) -> None:
    assert container.call("events", "--stats") == 0
    out = capfd.readouterr().out
    assert out.count("\n") == 1
    assert out.startswith(f'{{"type":"stats","id":"{container.id}","data":{{')
    data = json.loads(out)["data"]
    assert data["pids"]["current"] == 1
    assert {"cpu", "cpuset", "memory", "blkio", "hugetlb"} <= data.keys()


def test_events_end_with_the_container(container: Container) -> None:
    words = ["--root", container.root, "events", "--interval", "50ms", container.id]
    watching = subprocess.Popen([sys.executable, "-c", PROGRAM, *words], stdout=subprocess.PIPE, text=True)
    assert watching.stdout is not None
    assert json.loads(watching.stdout.readline())["type"] == "stats"
    container.end()
    rest, _ = watching.communicate(timeout=10)
    assert watching.returncode == 0
    assert all(json.loads(line)["type"] == "stats" for line in rest.splitlines())


def test_out_of_memory_is_an_event(container: Container) -> None:
    assert container.call("update", "--memory", "20M", "--memory-swap", "20M") == 0
    words = ["--root", container.root, "events", "--interval", "100s", container.id]
    watching = subprocess.Popen([sys.executable, "-c", PROGRAM, *words], stdout=subprocess.PIPE, text=True)
    time.sleep(1)
    join = f"echo $$ >{container.cgroup}/cgroup.procs; exec tail /dev/zero"
    assert subprocess.run(["sh", "-c", join], check=False).returncode == -9
    assert watching.stdout is not None
    assert watching.stdout.readline() == f'{{"type":"oom","id":"{container.id}"}}\n'
    watching.kill()
    watching.communicate()
