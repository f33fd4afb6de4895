"""`update`: new limits for a running container, merged into the old ones, written and read back."""

from pyrunc.cgroups import conversions, files
from pyrunc.config.rules.check_resources import check_resources
from pyrunc.errors import Error, strerror
from pyrunc.log import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.cgroups.conversions import Write
    from pyrunc.cgroups.fs import Manager

    Resources = dict[str, Any]

# Where zero says "as before": that is what engines send for what they do not change.
UNSET_AT_ZERO = {
    "memory": ("limit", "reservation", "swap", "kernel", "kernelTCP"),
    "cpu": ("shares", "quota", "period", "realtimeRuntime", "realtimePeriod"),
    "blockIO": ("weight", "leafWeight"),
}
# Lists whose elements replace the one with the same key.
KEYED = {"hugepageLimits": ("pageSize",)}
# Which files a member is written to; `unified` may name them, too.
FILES: "dict[str, dict[str, tuple[str, ...]]]" = {
    "memory": {"limit": ("memory.max",), "reservation": ("memory.low",), "swap": ("memory.swap.max",)},
    "cpu": {
        "shares": ("cpu.weight",),
        "quota": ("cpu.max",),
        "period": ("cpu.max",),
        "burst": ("cpu.max.burst",),
        "idle": ("cpu.idle",),
        "cpus": ("cpuset.cpus",),
        "mems": ("cpuset.mems",),
    },
    "pids": {"limit": ("pids.max",)},
    "blockIO": {"weight": ("io.weight", "io.bfq.weight")},
}
DEVICE_LISTS = ("weightDevice", *(key for key, _ in conversions.THROTTLES))


def _upsert(old: "list[Any]", new: "list[Any]", keys: "tuple[str, ...]") -> "list[Any]":
    merged = {tuple(item[key] for key in keys): item for item in old}
    for item in new:
        merged[tuple(item[key] for key in keys)] = item
    return list(merged.values())


def merge(old: "Resources | None", new: "Resources") -> "Resources":
    """`old` with what `new` sets; both stay as they are. Pure.

    Absent, null and (UNSET_AT_ZERO) zero members change nothing; lists of devices and page sizes
    are updated element by element, `devices` as a whole. What `old` says in `unified` gives way to
    members of `new` for the same file: it would be written last, and undo them.
    """
    out: Resources = dict(old or {})
    outdated: set[str] = set()
    for section, value in new.items():
        if value is None:
            continue
        if section in KEYED:
            out[section] = _upsert(out.get(section) or [], value, KEYED[section])
        elif not isinstance(value, dict):
            out[section] = value
        else:
            merged = dict(out.get(section) or {})
            zero = UNSET_AT_ZERO.get(section, ())
            for key, item in value.items():
                if item is None or item == "" or (item == 0 and key in zero):
                    continue
                if section == "blockIO" and key in DEVICE_LISTS:
                    merged[key] = _upsert(merged.get(key) or [], item, ("major", "minor"))
                else:
                    merged[key] = item
                    outdated.update(FILES.get(section, {}).get(key, ()))
            out[section] = merged
    outdated -= (new.get("unified") or {}).keys()
    if outdated & (out.get("unified") or {}).keys():
        out["unified"] = {name: value for name, value in out["unified"].items() if name not in outdated}
    _settle_idle(out, new)
    memory = new.get("memory") or {}
    if memory.get("limit") == -1 and not memory.get("swap"):
        # Without a limit of memory there can be none of memory and swap together.
        out["memory"]["swap"] = -1
    return out


def checked(old: "Resources | None", changes: "Resources") -> "Resources":
    """merge(), with what create checks: a burst above a new quota is told before anything is written.

    Errors: ConfigError.
    """
    new: Any = merge(old, changes)
    check_resources(new, conversions.POINTER)
    return new  # type: ignore[no-any-return]


def _settle_idle(out: "Resources", new: "Resources") -> None:
    """An idle group has no weight. Whoever sets one without a word on cpu.idle ends the idling."""
    cpu, unified = new.get("cpu") or {}, new.get("unified") or {}
    if not cpu.get("shares") and "cpu.weight" not in unified:
        return
    if cpu.get("idle") is None and "cpu.idle" not in unified:
        if (out.get("cpu") or {}).get("idle"):
            out["cpu"] = {**out["cpu"], "idle": 0}
        if "cpu.idle" in (out.get("unified") or {}):
            out["unified"] = {**out["unified"], "cpu.idle": "0"}
    elif cpu.get("idle") == 1 or str(unified.get("cpu.idle")).strip() == "1":
        log.warning("unable to apply both cpu.idle and a weight of the cpu: an idle cgroup has none")


