"""Why a container does not go on: who holds its lock, what its processes wait for, which limit it has reached. Cold."""

import os
from collections.abc import Iterator
from pathlib import Path

from pyrunc.cgroups.stats import NO_LIMIT
from pyrunc.inspect.checks import Check
from pyrunc.inspect.consumption import consumption
from pyrunc.machine.assembler import syscall_numbers
from pyrunc.state.lock_holder import holder_of
from pyrunc.state.processes import cgroup_manager, pids
from pyrunc.state.state import State
from pyrunc.state.store import Store

_STATES = {
    "R": "running", "S": "sleeping", "D": "stuck in the kernel", "T": "stopped by a signal", "t": "traced",
    "Z": "dead, not waited for", "I": "idle", "X": "dead",
}  # fmt: skip


def container_checks(store: Store, id: str) -> list[Check]:
    """What is to be said of the container `id`. Errors: NotFound."""
    state = store.load(id)
    holder = holder_of(store.path(id))
    status = "creating" if state.status_hint == "creating" and holder else state.status()
    return [*_status(state, status, holder), *_lock(holder), *_processes(state), *_limits(state, status)]


def _status(state: State, status: str, holder: int) -> Iterator[Check]:
    topic = f"container {state.id}"
    if status == "creating" and holder:
        yield Check("note", topic, "it is being created")
    elif status == "creating" or state.status_hint == "creating":
        remedy = f"pyrunc delete --force {state.id}"
        yield Check("error", topic, "who was creating it is gone", remedy=remedy)
    elif status == "created":
        yield Check("note", topic, f"it waits for `pyrunc start {state.id}`")
    elif status == "paused":
        yield Check("warning", topic, "it is frozen", remedy=f"pyrunc resume {state.id}")
    elif status == "stopped":
        remedy = f"pyrunc delete {state.id}"
        yield Check("note", topic, "its first process has ended", remedy=remedy)
    else:
        yield Check("ok", topic, "it is running")


def _lock(holder: int) -> Iterator[Check]:
    if not holder:
        return
    yield Check("note", "lock", f"process {holder} is changing it: {_command(holder)}")
    for child in _children(holder):
        yield Check("note", "lock", f"{holder} waits for its child {child} ({_doing(child)}): {_command(child)}")


def _processes(state: State) -> Iterator[Check]:
    if not state.alive():
        return
    manager = cgroup_manager(state)
    try:
        members = pids(state, manager)
    finally:
        if manager is not None:
            manager.close()
    for pid in [state.pid, *(it for it in members if it != state.pid)][:20]:
        letter = _letter(pid)
        if not letter:
            continue
        role = "first process" if pid == state.pid else "process"
        level = "error" if letter == "D" else "warning" if letter in "TtZ" else "ok"
        remedy = f"see /proc/{pid}/stack: does a disk or a network file system not answer?" if letter == "D" else ""
        yield Check(level, "processes", f"{role} {pid} ({_command(pid)}): {_doing(pid)}", remedy=remedy)
    if len(members) > 20:
        yield Check("ok", "processes", f"{len(members) - 20} more")


def _limits(state: State, status: str) -> Iterator[Check]:
    data = consumption(state, status)
    if data is None:
        return
    count, most = data["pids"].get("current", 0), data["pids"].get("limit", 0)
    if most and count >= most:
        found = f"{count} of {most} processes: fork fails"
        yield Check("error", "limits", found, remedy="raise linux/resources/pids/limit (pyrunc update --pids-limit)")
    memory = data["memory"]
    usage, limit = memory["usage"].get("usage", 0), memory["usage"]["limit"]
    if 0 < limit < NO_LIMIT >> 2 and usage > limit * 0.95:
        found = f"{usage} of {limit} bytes of memory in use: it is slow, or about to be killed"
        yield Check("warning", "limits", found, remedy="raise linux/resources/memory/limit (pyrunc update --memory)")
    kills = memory.get("event_count", {}).get("oom_kill", 0)
    if kills:
        yield Check("warning", "limits", f"the OOM killer has struck {kills} times for its memory limit")
    throttling = data["cpu"]["throttling"]
    periods, throttled = throttling.get("periods", 0), throttling.get("throttledPeriods", 0)
    if periods > 10 and throttled > periods / 2:
        found = f"the CPU quota kept it from running in {throttled} of {periods} periods"
        yield Check("warning", "limits", found, remedy="raise linux/resources/cpu/quota (pyrunc update --cpu-quota)")


# -- a process -------------------------------------------------------------------------------------


def _read(pid: int, name: str) -> str:
    """A file of /proc/PID; "" where the process is gone or it may not be read."""
    try:
        return Path(f"/proc/{pid}/{name}").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return ""


def _letter(pid: int) -> str:
    return _read(pid, "stat").rpartition(")")[2].strip()[:1]


def _command(pid: int) -> str:
    words = _read(pid, "cmdline").replace("\0", " ").strip()
    text = words or f"[{_read(pid, 'comm').strip()}]"
    return text if len(text) <= 80 else text[:77] + "..."


def _children(pid: int) -> list[int]:
    return [int(word) for word in _read(pid, f"task/{pid}/children").split()]


def _doing(pid: int) -> str:
    """`sleeping in futex`: its state, and the system call that it is in."""
    letter = _letter(pid)
    state = _STATES.get(letter, letter or "gone")
    number = _read(pid, "syscall").partition(" ")[0]
    names = {value: key for key, value in syscall_numbers(os.uname().machine).items()}
    if not number.isdigit():
        return state
    return f"{state} in {names.get(int(number), f'system call {number}')}"
