"""Which cgroup hierarchies this host has, and where the caller is in the second version's.

Import cost: posix.
"""

import posix

from pyrunc.kernel.files import read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

ROOT = "/sys/fs/cgroup"
# The mount table has others, too, which no mount may ask for (seclabel).
OPTIONS = (
    "nsdelegate",
    "favordynmods",
    "memory_localevents",
    "memory_recursiveprot",
    "memory_hugetlb_accounting",
    "pids_localevents",
)


class Host:
    """The host's cgroup v2.

    mode: "unified" (v2 at /sys/fs/cgroup, or v2 alone elsewhere), "hybrid" (v2 beside v1
        hierarchies), "legacy" (v1 only) or "none".
    mount: where v2 is mounted, "" in the modes that have none.
    controllers: what its root offers.
    """

    __slots__ = ("controllers", "mode", "mount")

    def __init__(self, mode: str, mount: str, controllers: "tuple[str, ...]") -> None:
        self.mode = mode
        self.mount = mount
        self.controllers = controllers


def _offered(mount: str) -> "tuple[str, ...] | None":
    """What the root of a v2 hierarchy offers; None where there is none, or where the caller may not look at it."""
    try:
        fd = posix.open(mount + "/cgroup.controllers", posix.O_RDONLY | posix.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    try:
        return tuple(posix.read(fd, 4096).decode().split())
    except OSError as error:
        error.filename = mount + "/cgroup.controllers"
        raise
    finally:
        posix.close(fd)


def parse_mountinfo(data: bytes) -> "tuple[list[str], bool]":
    """(the mount points of cgroup2, whether a v1 hierarchy with controllers is mounted)."""
    points, legacy = [], False
    for line in data.splitlines():
        left, _, right = line.partition(b" - ")
        kind = right.split(b" ", 1)[0]
        if kind == b"cgroup2":
            point = left.split(b" ")[4]
            for octal, char in ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\134", b"\\")):
                point = point.replace(octal, char)
            points.append(point.decode(errors="surrogateescape"))
        elif kind == b"cgroup":
            legacy = True
    return points, legacy


def mount_flags(config: "Mapping[str, Any]", mount: str) -> "tuple[str, ...]":
    """The options of the host's v2 file system that a mount of it for this container has to repeat.

    There is one v2 file system. Mounting it again sets its options anew for everybody, unless the process that mounts
    is in a cgroup namespace other than the first: without `nsdelegate` containers could leave their cgroups, without
    `memory_recursiveprot` protection of memory ends. A namespace made for the container is never the first.
    """
    for space in config.get("linux", {}).get("namespaces", ()):
        if space.get("type") == "cgroup" and not space.get("path"):
            return ()
    if not any(m.get("type") in ("cgroup", "cgroup2") for m in config.get("mounts", ())):
        return ()
    for line in read_file("/proc/self/mountinfo").splitlines():
        left, _, right = line.partition(b" - ")
        if right.startswith(b"cgroup2 ") and left.split(b" ")[4] == mount.encode(errors="surrogateescape"):
            words = right.split(b" ")[2].decode(errors="surrogateescape").split(",")
            return tuple(word for word in words if word in OPTIONS)
    return ()


def detect(root: str = ROOT) -> Host:
    """Look at the usual places first (one open on a pure v2 host), then at the mount table."""
    offered = _offered(root)
    if offered is not None:
        return Host("unified", root, offered)
    offered = _offered(root + "/unified")
    if offered is not None:
        return Host("hybrid", root + "/unified", offered)
    try:
        points, legacy = parse_mountinfo(read_file("/proc/self/mountinfo"))
    except FileNotFoundError:
        return Host("none", "", ())  # without a proc there is no mount table
    for point in points:
        offered = _offered(point)
        if offered is not None:
            return Host("hybrid" if legacy else "unified", point, offered)
    return Host("legacy" if legacy else "none", "", ())


def parse_own(data: bytes) -> str:
    """The v2 line of /proc/PID/cgroup; "/" where there is none, or where it lies outside of the
    cgroup namespace's root (`/../x`), from which nothing can be derived."""
    for line in data.splitlines():
        if line.startswith(b"0::"):
            path = line[3:].decode(errors="surrogateescape").removesuffix(" (deleted)")
            return "/" if ".." in path.split("/") else path
    return "/"


def of_process(pid: "int | str" = "self") -> str:
    """The v2 cgroup of a process, from the root of the caller's cgroup namespace."""
    return parse_own(read_file(f"/proc/{pid}/cgroup"))


def v1_controllers() -> "set[str]":
    """The controllers that are bound to v1 hierarchies, which is why v2 cannot have them."""
    bound: set[str] = set()
    try:
        lines = read_file("/proc/self/cgroup").decode(errors="replace").splitlines()
    except FileNotFoundError:
        return bound
    for line in lines:
        names = line.split(":", 2)[1]
        bound.update(n for n in names.split(",") if n and not n.startswith("name="))
    return {"io" if name == "blkio" else name for name in bound}
