"""Files of the host: reading and writing them whole.

Import cost: posix.
"""

import posix
from errno import EACCES, EPERM

from pyrunc.errors import from_os_error
from pyrunc.kernel.uapi import S_IFMT, S_IFREG


def read_file(path: str) -> bytes:
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        parts = []
        while part := posix.read(fd, 65536):
            parts.append(part)
        return b"".join(parts)
    finally:
        posix.close(fd)


def read_sent(descriptors: "list[int]", most: int) -> bytes:
    """Up to `most` bytes of the file behind the first of the O_PATH descriptors, which is closed and taken out of the
    list; nothing where it cannot be read."""
    fd = descriptors.pop(0)
    try:
        flags = posix.O_RDONLY | posix.O_NONBLOCK | posix.O_NOCTTY | posix.O_CLOEXEC
        file = posix.open(f"/proc/self/fd/{fd}", flags)
        try:
            return posix.read(file, most)
        finally:
            posix.close(file)
    except OSError as error:
        if error.errno not in (EACCES, EPERM):  # of a file system that only the container's root may read
            raise
        return b""
    finally:
        posix.close(fd)


def write_file(path: str, data: bytes) -> None:
    fd = posix.open(path, posix.O_WRONLY | posix.O_CLOEXEC)
    try:
        posix.write(fd, data)
    finally:
        posix.close(fd)


def write_pid_file(path: str, pid: int) -> None:
    """The bare decimal pid, whole or not at all: engines read the file as a number.

    It is renamed into its place, but where that holds something else than a file (/dev/null, a FIFO), written to it.
    """
    data = str(pid).encode()
    directory, slash, name = path.rpartition("/")
    temporary = f"{directory}{slash}.{name}.{posix.getpid()}"
    try:
        if not _replaceable(path):
            write_file(path, data)
            return
        fd = _new_file(temporary)
        try:
            try:
                posix.write(fd, data)
            finally:
                posix.close(fd)
            posix.rename(temporary, path)
        except BaseException:
            remove_quietly(temporary)
            raise
    except OSError as error:
        raise from_os_error("write pid file", error) from None


def _new_file(path: str) -> int:
    """A file that was not there; one of a process that had the same pid and was killed is no hindrance."""
    flags = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC
    try:
        return posix.open(path, flags, 0o644)
    except FileExistsError:
        posix.unlink(path)
        return posix.open(path, flags, 0o644)


def remove_quietly(path: str, dir_fd: "int | None" = None) -> None:
    """Take back a file after an error, which is what counts."""
    try:
        posix.unlink(path, dir_fd=dir_fd)
    except OSError:
        pass


def remove_pid_file(path: str, pid: int) -> None:
    """Take back what write_pid_file has written, if it has: a pid that is no process's, and may be another's soon.

    path: "" for none. pid: 0 for none.
    """
    try:
        if path and pid and _replaceable(path) and read_file(path) == str(pid).encode():
            posix.unlink(path)
    except FileNotFoundError:
        pass


def _replaceable(path: str) -> bool:
    """Whether there is nothing, or a regular file."""
    try:
        return posix.stat(path).st_mode & S_IFMT == S_IFREG
    except FileNotFoundError:
        return True


def real_path(path: str) -> str:
    """The path without symbolic links. Raises Error where there is nothing."""
    try:
        fd = posix.open(path, 0o10000000 | posix.O_CLOEXEC)
    except OSError as error:
        raise from_os_error("invalid rootfs: stat", error, pointer="/root/path") from None
    try:
        return posix.readlink(f"/proc/self/fd/{fd}")
    finally:
        posix.close(fd)
