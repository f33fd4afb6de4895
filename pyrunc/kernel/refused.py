"""What to do where a system call is refused that pyrunc needs: the kernel is old, or a filter is around pyrunc.

Cold.
"""

from errno import EACCES, ENOSYS, EPERM

from pyrunc.kernel.files import read_file

#: System calls with the Linux that brought them. Where the kernel itself refuses one of them, it is rarely with EPERM.
SINCE = {
    "clone3": "5.3", "close_range": "5.9", "flock": "", "fsconfig": "5.2", "fsmount": "5.2", "fsopen": "5.2",
    "fspick": "5.2", "keyctl": "", "memfd_create": "3.17", "mount_setattr": "5.12", "move_mount": "5.2",
    "open_tree": "5.2", "openat2": "5.6", "pidfd_open": "5.3", "pidfd_send_signal": "5.1", "pivot_root": "",
    "sethostname": "", "setns": "", "socketpair": "", "statx": "4.11", "unshare": "",
}  # fmt: skip
OLD_KERNEL = "pyrunc needs Linux 5.12"


def hint(call: str, errno: int) -> str:
    """The remedy for a system call that was refused with an errno; "" where it is another kind of error."""
    if errno not in (ENOSYS, EPERM, EACCES):
        return ""
    if call in SINCE and filtered():
        return (
            f"a seccomp filter is around pyrunc: let it allow {call} (docker and podman: --security-opt"
            " seccomp=unconfined; systemd: SystemCallFilter=)"
        )
    if errno == ENOSYS:
        return OLD_KERNEL
    return ""


def filtered() -> bool:
    """Whether this process runs under a seccomp filter (proc_pid_status(5): Seccomp)."""
    try:
        return b"\nSeccomp:\t2\n" in read_file("/proc/self/status")
    except FileNotFoundError:
        return False  # without a proc nobody knows
