"""The processes of a container: finding them, signalling them, waiting for their end.

A process id says nothing for certain: the process may have ended and the number be another's. So
signals go through pidfds (pidfd_open(2)), and a pidfd counts only once the start time was compared.

Import cost: posix, select, _signal.
"""

import posix
from select import POLLIN, poll

from pyrunc.state.state import State, process_start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from signal import pidfd_send_signal

    from pyrunc.cgroups import Manager
else:
    from _signal import pidfd_send_signal


def open_init(state: State) -> int:
    """A pidfd of the container's init process; -1 where it is no more, zombies included."""
    if not state.pid:
        return -1
    try:
        pidfd = posix.pidfd_open(state.pid)
    except OSError:
        return -1
    # Compared after opening: a process that still has the recorded start time is the recorded one,
    # and the number cannot have been given away between the two.
    if process_start(state.pid) != state.pid_start:
        posix.close(pidfd)
        return -1
    return pidfd


def signal_init(state: State, number: int) -> bool:
    """Send a signal to the init process; False where it is no more. Errors: PermissionError."""
    pidfd = open_init(state)
    if pidfd < 0:
        return False
    try:
        pidfd_send_signal(pidfd, number)
        return True
    except ProcessLookupError:
        return False
    finally:
        posix.close(pidfd)


def await_end(pidfd: int, timeout: float) -> bool:
    """Wait until the process has ended (a zombie has); False after `timeout` seconds."""
    waiting = poll()
    waiting.register(pidfd, POLLIN)
    return bool(waiting.poll(timeout * 1000))


def cgroup_manager(state: State) -> "Manager | None":
    """The manager of the container's cgroup; None where it has none."""
    if not state.cgroup:
        return None
    from pyrunc.cgroups import Manager

    return Manager.from_state(state.cgroup)


def pids(state: State, manager: "Manager | None") -> "list[int]":
    """The container's processes as host pids, sorted: those of its cgroup and the ones below it.

    Without a cgroup: all in the init's pid namespace if that is the container's own, else the init
    and its descendants (those whose parent died meanwhile are not found).
    """
    if manager is not None and manager.path:
        return manager.procs()
    if not state.alive():
        return []
    numbers = [int(name) for name in posix.listdir("/proc") if name.isdecimal()]
    if state.private_pid:
        space = _pid_namespace(state.pid)
        return sorted(pid for pid in numbers if _pid_namespace(pid) == space)
    return _descendants(state.pid, numbers)


def _pid_namespace(pid: int) -> str:
    try:
        return posix.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return ""


def _descendants(pid: int, numbers: "list[int]") -> "list[int]":
    children: dict[int, list[int]] = {}
    for number in numbers:
        try:
            fd = posix.open(f"/proc/{number}/stat", posix.O_RDONLY | posix.O_CLOEXEC)
        except OSError:
            continue
        try:
            data = posix.read(fd, 4096)
        except OSError:
            continue
        finally:
            posix.close(fd)
        fields = data[data.rindex(b")") + 2 :].split()
        if fields[0] not in (b"Z", b"X"):
            children.setdefault(int(fields[1]), []).append(number)
    found = [pid]
    for parent in found:
        found += children.get(parent, [])
    return sorted(found)
