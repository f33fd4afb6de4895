"""The cgroupfs driver: a container's cgroup v2 made, limited, used and removed through its files.

Import cost: posix, errno (and tree.py's select and time).
"""

import errno
import posix

from pyrunc.cgroups import conversions, detect, files, tree
from pyrunc.errors import ConfigError, Error, from_os_error, strerror
from pyrunc.log import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Resources = dict[str, Any]

REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)
# Controllers that work inside a threaded subtree (Documentation/admin-guide/cgroup-v2.rst,
# "Threads").
THREADED = ("cpu", "cpuset", "pids", "perf_event")


class Manager:
    """A container's cgroup. `path` is its directory ("" where the container has none).

    needs_pid: create() makes nothing; the cgroup comes with the first add(pid) (systemd driver).
    """

    driver = "cgroupfs"
    needs_pid = False

    __slots__ = ("explicit", "fd", "host", "made", "path", "resources", "rootless")

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
        self.made: list[str] = []

    # -- the state file ------------------------------------------------------------------------

    def to_state(self) -> "dict[str, object]":
        """What from_state() needs, for state.json."""
        return {
            "driver": self.driver,
            "path": self.path,
            "mount": self.host.mount,
            "mode": self.host.mode,
            "rootless": self.rootless,
        }

    @staticmethod
    def from_state(state: "dict[str, Any]", resources: "Resources | None" = None) -> "Manager":
        """The manager of a container that exists. resources: its current linux.resources."""
        host = detect.Host(state["mode"], state["mount"], ())
        if state["driver"] == "systemd":
            from pyrunc.cgroups.systemd import SystemdManager

            return SystemdManager.restored(state, host, resources)
        return Manager(
            state["path"], rootless=state["rootless"], explicit=True, resources=resources, host=host
        )

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
        for write in wanted:
            if write.controller not in host.controllers:
                from pyrunc.cgroups import explain

                raise explain.unavailable(host, write)
        try:
            self.fd = self._make(wanted)
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
        return self.fd

    def _wanted(self) -> "list[conversions.Write]":
        """The writes that need a controller: all but those of the kernel's own defaults."""
        return [w for w in conversions.writes(self.resources) if w.controller and not w.optional]

    def _make(self, wanted: "list[conversions.Write]") -> int:
        """Make every directory on the way, enabling the controllers for the next one."""
        names = self.path[len(self.host.mount) :].strip("/").split("/")
        fd = files.open_dir(self.host.mount)
        here = self.host.mount
        try:
            for name in names:
                self._enable(fd, here)
                here = f"{here}/{name}"
                try:
                    posix.mkdir(name, 0o755, dir_fd=fd)
                    self.made.append(here)
                    fresh = True
                except FileExistsError:
                    fresh = False
                child = files.open_dir(name, fd)
                posix.close(fd)
                fd = child
                self._check_type(fd, here, wanted)
            if not fresh:
                self._check_unused(fd)
            elif len(names) > 1 and tree.event(fd, "frozen"):
                raise Error(
                    f"container's cgroup unexpectedly frozen: {self.path} has a frozen parent"
                )
            offered = (files.try_read(fd, "cgroup.controllers") or b"").decode().split()
            for write in wanted:
                if write.controller not in offered:
                    from pyrunc.cgroups import explain

                    raise explain.not_enabled(self.host.mount, self.path, write)
        except BaseException:
            posix.close(fd)
            raise
        return fd

    def _enable(self, fd: int, path: str) -> None:
        """Enable all controllers that a group has for its children: limits and statistics need
        them.

        What cannot be enabled (no delegation, or "no internal processes") is told by _make() if a
        limit needs it.
        """
        enabled = files.try_read(fd, "cgroup.subtree_control")
        if enabled is None:
            return
        missing = set(self.host.controllers).difference(enabled.decode().split())
        if not missing:
            return
        offered = (files.try_read(fd, "cgroup.controllers") or b"").decode().split()
        words = ["+" + name for name in offered if name in missing]
        try:
            if words:
                files.write(fd, "cgroup.subtree_control", " ".join(words).encode())
        except OSError as error:
            log.debug(f"enable {' '.join(words)} in {path}: {strerror(error.errno or 0)}")
            for word in words:
                try:
                    files.write(fd, "cgroup.subtree_control", word.encode())
                except OSError:
                    pass

    def _check_type(self, fd: int, path: str, wanted: "list[conversions.Write]") -> None:
        """A group in or under a threaded subtree takes only thread-aware controllers."""
        kind = (files.try_read(fd, "cgroup.type") or b"domain").strip()
        if kind == b"domain":
            return
        for write in wanted:
            if write.controller not in THREADED:
                raise Error(
                    f'cannot enter cgroup {path} with the domain controller "{write.controller}"'
                    f" ({write.pointer[1:]}): its type is {kind.decode()}",
                    pointer=write.pointer,
                )
        if kind == b"domain invalid":
            try:
                files.write(fd, "cgroup.type", b"threaded")
            except OSError as error:
                raise from_os_error(f"make cgroup {path} threaded:", error) from None

    def _check_unused(self, fd: int) -> None:
        """A cgroup that was there before must be empty and not frozen: what it holds would be
        killed with the container, and a process in a frozen group never starts.
        """
        if tree.event(fd, "populated"):
            count = len(tree.procs(fd))
            raise Error(
                f"container's cgroup is not empty: {count} process(es) found in {self.path}",
                pointer="/linux/cgroupsPath",
            )
        frozen = (files.try_read(fd, "cgroup.freeze") or b"0").strip() == b"1"
        if frozen or tree.event(fd, "frozen"):
            raise Error(
                f"container's cgroup unexpectedly frozen: {self.path}", pointer="/linux/cgroupsPath"
            )

    def _unmake(self) -> None:
        """Take back the directories that a failed create() made."""
        for path in reversed(self.made):
            try:
                posix.rmdir(path)
            except FileNotFoundError:
                continue
            except OSError:
                break
        self.made.clear()

    def discard(self) -> None:
        """remove(), and with it the parent directories that this very manager made, if empty."""
        self.remove()
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
        """Close the descriptor."""
        if self.fd >= 0:
            posix.close(self.fd)
            self.fd = -1

    def exists(self) -> bool:
        """Whether the cgroup is there."""
        try:
            return self.dir() >= 0
        except (OSError, Error):
            return False

    # -- resources -----------------------------------------------------------------------------

    def apply(self, resources: "Resources | None" = None) -> None:
        """Write the limits of `resources` (default: the configuration's). Devices are a BPF program
        that the host agent attaches: see device_program().
        """
        if resources is None:
            resources = self.resources
        for pointer, reason in conversions.ignored(resources):
            if "/network/" in pointer or "/realtime" in pointer:
                log.warning(f"{pointer[1:]} is ignored: {reason}")
            else:
                log.debug(f"{pointer[1:]} is ignored: {reason}")
        if not self.path:
            return
        fd = self.dir()
        block = (resources or {}).get("blockIO") or {}
        bfq = bool(block.get("weight") or block.get("weightDevice")) and (
            files.try_read(fd, "io.bfq.weight") is not None
        )
        for write in conversions.writes(resources, bfq):
            self._write(fd, write)

    def device_program(self) -> "bytes | None":
        """The eBPF program of the device rules (see devices.py and bpf.py); None where there is no
        cgroup to attach it to, or no right to (rootless): device nodes then cannot be made anyway.
        """
        if not self.path or self.rootless:
            return None
        from pyrunc.cgroups.devices import device_program

        return device_program(self.resources)

    def _write(self, fd: int, write: "conversions.Write") -> None:
        try:
            files.write(fd, write.file, write.value.encode())
        except OSError as error:
            if error.errno == errno.ENOENT and write.optional:
                return
            from pyrunc.cgroups import explain

            raise explain.write_failed(self.path, fd, write, error) from None

    # -- processes -----------------------------------------------------------------------------

    def add(self, pid: int) -> None:
        """Move a process into the cgroup (where CLONE_INTO_CGROUP could not be used); nothing where
        the container has none.
        """
        if not self.path:
            return
        try:
            files.write(self.dir(), "cgroup.procs", str(pid).encode())
        except OSError as error:
            hint = ""
            if error.errno == errno.EBUSY:
                hint = "a group that enables controllers for others below it cannot hold processes"
            raise from_os_error(
                f"move process {pid} into cgroup {self.path}:", error, hint=hint
            ) from None

    def procs(self, recursive: bool = True) -> "list[int]":
        """The container's processes, sorted; empty where it has no cgroup or it is gone."""
        if not self.exists():
            return []
        return sorted(tree.procs(self.fd, recursive))

    def populated(self) -> bool:
        """Whether any process lives in or below the cgroup."""
        return self.exists() and bool(tree.event(self.fd, "populated"))

    def wait_empty(self, timeout: float) -> bool:
        """Wait until no process lives in or below the cgroup; False after `timeout` seconds."""
        return not self.exists() or tree.wait_event(self.fd, "populated", 0, timeout)

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
        above, _, name = self.path.rpartition("/")
        try:
            parent = files.open_dir(above)
        except FileNotFoundError:
            return
        try:
            tree.remove(parent, name, timeout)
        except OSError as error:
            raise from_os_error(f"remove cgroup {self.path}:", error) from None
        finally:
            posix.close(parent)


def split(path: str) -> "list[str]":
    """The names in a cgroupsPath; ConfigError for `..`."""
    names = [name for name in path.split("/") if name not in ("", ".")]
    if ".." in names or "\0" in path:
        raise ConfigError(
            f'cgroupsPath "{path}" (linux/cgroupsPath) must not contain ".."',
            pointer="/linux/cgroupsPath",
        )
    return names


def locate(cgroups_path: "str | None", id: str, mount: str, own: "str | None" = None) -> str:
    """The directory of a container's cgroup.

    Absolute paths count from the mount of v2; relative ones, and ID where there is no path, from
    the group above the caller's own: that one holds processes, so that no controllers could be
    enabled for a group below.
    """
    names = split(cgroups_path or "") or [id]
    if not (cgroups_path or "").startswith("/"):
        if own is None:
            own = detect.of_process()
        names = [name for name in own.split("/") if name][:-1] + names
    return mount + "/" + "/".join(names)