def check_usage(dir_fd: int, resources: "Resources") -> None:
    """memory.checkBeforeUpdate: refuse limits below what is in use: the kernel kills for them."""
    memory = resources.get("memory") or {}
    if not memory.get("checkBeforeUpdate"):
        return
    data = files.try_read(dir_fd, "memory.current")
    if data is None:
        return
    usage = int(data)
    for key, name in (("swap", "memory+swap"), ("limit", "memory")):
        limit = memory.get(key) or 0
        if 0 < limit <= usage:
            raise Error(
                f"rejecting {name} limit {limit} <= usage {usage}"
                f" (linux/resources/memory/{key}): checkBeforeUpdate is set",
                pointer=f"/linux/resources/memory/{key}",
            )


def kept(write: "Write", data: bytes) -> bool:
    """Whether what a file says after a write is what was written, allowing for what the kernel is
    known to do: byte limits are rounded to pages, lists of CPUs are put in order. Pure.
    """
    have, want = data.decode(errors="replace").strip(), write.value.strip()
    name = write.file
    if name in ("memory.max", "memory.low", "memory.swap.max") or name.startswith("hugetlb."):
        if "max" in (have, want):
            return have == want
        page = 65536  # the largest page size of any architecture
        if name.startswith("hugetlb."):
            size = name.split(".")[1]
            page = int(size[:-2]) << {"KB": 10, "MB": 20, "GB": 30}[size[-2:]]
        return abs(int(have) - int(want)) < page
    if name in ("cpuset.cpus", "cpuset.mems"):
        from pyrunc.cgroups.stats import ranges

        try:
            return set(ranges(have)) == set(ranges(want))
        except ValueError:
            return True
    if name in ("cpu.max", "cpu.max.burst", "cpu.weight", "cpu.idle", "pids.max"):
        return have.split() == want.split() or (name == "cpu.max" and have.split()[:1] == [want])
    return True  # files with a line for each device


def _read_back(manager: "Manager", fd: int, writes: "list[Write]") -> None:
    last = {write.file: write for write in writes}
    for write in last.values():
        data = files.try_read(fd, write.file)
        if data is not None and not kept(write, data):
            raise Error(
                f'cgroup {manager.path}: wrote "{write.value}" to {write.file}'
                f" ({write.pointer[1:]}), but it says"
                f' "{data.decode(errors="replace").strip()}"',
                pointer=write.pointer,
            )


def update(manager: "Manager", changes: "Resources") -> "Resources":
    """Apply `changes` to a container; returns the resources that hold now, for its state.

    A value that is refused leaves all limits as they were, as far as the kernel takes them back.
    The device program is the caller's to replace (bpf.replace) when `changes` has "devices".
    Raises Error.
    """
    old = manager.resources or {}
    new = checked(old, changes)
    fd = manager.dir()
    check_usage(fd, new)
    bfq = files.try_read(fd, "io.bfq.weight") is not None
    writes = conversions.writes(manager.effective(new), bfq)
    before = _snapshot(fd, writes)
    try:
        manager.update_unit(new)
        manager.apply(new)
        _read_back(manager, fd, writes)
    except (Error, OSError):
        _restore(manager, fd, before, old)
        raise
    manager.resources = new
    return new


def _snapshot(fd: int, writes: "list[Write]") -> "list[tuple[str, bytes]]":
    """What to write to put the files back that are going to be written, one write(2) an element.

    Two files depend on others, whatever they say in between: cpu.max.burst, which may be no more than the quota, and
    cpu.weight, which an idle group does not have. They are written last, and the burst is out of the way before.
    """
    out: list[tuple[str, bytes]] = []
    last: list[tuple[str, bytes]] = []
    names = dict.fromkeys(write.file for write in writes)
    for name, dependent in (("cpu.max", "cpu.max.burst"), ("cpu.idle", "cpu.weight")):
        if name in names:
            names[dependent] = None
    for name in names:
        data = files.try_read(fd, name)
        if data is None:
            continue
        if name == "cpu.max.burst":
            out.insert(0, (name, b"0"))
            last.append((name, data.strip()))
        elif name == "cpu.weight":
            if (files.try_read(fd, "cpu.idle") or b"0").strip() != b"1":
                last.append((name, data.strip()))
        elif name.startswith("cpuset."):
            out.append((name, data.strip() or b"\n"))
        else:
            out += [(name, line.removeprefix(b"default ")) for line in data.splitlines()]
    return out + last


def _restore(manager: "Manager", fd: int, before: "list[tuple[str, bytes]]", old: "Resources") -> None:
    try:
        manager.update_unit(old)
    except Error as error:
        log.debug(f"restore limits: {error}")
    for name, value in before:
        try:
            files.write(fd, name, value)
        except OSError as error:
            log.warning(f"{name} keeps its new value: {strerror(error.errno or 0)}")
