"""Attending a process in the foreground, for `run` and `exec`: signals, reaping, the exit status.

All signals are blocked meanwhile, from before the process exists: none gets lost, and none ends
pyrunc before the process. terminal.py does the same where a terminal has to be passed on as well.

Import cost: posix, _signal.
"""

import posix
import sys

from pyrunc.kernel.signals import SIGCHLD, SIGKILL, SIGSTOP, SIGURG, SIGWINCH
from pyrunc.machine.session import SIGNALS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from signal import SIG_BLOCK, pthread_sigmask, sigwaitinfo
else:
    from _signal import SIG_BLOCK, pthread_sigmask, sigwaitinfo

# Signals that say something of pyrunc itself are not the container's.
_OWN = (4, 5, 7, 8, SIGKILL, 11, SIGSTOP, SIGCHLD, SIGURG, SIGWINCH, 31)
_BLOCKABLE = tuple(number for number in SIGNALS if number not in (SIGKILL, SIGSTOP))


def block_signals() -> "Iterable[int]":
    """Block all signals; returns the mask that held before, for pthread_sigmask(SIG_SETMASK)."""
    return pthread_sigmask(SIG_BLOCK, _BLOCKABLE)


def attend(pid: int, console: int = -1) -> int:
    """Pass signals, and the terminal with the master `console`, on until the child `pid` ends.

    Returns its exit status, or 128 and the number of the signal that killed it. Other children
    that end are reaped. Signals have to be blocked.
    """
    if console >= 0:
        from pyrunc.foreground.terminal import relay

        return relay(console, pid)
    while True:
        # Before waiting: the process may have ended before its signal was blocked.
        code = reap_until(pid)
        if code is not None:
            return code
        forward(pid, sigwaitinfo(_BLOCKABLE).si_signo)


def forward(pid: int, number: int) -> None:
    """Pass a signal on to the container's process, where it is meant for it."""
    if number in _OWN:
        return
    try:
        # The child has not been reaped, so the number is still its own.
        posix.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        pass  # a program with set-user-ID may be another user's


def reap_until(pid: int) -> "int | None":
    """Reap all children that have ended; the exit status of `pid` if it is among them."""
    code = None
    while True:
        try:
            ended, status = posix.waitpid(-1, posix.WNOHANG)
        except ChildProcessError:
            return code
        if not ended:
            return code
        if ended == pid:
            code = exit_code(status)


def exit_code(status: int) -> int:
    """A wait status as a shell gives it."""
    if posix.WIFSIGNALED(status):
        return 128 + posix.WTERMSIG(status)
    return posix.WEXITSTATUS(status)


def become_subreaper() -> None:
    """Adopt the container's orphans, so that none is left over (PR_SET_CHILD_SUBREAPER, prctl(2)).

    Nothing in the interpreter calls prctl. The embedded form's executable does; else python-prctl,
    and where that is not installed, init adopts them.
    """
    try:
        if "_embedded" in sys.builtin_module_names:
            import _embedded  # type: ignore[import-not-found]

            _embedded.become_subreaper()
            return
        try:
            import _prctl  # type: ignore[import-not-found]
        except ImportError:
            from pyrunc import thirdparty

            thirdparty.enable()
            import _prctl
        _prctl.prctl(_prctl.PR_SET_CHILD_SUBREAPER, 1)
    except (ImportError, OSError) as error:
        from pyrunc.log import log

        how = f"; {thirdparty.install('prctl')}" if isinstance(error, ImportError) else ""
        log.debug(f"orphans of the container are left to init: {error}{how}")
