"""Namespaces: joining, and clone3(2) of the container's init (config-linux.md, "Namespaces").

This part of the program runs in the host agent, up to the clone; what follows the clone's label runs in its child.
"""

from _struct import pack
from errno import EINVAL, EPERM

from pyrunc.kernel.signals import SIGKILL
from pyrunc.kernel.uapi import (
    AT_FDCWD,
    CLONE_INTO_CGROUP,
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWTIME,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
    CLONE_PARENT,
    CLOSE_RANGE_CLOEXEC,
    LAST_FD,
    O_CLOEXEC,
    O_RDONLY,
    PR_SET_DUMPABLE,
    PR_SET_KEEPCAPS,
    PR_SET_NAME,
    PR_SET_PDEATHSIG,
)
from pyrunc.machine.ops import SESSION, Fd, Label, Program, Ref, Words
from pyrunc.plan.process.capabilities import LAST

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.config.types import Config

FLAGS = {
    "user": CLONE_NEWUSER,
    "pid": CLONE_NEWPID,
    "network": CLONE_NEWNET,
    "ipc": CLONE_NEWIPC,
    "uts": CLONE_NEWUTS,
    "cgroup": CLONE_NEWCGROUP,
    "time": CLONE_NEWTIME,
    # The last to be joined: the paths of the others are opened before.
    "mount": CLONE_NEWNS,
}
FILES = {"network": "net", "mount": "mnt"}  # below /proc/PID/ns, where the name is another one


class Namespaces:
    """What the configuration wants of each type.

    new: flags of those to be made. joined: (type, path, JSON pointer) in the order of joining.
    """

    __slots__ = ("joined", "new", "pointers")

    def __init__(self, config: "Config") -> None:
        self.new = 0
        found: dict[str, tuple[str, str]] = {}
        linux = config.get("linux", {})
        for index, entry in enumerate(linux.get("namespaces", [])):
            found[entry["type"]] = (entry.get("path", ""), f"/linux/namespaces/{index}")
        self.joined: list[tuple[str, str, str]] = []
        self.pointers: dict[str, str] = {}
        for kind, flag in FLAGS.items():
            if kind not in found:
                continue
            path, pointer = found[kind]
            self.pointers[kind] = pointer
            if path:
                self.joined.append((kind, path, pointer))
            else:
                self.new |= flag

    def has(self, kind: str) -> bool:
        """Whether the container has a namespace of this type of its own, new or joined."""
        return bool(self.new & FLAGS[kind]) or any(kind == name for name, _, _ in self.joined)

    def joins(self, kind: str) -> bool:
        return any(kind == name for name, _, _ in self.joined)


def begin(p: Program, lowest: int) -> None:
    """What every host agent does first: mark all descriptors that are not the container's close-on-exec.

    lowest: the first descriptor that the container must not get.
    """
    p.about("error preparing the host agent")
    p.call("close_range", lowest, LAST_FD, CLOSE_RANGE_CLOEXEC)
    p.call("prctl", PR_SET_NAME, b"pyrunc-init", 0, 0, 0)
    for signal in (32, 33):
        # The C library ignores its own two signals in what posix_spawn starts, and ignored stays ignored.
        p.call("rt_sigaction", signal, bytes(32), None, 8)


def show(p: Program, seen: bool) -> None:
    """Let the files below /proc/PID belong to the process's user (seen), or to root, as from its first instruction on
    (init.c): then nobody without CAP_SYS_PTRACE in pyrunc's own user namespace can look into it or trace it, whatever
    user namespaces he owns (CVE-2016-9962).

    Only a pyrunc without privileges needs to be seen, as it writes to files below /proc/PID. It gives nothing away: its
    processes have the ids and the file systems of a user who could do all that they can.
    """
    p.about("error preparing the host agent")
    p.call("prctl", PR_SET_DUMPABLE, int(seen), 0, 0, 0)


