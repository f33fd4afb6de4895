"""`delete`: end what is left of a container and remove what was made for it.

In this order: processes, cgroup, state directory, poststop hooks. Each step may find its work done,
so that a delete that was killed can be done again.

Import cost: posix, select, _signal, and the state's; cgroups only for a container that has one.
"""

import posix

from pyrunc.errors import ConfigError, Error, NotFound, from_os_error
from pyrunc.kernel.signals import SIGKILL
from pyrunc.state.processes import await_killed, cgroup_manager, open_init, pids
from pyrunc.state.state import Damaged, State, process_start
from pyrunc.state.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from signal import pidfd_send_signal

    from pyrunc.cgroups import Manager
    from pyrunc.config.types import Hook
    from pyrunc.options import Globals
else:
    from _signal import pidfd_send_signal


def delete(globals_: "Globals", id: str, force: bool) -> None:
    """Delete the container `id`, which must be stopped or created; with `force` in any state.

    With `force` an unknown id is no error, and a damaged state none either: see salvage.py. Errors: `container does not
    exist`; `cannot delete container ID that is not stopped: running`. A poststop hook that fails is a warning.
    """
    store = Store(globals_.root)
    try:
        with store.lock(id):
            try:
                state = store.load(id)
                if not force:
                    _check(state)
                elif not state.bundle:
                    _check_origin(store, id)
            except Damaged as damage:
                if not force:
                    raise
                from pyrunc.container import salvage

                salvage.remove(store, id, damage)
                return
            destroy(store, state)
    except NotFound:
        if not force:
            raise
        store.check_entry(id)


def _check_origin(store: Store, id: str) -> None:
    """Raise Damaged where a directory without state.json is another runtime's: crun keeps its state in `status`."""
    if posix.access(store.path(id, "status"), posix.F_OK):
        raise Damaged(id, f"container {id} is another runtime's: it has no state.json, but the file status")


def destroy(store: Store, state: State) -> None:
    """Kill the container's processes, remove its cgroup and its state, run its poststop hooks.

    The caller holds the container's lock. Errors: as delete().
    """
    manager = cgroup_manager(state)
    if manager is not None and not _is_its_own(state, manager):
        manager = None
    if manager is not None and "freezer" in state.cgroup and manager.frozen():
        manager.kill()  # KILL alone does not reach what v1's freezer holds
    _kill(state)
    if manager is not None:
        manager.remove()
    if "intelRdt" in state.extra:
        from pyrunc.setup import resctrl

        resctrl.remove(state)
    # Read before its file goes; hooks come last, so that a hook that fails or hangs leaves nothing.
    hooks = _poststop_hooks(state) if state.poststop else []
    store.remove(state.id)
    if hooks:
        from pyrunc.setup.host_hooks import run_poststop

        run_poststop(hooks, state.hook_state("stopped"), cwd=state.bundle)


def _poststop_hooks(state: State) -> "list[Hook]":
    """What the configuration says; nothing, with a warning, where it is damaged: the container goes all the same."""
    try:
        hooks: list[Hook] = state.config["hooks"]["poststop"]
        return hooks
    except (ConfigError, Damaged, KeyError, TypeError) as error:
        from pyrunc.log import log

        why = error if isinstance(error, Error) else "config.json in its state directory has none"
        log.warning(f"the poststop hooks of container {state.id} are not run: {why}")
        return []


def _is_its_own(state: State, manager: "Manager") -> bool:
    """Whether the cgroup may be removed with all that is in it.

    A `create` that was killed has named its cgroup before it looked whether that was another container's: one of the
    same id in another state directory. What began before the `create` is not of this container.
    """
    since = state.extra.get("since")
    if state.pid or since is None or not manager.path or not manager.exists():
        return True
    for pid in manager.procs():
        if 0 < process_start(pid) < since:
            from pyrunc.log import log

            what = f"process {pid} in it is older than container {state.id}"
            log.warning(f"cgroup {manager.path} is left alone: {what}")
            return False
    return True


def _check(state: State) -> None:
    """Errors: the container is neither stopped nor only created."""
    # Who holds the lock is this process; a container still in creation has lost its creator.
    status = state.status() if state.status_hint != "creating" else "stopped"
    if status not in ("stopped", "created"):
        raise Error(f"cannot delete container {state.id} that is not stopped: {status}")


def _kill(state: State) -> None:
    """End the init process and wait for its end; then whoever is left of a shared pid namespace."""
    pidfd = open_init(state)
    if pidfd < 0:
        return
    members = [] if state.private_pid or state.cgroup else pids(state, None)
    try:
        pidfd_send_signal(pidfd, SIGKILL)
        for pid in members:
            if pid != state.pid:
                posix.kill(pid, SIGKILL)
        await_killed(pidfd, state.pid)
    except ProcessLookupError:
        pass
    except OSError as error:
        from pyrunc.kernel import refused

        hint = refused.hint("pidfd_send_signal", error.errno or 0)
        raise from_os_error(f"unable to kill init {state.pid}", error, hint=hint) from None
    finally:
        posix.close(pidfd)
