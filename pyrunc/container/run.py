"""`pyrunc run`: create, execute, wait and delete, without the detour over a waiting init."""

import posix
from _signal import SIG_BLOCK, SIG_SETMASK, pthread_sigmask, sigwaitinfo

from pyrunc.container.create import Creation
from pyrunc.container.start import after_start
from pyrunc.errors import Error
from pyrunc.container import failure
from pyrunc.machine.session import SIGNALS, Lost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.container.request import CreateRequest
    from pyrunc.globals import Globals

SIGCHLD, SIGWINCH, SIGURG = 17, 28, 23
# Signals that say something of pyrunc itself are not the container's.
_OWN = (4, 5, 7, 8, 9, 11, 19, SIGCHLD, SIGURG, 31)
PR_SET_CHILD_SUBREAPER = 36


def run(globals_: "Globals", request: "CreateRequest") -> int:
    """Run a container; its exit status, or 128 and the number of the signal that killed it; 0 with `detach`."""
    creation = Creation(globals_, request, listen=False)
    old_mask = None
    try:
        creation.prepare()
        if not request.detach:
            old_mask = pthread_sigmask(SIG_BLOCK, [s for s in SIGNALS if s not in (9, 19)])
            if not request.no_subreaper:
                become_subreaper()
        creation.build()
        creation.commit("started")
        _await_exec(creation)
    except BaseException:
        creation.undo()
        raise
    assert creation.state is not None
    try:
        after_start(creation.store, creation.state)
    except Error:
        creation.lock = None
        creation.end()
        raise
    pid = creation.pid
    creation.end()
    if request.detach:
        return 0
    try:
        return _attend(creation, pid)
    finally:
        if not request.keep:
            _delete(globals_, request.id)
        if old_mask is not None:
            pthread_sigmask(SIG_SETMASK, old_mask)


def _await_exec(creation: Creation) -> None:
    """The session ends with a successful execve."""
    session = creation.session
    assert session is not None
    try:
        reply = session.receive(creation.steps)
    except Lost:
        return
    if reply.step is not None:
        if not reply.errno:
            raise failure.hook_failed(reply.step.key, reply.data)
        raise failure.step_error(reply.step, reply.errno, failure.INIT)


def _attend(creation: Creation, pid: int) -> int:
    """Pass signals and the terminal on until the process ends, and reap whatever ends meanwhile."""
    if creation.console >= 0:
        from pyrunc.container.terminal import relay

        return relay(creation.console, pid, forward)
    waited = [s for s in SIGNALS if s not in (9, 19)]
    while True:
        # Before waiting: the process may have ended before its signal was blocked.
        code = reap_until(pid)
        if code is not None:
            return code
        forward(pid, sigwaitinfo(waited).si_signo)


def forward(pid: int, number: int) -> None:
    """Pass a signal on to the container's process, where it is meant for it."""
    if number in _OWN or number == SIGWINCH:
        return
    try:
        posix.kill(pid, number)
    except OSError:
        pass


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
    """Adopt orphans of the container, so that none is left when pyrunc ends (prctl(2), PR_SET_CHILD_SUBREAPER)."""


def _delete(globals_: "Globals", id: str) -> None:
    from pyrunc.container.delete import delete
    from pyrunc.log import log

    try:
        delete(globals_, id, True)
    except Error as error:
        log.warning(str(error))
