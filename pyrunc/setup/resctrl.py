"""Cache and memory bandwidth allocation (config-linux.md, "IntelRdt") by the resctrl file system.

A container's processes are in a group, a directory in resctrl: the one that closID names, or one
with the container's id; with enableMonitoring also in a monitoring group below it. The kernel puts
children where their parents are. At delete the group with the container's id is removed, if it was made here, and the
monitoring group; one that closID names stays.

Import cost: posix.
"""

import posix
from errno import EEXIST, ENOENT, ESRCH

from pyrunc.errors import SETUP, Error, strerror
from pyrunc.kernel.files import read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.config.types import IntelRdt
    from pyrunc.state.state import State

_POINTER = "/linux/intelRdt"


class Group:
    """Where a container's processes belong.

    path: the group. made: whether it has to be made. own: whether it is then the container's, and goes with it; a group
    that the configuration names may be others' by then. monitor: the monitoring group; "" for none.
    """

    __slots__ = ("made", "monitor", "own", "path")

    def __init__(self, path: str, made: bool, own: bool, monitor: str) -> None:
        self.path = path
        self.made = made
        self.own = own
        self.monitor = monitor

    def to_state(self) -> "dict[str, object]":
        return {"group": self.path, "made": self.own, "monitor": self.monitor}


def mount_of() -> str:
    """Where resctrl is mounted; "" where it is not."""
    for line in read_file("/proc/self/mountinfo").decode(errors="surrogateescape").split("\n"):
        before, _, after = line.partition(" - ")
        if after.startswith("resctrl "):
            return before.split(" ")[4]
    return ""


def group_of(config: "IntelRdt", id: str, root: str) -> Group:
    """The group that a configuration asks for; nothing is made yet.

    root: from mount_of. Raises Error where resctrl is not mounted, or a group that has to exist
    does not, or has other limits.
    """
    if not root:
        raise Error(
            "intelRdt is specified in config, but Intel RDT is not enabled (linux/intelRdt)",
            pointer=_POINTER,
            hint="mount -t resctrl resctrl /sys/fs/resctrl",
        )
    name = config.get("closID") or id
    path = root if name == "/" else f"{root}/{name}"
    exists = posix.access(path, posix.F_OK)
    lines = _first_lines(config) + config.get("schemata", [])
    if config.get("closID"):
        if not lines and not exists:
            raise Error(
                f'{SETUP}the group "{name}" has no limits in the configuration and does not exist'
                " (linux/intelRdt/closID)",
                pointer=f"{_POINTER}/closID",
            )
        if exists:
            _compare(lines, f"{path}/schemata")
    monitor = f"{path}/mon_groups/{id}" if config.get("enableMonitoring") else ""
    return Group(path, not exists, not exists and not config.get("closID"), monitor)


def _first_lines(config: "IntelRdt") -> "list[str]":
    """What goes to schemata before the member of that name: of l3CacheSchema all that is not
    about memory bandwidth where memBwSchema says something about that."""
    bandwidth = config.get("memBwSchema", "")
    lines = [line for line in (config.get("l3CacheSchema") or "").split("\n") if line]
    if bandwidth:
        lines = [line for line in lines if not line.strip().startswith("MB:")] + [bandwidth]
    return lines


def _compare(lines: "list[str]", path: str) -> None:
    """Refuse limits that an existing group does not have."""
    if not lines:
        return
    have: dict[str, dict[str, str]] = {}
    for line in read_file(path).decode(errors="replace").split("\n"):
        resource, values = _parse(line)
        have[resource] = values
    for line in lines:
        resource, wanted = _parse(line)
        for number, value in wanted.items():
            if have.get(resource, {}).get(number) != value:
                raise Error(
                    f'{SETUP}the group exists and has other limits: {path} does not have "{line}" (linux/intelRdt)',
                    pointer=_POINTER,
                )


def _parse(line: str) -> "tuple[str, dict[str, str]]":
    """A line of schemata: `L3:0=7f0;1=1f`. Leading zeros make no difference."""
    resource, _, rest = line.strip().partition(":")
    values = {}
    for part in rest.split(";"):
        number, _, value = part.strip().partition("=")
        value = value.strip().lower()
        values[number.strip()] = value.lstrip("0") or "0"
    return resource.strip(), values


def apply(group: Group, config: "IntelRdt", pid: int) -> None:
    """Make what has to be made, write the limits, and put the process in. Raises Error."""
    if group.made:
        _make(group.path)
    first = _first_lines(config)
    # Of a group that exists the limits are what they have to be; they are another's, too.
    if group.made or not config.get("closID"):
        for lines in (first, config.get("schemata", [])):
            if lines:
                _write(f"{group.path}/schemata", "\n".join(lines) + "\n", group.path)
    if group.monitor:
        _make(group.monitor)
    for path in (group.path, group.monitor):
        if path:
            _write(f"{path}/tasks", str(pid), group.path)


def change(state: "State", schemas: "IntelRdt") -> None:
    """Write other limits, l3CacheSchema and memBwSchema, to the group of a container, and put them
    into its configuration; the caller saves the state. Raises Error, also without a group."""
    group = (state.extra.get("intelRdt") or {}).get("group")
    if not group:
        raise Error(
            f"cannot update container {state.id}: it was created without Intel RDT (linux/intelRdt)",
            pointer=_POINTER,
        )
    text = "\n".join(_first_lines(schemas)) + "\n"
    _write(f"{group}/schemata", text, group, "error updating the limits of Intel RDT: ")
    config = state.config
    config["linux"]["intelRdt"].update(schemas)
    state.config = config


def join(state: "State", pid: int) -> None:
    """Put another process into the groups of a container, for exec; one that has gone is no error."""
    kept = state.extra.get("intelRdt") or {}
    for path in (kept.get("group"), kept.get("monitor")):
        if path and posix.access(path, posix.F_OK):
            _write(f"{path}/tasks", str(pid), kept["group"])


def remove(state: "State") -> None:
    """Remove the groups that were made for a container. Raises Error."""
    kept = state.extra.get("intelRdt") or {}
    for path in (kept.get("monitor"), kept.get("group") if kept.get("made") else ""):
        if not path:
            continue
        try:
            posix.rmdir(path)
        except OSError as error:
            if error.errno != ENOENT:
                text = strerror(error.errno or 0)
                raise Error(f"unable to remove {path}: {text}", errno=error.errno or 0) from None


def _make(path: str) -> None:
    try:
        posix.mkdir(path, 0o755)
    except OSError as error:
        if error.errno != EEXIST:
            raise _failed("mkdir", path, error, path.rpartition("/mon_groups/")[0]) from None


def _write(path: str, text: str, group: str, prefix: str = SETUP) -> None:
    try:
        fd = posix.open(path, posix.O_WRONLY | posix.O_TRUNC | posix.O_CLOEXEC)
        try:
            posix.write(fd, text.encode())
        finally:
            posix.close(fd)
    except OSError as error:
        if error.errno != ESRCH:
            raise _failed("write", path, error, group, prefix) from None


def _failed(what: str, path: str, error: OSError, group: str, prefix: str = SETUP) -> Error:
    """The Error for a refusal of the kernel, which explains itself in a file of its own."""
    text = f"{prefix}{what} {path} (linux/intelRdt): {strerror(error.errno or 0)}"
    for root in (group, group.rpartition("/")[0]):
        try:
            status = read_file(f"{root}/info/last_cmd_status").decode(errors="replace").strip()
        except OSError:
            continue
        if status and status != "ok":
            text += f" ({status})"
        break
    return Error(text, pointer=_POINTER, errno=error.errno or 0)
