"""`linux.resources` -> the files of cgroup v1 to write, in order (Documentation/admin-guide/cgroup-v1). Pure.

Zero is "unset" where engines send it so; a negative limit is none.
"""

from pyrunc.cgroups.conversions import POINTER, Write, cpuset, escape, huge_pages, rdma, swap_max, throttles
from pyrunc.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Resources = dict[str, Any]

# What newer kernels took away without a substitute: kernel memory counts as memory (5.16, 6.17).
GONE_LATELY = ("memory.kmem.limit_in_bytes", "memory.kmem.tcp.limit_in_bytes", "memory.use_hierarchy")
THROTTLES = (
    ("throttleReadBpsDevice", "blkio.throttle.read_bps_device"),
    ("throttleWriteBpsDevice", "blkio.throttle.write_bps_device"),
    ("throttleReadIOPSDevice", "blkio.throttle.read_iops_device"),
    ("throttleWriteIOPSDevice", "blkio.throttle.write_iops_device"),
)


def _memory(res: "Resources", out: "list[Write]", memsw: int) -> None:
    memory = res.get("memory") or {}
    here = POINTER + "/memory"
    limit, swap = memory.get("limit") or 0, memory.get("swap") or 0
    if memory.get("useHierarchy"):
        out.append(Write("memory.use_hierarchy", "1", here + "/useHierarchy", True))
    swap_max(swap, limit, here + "/swap")  # refuses what contradicts itself
    pair = []
    if limit:
        pair.append(Write("memory.limit_in_bytes", str(limit), here + "/limit"))
    if swap:
        pair.append(Write("memory.memsw.limit_in_bytes", str(swap), here + "/swap", swap < 0))
    elif limit == -1:
        pair.append(Write("memory.memsw.limit_in_bytes", "-1", here + "/limit", True))
    # The kernel holds limit <= memsw at every moment: what grows past the other one goes second.
    if limit < 0 or limit > memsw:
        pair.reverse()
    out += pair
    for key, name in (
        ("reservation", "memory.soft_limit_in_bytes"),
        ("kernel", "memory.kmem.limit_in_bytes"),
        ("kernelTCP", "memory.kmem.tcp.limit_in_bytes"),
    ):
        if memory.get(key):
            out.append(Write(name, str(memory[key]), f"{here}/{key}", name in GONE_LATELY))
    if memory.get("swappiness") is not None:
        out.append(Write("memory.swappiness", str(memory["swappiness"]), here + "/swappiness"))
    if memory.get("disableOOMKiller") is not None:
        off = memory["disableOOMKiller"]
        out.append(Write("memory.oom_control", "1" if off else "0", here + "/disableOOMKiller", not off))


def _cpu(res: "Resources", out: "list[Write]") -> None:
    cpu = res.get("cpu") or {}
    here = POINTER + "/cpu"
    idle = cpu.get("idle")
    if idle is not None:
        out.append(Write("cpu.idle", str(idle), here + "/idle", idle == 0))
    if cpu.get("shares") and idle != 1:
        out.append(Write("cpu.shares", str(cpu["shares"]), here + "/shares"))
    burst = cpu.get("burst")
    if burst is not None:
        # It must not exceed the quota, old or new: it is lowered before and raised after.
        out.append(Write("cpu.cfs_burst_us", "0", here + "/burst", True))
    for key, name in (
        ("realtimePeriod", "cpu.rt_period_us"),
        ("realtimeRuntime", "cpu.rt_runtime_us"),
        ("period", "cpu.cfs_period_us"),
        ("quota", "cpu.cfs_quota_us"),
    ):
        if cpu.get(key):
            out.append(Write(name, str(cpu[key]), f"{here}/{key}"))
    if burst is not None:
        out.append(Write("cpu.cfs_burst_us", str(burst), here + "/burst", burst == 0))
    cpuset(res, out)


def _block(res: "Resources", out: "list[Write]", bfq: bool) -> None:
    block = res.get("blockIO") or {}
    here = POINTER + "/blockIO"
    prefix = "blkio.bfq." if bfq else "blkio."
    for key, name in (("weight", prefix + "weight"), ("leafWeight", "blkio.leaf_weight")):
        if block.get(key):
            out.append(Write(name, str(block[key]), f"{here}/{key}"))
    for index, device in enumerate(block.get("weightDevice") or ()):
        number = f"{device['major']}:{device['minor']}"
        for key, name in (("weight", prefix + "weight_device"), ("leafWeight", "blkio.leaf_weight_device")):
            if device.get(key):
                out.append(Write(name, f"{number} {device[key]}", f"{here}/weightDevice/{index}/{key}"))
    for name, where, disk, rate in throttles(block, THROTTLES):
        out.append(Write(name, f"{disk} {max(rate, 0)}", where))


def _others(res: "Resources", out: "list[Write]") -> None:
    huge_pages(res, out, "limit_in_bytes")
    network = res.get("network") or {}
    if network.get("classID"):
        out.append(Write("net_cls.classid", str(network["classID"]), POINTER + "/network/classID"))
    for index, item in enumerate(network.get("priorities") or ()):
        text = f"{item['name']} {item['priority']}"
        out.append(Write("net_prio.ifpriomap", text, f"{POINTER}/network/priorities/{index}"))
    rdma(res, out)


def writes(resources: "Resources | None", *, bfq: bool = False, memsw: int = 1 << 63) -> "list[Write]":
    """Everything to write for `resources`, in order; devices are apart (devices.py).

    bfq: whether the group has blkio.bfq.weight. memsw: what memory.memsw.limit_in_bytes says now.
    ConfigError where the properties contradict each other, and for `unified`.
    """
    out: list[Write] = []
    if not resources:
        return out
    for key in resources.get("unified") or ():
        raise ConfigError(
            f"unified resource \"{key}\" can't be set: cgroup v1 holds this host's controllers, and unified names files"
            " of v2",
            pointer=f"{POINTER}/unified/{escape(key)}",
            hint="use the member of linux.resources for it, or boot with systemd.unified_cgroup_hierarchy=1",
        )
    limit = (resources.get("pids") or {}).get("limit")
    if limit is not None:
        # 0 cannot start anything: "no more processes than the one", as with v2.
        value = "max" if limit < 0 else str(limit or 1)
        out.append(Write("pids.max", value, POINTER + "/pids/limit", value == "max"))
    _memory(resources, out, memsw)
    _block(resources, out, bfq)
    _cpu(resources, out)
    _others(resources, out)
    return out
