"""Compiled seccomp filters, kept from one container to the next.

A filter is a file of its own, named by the hash of what it was compiled from:

    digest   32 bytes, of the name and all that follows
    header   struct: device, inode, size, mtime (ns) of the library, length of its path
    path     of the libseccomp that compiled it; another file there makes the entry stale
    program  array of struct sock_filter

The directory is /run/pyrunc-cache or, for other users, $XDG_RUNTIME_DIR/pyrunc-cache: gone after
a reboot, so that the kernel is the one that was compiled for. It and its files have to be the
user's own and closed to others, or they are not used; they are examined through the descriptor
that is then read. A cache that cannot be used is no error: the filter is compiled again.

Import cost: posix, _blake2, _struct.
"""

import posix
from _blake2 import blake2b
from _struct import Struct

from pyrunc.log import log

SYSTEM = "/run"
NAME = "pyrunc-cache"
ENTRIES = 256
"""More files than this, of profiles that vary without end, and the cache starts afresh."""

DIGEST = 32
LARGEST = 64 * 1024
HEADER = Struct("=QQQqI")

S_IFMT, S_IFDIR, S_IFREG = 0o170000, 0o040000, 0o100000


def digest(data: bytes) -> bytes:
    """A cryptographic hash, DIGEST bytes."""
    return blake2b(data, digest_size=DIGEST).digest()


def load(key: bytes) -> "bytes | None":
    """The program that was stored under the key, or None."""
    for base in _bases():
        directory = _open_directory(base, create=False)
        if directory < 0:
            continue
        try:
            program = _unpack(key, _read(directory, _name(key)))
        finally:
            posix.close(directory)
        if program is not None:
            return program
    return None


def store(key: bytes, program: bytes, library: str) -> None:
    """Keep a program that the library at the path has compiled; atomically, or not at all."""
    identity = _identity(library)
    if identity is None:
        return
    path = library.encode(errors="surrogateescape")
    body = HEADER.pack(*identity, len(path)) + path + program
    for base in _bases():
        directory = _open_directory(base, create=True)
        if directory < 0:
            continue
        try:
            _write(directory, _name(key), digest(key + body) + body)
            return
        except OSError as error:
            log.debug(f"seccomp cache in {base}: {error}")
        finally:
            posix.close(directory)


def _name(key: bytes) -> str:
    return "seccomp-" + key.hex()


def _bases() -> "list[str]":
    """Directories that may hold the cache. Root in a user namespace may not own the system's."""
    bases = [SYSTEM] if posix.geteuid() == 0 else []
    own = posix.environ.get(b"XDG_RUNTIME_DIR", b"").decode(errors="surrogateescape")
    if own.startswith("/"):
        bases.append(own)
    return bases


def _open_directory(base: str, *, create: bool) -> int:
    """A descriptor of the cache's directory, or -1 where there is none that can be trusted."""
    path = f"{base}/{NAME}"
    flags = posix.O_RDONLY | posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_CLOEXEC
    try:
        if create:
            try:
                posix.mkdir(path, 0o700)
            except FileExistsError:
                pass
        fd = posix.open(path, flags)
    except OSError:
        return -1
    try:
        usable = _private(fd, S_IFDIR)
    except OSError:
        usable = False
    if not usable:
        log.debug(f"seccomp cache {path} is not private to its owner, and not used")
        posix.close(fd)
        return -1
    return fd


def _private(fd: int, kind: int) -> bool:
    """Whether what is open is of the kind, this user's own, and without rights for others."""
    found = posix.fstat(fd)
    return found.st_mode & S_IFMT == kind and found.st_mode & 0o077 == 0 and found.st_uid == posix.geteuid()


def _read(directory: int, name: str) -> bytes:
    """The content of an entry, or nothing."""
    # Without O_NONBLOCK a FIFO in its place would be waited for.
    flags = posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_CLOEXEC | posix.O_NONBLOCK
    try:
        fd = posix.open(name, flags, dir_fd=directory)
    except OSError:
        return b""
    try:
        return posix.read(fd, LARGEST) if _private(fd, S_IFREG) else b""
    except OSError:
        return b""
    finally:
        posix.close(fd)


def _unpack(key: bytes, content: bytes) -> "bytes | None":
    """The program in an entry, unless it is damaged, another's, or of another library."""
    body = content[DIGEST:]
    if digest(key + body) != content[:DIGEST]:
        return None
    if len(body) < HEADER.size:
        return None
    *identity, length = HEADER.unpack_from(body)
    end = HEADER.size + length
    path = body[HEADER.size : end].decode(errors="surrogateescape")
    if _identity(path) != tuple(identity):
        return None
    return body[end:]


def _identity(path: str) -> "tuple[int, int, int, int] | None":
    """What tells one file at a path from its successor there."""
    try:
        found = posix.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _write(directory: int, name: str, content: bytes) -> None:
    """Put a file in place whole. A reader finds the old one, none, or this."""
    names = posix.listdir(directory)
    if len(names) >= ENTRIES:
        for old in names:
            try:
                posix.unlink(old, dir_fd=directory)
            except FileNotFoundError:
                pass
    temporary = f"{name}.{posix.getpid()}"
    flags = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_NOFOLLOW | posix.O_CLOEXEC
    try:
        fd = posix.open(temporary, flags, 0o600, dir_fd=directory)
    except FileExistsError:
        # Of a process that had the same number and was killed here.
        posix.unlink(temporary, dir_fd=directory)
        return
    try:
        try:
            complete = posix.write(fd, content) == len(content)
        finally:
            posix.close(fd)
        if complete:
            posix.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
        else:
            posix.unlink(temporary, dir_fd=directory)
    except BaseException:
        from pyrunc.kernel.files import remove_quietly

        remove_quietly(temporary, directory)
        raise
