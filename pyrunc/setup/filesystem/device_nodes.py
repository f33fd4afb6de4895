"""Device nodes that need decisions (config-linux.md, "Devices"): something is in their place, the kernel refuses
mknod(2), or there is a user namespace, which cannot make any (host_nodes.py), and neither can the host for it.

The usual case is a single step of the plan (plan/filesystem/devices.py). What is there already has to be the device
that is asked for. Where none can be made, the host's own node is bound.

Import cost: that of path_walk.
"""

from errno import EEXIST, ENODEV, ENOENT, EPERM

from pyrunc.errors import INIT, Error, strerror
from pyrunc.kernel.uapi import (
    AT_EMPTY_PATH,
    O_CLOEXEC,
    O_NOFOLLOW,
    O_PATH,
    PR_CAPBSET_READ,
    S_IFBLK,
    S_IFCHR,
    S_IFDIR,
    S_IFIFO,
    S_IFLNK,
    S_IFMT,
    S_IFREG,
    S_IFSOCK,
    STATX_MODE_AT,
    STATX_RDEV_MAJOR_AT,
    STATX_RDEV_MINOR_AT,
    STATX_SIZE,
    STATX_SIZE_AT,
    STATX_SIZE_OF,
    STATX_TYPE,
)
from pyrunc.machine.ops import Label, Program, Reg, Registers, Space, conversation
from pyrunc.plan.filesystem.devices import TYPES, Node, bind_device, same_device
from pyrunc.plan.filesystem.inroot import Target
from pyrunc.setup.failures import step_errors
from pyrunc.setup.filesystem.path_walk import Walk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.machine.ops import Step
    from pyrunc.machine.session import Session

_CAP_MKNOD = 27


def _kind(mode: int) -> str:
    """A file's type (inode(7)) as runc spells it: S_IFCHR is "character device"."""
    return {
        S_IFIFO: "fifo",
        S_IFCHR: "character device",
        S_IFDIR: "directory",
        S_IFBLK: "block device",
        S_IFREG: "regular file",
        S_IFLNK: "symbolic link",
        S_IFSOCK: "socket",
    }.get(mode, "unknown")


class Nodes:
    """Decides about one node, in a session with the container's init."""

    def __init__(self, session: "Session", key: Node) -> None:
        self.session = session
        self.key = key
        self.there = ""
        """How what is there differs from the device, in runc's words."""
        self.where = f"{INIT}{key.why}"
        if key.pointer:
            self.where += f" ({key.pointer[1:]})"

    def refused(self, errno: int) -> "list[Step | Label]":
        """mknod(2) failed with EPERM or EEXIST. Steps to go on with; raises Error."""
        there = self._look() if errno == EEXIST else ""
        if there == "same":
            # As it is: it may be the host's own, bound there.
            return self._made()
        if there and self.key.pointer and not (there == "empty" and not self._may_make()):
            raise self._occupied()
        self._bind()
        return self._made()

    def bind_hosts(self) -> None:
        """Bind the host's node, which a user namespace cannot make, nor the host for it. Raises Error."""
        if self.check_place() != "same":
            self._bind()

    def check_place(self) -> str:
        """What is in the place of a node that is bound: "" (nothing), "same" (the device), "empty" (an empty file, as
        an earlier container has bound its node over). Raises Error for anything else."""
        there = self._look()
        if there not in ("", "same", "empty"):
            raise self._occupied()
        return there

    def _made(self) -> "list[Step | Label]":
        p = Program(conversation())
        p.jump(self.key.made)
        return p.items

    def _occupied(self) -> Error:
        text = f"the root file system has something else in its place: /{self.key.path} has incorrect {self.there}"
        return Error(f"{self.where}: {text}: {strerror(EEXIST)}", pointer=self.key.pointer, errno=EEXIST)

    def _difference(self, stat: bytes) -> str:
        """What tells the file of this struct statx from the device."""
        kind = int.from_bytes(stat[STATX_MODE_AT : STATX_MODE_AT + 2], "little") & S_IFMT
        device = self.key.device
        if kind != TYPES[device["type"]]:
            return f"ftype: {_kind(kind)} doesn't match expected {_kind(TYPES[device['type']])}"
        major = int.from_bytes(stat[STATX_RDEV_MAJOR_AT : STATX_RDEV_MAJOR_AT + 4], "little")
        minor = int.from_bytes(stat[STATX_RDEV_MINOR_AT : STATX_RDEV_MINOR_AT + 4], "little")
        expected = f"{device.get('major') or 0}:{device.get('minor') or 0}"
        return f"major:minor: {major}:{minor} doesn't match expected {expected}"

    def _look(self) -> str:
        """What is there: "" (nothing), "same" (the device), "empty" (an empty file), "other"."""
        p = Program(conversation())
        fd, stat = p.reg("there"), Space(STATX_SIZE_OF, "statx")
        nothing, other = Label("nothing"), Label("other")
        flags = O_PATH | O_NOFOLLOW | O_CLOEXEC
        p.call("openat", self.key.parent, self.key.name, flags, 0, dst=fd, only=(ENOENT,), error=nothing)
        same_device(p, fd, self.key.device, ENODEV, error=other)
        p.call("close", fd)
        p.sync("same")
        p.label(other)
        p.call("statx", fd, b"", AT_EMPTY_PATH, STATX_TYPE | STATX_SIZE, stat)
        p.call("close", fd)
        p.sync("other", stat)
        p.label(nothing)
        p.sync("")
        reply = step_errors.check(self.session.run(p), INIT)
        assert reply.step is not None
        if reply.step.key == "other":
            mode = int.from_bytes(reply.data[STATX_MODE_AT : STATX_MODE_AT + 2], "little")
            self.there = self._difference(reply.data)
            size = int.from_bytes(reply.data[STATX_SIZE_AT : STATX_SIZE_AT + 8], "little")
            return "empty" if mode & S_IFMT == S_IFREG and not size else "other"
        return str(reply.step.key)

    def _may_make(self) -> bool:
        """Whether the init has CAP_MKNOD. Without it an empty file may be an earlier container's mount point."""
        p = Program(conversation())
        no = Label("no")
        p.call("prctl", PR_CAPBSET_READ, _CAP_MKNOD, 0, 0, 0, zero=no)
        p.sync("yes")
        p.label(no)
        p.sync("no")
        reply = self.session.run(p)
        return reply.step is not None and reply.step.key == "yes"

    def _place(self, registers: Registers) -> Reg:
        """A register with what the node is bound over, opened inside the root."""
        place = registers.take("place")
        target = Target(self.key.root, self.key.path, place, False, None)
        try:
            Walk(self.session, self.key.root).make(target)
        except Error as error:
            raise error.prefixed(f"{self.where}: ") from None
        return place

    def _bind(self) -> None:
        registers = conversation()
        place = self._place(registers)
        p = Program(registers)
        p.about(self.key.why, self.key.pointer)
        bind_device(p, self.key.device, place)
        p.close(place)
        p.sync("bound")
        self._run(p)

    def _run(self, p: Program) -> None:
        reply = self.session.run(p)
        if not reply.errno:
            return
        assert reply.step is not None
        error = step_errors.step_error(reply.step, reply.errno, INIT)
        if reply.step.name == "open_tree" and reply.errno == ENOENT and not self.key.host:
            # Not for want of a file: the kernel refuses to make it.
            text = f"mknodat: {strerror(EPERM)}, and the host has no such device to bind"
            raise Error(f"{self.where}: {text}", pointer=self.key.pointer, errno=EPERM)
        raise error
