"""Semantic checks of config.json's section for Linux: namespaces, ids, paths, seccomp.

Import cost: posix and pyrunc's own modules.
"""

import posix

from pyrunc.config.rules.check_resources import check_resources
from pyrunc.config.rules.names import IPC_SYSCTLS
from pyrunc.config.rules.refusal import escaped, refuse
from pyrunc.errors import strerror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyrunc.config.types import Device, IDMapping, Linux, MemoryPolicy, NetDevice, Seccomp

MOST_EXTENTS = 340  # UID_GID_MAP_MAX_EXTENTS
MOST_NODES = 1024
LONGEST_INTERFACE = 15  # IFNAMSIZ with its NUL


def check_linux(linux: "Linux", namespaces: "dict[str, str]", *, euid: int) -> "list[str]":
    """Check a section that is valid by the schema; return warnings.

    namespaces: what `collect_namespaces` made of it. Raises ConfigError (config-linux.md).
    """
    _check_user_namespace(linux, namespaces)
    if linux.get("timeOffsets"):
        if "time" not in namespaces:
            refuse(
                "time namespace offsets specified, but time namespace isn't enabled in the config",
                "/linux/timeOffsets",
            )
        if namespaces["time"]:
            refuse(
                "time namespace offsets specified, but the time namespace is joined,"
                " and the clocks of its processes run already",
                "/linux/timeOffsets",
            )
        for clock in linux["timeOffsets"]:
            # Each name is a clock, so none is merely a property that is not known yet.
            if clock not in ("monotonic", "boottime"):
                refuse(f'time namespaces have no clock "{clock}"', "/linux/timeOffsets/" + escaped(clock))
    for kind, paths in (
        ("maskedPaths", linux.get("maskedPaths", ())),
        ("readonlyPaths", linux.get("readonlyPaths", ())),
    ):
        if paths and "mount" not in namespaces:
            refuse("unable to restrict sys entries without a private MNT namespace", "/linux/" + kind)
        for index, path in enumerate(paths):
            if path[:1] != "/":
                refuse(f'path "{path}" must be absolute', f"/linux/{kind}/{index}")
    _check_devices(linux.get("devices", ()))
    if linux.get("netDevices"):
        _check_interfaces(linux["netDevices"], namespaces, euid)
    if ".." in linux.get("cgroupsPath", "").split("/"):
        refuse(f'cgroupsPath "{linux["cgroupsPath"]}" must not have ".." in it', "/linux/cgroupsPath")
    if "resources" in linux:
        check_resources(linux["resources"], "/linux/resources")
    for name in linux.get("sysctl", ()):
        _check_sysctl(name, namespaces)
    if "seccomp" in linux:
        _check_seccomp(linux["seccomp"])
    clos = linux.get("intelRdt", {}).get("closID", "")
    if clos != "/" and ("/" in clos or clos in (".", "..")):
        refuse(f'invalid intelRdt.ClosID "{clos}"', "/linux/intelRdt/closID")
    if "memoryPolicy" in linux:
        _check_memory_policy(linux["memoryPolicy"])
    flags = linux.get("personality", {}).get("flags")
    if flags:
        return [f"ignoring unsupported personality flags: [{' '.join(flags)}]"]
    return []


def collect_namespaces(linux: "Linux") -> "dict[str, str]":
    """The path of each namespace by type; "" for one to be made. Refuses duplicates."""
    found: dict[str, str] = {}
    for index, entry in enumerate(linux.get("namespaces", ())):
        kind, path = entry["type"], entry.get("path", "")
        if kind in found:
            refuse(
                f'malformed spec file: duplicated ns {{"{kind}" "{path}"}}',
                f"/linux/namespaces/{index}",
            )
        if path and path[0] != "/":
            refuse(f'namespace path "{path}" must be absolute', f"/linux/namespaces/{index}/path")
        found[kind] = path
    return found


