"""The mounts array (config.md, "Mounts"): every mount by descriptors, with the new mount API.

A mount is made detached, given its attributes, and moved onto a mount point that was opened inside the root. Nothing
is mounted by path, so a symbolic link swapped in meanwhile leads nowhere. mountapi.py has the system calls.
"""

from pyrunc.errors import ConfigError
from pyrunc.kernel.uapi import MOUNT_ATTR__ATIME
from pyrunc.machine.ops import Program
from pyrunc.plan.filesystem.binds import bind
from pyrunc.plan.filesystem.filesystems import FileSystem
from pyrunc.plan.filesystem.inroot import clean, open_in_root
from pyrunc.plan.filesystem.mount_entry import Context, Entry
from pyrunc.plan.filesystem.mountapi import mount_attr, propagate, set_attributes
from pyrunc.plan.filesystem.mountoptions import Options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.config.types import Mount

# Files below /proc that programs such as lxcfs may cover; anything else there could fool whoever reads /proc.
PROC_FILES = (
    "proc/cpuinfo",
    "proc/diskstats",
    "proc/meminfo",
    "proc/stat",
    "proc/swaps",
    "proc/uptime",
    "proc/loadavg",
    "proc/slabinfo",
    "proc/sys/kernel/ns_last_pid",
    "proc/sys/crypto/fips_enabled",
)


def compile_mount(p: Program, index: int, mount: "Mount", context: Context) -> None:
    """One entry of the mounts array. Raises ConfigError for destinations that no container may cover."""
    pointer = f"/mounts/{index}"
    destination = mount["destination"]
    if context.rootfs != "/" and destination.startswith(context.rootfs + "/"):
        # Where the root file system lies on the host: runc takes such a destination as one below it.
        destination = destination[len(context.rootfs) :]
    target = clean(destination)
    options = Options(mount.get("options", []))
    kind = mount.get("type", "")
    if kind == "bind":
        options.bind = True
    source = mount.get("source") or kind or "none"
    p.about(f'error mounting "{source}" to rootfs at "{destination}"', pointer)
    if not target:
        raise ConfigError(
            f'cannot mount over the root file system: destination "{destination}" ({pointer[1:]}/destination)',
            pointer=pointer + "/destination",
        )
    if target == "proc" and kind != "proc" and not (options.bind or options.remount):
        # CVE-2019-16884: whoever covers /proc decides what labels and sysctls are written to.
        raise ConfigError(
            f'"{destination}" cannot be mounted because it is not of type proc ({pointer[1:]}/type)',
            pointer=pointer + "/type",
        )
    inside_proc = target.startswith("proc/")
    if inside_proc and target not in PROC_FILES and kind != "proc":
        raise ConfigError(
            f'"{destination}" cannot be mounted because it is inside /proc ({pointer[1:]}/destination)',
            pointer=pointer + "/destination",
        )
    entry = Entry(p, index, mount, target, options, context)
    if options.remount and not options.bind:
        _remount(entry)
    elif options.bind:
        bind(entry)
    elif kind == "cgroup" or kind == "cgroup2":
        if context.cgroup_v1 and kind == "cgroup":
            from pyrunc.plan.filesystem.cgroup_v1_mount import hierarchies

            hierarchies(entry)
        else:
            from pyrunc.plan.filesystem.cgroup_mount import cgroup2

            cgroup2(entry)
    else:
        FileSystem(entry).compile()


def _remount(entry: Entry) -> None:
    p, options = entry.p, entry.options
    fd = p.reg("mount")
    open_in_root(p, entry.context.root, entry.target, fd)
    set_attributes(p, fd, mount_attr(options.set, options.clear & ~(options.set & ~MOUNT_ATTR__ATIME)))
    entry.map_ids(fd, own=entry.context.userns)
    propagate(p, fd, options.propagation)
    p.close(fd)
