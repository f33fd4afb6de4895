"""What all containers of a state directory use, as OpenMetrics text (the format's version 1.0.0). Cold.

Names and units follow the format's rules: base units, `_total` for what only grows, one family after the other. A
family without samples is left out: a container without a limit has no sample for it.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from pyrunc.cgroups.stats import NO_LIMIT
from pyrunc.errors import Error
from pyrunc.inspect.consumption import consumption
from pyrunc.log import log
from pyrunc.state.state import State

PREFIX = "pyrunc_container_"
STATUSES = ("creating", "created", "running", "paused", "stopped")

# Name, type, unit ("" for a number of things) and help of each family, in the order of the text.
FAMILIES = (
    ("status", "stateset", "", "Which of the states of the runtime specification the container is in."),
    ("created_time_seconds", "gauge", "seconds", "When the container was created, since 1970."),
    ("cpu_seconds", "counter", "seconds", "CPU time used."),
    ("cpu_periods", "counter", "", "Periods of the CPU quota that have passed."),
    ("cpu_throttled_periods", "counter", "", "Periods in which the quota was used up."),
    ("cpu_throttled_seconds", "counter", "seconds", "Time for which the quota kept the container from running."),
    ("memory_usage_bytes", "gauge", "bytes", "Memory in use, page cache included."),
    ("memory_limit_bytes", "gauge", "bytes", "Limit of memory."),
    ("memory_peak_bytes", "gauge", "bytes", "Most memory that was in use."),
    ("memory_cache_bytes", "gauge", "bytes", "Page cache, tmpfs and shared memory."),
    ("memory_kernel_bytes", "gauge", "bytes", "Memory of the kernel's."),
    ("swap_usage_bytes", "gauge", "bytes", "Swap in use."),
    ("memory_events", "counter", "", "Events of memory.events: limits that were reached, OOM kills."),
    ("pressure_seconds", "counter", "seconds", "Time for which some or all processes waited for a resource (PSI)."),
    ("pids", "gauge", "", "Processes and threads."),
    ("pids_limit", "gauge", "", "Limit of processes and threads."),
    ("io_bytes", "counter", "bytes", "Bytes read from, written to and discarded on a disk."),
    ("io_operations", "counter", "", "Operations on a disk."),
    ("hugetlb_usage_bytes", "gauge", "bytes", "Huge pages in use."),
)

Sample = tuple[str, dict[str, str], float]


def metrics(states: Iterable[State]) -> str:
    """The text for these containers. One that cannot be looked at any more is warned about and left out."""
    found: dict[str, list[str]] = {}
    for state in states:
        try:
            samples = list(_samples(state))
        except Error as error:
            log.warning(f"{state.id} is left out: {error}")
            continue
        for family, labels, value in samples:
            found.setdefault(family, []).append(_line(family, {"id": state.id, **labels}, value))
    lines: list[str] = []
    for name, kind, unit, text in FAMILIES:
        if name in found:
            lines += [f"# TYPE {PREFIX}{name} {kind}"]
            if unit:
                lines += [f"# UNIT {PREFIX}{name} {unit}"]
            lines += [f"# HELP {PREFIX}{name} {text}", *found[name]]
    return "\n".join([*lines, "# EOF\n"])


def _line(family: str, labels: Mapping[str, str], value: float) -> str:
    kind = next(kind for name, kind, _, _ in FAMILIES if name == family)
    suffix = "_total" if kind == "counter" else ""
    inside = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items())
    return f"{PREFIX}{family}{suffix}{{{inside}}} {value:.15g}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _samples(state: State) -> Iterable[Sample]:
    status = state.status()
    for name in STATUSES:
        yield "status", {PREFIX + "status": name}, int(name == status)
    yield "created_time_seconds", {}, _seconds(state.created)
    data = consumption(state, status)
    if data is None:
        return
    yield from _cpu(data["cpu"])
    yield from _memory(data["memory"])
    for resource in ("cpu", "memory", "blkio"):
        for kind, values in data[resource].get("psi", {}).items():
            labels = {"resource": "io" if resource == "blkio" else resource, "kind": kind}
            yield "pressure_seconds", labels, values.get("total", 0) / 1e6
    if "current" in data["pids"]:
        yield "pids", {}, data["pids"]["current"]
    if "limit" in data["pids"]:
        yield "pids_limit", {}, data["pids"]["limit"]
    yield from _io(data["blkio"])
    for size, entry in data["hugetlb"].items():
        yield "hugetlb_usage_bytes", {"page_size": size}, entry.get("usage", 0)


def _cpu(cpu: dict[str, Any]) -> Iterable[Sample]:
    usage, throttling = cpu["usage"], cpu["throttling"]
    yield "cpu_seconds", {"mode": "user"}, usage.get("user", 0) / 1e9
    yield "cpu_seconds", {"mode": "system"}, usage.get("kernel", 0) / 1e9
    if throttling.get("periods"):
        yield "cpu_periods", {}, throttling["periods"]
        yield "cpu_throttled_periods", {}, throttling.get("throttledPeriods", 0)
        yield "cpu_throttled_seconds", {}, throttling.get("throttledTime", 0) / 1e9


def _memory(memory: dict[str, Any]) -> Iterable[Sample]:
    usage = memory["usage"]
    yield "memory_usage_bytes", {}, usage.get("usage", 0)
    if 0 < usage["limit"] < NO_LIMIT >> 2:  # version 1 has a number near 2^63 where there is no limit
        yield "memory_limit_bytes", {}, usage["limit"]
    if usage.get("max"):
        yield "memory_peak_bytes", {}, usage["max"]
    yield "memory_cache_bytes", {}, memory.get("cache", 0)
    yield "memory_kernel_bytes", {}, memory["kernel"].get("usage", 0)
    swap = memory["swap"].get("usage", 0) - usage.get("usage", 0)
    yield "swap_usage_bytes", {}, max(swap, 0)
    for event, count in memory.get("event_count", {}).items():
        yield "memory_events", {"event": event}, count


def _io(blkio: dict[str, Any]) -> Iterable[Sample]:
    for field, family in (("ioServiceBytesRecursive", "io_bytes"), ("ioServicedRecursive", "io_operations")):
        for entry in blkio.get(field, []):
            if entry["op"] in ("Read", "Write", "Discard"):  # version 1 has sums of them as well
                device = f"{entry.get('major', 0)}:{entry.get('minor', 0)}"
                yield family, {"device": device, "operation": entry["op"].lower()}, entry.get("value", 0)


def _seconds(created: str) -> float:
    """Of a time as state.json has it (RFC 3339)."""
    from datetime import datetime

    whole, _, rest = created.removesuffix("Z").partition(".")
    return datetime.fromisoformat(whole + "+00:00").timestamp() + float(f"0.{rest or 0}")
