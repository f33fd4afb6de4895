"""Kernel parameters (config-linux.md, "Sysctl"), written through a procfs of our own.

The container's /proc may be anything (CVE-2025-52881): a detached instance that no path leads to is not, nor is the
host's, as long as this process has not left the host's root.
"""

from errno import EPERM

from pyrunc.kernel.uapi import (
    AT_FDCWD,
    FSCONFIG_CMD_CREATE,
    FSMOUNT_CLOEXEC,
    FSOPEN_CLOEXEC,
    O_CLOEXEC,
    O_DIRECTORY,
    O_PATH,
    O_WRONLY,
    RESOLVE_BENEATH,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_XDEV,
)
from pyrunc.machine.ops import Label, Program, Reg
from pyrunc.plan.filesystem.inroot import open_how

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.config.types import Linux


def private_proc(p: Program, dst: Reg) -> None:
    """A detached procfs in a register; the host's where the kernel lets this process make none.

    A procfs shows a pid namespace. A user namespace that does not own it (the host's pid namespace with a user
    namespace, rootless or not) may not mount one, nor one that shows more than what it can see already.
    """
    p.about("error opening a private procfs")
    fs, hosts, opened = p.reg("fs"), Label("the host's /proc"), Label("opened")
    p.call("fsopen", b"proc", FSOPEN_CLOEXEC, dst=fs)
    p.call("fsconfig", fs, FSCONFIG_CMD_CREATE, None, None, 0, only=(EPERM,), error=hosts)
    p.call("fsmount", fs, FSMOUNT_CLOEXEC, 0, dst=dst, only=(EPERM,), error=hosts)
    p.jump(opened)
    p.label(hosts)
    p.call("openat", AT_FDCWD, b"/proc", O_PATH | O_DIRECTORY | O_CLOEXEC, 0, dst=dst)
    p.label(opened)
    p.close(fs)


def path_of(name: str) -> str:
    """net.ipv4.ip_forward, or net/ipv4/conf/eth0.1/forwarding, as a path below /proc/sys: the first separator decides,
    as in sysctl(8)."""
    dot, slash = name.find("."), name.find("/")
    if slash < 0 or 0 <= dot < slash:
        return name.translate({ord("."): "/", ord("/"): "."})
    return name


def write_proc(p: Program, proc: Reg, path: str, value: bytes) -> None:
    fd = p.reg(path.rpartition("/")[2])
    how = open_how(O_WRONLY | O_CLOEXEC, 0, RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS)
    p.call("openat2", proc, path.encode(), how, 24, dst=fd)
    p.call("write", fd, value, len(value))
    p.close(fd)


def write_sysctls(p: Program, linux: "Linux", proc: Reg) -> None:
    """Each sysctl of the configuration; config/rules/check.py has refused those that are not the container's alone."""
    for name, value in linux.get("sysctl", {}).items():
        pointer = "/linux/sysctl/" + name.replace("~", "~0").replace("/", "~1")
        p.about(f'error setting sysctl "{name}" to "{value}"', pointer)
        write_proc(p, proc, "sys/" + path_of(name), value.encode())
