"""tmpcopyup: copy a directory of the container's root onto the tmpfs that will cover it (charged.py says who does).

The directory is hostile, also while it is being copied: everything is opened by its name in a
directory that is open (O_PATH | O_NOFOLLOW), looked at through that descriptor, and read through
it. The tmpfs is not attached anywhere yet, so nobody else has it. Cold.

Kept: types, contents (with holes), modes, owners, hard links, times, extended attributes. Left out,
where the file system the directory is on ignores them (nodev, nosuid): devices, set-id bits and
capabilities of files.

Import cost: posix.
"""

import posix
from errno import EINVAL, EMLINK, ENAMETOOLONG, ENXIO, EOPNOTSUPP, EOVERFLOW, EPERM

from pyrunc.errors import Error, strerror
from pyrunc.kernel.uapi import S_IFBLK, S_IFCHR, S_IFDIR, S_IFMT, S_IFREG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from os import stat_result
    from types import TracebackType

DEEPEST = 128  # directories within each other; two descriptors are open for each
_PIECE = 1 << 24
_S_IFLNK = 0o120000
_SET_ID = 0o6000
_ST_NOSUID, _ST_NODEV = 2, 4
_LOOK = posix.O_PATH | posix.O_NOFOLLOW | posix.O_CLOEXEC
_DIRECTORY = posix.O_RDONLY | posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_CLOEXEC
_NEW = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_NOFOLLOW | posix.O_CLOEXEC
# Labels are the tmpfs's own.
_LEFT_OUT = ("security.selinux", "security.ima", "security.evm")


def copy_tree(source_fd: int, target_fd: int, tell: "Callable[[str, int], None]") -> None:
    """Copy what is in the directory `source_fd` into the empty directory `target_fd`.

    tell: is called with path and size of each entry before it is copied, and again for each 16 MiB of a file.
    The descriptors may be O_PATH ones, and stay open. The target's own mode and owner stay. Raises
    Error; what was copied until then stays.
    """
    source = posix.open(".", _DIRECTORY, dir_fd=source_fd)
    target = -1
    try:
        target = posix.open(".", _DIRECTORY, dir_fd=target_fd)
        _Copy(source, target, tell).directory(source, target, "", 0)
    finally:
        posix.close(source)
        if target >= 0:
            posix.close(target)


