"""What needs no kernel: an imitation of cgroupfs in plain files, and the parsers."""

import os
from pathlib import Path
from typing import Any

import pytest

from pyrunc.cgroups import conversions, delegate, detect, files, make, oom, stats, update
from pyrunc.cgroups.conversions import Write
from pyrunc.cgroups.fs import Manager
from pyrunc.errors import Error

CORE = {
    "cgroup.events": "populated 0\nfrozen 0\n",
    "cgroup.freeze": "0\n",
    "cgroup.procs": "",
    "cgroup.subtree_control": "",
    "cgroup.type": "domain\n",
}
MEMORY = {"memory.max": "max\n", "memory.low": "0\n", "memory.current": "0\n"}
PIDS = {"pids.max": "max\n"}


class FakeMkdir:
    """posix, but for mkdir, which fills a new group with files as cgroupfs does."""

    def __init__(self, extra: dict[str, str]) -> None:
        self.extra = extra

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def mkdir(self, name: str, mode: int, *, dir_fd: int) -> None:
        os.mkdir(name, mode, dir_fd=dir_fd)
        path = Path(os.readlink(f"/proc/self/fd/{dir_fd}"), name)
        for file, text in {**CORE, **self.extra}.items():
            (path / file).write_text(text)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> detect.Host:
    """A v2 with memory and pids."""
    extra = {"cgroup.controllers": "memory pids\n", **MEMORY, **PIDS}
    monkeypatch.setattr(make, "posix", FakeMkdir(extra))
    (tmp_path / "cgroup.controllers").write_text("memory pids\n")
    (tmp_path / "cgroup.subtree_control").write_text("")
    (tmp_path / "cgroup.procs").write_text("1\n2\n")
    return detect.Host("unified", str(tmp_path), ("memory", "pids"))


def manager(host: detect.Host, resources: dict[str, Any], **more: Any) -> Manager:
    options: dict[str, Any] = {"rootless": False, "explicit": True, **more}
    return Manager(host.mount + "/a/b", resources=resources, host=host, **options)


def test_controllers_are_enabled_on_the_way(host: detect.Host) -> None:
    it = manager(host, {"memory": {"limit": 5}, "pids": {"limit": 7}})
    it.create()
    it.apply()
    root = Path(host.mount)
    assert (root / "cgroup.subtree_control").read_text() == "+memory +pids"
    assert (root / "a/cgroup.subtree_control").read_text() == "+memory +pids"
    assert (root / "a/b/cgroup.subtree_control").read_text() == ""
    assert (root / "a/b/memory.max").read_text().startswith("5")
    assert (root / "a/b/pids.max").read_text().startswith("7")
    it.close()


def test_a_controller_that_the_kernel_lacks(host: detect.Host) -> None:
    with pytest.raises(Error) as info:
        manager(host, {"cpu": {"quota": 5000}}).create()
    assert info.value.message == (
        'set cpu.max (linux/resources/cpu/quota): controller "cpu" not available:'
        f" the kernel's cgroup v2 at {host.mount} does not offer it"
    )
    assert info.value.pointer == "/linux/resources/cpu/quota"
    assert not os.path.exists(host.mount + "/a")


def test_a_missing_file_that_changes_nothing(host: detect.Host) -> None:
    it = manager(host, {"memory": {"limit": 5, "swap": 5}, "cpu": {"shares": 1024}})
    it.create()
    it.apply()
    it.close()


def test_a_missing_file_is_not_a_missing_command(host: detect.Host) -> None:
    it = manager(host, {"memory": {"limit": 5, "swap": 6}})
    it.create()
    with pytest.raises(Error) as info:
        it.apply()
    assert 'write "1" to memory.swap.max (linux/resources/memory/swap)' in info.value.message
    assert "no such file" not in info.value.message
    it.close()


