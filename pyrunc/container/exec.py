"""`pyrunc exec`: another process in the namespaces and the cgroup of a container.

    host: Execution                      pyrunc-init
    pidfd, facts, process object
    spawn the agent ───────────────────► agent: joins the namespaces, clone3
    oom_score_adj, cgroup ◄────────────► child: "begin"
    user by name ◄─────────────────────► Accounts
    console ◄──────────────────────────► Console
    the executable, HOME ◄─────────────► LookUp
    pid file, pidfd ◄──────────────────► "ready"
    wait for the end of the session ◄─── execve

No lock is taken: what is known of a container does not change by what runs in it.
"""

import posix
from fcntl import F_DUPFD_CLOEXEC, fcntl

from pyrunc.config.annotation_names import KEEP_GROUPS
from pyrunc.errors import Error, from_os_error
from pyrunc.foreground.wait import attend, block_signals
from pyrunc.kernel.files import read_file, write_pid_file
from pyrunc.kernel.uapi import (
    CLONE_NEWCGROUP,
    CLONE_NEWUSER,
    EACCES,
    EBUSY,
    ENODEV,
    ENOENT,
    ENOSYS,
    EOPNOTSUPP,
    EPERM,
)
from pyrunc.log import log
from pyrunc.machine.ops import Fd, Label, Step
from pyrunc.machine.session import NOT_EXECUTED, Lost, Session, pair
from pyrunc.plan.exec import Accounts, ExecFacts, ExecPlan, clone, compile_exec, finish, prepare
from pyrunc.plan.namespaces import FILES, FLAGS, Namespaces
from pyrunc.plan.process.capabilities import Sets
from pyrunc.plan.process.lookup import LookUp, environment, home_of
from pyrunc.plan.process.process import check_capabilities
from pyrunc.setup.drive import conduct
from pyrunc.setup.exec_cgroup import Place
from pyrunc.setup.exec_process import check_mapped, exec_process, read_process, resolve
from pyrunc.setup.failures import step_errors
from pyrunc.setup.host import (
    check_selinux,
    has_filter,
    may_drop_groups,
    own_capabilities,
    raise_hard_limits,
    send_fd,
)
from pyrunc.setup.process import NO_OPENAT2, Making, check_console, check_preserved
from pyrunc.state.processes import open_init
from pyrunc.state.state import State
from pyrunc.state.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from signal import SIG_SETMASK, pthread_sigmask
    from typing import Any

    from pyrunc.config.types import Process
    from pyrunc.machine.session import Reply
    from pyrunc.options import Globals
    from pyrunc.setup.left_namespaces import LeftNamespaces
    from pyrunc.setup.request import ExecRequest
    from pyrunc.setup.seccomp_agent import Handover

    Items = Iterable[Step | Label]
else:
    from _signal import SIG_SETMASK, pthread_sigmask

ESRCH = 3
STOPPED = "cannot exec in a stopped container"
PAUSED = "cannot exec in a paused container (use --ignore-paused to override)"
# Why clone3 may refuse a cgroup to which a pid can be written all the same.
_NOT_INTO = (ENOENT, EACCES, EPERM, EBUSY, ENODEV, EOPNOTSUPP)


def exec_(globals_: "Globals", request: "ExecRequest") -> int:
    """Execute a program in a container; its exit status, or 128 and the signal that killed it.

    With `detach` 0 once it runs. Errors: pyrunc.errors.Error; no process is left behind then.
    """
    execution = Execution(globals_, request)
    mask = None
    try:
        execution.prepare()
        if not request.detach:
            mask = block_signals()
        execution.build()
        execution.commit()
    except BaseException:
        execution.undo()
        raise
    execution.end()
    if request.detach:
        return 0
    try:
        return attend(execution.pid, execution.console)
    finally:
        if mask is not None:
            pthread_sigmask(SIG_SETMASK, mask)


