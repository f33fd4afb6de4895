"""`pause` and `resume`: the cgroup freezer.

Not on the hot path.
"""

from pyrunc.errors import Error
from pyrunc.options import Globals
from pyrunc.state.processes import cgroup_manager
from pyrunc.state.store import Store


def pause(globals_: Globals, id: str) -> None:
    """Stop all processes of a running or created container; returns when they are stopped.

    Errors: `container not running`, also for one that is paused already; it has no cgroup.
    """
    state = Store(globals_.root).load(id)
    if state.status() not in ("running", "created"):
        raise Error("container not running")
    manager = cgroup_manager(state)
    if manager is None or not manager.path:
        raise Error(
            f"cannot pause container {id}: it has no cgroup",
            hint="cgroup v2 was out of reach when it was created",
        )
    manager.freeze()


def resume(globals_: Globals, id: str) -> None:
    """Let the processes of a paused container go on. Errors: `container not paused`."""
    state = Store(globals_.root).load(id)
    manager = cgroup_manager(state)
    if manager is None or state.status() != "paused":
        raise Error("container not paused")
    manager.thaw()
