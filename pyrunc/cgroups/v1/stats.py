"""What the groups of v1 say is used, as `events --stats` prints it: field for field runc's types/events.go."""

import posix

from pyrunc.cgroups import files
from pyrunc.cgroups.stats import CPUSET_KNOBS, _entry, _some, number, ranges

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.cgroups.v1.driver import V1Manager

    Json = dict[str, object]

TICK = 10_000_000  # nanoseconds of a USER_HZ, which is 100 on all architectures that Linux runs containers on
BLKIO = (
    ("ioServiceBytesRecursive", ("bfq.io_service_bytes_recursive", "throttle.io_service_bytes_recursive")),
    ("ioServicedRecursive", ("bfq.io_serviced_recursive", "throttle.io_serviced_recursive")),
    ("ioQueueRecursive", ("bfq.io_queued_recursive",)),
    ("ioServiceTimeRecursive", ("bfq.io_service_time_recursive",)),
    ("ioWaitTimeRecursive", ("bfq.io_wait_time_recursive",)),
    ("ioMergedRecursive", ("bfq.io_merged_recursive",)),
    ("ioTimeRecursive", ("bfq.time_recursive",)),
    ("sectorsRecursive", ("bfq.sectors_recursive",)),
)


def stats(manager: "V1Manager") -> "Json":
    """The `data` of a stats event; what no mounted hierarchy tells stays empty."""
    return {
        "cpu": _cpu(manager.controller("cpu"), manager.controller("cpuacct")),
        "cpuset": _cpuset(manager.controller("cpuset")),
        "memory": _memory(manager.controller("memory")),
        "pids": _pids(manager.controller("pids")),
        "blkio": _blkio(manager.controller("blkio")),
        "hugetlb": _hugetlb(manager.controller("hugetlb")),
        "intel_rdt": {},
        "network_interfaces": None,
    }


def _table(fd: int, name: str) -> "dict[str, int]":
    return files.table(files.try_read(fd, name)) if fd >= 0 else {}


def _number(fd: int, name: str) -> int:
    return (number(fd, name) or 0) if fd >= 0 else 0


def _numbers(fd: int, name: str) -> "list[int]":
    data = files.try_read(fd, name) if fd >= 0 else None
    return [int(word) for word in (data or b"").split()]


def _cpu(cpu: int, account: int) -> "Json":
    """cpu.stat, cpuacct.*; times in nanoseconds."""
    times = _table(account, "cpuacct.stat")
    usage = _some({"total": _number(account, "cpuacct.usage"), "percpu": _numbers(account, "cpuacct.usage_percpu")})
    rows = (files.try_read(account, "cpuacct.usage_all") or b"") if account >= 0 else b""
    table = [[int(word) for word in row.split()] for row in rows.splitlines()[1:]]  # cpu user system
    usage.update(_some({"percpu_kernel": [row[2] for row in table], "percpu_user": [row[1] for row in table]}))
    usage["kernel"] = times.get("system", 0) * TICK
    usage["user"] = times.get("user", 0) * TICK
    stat = _table(cpu, "cpu.stat")
    throttling = _some(
        {
            "periods": stat.get("nr_periods", 0),
            "throttledPeriods": stat.get("nr_throttled", 0),
            "throttledTime": stat.get("throttled_time", 0),
            "burstPeriods": stat.get("nr_bursts", 0),
            "burstTime": stat.get("burst_time", 0),
        }
    )
    return {"usage": usage, "throttling": throttling}


def _cpuset(fd: int) -> "Json":
    out: Json = {}
    for key in ("cpus", "mems"):
        text = (files.try_read(fd, "cpuset." + key) or b"") if fd >= 0 else b""
        if text.strip():
            out[key] = ranges(text.decode())
    for key in CPUSET_KNOBS:
        data = (files.try_read(fd, "cpuset." + key) or b"0") if fd >= 0 else b"0"
        out[key] = int(data)
    return out


def _memory(fd: int) -> "Json":
    """memory.*; "swap" is memory and swap together."""
    stat = _table(fd, "memory.stat")
    out: Json = _some({"cache": stat.get("cache", 0)})
    for key, prefix in (("usage", ""), ("swap", "memsw."), ("kernel", "kmem."), ("kernelTCP", "kmem.tcp.")):
        names = ("usage_in_bytes", "limit_in_bytes", "max_usage_in_bytes", "failcnt")
        out[key] = _entry(*(_number(fd, f"memory.{prefix}{name}") for name in names))
    out.update(_some({"raw": stat}))
    out["event_count"] = _some({"oom_kill": _table(fd, "memory.oom_control").get("oom_kill", 0)})
    return out


def _pids(fd: int) -> "Json":
    limit = (files.try_read(fd, "pids.max") or b"max").strip() if fd >= 0 else b"max"
    return _some({"current": _number(fd, "pids.current"), "limit": 0 if limit == b"max" else int(limit)})


def _blkio(fd: int) -> "Json":
    """The lists of the bfq scheduler, or of throttling where that counts nothing, as runc has them."""
    out: Json = {}
    if fd < 0:
        return out
    for field, names in BLKIO:
        for name in names:
            entries = [
                _some({"major": int(major), "minor": int(minor), "op": op, "value": int(value)})
                for line in (files.try_read(fd, "blkio." + name) or b"").decode().splitlines()
                for device, op, value in [_three(line)]
                for major, colon, minor in [device.partition(":")]
                if colon
            ]
            if entries:
                out[field] = entries
                break
    return out


def _three(line: str) -> "tuple[str, str, str]":
    """`8:0 Read 42`; some files have no operation: `8:0 42`. A sum ("Total 42") has no device."""
    words = line.split()
    return (words[0], "" if len(words) == 2 else words[1], words[-1])


def _hugetlb(fd: int) -> "Json":
    if fd < 0:
        return {}
    sizes = {name.split(".")[1] for name in posix.listdir(fd) if name.startswith("hugetlb.") and name.count(".") >= 2}
    out: Json = {}
    for size in sorted(sizes):
        prefix = f"hugetlb.{size}."
        entry = _some(
            {"usage": _number(fd, prefix + "usage_in_bytes"), "max": _number(fd, prefix + "max_usage_in_bytes")}
        )
        entry["failcnt"] = _number(fd, prefix + "failcnt")
        out[size] = entry
    return out
