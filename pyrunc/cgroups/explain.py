"""Why the kernel, or this host, does not do what was asked of a cgroup; cold paths only.

Import cost: posix, errno.
"""

import errno
import posix

from pyrunc.cgroups import detect, files
from pyrunc.errors import Error, strerror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.cgroups.conversions import Write


def unavailable(host: "detect.Host", write: "Write") -> Error:
    """A limit whose controller this host's cgroup v2 does not have."""
    controller = write.controller
    if write.pointer.startswith("/linux/resources/unified/"):
        what = f'unified resource "{write.file}" can\'t be set'
    else:
        what = f"set {write.file}"
    what += f' ({write.pointer[1:]}): controller "{controller}" not available'
    if host.mode == "unified":
        why = f"the kernel's cgroup v2 at {host.mount} does not offer it"
        hint = "use a kernel with this controller, or remove the limit"
    elif host.mode == "none":
        why = "no cgroup hierarchy is mounted on this host"
        hint = "mount cgroup2 at /sys/fs/cgroup, or remove the limit"
    else:
        name = "a hybrid of cgroup v1 and v2" if host.mode == "hybrid" else "cgroup v1 only"
        why = f"this host has {name}"
        if controller in detect.v1_controllers():
            why += f", {controller} belongs to v1"
        hint = "limits need cgroup v2: boot with systemd.unified_cgroup_hierarchy=1, or remove the limit"
    return Error(f"{what}: {why}", pointer=write.pointer, hint=hint)


def not_enabled(mount: str, path: str, write: "Write") -> Error:
    """A controller that the host has, but that did not come down to the container's cgroup."""
    above = mount
    busy = False
    for name in path[len(mount) :].strip("/").split("/"):
        fd = files.open_dir(above)
        try:
            enabled = (files.try_read(fd, "cgroup.subtree_control") or b"").decode().split()
            busy = bool((files.try_read(fd, "cgroup.procs") or b"").strip())
        finally:
            posix.close(fd)
        if write.controller not in enabled:
            break
        above = f"{above}/{name}"
    text = (
        f'set {write.file} ({write.pointer[1:]}): controller "{write.controller}" not available:'
        f" it is not enabled in {above}/cgroup.subtree_control"
    )
    if busy and above != mount:
        text += ", whose processes forbid it (no internal processes)"
        hint = f"move the processes of {above} into a group of their own below it"
    else:
        hint = f"have {write.controller} delegated, for systemd: Delegate={write.controller}"
    return Error(text, pointer=write.pointer, hint=hint)


def refused(path: str, rootless: bool, explicit: bool, error: OSError) -> Error:
    """The cgroup's directory cannot be made for lack of permission."""
    number = error.errno or 0
    text = f"create cgroup {path}: {strerror(number)}"
    if rootless and not explicit:
        text = f"rootless needs no limits + no cgrouppath when no permission is granted for cgroups: {text}"
    elif rootless:
        text = f"unable to apply cgroup configuration: {text}"
    hint = "mount the cgroup file system writable" if number == errno.EROFS else ""
    if rootless:
        hint = "use --systemd-cgroup, or have a cgroup delegated, as by: systemd-run --user --scope -p Delegate=yes"
    return Error(text, pointer="/linux/cgroupsPath", syscall="mkdir", errno=error.errno or 0, hint=hint)


def write_failed(path: str, fd: int, write: "Write", error: OSError) -> Error:
    """A write that the kernel refused: the file, the value, the property, and the likely cause.

    fd: the cgroup's directory.
    """
    number = error.errno or 0
    cause, hint = strerror(number), ""
    offered = (files.try_read(fd, "cgroup.controllers") or b"").decode().split()
    denied = number in (errno.ENOENT, errno.EACCES, errno.EPERM)
    if denied and write.controller and write.controller not in offered:
        cause = f'controller "{write.controller}" not available'
    elif number == errno.ENOENT:
        # Not the errno's words: engines would take those for a missing command.
        cause = "this kernel does not have the file"
        if write.file.startswith("hugetlb."):
            names = [n.split(".")[1] for n in posix.listdir(fd) if n.startswith("hugetlb.")]
            hint = f"the machine's huge page sizes: {', '.join(sorted(set(names))) or 'none'}"
        elif write.file == "io.weight":
            hint = "weights need the bfq scheduler or CONFIG_BLK_CGROUP_IOCOST"
        else:
            hint = f"{path}/{write.file}: no such file or directory"
    elif number == errno.EBUSY and write.file.startswith("memory."):
        hint = "the group uses more memory than the limit and none of it can be reclaimed"
    elif number == errno.ENODEV and write.file.startswith("io."):
        cause = "the machine has no such disk (partitions do not count)"
    text = f'cgroup {path}: write "{write.value}" to {write.file} ({write.pointer[1:]}): {cause}'
    return Error(text, pointer=write.pointer, syscall="write", errno=number, hint=hint)
