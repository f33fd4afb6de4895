"""copy_tree: what is kept, what is left out, and that a hostile tree leads nowhere."""

import os
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrunc.errors import Error
from pyrunc.setup.filesystem.tmpcopyup import DEEPEST, copy_tree
from support import IS_ROOT

root_only = pytest.mark.skipif(not IS_ROOT, reason="needs root")


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Path]:
    """An empty directory, for root where neither nosuid nor nodev holds, as they may in /tmp."""
    path = tmp_path / "source"
    path.mkdir()
    if IS_ROOT:
        subprocess.run(["mount", "-t", "tmpfs", "none", path], check=True)
    yield path
    if IS_ROOT:
        subprocess.run(["umount", path], check=True)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "target"
    path.mkdir()
    return path


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Path]:
    """An empty tmpfs of 1 MiB; the session has a mount namespace of its own."""
    path = tmp_path / "tmpfs"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", path], check=True)
    yield path
    subprocess.run(["umount", path], check=True)


def copy(source: Path, target: Path) -> None:
    fds = [os.open(path, os.O_PATH | os.O_DIRECTORY) for path in (source, target)]
    before = set(os.listdir("/proc/self/fd"))
    try:
        copy_tree(fds[0], fds[1], lambda path, size: None)
    finally:
        assert set(os.listdir("/proc/self/fd")) == before
        for fd in fds:
            os.close(fd)


def test_contents_and_modes(source: Path, target: Path) -> None:
    (source / "file").write_bytes(b"x" * 100_000)
    (source / "file").chmod(0o2751)
    (source / "empty").touch(mode=0o400)
    (source / "dir" / "sub").mkdir(parents=True)
    (source / "dir").chmod(0o1710)
    (source / "dir" / "sub" / "deep").write_text("deep")
    copy(source, target)
    assert (target / "file").read_bytes() == b"x" * 100_000
    assert stat.S_IMODE((target / "file").stat().st_mode) == 0o2751
    assert stat.S_IMODE((target / "empty").stat().st_mode) == 0o400
    assert stat.S_IMODE((target / "dir").stat().st_mode) == 0o1710
    assert (target / "dir" / "sub" / "deep").read_text() == "deep"


def test_links_are_copied_not_followed(source: Path, target: Path) -> None:
    (source / "absolute").symlink_to("/etc/passwd")
    (source / "directory").symlink_to("..")
    (source / "dangling").symlink_to("nowhere")
    copy(source, target)
    assert os.readlink(target / "absolute") == "/etc/passwd"
    assert os.readlink(target / "directory") == ".."
    assert os.readlink(target / "dangling") == "nowhere"


def test_hard_links_stay_links(source: Path, target: Path) -> None:
    (source / "a").write_text("a")
    (source / "d").mkdir()
    os.link(source / "a", source / "d" / "b")
    os.mkfifo(source / "fifo")
    os.link(source / "fifo", source / "fifo2")
    copy(source, target)
    assert (target / "a").stat().st_ino == (target / "d" / "b").stat().st_ino
    assert (target / "fifo").stat().st_ino == (target / "fifo2").stat().st_ino
    assert (target / "a").stat().st_ino != (source / "a").stat().st_ino


def test_times(source: Path, target: Path) -> None:
    (source / "dir").mkdir()
    (source / "dir" / "file").touch()
    (source / "link").symlink_to("x")
    for name in ("dir/file", "dir", "link"):
        os.utime(source / name, ns=(10**18 + 1, 10**18 + 2), follow_symlinks=False)
    copy(source, target)
    for name in ("dir/file", "dir", "link"):
        assert os.lstat(target / name).st_mtime_ns == 10**18 + 2


def test_holes_stay_holes(source: Path, target: Path) -> None:
    with open(source / "sparse", "wb") as file:
        file.seek(1 << 30)
        file.write(b"end")
        file.truncate(1 << 31)
    copy(source, target)
    copied = target / "sparse"
    assert copied.stat().st_size == 1 << 31
    assert copied.stat().st_blocks * 512 < 1 << 20
    with open(copied, "rb") as file:
        file.seek((1 << 30) - 1)
        assert file.read(5) == b"\0end\0"


def test_fifos_and_sockets_are_not_opened(source: Path, target: Path) -> None:
    os.mkfifo(source / "fifo", 0o640)
    os.mknod(source / "socket", stat.S_IFSOCK | 0o600)
    copy(source, target)
    assert stat.S_ISFIFO((target / "fifo").stat().st_mode)
    assert stat.S_IMODE((target / "fifo").stat().st_mode) == 0o640
    assert stat.S_ISSOCK((target / "socket").stat().st_mode)


