"""`pyrunc start`: let the waiting init execute its program, and learn whether it came to that."""

import posix
from errno import ENXIO

from pyrunc.errors import INIT, Error, NotFound, from_os_error
from pyrunc.machine.ops import Step
from pyrunc.machine.session import EXECUTES, NOT_EXECUTED, Session, Trace
from pyrunc.setup.failures import step_errors
from pyrunc.state.store import ANSWER, START, Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.options import Globals
    from pyrunc.state.state import State


def start(globals_: "Globals", id: str, trace: str = "") -> None:
    """Start a created container. trace: a file for the times of the steps, or "".

    Errors: it does not exist, is running or has stopped; its init was killed; a startContainer or poststart hook
    failed (the container is gone then: runtime.md, "Lifecycle").
    """
    store = Store(globals_.root)
    notify = None
    with store.lock(id):
        state = store.load(id)
        status = state.status()
        if status in ("running", "paused"):
            raise Error("cannot start an already running container")
        if status != "created":
            raise Error("cannot start a container that has stopped")
        directory = store.path(id, "notify")
        if b"NOTIFY_SOCKET" in posix.environ and posix.access(directory, posix.F_OK):
            from pyrunc.foreground.sd_notify import Proxy

            notify = Proxy(directory)
        times = Trace() if trace else None
        try:
            release(store, state, times)
        except Error as error:
            # runtime.md, "Lifecycle", step 7: where a startContainer hook fails, the container's end follows.
            if error.pointer.startswith("/hooks/"):
                _destroy(store, state)
            raise
        if times is not None:
            from pyrunc.setup.trace import write

            times.span("start")
            write(trace, times)
    after_start(store, state)
    if notify is not None:
        # Without the lock: who waits here must not keep others from the container.
        notify.until_ready(state.pid)


def release(store: Store, state: "State", trace: "Trace | None" = None) -> None:
    """Tell the init to go on, and whether to trace, and wait for its execve, or for the step that failed.

    A program that cannot be executed after all is no error: the container's standard error has the reason, and it ends
    with 255.

    Until the init is told nothing has happened, and the container can be started again. "started" is recorded before
    it is true: a start that is killed must not leave a running container that is taken for a created one.
    """
    answers, start = _open_gate(store.path(state.id))
    session = Session(answers, "init", trace)
    told: list[object] = []
    try:
        state.status_hint = "started"
        store.save(state)
        try:
            posix.write(start, b"\1\0\0\0" if trace is not None else bytes(4))
        except OSError:
            state.status_hint = "created"
            store.save(state)
            raise
        # What create remembered of the steps that its program goes on with.
        steps = [
            Step(name, (None, 0, wait), None, (), (), None, None, why, at, key)
            for why, at, name, key, wait in state.extra["start"]
        ]
        reply = session.until_exec(steps, lambda _, __, note: told.append(note.step and note.step.key))
        if reply is not None and reply.step is not None and reply.step.key == NOT_EXECUTED:
            from pyrunc.setup.failures import not_executed

            not_executed.tell(start, reply, state.pid, state.config["process"])
            return
    except OSError as error:
        raise from_os_error("error reaching the container's init", error) from None
    finally:
        posix.close(start)
        session.close()
    if reply is None:
        if EXECUTES not in told:
            raise Error("the container's init ended before it could execute its program")
        return
    if reply.step is not None:
        step = reply.step
        if not reply.errno:
            raise step_errors.hook_failed(step.key, reply.data)
        raise step_errors.told(step.why, step.at, step.name, step.name, reply.errno, step.key, INIT)


class _Answers:
    """The reading end of a fifo, as far as Session needs a socket."""

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def fileno(self) -> int:
        return self.fd

    def recvmsg(self, length: int, _ancillary: int, _flags: int) -> "tuple[bytes, tuple[()], int, None]":
        return posix.read(self.fd, min(length, 1 << 16)), (), 0, None

    def close(self) -> None:
        posix.close(self.fd)


def _open_gate(folder: str) -> "tuple[_Answers, int]":
    """Open the ends of the fifos that are ours (plan/waiting.py): what the init answers, and where it waits."""
    flags = posix.O_NONBLOCK | posix.O_CLOEXEC
    answers = -1
    try:
        answers = posix.open(f"{folder}/{ANSWER}", posix.O_RDONLY | flags)
        start = posix.open(f"{folder}/{START}", posix.O_WRONLY | flags)
    except OSError as error:
        if answers >= 0:
            posix.close(answers)
        if error.errno == ENXIO:  # nobody reads
            raise Error("the container's init ended before it could execute its program") from None
        raise from_os_error("error reaching the container's init", error) from None
    posix.set_blocking(answers, True)
    return _Answers(answers), start


def after_start(store: Store, state: "State") -> None:
    """Run the poststart hooks; one that fails stops the container.

    Without the lock: a hook may call the runtime for its container.
    """
    if not state.poststart:
        return
    from pyrunc.setup.host_hooks import run_hooks

    try:
        run_hooks(state.config["hooks"]["poststart"], "poststart", state.hook_state("running"), cwd=state.bundle)
    except Error:
        try:
            with store.lock(state.id):
                _destroy(store, store.load(state.id))
        except NotFound:
            pass  # the hook, or somebody else, has deleted it
        raise


def _destroy(store: Store, state: "State") -> None:
    from pyrunc.container.delete import destroy

    destroy(store, state)