def _check_user_namespace(linux: "Linux", namespaces: "dict[str, str]") -> None:
    """Maps belong to a new user namespace. Beside a path they are what engines believe that
    namespace to have; they are checked, and the namespace's own count."""
    for kind, mappings in (
        ("uid", linux.get("uidMappings", [])),
        ("gid", linux.get("gidMappings", [])),
    ):
        pointer = f"/linux/{kind}Mappings"
        if mappings:
            if "user" not in namespaces:
                refuse(
                    "user namespace mappings specified, but user namespace isn't enabled in the config",
                    pointer,
                )
            check_mappings(mappings, pointer)
        elif namespaces.get("user") == "":
            refuse(f"user namespaces enabled, but no {kind} mappings found", pointer)


def check_mappings(mappings: "list[IDMapping]", pointer: str) -> None:
    """Refuse maps that user_namespaces(7) says the kernel refuses."""
    if len(mappings) > MOST_EXTENTS:
        refuse(f"{len(mappings)} mappings, of which the kernel allows {MOST_EXTENTS}", pointer)
    for index, entry in enumerate(mappings):
        if max(entry["containerID"], entry["hostID"]) + entry["size"] > 0xFFFFFFFF:
            refuse("the mapping goes beyond the largest id", f"{pointer}/{index}/size")
    if len(mappings) == 1:
        return
    for inside in (True, False):
        starts = sorted(
            (entry["containerID"] if inside else entry["hostID"], entry["size"], index)
            for index, entry in enumerate(mappings)
        )
        end = 0
        for start, size, index in starts:
            if start < end:
                name = "containerID" if inside else "hostID"
                refuse("the mapping overlaps with another one", f"{pointer}/{index}/{name}")
            end = start + size


def is_mapped(number: int, mappings: "Iterable[IDMapping]") -> bool:
    """Whether an id exists inside a user namespace with these maps."""
    return any(0 <= number - entry["containerID"] < entry["size"] for entry in mappings)


def _check_devices(devices: "Iterable[Device]") -> None:
    for index, device in enumerate(devices):
        if not device["path"].strip("/."):
            refuse("a device cannot take the place of the root", f"/linux/devices/{index}/path")
        if device["type"] != "p":
            for number in ("major", "minor"):
                if number not in device:
                    refuse(
                        f"device {device['path']}: {number} is missing",
                        f"/linux/devices/{index}/{number}",
                    )


def _check_interfaces(devices: "dict[str, NetDevice]", namespaces: "dict[str, str]", euid: int) -> None:
    if "network" not in namespaces:
        refuse("unable to move network devices without a private NET namespace", "/linux/netDevices")
    if euid:
        refuse("network devices are not supported for rootless containers", "/linux/netDevices")
    seen: set[str] = set()
    for name, device in devices.items():
        pointer = "/linux/netDevices/" + escaped(name)
        _check_interface(name, name, pointer)
        new = device.get("name", "") or name
        if new != name:
            _check_interface(new, new.replace("%d", "0", 1), pointer + "/name")
        if new in seen and "%d" not in new:
            refuse(f'two network devices get the name "{new}"', pointer + "/name")
        seen.add(new)


def _check_interface(shown: str, name: str, pointer: str) -> None:
    """What the kernel's dev_valid_name wants of the name of an interface."""
    bad = name in ("", ".", "..") or len(name.encode()) > LONGEST_INTERFACE
    if bad or any(char in "/:%" or char.isspace() for char in name):
        refuse(f'invalid network device name "{shown}"', pointer)


