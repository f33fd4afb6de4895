"""What a systemd unit is called and which properties it gets. Pure.

A property is a pair (name, (D-Bus signature, value)), as org.freedesktop.systemd1 takes them
(org.freedesktop.systemd1(5), systemd.resource-control(5)).
"""

from pyrunc.cgroups import conversions, gvariant
from pyrunc.config.annotation_names import SYSTEMD_PROPERTY as ANNOTATION
from pyrunc.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Resources = dict[str, Any]
    Property = tuple[str, tuple[str, object]]

INFINITY = (1 << 64) - 1


class Name:
    """cgroupsPath for systemd, `slice:prefix:name`. slice: the parent; unit: the unit's name."""

    __slots__ = ("id", "slice", "unit")

    def __init__(self, slice: str, unit: str, id: str) -> None:
        self.slice = slice
        self.unit = unit
        self.id = id


def name(cgroups_path: str, id: str, user: bool) -> Name:
    """Parse a cgroupsPath; absent, it is the default slice of the instance and `pyrunc-ID.scope`.

    A name that ends in .slice asks for a slice instead of a scope. Raises ConfigError.
    """
    default = "user.slice" if user else "system.slice"
    slice, prefix, last = default, "pyrunc", id
    if cgroups_path:
        parts = cgroups_path.split(":")
        if len(parts) != 3 or not parts[2]:
            raise ConfigError(
                'expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups, got'
                f' "{cgroups_path}" (linux/cgroupsPath)',
                pointer="/linux/cgroupsPath",
            )
        slice, prefix, last = parts[0] or default, parts[1], parts[2]
    for part in (slice, prefix, last):
        if "/" in part or ".." in part.split("-") or "\0" in part:
            raise ConfigError(
                f'bad cgroupsPath "{cgroups_path}" (linux/cgroupsPath): "{part}" is no part of a unit\'s name',
                pointer="/linux/cgroupsPath",
            )
    if slice == "-":
        slice = "-.slice"
    expand(slice)
    if last.endswith(".slice"):
        return Name(slice, last, last)
    # With an empty prefix too, as runc and crun have it: engines look for this name.
    return Name(slice, f"{prefix}-{last}.scope", last)


def expand(slice: str) -> str:
    """The path of a slice: a-b.slice lies in a.slice ("/a.slice/a-b.slice"). Raises ConfigError."""
    stem = slice.removesuffix(".slice")
    if stem == slice or not stem or "/" in slice or (stem != "-" and "" in stem.split("-")):
        raise ConfigError(f'invalid slice name "{slice}" (linux/cgroupsPath)', pointer="/linux/cgroupsPath")
    if stem == "-":
        return ""
    path, prefix = "", ""
    for part in stem.split("-"):
        prefix = f"{prefix}-{part}" if prefix else part
        path += f"/{prefix}.slice"
    return path


def annotated(annotations: "dict[str, str]") -> "list[Property]":
    """The properties in `org.systemd.property.NAME` annotations, in the text format of GVariant.

    systemd's own files spell durations in seconds, the bus in microseconds: NAMESec becomes
    NAMEUSec. Raises ConfigError.
    """
    out: list[Property] = []
    for key, text in annotations.items():
        if not key.startswith(ANNOTATION):
            continue
        pointer = "/annotations/" + conversions.escape(key)
        prop = key[len(ANNOTATION) :]
        if len(prop) < 3 or not (prop.isascii() and prop.isalpha()):
            raise ConfigError(f"annotation {key}: bad name of a property", pointer=pointer)
        try:
            kind, value = gvariant.parse(text)
        except ConfigError as error:
            raise ConfigError(f"annotation {key}: {error}", pointer=pointer) from None
        if prop.endswith("Sec") and prop[-4:-3].islower():
            if not isinstance(value, int | float) or isinstance(value, bool) or value < 0:
                raise ConfigError(f"annotation {key}: not a number of seconds", pointer=pointer)
            prop, kind, value = prop[:-3] + "USec", "t", int(value * 1000000)
        out.append((prop, (kind, value)))
    return out


