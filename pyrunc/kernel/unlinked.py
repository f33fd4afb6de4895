"""Files without a name, where memfd_create(2) may not be used: vm.memfd_noexec=2, or a filter around pyrunc. Cold."""

import posix
from errno import EACCES, EISDIR, ENOENT, ENOSPC, ENOSYS, ENOTDIR, EOPNOTSUPP, EPERM, EROFS

from pyrunc.errors import Error, strerror

#: How memfd_create is refused.
REFUSED = (EACCES, EPERM, ENOSYS)
#: Where they may lie: file systems in memory before others.
_DIRECTORIES = ("/dev/shm", "/run", "/tmp", "/var/tmp")
_NOEXEC = 8  # ST_NOEXEC of statvfs(3)
# A directory that is not there, not ours, read-only or full, or a file system without O_TMPFILE: another may do.
_ANOTHER = (ENOENT, ENOTDIR, EACCES, EPERM, EROFS, ENOSPC, EOPNOTSUPP, EISDIR)


def memory_file(name: str) -> int:
    """A file for reading and writing that is gone with its last descriptor. name: for /proc/PID/fd.

    Errors: OSError; Error: no directory takes one.
    """
    try:
        return posix.memfd_create(name, posix.MFD_CLOEXEC)
    except OSError as error:
        if error.errno not in REFUSED:
            raise
        return _unlinked(0o600, executable=False)


def executable_copy(image: bytes) -> int:
    """A descriptor of a new file with the content `image`, only for reading and executing.

    Nobody else executes the file, and nobody after us: who manages to write to it changes no program. While it is
    executed the kernel refuses that (ETXTBSY). Errors: Error.
    """
    fd = _unlinked(0o500, executable=True)
    try:
        posix.write(fd, image)
        # One that is open for writing cannot be executed.
        return posix.open(f"/proc/self/fd/{fd}", posix.O_RDONLY | posix.O_CLOEXEC)
    finally:
        posix.close(fd)


def _unlinked(mode: int, *, executable: bool) -> int:
    tried = []
    own = posix.environ.get(b"XDG_RUNTIME_DIR", b"").decode(errors="surrogateescape")
    for directory in (*_DIRECTORIES, *([own] if own.startswith("/") else [])):
        try:
            fd = posix.open(directory, posix.O_TMPFILE | posix.O_RDWR | posix.O_CLOEXEC, mode)
        except OSError as error:
            if error.errno not in _ANOTHER:
                raise
            tried.append(f"{directory}: {strerror(error.errno)}")
            continue
        if not executable or not posix.fstatvfs(fd).f_flag & _NOEXEC:
            return fd
        posix.close(fd)
        tried.append(f"{directory}: mounted noexec")
    raise Error(
        f"memfd_create is refused, and there is no directory for a file without a name: {'; '.join(tried)}",
        errno=EACCES,
        hint="set the sysctl vm.memfd_noexec below 2, or allow memfd_create in the seccomp filter around pyrunc",
    )
