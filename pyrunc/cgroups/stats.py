"""What a cgroup uses, as `events --stats` prints it: field for field runc's types/events.go.

Read from the files without a fork. Where Go's `omitempty` would leave a field out, so do we; fields
that runc does not have come after those it has.
"""

import posix

from pyrunc.cgroups import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    Json = dict[str, object]

NO_LIMIT = (1 << 64) - 1
CPUSET_KNOBS = (
    "cpu_exclusive", "mem_hardwall", "mem_exclusive", "memory_migrate", "memory_spread_page",
    "memory_spread_slab", "memory_pressure", "sched_load_balance", "sched_relax_domain_level",
)  # fmt: skip
EVENTS = ("low", "high", "max", "oom", "oom_kill", "oom_group_kill")


def stats(dir_fd: int) -> "Json":
    """The `data` of a stats event for the cgroup with this directory; what it lacks stays empty."""
    return {
        "cpu": cpu(dir_fd),
        "cpuset": cpuset(dir_fd),
        "memory": memory(dir_fd),
        "pids": pids(dir_fd),
        "blkio": blkio(dir_fd),
        "hugetlb": hugetlb(dir_fd),
        "intel_rdt": {},
        "network_interfaces": None,
    }


def number(dir_fd: int, name: str) -> "int | None":
    """A file with one number; "max" is the largest of 64 bits. None where there is no such file."""
    data = files.try_read(dir_fd, name)
    if data is None:
        return None
    text = data.strip()
    if text == b"max":
        return NO_LIMIT
    return int(text) if text.isdigit() else None


def _some(fields: "Json") -> "Json":
    return {key: value for key, value in fields.items() if value}


def pressure(data: "bytes | None") -> "Json":
    """A PSI file: {"some": {"avg10": percent, ..., "total": microseconds}, "full": {...}}."""
    out: Json = {}
    for line in (data or b"").decode().splitlines():
        kind, *words = line.split()
        values: Json = {}
        for word in words:
            key, _, text = word.partition("=")
            if key == "total":
                values[key] = int(text)
            else:
                value = float(text)
                values[key] = int(value) if value == int(value) else value
        out[kind] = values
    return out


def _psi(dir_fd: int, name: str) -> "Json":
    found = pressure(files.try_read(dir_fd, name))
    return {"psi": found} if found else {}


def cpu(dir_fd: int) -> "Json":
    """cpu.stat and cpu.pressure; times in nanoseconds."""
    stat = files.table(files.try_read(dir_fd, "cpu.stat"))
    usage = _some({"total": stat.get("usage_usec", 0) * 1000})
    usage["kernel"] = stat.get("system_usec", 0) * 1000
    usage["user"] = stat.get("user_usec", 0) * 1000
    throttling = _some(
        {
            "periods": stat.get("nr_periods", 0),
            "throttledPeriods": stat.get("nr_throttled", 0),
            "throttledTime": stat.get("throttled_usec", 0) * 1000,
            "burstPeriods": stat.get("nr_bursts", 0),
            "burstTime": stat.get("burst_usec", 0) * 1000,
        }
    )
    return {"usage": usage, "throttling": throttling, **_psi(dir_fd, "cpu.pressure")}


def ranges(text: str) -> "list[int]":
    """A list of CPUs or nodes ("0-2,5") as numbers."""
    out: list[int] = []
    for part in text.strip().split(","):
        if part:
            low, _, high = part.partition("-")
            out.extend(range(int(low), int(high or low) + 1))
    return out


def cpuset(dir_fd: int) -> "Json":
    """The CPUs and nodes that may be used; the rest are v1's knobs, which v2 does not have."""
    out: Json = {}
    for key, name in (("cpus", "cpuset.cpus"), ("mems", "cpuset.mems")):
        text = files.try_read(dir_fd, name + ".effective") or b""
        if text.strip():
            out[key] = ranges(text.decode())
    for key in CPUSET_KNOBS:
        out[key] = 0
    return out


def _entry(usage: int, limit: int, peak: int, failures: int) -> "Json":
    entry: Json = {"limit": limit}
    entry.update(_some({"usage": usage, "max": peak}))
    entry["failcnt"] = failures
    return entry


