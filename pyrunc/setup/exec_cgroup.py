"""Where the process of `exec` goes: the container's cgroup, one below it, or where its init is now.

The container may have moved its processes into groups of their own, to enable controllers for
them: its cgroup then holds no process (EBUSY), or is gone.

Import cost: that of cgroups.
"""

import posix
from errno import EACCES, EBUSY, ENODEV, ENOENT, EPERM

from pyrunc.errors import SETUP, Error, from_os_error
from pyrunc.kernel.files import read_file
from pyrunc.log import log
from pyrunc.setup.host import oom_killed
from pyrunc.state.processes import cgroup_manager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.state.state import State

_MOVED = (ENOENT, EBUSY, ENODEV)


class Place:
    """fd: the directory of the cgroup; -1 where the container has none of its own. by_pid: it has one in each of
    several hierarchies, where nobody can be born."""

    def __init__(self, state: "State", arguments: "list[str]") -> None:
        """arguments: those of --cgroup; with any, "/" too, no other cgroup will do. Raises Error."""
        self.pid = state.pid
        self.fd = -1
        self.arguments = arguments
        self.manager = manager = cgroup_manager(state)
        self.by_pid = manager is not None and manager.many
        if self.by_pid:
            self.fallback = False
            return
        wanted = sub_cgroup(arguments)
        self.fallback = wanted is None
        if manager is None or not manager.path:
            if wanted is not None:
                raise Error("--cgroup: the container has no cgroup of its own")
            return
        if wanted and wanted.strip("/"):
            self.fd = manager.open_sub(wanted)
            return
        try:
            self.fd = posix.dup(manager.leaf())
        except OSError as error:
            if not self.fallback or error.errno != ENOENT:
                doing = f"error adding pid to cgroups: open {manager.path}"
                raise from_os_error(doing, error) from None
            self._follow_init()

    def add(self, pid: int) -> None:
        """Move a process there, which could not be born there. Raises Error."""
        from pyrunc.cgroups import files

        assert self.manager is not None
        if self.by_pid:
            self.manager.join(pid, self.arguments)
            return
        try:
            files.write(self.fd, "cgroup.procs", str(pid).encode())
        except OSError as error:
            if error.errno in _MOVED and self.fallback:
                self._follow_init()
                self.add(pid)
            elif self.manager.rootless and error.errno in (EACCES, EPERM):
                log.debug(f"the process stays in pyrunc's cgroup: {error}")
            else:
                doing = f"{SETUP}error adding pid {pid} to cgroups: {self.manager.path}:"
                raise from_os_error(f"{doing} write", error) from None

    def oom_killed(self) -> bool:
        """Whether the container has hit its memory limit."""
        manager = self.manager
        return manager is not None and bool(manager.path) and oom_killed(manager)

    def close(self) -> None:
        if self.manager is not None:
            self.manager.close()
        if self.fd >= 0:
            posix.close(self.fd)
            self.fd = -1

    def _follow_init(self) -> None:
        """Take the cgroup in which the container's init is by now."""
        from pyrunc.cgroups import files

        assert self.manager is not None
        self.fallback = False
        path = ""
        for line in read_file(f"/proc/{self.pid}/cgroup").split(b"\n"):
            if line.startswith(b"0::"):
                path = line[3:].decode(errors="surrogateescape")
        try:
            fd = files.open_dir(self.manager.host.mount + path)
        except OSError as error:
            raise from_os_error("open the cgroup of the container's init", error) from None
        if self.fd >= 0:
            posix.close(self.fd)
        self.fd = fd


def sub_cgroup(arguments: "list[str]") -> "str | None":
    """The path of --cgroup, None where it is not given.

    "[controllers:]path" is for version 1, where each controller has groups of its own. Raises
    Error.
    """
    for argument in arguments:
        controllers, colon, _ = argument.partition(":")
        if colon:
            raise Error(
                f'--cgroup {argument}: unknown controller "{controllers}": cgroups of version 2 have one path for all'
            )
    if len(arguments) > 1:
        raise Error(f"--cgroup: {len(arguments)} paths, where there can be only one")
    return arguments[0] if arguments else None
