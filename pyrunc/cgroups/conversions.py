"""`linux.resources` -> the files of cgroup v2 to write, in order. Pure.

The specification speaks in the terms of cgroup v1; what each property becomes is in the functions
below (Documentation/admin-guide/cgroup-v2.rst names the files). Zero stands for "unset" wherever
engines send it so.

Import cost: none (math is imported for a cpu.shares that needs a logarithm).
"""

from pyrunc.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    Resources = dict[str, Any]

DEFAULT_PERIOD = 100000
POINTER = "/linux/resources"
# The files of cgroup itself that are limits (Documentation/admin-guide/cgroup-v2.rst, "Core Interface Files").
_LIMITS_OF_CGROUP = ("cgroup.max.depth", "cgroup.max.descendants")


class Write:
    """One write: `value` to `file`, because of the element at `pointer`.

    optional: a missing file is no error, since the kernel without it does just what `value` says.
    """

    __slots__ = ("file", "optional", "pointer", "value")

    def __init__(self, file: str, value: str, pointer: str, optional: bool = False) -> None:
        self.file = file
        self.value = value
        self.pointer = pointer
        self.optional = optional

    @property
    def controller(self) -> str:
        """The controller that the file belongs to ("" for the core's `cgroup.` files)."""
        name = self.file.partition(".")[0]
        return "" if name == "cgroup" else name

    def __repr__(self) -> str:
        return f"Write({self.file!r}, {self.value!r}, {self.pointer!r}, {self.optional!r})"


def number(value: int) -> str:
    """A v2 limit: negative numbers mean no limit."""
    return "max" if value < 0 else str(value)


def cpu_weight(shares: int) -> int:
    """cpu.shares (2..262144) -> cpu.weight (1..10000); 0 is unset and stays 0.

    A quadratic in the logarithm through (2, 1), (1024, 100) and (262144, 10000): the defaults meet.
    """
    if shares == 0:
        return 0
    if shares <= 2:
        return 1
    if shares >= 262144:
        return 10000
    from math import ceil, log2

    log = log2(shares)
    exponent = (log * log + 125 * log) / 612 - 7 / 34
    # An exact power such as 100 may come out a hair above itself.
    return ceil(float(10**exponent) - 1e-9)


def io_weight(weight: int) -> int:
    """blkio weight (10..1000) -> io.weight (1..10000); 0 is unset and stays 0."""
    return 0 if weight == 0 else 1 + (weight - 10) * 9999 // 990


def swap_max(swap: int, limit: int, pointer: str = POINTER + "/memory/swap") -> "int | None":
    """memory.swap (which counts memory too) -> memory.swap.max; None is unset, -1 no limit."""
    if swap == 0:
        return -1 if limit == -1 else None
    if -1 in (swap, limit):
        return swap  # without a limit there is nothing to take away, as runc since 1.2 and crun have it
    if not limit:
        raise ConfigError(
            "unable to set a swap limit without a memory limit (linux/resources/memory/swap)",
            pointer=pointer,
        )
    if swap < limit:
        raise ConfigError(
            f"memory+swap limit {swap} (linux/resources/memory/swap) should be at least the memory limit {limit}",
            pointer=pointer,
        )
    return swap - limit


def _pids(res: "Resources", out: "list[Write]") -> None:
    limit = res.get("pids", {}).get("limit")
    if limit is not None:
        # The kernel counts the first process before its limit is looked at: 0 cannot start
        # anything, and "no more processes than the one" is what it has to mean.
        value = "1" if limit == 0 else number(limit)
        out.append(Write("pids.max", value, POINTER + "/pids/limit", value == "max"))


def _memory(res: "Resources", out: "list[Write]") -> None:
    memory = res.get("memory", {})
    here = POINTER + "/memory"
    limit = memory.get("limit", 0)
    swap = swap_max(memory.get("swap", 0), limit, here + "/swap")
    if swap is not None:
        # Without swap accounting there is no file, and neither is there swap to limit or to deny.
        pointer = here + ("/swap" if memory.get("swap") else "/limit")
        out.append(Write("memory.swap.max", number(swap), pointer, swap <= 0))
    if limit:
        out.append(Write("memory.max", number(limit), here + "/limit", limit < 0))
    low = memory.get("reservation", 0)
    if low:
        out.append(Write("memory.low", number(low), here + "/reservation"))


