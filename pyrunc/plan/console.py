"""The terminal (config.md, "Process": terminal, consoleSize): a pty of the container's own devpts."""

from _struct import pack
from errno import EINVAL

from pyrunc.kernel.uapi import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    DEVPTS_SUPER_MAGIC,
    O_CLOEXEC,
    O_NOCTTY,
    O_RDWR,
    OPEN_TREE_CLOEXEC,
    OPEN_TREE_CLONE,
    TIOCGPTPEER,
    TIOCSCTTY,
    TIOCSPTLCK,
    TIOCSWINSZ,
)
from pyrunc.machine.ops import Program, Reg, Space
from pyrunc.plan.filesystem.inroot import mount_point, open_in_root
from pyrunc.plan.filesystem.mountapi import attach

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.config.types import Process


class Console:
    """Key of the sync before which the pty's master has been sent."""

    __slots__ = ()


def host_ptmx(p: Program, pointer: str) -> Reg:
    """A new pty of the host's: for containers without a mount namespace, in which no devpts is mounted. To be
    called before the root is changed."""
    p.about("error opening the console", f"{pointer}/terminal")
    master = p.reg("ptmx")
    p.call("openat", AT_FDCWD, b"/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC, 0, dst=master)
    return master


def open_console(
    p: Program,
    process: "Process",
    root: Reg,
    slave: Reg,
    *,
    mount: bool,
    pointer: str,
    master: "Reg | None" = None,
) -> None:
    """Open a new pty inside the root, send its master to Python and keep the slave; bind it to /dev/console.

    master: of host_ptmx, where the pty is to be the host's. The slave is taken from the master
    (TIOCGPTPEER), never opened by a name in the container (CVE-2025-52565).
    """
    p.about("error opening the console", f"{pointer}/terminal")
    if master is None:
        master = p.reg("ptmx")
        open_in_root(p, root, "dev/pts/ptmx", master, O_RDWR | O_NOCTTY)
        stat = Space(120, "statfs")
        p.call("fstatfs", master, stat)
        p.check(stat, 8, 0xFFFFFFFFFFFFFFFF, DEVPTS_SUPER_MAGIC, EINVAL, key="not devpts")
    p.call("ioctl", master, TIOCSPTLCK, pack("<i", 0))
    p.call("ioctl", master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC, dst=slave)
    size = process.get("consoleSize", {})
    if size.get("height") or size.get("width"):
        p.about("error setting the console's size", f"{pointer}/consoleSize")
        value = pack("<4H", size.get("height", 0), size.get("width", 0), 0, 0)
        p.call("ioctl", master, TIOCSWINSZ, value)
    if mount:
        p.about("error mounting the console", f"{pointer}/terminal")
        place, tree = p.reg("target"), p.reg("console")
        mount_point(p, root, "dev/console", place, directory=False)
        flags = AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC
        p.call("open_tree", slave, b"", flags, dst=tree)
        attach(p, tree, place)
        p.close(tree)
        p.close(place)
    p.send_fds(master)
    p.close(master)
    p.sync(Console())


def use_console(p: Program, slave: Reg, uid: int, pointer: str) -> None:
    """Make the slave standard input, output and error, and the controlling terminal."""
    p.about("error setting up the terminal", f"{pointer}/terminal")
    for fd in range(3):
        p.call("dup3", slave, fd, 0)
    p.call("ioctl", 0, TIOCSCTTY, 0)
    if uid:
        p.call("fchown", 0, uid, 0xFFFFFFFF)
    p.close(slave)