class Execution(Making):
    """One process on its way into a container: prepare, build, commit, end; or undo."""

    def __init__(self, globals_: "Globals", request: "ExecRequest") -> None:
        super().__init__(globals_, request.console_socket, traced=bool(request.trace))
        self.request = request
        self.state = State("")
        self.spec: Process = {"cwd": "/"}
        self.names: tuple[int | str, int | str | None] | None = None
        self.facts = ExecFacts()
        self.maps = (b"", b"")  # uid_map and gid_map of a user namespace that is not pyrunc's
        self.place: Place | None = None
        self.pidfd = -1
        self.cgroup_ns = -1
        self.inhabited = 0  # the user namespace in which the container's first process was seen
        self.left: LeftNamespaces | None = None
        self.plan: ExecPlan | None = None

    # -- before there is a process ---------------------------------------------------------------

    def prepare(self) -> None:
        """Learn what the container is, and what is to be executed in it."""
        request, facts = self.request, self.facts
        # First: what pyrunc opens itself would count as the caller's.
        check_preserved(request.preserve_fds)
        self.state = state = Store(self.globals.root).load(request.id)
        status = state.status()
        if status == "stopped":
            raise Error(STOPPED)
        if status == "paused" and not request.ignore_paused:
            raise Error(PAUSED)
        if status == "creating":
            raise Error("cannot exec in a container that is being created")
        self.pidfd = open_init(state)
        if self.pidfd < 0:
            raise Error(STOPPED)
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
        self._look_at_namespaces()
        if self.names is None:
            self._check_mapped()
        self._check_capabilities()
        self._seccomp()
        self.place = Place(state, request.cgroup)

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
            *maps, facts.deny_setgroups = left.maps(facts.lowest + 8)
            self.maps = maps[0], maps[1]
        # The only one that is joined on its own anyway.
        self.cgroup_ns = left.opened.pop("cgroup", -1)

    def _check_stayed(self) -> None:
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

    def _check_mapped(self) -> None:
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
            raise error.prefixed(step_errors.SETUP) from None

    def _seccomp(self) -> None:
        if has_filter(self.state.config):
            from pyrunc.seccomp import filter_of

            compiled = filter_of(self.state.config)
            assert compiled is not None
            self.facts.seccomp = (compiled.program, compiled.flags, posix.geteuid() != 0)

    # -- the processes ---------------------------------------------------------------------------

    def build(self) -> None:
        """Make the process and bring it to the point where it only has to execute its program."""
        facts = self.facts
        lowest = facts.lowest + 8
        ours_agent, theirs_agent = pair(lowest)
        ours_child, theirs_child = pair(lowest)
        facts.agent = Fd(theirs_agent, "agent's session")
        facts.child = Fd(theirs_child, "process's session")
        facts.pidfd = Fd(fcntl(self.pidfd, F_DUPFD_CLOEXEC, lowest), "container's init")
        inherit = [theirs_child, facts.pidfd]
        if self.cgroup_ns >= 0:
            number = fcntl(self.cgroup_ns, F_DUPFD_CLOEXEC, lowest)
            facts.cgroup_ns = Fd(number, "cgroup namespace")
            inherit.append(facts.cgroup_ns)
        for kind, fd in self.left.opened.items() if self.left is not None else ():
            apart = Fd(fcntl(fd, F_DUPFD_CLOEXEC, lowest), f"{kind} namespace")
            facts.apart.append((apart, FLAGS[kind]))
            inherit.append(apart)
        if self.place is not None and self.place.fd >= 0:
            facts.cgroup = Fd(fcntl(self.place.fd, F_DUPFD_CLOEXEC, lowest), "cgroup")
            inherit.append(facts.cgroup)
        self.spawn_agent(theirs_agent, tuple(inherit))
        self.agent = Session(ours_agent, "agent", self.trace)
        self.session = Session(ours_child, "process", self.trace)
        self.plan = plan = compile_exec(self.spec, facts)
        begin, steps = self._clone(plan)
        self._check_stayed()
        self.tell_made()
        self.end_agent()
        self.adjust_oom_score(self.spec)
        if "intelRdt" in self.state.extra:
            from pyrunc.setup import resctrl

            resctrl.join(self.state, self.pid)
        try:
            items = [*begin, *plan.child.items]
            conduct(self.session, items, self._at_sync, self._at_failure, sent=steps)
        except Lost:
            raise self.lost("the process ended", self.pid) from None

    def _clone(self, plan: ExecPlan) -> "tuple[list[Step | Label], list[Step]]":
        """Have the agent make the process; its first steps, as they were sent."""
        before: list[Step | Label] = plan.agent.items
        while True:
            program, begin = clone(plan, self.facts)
            steps, failed, errno = self.ask_agent([*before, *program.items, *begin.items])
            if failed is None:
                return begin.items, steps
            if failed.key == "join" and errno == ESRCH:
                raise Error(STOPPED)
            into = self.facts.cgroup is not None and not self.facts.by_pid
            if failed.name == "clone3" and errno == ENOSYS:
                self.facts.old_clone = True
            elif failed.key != "clone" or not into or errno not in _NOT_INTO:
                raise step_errors.step_error(failed, errno, step_errors.SETUP)
            before = []
            self.facts.by_pid = self.facts.cgroup is not None

    def why_lost(self, signal: int) -> "tuple[str, str]":
        if self.place is not None and self.place.oom_killed():
            return " (the memory limit was reached in the container)", ""
        return "", ""

    # -- where the program asks or fails ---------------------------------------------------------

    def _at_sync(self, key: object, reply: "Reply") -> "Items | None":
        if type(key) is LookUp:
            return self._finish(key, reply)
        if type(key) is Accounts:
            return self._user(reply)
        if key == "begin":
            if self.facts.by_pid:
                assert self.place is not None
                self.place.add(self.pid)
            raise_hard_limits(self.pid, self.spec)
        elif key != "ready":
            self.take_console(self.spec)
        return None

    def _at_failure(self, step: Step, errno: int) -> "tuple[bool, Items]":
        if self.interrupted(step, errno):
            return True, ()
        if step.name == "openat2" and errno in NO_OPENAT2:
            errno, more = self.reopen(step)
            if not errno:
                return False, more
        raise step_errors.step_error(step, errno, step_errors.SETUP)

    def _user(self, reply: "Reply") -> "Items":
        assert self.names is not None
        assert self.plan is not None
        passwd, group = reply.notes
        try:
            resolve(self.spec, self.request, self.names, passwd, group)
            self._check_mapped()
        except Error as error:
            raise error.prefixed(step_errors.SETUP) from None
        return prepare(self.plan, self.spec, self.facts)

    def _finish(self, key: LookUp, reply: "Reply") -> "Items":
        assert self.plan is not None
        spec = self.spec
        try:
            path = key.read(reply.data, spec["args"][0])
        except Error as error:
            raise error.prefixed(step_errors.SETUP) from None
        home = None
        if key.passwd:
            home = home_of(b"".join(reply.notes), (spec.get("user") or {}).get("uid") or 0)
        ready, last = finish(self.plan, spec, self.facts, path, environment(spec, home))
        self.last = last.items
        return ready

    # -- the end ---------------------------------------------------------------------------------

    def commit(self) -> None:
        """Tell of the process, let it execute its program, and see that it does."""
        request, session = self.request, self.session
        assert session is not None
        if request.pidfd_socket:
            pidfd = posix.pidfd_open(self.pid)
            send_fd(request.pidfd_socket, pidfd, b"pidfd", "pidfd socket")
            posix.close(pidfd)
        if request.pid_file:
            write_pid_file(request.pid_file, self.pid)
        log.debug("setns_init: about to exec")
        reply = session.until_exec(session.send(self.last), self._handover())
        if reply is None:
            return None
        assert reply.step is not None
        if reply.step.key == NOT_EXECUTED:
            from pyrunc.setup.failures import not_executed

            return not_executed.tell(session.fd, reply, self.pid, self.spec)
        raise step_errors.step_error(reply.step, reply.errno, step_errors.SETUP)

    def _handover(self) -> "Handover | None":
        """What gives the seccomp agent its listener, where the configuration names one."""
        profile = self.facts.linux.get("seccomp")
        if not profile or not profile.get("listenerPath"):
            return None
        from pyrunc.setup.seccomp_agent import Handover

        return Handover(profile, self.pid, self.state.hook_state("running"))

    def end(self) -> None:
        """Let go of what only the making needed; the process stays."""
        if self.trace is not None:
            from pyrunc.setup.trace import write

            write(self.request.trace, self.trace)
        self._close()

    def undo(self) -> None:
        """Leave nothing behind."""
        self.kill()
        self._close()
        if self.console >= 0:
            posix.close(self.console)

    def _close(self) -> None:
        self.end_agent()
        if self.session is not None:
            self.session.close()
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
