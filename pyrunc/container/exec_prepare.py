"""What `exec` learns before there is a process: what the container is, and what is to be executed in it."""

import posix

from pyrunc.config.annotation_names import KEEP_GROUPS
from pyrunc.errors import SETUP, Error, from_os_error
from pyrunc.kernel.files import read_file
from pyrunc.kernel.uapi import CLONE_NEWCGROUP, CLONE_NEWUSER
from pyrunc.plan.facts import ExecFacts
from pyrunc.plan.namespaces import FILES, FLAGS, Namespaces
from pyrunc.plan.process.capabilities import Sets
from pyrunc.plan.process.process import check_capabilities
from pyrunc.setup.exec_cgroup import Place
from pyrunc.setup.exec_process import check_mapped, exec_process, read_process
from pyrunc.setup.host import check_selinux, has_filter, may_drop_groups, on_null, own_capabilities
from pyrunc.setup.process import check_console, check_preserved
from pyrunc.state.processes import open_init
from pyrunc.state.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.options import Globals
    from pyrunc.setup.left_namespaces import LeftNamespaces
    from pyrunc.setup.request import ExecRequest

STOPPED = "cannot exec in a stopped container"
PAUSED = "cannot exec in a paused container (use --ignore-paused to override)"


class ExecPreparation:
    """What is known of the container, and of what is to be executed in it, before there is a process.

    state: the container. spec: the process object. names: user and group, where they are given by name.
    facts: what the plan needs to know beside the process object.
    maps: uid_map and gid_map of a user namespace that is not pyrunc's. place: where the process goes among cgroups.
    pidfd: of the container's init. cgroup_ns: its cgroup namespace, or -1.
    inhabited: the inode of the user namespace in which the init was seen.
    left: the namespaces one by one, where the init has left the user namespace that it was started in.
    """

    def __init__(self, globals_: "Globals", request: "ExecRequest") -> None:
        self.request = request
        self.facts = ExecFacts()
        self.maps = (b"", b"")
        self.pidfd = self.cgroup_ns = -1
        self.inhabited = 0
        self.left: LeftNamespaces | None = None
        self.place: Place | None = None
        # First: what pyrunc opens itself would count as the caller's.
        check_preserved(request.preserve_fds)
        self.state = Store(globals_.root).load(request.id)
        try:
            self._check_status()
            self._read()
            self._look_at_namespaces()
            self.facts.on_null = on_null()
            if self.names is None:
                self.check_mapped()
            self._check_capabilities()
            self._seccomp()
            self.place = Place(self.state, request.cgroup)
        except BaseException:
            self.close()
            raise

    def _check_status(self) -> None:
        status = self.state.status()
        if status == "stopped":
            raise Error(STOPPED)
        if status == "paused" and not self.request.ignore_paused:
            raise Error(PAUSED)
        if status == "creating":
            raise Error("cannot exec in a container that is being created")
        self.pidfd = open_init(self.state)
        if self.pidfd < 0:
            raise Error(STOPPED)

    def _read(self) -> None:
        """The process object, of the configuration or of --process and of the flags."""
        request, facts, state = self.request, self.facts, self.state
        document = read_process(request.process) if request.process else None
        facts.pointer = "" if document is not None else "/process"
        config: Any = state.config
        self.spec, self.names = exec_process(config, request, document)
        if state.annotations.get(KEEP_GROUPS):
            facts.keep_groups = True
            self.spec.get("user", {}).pop("additionalGids", None)
        facts.names = self.names is not None
        facts.linux = config.get("linux", {})
        check_selinux(self.spec, facts.pointer)
        check_console(self.spec, request.console_socket, detached=request.detach)
        facts.lowest = 3 + request.preserve_fds
        if not state.extra.get("noKeyring"):
            facts.keyring = f"_ses.{state.id}"

    def _look_at_namespaces(self) -> None:
        """Which namespaces the container has by its configuration, and not pyrunc too: joining one's own user namespace
        is an error. Others that its first process has made since are that process's own affair."""
        facts = self.facts
        proc = f"/proc/{self.state.pid}"
        config: Any = self.state.config
        configured = Namespaces(config)
        facts.privileged = posix.geteuid() == 0
        try:
            ours, self.inhabited = user_namespace("/proc/self"), user_namespace(proc)
            home = ours
            if configured.has("user"):
                home = self.state.extra.get("userNamespace") or self.inhabited
            for kind, flag in FLAGS.items():
                if kind == "user":
                    differs = home != ours
                else:
                    differs = bool(configured.new & flag) or (configured.joins(kind) and _differs(proc, kind))
                if differs:
                    facts.spaces |= flag
            if facts.spaces & CLONE_NEWUSER:
                facts.may_drop_groups = may_drop_groups()
            if self.inhabited != home:
                self._find_namespaces(configured, home)
            elif facts.spaces & CLONE_NEWUSER:
                self.maps = read_file(f"{proc}/uid_map"), read_file(f"{proc}/gid_map")
                facts.deny_setgroups = read_file(f"{proc}/setgroups").strip() == b"deny"
            facts.ids = lowest_id(self.maps[0]), lowest_id(self.maps[1])
            if facts.spaces & CLONE_NEWCGROUP and self.cgroup_ns < 0:
                self.cgroup_ns = posix.open(f"{proc}/ns/cgroup", posix.O_RDONLY | posix.O_CLOEXEC)
        except (FileNotFoundError, ProcessLookupError):
            raise Error(STOPPED) from None
        except OSError as error:
            raise from_os_error("error looking at the container's namespaces", error) from None
        facts.rootfs = self.state.rootfs
        if facts.deny_setgroups and not facts.may_drop_groups and not facts.keep_groups and posix.getgroups():
            from pyrunc.setup.left_namespaces import check_groups

            check_groups(self.state.pid)

    def _find_namespaces(self, configured: Namespaces, home: int) -> None:
        """The container's namespaces one by one, as its first process has left the user namespace `home`."""
        from pyrunc.setup.left_namespaces import LeftNamespaces

        facts = self.facts
        self.left = left = LeftNamespaces(self.state, configured, home)
        left.open([kind for kind, flag in FLAGS.items() if facts.spaces & flag])
        if facts.spaces & CLONE_NEWUSER:
            *maps, facts.deny_setgroups = left.maps(facts.above)
            self.maps = maps[0], maps[1]
        # The only one that is joined on its own anyway.
        self.cgroup_ns = left.opened.pop("cgroup", -1)

    def check_stayed(self) -> None:
        """Raise Error where the container's first process has left its user namespace since it was looked at: the
        namespaces that were joined may be of its making."""
        if self.left is not None:
            return
        try:
            moved = user_namespace(f"/proc/{self.state.pid}") != self.inhabited
        except (FileNotFoundError, ProcessLookupError):
            raise Error(STOPPED) from None
        if moved:
            raise Error("the container's first process has left its user namespace meanwhile", hint="try again")

    def check_mapped(self) -> None:
        """Raise Error unless the container's user namespace maps the ids of the process."""
        if self.facts.spaces & CLONE_NEWUSER:
            check_mapped(self.spec, self.maps, self.facts.deny_setgroups)

    def _check_capabilities(self) -> None:
        if self.facts.spaces & CLONE_NEWUSER:
            return
        sets = Sets(self.spec.get("capabilities"))
        try:
            wanted = sets.permitted | sets.effective | sets.inheritable
            check_capabilities(wanted, own_capabilities())
        except Error as error:
            raise error.prefixed(SETUP) from None

    def _seccomp(self) -> None:
        if has_filter(self.state.config):
            from pyrunc.seccomp import filter_of

            compiled = filter_of(self.state.config)
            assert compiled is not None
            self.facts.seccomp = (compiled.program, compiled.flags, posix.geteuid() != 0)

    def close(self) -> None:
        """Close what was opened. May be called twice."""
        if self.place is not None:
            self.place.close()
        if self.left is not None:
            self.left.close()
        for fd in (self.pidfd, self.cgroup_ns):
            if fd >= 0:
                posix.close(fd)
        self.pidfd = self.cgroup_ns = -1


def user_namespace(proc: str) -> int:
    """The inode of a process's user namespace; 0 where the kernel has none."""
    try:
        return posix.stat(f"{proc}/ns/user").st_ino
    except FileNotFoundError:
        if posix.access(f"{proc}/ns/mnt", posix.F_OK):
            return 0
        raise


def _differs(proc: str, kind: str) -> bool:
    """Whether a process has another namespace of a type than pyrunc."""
    name = FILES.get(kind, kind)
    ours, theirs = posix.stat(f"/proc/self/ns/{name}"), posix.stat(f"{proc}/ns/{name}")
    return (ours.st_dev, ours.st_ino) != (theirs.st_dev, theirs.st_ino)


def lowest_id(text: bytes) -> int:
    """0 where a uid_map or gid_map maps it, else the lowest id that it maps."""
    return min((int(line.split()[0]) for line in text.splitlines()), default=0)