THROTTLES = (
    ("throttleReadBpsDevice", "rbps"),
    ("throttleWriteBpsDevice", "wbps"),
    ("throttleReadIOPSDevice", "riops"),
    ("throttleWriteIOPSDevice", "wiops"),
)


def _io(res: "Resources", out: "list[Write]", bfq: bool) -> None:
    block = res.get("blockIO", {})
    here = POINTER + "/blockIO"
    file = "io.bfq.weight" if bfq else "io.weight"
    weight = block.get("weight", 0)
    if weight:
        value = weight if bfq else io_weight(weight)
        out.append(Write(file, str(value), here + "/weight"))
    for index, device in enumerate(block.get("weightDevice", ())):
        weight = device.get("weight", 0)
        if weight:
            value = weight if bfq else io_weight(weight)
            text = f"{device['major']}:{device['minor']} {value}"
            out.append(Write(file, text, f"{here}/weightDevice/{index}"))
    for name, where, disk, rate in throttles(block, THROTTLES):
        # 0 lifts the limit, as it does in v1's files
        out.append(Write("io.max", f"{disk} {name}={number(rate or -1)}", where))


def throttles(block: "Resources", names: "Iterable[tuple[str, str]]") -> "Iterator[tuple[str, str, str, int]]":
    """What limits single disks in blockIO: name, JSON pointer, MAJOR:MINOR and rate. names: a name for each member."""
    for key, name in names:
        for index, device in enumerate(block.get(key, ())):
            where = f"{POINTER}/blockIO/{key}/{index}"
            yield name, where, f"{device['major']}:{device['minor']}", device.get("rate", 0)


def _idle(res: "Resources") -> "tuple[str, str]":
    """What is asked of cpu.idle, "" for nothing, and where."""
    unified = res.get("unified", {})
    if "cpu.idle" in unified:
        return unified["cpu.idle"].strip(), POINTER + "/unified/cpu.idle"
    idle = res.get("cpu", {}).get("idle")
    return "" if idle is None else str(idle), POINTER + "/cpu/idle"


def _cpu(res: "Resources", out: "list[Write]") -> None:
    cpu = res.get("cpu", {})
    here = POINTER + "/cpu"
    idle, where = _idle(res)
    weight = cpu_weight(cpu.get("shares", 0))
    if idle:
        out.append(Write("cpu.idle", idle, where, idle == "0"))
    # An idle group has no weight: the kernel refuses one.
    if weight and idle != "1":
        out.append(Write("cpu.weight", str(weight), here + "/shares", weight == 100))
    quota, period = cpu.get("quota", 0), cpu.get("period", 0)
    burst = cpu.get("burst")
    if quota or period:
        text = f"{number(quota or -1)} {period or DEFAULT_PERIOD}"
        pointer = here + ("/quota" if quota else "/period")
        if burst is not None:
            # burst must not exceed the quota, old or new: it is lowered before and raised after.
            out.append(Write("cpu.max.burst", "0", here + "/burst", True))
        out.append(Write("cpu.max", text, pointer, quota <= 0))
    if burst is not None:
        out.append(Write("cpu.max.burst", str(burst), here + "/burst", burst == 0))


def cpuset(res: "Resources", out: "list[Write]") -> None:
    """The CPUs and nodes that may be used: the same files in both versions."""
    cpu = res.get("cpu", {})
    for key in ("cpus", "mems"):
        value = cpu.get(key) or ""
        if value:
            out.append(Write("cpuset." + key, value, f"{POINTER}/cpu/{key}"))


def page_size(name: str) -> bool:
    """Whether `name` is a huge page size as the kernel spells it: a number and KB, MB or GB."""
    return name[:-2].isdigit() and name[-2:] in ("KB", "MB", "GB") and name.isascii()


def huge_pages(res: "Resources", out: "list[Write]", file: str) -> None:
    """The limits of huge pages. file: the last part of its name in this version. Raises ConfigError."""
    for index, item in enumerate(res.get("hugepageLimits", ())):
        here = f"{POINTER}/hugepageLimits/{index}"
        size, limit = item["pageSize"], str(item["limit"])
        if not page_size(size):
            raise ConfigError(f'bad huge page size "{size}" ({here[1:]}/pageSize)', pointer=here + "/pageSize")
        out.append(Write(f"hugetlb.{size}.{file}", limit, here))
        # Reservations, where the kernel counts them (5.7): mmap fails then instead of a later
        # SIGBUS.
        out.append(Write(f"hugetlb.{size}.rsvd.{file}", limit, here, True))