def bits(ranges: str) -> bytes:
    """A list of CPUs or nodes ("0-2,5") as systemd's bit mask. Raises ValueError."""
    mask = 0
    for part in ranges.replace(" ", "").split(","):
        if part:
            low, _, high = part.partition("-")
            first, last = int(low), int(high or low)
            if last < first or last > 65535:
                raise ValueError(ranges)
            mask |= ((1 << (last - first + 1)) - 1) << first
    if not mask:
        raise ValueError(ranges)
    return mask.to_bytes((mask.bit_length() + 7) // 8, "little")


def quota(quota: int, period: int, version: int) -> "list[Property]":
    """cpu.max for systemd, which counts in hundredths of a CPU: what lies between is rounded up."""
    out: list[Property] = []
    if version >= 242 and period:
        out.append(("CPUQuotaPeriodUSec", ("t", period)))
    per_second = INFINITY
    if quota > 0:
        per_second = quota * 1000000 // (period or conversions.DEFAULT_PERIOD)
        per_second += -per_second % 10000
    out.append(("CPUQuotaPerSecUSec", ("t", per_second)))
    return out


def rounded(resources: "Resources") -> "Resources":
    """`resources` with cpu.quota rounded up as quota() does; the same object where nothing changes."""
    cpu = resources.get("cpu", {})
    number = cpu.get("quota", 0)
    if number <= 0:
        return resources
    period = cpu.get("period") or conversions.DEFAULT_PERIOD
    per_second = number * 1000000 // period
    per_second += -per_second % 10000
    return {**resources, "cpu": {**cpu, "quota": per_second * period // 1000000}}


def _limit(text: str) -> int:
    return INFINITY if text == "max" else int(text)


BYTES = {
    "memory.max": "MemoryMax", "memory.high": "MemoryHigh", "memory.low": "MemoryLow",
    "memory.min": "MemoryMin", "memory.swap.max": "MemorySwapMax", "pids.max": "TasksMax",
    "cpu.weight": "CPUWeight", "io.weight": "IOWeight",
}  # fmt: skip


def resources(resources: "Resources | None", version: int) -> "list[Property]":
    """The properties that say what conversions.writes() writes, so that systemd, which rewrites the
    files when it reloads, agrees. What has no property (io.max, hugetlb, ...) is in the files only.

    version: systemd's. A later write to the same file wins, as it does there.
    """
    out: dict[str, tuple[str, object]] = {}
    for write in conversions.writes(resources):
        file, value = write.file, write.value
        try:
            if file == "cpu.max":
                limit, _, period = value.partition(" ")
                number = -1 if limit == "max" else int(limit)
                out.update(quota(number, int(period or conversions.DEFAULT_PERIOD), version))
            elif file == "cpu.idle":
                if version >= 252 and value == "1":
                    out["CPUWeight"] = ("t", 0)
            elif file in ("cpuset.cpus", "cpuset.mems"):
                if version >= 244:
                    key = "AllowedCPUs" if file == "cpuset.cpus" else "AllowedMemoryNodes"
                    out[key] = ("ay", bits(value))
            elif file in BYTES and not (file == "io.weight" and " " in value.strip()):
                out[BYTES[file]] = ("t", _limit(value))
        except ValueError:
            raise ConfigError(f'bad value "{value}" for {file} ({write.pointer[1:]})', pointer=write.pointer) from None
    return list(out.items())


def creation(
    name: Name, pid: int, annotations: "dict[str, str]", res: "Resources | None", version: int
) -> "list[Property]":
    """All properties of a new unit; annotations come last, so that they can override."""
    out: list[Property] = [("Description", ("s", f"pyrunc container {name.id}"))]
    if name.unit.endswith(".slice"):
        out.append(("Wants", ("as", [name.slice])))
    else:
        out.append(("Slice", ("s", name.slice)))
        out.append(("Delegate", ("b", True)))
        out.append(("PIDs", ("au", [pid])))
    for accounting in ("Memory", "CPU", "IO", "Tasks"):
        out.append((accounting + "Accounting", ("b", True)))
    out.append(("DefaultDependencies", ("b", False)))
    out += resources(res, version)
    extra = annotated(annotations)
    replaced = {key for key, _ in extra}
    return [prop for prop in out if prop[0] not in replaced] + extra
