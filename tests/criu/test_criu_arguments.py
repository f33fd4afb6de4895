"""What criu is told for a configuration and a command line, without criu."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from pyrunc.checkpoint import criu_options, criu_rpc, external_mounts
from pyrunc.checkpoint.checkpoint import checkpoint, dump_options, standard_streams
from pyrunc.checkpoint.restore import restore_options
from pyrunc.errors import Error
from pyrunc.options import Globals
from pyrunc.state.state import State
from pyrunc.state.store import Store


def line(path: str, root: str = "/", kind: str = "ext4", id: int = 30) -> external_mounts.MountLine:
    return external_mounts.MountLine(f"{id} 29 8:1 {root} {path} rw shared:1 - {kind} src rw\n")


def bind(destination: str, source: str, *options: str) -> dict[str, Any]:
    return {"destination": destination, "type": "bind", "source": source, "options": options}


@pytest.fixture
def here(tmp_path: Path) -> int:
    return os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def test_switches() -> None:
    given = {"tcp-established": True, "file-locks": True, "shell-job": False}
    options = criu_options.common(given, {})
    assert options["tcp_established"] is True
    assert options["file_locks"] is True
    assert "shell_job" not in options
    assert options["manage_cgroups_mode"] == 3
    assert "empty_ns" not in options


@pytest.mark.parametrize(("mode", "number"), criu_options.CGROUP_MODES.items())
def test_cgroup_modes(mode: str, number: int) -> None:
    assert criu_options.common({"manage-cgroups-mode": mode}, {})["manage_cgroups_mode"] == number


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"manage-cgroups-mode": "some"}, "--manage-cgroups-mode"),
        ({"empty-ns": ["pid"]}, "--empty-ns"),
    ],
)
def test_wrong_values(given: dict[str, Any], text: str) -> None:
    with pytest.raises(Error, match=text):
        criu_options.common(given, {})


def test_empty_network_namespace() -> None:
    assert criu_options.common({"empty-ns": ["network"]}, {})["empty_ns"] == 1 << 30


def test_configuration_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    default = tmp_path / "default.conf"
    monkeypatch.setattr(criu_options, "CONFIG_FILES", (str(tmp_path / "none"), str(default)))
    assert "config_file" not in criu_options.common({}, {})
    default.write_text("tcp-established\n")
    assert criu_options.common({}, {})["config_file"] == str(default)
    named = criu_options.common({}, {"org.criu.config": "/etc/mine"})
    assert named["config_file"] == "/etc/mine"
    assert "config_file" not in criu_options.common({}, {"org.criu.config": ""})


def test_page_server() -> None:
    assert criu_rpc.decode(criu_options.page_server("10.0.0.1:27")) == {1: b"10.0.0.1", 2: 27}
    assert criu_rpc.decode(criu_options.page_server("[::1]:27"))[1] == b"::1"
    for wrong in ("10.0.0.1", ":27", "a:b", "a:0"):
        with pytest.raises(Error, match="--page-server"):
            criu_options.page_server(wrong)


def test_bind_mounts_are_named_by_destination(tmp_path: Path, here: int) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "var").mkdir()
    (tmp_path / "var/run").symlink_to("/../run")
    config = {"mounts": [bind("/data", "/srv/a", "bind"), bind("/var/run/s", "/srv/s", "bind")]}
    (tmp_path / "run/s").touch()
    found = external_mounts.dumped(config, [line("/"), line("/data"), line("/run/s")], here)
    assert found == ["mnt[/data]:/data", "mnt[/run/s]:/var/run/s"]
    assert external_mounts.restored(config, "/b")[:2] == [
        "mnt[/data]:/srv/a",
        "mnt[/var/run/s]:/srv/s",
    ]


def test_sources_without_dots_and_links(tmp_path: Path) -> None:
    """criu compares names, and does not find the mount that "bundle/." or a link's path lies on."""
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to("data")
    mounts = [bind("/a", ".", "bind"), bind("/b", "./data", "bind"), bind("/c", str(tmp_path / "link"), "bind")]
    found = external_mounts.restored({"mounts": mounts}, str(tmp_path))
    assert found[:3] == [f"mnt[/a]:{tmp_path}", f"mnt[/b]:{tmp_path}/data", f"mnt[/c]:{tmp_path}/data"]


