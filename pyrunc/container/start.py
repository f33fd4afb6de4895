"""`pyrunc start`: let the waiting init execute its program, and learn whether it could."""

import posix
from _socket import AF_UNIX, SOCK_STREAM, socket

from pyrunc.container import failure
from pyrunc.container.state import Store
from pyrunc.errors import Error, from_os_error
from pyrunc.machine.session import REPLY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.container.state import State
    from pyrunc.globals import Globals


def start(globals_: "Globals", id: str, trace: str = "") -> None:
    """Start a created container. Errors: it does not exist, is running or has stopped; its program cannot be
    executed; a
    poststart hook failed (the container is stopped then: runtime.md, "Lifecycle")."""
    store = Store(globals_.root)
    with store.lock(id):
        state = store.load(id)
        status = state.status()
        if status in ("running", "paused"):
            raise Error("cannot start an already running container")
        if status != "created":
            raise Error("cannot start a container that has stopped")
        release(store, state)
        state.status_hint = "started"
        state.extra.pop("start", None)
        store.save(state)
        after_start(store, state)


def release(store: Store, state: "State") -> None:
    """Connect to the init's socket, and wait for its end by execve, or for the step that failed."""
    sock = socket(AF_UNIX, SOCK_STREAM)
    directory = posix.open(
        store.path(state.id), posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC
    )
    try:
        sock.connect(f"/proc/self/fd/{directory}/start.sock")
        data = _answer(sock)
    except ConnectionResetError:
        data = b""
    except OSError as error:
        raise from_os_error("error reaching the container's init", error) from None
    finally:
        posix.close(directory)
        sock.close()
    if len(data) >= REPLY.size:
        _, index, errno, length, _, _ = REPLY.unpack_from(data)
        why, at, name, key = state.extra["start"][index]
        if type(key) is list:
            raise failure.hook_failed(key, data[REPLY.size : REPLY.size + length])
        if errno:
            raise failure.told(why, at, name, name, errno, key, failure.INIT)


def _answer(sock: socket) -> bytes:
    """One whole reply, or nothing: the init waits for more after a reply, and ends when the connection does."""
    data = b""
    wanted = REPLY.size
    while len(data) < wanted and (part := sock.recv(65536)):
        data += part
        if len(data) >= REPLY.size:
            wanted = REPLY.size + REPLY.unpack_from(data)[3]
    return data


def after_start(store: Store, state: "State") -> None:
    """Run the poststart hooks; one that fails stops the container."""
    hooks = (state.config.get("hooks") or {}).get("poststart")
    if not hooks:
        return
    from pyrunc.container.hooks import run_hooks

    try:
        run_hooks(hooks, "poststart", state.hook_state("running"), cwd=state.bundle)
    except Error:
        from pyrunc.container.delete import destroy

        destroy(store, state)
        raise


