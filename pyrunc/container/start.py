"""`pyrunc start`: let the waiting init execute its program, and learn whether it could."""

import posix
from _socket import AF_UNIX, SOCK_STREAM, socket

from pyrunc.errors import Error, from_os_error
from pyrunc.machine.ops import Step
from pyrunc.machine.session import Session, Trace
from pyrunc.setup import step_errors
from pyrunc.state.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.options import Globals
    from pyrunc.setup.seccomp_agent import Handover
    from pyrunc.state.state import State


def start(globals_: "Globals", id: str, trace: str = "") -> None:
    """Start a created container. trace: a file for the times of the steps, or "".

    Errors: it does not exist, is running or has stopped; its program cannot be executed; a startContainer or poststart
    hook failed (the container is gone then: runtime.md, "Lifecycle").
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
        # Before it is true: a start that is killed must not leave a running container that is taken for a created one.
        state.status_hint = "started"
        store.save(state)
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

            write(trace, times)
        after_start(store, state)
    if notify is not None:
        # Without the lock: who waits here must not keep others from the container.
        notify.until_ready(state.pid)


def release(store: Store, state: "State", trace: "Trace | None" = None) -> None:
    """Connect to the init's socket, say whether to trace, and wait for its execve, or for the step that failed."""
    sock = socket(AF_UNIX, SOCK_STREAM)
    directory = posix.open(store.path(state.id), posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)
    session = Session(sock, "init", trace)
    try:
        sock.connect(f"/proc/self/fd/{directory}/start.sock")
        sock.send(b"\1\0\0\0" if trace is not None else bytes(4))
        # What create remembered of the steps that its program goes on with.
        steps = [
            Step(name, (None, 0, wait), None, (), (), None, None, why, at, key)
            for why, at, name, key, wait in state.extra["start"]
        ]
        reply = session.until_exec(steps, _handover(state))
    except OSError as error:
        raise from_os_error("error reaching the container's init", error) from None
    finally:
        posix.close(directory)
        sock.close()
    if reply is not None and reply.step is not None:
        step = reply.step
        if not reply.errno:
            raise step_errors.hook_failed(step.key, reply.data)
        raise step_errors.told(step.why, step.at, step.name, step.name, reply.errno, step.key, step_errors.INIT)


def _handover(state: "State") -> "Handover | None":
    """What gives the seccomp agent its listener, where the configuration names one."""
    if not state.listener:
        return None
    from pyrunc.setup.seccomp_agent import Handover

    return Handover(state.config["linux"]["seccomp"], state.pid, state.hook_state("created"))


def after_start(store: Store, state: "State") -> None:
    """Run the poststart hooks; one that fails stops the container."""
    if not state.poststart:
        return
    from pyrunc.setup.host_hooks import run_hooks

    try:
        run_hooks(state.config["hooks"]["poststart"], "poststart", state.hook_state("running"), cwd=state.bundle)
    except Error:
        _destroy(store, state)
        raise


def _destroy(store: Store, state: "State") -> None:
    from pyrunc.container.delete import destroy

    destroy(store, state)


