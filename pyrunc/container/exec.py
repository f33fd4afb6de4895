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
from errno import EACCES, EBUSY, ENODEV, ENOENT, ENOSYS, EOPNOTSUPP, EPERM, ESRCH

from pyrunc.container.exec_prepare import STOPPED, ExecPreparation
from pyrunc.errors import SETUP, Error
from pyrunc.foreground.wait import attend, block_signals
from pyrunc.kernel.files import read_sent, remove_pid_file, write_pid_file
from pyrunc.log import log
from pyrunc.machine.ops import Fd, Label, Step
from pyrunc.machine.session import NOT_EXECUTED, Lost, Session, above, pair
from pyrunc.plan.exec import Accounts, ExecPlan, clone, compile_exec, finish, prepare
from pyrunc.plan.namespaces import FLAGS
from pyrunc.plan.process.lookup import FILE_SIZE, LookUp, environment, home_of
from pyrunc.setup.drive import conduct
from pyrunc.setup.exec_process import resolve
from pyrunc.setup.failures import step_errors
from pyrunc.setup.filesystem.path_failures import PathFailures
from pyrunc.setup.host import (
    raise_hard_limits,
    send_fd,
)
from pyrunc.setup.process import Making, attempt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from signal import SIG_SETMASK, pthread_sigmask

    from pyrunc.machine.session import Reply
    from pyrunc.options import Globals
    from pyrunc.setup.request import ExecRequest
    from pyrunc.setup.seccomp_agent import Handover

    Items = Iterable[Step | Label]
else:
    from _signal import SIG_SETMASK, pthread_sigmask

# Why clone3 may refuse a cgroup to which a pid can be written all the same.
_NOT_INTO = (ENOENT, EACCES, EPERM, EBUSY, ENODEV, EOPNOTSUPP)


def exec_(globals_: "Globals", request: "ExecRequest") -> int:
    """Execute a program in a container; its exit status, or 128 and the signal that killed it.

    With `detach` 0 once it runs. Errors: pyrunc.errors.Error; no process is left behind then.
    """
    execution = Execution(globals_, ExecPreparation(globals_, request))
    mask = None
    try:
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
    """One process on its way into a container: build, commit, end; or undo."""

    def __init__(self, globals_: "Globals", known: ExecPreparation) -> None:
        super().__init__(globals_, known.request.console_socket, traced=bool(known.request.trace))
        self.known = known
        self.request = known.request
        self.state = known.state
        self.spec = known.spec
        self.facts = known.facts
        self.plan: ExecPlan | None = None

    # -- the processes ---------------------------------------------------------------------------

    def build(self) -> None:
        """Make the process and bring it to the point where it only has to execute its program."""
        facts = self.facts
        lowest = facts.above
        ours_agent, theirs_agent = pair(lowest)
        ours_child, theirs_child = pair(lowest)
        facts.agent = Fd(theirs_agent, "agent's session")
        facts.child = Fd(theirs_child, "process's session")
        facts.pidfd = Fd(above(self.known.pidfd, lowest), "container's init")
        inherit = [theirs_child, facts.pidfd]
        if self.known.cgroup_ns >= 0:
            number = above(self.known.cgroup_ns, lowest)
            facts.cgroup_ns = Fd(number, "cgroup namespace")
            inherit.append(facts.cgroup_ns)
        for kind, fd in self.known.left.opened.items() if self.known.left is not None else ():
            apart = Fd(above(fd, lowest), f"{kind} namespace")
            facts.apart.append((apart, FLAGS[kind]))
            inherit.append(apart)
        if self.known.place is not None and self.known.place.fd >= 0:
            facts.cgroup = Fd(above(self.known.place.fd, lowest), "cgroup")
            inherit.append(facts.cgroup)
        elif self.known.place is not None:
            facts.by_pid = self.known.place.by_pid
        self.spawn_agent(theirs_agent, tuple(inherit))
        self.agent = Session(ours_agent, "agent", self.trace)
        self.session = Session(ours_child, "process", self.trace)
        self.paths = PathFailures(self.session)
        self.plan = plan = compile_exec(self.spec, facts)
        begin, steps = self._clone(plan)
        self.known.check_stayed()
        self.tell_made()
        self.end_agent()
        self.adjust_oom_score(self.spec)
        if "intelRdt" in self.state.extra:
            from pyrunc.setup import resctrl

            resctrl.join(self.state, self.pid)
        try:
            items = [*begin, *plan.child.items]
            conduct(self.session, items, self._at_sync, self._at_failure, sent=steps)
        except Lost as lost:
            raise self.lost("the process ended", self.pid, lost) from None

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
                raise step_errors.step_error(failed, errno, SETUP)
            before = []
            self.facts.by_pid = self.facts.by_pid or self.facts.cgroup is not None

    def why_lost(self, signal: int) -> "tuple[str, str]":
        if self.known.place is not None and self.known.place.oom_killed():
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
                assert self.known.place is not None
                self.known.place.add(self.pid)
            raise_hard_limits(self.pid, self.spec)
        elif key != "ready":
            self.take_console(self.spec)
        return None

    def _at_failure(self, step: Step, errno: int) -> "tuple[bool, Items]":
        errno, answer = self.paths.answer(step, errno)
        if not errno:
            return answer
        raise step_errors.step_error(step, errno, SETUP)

    def _user(self, reply: "Reply") -> "Items":
        assert self.known.names is not None
        assert self.plan is not None
        assert self.session is not None
        sent = self.session.descriptors
        passwd, group = (read_sent(sent, FILE_SIZE) if reply.data[at] else b"" for at in (0, 8))
        try:
            resolve(self.spec, self.request, self.known.names, passwd, group)
            self.known.check_mapped()
        except Error as error:
            raise error.prefixed(SETUP) from None
        return prepare(self.plan, self.spec, self.facts)

    def _finish(self, key: LookUp, reply: "Reply") -> "Items":
        assert self.plan is not None
        spec = self.spec
        try:
            path = key.read(reply.data, spec["args"][0])
        except Error as error:
            raise error.prefixed(SETUP) from None
        home = None
        if key.passwd:
            assert self.session is not None
            sent = self.session.descriptors
            home = home_of(read_sent(sent, FILE_SIZE) if sent else b"", spec.get("user", {}).get("uid", 0))
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
        if log.debug_on:
            log.debug(f"process {self.pid} is told to execute its program")
        try:
            steps = session.send(self.last)
        except Lost as lost:
            raise self.lost("the process ended", self.pid, lost) from None
        reply = session.until_exec(steps, self._handover())
        if reply is None:
            return self.check_executed("the process ended")
        assert reply.step is not None
        if reply.step.key == NOT_EXECUTED:
            from pyrunc.setup.failures import not_executed

            return not_executed.tell(session.fd, reply, self.pid, self.spec)
        raise step_errors.step_error(reply.step, reply.errno, SETUP)

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

            self.trace.span("set it up")
            write(self.request.trace, self.trace)
        self._close()

    def undo(self) -> None:
        """Leave nothing behind."""
        attempt(lambda: remove_pid_file(self.request.pid_file, self.pid), "the pid file is left behind")
        attempt(self.kill, "a process is left behind")
        attempt(self._close, "an agent is left behind")
        if self.console >= 0:
            posix.close(self.console)

    def _close(self) -> None:
        self.end_agent()
        if self.session is not None:
            self.session.close()
        self.known.close()