def test_what_an_rbind_brings_along(here: int, monkeypatch: pytest.MonkeyPatch) -> None:
    config = {"mounts": [bind("/data", "src", "rbind"), bind("/data/own", "/o", "bind")]}
    lines = [line("/data"), line("/data/sub"), line("/data/own"), line("/data/own/sub")]
    found = external_mounts.dumped(config, lines, here)
    assert found == [
        "mnt[/data]:/data",
        "mnt[/data/sub]:/data/sub",
        "mnt[/data/own]:/data/own",
        "mnt[/data/own/sub]:/data/own/sub",
    ]
    host = [line("/"), line("/b/src/sub", kind="tmpfs"), line("/b/srcx")]
    monkeypatch.setattr(external_mounts, "mounts_of", lambda pid: host)
    found = external_mounts.restored(config, "/b")
    assert found[:3] == ["mnt[/data]:/b/src", "mnt[/data/sub]:/b/src/sub", "mnt[/data/own]:/o"]


def test_masked_files_are_foreign_and_masked_directories_are_not(here: int) -> None:
    config = {"linux": {"maskedPaths": ["/proc/kcore", "/proc/acpi"]}, "mounts": []}
    lines = [line("/proc/kcore", "/null", "tmpfs"), line("/proc/acpi", "/", "tmpfs")]
    assert external_mounts.dumped(config, lines, here) == ["mnt[/proc/kcore]:/proc/kcore"]
    assert "mnt[/proc/kcore]:/dev/null" in external_mounts.restored(config, "/b")


def test_devices_that_are_bound(here: int) -> None:
    lines = [line("/dev/zero", "/zero", "devtmpfs")]
    assert external_mounts.dumped({}, lines, here) == ["mnt[/dev/zero]:/dev/zero"]
    assert "mnt[/dev/zero]:/dev/zero" in external_mounts.restored({}, "/b")


def test_other_file_systems_are_criu_s(here: int) -> None:
    config = {"mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}]}
    assert external_mounts.dumped(config, [line("/proc", kind="proc")], here) == []


def test_a_path_with_a_space() -> None:
    assert line("/a\\040b").path == "/a b"


def test_mount_points_are_made(tmp_path: Path) -> None:
    rootfs, volume = tmp_path / "rootfs", tmp_path / "volume"
    rootfs.mkdir()
    (volume / "sub").mkdir(parents=True)
    file = tmp_path / "file"
    file.touch()
    (rootfs / "link").symlink_to("/../../inside")
    config = {
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"},
            bind("/tmp/below", str(volume), "bind"),
            bind("/data", str(volume), "bind"),
            bind("/data/deep/file", str(file), "bind"),
            bind("/link/dir", "volume", "bind"),
        ]
    }
    for _ in range(2):
        external_mounts.make_mount_points(config, str(rootfs), str(tmp_path))
    assert sorted(it.name for it in rootfs.iterdir()) == ["data", "inside", "link", "proc", "tmp"]
    assert list((rootfs / "tmp").iterdir()) == []
    assert list((rootfs / "data").iterdir()) == []
    assert (volume / "deep/file").is_file()
    assert (rootfs / "inside/dir").is_dir()
    assert not (tmp_path / "inside").exists()


def test_a_mount_point_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "rootfs").mkdir()
    (tmp_path / "rootfs/file").touch()
    config = {"mounts": [bind("/file/dir", "/srv", "bind")]}
    with pytest.raises(Error, match=r"mount point /file/dir \(mounts/0\): not a directory") as it:
        external_mounts.make_mount_points(config, str(tmp_path / "rootfs"), str(tmp_path))
    assert it.value.pointer == "/mounts/0"


