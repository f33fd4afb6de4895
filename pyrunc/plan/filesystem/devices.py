"""Devices and the fixed contents of /dev (config-linux.md, "Devices" and "Default Devices").

All of it is done below the root's descriptor before pivot_root: an image whose /dev is a symbolic link must not reach
the host's files (CVE-2026-41579, CVE-2026-47766).
"""

from errno import EEXIST, EINVAL, ENODEV, ENOENT, ENOSYS, EPERM

from pyrunc.kernel.uapi import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_SYMLINK_NOFOLLOW,
    O_CLOEXEC,
    O_NOFOLLOW,
    O_PATH,
    OPEN_TREE_CLOEXEC,
    OPEN_TREE_CLONE,
    RESOLVE_NO_SYMLINKS,
    S_IFBLK,
    S_IFCHR,
    S_IFIFO,
    S_IFMT,
    STATX_MODE,
    STATX_MODE_AT,
    STATX_RDEV_MAJOR_AT,
    STATX_RDEV_MINOR_AT,
    STATX_SIZE_OF,
    STATX_TYPE,
    makedev,
)
from pyrunc.machine.ops import At, Label, Program, Reg, Space
from pyrunc.plan.filesystem.inroot import clean, mount_point, open_in_root
from pyrunc.plan.filesystem.mount_entry import Context
from pyrunc.plan.filesystem.mountapi import attach

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.config.types import Config, Device

DEFAULT_DEVICES: "tuple[tuple[str, int, int], ...]" = (
    ("/dev/null", 1, 3),
    ("/dev/random", 1, 8),
    ("/dev/full", 1, 7),
    ("/dev/tty", 5, 0),
    ("/dev/zero", 1, 5),
    ("/dev/urandom", 1, 9),
)
LINKS = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
)
# Kernels may be built without it; runc and crun then leave /dev/core out.
KCORE = b"/proc/kcore"
TYPES = {"c": S_IFCHR, "u": S_IFCHR, "b": S_IFBLK, "p": S_IFIFO}


def needs_dev(config: "Config") -> bool:
    """Whether /dev is ours to fill: not where the configuration binds one, which then is complete as it is."""
    for mount in config.get("mounts", []):
        if clean(mount["destination"]) == "dev":
            options = mount.get("options", [])
            return not (mount.get("type") == "bind" or "bind" in options or "rbind" in options)
    return True


def device_list(config: "Config") -> "list[tuple[Device, str]]":
    """The devices to make with their JSON pointers: the configured ones, and the default ones not among them."""
    linux = config.get("linux", {})
    devices: list[tuple[Device, str]] = []
    seen = set()
    for index, device in enumerate(linux.get("devices", [])):
        path = "/" + clean(device["path"])
        seen.add(path)
        if path not in ("/dev/ptmx", "/dev/console"):
            devices.append((device, f"/linux/devices/{index}"))
    default: list[tuple[Device, str]] = []
    for path, major, minor in DEFAULT_DEVICES:
        if path not in seen:
            default.append(({"path": path, "type": "c", "major": major, "minor": minor}, ""))
    return default + devices


def make_devices(p: Program, config: "Config", context: Context) -> None:
    """Nodes and links below /dev. In a user namespace, where mknod(2) is not allowed, the host's nodes are bound."""
    p.about("error creating device nodes: open /dev")
    dev = p.reg("dev")
    mount_point(p, context.root, "dev", dev, resolve=RESOLVE_NO_SYMLINKS)
    fresh = is_fresh(config)
    folders: dict[str, list[tuple[Device, str]]] = {}
    for device, pointer in device_list(config):
        if context.userns and pointer and device["type"] != "p":
            folders.setdefault(clean(device["path"]).rpartition("/")[0], []).append((device, pointer))
        else:
            _device(p, device, pointer, dev, context, fresh)
    for head, devices in folders.items():
        _by_the_host(p, head, devices, dev, context)
    for name, target in LINKS:
        p.about(f"error creating /dev/{name}")
        p.call("symlinkat", target.encode(), dev, name.encode(), ok=(EEXIST,))
    p.about("error creating /dev/core")
    without = Label("no kcore")
    p.call("faccessat", AT_FDCWD, KCORE, 0, error=without)
    p.call("symlinkat", KCORE, dev, b"core", ok=(EEXIST,))
    p.label(without)
    p.about("error setting up ptmx")
    p.call("unlinkat", dev, b"ptmx", 0, ok=(ENOENT, EPERM))
    p.call("symlinkat", b"pts/ptmx", dev, b"ptmx", ok=(EEXIST,))
    p.close(dev)


def is_fresh(config: "Config") -> bool:
    """Whether /dev is a tmpfs with nothing in it that nobody else sees: a node made there stays what it is."""
    kind = ""
    options: list[str] = []
    for mount in config.get("mounts", []):
        if clean(mount["destination"]) == "dev":
            kind, options = mount.get("type", ""), mount.get("options", [])
    return kind == "tmpfs" and not {"tmpcopyup", "remount"} & set(options)


class Node:
    """Key of a step that makes a node; setup/filesystem/device_nodes.py decides where it cannot, or something is there.

    root, parent: registers of the root and of the node's folder. made: where to go on when nothing is left to do.
    host: whether the host has to make it, since a user namespace can not.
    """

    __slots__ = ("device", "host", "made", "name", "parent", "path", "pointer", "root", "why")

    def __init__(self, device: "Device", pointer: str, root: Reg, parent: Reg, *, host: bool) -> None:
        self.device = device
        self.pointer = pointer
        self.path = clean(device["path"])
        self.why = f'error creating device node "/{self.path}"'
        self.name = self.path.rpartition("/")[2].encode(errors="surrogateescape")
        self.root = root
        self.parent = parent
        self.made = Label(f"made {self.path}")
        self.host = host


