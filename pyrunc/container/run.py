"""`pyrunc run`: create, execute, wait and delete, without the detour over a waiting init."""

from pyrunc.container.create import Creation
from pyrunc.container.prepare import Preparation
from pyrunc.container.start import after_start
from pyrunc.errors import INIT, Error
from pyrunc.foreground.wait import attend, become_subreaper, block_signals
from pyrunc.machine.session import NOT_EXECUTED
from pyrunc.setup.failures import step_errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from signal import SIG_SETMASK, pthread_sigmask

    from pyrunc.options import Globals
    from pyrunc.setup.request import CreateRequest
else:
    from _signal import SIG_SETMASK, pthread_sigmask


def run(globals_: "Globals", request: "CreateRequest") -> int:
    """Run a container; its exit status, or 128 and the signal that killed it; 0 with `detach`."""
    creation = Creation(Preparation(globals_, request, listen=False))
    old_mask = None
    try:
        creation.prepared.make()
        if not request.detach:
            old_mask = block_signals()
            if not request.no_subreaper:
                become_subreaper()
        creation.build()
        creation.commit("started")
        _await_exec(creation)
    except BaseException:
        creation.undo()
        raise
    try:
        creation.release_lock()
        after_start(creation.store, creation.state)
    except BaseException:
        creation.end()
        raise
    pid, notify = creation.pid, creation.prepared.notify
    creation.end()
    if request.detach:
        if notify is not None:
            notify.until_ready(pid)
        return 0
    if notify is not None:
        notify.in_background(pid)
    try:
        return attend(pid, creation.console)
    finally:
        if not request.keep:
            _delete(globals_, request.id)
        if old_mask is not None:
            pthread_sigmask(SIG_SETMASK, old_mask)


def _await_exec(creation: Creation) -> None:
    """The session ends with a successful execve. A program that cannot be executed ends by itself, with 255."""
    session = creation.session
    assert session is not None
    reply = session.until_exec(creation.steps, creation.handover())
    if reply is None:
        creation.check_executed("the container's init ended")
    if reply is not None and reply.step is not None:
        if reply.step.key == NOT_EXECUTED:
            from pyrunc.setup.failures import not_executed

            return not_executed.tell(session.fd, reply, creation.pid, creation.config["process"])
        if not reply.errno:
            creation.hooked = True
            raise step_errors.hook_failed(reply.step.key, reply.data)
        raise step_errors.step_error(reply.step, reply.errno, INIT)
    return None


def _delete(globals_: "Globals", id: str) -> None:
    from pyrunc.container.delete import delete
    from pyrunc.log import log

    try:
        delete(globals_, id, True)
    except (Error, OSError) as error:
        # Whatever it is: the exit status is that of the container's program.
        log.warning(f"the container is left behind: {error}; remove it by pyrunc delete --force {id}")
