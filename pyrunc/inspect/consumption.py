"""What a container uses at this moment, as `events --stats` has it. Cold."""

from errno import ENODEV, ENOENT
from typing import Any

from pyrunc.state.processes import cgroup_manager
from pyrunc.state.state import State


def consumption(state: State, status: str) -> "dict[str, Any] | None":
    """The `data` of a stats event; None for a container without a cgroup, or that has ended meanwhile.

    status: as state.status() says. Errors: OSError for files that cannot be read.
    """
    manager = cgroup_manager(state) if status in ("created", "running", "paused") else None
    if manager is None or not manager.path:
        return None
    try:
        data: dict[str, Any] = manager.stats()
    except OSError as error:
        if error.errno not in (ENOENT, ENODEV):
            raise
        return None
    finally:
        manager.close()
    return data
