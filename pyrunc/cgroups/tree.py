"""What is done to a whole cgroup v2 and everything below it: list, freeze, kill, wait, remove.

Works on descriptors of the directory; nothing is forked and nothing sleeps where the kernel can
wake us: cgroup.events wakes a poll(2) with POLLPRI when `populated` or `frozen` change.

Import cost: posix, errno, select, time.
"""

import errno
import posix
import select
import time

from pyrunc.cgroups import files
from pyrunc.errors import Error, from_os_error
from pyrunc.kernel.signals import SIGKILL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

GONE = (errno.ENOENT, errno.ENODEV, errno.ENOTDIR)


def procs(dir_fd: int, recursive: bool = True) -> "list[int]":
    """The processes in the cgroup, and (recursive) in those below it, each once; a group that
    vanishes has none.
    """
    if not recursive:
        return _own_procs(dir_fd)
    pids: list[int] = []
    for fd in _each(dir_fd):
        pids += _own_procs(fd)
    return list(dict.fromkeys(pids))


def _own_procs(dir_fd: int) -> "list[int]":
    try:
        return list(dict.fromkeys(int(word) for word in files.read(dir_fd, "cgroup.procs").split()))
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            return _of_threads(dir_fd)
        if error.errno not in GONE:
            raise
        return []


def _each(dir_fd: int) -> "Iterator[int]":
    """A descriptor of the cgroup and, one after the other, of each below it, open until the next is asked for.

    A container makes as many in each other as it likes: one descriptor is held, and nothing recurses. The way up is
    "..", as a cgroup cannot be moved.
    """
    yield dir_fd
    waiting = [_subdirs(dir_fd)]
    fd = posix.dup(dir_fd)
    try:
        while waiting:
            name = waiting[-1].pop() if waiting[-1] else ".."
            if name == "..":
                waiting.pop()
                if not waiting:
                    return
            try:
                fd = _step(fd, name)
            except FileNotFoundError:
                continue
            if name != "..":
                yield fd
                waiting.append(_subdirs(fd))
    finally:
        posix.close(fd)


def _step(fd: int, name: str) -> int:
    """Open a directory beside an open one, which is closed. Errors: FileNotFoundError, and it stays open."""
    new = files.open_dir(name, fd)
    posix.close(fd)
    return new


def _of_threads(dir_fd: int) -> "list[int]":
    """The processes of the threads in a threaded group, whose cgroup.procs cannot be read."""
    pids = []
    for word in (files.try_read(dir_fd, "cgroup.threads") or b"").split():
        try:
            fd = files.open_dir(f"/proc/{int(word)}")
        except FileNotFoundError:
            continue
        try:
            status = files.try_read(fd, "status") or b""
        finally:
            posix.close(fd)
        for line in status.splitlines():
            if line.startswith(b"Tgid:"):
                pids.append(int(line[5:]))
                break
    return list(dict.fromkeys(pids))


def _subdirs(dir_fd: int) -> "list[str]":
    try:
        return files.subdirs(dir_fd)
    except OSError as error:
        if error.errno in GONE:
            return []
        raise


def event(dir_fd: int, key: str) -> int:
    """A value of cgroup.events ("populated", "frozen"); 0 where the group is gone."""
    try:
        return files.table(files.read(dir_fd, "cgroup.events")).get(key, 0)
    except OSError as error:
        if error.errno not in GONE:
            raise
        return 0


def wait_event(dir_fd: int, key: str, value: int, timeout: float) -> bool:
    """Wait until cgroup.events says `key value`; False after `timeout` seconds. A group that is
    gone counts as empty and thawed.
    """
    try:
        fd = posix.open("cgroup.events", posix.O_RDONLY | posix.O_CLOEXEC, dir_fd=dir_fd)
    except OSError as error:
        if error.errno in GONE:
            return value == 0
        raise
    try:
        poll = select.poll()
        poll.register(fd, select.POLLPRI)
        deadline = time.monotonic() + timeout
        while True:
            # kernfs reports a change since the last read through the same description.
            try:
                data = posix.pread(fd, 4096, 0)
            except OSError as error:
                if error.errno in GONE:
                    return value == 0
                raise
            if files.table(data).get(key, 0) == value:
                return True
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            poll.poll(min(left, 1.0) * 1000)
    finally:
        posix.close(fd)


