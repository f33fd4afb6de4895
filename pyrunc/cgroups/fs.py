"""The cgroupfs driver: a container's cgroup v2 made, limited, used and removed through its files.

Import cost: posix, errno (and tree.py's select and time).
"""

import errno
import posix

from pyrunc.cgroups import detect, files, tree
from pyrunc.errors import Error, from_os_error, strerror
from pyrunc.log import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.cgroups.conversions import Write
    from pyrunc.cgroups.oom import Watch

    Resources = dict[str, Any]

REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)


class Manager:
    """A container's cgroup. `path` is its directory ("" where the container has none).

    many: the container has a group in each of several hierarchies, joined by pid (v1/driver.py).
    """

    driver = "cgroupfs"
    many = False
    paths: "dict[str, str]" = {}  # the groups of many, by the hierarchies' controllers

    __slots__ = (
        "explicit", "fd", "host", "made", "ours", "owner", "path", "resources", "rootless", "sub", "sub_fd",
    )  # fmt: skip

    def __init__(
        self,
        path: str,
        *,
        rootless: bool,
        explicit: bool,
        resources: "Resources | None",
        host: detect.Host,
    ) -> None:
        self.path = path
        self.rootless = rootless
        self.explicit = explicit  # whether the configuration names the path
        self.resources = resources
        self.host = host
        self.fd = -1
        self.made: list[str] = []  # directories that create() made, outermost first
        self.ours = False  # whether create() or add() got as far as taking the group for the container
        self.sub = ""  # a group below that is given to the container, which lives in it
        self.sub_fd = -1
        self.owner: int | None = None  # the host's user id that gets the container's group

    @property
    def needs_pid(self) -> bool:
        """Whether nobody can be born in the cgroup, and each process is added by its pid."""
        return False

    # -- the state file ------------------------------------------------------------------------

    def to_state(self) -> "dict[str, object]":
        """What from_state() needs, for state.json."""
        return {
            "driver": self.driver,
            "path": self.path,
            "mount": self.host.mount,
            "mode": self.host.mode,
            "rootless": self.rootless,
            "sub": self.sub,
        }

    @staticmethod
    def from_state(state: "dict[str, Any]", resources: "Resources | None" = None) -> "Manager":
        """The manager of a container that exists. resources: its current linux.resources."""
        host = detect.Host(state["mode"], state["mount"], ())
        if state["driver"] == "systemd":
            from pyrunc.cgroups.systemd import SystemdManager

            return SystemdManager.restored(state, host, resources)
        if "v1" in state:
            from pyrunc.cgroups.v1 import driver

            return driver.restored(state, host, resources)
        self = Manager(state["path"], rootless=state["rootless"], explicit=True, resources=resources, host=host)
        self.sub = state.get("sub", "")
        return self

    # -- life ----------------------------------------------------------------------------------

    def create(self) -> "int | None":
        """Make the cgroup; returns a descriptor of its directory, for CLONE_INTO_CGROUP.

        The descriptor stays the manager's (close() closes it). None where there is no usable cgroup
        v2 and nothing was asked of it: the container then runs in its caller's cgroup.
        """
        wanted = self._wanted()
        host = self.host
        if not host.mount:
            if wanted:
                from pyrunc.cgroups import explain

                raise explain.unavailable(host, wanted[0])
            self.path = ""
            return None
        self._check_host(wanted)
        from pyrunc.cgroups import make

        try:
            self.fd = make.make(host, self.path, wanted, self.made, leaf=not self.sub)
            self.ours = True
            self._delegate()
        except OSError as error:
            self._unmake()
            if error.errno not in REFUSED:
                raise from_os_error(f"create cgroup {self.path}:", error) from None
            if not wanted and (host.mode != "unified" or (self.rootless and not self.explicit)):
                log.debug(f"no cgroup: {self.path}: {strerror(error.errno or 0)}")
                self.path = ""
                return None
            from pyrunc.cgroups import explain

            raise explain.refused(self.path, self.rootless, self.explicit, error) from None
        except BaseException:
            self._unmake()
            raise
        return self.leaf()

    def _check_host(self, wanted: "list[Write]") -> None:
        for write in wanted:
            if write.controller not in self.host.controllers:
                from pyrunc.cgroups import explain

                raise explain.unavailable(self.host, write)

    def _delegate(self) -> None:
        """Make the sub-group that was asked for, and give it, or the group, to its owner."""
        if self.sub:
            from pyrunc.cgroups import make

            make.enable(self.fd, self.path, self.host.controllers)
            try:
                posix.mkdir(self.sub, 0o755, dir_fd=self.fd)
                self.made.append(f"{self.path}/{self.sub}")
            except FileExistsError:
                pass
        if self.owner is not None and self.owner != posix.geteuid():
            from pyrunc.cgroups import delegate

            try:
                delegate.chown(self.leaf(), self.owner)
            except PermissionError:
                if not self.rootless:
                    raise

    def leaf(self) -> int:
        """The descriptor of the group that holds the processes: the container's, or the delegated
        one below it. Raises as dir() does.
        """
        if not self.sub:
            return self.dir()
        if self.sub_fd < 0:
            self.sub_fd = files.open_dir(self.sub, self.dir())
        return self.sub_fd

    def _wanted(self) -> "list[Write]":
        """The writes that need a controller: all but those of the kernel's own defaults."""
        if not self.resources:
            return []
        from pyrunc.cgroups import conversions

        return [w for w in conversions.writes(self.resources) if w.controller and not w.optional]

    def _unmake(self) -> None:
        """Take back the directories that a failed create() made."""
        for path in reversed(self.made):
            try:
                posix.rmdir(path)
            except FileNotFoundError:
                continue
            except OSError as error:
                log.debug(f"cgroup {path} stays: {strerror(error.errno or 0)}")
                break
        self.made.clear()

    def discard(self) -> None:
        """remove(), and with it the parent directories that this very manager made, if empty. A group
        that was refused because someone else's processes are in it is left alone."""
        if self.ours:
            self.remove()
        self.close()
        self._unmake()

    def dir(self) -> int:
        """The descriptor of the cgroup's directory, opened when it is first asked for. Raises Error
        where the container has no cgroup, FileNotFoundError where it is gone."""
        if self.fd < 0:
            if not self.path:
                raise Error("the container has no cgroup", hint="the host had no usable cgroup v2")
            self.fd = files.open_dir(self.path)
        return self.fd

    def close(self) -> None:
        """Close the descriptors."""
        for fd in (self.fd, self.sub_fd):
            if fd >= 0:
                posix.close(fd)
        self.fd = self.sub_fd = -1

    def exists(self) -> bool:
        """Whether the cgroup is there. Errors: that cannot be found out."""
        if self.fd < 0 and not self.path:
            return False
        try:
            return self.dir() >= 0
        except OSError as error:
            if error.errno in tree.GONE:
                return False
            raise from_os_error("open cgroup", error) from None

    # -- resources -----------------------------------------------------------------------------

    def apply(self, resources: "Resources | None" = None) -> None:
        """Write the limits of `resources` (default: the configuration's). Devices are a BPF program
        that the host agent attaches: see device_program().
        """
        if resources is None:
            resources = self.resources
        if not resources:
            return
        from pyrunc.cgroups import conversions

        for pointer, reason in conversions.ignored(resources):
            if "/network/" in pointer or "/realtime" in pointer:
                log.warning(f"{pointer[1:]} is ignored: {reason}")
            else:
                log.debug(f"{pointer[1:]} is ignored: {reason}")
        if not self.path:
            return
        fd = self.dir()
        block = resources.get("blockIO", {})
        bfq = bool(block.get("weight") or block.get("weightDevice")) and (
            files.try_read(fd, "io.bfq.weight") is not None
        )
        for write in conversions.writes(self.effective(resources), bfq):
            self._write(fd, write)

    def effective(self, resources: "Resources") -> "Resources":
        """`resources` as the driver can have them: see the systemd driver."""
        return resources

    def device_program(self) -> "bytes | None":
        """The eBPF program of the device rules (see devices.py and bpf.py); None where there is no
        cgroup to attach it to, or no right to (rootless): device nodes then cannot be made anyway.
        """
        if not self.path or self.rootless:
            return None
        from pyrunc.cgroups.devices import device_program

        return device_program(self.resources)

    def _write(self, fd: int, write: "Write") -> None:
        try:
            files.write(fd, write.file, write.value.encode())
        except OSError as error:
            if error.errno == errno.ENOENT and write.optional:
                return
            from pyrunc.cgroups import explain

            raise explain.write_failed(self.path, fd, write, error) from None

    def update(self, changes: "Resources") -> "Resources":
        """Change limits of a running container; returns the resources to save. See update.py."""
        from pyrunc.cgroups.update import update

        return update(self, changes)

    def update_unit(self, resources: "Resources") -> None:
        """Tell whoever else keeps the limits (the systemd driver)."""

    def stats(self) -> "dict[str, object]":
        """What the container uses, as `events --stats` prints it. See stats.py."""
        from pyrunc.cgroups.stats import stats

        return stats(self.dir())

    def watch(self) -> "Watch":
        """What waits for the OOM killer and the container's end. Raises as dir() does."""
        from pyrunc.cgroups.oom import Watch

        return Watch(self.dir())

    def oom_kills(self) -> int:
        """How often the OOM killer struck in the container so far; 0 without a cgroup."""
        if not self.exists():
            return 0
        from pyrunc.cgroups.oom import kills

        return kills(self.fd)

    def open_sub(self, path: str) -> int:
        """A descriptor of a group below the container's, for `exec --cgroup`. The caller closes it.
        Raises Error.
        """
        names = [name for name in path.split("/") if name not in ("", ".")]
        if ".." in names:
            raise Error(f"bad sub cgroup path {path}")
        fd = posix.dup(self.leaf())
        for name in names:
            above = fd
            try:
                fd = files.open_dir(name, above)
            except OSError as error:
                # The first words are those by which runc's users know it.
                doing = f"error adding pid to cgroups: open sub cgroup {path} of {self.path}:"
                raise from_os_error(doing, error) from None
            finally:
                posix.close(above)
        return fd

    # -- processes -----------------------------------------------------------------------------

    def add(self, pid: int) -> None:
        """Move a process into the cgroup (where CLONE_INTO_CGROUP could not be used); nothing where
        the container has none.
        """
        if not self.path:
            return
        try:
            files.write(self.leaf(), "cgroup.procs", str(pid).encode())
        except OSError as error:
            hint = ""
            if error.errno == errno.EBUSY:
                hint = "a group that enables controllers for others below it cannot hold processes"
            raise from_os_error(f"move process {pid} into cgroup {self.path}:", error, hint=hint) from None

    def join(self, pid: int, arguments: "list[str]") -> None:
        """add(), with the arguments of `exec --cgroup`, where there are many hierarchies."""
        self.add(pid)

    def procs(self, recursive: bool = True) -> "list[int]":
        """The container's processes, sorted; empty where it has no cgroup or it is gone."""
        if not self.exists():
            return []
        return sorted(tree.procs(self.fd, recursive))

    def populated(self) -> bool:
        """Whether any process lives in or below the cgroup."""
        return self.exists() and bool(tree.event(self.fd, "populated"))

    def kill(self) -> bool:
        """SIGKILL to everything in the cgroup, frozen or not. False where there is no cgroup to do
        it by.
        """
        if not self.exists():
            return False
        try:
            tree.kill(self.fd)
        except OSError as error:
            raise from_os_error(f"kill the processes of cgroup {self.path}:", error) from None
        return True

    def freeze(self, timeout: float = 10.0) -> None:
        """Stop all processes; returns when they are stopped. Thaws again and raises where `timeout`
        seconds are not enough."""
        try:
            done = tree.freeze(self.dir(), True, timeout)
        except OSError as error:
            raise from_os_error(f"freeze cgroup {self.path}:", error) from None
        if not done:
            files.write(self.fd, "cgroup.freeze", b"0")
            raise Error(
                f"freeze cgroup {self.path}: timed out after {timeout:g} s",
                errno=errno.ETIMEDOUT,
                hint="a process is stuck in the kernel (state D)",
            )

    def thaw(self) -> None:
        """Let all processes go on."""
        try:
            files.write(self.dir(), "cgroup.freeze", b"0")
        except OSError as error:
            raise from_os_error(f"thaw cgroup {self.path}:", error) from None

    def frozen(self) -> bool:
        """Whether the container was paused: what cgroup.freeze says (waiting for all to stop
        included).
        """
        if not self.exists():
            return False
        return (files.try_read(self.fd, "cgroup.freeze") or b"0").strip() == b"1"

    def remove(self, timeout: float = 10.0) -> None:
        """Kill what is left, remove the cgroup and those below it; parents stay. One that is gone
        is done.
        """
        if not self.path:
            return
        self.close()
        tree.remove_at(self.path, timeout)