@pytest.mark.parametrize("mode", ["legacy", "none", "hybrid"])
def test_hosts_without_v2(mode: str) -> None:
    host = detect.Host(mode, "", ())
    it = Manager("/x", rootless=False, explicit=True, resources={}, host=host)
    assert it.create() is None
    it.apply()
    it.add(os.getpid())
    assert (it.procs(), it.kill(), it.frozen(), it.device_program()) == ([], False, False, None)
    it.remove()
    with pytest.raises(Error, match="the container has no cgroup"):
        it.dir()
    asks = Manager("/x", rootless=False, explicit=True, resources={"pids": {"limit": 1}}, host=host)
    with pytest.raises(Error, match='controller "pids" not available'):
        asks.create()


def test_state_of_a_container_without_cgroup() -> None:
    it = Manager("", rootless=True, explicit=False, resources={}, host=detect.Host("none", "", ()))
    again = Manager.from_state(it.to_state())
    assert (again.path, again.exists(), again.rootless) == ("", False, True)


@pytest.mark.parametrize(
    ("text", "own"),
    [
        (b"0::/a/b\n", "/a/b"),
        (b"3:cpu:/x\n0::/\n", "/"),
        (b"3:cpu:/x\n", "/"),
        (b"0::/../x\n", "/"),
        (b"0::/a (deleted)\n", "/a"),
    ],
)
def test_own_group(text: bytes, own: str) -> None:
    assert detect.parse_own(text) == own


def test_mount_table() -> None:
    table = (
        b"30 1 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
        b"31 1 0:28 / /mnt/a\\040b rw,relatime shared:9 - cgroup2 cgroup2 rw\n"
        b"32 1 0:29 / /proc rw - proc proc rw\n"
    )
    assert detect.parse_mountinfo(table) == (["/mnt/a b"], True)


def test_detect(tmp_path: Path) -> None:
    (tmp_path / "unified").mkdir()
    (tmp_path / "unified/cgroup.controllers").write_text("hugetlb\n")
    found = detect.detect(str(tmp_path))
    assert (found.mode, found.mount) == ("hybrid", f"{tmp_path}/unified")
    (tmp_path / "cgroup.controllers").write_text("cpu memory\n")
    found = detect.detect(str(tmp_path))
    assert (found.mode, found.controllers) == ("unified", ("cpu", "memory"))


def test_pressure() -> None:
    text = b"some avg10=0.00 avg60=1.25 avg300=0.00 total=7\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
    assert stats.pressure(text) == {
        "some": {"avg10": 0, "avg60": 1.25, "avg300": 0, "total": 7},
        "full": {"avg10": 0, "avg60": 0, "avg300": 0, "total": 0},
    }
    assert stats.pressure(None) == {}


def test_io_stat() -> None:
    text = b"8:0 rbytes=5 wbytes=0 rios=1 wios=0 dbytes=0 dios=0 cost.usage=9\n254:1 \n"
    entry = {"major": 8}
    assert stats.io_stat(text) == {
        "ioServiceBytesRecursive": [
            {**entry, "op": "Read", "value": 5},
            {**entry, "op": "Write"},
            {**entry, "op": "Discard"},
        ],
        "ioServicedRecursive": [
            {**entry, "op": "Read", "value": 1},
            {**entry, "op": "Write"},
            {**entry, "op": "Discard"},
        ],
        "ioCostUsage": [{**entry, "op": "Count", "value": 9}],
    }


def test_memory_numbers(tmp_path: Path) -> None:
    for name, text in {
        "memory.current": "100", "memory.max": "max", "memory.peak": "150",
        "memory.swap.current": "7", "memory.swap.max": "50",
        "memory.stat": "anon 60\nfile 40\n", "memory.events": "max 3\noom_kill 1\n",
    }.items():  # fmt: skip
        (tmp_path / name).write_text(text)
    fd = files.open_dir(str(tmp_path))
    found = stats.memory(fd)
    assert oom.kills(fd) == 1
    os.close(fd)
    assert found["cache"] == 40
    assert found["usage"] == {"limit": (1 << 64) - 1, "usage": 100, "max": 150, "failcnt": 3}
    assert found["swap"] == {"limit": (1 << 64) - 1, "usage": 107, "failcnt": 0}
    assert found["raw"] == {"anon": 60, "file": 40}
    # Without zeros: `grep oom` on a stream of events has to wait for the first.
    assert found["event_count"] == {"max": 3, "oom_kill": 1}