def test_dump_of_a_process_with_joined_namespaces() -> None:
    config = {
        "ociVersion": "1.3.0",
        "linux": {
            "namespaces": [
                {"type": "network", "path": "/run/netns/x"},
                {"type": "pid"},
                {"type": "ipc", "path": "/proc/1/ns/ipc"},
            ]
        },
    }
    state = State("a", config=config, pid=os.getpid(), cgroup={"path": "/sys/fs/cgroup/a"})
    options = dump_options(state, {"leave-running": True}, [], paused=False)
    inode = os.stat("/proc/self/ns/net").st_ino
    assert options["external"] == [f"net[{inode}]:extRootNetNS"]
    assert options["pid"] == os.getpid()
    assert options["leave_running"] is True
    assert "freeze_cgroup" not in options
    assert dump_options(state, {}, [], paused=True)["freeze_cgroup"] == "/sys/fs/cgroup/a"


def test_restore_joins_namespaces() -> None:
    spaces = [
        {"type": "network", "path": "/run/netns/x"},
        {"type": "ipc", "path": "/run/ipc"},
        {"type": "mount"},
    ]
    config = {"linux": {"namespaces": spaces}}
    options = restore_options(config, {"lsm-profile": "apparmor:p"}, "/r", "/b")
    assert [criu_rpc.decode(it) for it in options["join_ns"]] == [{1: b"ipc", 2: b"/run/ipc"}]
    assert options["lsm_profile"] == "apparmor:p"
    assert options["root"] == "/r"
    assert options["rst_sibling"] is True
    spaces.append({"type": "cgroup", "path": "/run/cg"})
    with pytest.raises(Error, match="cgroup namespace"):
        restore_options(config, {}, "/r", "/b")


def test_standard_streams(tmp_path: Path) -> None:
    """Of a process of which one mount is foreign: the file's, not the pipe's."""
    reading, writing = os.pipe()
    with open(tmp_path / "file", "w+") as file:
        pid = os.posix_spawn(
            "/bin/sleep",
            ["sleep", "10"],
            {},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, file.fileno(), 0),
                (os.POSIX_SPAWN_DUP2, writing, 1),
                (os.POSIX_SPAWN_CLOSE, 2),
            ],
        )
        try:
            # Until it sleeps, its loader has libraries open, in the place of what is closed.
            while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "S":
                time.sleep(0.01)
            own = {mount.id for mount in external_mounts.mounts_of("self")}
            inside = standard_streams(pid, own)
            outside = standard_streams(pid, set())
            pipe = os.readlink(f"/proc/self/fd/{writing}")
            with open(f"/proc/{pid}/fdinfo/0") as info:
                mount = next(int(it.split()[1]) for it in info if it.startswith("mnt_id"))
            inode = os.fstat(file.fileno()).st_ino
        finally:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
            os.close(reading)
            os.close(writing)
    assert inside == [str(tmp_path / "file"), pipe, ""]
    assert outside == [f"file[{mount:x}:{inode:x}]", pipe, ""]


def test_a_container_that_does_not_run(tmp_path: Path) -> None:
    root = tmp_path / "state"
    store = Store(str(root))
    lock = store.create("a")
    store.save(State("a", config={"ociVersion": "1.3.0"}, status_hint="started"))
    lock.release()
    with pytest.raises(Error, match="container cannot be checkpointed in stopped state"):
        checkpoint(Globals(root=str(root)), "a", {"image-path": str(tmp_path / "i")})
    assert not (tmp_path / "i").exists()


@pytest.mark.parametrize("parent", ["/absolute", "missing"])
def test_parent_path(tmp_path: Path, parent: str) -> None:
    root = tmp_path / "state"
    store = Store(str(root))
    lock = store.create("a")
    state = State("a", config={"ociVersion": "1.3.0"}, status_hint="started")
    state.set_process(os.getpid())
    store.save(state)
    lock.release()
    given = {"image-path": str(tmp_path / "i"), "parent-path": parent}
    with pytest.raises(Error, match=f"--parent-path .*{parent}|--parent-path.*no such file"):
        checkpoint(Globals(root=str(root)), "a", given)
    assert Store(str(root)).load("a").status() == "running"
