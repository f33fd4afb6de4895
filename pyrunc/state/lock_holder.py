"""Who holds a container's lock, and whether waiting for him can end.

A hook that calls the runtime for its own container would wait for the runtime that waits for the hook. Cold: asked only
when a lock is not to be had at once.
"""

import posix

from pyrunc.state.state import read_whole


def waits_for_us(fd: int) -> int:
    """The process that holds the lock of the open directory `fd`, if this one descends from a hook of its; else 0.

    Hooks have sessions of their own, so a descendant in the same session is none. As far as /proc tells: a holder in
    another pid namespace is not known.
    """
    holder = _holder(fd)
    if not holder:
        return 0
    ancestors = _ancestors()
    sessions = list(ancestors.values())
    return holder if holder in ancestors and ancestors[holder] != sessions[0] else 0


def holder_of(path: str) -> int:
    """The process that holds the lock of a container's directory; 0 where nobody does, or where it cannot be known."""
    fd = posix.open(path, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC | posix.O_NOFOLLOW)
    try:
        return _holder(fd)
    finally:
        posix.close(fd)


def _holder(fd: int) -> int:
    """proc_locks(5): `1: FLOCK  ADVISORY  WRITE 4711 fe:01:1234 0 EOF`."""
    status = posix.fstat(fd)
    device = status.st_dev
    major, minor = posix.major(device), posix.minor(device)
    place = f"{major:02x}:{minor:02x}:{status.st_ino}".encode()
    for line in (read_whole("/proc/locks", None) or b"").splitlines():
        words = line.split()
        if len(words) > 5 and words[1] == b"FLOCK" and words[5] == place:
            return int(words[4])
    return 0


def _ancestors() -> "dict[int, int]":
    """This process and those above it, with their sessions, by the numbers that /proc and /proc/locks have: a
    createContainer hook has another one in its own pid namespace."""
    found: dict[int, int] = {}
    name = "self"
    while data := read_whole(f"/proc/{name}/stat", None):
        pid = int(data.partition(b" ")[0])
        if pid in found:
            break
        _, above, _, session = data[data.rindex(b")") + 2 :].split()[:4]
        found[pid] = int(session)
        name = above.decode()
    return found