def join(p: Program, namespaces: Namespaces) -> None:
    """Enter the namespaces given by path: all are opened first, then joined with the host's privileges, then the user
    namespace, and then those which need the privileges one has in that."""
    fds = []
    for kind, path, pointer in namespaces.joined:
        p.about(f'error joining the {kind} namespace "{path}"', pointer)
        fd = p.reg(f"{kind} namespace")
        name = path.encode(errors="surrogateescape")
        p.call("openat", AT_FDCWD, name, O_RDONLY | O_CLOEXEC, 0, dst=fd)
        fds.append((kind, path, pointer, fd, p.reg(f"{kind} joined")))
    user = namespaces.joins("user")
    for kind, path, pointer, fd, result in fds:
        if kind != "user":
            p.about(f'error joining the {kind} namespace "{path}"', pointer)
            ok = (EPERM, EINVAL) if user else ()
            p.call("setns", fd, FLAGS[kind], dst=result, ok=ok)
    if user:
        for kind, path, pointer, fd, _ in fds:
            if kind == "user":
                p.about(f'error joining the {kind} namespace "{path}"', pointer)
                p.call("setns", fd, CLONE_NEWUSER)
        for kind, path, pointer, fd, result in fds:
            if kind != "user":
                p.about(f'error joining the {kind} namespace "{path}"', pointer)
                joined = Label(f"{kind} joined")
                p.call("move", result, zero=joined)
                p.call("setns", fd, FLAGS[kind])
                p.label(joined)
    for _, _, _, fd, result in fds:
        p.close(fd)
        p.registers.give(result)


def clone(
    p: Program,
    flags: int,
    child: Label,
    *,
    cgroup: "Fd | None",
    old: bool = False,
    why: str = "error creating the container's init",
    pointer: str = "/linux/namespaces",
) -> None:
    """clone3(2): the child goes on at `child`, as a child of Python's (CLONE_PARENT): whoever called pyrunc
    inherits it.

    flags: CLONE_NEW*; a cgroup namespace is left for later, since its root is where the process is when it unshares it.
    cgroup: descriptor of the cgroup to be born in. old: by clone(2), which knows no cgroups. The agent sends the pid
    and waits.
    """
    flags &= ~(CLONE_NEWCGROUP | CLONE_NEWTIME)
    pid = p.reg("pid")
    p.about(why, pointer)
    if cgroup is not None:
        flags |= CLONE_INTO_CGROUP
    # With CLONE_PARENT the exit signal is the agent's own, SIGCHLD; clone3 refuses to be told one.
    flags |= CLONE_PARENT
    if old:
        p.call("clone", flags, 0, 0, 0, 0, dst=pid, zero=child, key="clone")
    else:
        fields = (flags, 0, 0, 0, 0, 0, 0, 0, 0, 0, cgroup or 0)
        p.call("clone3", Words(fields, "clone_args"), 88, dst=pid, zero=child, key="clone")
    p.sync("pid", Ref(pid), 8)


def begin_child(p: Program, session: Fd, agent: Fd) -> None:
    """The child's first steps: its own session."""
    p.about("error starting the container's init")
    p.call("move", session, dst=SESSION)
    p.call("close", agent)


def drop_groups(p: Program) -> None:
    """Give up the caller's supplementary groups, before a user namespace is joined: whoever rules in that can have
    denied setgroups(2) there, and would have a process with root's groups before him."""
    p.about("error giving up the caller's supplementary groups")
    p.call("setgroups", 0, None)


def become_root(p: Program, uid: int, gid: int, pointer: str, *, drop: bool, may_fail: bool = False) -> None:
    """Take the ids of root in a user namespace that was just entered: until then the process has none in it.

    drop: give up the caller's supplementary groups; not where they went before (drop_groups), or are to stay.
    may_fail: setgroups(2) may be denied, as who maps his own ids without privileges has to do.
    """
    p.about("error becoming root in the user namespace", pointer)
    p.call("setresgid", gid, gid, gid)
    if drop:
        p.call("setgroups", 0, None, ok=(EPERM,) if may_fail else ())
    # Capabilities stay: the uid that is left is not the namespace's root.
    p.call("prctl", PR_SET_KEEPCAPS, 1, 0, 0, 0)
    p.call("setresuid", uid, uid, uid)
    if uid:
        everything = (1 << LAST + 1) - 1
        low, high = everything & 0xFFFFFFFF, everything >> 32
        p.call("capset", pack("<Ii", 0x20080522, 0), pack("<6I", low, low, 0, high, high, 0))
    # A change of ids clears the signal of the parent's death.
    p.call("prctl", PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)
    p.call("prctl", PR_SET_DUMPABLE, 0, 0, 0, 0)
