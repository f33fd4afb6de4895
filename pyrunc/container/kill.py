"""`kill`: a signal to the container's init process, or to all of its processes.

Import cost: posix, select, _signal, and the state's.
"""

import posix

from pyrunc.errors import Error, from_os_error
from pyrunc.kernel.signals import SIGKILL, parse_signal
from pyrunc.state.processes import cgroup_manager, open_process, pids, signal_init
from pyrunc.state.state import State
from pyrunc.state.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from signal import pidfd_send_signal

    from pyrunc.options import Globals
else:
    from _signal import pidfd_send_signal

NOT_RUNNING = "container not running"


def kill(globals_: "Globals", id: str, signal: str, everyone: bool) -> None:
    """Send `signal` (a name or a number) to the container `id`.

    everyone: to all of its processes; then it is no error that none is left. KILL reaches everyone
    also where the container has no pid namespace of its own, as the kernel kills the members of one
    with its init, and only those. Errors: `container not running`, `unknown signal "FOO"`.
    """
    state = Store(globals_.root).load(id)
    number = parse_signal(signal)
    if everyone or (number == SIGKILL and not state.private_pid):
        reached = _signal_all(state, number)
    else:
        reached = _signal_init(state, number)
        # A frozen process too dies of KILL in cgroup v2, but not in v1's freezer.
        if number == SIGKILL and "freezer" in state.cgroup and state.frozen():
            manager = cgroup_manager(state)
            if manager is not None:
                manager.thaw()
    if not reached and not everyone:
        raise Error(NOT_RUNNING)


def _signal_init(state: State, number: int) -> bool:
    try:
        return signal_init(state, number)
    except OSError as error:
        from pyrunc.kernel import refused

        hint = refused.hint("pidfd_send_signal", error.errno or 0)
        raise from_os_error(f"unable to signal init {state.pid}", error, hint=hint) from None


def _signal_all(state: State, number: int) -> bool:
    """Whether anyone was there to get it."""
    manager = cgroup_manager(state)
    members = pids(state, manager)
    if number == SIGKILL and manager is not None and members:
        # All at once, and forks under way with them.
        manager.kill()
        return True
    reached = _signal_init(state, number)
    for pid in members:
        if pid != state.pid:
            reached = _signal_member(pid, number) or reached
    return reached


def _signal_member(pid: int, number: int) -> bool:
    """A signal to a process that was just listed; False if it ended meanwhile."""
    pidfd = open_process(pid)
    if pidfd < 0:
        return False
    try:
        pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return False
    except OSError as error:
        raise from_os_error(f"unable to signal process {pid}", error) from None
    finally:
        posix.close(pidfd)
    return True