@pytest.mark.parametrize(
    ("old", "new", "merged"),
    [
        ({"pids": {"limit": 5}}, {}, {"pids": {"limit": 5}}),
        ({"pids": {"limit": 5}}, {"pids": {"limit": 0}}, {"pids": {"limit": 0}}),
        (
            {"cpu": {"quota": 5, "burst": 2}},
            {"cpu": {"quota": 0, "period": 7, "cpus": "", "idle": None}},
            {"cpu": {"quota": 5, "burst": 2, "period": 7}},
        ),
        (None, {"memory": {"limit": -1}}, {"memory": {"limit": -1, "swap": -1}}),
        (
            {"blockIO": {"weightDevice": [{"major": 1, "minor": 2, "weight": 10}]}},
            {
                "blockIO": {
                    "weight": 0,
                    "weightDevice": [
                        {"major": 1, "minor": 2, "weight": 20},
                        {"major": 1, "minor": 3, "weight": 30},
                    ],
                }
            },
            {
                "blockIO": {
                    "weightDevice": [
                        {"major": 1, "minor": 2, "weight": 20},
                        {"major": 1, "minor": 3, "weight": 30},
                    ]
                }
            },
        ),
        (
            {"hugepageLimits": [{"pageSize": "2MB", "limit": 1}], "unified": {"a.b": "1"}},
            {"hugepageLimits": [{"pageSize": "2MB", "limit": 2}], "unified": {"c.d": "2"}},
            {
                "hugepageLimits": [{"pageSize": "2MB", "limit": 2}],
                "unified": {"a.b": "1", "c.d": "2"},
            },
        ),
        ({"cpu": {"idle": 1}}, {"cpu": {"shares": 9}}, {"cpu": {"idle": 0, "shares": 9}}),
        ({"cpu": {"idle": 1}}, {"cpu": {"quota": 9}}, {"cpu": {"idle": 1, "quota": 9}}),
        (
            {"unified": {"cpu.idle": "1"}},
            {"unified": {"cpu.weight": "9"}},
            {"unified": {"cpu.idle": "0", "cpu.weight": "9"}},
        ),
        (
            {"unified": {"pids.max": "5", "cpu.max": "1000", "memory.high": "9"}, "memory": {"limit": 8}},
            {"pids": {"limit": 7}, "cpu": {"period": 6000, "shares": 0}, "memory": {"limit": 10}},
            {
                "unified": {"memory.high": "9"},
                "memory": {"limit": 10},
                "pids": {"limit": 7},
                "cpu": {"period": 6000},
            },
        ),
        (
            {"unified": {"pids.max": "5"}},
            {"pids": {"limit": 7}, "unified": {"pids.max": "8"}},
            {"unified": {"pids.max": "8"}, "pids": {"limit": 7}},
        ),
        (
            {"devices": [{"allow": False}]},
            {"devices": [{"allow": True}], "memory": None},
            {"devices": [{"allow": True}]},
        ),
    ],
)
def test_merging(old: Any, new: dict[str, Any], merged: dict[str, Any]) -> None:
    assert update.merge(old, new) == merged


@pytest.mark.parametrize(
    ("file", "wrote", "reads", "same"),
    [
        ("memory.max", "1000000", "999424\n", True),
        ("memory.max", "1000000", "max\n", False),
        ("memory.max", "1000000", "2000000\n", False),
        ("cpu.max", "5000 10000", "5000 10000\n", True),
        ("cpu.max", "5000", "5000 100000\n", True),
        ("cpu.max", "5000 10000", "max 10000\n", False),
        ("cpuset.cpus", "1,0", "0-1\n", True),
        ("cpuset.cpus", "0", "0-1\n", False),
        ("hugetlb.2MB.max", "3000000", "2097152\n", True),
        ("pids.max", "5", "6\n", False),
        ("io.max", "8:0 rbps=1", "whatever\n", True),
    ],
)
def test_reading_back(file: str, wrote: str, reads: str, same: bool) -> None:
    assert update.kept(Write(file, wrote, "/x"), reads.encode()) == same