class HostNodes:
    """Key of the sync at which the host makes nodes, all in one folder (setup/filesystem/host_nodes.py)."""

    __slots__ = ("nodes",)

    def __init__(self, nodes: "list[Node]") -> None:
        self.nodes = nodes


def attributes(device: "Device") -> "tuple[int, int, int, int]":
    """Kind and mode, device number, uid and gid of a node."""
    mode = device.get("fileMode")
    mode = TYPES[device["type"]] | (0o666 if mode is None else mode & 0o7777)
    number = makedev(device.get("major", 0), device.get("minor", 0))
    return mode, number, device.get("uid", 0), device.get("gid", 0)


def _device(p: Program, device: "Device", pointer: str, dev: Reg, context: Context, fresh: bool) -> None:
    path = clean(device["path"])
    p.about(f'error creating device node "/{path}"', pointer)
    mode, number, uid, gid = attributes(device)
    head, _, tail = path.rpartition("/")
    name = tail.encode(errors="surrogateescape")
    if head == "dev":
        parent = dev
    else:
        parent = p.reg("parent")
        mount_point(p, context.root, head, parent, directory=True)
    if not context.userns or device["type"] == "p":
        key = Node(device, pointer, context.root, parent, host=False)
        p.call("mknodat", parent, name, mode, number, key=key)
        if not (fresh and parent is dev):
            own_node(p, device, parent, name)
        elif uid or gid:
            p.call("fchownat", parent, name, uid, gid, AT_SYMLINK_NOFOLLOW)
        p.label(key.made)
    else:
        place = p.reg("target")
        mount_point(p, context.root, path, place, directory=False)
        bind_device(p, device, place)
        p.close(place)
    if parent is not dev:
        p.close(parent)


def _by_the_host(p: Program, head: str, devices: "list[tuple[Device, str]]", dev: Reg, context: Context) -> None:
    """Devices that a user namespace cannot make, all in the folder `head`."""
    parent = dev
    if head != "dev":
        parent = p.reg("parent")
        device, pointer = devices[0]
        p.about(f'error creating device node "/{clean(device["path"])}"', pointer)
        mount_point(p, context.root, head, parent, directory=True)
    p.sync(HostNodes([Node(device, pointer, context.root, parent, host=True) for device, pointer in devices]))
    if parent is not dev:
        p.close(parent)


def bind_device(p: Program, device: "Device", place: Reg) -> None:
    """The host's node at the path of the device, bound over what is open."""
    source = p.reg("device")
    host = b"/" + clean(device["path"]).encode(errors="surrogateescape")
    p.call("open_tree", AT_FDCWD, host, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC, dst=source)
    same_device(p, source, device, ENODEV, key="another device")
    attach(p, source, place)
    p.close(source)


def same_device(
    p: Program, fd: Reg, device: "Device", errno: int, *, error: "Label | None" = None, key: object = ""
) -> None:
    """Go on where what is open is the device; fail with `errno` or jump where it is something else."""
    stat = Space(STATX_SIZE_OF, "statx")
    p.call("statx", fd, b"", AT_EMPTY_PATH, STATX_TYPE | STATX_MODE, stat)
    p.check(At(stat, STATX_MODE_AT), 2, S_IFMT, TYPES[device["type"]], errno, error=error, key=key)
    major, minor = device.get("major", 0), device.get("minor", 0)
    p.check(At(stat, STATX_RDEV_MAJOR_AT), 4, 0xFFFFFFFF, major, errno, error=error, key=key)
    p.check(At(stat, STATX_RDEV_MINOR_AT), 4, 0xFFFFFFFF, minor, errno, error=error, key=key)


def own_node(p: Program, device: "Device", parent: Reg, name: bytes) -> None:
    """Mode (the umask is 0, but ACLs may have taken bits away) and owner of a node.

    The image may have a link in its place, or a program that shares the directory may put one there: what is opened
    and proves to be such a node is what they are given to. Before Linux 6.6 the mode stays what mknodat made it:
    fchmodat(2) follows links, and fchmod(2) takes no O_PATH descriptors.
    """
    mode, _, uid, gid = attributes(device)
    node, stat = p.reg("node"), Space(STATX_SIZE_OF, "statx")
    p.call("openat", parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0, dst=node)
    p.call("statx", node, b"", AT_EMPTY_PATH, STATX_TYPE | STATX_MODE, stat)
    p.check(At(stat, STATX_MODE_AT), 2, S_IFMT, mode & S_IFMT, EEXIST)
    p.call("fchmodat2", node, b"", mode & 0o7777, AT_EMPTY_PATH, ok=(ENOSYS, EPERM))
    if uid or gid:
        p.call("fchownat", node, b"", uid, gid, AT_EMPTY_PATH)
    p.close(node)


def verify_null(p: Program, root: Reg, dst: Reg, missing: Label) -> None:
    """Open the container's /dev/null and make sure that it is one (CVE-2025-31133)."""
    open_in_root(p, root, "dev/null", dst, resolve=RESOLVE_NO_SYMLINKS, only=(ENOENT,), error=missing)
    stat = Space(STATX_SIZE_OF, "statx")
    p.call("statx", dst, b"", AT_EMPTY_PATH, STATX_TYPE | STATX_MODE, stat)
    p.check(At(stat, STATX_MODE_AT), 2, S_IFMT, S_IFCHR, EINVAL, key="not null")
    p.check(At(stat, STATX_RDEV_MAJOR_AT), 4, 0xFFFFFFFF, 1, EINVAL, key="not null")
    p.check(At(stat, STATX_RDEV_MINOR_AT), 4, 0xFFFFFFFF, 3, EINVAL, key="not null")
