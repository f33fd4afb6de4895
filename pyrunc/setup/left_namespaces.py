"""For exec: the namespaces of a container whose first process has left the user namespace that it was started in.

Any process may make a user namespace for itself (unshare(2)), and has all capabilities in it: it can deny setgroups(2),
map what it likes, and make a mount namespace with a /bin and an /etc/passwd of its own. What is executed in the
container with more rights than that process has must not take any of this for the container's.

    user        found again above the one that the process is in (NS_GET_PARENT)
    the others  as the process has them, unless they belong to a user namespace below the container's: then where the
                configuration's path leads, or another process of the container is; at last, but for mount
                namespaces, in which programs lie, those of the first process all the same, as runc does

Cold.
"""

import posix
from fcntl import ioctl

from pyrunc.errors import SETUP, Error
from pyrunc.kernel.files import read_file
from pyrunc.kernel.uapi import CLONE_NEWUSER, NS_GET_PARENT, NS_GET_USERNS
from pyrunc.machine.ops import Fd, Program
from pyrunc.machine.session import Agent
from pyrunc.plan.namespaces import FILES, Namespaces
from pyrunc.setup.failures import step_errors
from pyrunc.state.processes import cgroup_manager, pids

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyrunc.state.state import State

_GONE = "the container's first process has left the {} namespace that it was started in, and no other process is in it"
_HINT = "stop the container, or delete it with --force"


class LeftNamespaces:
    """Descriptors of the container's namespaces: `opened`, by type; close() closes them.

    state: of the container. home: the inode of its user namespace.
    """

    def __init__(self, state: "State", configured: "Namespaces", home: int) -> None:
        self.state = state
        self.configured = configured
        self.home = home
        self.opened: dict[str, int] = {}

    def open(self, kinds: "list[str]") -> None:
        """Open those of these types. Raises Error, and OSError where the first process is gone."""
        for kind in kinds:
            self.opened[kind] = self._user() if kind == "user" else self._other(kind)

    def close(self) -> None:
        for fd in self.opened.values():
            posix.close(fd)
        self.opened.clear()

    def maps(self, lowest: int) -> "tuple[bytes, bytes, bool]":
        """uid_map and gid_map of the user namespace, and whether setgroups(2) is denied in it: asked by a process that
        joins it. lowest: descriptors of that are not below it. Raises Error."""
        agent = Agent(lowest, (self.opened["user"],))
        with agent as session:
            p = Program()
            p.about("error joining the container's user namespace")
            p.call("setns", Fd(self.opened["user"], "user namespace"), CLONE_NEWUSER)
            p.sync("joined")
            step_errors.check(session.run(p), SETUP)
            proc = f"/proc/{agent.pid}"
            denied = read_file(f"{proc}/setgroups").strip() == b"deny"
            return read_file(f"{proc}/uid_map"), read_file(f"{proc}/gid_map"), denied

    def _user(self) -> int:
        fd = self._of(self.state.pid, "user")
        while posix.fstat(fd).st_ino != self.home:
            above = _related(fd, NS_GET_PARENT)
            posix.close(fd)
            if above < 0:
                raise Error(_GONE.format("user"), hint=_HINT)
            fd = above
        return fd

    def _other(self, kind: str) -> int:
        first = self._of(self.state.pid, kind)
        if self._is_containers(first):
            return first
        for fd in self._elsewhere(kind):
            if self._is_containers(fd):
                posix.close(first)
                return fd
            posix.close(fd)
        if kind == "mount":
            posix.close(first)
            raise Error(_GONE.format(kind), hint=_HINT)
        return first

    def _elsewhere(self, kind: str) -> "Iterator[int]":
        for name, path, _ in self.configured.joined:
            if name == kind:
                try:
                    yield posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
                except FileNotFoundError:
                    pass  # of a process that has ended since
        for pid in pids(self.state, cgroup_manager(self.state)):
            try:
                if posix.stat(f"/proc/{pid}/ns/user").st_ino == self.home:
                    yield self._of(pid, kind)
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                pass  # it has ended, or may not be looked at

    def _is_containers(self, fd: int) -> bool:
        """Whether a namespace belongs to a user namespace that is not below the container's."""
        owner = _related(fd, NS_GET_USERNS)
        if owner < 0 or posix.fstat(owner).st_ino == self.home:
            if owner >= 0:
                posix.close(owner)
            return True
        while owner >= 0:
            above = _related(owner, NS_GET_PARENT)
            posix.close(owner)
            if above >= 0 and posix.fstat(above).st_ino == self.home:
                posix.close(above)
                return False
            owner = above
        return True

    def _of(self, pid: int, kind: str) -> int:
        return posix.open(f"/proc/{pid}/ns/{FILES.get(kind, kind)}", posix.O_RDONLY | posix.O_CLOEXEC)


def _related(fd: int, request: int) -> int:
    """A descriptor of what ioctl_ns(2) gives; -1 where that is above pyrunc's own user namespace."""
    try:
        return ioctl(fd, request)
    except PermissionError:
        return -1


def check_groups(pid: int) -> None:
    """Raise Error where pyrunc, which has to keep its supplementary groups, has some that a process of the container's
    has not: a pyrunc without privileges had to deny setgroups(2) when it made the user namespace."""
    theirs: set[int] = set()
    for line in read_file(f"/proc/{pid}/status").split(b"\n"):
        if line.startswith(b"Groups:"):
            theirs = {int(word) for word in line.split()[1:]}
    groups = sorted({*posix.getgroups()} - theirs - {posix.getegid()})
    if groups:
        raise Error(
            f"supplementary groups of pyrunc's caller ({', '.join(map(str, groups))}) cannot be given up:"
            " setgroups(2) is denied in the container's user namespace"
        )
