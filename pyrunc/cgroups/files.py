"""Reading and writing the small files of cgroupfs, relative to a directory's descriptor.

No text wrappers and no buffering: cgroupfs wants one write(2) per value, and gives its files whole.
All functions raise OSError with the file's name in it.

Import cost: posix, errno.
"""

import errno
import posix

DIRECTORY = posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC
#: Not there; of a cgroup that is gone, or of a threaded one; of a process that has ended; not for this user.
MISSING = (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP, errno.ESRCH, errno.EACCES, errno.EPERM)


def open_dir(path: str, dir_fd: "int | None" = None) -> int:
    """A descriptor of the directory `path`; good for CLONE_INTO_CGROUP and as dir_fd here."""
    return posix.open(path, DIRECTORY | posix.O_NOFOLLOW, dir_fd=dir_fd)


def read(dir_fd: int, name: str) -> bytes:
    """The whole of a file."""
    fd = posix.open(name, posix.O_RDONLY | posix.O_CLOEXEC, dir_fd=dir_fd)
    try:
        data = posix.read(fd, 16384)
        if len(data) < 4096:  # the kernel hands out seq_files by the page
            return data
        while True:
            more = posix.read(fd, 65536)
            if not more:
                return data
            data += more
    finally:
        posix.close(fd)


def try_read(dir_fd: int, name: str) -> "bytes | None":
    """Like read(), with None where the file is missing or not for this user (MISSING)."""
    try:
        return read(dir_fd, name)
    except OSError as error:
        if error.errno not in MISSING:
            error.filename = name
            raise
        return None


def write(dir_fd: int, name: str, data: bytes) -> None:
    """Write `data` with one write(2), as cgroupfs demands."""
    fd = posix.open(name, posix.O_WRONLY | posix.O_CLOEXEC, dir_fd=dir_fd)
    try:
        posix.write(fd, data)
    except OSError as error:
        error.filename = name
        raise
    finally:
        posix.close(fd)


def table(data: "bytes | None") -> "dict[str, int]":
    """A flat keyed file (`memory.stat`, `cgroup.events`, `cpu.stat`) as a dictionary of numbers."""
    out: dict[str, int] = {}
    for line in (data or b"").splitlines():
        key, _, value = line.partition(b" ")
        if value.isdigit():
            out[key.decode()] = int(value)
    return out


def subdirs(dir_fd: int) -> "list[str]":
    """The names of the directories in a directory."""
    with posix.scandir(dir_fd) as entries:
        return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