def rdma(res: "Resources", out: "list[Write]") -> None:
    """The limits of RDMA devices: the same file in both versions."""
    for device, item in res.get("rdma", {}).items():
        words = [device]
        for key, name in (("hcaHandles", "hca_handle"), ("hcaObjects", "hca_object")):
            if item.get(key) is not None:
                words.append(f"{name}={item[key]}")
        if len(words) > 1:
            out.append(Write("rdma.max", " ".join(words), f"{POINTER}/rdma/{escape(device)}"))


def escape(key: str) -> str:
    """One token of a JSON pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")


def _unified(res: "Resources", out: "list[Write]") -> None:
    idle = _idle(res)[0]
    for key, value in res.get("unified", {}).items():
        if key == "cpu.idle" or (idle == "1" and key == "cpu.weight"):
            continue  # see _cpu
        pointer = f"{POINTER}/unified/{escape(key)}"
        if "/" in key:
            raise ConfigError(f'unified resource "{key}" must be a file name (no slashes)', pointer=pointer)
        controller, dot, parameter = key.partition(".")
        if not dot or not controller or not parameter:
            raise ConfigError(
                f'unified resource "{key}" must be in the form CONTROLLER.PARAMETER',
                pointer=pointer,
            )
        if controller == "cgroup" and key not in _LIMITS_OF_CGROUP:
            # cgroup.procs would move any process of the host's; cgroup.kill and cgroup.freeze are not limits either.
            raise ConfigError(f'unified resource "{key}" is no limit: it is a file of cgroup itself', pointer=pointer)
        for line in value.splitlines():
            if line.strip():
                out.append(Write(key, line, pointer))


def writes(resources: "Resources | None", bfq: bool = False) -> "list[Write]":
    """Everything to write for `resources`, in order (devices are a program, see devices.py).

    bfq: whether the cgroup has io.bfq.weight, which takes the specification's weights as they are.
    ConfigError where the properties contradict each other.
    """
    out: list[Write] = []
    if resources:
        _pids(resources, out)
        _memory(resources, out)
        _io(resources, out, bfq)
        _cpu(resources, out)
        cpuset(resources, out)
        huge_pages(resources, out, "max")
        rdma(resources, out)
        _unified(resources, out)
    return out


def ignored(resources: "Resources | None") -> "list[tuple[str, str]]":
    """What v2 cannot do, as (pointer, reason): to be warned about, not refused."""
    out: list[tuple[str, str]] = []
    res = resources or {}
    memory, cpu = res.get("memory", {}), res.get("cpu", {})
    network, block = res.get("network", {}), res.get("blockIO", {})
    for key, reason in (
        ("kernel", "kernel memory is part of memory.max"),
        ("kernelTCP", "kernel memory is part of memory.max"),
        ("swappiness", "cgroup v2 has no swappiness per group"),
        ("disableOOMKiller", "cgroup v2 cannot turn the OOM killer off"),
    ):
        if memory.get(key):
            out.append((f"{POINTER}/memory/{key}", reason))
    for key in ("realtimeRuntime", "realtimePeriod"):
        if cpu.get(key):
            out.append((f"{POINTER}/cpu/{key}", "cgroup v2 has no realtime budget"))
    if block.get("leafWeight"):
        out.append((POINTER + "/blockIO/leafWeight", "cgroup v2 has no leaf weight"))
    for index, device in enumerate(block.get("weightDevice", [])):
        if device.get("leafWeight"):
            pointer = f"{POINTER}/blockIO/weightDevice/{index}/leafWeight"
            out.append((pointer, "cgroup v2 has no leaf weight"))
    for key in ("classID", "priorities"):
        if network.get(key):
            out.append(
                (
                    f"{POINTER}/network/{key}",
                    "net_cls and net_prio are cgroup v1 only; with v2, match the cgroup in nftables (socket cgroupv2)",
                )
            )
    return out
