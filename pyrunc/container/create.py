"""`pyrunc create`: everything up to a container whose init waits for `start`; `run` uses it too.

    host: Preparation, Creation          pyrunc-init
    state directory, cgroup
    spawn the agent ───────────────────► agent: device program, joins, clone3
    id maps, oom_score_adj, cgroup ◄───► init: "begin"
                                         mounts, devices
    hooks, console, decisions ◄────────► syncs of plan/create.py
    the executable, HOME ◄─────────────► LookUp
    state.json, pid file ◄─────────────► "ready"
    exit                                 waits on start.fifo

The init dies with pyrunc (PDEATHSIG, and the end of its session) until it has been told to wait for `start`.
"""

import posix
from errno import ENOSYS

from pyrunc.config.annotation_names import PIDFD_RECEIVER
from pyrunc.container.create_syncs import Answers
from pyrunc.container.prepare import Preparation
from pyrunc.errors import SETUP
from pyrunc.kernel.files import remove_pid_file, write_pid_file
from pyrunc.kernel.signals import SIGKILL
from pyrunc.log import log
from pyrunc.machine.ops import Fd, Step
from pyrunc.machine.session import Lost, Session, pair
from pyrunc.plan.create import CreatePlan, compile_create
from pyrunc.setup.drive import conduct, first_piece
from pyrunc.setup.failures import step_errors
from pyrunc.setup.gate import make_gate
from pyrunc.setup.host import oom_killed, send_fd
from pyrunc.setup.process import Making, attempt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.config.types import Config
    from pyrunc.options import Globals
    from pyrunc.plan.facts import Facts
    from pyrunc.setup.net_devices import NetDevices
    from pyrunc.setup.request import CreateRequest
    from pyrunc.setup.seccomp_agent import Handover

_ENDED = "the container's init ended"


def create(globals_: "Globals", request: "CreateRequest") -> None:
    """Create the container and leave it waiting for `start`. Errors: pyrunc.errors.Error; nothing is left
    behind then."""
    creation = Creation(Preparation(globals_, request, listen=True))
    try:
        creation.prepared.make()
        creation.build()
        creation.commit("created")
    except BaseException:
        creation.undo()
        raise
    creation.end()


