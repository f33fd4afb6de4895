"""A new time namespace and its offsets (config-linux.md, "Offset for Time Namespace").

It belongs to the user namespace in which it is made, and its offsets can be set until the first process is in it:

    no new user namespace    the agent makes it, in the user namespace that it has joined, if any; the clone enters it
    a new user namespace     exists from the clone on: the container's init makes it, and enters it by setns(2)

Cold.
"""

from errno import ENOENT

from pyrunc.kernel.uapi import AT_FDCWD, CLONE_NEWTIME, CLONE_NEWUSER, O_CLOEXEC, O_RDONLY, O_WRONLY
from pyrunc.machine.ops import Program, Reg
from pyrunc.plan.process.lsm import host_proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.config.types import Config
    from pyrunc.plan.namespaces import Namespaces

_OFFSETS = "self/timens_offsets"
_WRITE = "error writing time offsets", "/linux/timeOffsets"


class TimeNamespace:
    """The steps that make it, in the order of the methods. pointer: of the namespace's entry."""

    __slots__ = ("file", "offsets", "pointer", "proc", "within")

    def __init__(self, config: "Config", spaces: "Namespaces") -> None:
        self.pointer = spaces.pointers["time"]
        self.within = bool(spaces.new & CLONE_NEWUSER)
        lines = []
        offsets = config.get("linux", {}).get("timeOffsets", {})
        for clock in ("monotonic", "boottime"):
            if clock in offsets:
                offset = offsets[clock]
                lines.append(f"{clock} {offset.get('secs', 0)} {offset.get('nanosecs', 0)}\n")
        self.offsets = "".join(lines).encode()
        self.file: Reg | None = None
        self.proc: Reg | None = None

    def prepare(self, p: Program) -> None:
        """The agent's first steps. An unprivileged user's agent is seen meanwhile: /proc/self is root's otherwise.

        Whether the offsets may be written is asked of who opened the file, and the user who made the user namespace
        that is joined has all capabilities in it.
        """
        if not self.within and self.offsets:
            p.about(*_WRITE)
            self.file = p.reg("timens_offsets")
            # A kernel without time namespaces is found out by unshare(2).
            p.call(
                "openat", AT_FDCWD, f"/proc/{_OFFSETS}".encode(), O_WRONLY | O_CLOEXEC, 0, dst=self.file, ok=(ENOENT,)
            )

    def before_join(self, p: Program) -> None:
        """The agent's steps before it joins namespaces: "/proc" may be another container's afterwards."""
        if self.within:
            self.proc = host_proc(p)

    def before_clone(self, p: Program) -> None:
        """The agent's last steps."""
        if not self.within:
            self._make(p)
            self._write(p)

    def after_clone(self, p: Program) -> None:
        """The init's steps, once its ids are mapped. It still has the ids and the /proc of who made it."""
        if self.proc is None:
            return
        self._make(p)
        if self.offsets:
            p.about(*_WRITE)
            self.file = p.reg("timens_offsets")
            p.call("openat", self.proc, _OFFSETS.encode(), O_WRONLY | O_CLOEXEC, 0, dst=self.file)
            self._write(p)
        p.about("error entering the time namespace", self.pointer)
        space = p.reg("time namespace")
        p.call("openat", self.proc, b"self/ns/time_for_children", O_RDONLY | O_CLOEXEC, 0, dst=space)
        p.call("setns", space, CLONE_NEWTIME)
        p.close(space)
        p.close(self.proc)

    def _make(self, p: Program) -> None:
        p.about("error creating the time namespace", self.pointer)
        p.call("unshare", CLONE_NEWTIME)

    def _write(self, p: Program) -> None:
        if self.file is not None:
            p.about(*_WRITE)
            p.call("write", self.file, self.offsets, len(self.offsets))
            p.close(self.file)
