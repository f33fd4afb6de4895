"""Symbolic links, and what else an image may have put where the runtime works, lead nowhere.

Each test plants something in the root file system, runs a container, and looks at a canary.
"""

import os
import shutil
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from onlookers import nobody_opens
from security.canary import Canary
from support import IS_ROOT, Json, MakeBundle, Runtime

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="needs root")


@pytest.fixture
def canary(tmp_path: Path) -> Canary:
    return Canary(tmp_path / "canary")


def _relative(canary: Canary, at: Path) -> str:
    """A relative link from the directory `at` to the canary, and one that climbs as far as it can."""
    return os.path.relpath(canary.path, at)


def _replace(path: Path, target: str) -> None:
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)
    path.symlink_to(target)


def _without(bundle: MakeBundle, *destinations: str) -> list[Json]:
    mounts: list[Json] = bundle().config["mounts"]
    return [mount for mount in mounts if mount["destination"] not in destinations]


@pytest.mark.contains(
    "CVE-2026-41579, CVE-2026-47766: `/dev` is a link",
    "`/dev` is opened with `RESOLVE_NO_SYMLINKS`, and filled by its descriptor",
)
@pytest.mark.parametrize("absolute", [True, False])
def test_dev_is_a_link(runtime: Runtime, bundle: MakeBundle, canary: Canary, absolute: bool) -> None:
    """CVE-2026-41579, CVE-2026-47766: /dev is set up below the root, whatever it is."""
    keep = _without(bundle, "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")
    it = bundle({"mounts": keep})
    target = str(canary.path) if absolute else _relative(canary, it.rootfs)
    _replace(it.rootfs / "dev", target)
    runtime.run(it)
    canary.check()
    # With a tmpfs at /dev too, with devices and a terminal's mount point.
    fifo = {"path": "/dev/directory/fifo", "type": "p"}
    it = bundle({"linux": {"devices": [fifo]}})
    _replace(it.rootfs / "dev", target)
    runtime.run(it)
    canary.check()


@pytest.mark.contains("CVE-2026-41579, CVE-2026-47766: `/dev` is a link")
def test_dev_is_a_link_within_the_root(runtime: Runtime, bundle: MakeBundle, canary: Canary) -> None:
    """A link beside the root's own /dev that only leads out when it is resolved on the host."""
    it = bundle({"mounts": _without(bundle, "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")})
    inside = it.rootfs / str(canary.path).lstrip("/")
    inside.mkdir(parents=True)
    _replace(it.rootfs / "dev", str(canary.path))
    done = runtime.run(it)
    assert done.returncode == 1
    assert "error creating device nodes: open /dev" in done.stderr
    assert list(inside.iterdir()) == []
    canary.check()


@pytest.mark.contains(
    "CVE-2019-19921, CVE-2023-27561, CVE-2023-28642, CVE-2025-54867: `/proc` or `/sys` is a link",
    "both are opened with `RESOLVE_NO_SYMLINKS`",
)
@pytest.mark.parametrize("name", ["proc", "sys"])
@pytest.mark.parametrize("target", ["bad", "CANARY"])
def test_proc_or_sys_is_a_link(runtime: Runtime, bundle: MakeBundle, canary: Canary, name: str, target: str) -> None:
    """CVE-2019-19921, CVE-2023-27561, CVE-2025-54867."""
    it = bundle()
    (it.rootfs / "bad").mkdir()
    _replace(it.rootfs / name, str(canary.path) if target == "CANARY" else target)
    done = runtime.run(it)
    assert done.returncode != 0
    assert "must be mounted on ordinary directory" in done.stderr
    canary.check()


@pytest.mark.contains("CVE-2019-18837, CVE-2025-24965: links in the image", "2 above")
@pytest.mark.parametrize("source", ["directory", "file"])
def test_mount_point_behind_a_link(
    runtime: Runtime, bundle: MakeBundle, canary: Canary, tmp_path: Path, source: str
) -> None:
    """CVE-2019-18837: links are resolved in the root; what is missing is made there."""
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").write_text("mine")
    for number, destination in enumerate(("/etc2/a/b/c", "/etc2/file", "/last")):
        it = bundle(
            {
                "mounts": [
                    *_without(bundle),
                    {
                        "destination": destination,
                        "type": "bind",
                        "source": str(tmp_path / source),
                        "options": ["bind"],
                    },
                ]
            }
        ).args("/bin/true")
        for climb in (str(canary.path), _relative(canary, it.rootfs)):
            (it.rootfs / "etc2").unlink(missing_ok=True)
            (it.rootfs / "last").unlink(missing_ok=True)
            (it.rootfs / "etc2").symlink_to(climb)
            (it.rootfs / "last").symlink_to(f"{climb}/missing{number}")
            done = runtime.run(it)
            canary.check()
            assert done.returncode == 0, done.stderr
        assert (it.rootfs / str(canary.path)[1:]).is_dir(), "made inside the root"


