"""Small things on the host: what this process may, sending descriptors, reaping.

Import cost: posix, _socket, _struct.
"""

import posix
from _socket import AF_UNIX, SOCK_STREAM, socket
from _struct import pack
from errno import EINVAL, ENODEV, ENOENT

from pyrunc.config.annotation_names import SECCOMP_RAW
from pyrunc.errors import Error, from_os_error
from pyrunc.kernel.files import read_file
from pyrunc.kernel.uapi import S_IFCHR, S_IFMT
from pyrunc.log import log
from pyrunc.plan.process.process import RLIMIT_NUMBERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from pyrunc.cgroups import Manager
    from pyrunc.config.types import Process

_NULL = 0x103  # device 1:3, as stat(2) has it


def reap(pid: int) -> int:
    """Wait for a child; its status, 0 where it is not ours."""
    try:
        return posix.waitpid(pid, 0)[1]
    except ChildProcessError:
        return 0


def own_capabilities() -> int:
    """What this process may give to others: what is permitted to it and in its bounding set."""
    found = 0
    bounding = 0
    for line in read_file("/proc/self/status").split(b"\n"):
        if line.startswith(b"CapPrm:"):
            found = int(line[7:], 16)
        elif line.startswith(b"CapBnd:"):
            bounding = int(line[7:], 16)
    return found & bounding


def may_drop_groups() -> bool:
    """Whether this process may give up its supplementary groups: it is root, and the user namespace that it is in
    was made by someone who need not deny setgroups(2) (user_namespaces(7))."""
    if posix.geteuid():
        return False
    try:
        return read_file("/proc/self/setgroups").strip() != b"deny"
    except FileNotFoundError:
        return True  # a kernel without user namespaces


def selinux_enabled() -> bool:
    """Whether the kernel has SELinux and a policy: without one it calls every process "kernel"."""
    try:
        current = read_file("/proc/self/attr/current")
    except OSError as error:
        if error.errno not in (ENOENT, EINVAL):  # a kernel without security modules, or without one that labels
            raise from_os_error("look whether SELinux is enabled: read", error) from None
        return False
    selinux = posix.access("/sys/fs/selinux/enforce", posix.F_OK)
    return selinux and current.rstrip(b"\0\n") != b"kernel"


def has_filter(config: "Mapping[str, Any]") -> bool:
    """Whether the configuration has a seccomp filter: seccomp.filter_of, which has to be loaded, gives it."""
    annotations = config.get("annotations", {})
    profile = config.get("linux", {}).get("seccomp")
    return bool(profile) or SECCOMP_RAW in annotations


def check_selinux(process: "Process", pointer: str) -> None:
    """Raise Error where a process has a label that nothing would enforce."""
    if process.get("selinuxLabel") and not selinux_enabled():
        where = f"{pointer}/selinuxLabel"
        raise Error(
            f"selinux label is specified in config, but selinux is disabled or not supported ({where[1:]})",
            pointer=where,
        )


def on_null() -> "tuple[int, ...]":
    """Those of 0, 1 and 2 that are the null device (null(4))."""
    found = []
    for fd in (0, 1, 2):
        stat = posix.fstat(fd)
        if stat.st_rdev == _NULL and stat.st_mode & S_IFMT == S_IFCHR:
            found.append(fd)
    return tuple(found)


def oom_killed(manager: "Manager") -> bool:
    """Whether the kernel has killed something in the cgroup for its memory limit."""
    try:
        return manager.oom_kills() > 0
    except OSError as error:
        if error.errno not in (ENOENT, ENODEV):
            log.debug(f"whether the memory limit was reached is not known: {error}")
        return False


def connect(sock: socket, path: str) -> None:
    """Connect to a socket in the file system; unix(7) has room for 107 bytes of its path, a descriptor's is shorter.

    Errors: OSError with the path in it.
    """
    if len(path.encode(errors="surrogateescape")) < 108:
        sock.connect(path)
        return
    fd = posix.open(path, posix.O_PATH | posix.O_CLOEXEC)
    try:
        sock.connect(f"/proc/self/fd/{fd}")
    finally:
        posix.close(fd)


def send_fd(path: str, fd: int, data: bytes, what: str) -> None:
    """Connect to a stream socket and send one descriptor (SCM_RIGHTS)."""
    sock = socket(AF_UNIX, SOCK_STREAM)
    try:
        connect(sock, path)
        sock.sendmsg([data], [(1, 1, pack("<i", fd))])
    except OSError as error:
        error.filename = None
        raise from_os_error(f"{what} {path}", error) from None
    finally:
        sock.close()


def raise_hard_limits(pid: int, process: "Process") -> None:
    """Give a process in a user namespace the hard limits that its configuration wants, where they are above its own.

    The kernel asks for CAP_SYS_RESOURCE in the initial user namespace. Who has it not leaves it to the process to fail.
    """
    limits = process.get("rlimits")
    if not limits:
        return
    import resource

    for limit in limits:
        number = RLIMIT_NUMBERS[limit["type"]]
        # -1 is no limit at all.
        wanted = limit["hard"] if limit["hard"] < 1 << 63 else -1
        try:
            soft, hard = resource.prlimit(pid, number)
            if hard != -1 and (wanted == -1 or wanted > hard):
                resource.prlimit(pid, number, (soft, wanted))
        except (PermissionError, ValueError):  # ValueError: Python's word for EPERM and EINVAL of a limit
            return