def memory(dir_fd: int) -> "Json":
    """memory.*; as in v1, "swap" is memory and swap together."""
    stat = files.table(files.try_read(dir_fd, "memory.stat"))
    events = files.table(files.try_read(dir_fd, "memory.events"))
    swap_events = files.table(files.try_read(dir_fd, "memory.swap.events"))
    usage = number(dir_fd, "memory.current") or 0
    limit = number(dir_fd, "memory.max") or 0
    peak = number(dir_fd, "memory.peak") or 0
    swap = number(dir_fd, "memory.swap.current")
    swap_limit = number(dir_fd, "memory.swap.max") or 0
    both = (0, 0)
    if swap is not None:
        total = NO_LIMIT if NO_LIMIT in (limit, swap_limit) else limit + swap_limit
        both = (swap + usage, total)
    out: Json = _some({"cache": stat.get("file", 0)})
    out["usage"] = _entry(usage, limit, peak, events.get("max", 0))
    out["swap"] = _entry(*both, 0, swap_events.get("max", 0))
    out["kernel"] = _entry(stat.get("kernel", 0), 0, 0, 0)
    out["kernelTCP"] = _entry(stat.get("sock", 0), 0, 0, 0)
    out.update(_some({"raw": stat}))
    out.update(_psi(dir_fd, "memory.pressure"))
    # Without zeros: whoever looks for "oom" in what `events` prints finds none before there was one.
    out["event_count"] = _some({key: events.get(key, 0) for key in EVENTS})
    return out


def pids(dir_fd: int) -> "Json":
    """pids.*; without a limit there is no field for it."""
    limit = number(dir_fd, "pids.max") or 0
    out = _some({"current": number(dir_fd, "pids.current") or 0})
    out.update(_some({"limit": 0 if limit == NO_LIMIT else limit}))
    return out


IO_FIELDS = {
    "rbytes": ("ioServiceBytesRecursive", "Read"),
    "wbytes": ("ioServiceBytesRecursive", "Write"),
    "dbytes": ("ioServiceBytesRecursive", "Discard"),
    "rios": ("ioServicedRecursive", "Read"),
    "wios": ("ioServicedRecursive", "Write"),
    "dios": ("ioServicedRecursive", "Discard"),
    "cost.usage": ("ioCostUsage", "Count"),
    "cost.wait": ("ioCostWait", "Count"),
    "cost.indebt": ("ioCostIndebt", "Count"),
    "cost.indelay": ("ioCostIndelay", "Count"),
}


def io_stat(data: "bytes | None") -> "Json":
    """io.stat, a line per disk, as lists of {"major", "minor", "op", "value"}."""
    out: dict[str, list[Json]] = {}
    for line in (data or b"").decode().splitlines():
        device, *words = line.split()
        major, colon, minor = device.partition(":")
        if not colon:
            continue
        for word in words:
            key, _, text = word.partition("=")
            if key in IO_FIELDS and text.isdigit():
                field, op = IO_FIELDS[key]
                entry = _some({"major": int(major), "minor": int(minor)})
                entry.update(_some({"op": op, "value": int(text)}))
                out.setdefault(field, []).append(entry)
    return dict(out)


def blkio(dir_fd: int) -> "Json":
    """io.stat and io.pressure."""
    return {**io_stat(files.try_read(dir_fd, "io.stat")), **_psi(dir_fd, "io.pressure")}


def hugetlb(dir_fd: int) -> "Json":
    """hugetlb.* by page size; of reservations where the kernel counts them, for those fail."""
    sizes = set()
    for name in posix.listdir(dir_fd):
        if name.startswith("hugetlb.") and name.endswith(".current"):
            sizes.add(name.split(".")[1])
    out: Json = {}
    for size in sorted(sizes):
        prefix = f"hugetlb.{size}"
        events = files.table(files.try_read(dir_fd, prefix + ".events"))
        usage = number(dir_fd, prefix + ".rsvd.current")
        if usage is None:
            usage = number(dir_fd, prefix + ".current") or 0
        entry = _some({"usage": usage})
        entry["failcnt"] = events.get("max", 0)
        out[size] = entry
    return out