class _Copy:
    def __init__(self, source: int, target: int, tell: "Callable[[str, int], None]") -> None:
        self.target = target
        self.tell = tell
        flags = posix.fstatvfs(source).f_flag
        self.devices = not flags & _ST_NODEV
        self.set_id = not flags & _ST_NOSUID
        # Where pyrunc's ids mean nothing to the tmpfs, it can only make files as the one it is of
        # (EOVERFLOW); they are given away afterwards.
        owner = posix.fstat(target)
        self.maker = (owner.st_uid, owner.st_gid) if posix.geteuid() == 0 and owner.st_uid else None
        self.links: dict[tuple[int, int], str] = {}

    def directory(self, source: int, target: int, path: str, depth: int) -> None:
        """Copy the entries of a directory. path: in the target, for messages and for hard links."""
        for name in posix.listdir(source):
            below = f"{path}/{name}" if path else name
            try:
                self._entry(source, target, name, below, depth)
            except OSError as error:
                raise Error(
                    f"tmpcopyup: copy {below}: {strerror(error.errno or 0)}",
                    errno=error.errno or 0,
                ) from None

    def _entry(self, source: int, target: int, name: str, path: str, depth: int) -> None:
        try:
            fd = posix.open(name, _LOOK, dir_fd=source)
        except FileNotFoundError:
            return  # removed meanwhile
        try:
            status = posix.fstat(fd)
            self.tell(path, status.st_size)
            kind = status.st_mode & S_IFMT
            if kind == S_IFDIR:
                if depth >= DEEPEST:
                    raise Error(f"tmpcopyup: {path}: more than {DEEPEST} directories deep")
                self._subdirectory(fd, status, target, name, path, depth)
                return
            key = (status.st_dev, status.st_ino)
            known = self.links.get(key) if status.st_nlink > 1 else None
            if known and self._link(known, target, name):
                return
            if kind == S_IFREG:
                self._file(fd, status, target, name, path)
            elif kind == _S_IFLNK:
                self._symlink(fd, status, target, name)
            elif not self._node(status, target, name):
                return
            if status.st_nlink > 1:
                self.links[key] = path
        finally:
            posix.close(fd)

    # -- one of each type --------------------------------------------------------------------------

    def _subdirectory(self, fd: int, status: "stat_result", target: int, name: str, path: str, depth: int) -> None:
        with _Maker(self.maker):
            posix.mkdir(name, 0o700, dir_fd=target)
        source = posix.open(".", _DIRECTORY, dir_fd=fd)
        try:
            new = posix.open(name, _DIRECTORY, dir_fd=target)
            try:
                self.directory(source, new, path, depth + 1)
                self._finish(source, new, status)  # only now: its maker had to fill it
            finally:
                posix.close(new)
        finally:
            posix.close(source)

    def _file(self, fd: int, status: "stat_result", target: int, name: str, path: str) -> None:
        # The very file that was looked at: a name could be another one's by now.
        source = posix.open(f"/proc/self/fd/{fd}", posix.O_RDONLY | posix.O_CLOEXEC)
        try:
            with _Maker(self.maker):
                new = posix.open(name, _NEW, 0o600, dir_fd=target)
            try:
                _copy_data(source, new, status.st_size, self.tell, path)
                self._finish(source, new, status)
            finally:
                posix.close(new)
        finally:
            posix.close(source)

    def _finish(self, source: int, new: int, status: "stat_result") -> None:
        """Owner, extended attributes, mode and times of a directory or a file."""
        with_set_id = self._own(new, status)
        self._attributes(source, new)
        posix.chmod(new, self._mode(status, with_set_id))
        posix.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))

    def _symlink(self, fd: int, status: "stat_result", target: int, name: str) -> None:
        with _Maker(self.maker):
            posix.symlink(posix.readlink("", dir_fd=fd), name, dir_fd=target)
        self._own_by_name(target, name, status)

    def _node(self, status: "stat_result", target: int, name: str) -> bool:
        """A fifo, a socket or a device; False where it has to be left out."""
        is_device = status.st_mode & S_IFMT in (S_IFCHR, S_IFBLK)
        if is_device and not self.devices:
            return False
        try:
            if is_device:
                posix.mknod(name, status.st_mode & S_IFMT | 0o600, status.st_rdev, dir_fd=target)
            else:
                with _Maker(self.maker):
                    posix.mknod(name, status.st_mode & S_IFMT | 0o600, dir_fd=target)
        except OSError as error:
            if is_device and error.errno in (EPERM, EOVERFLOW):
                return False  # no right to make devices, or none in the tmpfs's user namespace
            raise
        with_set_id = self._own_by_name(target, name, status)
        # By its name, but nobody else has this file system, and a node is no symbolic link.
        posix.chmod(name, self._mode(status, with_set_id), dir_fd=target)
        return True

    def _link(self, path: str, target: int, name: str) -> bool:
        """A further name for a file that has been copied; False where that cannot be."""
        try:
            posix.link(path, name, src_dir_fd=self.target, dst_dir_fd=target, follow_symlinks=False)
            return True
        except OSError as error:
            if error.errno not in (ENAMETOOLONG, EMLINK):
                raise
            return False

    # -- attributes --------------------------------------------------------------------------------

    def _own(self, fd: int, status: "stat_result") -> bool:
        """Give a file to its owner; whether that was possible."""
        return _tolerant(lambda: posix.chown(fd, status.st_uid, status.st_gid))

    def _own_by_name(self, target: int, name: str, status: "stat_result") -> bool:
        kept = _tolerant(lambda: posix.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False))
        times = (status.st_atime_ns, status.st_mtime_ns)
        posix.utime(name, ns=times, dir_fd=target, follow_symlinks=False)
        return kept

    def _mode(self, status: "stat_result", kept_owner: bool) -> int:
        """The mode; set-id bits only for the one they were set for, and where they had any effect."""
        mode = status.st_mode & 0o7777
        if not (kept_owner and self.set_id) and status.st_mode & S_IFMT == S_IFREG:
            mode &= ~_SET_ID
        return mode

    def _attributes(self, source: int, new: int) -> None:
        """Extended attributes, those that the tmpfs takes."""
        try:
            names = posix.listxattr(source)
        except OSError as error:
            if error.errno != EOPNOTSUPP:
                raise
            return
        for name in names:
            if name in _LEFT_OUT or (name == "security.capability" and not self.set_id):
                continue
            try:
                posix.setxattr(new, name, posix.getxattr(source, name))
            except OSError as error:
                if error.errno not in (EPERM, EOPNOTSUPP, EINVAL, 61):  # ENODATA: gone meanwhile
                    raise


class _Maker:
    """For the length of a `with`: be the one who can make files in the tmpfs."""

    __slots__ = ("ids",)

    def __init__(self, ids: "tuple[int, int] | None") -> None:
        self.ids = ids

    def __enter__(self) -> None:
        if self.ids is not None:
            posix.setegid(self.ids[1])
            posix.seteuid(self.ids[0])

    def __exit__(
        self,
        kind: "type[BaseException] | None",
        exception: "BaseException | None",
        traceback: "TracebackType | None",
    ) -> None:
        if self.ids is not None:
            posix.seteuid(0)
            posix.setegid(0)


def _tolerant(call: "Callable[[], None]") -> bool:
    """Whether a change of owner succeeded; ids that have no place in the user namespace are no error."""
    try:
        call()
    except OSError as error:
        if error.errno not in (EPERM, EINVAL, EOVERFLOW):
            raise
        return False
    return True


def _copy_data(source: int, new: int, size: int, tell: "Callable[[str, int], None]", path: str) -> None:
    """Copy `size` bytes, without what is hole: a file that grows meanwhile does not keep us."""
    posix.ftruncate(new, size)
    at = 0
    while at < size:
        try:
            at = posix.lseek(source, at, posix.SEEK_DATA)
            end = min(posix.lseek(source, at, posix.SEEK_HOLE), size)
        except OSError as error:
            if error.errno == ENXIO:
                return  # a hole to the end
            if error.errno != EINVAL:
                raise
            end = size  # the file system knows no holes
        posix.lseek(source, at, 0)
        posix.lseek(new, at, 0)
        while at < end:
            count = posix.sendfile(new, source, None, min(end - at, _PIECE))
            if not count:
                return  # it has become shorter
            at += count
            tell(path, size)
