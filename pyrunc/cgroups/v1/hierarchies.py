"""Which v1 hierarchies are mounted, and where the caller is in each.

Import cost: posix.
"""

from pyrunc.cgroups.make import split
from pyrunc.kernel.files import read_file

ESCAPES = ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\134", b"\\"))


class Hierarchy:
    """names: its controllers, or `name=NAME` of one that has none. mount: where it is mounted.
    own: the caller's group, as a path below the mount ("" is the mount itself).
    """

    __slots__ = ("mount", "names", "own")

    def __init__(self, names: "tuple[str, ...]", mount: str, own: str) -> None:
        self.names = names
        self.mount = mount
        self.own = own

    @property
    def key(self) -> str:
        """How the state file calls it: as /proc/PID/cgroup does."""
        return ",".join(self.names)


def parse(mountinfo: bytes, own: bytes) -> "list[Hierarchy]":
    """The hierarchies of /proc/self/mountinfo, each once, with /proc/self/cgroup's word on where we are. Pure.

    A mount may show a part of its hierarchy alone (a bind mount in a container); the caller's path counts from that
    part's top. Where the caller lies outside of it, or outside of the cgroup namespace, it is the top.
    """
    where: dict[frozenset[str], tuple[tuple[str, ...], str]] = {}
    for line in own.splitlines():
        _, names, path = line.decode(errors="surrogateescape").split(":", 2)
        if names:
            words = tuple(names.split(","))
            where[frozenset(words)] = (words, path.removesuffix(" (deleted)"))
    out: dict[frozenset[str], Hierarchy] = {}
    for line in mountinfo.splitlines():
        left, _, right = line.partition(b" - ")
        kind, _, settings = right.split(b" ", 2)
        if kind != b"cgroup":
            continue
        options = set(settings.decode(errors="surrogateescape").split(","))
        top, point = left.split(b" ")[3:5]
        for octal, char in ESCAPES:
            top, point = top.replace(octal, char), point.replace(octal, char)
        for key, (controllers, path) in where.items():
            place, part = (it.decode(errors="surrogateescape") for it in (point, top))
            # The first of several mounts; of those at one place the last, which covers the others.
            if key <= options and (key not in out or out[key].mount == place):
                out[key] = Hierarchy(controllers, place, _below(path, part))
    return list(out.values())


def _below(path: str, top: str) -> str:
    if ".." in path.split("/"):
        return ""
    top = "" if top == "/" else top
    if path != top and not path.startswith(top + "/"):
        return ""
    return path[len(top) :].rstrip("/")


def mounted() -> "list[Hierarchy]":
    """Those of this process; none where /proc cannot be read."""
    try:
        return parse(read_file("/proc/self/mountinfo"), read_file("/proc/self/cgroup"))
    except FileNotFoundError:
        return []  # no /proc


def locate(cgroups_path: str, id: str, hierarchy: Hierarchy) -> str:
    """The directory of a container's group in a hierarchy: an absolute cgroupsPath counts from the mount, a relative
    one, and ID where there is none, from the caller's own group. Raises ConfigError.
    """
    names = "/".join(split(cgroups_path) or [id])
    base = hierarchy.mount if cgroups_path.startswith("/") else hierarchy.mount + hierarchy.own
    return f"{base}/{names}"


def key_of(paths: "dict[str, str]", controller: str) -> str:
    """The hierarchy of a controller among those of a container's groups; "" where it is in none."""
    for key in paths:
        if controller in key.split(","):
            return key
    return ""


def path_of(paths: "dict[str, str]", controller: str) -> str:
    """The container's group that has a controller; "" where there is none."""
    return paths.get(key_of(paths, controller), "")