def freeze(dir_fd: int, frozen: bool, timeout: float = 10.0) -> bool:
    """Write cgroup.freeze and wait until it is so; False where `timeout` seconds were not enough.

    Freezing takes as long as the slowest process needs to leave the kernel (a stuck NFS, a vfork).
    """
    files.write(dir_fd, "cgroup.freeze", b"1" if frozen else b"0")
    return wait_event(dir_fd, "frozen", 1 if frozen else 0, timeout)


def kill(dir_fd: int) -> None:
    """Send SIGKILL to all processes in and below the cgroup, also to frozen ones.

    cgroup.kill (5.14) does it atomically, forks included. Without it, or in a threaded group
    (EOPNOTSUPP): freeze, so that nothing forks meanwhile, signal each, thaw.
    """
    try:
        files.write(dir_fd, "cgroup.kill", b"1")
        return
    except OSError as error:
        if error.errno == errno.ENODEV:
            return
        if error.errno not in (errno.ENOENT, errno.EOPNOTSUPP):
            raise
    try:
        freeze(dir_fd, True, 2.0)
    except OSError:
        pass  # without a freezer, repeating the walk is all that is left
    try:
        for _ in range(64):
            pids = procs(dir_fd)
            for pid in pids:
                try:
                    posix.kill(pid, SIGKILL)
                except ProcessLookupError:
                    pass
            if not pids or event(dir_fd, "frozen"):
                break
    finally:
        try:
            files.write(dir_fd, "cgroup.freeze", b"0")
        except OSError:
            pass


def survived(name: str, left: "list[int]") -> Error:
    """The error of a cgroup whose processes did not end."""
    return Error(
        f"remove cgroup {name}: {len(left)} processes survive SIGKILL ({', '.join(map(str, left[:8]))})",
        hint="a process in uninterruptible sleep (state D) cannot be killed",
    )


def remove_at(path: str, timeout: float = 10.0) -> None:
    """remove(), by an absolute path. One whose parent is gone is done."""
    above, _, name = path.rpartition("/")
    try:
        parent = files.open_dir(above)
    except FileNotFoundError:
        return
    try:
        remove(parent, name, timeout)
    except OSError as error:
        raise from_os_error(f"remove cgroup {path}:", error) from None
    finally:
        posix.close(parent)


def remove(parent_fd: int, name: str, timeout: float = 10.0) -> None:
    """Kill what is left in the cgroup `name` and remove it with all below; one that is gone is
    done.

    timeout: seconds to wait for the processes to be gone, and again for the kernel to let go of the
    directories (EBUSY while the last task's exit is under way). Raises Error.
    """
    if _rmdir(parent_fd, name):
        return
    fd = files.open_dir(name, parent_fd)
    try:
        if event(fd, "populated"):
            kill(fd)
            if not wait_event(fd, "populated", 0, timeout):
                raise survived(name, procs(fd))
    finally:
        posix.close(fd)
    deadline = time.monotonic() + timeout
    pause = 0.001
    while True:
        stuck = _rmtree(parent_fd, name)
        if not stuck:
            return
        if time.monotonic() > deadline:
            raise Error(f"remove cgroup {name}: {stuck}: device or resource busy", errno=errno.EBUSY)
        time.sleep(pause)
        pause = min(pause * 2, 0.1)


def _rmtree(parent_fd: int, name: str) -> str:
    """Remove a directory tree of cgroups; "" when done, else the path of one that is busy.

    As in _each: however deep it is, one descriptor is held.
    """
    if _rmdir(parent_fd, name):
        return ""
    path = [name]
    try:
        fd = files.open_dir(name, parent_fd)
    except FileNotFoundError:
        return ""
    try:
        while True:
            left = [child for child in _subdirs(fd) if not _rmdir(fd, child)]
            if left:
                try:
                    fd = _step(fd, left[0])
                    path.append(left[0])
                except FileNotFoundError:
                    pass
                continue
            if len(path) == 1:
                break
            fd = _step(fd, "..")
            if not _rmdir(fd, path[-1]):
                return "/".join(path)
            path.pop()
    finally:
        posix.close(fd)
    return "" if _rmdir(parent_fd, name) else name


def _rmdir(parent_fd: int, name: str) -> bool:
    """Remove a cgroup; whether it is gone. False where it is busy or has others below it."""
    try:
        posix.rmdir(name, dir_fd=parent_fd)
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
            raise
        return False
    return True
