"""Why a v1 hierarchy does not do what was asked; cold paths only."""

import errno
import posix

from pyrunc.errors import Error, strerror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.cgroups.conversions import Write


def unavailable(write: "Write") -> Error:
    """A limit whose controller is in no v1 hierarchy that is mounted."""
    name = write.controller
    return Error(
        f'set {write.file} ({write.pointer[1:]}): controller "{name}" not available: no cgroup v1 hierarchy with it is'
        " mounted",
        pointer=write.pointer,
        hint=f"mount it (mount -t cgroup -o {name} cgroup /sys/fs/cgroup/{name}), or remove the limit",
    )


def write_failed(path: str, fd: int, write: "Write", error: OSError) -> Error:
    """A write that the kernel refused: the file, the value, the property, and the likely cause. fd: the directory."""
    number = error.errno or 0
    cause, hint = strerror(number), ""
    if number == errno.ENOENT:
        # Not the errno's words: engines would take those for a missing command.
        cause = "this kernel does not have the file"
        if write.file.startswith("hugetlb."):
            names = [name.split(".")[1] for name in posix.listdir(fd) if name.startswith("hugetlb.")]
            hint = f"the machine's huge page sizes: {', '.join(sorted(set(names))) or 'none'}"
        elif write.file.startswith("memory.memsw."):
            hint = "swap is not counted: boot with swapaccount=1"
        elif write.file.startswith(("blkio.weight", "blkio.leaf_weight")):
            hint = "weights need the bfq scheduler, leaf weights a kernel before 5.0"
    elif number == errno.EBUSY and write.file.startswith("memory."):
        hint = "the group uses more memory than the limit and none of it can be reclaimed"
    elif number == errno.ENODEV and write.file.startswith("blkio."):
        cause = "the machine has no such disk (partitions do not count)"
    elif number == errno.EINVAL and write.file.startswith(("cpu.rt_", "cpu.cfs_")):
        hint = "the groups above may have less"
    elif number == errno.EPERM and write.file.startswith("devices."):
        hint = "the cgroup above does not have the device"
    text = f'cgroup {path}: write "{write.value}" to {write.file} ({write.pointer[1:]}): {cause}'
    return Error(text, pointer=write.pointer, syscall="write", errno=number, hint=hint)