def _check_sysctl(name: str, namespaces: "dict[str, str]") -> None:
    """A parameter has to belong to a namespace of the container's own (namespaces(7))."""
    pointer = "/linux/sysctl/" + escaped(name)
    slash, dot = name.find("/"), name.find(".")
    swapped = name.translate({ord("."): "/", ord("/"): "."})
    # sysctl(8): the first separator decides which of the two separates.
    path, dotted = (name, swapped) if slash >= 0 and (dot < 0 or slash < dot) else (swapped, name)
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts):  # net/../kernel is not the network's
        text = "contains an invalid path: it is not a name of a kernel parameter"
        refuse(f'sysctl "{name}" {text}', pointer)
    if dotted in IPC_SYSCTLS or dotted.startswith("fs.mqueue."):
        if "ipc" not in namespaces:
            refuse(f'sysctl "{name}" is not allowed in the hosts ipc namespace', pointer)
    elif parts[0] == "net":
        joined = namespaces.get("network")
        if joined is None or (joined and _is_own_network(joined, pointer)):
            refuse(f'sysctl "{name}" not allowed in host network namespace', pointer)
    elif dotted == "kernel.hostname" and "uts" in namespaces:
        refuse(f'sysctl "{name}" is not allowed as it conflicts with the OCI "hostname" field', pointer)
    elif not ((dotted == "kernel.domainname" and "uts" in namespaces) or (parts[0] == "user" and "user" in namespaces)):
        refuse(f'sysctl "{name}" is not in a separate kernel namespace', pointer)


def _is_own_network(path: str, pointer: str) -> bool:
    """Whether the path of a network namespace leads to the one that pyrunc is in."""
    try:
        there = posix.stat(path)
        here = posix.stat("/proc/self/ns/net")
    except OSError as error:
        reason = strerror(error.errno or 0)
        refuse(f"invalid netns path: stat {error.filename}: {reason}", pointer)
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)


def _check_seccomp(seccomp: "Seccomp") -> None:
    """Rules that would leave init waiting for its own agent, and values without effect."""
    pointer = "/linux/seccomp"
    default = seccomp["defaultAction"]
    if default == "SCMP_ACT_NOTIFY":
        refuse("SCMP_ACT_NOTIFY cannot be used as default action", pointer + "/defaultAction")
    if "defaultErrnoRet" in seccomp and default not in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"):
        refuse(f"{default} has no errno to return", pointer + "/defaultErrnoRet")
    notify = ""
    for index, rule in enumerate(seccomp.get("syscalls", ())):
        action = rule["action"]
        if action == "SCMP_ACT_NOTIFY":
            notify = f"{pointer}/syscalls/{index}/action"
            if "write" in rule["names"]:
                refuse(
                    "SCMP_ACT_NOTIFY cannot be used for the write syscall",
                    f"{pointer}/syscalls/{index}/names",
                )
        if "errnoRet" in rule and action not in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"):
            refuse(f"{action} has no errno to return", f"{pointer}/syscalls/{index}/errnoRet")
    listener = seccomp.get("listenerPath", "")
    if notify and not listener:
        refuse("SCMP_ACT_NOTIFY needs a listenerPath, which is not set", notify)
    if seccomp.get("listenerMetadata") and not listener:
        refuse("listenerMetadata is set, but listenerPath is not", pointer + "/listenerMetadata")


def _check_memory_policy(policy: "MemoryPolicy") -> None:
    """The rules of set_mempolicy(2), whose EINVAL names none of them."""
    from pyrunc.kernel import cpu_lists  # few configurations need it

    pointer = "/linux/memoryPolicy"
    mode, nodes = policy["mode"], policy.get("nodes", "")
    try:
        number = cpu_lists.count(cpu_lists.parse(nodes, MOST_NODES - 1))
    except ValueError as error:
        refuse(f'invalid memory policy nodes "{nodes}": {error}', pointer + "/nodes")
    if mode in ("MPOL_DEFAULT", "MPOL_LOCAL"):
        if number:
            refuse(
                f"invalid memory policy: {mode}: mode requires 0 nodes but got {number}",
                pointer + "/nodes",
            )
    elif not number and mode != "MPOL_PREFERRED":
        refuse(
            f"invalid memory policy: {mode}: mode requires at least 1 node but got 0",
            pointer + "/nodes",
        )
    flags = policy.get("flags", ())
    if "MPOL_F_STATIC_NODES" in flags and "MPOL_F_RELATIVE_NODES" in flags:
        refuse(
            "invalid memory policy flags: MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES exclude each other",
            pointer + "/flags",
        )
