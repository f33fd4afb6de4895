"""The cgroupfs driver for v1 hierarchies: one group in each, joined by pid, and that of v2 beside them on hybrid hosts.

Import cost: that of fs, which is loaded by then.
"""

import errno
import posix
import time

from pyrunc.cgroups import detect, files, tree
from pyrunc.cgroups.fs import REFUSED, Manager
from pyrunc.cgroups.v1 import hierarchies
from pyrunc.cgroups.v1.hierarchies import key_of, path_of
from pyrunc.errors import Error, from_os_error, strerror
from pyrunc.kernel.signals import SIGKILL
from pyrunc.log import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.cgroups.conversions import Write
    from pyrunc.cgroups.oom import Watch

    Resources = dict[str, Any]


class V1Manager(Manager):
    """paths: the container's group in each hierarchy, by the hierarchy's controllers ("cpu,cpuacct").

    `path` is v2's on a hybrid host; else the freezer's, or the first.
    """

    driver = "cgroupfs"
    many = True

    __slots__ = ("fds", "paths")

    def __init__(self, paths: "dict[str, str]", path: str, **rest: "Any") -> None:
        self.paths = paths
        self.fds: dict[str, int] = {}
        if not path and paths:
            path = path_of(paths, "freezer") or next(iter(paths.values()))
        super().__init__(path, **rest)

    @property
    def needs_pid(self) -> bool:
        return bool(self.paths or self.host.mount)

    def to_state(self) -> "dict[str, object]":
        state = super().to_state()
        if self.paths:
            state["v1"] = self.paths
            freezer = path_of(self.paths, "freezer")
            if freezer:
                state["freezer"] = freezer
        return state

    # -- life ----------------------------------------------------------------------------------

    def create(self) -> "int | None":
        """Make the groups and write the limits. None: there is no being born into v1's groups; see add()."""
        wanted = self._wanted()
        for write in wanted:
            if not path_of(self.paths, write.controller):
                from pyrunc.cgroups.v1 import explain

                raise explain.unavailable(write)
        if not self.paths:
            return None
        asked = {key_of(self.paths, write.controller) for write in wanted}
        try:
            self._create_v2()
            for found in hierarchies.mounted():
                if found.key in self.paths:
                    self._create_one(found, found.key in asked)
            self.ours = bool(self.paths)
            if not self.paths and not self.host.mount:
                self.path = ""
            self.apply()
        except OSError as error:
            self.close()
            self._unmake()
            raise from_os_error(f"create cgroup {error.filename or self.path}:", error) from None
        except BaseException:
            self.close()
            self._unmake()
            raise
        return None

    def _create_v2(self) -> None:
        """v2's group holds no limits here: it is for cgroup.kill and the cgroup namespace."""
        if not self.host.mount:
            return
        from pyrunc.cgroups import make

        before = len(self.made)
        try:
            self.fd = make.make(self.host, self.path, [], self.made, leaf=not self.sub)
            self._delegate()
        except OSError as error:
            if error.errno not in REFUSED:
                raise
            super().close()
            self._unmake(before)
            log.debug(f"no cgroup: {self.path}: {strerror(error.errno or 0)}")
            self.host = detect.Host(self.host.mode, "", ())
            self.path = path_of(self.paths, "freezer") or next(iter(self.paths.values()))

    def _create_one(self, found: hierarchies.Hierarchy, asked: bool) -> None:
        from pyrunc.cgroups.v1 import make

        path = self.paths[found.key]
        before = len(self.made)
        try:
            fd = make.walk(found, path, self.made)
        except OSError as error:
            if error.errno not in REFUSED:
                raise
            if asked:
                from pyrunc.cgroups import explain

                raise explain.refused(path, self.rootless, self.explicit, error) from None
            self._unmake(before)
            log.debug(f"no cgroup: {path}: {strerror(error.errno or 0)}")
            del self.paths[found.key]
            if self.path == path:
                self.path = path_of(self.paths, "freezer") or next(iter(self.paths.values()), "")
            return
        self.fds[found.key] = fd
        make.check_unused(fd, path, found)

    def _wanted(self) -> "list[Write]":
        from pyrunc.cgroups.v1 import writes

        return [it for it in writes.writes(self.resources) if not it.optional]

    def _unmake(self, since: int = 0) -> None:
        for path in reversed(self.made[since:]):
            try:
                posix.rmdir(path)
            except OSError as error:
                log.debug(f"remove cgroup {path}: {strerror(error.errno or 0)}")
        del self.made[since:]

    def close(self) -> None:
        for fd in self.fds.values():
            posix.close(fd)
        self.fds.clear()
        super().close()

    def _open(self, key: str) -> int:
        """The container's group in a hierarchy; -1 where it is gone."""
        if key not in self.fds:
            try:
                self.fds[key] = files.open_dir(self.paths[key])
            except FileNotFoundError:
                return -1
        return self.fds[key]

    def controller(self, name: str) -> int:
        """The descriptor of the group that a controller's files are in; -1 where there is none."""
        key = key_of(self.paths, name)
        return self._open(key) if key else -1

    # -- resources -----------------------------------------------------------------------------

    def apply(self, resources: "Resources | None" = None) -> None:
        """Write the limits and the device rules."""
        if resources is None:
            resources = self.resources
        from pyrunc.cgroups.v1.apply import write_one

        for write in self.writes(resources):
            write_one(self, write)
        self.apply_devices(resources)

    def writes(self, resources: "Resources | None") -> "list[Write]":
        """What is to be written, given what the group's files say now."""
        from pyrunc.cgroups.v1 import writes

        if not resources:
            return []
        block, memory = self.controller("blkio"), self.controller("memory")
        bfq = block >= 0 and files.try_read(block, "blkio.bfq.weight") is not None
        memsw = files.try_read(memory, "memory.memsw.limit_in_bytes") if memory >= 0 else None
        return writes.writes(resources, bfq=bfq, memsw=int(memsw or 1 << 63))

    def apply_devices(self, resources: "Resources | None") -> None:
        """Have the kernel's list be what the rules say."""
        from pyrunc.cgroups.v1.apply import apply_devices

        apply_devices(self, resources)

    def device_program(self) -> "bytes | None":
        """None where the devices hierarchy keeps the rules; v2's program where none is mounted."""
        return None if path_of(self.paths, "devices") or not self.host.mount else super().device_program()

    def update(self, changes: "Resources") -> "Resources":
        from pyrunc.cgroups.v1.update import update

        return update(self, changes)

    def stats(self) -> "dict[str, object]":
        from pyrunc.cgroups.v1.stats import stats

        return stats(self)

    def oom_kills(self) -> int:
        fd = self.controller("memory")
        return files.table(files.try_read(fd, "memory.oom_control")).get("oom_kill", 0) if fd >= 0 else 0

    def watch(self) -> "Watch":
        from pyrunc.cgroups.v1.oom import V1Watch

        return V1Watch(self)

    # -- processes -----------------------------------------------------------------------------

    def add(self, pid: int) -> None:
        self.join(pid, [])

    def join(self, pid: int, arguments: "list[str]") -> None:
        """Move a process into all of the container's groups, or into those below them that the arguments of
        `exec --cgroup` name ("[CONTROLLER[,...]:]PATH"). Raises Error.
        """
        from pyrunc.cgroups.v1.below import below as parse

        below = parse(self.paths, arguments) if arguments else {}
        for key in self.paths:
            self._join_one(pid, self._open(key), self.paths[key], below.get(key, ""))
        if self.host.mount:
            try:
                leaf = self.leaf()
            except FileNotFoundError:
                # Whoever is inside may remove it; it holds no limits.
                log.debug(f"cgroup {self.path} is gone")
                return
            self._join_one(pid, leaf, self.path, "")

    def _join_one(self, pid: int, fd: int, path: str, below: str) -> None:
        file = f"{below}/cgroup.procs" if below else "cgroup.procs"
        try:
            if fd < 0:
                raise FileNotFoundError(errno.ENOENT, strerror(errno.ENOENT))
            files.write(fd, file, str(pid).encode())
        except OSError as error:
            if self.rootless and error.errno in REFUSED:
                log.debug(f"the process stays in pyrunc's cgroup: {error}")
                return
            # The first words are those by which runc's users know it.
            doing = (
                f"error adding pid to cgroups: open sub cgroup {below} of {path}:"
                if below
                else (f"error adding pid {pid} to cgroups: write {path}/{file}:")
            )
            raise from_os_error(doing, error) from None

    def procs(self, recursive: bool = True) -> "list[int]":
        found: set[int] = set()
        for key in self.paths:
            fd = self._open(key)
            if fd >= 0:
                found.update(tree.procs(fd, recursive))
        if self.host.mount:
            found.update(super().procs(recursive))
        return sorted(found)

    def populated(self) -> bool:
        return bool(self.procs())

    def wait_empty(self, timeout: float) -> bool:
        deadline, pause = time.monotonic() + timeout, 0.001
        while self.procs():
            if time.monotonic() > deadline:
                return False
            time.sleep(pause)
            pause = min(pause * 2, 0.1)
        return True

    def kill(self) -> bool:
        """A frozen process gets no signal before it is thawed, not even KILL: freeze, signal all, thaw."""
        if not self.paths:
            return super().kill()
        for _ in range(8):
            try:
                self._set_freezer(b"FROZEN", 2.0)
            except OSError:
                pass  # no freezer: repeating the walk is all that is left
            pids = self.procs()
            for pid in pids:
                try:
                    posix.kill(pid, SIGKILL)
                except ProcessLookupError:
                    pass
            if self.host.mount:
                super().kill()
            try:
                self._set_freezer(b"THAWED", 2.0)
            except OSError as error:
                # What stays frozen does not die: only a group that is gone has nobody in it.
                if error.errno not in (errno.ENOENT, errno.ENODEV):
                    raise from_os_error(f"thaw cgroup {path_of(self.paths, 'freezer')}:", error) from None
            if not pids or self.wait_empty(0.2):
                break
        return True

    def _set_freezer(self, state: bytes, timeout: float) -> bool:
        from pyrunc.cgroups.v1.freezer import change

        fd = self.controller("freezer")
        return fd >= 0 and change(fd, state, timeout)

    def freeze(self, timeout: float = 10.0) -> None:
        if self.controller("freezer") < 0:
            super().freeze(timeout)
            return
        try:
            done = self._set_freezer(b"FROZEN", timeout)
            if not done:
                self._set_freezer(b"THAWED", 1.0)
        except OSError as error:
            raise from_os_error(f"freeze cgroup {path_of(self.paths, 'freezer')}:", error) from None
        if not done:
            raise Error(
                f"freeze cgroup {path_of(self.paths, 'freezer')}: timed out after {timeout:g} s",
                errno=errno.ETIMEDOUT,
                hint="a process is stuck in the kernel (state D)",
            )

    def thaw(self) -> None:
        if self.controller("freezer") < 0:
            super().thaw()
            return
        try:
            self._set_freezer(b"THAWED", 10.0)
        except OSError as error:
            raise from_os_error(f"thaw cgroup {path_of(self.paths, 'freezer')}:", error) from None

    def frozen(self) -> bool:
        fd = self.controller("freezer")
        if fd < 0:
            return super().frozen()
        return (files.try_read(fd, "freezer.self_freezing") or b"0").strip() == b"1"

    def remove(self, timeout: float = 10.0) -> None:
        """Kill what is left, remove the groups and those below them; parents stay."""
        if self.procs() or self.frozen():
            self.kill()
            if not self.wait_empty(timeout):
                raise tree.survived(self.path, self.procs())
        self.close()
        for path in self.paths.values():
            tree.remove_at(path, timeout)
        if self.host.mount:
            super().remove(timeout)


def planned(
    path: str,
    id: str,
    found: "list[hierarchies.Hierarchy]",
    *,
    v2: str,
    rootless: bool,
    resources: "Resources | None",
    host: detect.Host,
) -> V1Manager:
    """The manager of a container that is to be created. v2: its directory there, "" on v1 hosts. Touches nothing."""
    paths = {it.key: hierarchies.locate(path, id, it) for it in found}
    return V1Manager(paths, v2, rootless=rootless, explicit=bool(path), resources=resources, host=host)


def restored(state: "dict[str, Any]", host: detect.Host, resources: "Resources | None") -> V1Manager:
    """The manager of a container that exists."""
    self = V1Manager(
        state["v1"], state["path"], rootless=state["rootless"], explicit=True, resources=resources, host=host
    )
    self.sub = state.get("sub", "")
    return self