@root_only
def test_owners(source: Path, target: Path) -> None:
    (source / "dir").mkdir()
    for name in ("dir/file", "file"):
        (source / name).touch()
        (source / name).chmod(0o6755)
    (source / "link").symlink_to("x")
    for name in ("dir/file", "file", "dir", "link"):
        os.chown(source / name, 12, 34, follow_symlinks=False)
    (source / "file").chmod(0o6755)
    copy(source, target)
    for name in ("dir/file", "file", "dir", "link"):
        status = os.lstat(target / name)
        assert (status.st_uid, status.st_gid) == (12, 34)
    assert stat.S_IMODE((target / "file").stat().st_mode) == 0o6755


@root_only
def test_owner_of_the_tmpfs_makes_files_where_root_has_no_id_there(source: Path, target: Path) -> None:
    (source / "dir").mkdir(mode=0o500)
    (source / "dir" / "file").write_text("x")
    os.chown(source / "dir", 1, 1)
    os.chown(target, 4711, 4712)
    copy(source, target)
    assert (target / "dir").stat().st_uid == 1
    assert (target / "dir" / "file").stat().st_uid == 0
    assert os.geteuid() == 0
    assert os.getegid() == 0


@root_only
def test_extended_attributes_and_capabilities(source: Path, tmpfs: Path) -> None:
    (source / "file").touch()
    os.setxattr(source / "file", "trusted.test", b"value")
    os.chown(source / "file", 5, 5)
    capability = bytes.fromhex("0100000202000000000000000000000000000000")
    os.setxattr(source / "file", "security.capability", capability)
    copy(source, tmpfs)
    assert os.getxattr(tmpfs / "file", "trusted.test") == b"value"
    assert os.getxattr(tmpfs / "file", "security.capability") == capability


@root_only
def test_devices_only_where_they_are_devices(source: Path, target: Path, tmpfs: Path) -> None:
    os.mknod(source / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    subprocess.run(["mount", "-o", "remount,nodev,nosuid", tmpfs], check=True)
    os.mknod(tmpfs / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    (tmpfs / "su").touch()
    (tmpfs / "su").chmod(0o4755)
    copy(source, target)
    assert (target / "null").stat().st_rdev == os.makedev(1, 3)
    second = target / "second"
    second.mkdir()
    copy(tmpfs, second)
    assert os.listdir(second) == ["su"]
    assert stat.S_IMODE((second / "su").stat().st_mode) == 0o755


@root_only
def test_full_tmpfs_is_an_error_that_names_the_file(source: Path, tmpfs: Path) -> None:
    (source / "dir").mkdir()
    (source / "dir" / "big").write_bytes(b"x" * (2 << 20))
    with pytest.raises(Error, match=r"^tmpcopyup: copy dir/big: no space left on device$"):
        copy(source, tmpfs)


def test_too_deep_is_an_error(source: Path, target: Path) -> None:
    path = source
    for _ in range(DEEPEST + 1):
        path /= "d"
    path.mkdir(parents=True)
    with pytest.raises(Error, match="directories deep"):
        copy(source, target)


def test_swapping_names_leads_nowhere(source: Path, target: Path, tmp_path: Path) -> None:
    """A directory and a file that are exchanged for links to a secret while they are copied."""
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "inside").write_text("secret")
    for number in range(50):
        (source / f"d{number}").mkdir()
        (source / f"d{number}" / "inside").write_text("plain")
        (source / f"f{number}").write_text("plain")
    stop = threading.Event()

    def swap() -> None:
        link, aside = source / "link", source / "aside"
        while not stop.is_set():
            for number in range(50):
                for name, goal in ((f"d{number}", secret), (f"f{number}", secret / "inside")):
                    link.symlink_to(goal)
                    os.rename(source / name, aside)
                    os.rename(link, source / name)
                    os.unlink(source / name)
                    os.rename(aside, source / name)

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        for number in range(8):
            into = target / str(number)
            into.mkdir()
            copy_or_vanished(source, into)
            for path in into.rglob("*"):
                if path.is_file() and not path.is_symlink():
                    assert path.read_text() == "plain"
    finally:
        stop.set()
        swapper.join()


def copy_or_vanished(source: Path, target: Path) -> None:
    fds = [os.open(path, os.O_PATH | os.O_DIRECTORY) for path in (source, target)]
    try:
        copy_tree(fds[0], fds[1], lambda path, size: None)
    finally:
        for fd in fds:
            os.close(fd)