@pytest.mark.contains("CVE-2019-18837, CVE-2025-24965: links in the image")
@pytest.mark.parametrize("kind", ["tmpfs", "cgroup", "mqueue", "devpts"])
def test_file_systems_behind_a_link(runtime: Runtime, bundle: MakeBundle, canary: Canary, kind: str) -> None:
    mount = {"destination": "/link/directory", "type": kind, "source": kind}
    if kind == "tmpfs":
        mount["options"] = ["tmpcopyup", "ro"]  # type: ignore[assignment]
    it = bundle({"mounts": [*_without(bundle), mount]}).shell("test ! -e /link/directory/inner")
    (it.rootfs / "link").symlink_to(canary.path)
    assert runtime.run(it).returncode == 0
    canary.check()


@pytest.mark.contains(
    "mode of a device given to what a link leads to (found here)",
    "the node is opened without following, compared, and changed by descriptor",
)
def test_fifo_where_the_image_has_a_link(runtime: Runtime, bundle: MakeBundle, canary: Canary) -> None:
    """Mode and owner of a node are given to the node, not to what a link in its place leads to."""
    fifo = {"path": "/vol/fifo", "type": "p", "fileMode": 0o601, "uid": 7, "gid": 8}
    it = bundle({"linux": {"devices": [fifo]}})
    (it.rootfs / "vol").mkdir()
    (it.rootfs / "vol/fifo").symlink_to(canary.path / "file")
    runtime.run(it)
    canary.check()
    (it.rootfs / "vol/fifo").unlink()
    os.link(it.rootfs / "bin/busybox", it.rootfs / "vol/fifo")
    before = (it.rootfs / "bin/busybox").stat()
    runtime.run(it)
    after = (it.rootfs / "bin/busybox").stat()
    assert (after.st_mode, after.st_uid) == (before.st_mode, before.st_uid)
    # And it does get them where nothing is in the way.
    (it.rootfs / "vol/fifo").unlink()
    it.shell("stat -c '%A %u %g' /vol/fifo")
    assert runtime.run(it, check=True).stdout == "prw------x 7 8\n"


@pytest.mark.contains("mode of a device given to what a link leads to (found here)")
@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")
@pytest.mark.parametrize("what", ["link", "file"])
def test_a_node_that_is_exchanged(
    runtime: Runtime, bundle: MakeBundle, canary: Canary, tmp_path: Path, what: str
) -> None:
    """Right after mknod(2), by a program that shares the directory: mode and owner are given to nothing else."""
    os.mkfifo(canary.path / "pipe", 0o600)
    canary.before = canary.picture()
    volume = tmp_path / "volume"
    volume.mkdir()
    it = bundle({"linux": {"devices": [{"path": "/vol/fifo", "type": "p", "fileMode": 0o666, "uid": 7, "gid": 8}]}})
    shared = {"destination": "/vol", "type": "bind", "source": str(volume), "options": ["rbind"]}
    it.update({"mounts": [*it.config["mounts"], shared]})
    # strace holds the init for a while after each mknodat(2) from the seventh on: six are the default devices'.
    slow = ["strace", "-f", "-qq", "-o", str(tmp_path / "log"), "-e", "trace=mknodat"]
    slow += ["-e", "inject=mknodat:delay_exit=2000000:when=7"]
    command = [*slow, *runtime.command("run", "--bundle", str(it.path), runtime.new_id())]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as running:
        until = time.monotonic() + 60
        while not (volume / "fifo").exists():
            assert running.poll() is None
            assert time.monotonic() < until
            time.sleep(0.001)
        if what == "link":
            (volume / "other").symlink_to(canary.path / "pipe")
        else:
            os.link(canary.path / "file", volume / "other")
        os.rename(volume / "other", volume / "fifo")
        canary.before = canary.picture()  # it may have a name more
        said = running.communicate(timeout=60)[1]
    canary.check()
    assert running.returncode == 1
    assert "file exists" in said