class Creation(Making):
    """The making of one container's processes: build, commit, end; or undo at any point."""

    def __init__(self, prepared: Preparation) -> None:
        super().__init__(prepared.globals, prepared.request.console_socket, traced=bool(prepared.request.trace))
        self.prepared = prepared
        self.request = prepared.request
        self.listen = prepared.listen
        self.store = prepared.store
        self.spaces = prepared.spaces
        self.facts = prepared.facts
        self.state = prepared.state
        self.manager = prepared.manager
        self.plan: CreatePlan | None = None
        self.answers: Answers | None = None
        self.net_devices: NetDevices | None = None
        self.hooked = False  # whether hooks have run, so that poststop's follow

    @property
    def config(self) -> "Config":
        """The configuration. `prepared.make` may add a mount to it."""
        return self.prepared.config

    # -- the processes ---------------------------------------------------------------------------

    def build(self) -> None:
        """Make the processes and bring the init to the point where it only has to execute its program."""
        facts = self.facts
        lowest = facts.above
        ours_agent, theirs_agent = pair(lowest)
        ours_child, theirs_child = pair(lowest)
        facts.agent = Fd(theirs_agent, "agent's session")
        facts.child = Fd(theirs_child, "init's session")
        inherit = [theirs_child]
        if self.listen:
            facts.gate = it = make_gate(self.store.path(self.request.id), lowest)
            inherit += [it.start, it.line, it.answer]
        if facts.cgroup is not None:
            inherit.append(facts.cgroup)
        hooks = self.config.get("hooks", {})
        if hooks.get("createContainer") or hooks.get("startContainer"):
            from pyrunc.setup.hook_files import inherited_files

            facts.hook_files = inherited_files(self.config, lowest)
            inherit += [fd for fd in facts.hook_files if fd is not None]
        self.spawn_agent(theirs_agent, tuple(inherit))
        self.agent = Session(ours_agent, "agent", self.trace)
        self.session = Session(ours_child, "init", self.trace)
        plan, steps = self._clone(facts)
        piece, rest = first_piece(plan.child.items)
        self.tell_made()
        self.end_agent()
        self.state.set_process(self.pid)
        self._record_user_namespace()
        self.adjust_oom_score(self.config["process"])
        self._move_network_devices()
        self._intel_rdt()
        self.answers = answers = Answers(self, self.session, plan, facts, self.state, self.manager)
        try:
            items = [*piece, *rest]
            conduct(self.session, items, answers.at_sync, answers.at_failure, sent=steps, note=self.handover())
        except Lost as lost:
            raise self.lost(_ENDED, self.pid, answers.told(lost)) from None
        answers.end()

    def _clone(self, facts: "Facts") -> "tuple[CreatePlan, list[Step]]":
        """Have the agent make the init; the plan, and its steps as far as they were sent."""
        self.plan = plan = compile_create(self.config, facts)
        agent = plan.agent.items
        while True:
            steps, failed, errno = self.ask_agent([*agent, plan.child_label, *first_piece(plan.child.items)[0]])
            if failed is None:
                return plan, steps
            if failed.name != "clone3" or errno != ENOSYS:
                raise step_errors.step_error(failed, errno, SETUP)
            # A filter around pyrunc that wants to see the flags, as that of systemd's RestrictNamespaces=. What comes
            # before the clone has been done.
            facts.old_clone = True
            facts.by_pid = facts.cgroup is not None
            self.plan = plan = compile_create(self.config, facts)
            agent = plan.agent.items[plan.clone :]

    def _record_user_namespace(self) -> None:
        """Which one it is, for exec: the container's first process may leave it."""
        spaces = self.spaces
        if spaces.has("user"):
            joined = [path for kind, path, _ in spaces.joined if kind == "user"]
            path = joined[0] if joined else f"/proc/{self.pid}/ns/user"
            self.state.extra["userNamespace"] = posix.stat(path).st_ino

    def _intel_rdt(self) -> None:
        config = self.config.get("linux", {}).get("intelRdt")
        if config is None:
            return
        from pyrunc.setup import resctrl

        group = resctrl.group_of(config, self.request.id, resctrl.mount_of())
        # As with the cgroup: written before it exists.
        self.state.extra["intelRdt"] = group.to_state()
        self.store.save(self.state)
        resctrl.apply(group, config, self.pid)

    def _move_network_devices(self) -> None:
        devices = self.config.get("linux", {}).get("netDevices")
        if not devices:
            return
        from pyrunc.setup.net_devices import NetDevices

        self.net_devices = NetDevices(self.pid, self.facts.above)
        self.net_devices.move(devices)

    def why_lost(self, signal: int) -> "tuple[str, str]":
        """Usually it is the memory limit."""
        memory = self.config.get("linux", {}).get("resources", {}).get("memory", {})
        limit = memory.get("limit", 0) > 0
        hint = "raise the memory limit (linux/resources/memory/limit)" if limit else ""
        manager = self.manager
        if oom_killed(manager):
            return " (the memory limit was reached during set-up)", hint
        if signal == SIGKILL and limit and not posix.access(manager.path, posix.F_OK):
            # systemd has removed the cgroup with its only process, and the kernel's count with it. That a descriptor
            # of the folder is open says nothing.
            return " (probably because the memory limit was reached during set-up)", hint
        return "", ""

    # -- the end ---------------------------------------------------------------------------------

    def commit(self, status: str) -> None:
        """Record the container as `status` ("created" or "started") and let its init go on."""
        state, session = self.state, self.session
        assert session is not None
        if status == "created":
            state.extra["start"] = [step_errors.kept(step) for step in self.last if type(step) is Step]
        state.status_hint = status
        state.extra.pop("since", None)
        self.store.save(state)
        receiver = self.config.get("annotations", {}).get(PIDFD_RECEIVER, "")
        for path in (self.request.pidfd_socket, receiver):
            if path:
                pidfd = posix.pidfd_open(self.pid)
                send_fd(path, pidfd, b"pidfd", "pidfd socket")
                posix.close(pidfd)
        if self.request.pid_file:
            write_pid_file(self.request.pid_file, self.pid)
        if log.debug_on:
            what = "wait for start" if status == "created" else "execute its program"
            log.debug(f"process {self.pid} is told to {what}")
        try:
            self.steps = session.send(self.last)
        except Lost as lost:
            raise self.lost(_ENDED, self.pid, lost) from None

    def handover(self) -> "Handover | None":
        """What gives the seccomp agent its listener, where the configuration names one."""
        profile = self.config.get("linux", {}).get("seccomp")
        if not profile or not profile.get("listenerPath"):
            return None
        from pyrunc.setup.seccomp_agent import Handover

        return Handover(profile, self.pid, self.state.hook_state("creating"))

    def end(self) -> None:
        """Let go of what only the making needed; the container stays."""
        if self.trace is not None:
            from pyrunc.setup.trace import write

            self.trace.span("set it up")
            write(self.request.trace, self.trace)
        self.manager.close()
        if self.net_devices is not None:
            self.net_devices.close()
        if self.session is not None:
            self.session.close()
        self.release_lock()

    def release_lock(self) -> None:
        """Let others change the container."""
        self.prepared.lock.release()

    def undo(self) -> None:
        """Leave nothing behind: kill the processes, remove the cgroup and the state directory."""
        attempt(lambda: remove_pid_file(self.request.pid_file, self.pid), "the pid file is left behind")
        attempt(self.kill, "a process is left behind")
        attempt(self.end_agent, "an agent is left behind")
        if self.answers is not None:
            attempt(self.answers.end, "a process that mounted on the host is left behind")
        attempt(self._remove_rdt, "the resctrl group is left behind")
        if self.net_devices is not None:
            attempt(self.net_devices.give_back, "network devices are not given back")
            self.net_devices.close()
        if self.session is not None:
            self.session.close()
        self.prepared.undo()
        if self.hooked:
            attempt(self._poststop, "poststop hooks are not run")

    def _remove_rdt(self) -> None:
        if "intelRdt" in self.state.extra:
            from pyrunc.setup import resctrl

            resctrl.remove(self.state)

    def _poststop(self) -> None:
        """runtime.md, "Lifecycle": a hook that fails stops the container, and poststop hooks follow."""
        hooks = self.config.get("hooks", {}).get("poststop")
        if hooks:
            from pyrunc.setup.host_hooks import run_poststop

            run_poststop(hooks, self.state.hook_state("stopped"), cwd=self.request.bundle)