@pytest.mark.contains("escapes by `exec --cgroup`, the sub-cgroup checks of runc and crun of 2026")
@pytest.mark.parametrize("path", ["../other", "/..", "a/../../other", "link", "inner/link", "/link/"])
def test_sub_groups_stay_below(tmp_path: Path, path: str) -> None:
    """exec --cgroup: neither ".." nor what is no directory of its own leads out of the container's cgroup."""
    for name in ("own/inner", "own/a", "other"):
        (tmp_path / name).mkdir(parents=True)
    for link in ("own/link", "own/inner/link"):
        (tmp_path / link).symlink_to(tmp_path / "other")
    host = detect.Host("unified", str(tmp_path), ())
    it = Manager(f"{tmp_path}/own", rootless=False, explicit=True, resources=None, host=host)
    try:
        inner = it.open_sub("/inner")
        assert os.path.samestat(os.fstat(inner), os.stat(tmp_path / "own/inner"))
        os.close(inner)
        with pytest.raises(Error, match="sub cgroup"):
            it.open_sub(path)
    finally:
        it.close()


def test_who_owns_a_delegated_group() -> None:
    config: dict[str, Any] = {
        "mounts": [{"destination": "/sys/fs/cgroup", "type": "cgroup", "options": ["rw"]}],
        "process": {"user": {"uid": 5}},
        "linux": {
            "namespaces": [{"type": "cgroup"}, {"type": "user"}],
            "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 10}],
        },
    }
    assert delegate.owner(config) == 1005
    config["process"]["user"]["uid"] = 50
    assert delegate.owner(config) is None
    config["process"]["user"]["uid"] = 0
    assert delegate.owner(config) == 1000
    config["mounts"][0]["options"] = ["ro"]
    assert delegate.owner(config) is None
    config["mounts"][0]["options"] = []
    config["linux"]["namespaces"][0]["path"] = "/x"
    assert delegate.owner(config) is None
    assert delegate.owner({}) is None
    # Without a user namespace the container's ids are the host's.
    config["linux"] = {"namespaces": [{"type": "cgroup"}]}
    config["process"]["user"]["uid"] = 1000
    assert delegate.owner(config) == 1000
    # One that is joined has mappings that the configuration does not tell.
    config["linux"]["namespaces"].append({"type": "user", "path": "/x"})
    assert delegate.owner(config) is None


def test_flags_are_repeated_where_a_mount_would_reset_them() -> None:
    mounts = [{"destination": "/sys/fs/cgroup", "type": "cgroup"}]
    host = detect.detect().mount
    with open("/proc/self/mountinfo") as file:
        lines = [line.split() for line in file if f" {host} " in line and " - cgroup2 " in line]
    flags = set(lines[0][-1].split(",")) & set(detect.OPTIONS) if lines else set()
    assert set(detect.mount_flags({"mounts": mounts}, host)) == flags
    joined = {"namespaces": [{"type": "cgroup", "path": "/proc/1/ns/cgroup"}]}
    assert set(detect.mount_flags({"mounts": mounts, "linux": joined}, host)) == flags
    new = {"namespaces": [{"type": "cgroup"}]}
    assert detect.mount_flags({"mounts": mounts, "linux": new}, host) == ()
    assert detect.mount_flags({"linux": joined}, host) == ()


def test_idle_and_a_weight_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    """The kernel refuses a weight for an idle group: it is left out, and who asked for both is told."""
    for change in (
        {"cpu": {"idle": 1, "shares": 200}},
        {"unified": {"cpu.weight": "8", "cpu.idle": "1"}},
        {"cpu": {"shares": 200}, "unified": {"cpu.idle": "1"}},
    ):
        merged = update.merge({"cpu": {"quota": 5}}, change)
        assert "unable to apply both" in capfd.readouterr().err
        files = [(write.file, write.value) for write in conversions.writes(merged)]
        assert ("cpu.idle", "1") in files
        assert "cpu.weight" not in dict(files)
    # Weight and idling may lie in different sections; idling has to end before there can be a weight.
    writes = conversions.writes({"cpu": {"shares": 200}, "unified": {"cpu.weight": "8", "cpu.idle": "0"}})
    assert [write.file for write in writes] == ["cpu.idle", "cpu.weight", "cpu.weight"]