def test_device_where_the_image_has_something(runtime: Runtime, bundle: MakeBundle, canary: Canary) -> None:
    device = {"path": "/vol/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o601, "uid": 7}
    it = bundle({"linux": {"devices": [device]}})
    (it.rootfs / "vol").symlink_to(canary.path)
    runtime.run(it)
    canary.check()
    (it.rootfs / "vol").unlink()
    (it.rootfs / "vol").mkdir()
    (it.rootfs / "vol/null").symlink_to(canary.path / "file")
    runtime.run(it)
    canary.check()


@pytest.mark.contains("CVE-2019-18837, CVE-2025-24965: links in the image")
def test_working_directory_that_is_made(runtime: Runtime, bundle: MakeBundle, canary: Canary) -> None:
    """What is missing of process.cwd is made in the root too."""
    for cwd in ("/link/new", "/link/new/newer", "/dangling"):
        it = bundle({"process": {"cwd": cwd}}).args("/bin/pwd")
        (it.rootfs / "link").symlink_to(canary.path)
        (it.rootfs / "dangling").symlink_to(canary.path / "missing")
        runtime.run(it)
        canary.check()


@pytest.mark.contains("`/etc/passwd` and `/etc/group` that are devices, terminals or FIFOs (found here)")
@pytest.mark.parametrize(
    ("name", "what"),
    [("etc/group", "fifo"), ("etc/group", "enormous")]
    + [("etc/passwd", what) for what in ("fifo", "directory", "proc", "canary", "loop")],
)
def test_account_files(runtime: Runtime, bundle: MakeBundle, canary: Canary, name: str, what: str) -> None:
    """Neither a FIFO keeps `create` and `exec` waiting, nor does a link lead to the host's accounts."""
    it = bundle({"process": {"user": {"uid": 4711}}}).shell("echo $HOME; exec sleep 100")
    path = it.rootfs / name
    path.unlink()
    host = canary.path.parent / "passwd"
    host.write_text("user:x:4711:4711::/leaked:/bin/sh\n")

    def enormous() -> None:
        with path.open("wb") as file:
            file.truncate(1 << 40)

    makers: dict[str, Callable[[], object]] = {
        "fifo": lambda: os.mkfifo(path),
        "directory": path.mkdir,
        "proc": lambda: path.symlink_to("/proc/1/environ"),
        "canary": lambda: path.symlink_to(host),
        "loop": lambda: path.symlink_to(path.name),
        "enormous": enormous,
    }
    makers[what]()
    id = runtime.create(it, output=it.path / "said")
    runtime.call("start", id, check=True)
    assert runtime.call("exec", id, "sh", "-c", "echo $HOME", timeout=20).stdout in ("/\n", "/root\n")
    done = runtime.call("exec", "--user", "user", id, "true", timeout=20)
    assert (done.returncode == 0) == (name == "etc/group")
    assert "leaked" not in (it.path / "said").read_text()


@pytest.mark.contains(
    "`/etc/passwd` and `/etc/group` that are devices, terminals or FIFOs (found here)",
    "opened only once what they are is known, by that descriptor",
)
@pytest.mark.parametrize("name", ["passwd", "group"])
def test_account_files_that_are_none_are_not_opened(runtime: Runtime, bundle: MakeBundle, name: str) -> None:
    """To open a device is to use it: a tape rewinds, a watchdog starts, a terminal hangs. A FIFO tells who does."""
    it = bundle().args("/bin/sleep", "100")
    fifo = it.rootfs / "etc" / name
    fifo.unlink()
    with nobody_opens(fifo):
        id = runtime.create(it)
        runtime.call("start", id, check=True)
        runtime.call("exec", "--user", "user", id, "true")


@pytest.mark.parametrize("program", ["fifo", "directory", "null", "outside"])
def test_program_that_is_none(runtime: Runtime, bundle: MakeBundle, canary: Canary, program: str) -> None:
    """The look for the executable neither opens nor waits for anything."""
    it = bundle().args("/bin/odd")
    path = it.rootfs / "bin/odd"
    script = canary.path.parent / "script"
    script.write_text(f"#!/bin/sh\necho out >{canary.path}/file\n")
    script.chmod(0o755)
    if program == "fifo":
        os.mkfifo(path, 0o777)
    elif program == "directory":
        path.mkdir()
    elif program == "null":
        os.mknod(path, stat.S_IFCHR | 0o777, os.makedev(1, 3))
    else:
        path.symlink_to(script)
    done = runtime.run(it, timeout=20)
    assert done.returncode != 0
    assert "exec" in done.stderr
    canary.check()


def test_bind_mount_of_a_rootfs_that_is_shared(runtime: Runtime, bundle: MakeBundle, canary: Canary) -> None:
    """What is mounted in the container is not seen where the root file system lies."""
    it = bundle().args("/bin/true")
    before = Path("/proc/self/mountinfo").read_text()
    runtime.run(it, check=True)
    assert Path("/proc/self/mountinfo").read_text() == before
    canary.check()
