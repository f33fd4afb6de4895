"""Id maps for a configuration that wants a new user namespace and gives none, as crun makes them.

runc refuses such a configuration. The process's user inside is the caller outside; the ids around it
are those that /etc/subuid and /etc/subgid give the caller.

Import cost: posix; only such a configuration loads this.
"""

import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.config.types import Config, IDMapping


def default_maps(config: "Config") -> None:
    """Put maps into a configuration that has neither those of users nor those of groups."""
    linux = config["linux"]
    user = config.get("process", {}).get("user", {})
    owner, names = posix.geteuid(), ["/etc/subuid", "/etc/subgid"]
    ranges = [subordinate(read(name), owner, login(owner)) for name in names]
    linux["uidMappings"] = around(user.get("uid", 0), owner, ranges[0])
    linux["gidMappings"] = around(user.get("gid", 0), posix.getegid(), ranges[1])


def around(inside: int, outside: int, more: "tuple[int, int]") -> "list[IDMapping]":
    """One id mapped, and `more` (first, count) below and above it."""
    first, count = more
    below = min(inside, count)
    maps: list[IDMapping] = []
    if below:
        maps.append({"containerID": 0, "hostID": first, "size": below})
    maps.append({"containerID": inside, "hostID": outside, "size": 1})
    if count > below:
        maps.append({"containerID": inside + 1, "hostID": first + below, "size": count - below})
    return maps


def subordinate(text: str, owner: int, name: str) -> "tuple[int, int]":
    """The first range of subuid(5) that belongs to a user, known by id or by name; (0, 0) for none."""
    for line in text.split("\n"):
        fields = line.split(":")
        if len(fields) == 3 and fields[0] in (str(owner), name) and fields[0]:
            first, count = fields[1], fields[2].strip()
            if first.isdecimal() and count.isdecimal():
                return int(first), int(count)
    return 0, 0


def login(owner: int) -> str:
    """The name of a user of the host's, "" where /etc/passwd has none."""
    for line in read("/etc/passwd").split("\n"):
        fields = line.split(":")
        if len(fields) > 2 and fields[2] == str(owner):
            return fields[0]
    return ""


def read(path: str) -> str:
    """A file of the host's, "" where it cannot be read."""
    try:
        fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    except (FileNotFoundError, PermissionError):
        return ""
    data = bytearray()
    try:
        while block := posix.read(fd, 65536):
            data += block
    finally:
        posix.close(fd)
    return data.decode(errors="replace")
