"""The processes of a container: finding them, signalling them, waiting for their end.

A process id says nothing for certain: the process may have ended and the number be another's. So
signals go through pidfds (pidfd_open(2)), and a pidfd counts only once the start time was compared.

Import cost: posix, select, _signal.
"""

import posix
from errno import EACCES, EINVAL, ENOENT, EPERM, ESRCH
from select import POLLIN, poll

from pyrunc.errors import Error, from_os_error
from pyrunc.state.state import State, process_start, read_whole

DIES_WITHIN = 10.0  # seconds from SIGKILL to the end of a process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from signal import pidfd_send_signal

    from pyrunc.cgroups import Manager
else:
    from _signal import pidfd_send_signal


def open_process(pid: int) -> int:
    """A pidfd (pidfd_open(2)), or -1 where no process has the number. Errors: Error for whatever else keeps it from us:
    who cannot be asked is not gone."""
    try:
        return posix.pidfd_open(pid)
    except OSError as error:
        # EINVAL, and ENOENT from Linux 6.9 on: the number is that of another process's thread by now.
        if error.errno in (ESRCH, EINVAL, ENOENT):
            return -1
        from pyrunc.kernel import refused

        hint = refused.hint("pidfd_open", error.errno or 0)
        raise from_os_error(f"cannot open process {pid}: pidfd_open", error, hint=hint) from None


def open_init(state: State) -> int:
    """A pidfd of the container's init process; -1 where it is no more, zombies included. Errors: as open_process."""
    if not state.pid:
        return -1
    pidfd = open_process(state.pid)
    if pidfd < 0:
        return -1
    # Compared after opening: a process that still has the recorded start time is the recorded one,
    # and the number cannot have been given away between the two.
    try:
        if process_start(state.pid) == state.pid_start:
            return pidfd
    except OSError as error:
        posix.close(pidfd)
        raise from_os_error(f"cannot look at process {state.pid}:", error) from None
    posix.close(pidfd)
    return -1


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


def await_killed(pidfd: int, pid: int) -> None:
    """Wait for the end of a container's init that has got SIGKILL. Errors: `container init still running`."""
    if not await_end(pidfd, DIES_WITHIN):
        raise Error("container init still running", hint=f"process {pid} is stuck in the kernel: see /proc/{pid}/stack")


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
    except OSError as error:
        if error.errno not in (ENOENT, ESRCH, EACCES, EPERM):  # ended, or another user's
            raise
        return ""


def _descendants(pid: int, numbers: "list[int]") -> "list[int]":
    children: dict[int, list[int]] = {}
    for number in numbers:
        data = read_whole(f"/proc/{number}/stat", None)
        if data is None:
            continue
        fields = data[data.rindex(b")") + 2 :].split()
        if fields[0] not in (b"Z", b"X"):
            children.setdefault(int(fields[1]), []).append(number)
    found = [pid]
    for parent in found:
        found += children.get(parent, [])
    return sorted(found)
