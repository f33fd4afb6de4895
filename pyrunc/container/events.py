"""`events`: statistics at intervals, and a line for each process that the OOM killer took.

Not on the hot path.
"""

import time
from collections.abc import Callable
from typing import Any

from pyrunc.config import strict
from pyrunc.errors import Error
from pyrunc.options import Globals
from pyrunc.state.processes import cgroup_manager
from pyrunc.state.store import Store

# Go's time.ParseDuration, in nanoseconds.
UNITS = {
    "ns": 1,
    "us": 1_000,
    "\u00b5s": 1_000,
    "\u03bcs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}


def duration(text: str) -> float:
    """Seconds for a duration as Go writes them: "100ms", "1m30s", "1.5h".

    Errors: it is none, or not above zero.
    """
    total, rest = 0.0, text
    while rest:
        number = rest[: len(rest) - len(rest.lstrip("0123456789."))]
        rest = rest[len(number) :]
        unit = rest[: len(rest) - len(rest.lstrip("nsu\u00b5\u03bcmh"))]
        rest = rest[len(unit) :]
        digits = number.replace(".", "", 1)
        if unit not in UNITS or not (digits.isascii() and digits.isdecimal()):
            raise Error(f'invalid value "{text}" for flag -interval: parse error')
        total += float(number) * UNITS[unit]
    if total <= 0:
        raise Error("duration interval must be greater than 0")
    return total / 1e9


def events(globals_: Globals, id: str, *, interval: float, once: bool, out: Callable[[str], None]) -> None:
    """Write what the container uses every `interval` seconds, and OOM kills as they happen, until
    its last process has ended; with `once` what it uses now.

    out: takes a line. Errors: `container with id ID is not running`; it has no cgroup.
    """
    state = Store(globals_.root).load(id)
    if state.status() not in ("running", "created", "paused"):
        raise Error(f"container with id {id} is not running")
    manager = cgroup_manager(state)
    if manager is None or not manager.path:
        raise Error(f"container {id} has no cgroup to take statistics from")
    if once:
        out(_line("stats", id, manager.stats()))
        return
    with manager.watch() as watch:
        due = time.monotonic() + interval
        while True:
            kills = watch.wait(max(0.0, due - time.monotonic()))
            if kills is None:
                return
            for _ in range(kills):
                out(_line("oom", id))
            if time.monotonic() >= due:
                out(_line("stats", id, manager.stats()))
                due += interval


def _line(kind: str, id: str, data: Any = None) -> str:
    event = {"type": kind, "id": id}
    return strict.dumps(event if data is None else {**event, "data": data}) + "\n"
