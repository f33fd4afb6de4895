"""One entry of the mounts array on its way to steps: what is known of it, and what all kinds of mounts need."""

from errno import EINVAL

from pyrunc.kernel.uapi import MOUNT_ATTR_RDONLY, PROC_SUPER_MAGIC, SYSFS_MAGIC
from pyrunc.machine.ops import Label, Program, Reg, Space
from pyrunc.plan.filesystem.mountapi import IdMap, attach, mount_attr, propagate, set_attributes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.config.types import Mount
    from pyrunc.plan.filesystem.mountoptions import Options

WHOLE = 0xFFFFFFFFFFFFFFFF  # of a number that is checked: all of its bits


class Context:
    """What mounts need to know of the rest.

    root: register of the root file system's descriptor. bundle, rootfs: their absolute paths. userns: whether the
    container has a user namespace other than pyrunc's. cgroup_ns: whether a private cgroup namespace.
    cgroup_path: the container's directory below the cgroup file system's mount, for mounts without a namespace.
    cgroup_v1: the container's groups in v1 hierarchies, as (controllers, directory).
    cgroup_flags: options that the host's cgroup file system has and has to keep.
    late: mounts that are to be read-only when all are in place: register, why, pointer.
    label: SELinux mount label, given to file systems as label_option (mount(8), "context=").
    """

    __slots__ = (
        "bundle",
        "cgroup_flags",
        "cgroup_ns",
        "cgroup_path",
        "cgroup_root",
        "cgroup_v1",
        "label",
        "label_option",
        "late",
        "root",
        "rootfs",
        "userns",
    )

    def __init__(self, root: Reg, bundle: str, rootfs: str) -> None:
        self.root = root
        self.bundle = bundle
        self.rootfs = rootfs
        self.userns = False
        self.cgroup_flags: tuple[str, ...] = ()
        self.cgroup_ns = True
        self.cgroup_path = ""
        self.cgroup_root = "/sys/fs/cgroup"
        self.cgroup_v1: tuple[tuple[str, str], ...] = ()
        self.label = ""
        self.label_option = "context"
        self.late: list[tuple[Reg, str, str]] = []


class Entry:
    """An entry of the mounts array.

    p: the program that its steps are added to. index: in the array. target: the destination below the root, clean.
    kind: its type, "" where it has none. source: its source, or its type. mount: the entry itself.
    """

    __slots__ = ("context", "index", "kind", "mount", "options", "p", "source", "target")

    def __init__(
        self, p: Program, index: int, mount: "Mount", target: str, options: "Options", context: Context
    ) -> None:
        self.p = p
        self.index = index
        self.mount = mount
        self.target = target
        self.options = options
        self.context = context
        self.kind = mount.get("type", "")
        self.source = mount.get("source") or self.kind

    @property
    def pointer(self) -> str:
        """The entry's JSON pointer."""
        return f"/mounts/{self.index}"

    def not_led_away(self, place: Reg) -> None:
        """Fail where a symbolic link of the image's has led a mount point into /proc or /sys: masks would be put upon
        what is mounted there, and others would take it for the kernel's (CVE-2019-16884).

        Whether the target may lie there by its text, mounts.compile_mount has decided.
        """
        p, target = self.p, self.target
        allowed = (target == "proc" or target.startswith("proc/"), target == "sys" or target.startswith("sys/"))
        if all(allowed):
            return
        stat = Space(120, "statfs")
        p.call("fstatfs", place, stat)
        for is_allowed, magic, key in zip(allowed, (PROC_SUPER_MAGIC, SYSFS_MAGIC), ("in proc", "in sys"), strict=True):
            if not is_allowed:
                elsewhere = Label("elsewhere")
                p.check(stat, 8, WHOLE, magic, EINVAL, error=elsewhere)
                p.fail(EINVAL, key)
                p.label(elsewhere)

    def map_ids(self, fd: Reg, *, own: bool) -> None:
        """Map the ids of a detached mount, where the configuration asks for it.

        own: whether its file system belongs to the container's user namespace: without maps of the mount's own its
        ids are the container's already.
        """
        mapped = bool(self.mount.get("uidMappings") or self.mount.get("gidMappings"))
        if mapped or (self.options.idmap and not own):
            p = self.p
            p.send_fds(fd)
            p.sync(IdMap(self.index, self.options.idmap == "ridmap", p._why, p._at))

    def finish(self, fd: Reg, place: Reg) -> None:
        """Attach the detached mount, then what is said for the whole tree, then propagation."""
        p, options = self.p, self.options
        attach(p, fd, place)
        if options.tree_set or options.tree_clear:
            set_attributes(p, fd, mount_attr(options.tree_set, options.tree_clear), recursive=True)
        propagate(p, fd, options.propagation)


def read_only_late(p: Program, context: Context) -> None:
    """Make the tmpfs mounts read-only that were to be so, now that everything below them is in place."""
    for fd, why, at in context.late:
        p.about(why, at)
        set_attributes(p, fd, mount_attr(MOUNT_ATTR_RDONLY))
        p.close(fd)
