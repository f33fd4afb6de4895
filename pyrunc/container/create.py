"""`pyrunc create`: everything up to a container whose init waits for `start`; `run` uses it too.

    host: Creation                       pyrunc-init
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
from fcntl import F_DUPFD_CLOEXEC, fcntl
from time import CLOCK_BOOTTIME, clock_gettime

from pyrunc import cgroups
from pyrunc.cgroups import delegate, detect
from pyrunc.config.annotation_names import KEEP_GROUPS, PIDFD_RECEIVER
from pyrunc.config.load import load_config
from pyrunc.config.rules.check import check
from pyrunc.container.create_syncs import Answers
from pyrunc.errors import Error
from pyrunc.kernel.files import real_path, write_pid_file
from pyrunc.kernel.uapi import CLONE_NEWUSER, ENOSYS
from pyrunc.log import log
from pyrunc.machine.ops import Fd, Step
from pyrunc.machine.session import Lost, Session, pair
from pyrunc.plan.create import CreatePlan, Facts, compile_create
from pyrunc.plan.namespaces import Namespaces
from pyrunc.plan.process.capabilities import Sets
from pyrunc.plan.process.process import check_capabilities
from pyrunc.setup.device_filter import restrict
from pyrunc.setup.drive import conduct, first_piece
from pyrunc.setup.failures import step_errors
from pyrunc.setup.gate import make_gate
from pyrunc.setup.host import (
    check_selinux,
    has_filter,
    may_drop_groups,
    oom_killed,
    own_capabilities,
    send_fd,
)
from pyrunc.setup.process import SIGKILL, Making, check_console, check_preserved
from pyrunc.state.state import State
from pyrunc.state.store import Lock, Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.config.types import Config
    from pyrunc.foreground.sd_notify import Proxy
    from pyrunc.options import Globals
    from pyrunc.setup.net_devices import NetDevices
    from pyrunc.setup.request import CreateRequest
    from pyrunc.setup.seccomp_agent import Handover

NOT_TO_BE_KILLED = (
    "the container has neither a cgroup nor a pid namespace of its own: what its first process leaves behind cannot be"
    " found, nor killed. Such configuration is strongly discouraged"
)


def create(globals_: "Globals", request: "CreateRequest") -> None:
    """Create the container and leave it waiting for `start`. Errors: pyrunc.errors.Error; nothing is left
    behind then."""
    creation = Creation(globals_, request, listen=True)
    try:
        creation.prepare()
        creation.build()
        creation.commit("created")
    except BaseException:
        creation.undo()
        raise
    creation.end()


class Creation(Making):
    """The making of one container: prepare, build, commit, end; or undo at any point."""

    def __init__(self, globals_: "Globals", request: "CreateRequest", *, listen: bool) -> None:
        super().__init__(globals_, request.console_socket, traced=bool(request.trace))
        self.request = request
        self.listen = listen
        self.store = Store(globals_.root)
        self.config: Config = load_config(request.bundle, request.config)
        if self.config.get("annotations", {}).get(KEEP_GROUPS):
            self.config["process"].get("user", {}).pop("additionalGids", None)
        self.state: State | None = None
        self.manager: cgroups.Manager | None = None
        self.lock: Lock | None = None
        self.facts: Facts | None = None
        self.plan: CreatePlan | None = None
        self.answers: Answers | None = None
        # What this call adds to the configuration's, and no later `exec` gets.
        self.more_environment: list[str] = []
        self.notify: Proxy | None = None
        self.net_devices: NetDevices | None = None
        self.hooked = False  # whether hooks have run, so that poststop's follow

    # -- before there is a process ---------------------------------------------------------------

    def prepare(self) -> None:
        """Read and check the configuration; make the state directory and the cgroup."""
        request = self.request
        config = self.config
        for warning in check(config, request.bundle, euid=posix.geteuid()):
            log.warning(warning)
        detached = self.listen or request.detach
        check_console(config["process"], request.console_socket, "/process", detached=detached)
        check_selinux(config["process"], "/process")
        preserved = self._preserved()
        rootfs = real_path(self._join(config["root"]["path"]))
        self.facts = facts = Facts(request.id, request.bundle, rootfs)
        facts.lowest = 3 + preserved
        facts.pivot = not request.no_pivot
        facts.keyring = not request.no_new_keyring
        facts.privileged = posix.geteuid() == 0
        if request.no_pivot:
            from pyrunc.kernel.mountinfo import exposed_mounts

            facts.exposed = exposed_mounts(rootfs)
        if Namespaces(config).has("user"):
            facts.may_drop_groups = may_drop_groups()
        self._seccomp()
        self._check_capabilities()
        self.lock = self.store.create(request.id)
        self.state = state = State(
            request.id, bundle=request.bundle, rootfs=rootfs, config=config, status_hint="creating"
        )
        if request.no_new_keyring:
            state.extra["noKeyring"] = True  # for exec
        self.manager = manager = cgroups.manager(
            config.get("linux", {}),
            request.id,
            driver=self.globals.cgroups,
            rootless=self.globals.is_rootless(),
            annotations=config.get("annotations", {}),
            owner=delegate.owner(config),
        )
        # Written before the cgroup exists: whatever dies from here on can be removed by `delete --force`.
        state.cgroup = manager.to_state()
        state.extra["since"] = int(clock_gettime(CLOCK_BOOTTIME) * 100)  # in ticks, as proc(5) has it
        self.store.save(state)
        if b"NOTIFY_SOCKET" in posix.environ:
            self._notify_socket()
        # With nsdelegate nobody can be born outside of the cgroup namespace that the agent has joined by then: the
        # process is put there from here.
        facts.by_pid = Namespaces(config).joins("cgroup")
        directory = manager.create()
        if directory is not None and facts.by_pid:
            manager.apply()
            state.cgroup = manager.to_state()
            facts.cgroup = None
        elif directory is not None:
            manager.apply()
            state.cgroup = manager.to_state()
            facts.cgroup = Fd(fcntl(directory, F_DUPFD_CLOEXEC, facts.lowest + 8), "cgroup")
            program = manager.device_program()
            if program is not None:
                restrict(facts, manager, program)
        else:
            state.cgroup = manager.to_state()
            facts.cgroup = None
            facts.by_pid = bool(getattr(manager, "needs_pid", False))
            if not facts.by_pid and manager.rootless and not Namespaces(config).has("pid"):
                log.warning(NOT_TO_BE_KILLED)
        facts.cgroup_mount = getattr(manager.host, "mount", "") or "/sys/fs/cgroup"
        facts.cgroup_flags = detect.mount_flags(config, facts.cgroup_mount)
        if manager.path.startswith(facts.cgroup_mount):
            facts.cgroup_path = manager.path[len(facts.cgroup_mount) :]

    def _notify_socket(self) -> None:
        """A way for the container to tell the service manager of pyrunc that it is ready."""
        from pyrunc.foreground import sd_notify

        directory = self.store.path(self.request.id, "notify")
        mount = sd_notify.make_directory(directory)
        config = self.config
        self.config = {**config, "mounts": [*config.get("mounts", []), mount]}
        self.more_environment.append(sd_notify.ENVIRONMENT)
        if not self.listen:
            self.notify = sd_notify.Proxy(directory)

    def _join(self, path: str) -> str:
        return path if path.startswith("/") else f"{self.request.bundle}/{path}"

    def _preserved(self) -> int:
        """How many descriptors from 3 on the container gets: LISTEN_FDS meant for us, and --preserve-fds."""
        listen = 0
        if posix.environ.get(b"LISTEN_PID") == str(posix.getpid()).encode():
            text = posix.environ.get(b"LISTEN_FDS", b"0")
            listen = int(text) if text.isdigit() else 0
            if listen:
                self.more_environment += [f"LISTEN_FDS={listen}", "LISTEN_PID=1"]
        count = listen + self.request.preserve_fds
        check_preserved(count)
        return count

    def _seccomp(self) -> None:
        if not has_filter(self.config):
            return
        from pyrunc.seccomp import filter_of

        assert self.facts is not None
        compiled = filter_of(self.config)
        if compiled is not None:
            self.facts.seccomp = (compiled.program, compiled.flags, not self.facts.privileged)
            if compiled.listener:
                from pyrunc.setup.seccomp_agent import check_agent

                check_agent(compiled.listener_path)

    def _check_capabilities(self) -> None:
        process = self.config["process"]
        spaces = Namespaces(self.config)
        if spaces.new & CLONE_NEWUSER and posix.geteuid() == 0:
            assert self.facts is not None
            self.facts.capabilities = own_capabilities()
        if not process.get("capabilities") or spaces.has("user"):
            return
        sets = Sets(process.get("capabilities"))
        check_capabilities(sets.permitted | sets.effective | sets.inheritable, own_capabilities())

    # -- the processes ---------------------------------------------------------------------------

    def build(self) -> None:
        """Make the processes and bring the init to the point where it only has to execute its program."""
        facts = self.facts
        assert facts is not None
        assert self.state is not None
        assert self.manager is not None
        lowest = facts.lowest + 8
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
            from pyrunc.setup.host_hooks import inherited_files

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
        except Lost:
            raise self.lost("the container's init ended", self.pid) from None
        answers.end()

    def _clone(self, facts: Facts) -> "tuple[CreatePlan, list[Step]]":
        """Have the agent make the init; the plan, and its steps as far as they were sent."""
        self.plan = plan = compile_create(self.config, facts)
        agent = plan.agent.items
        while True:
            steps, failed, errno = self.ask_agent([*agent, plan.child_label, *first_piece(plan.child.items)[0]])
            if failed is None:
                return plan, steps
            if failed.name != "clone3" or errno != ENOSYS:
                raise step_errors.step_error(failed, errno, step_errors.SETUP)
            # A filter around pyrunc that wants to see the flags, as that of systemd's RestrictNamespaces=. What comes
            # before the clone has been done.
            facts.old_clone = True
            facts.by_pid = facts.cgroup is not None
            self.plan = plan = compile_create(self.config, facts)
            agent = plan.agent.items[plan.clone :]

    def _record_user_namespace(self) -> None:
        """Which one it is, for exec: the container's first process may leave it."""
        spaces = Namespaces(self.config)
        if spaces.has("user"):
            assert self.state is not None
            joined = [path for kind, path, _ in spaces.joined if kind == "user"]
            path = joined[0] if joined else f"/proc/{self.pid}/ns/user"
            self.state.extra["userNamespace"] = posix.stat(path).st_ino

    def _intel_rdt(self) -> None:
        config = self.config.get("linux", {}).get("intelRdt")
        if config is None:
            return
        from pyrunc.setup import resctrl

        assert self.state is not None
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

        assert self.facts is not None
        self.net_devices = NetDevices(self.pid, self.facts.lowest + 8)
        self.net_devices.move(devices)

    def why_lost(self, signal: int) -> "tuple[str, str]":
        """Usually it is the memory limit."""
        memory = (self.config.get("linux", {}).get("resources") or {}).get("memory") or {}
        limit = (memory.get("limit") or 0) > 0
        hint = "raise the memory limit (linux/resources/memory/limit)" if limit else ""
        manager = self.manager
        if manager is not None and oom_killed(manager):
            return " (the memory limit was reached during set-up)", hint
        if signal == SIGKILL and limit and manager is not None and not posix.access(manager.path, posix.F_OK):
            # systemd has removed the cgroup with its only process, and the kernel's count with it. That a descriptor
            # of the folder is open says nothing.
            return " (probably because the memory limit was reached during set-up)", hint
        return "", ""

    # -- the end ---------------------------------------------------------------------------------

    def commit(self, status: str) -> None:
        """Record the container as `status` ("created" or "started") and let its init go on."""
        state, session = self.state, self.session
        assert state is not None
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
        log.debug("init: closing the pipe to signal completion")
        self.steps = session.send(self.last)

    def handover(self) -> "Handover | None":
        """What gives the seccomp agent its listener, where the configuration names one."""
        profile = self.config.get("linux", {}).get("seccomp")
        if not profile or not profile.get("listenerPath"):
            return None
        from pyrunc.setup.seccomp_agent import Handover

        assert self.state is not None
        return Handover(profile, self.pid, self.state.hook_state("creating"))

    def end(self) -> None:
        """Let go of what only the making needed; the container stays."""
        if self.trace is not None:
            from pyrunc.setup.trace import write

            write(self.request.trace, self.trace)
        if self.manager is not None:
            self.manager.close()
        if self.net_devices is not None:
            self.net_devices.close()
        if self.session is not None:
            self.session.close()
        self.release_lock()

    def release_lock(self) -> None:
        """Let others change the container."""
        if self.lock is not None:
            self.lock.release()

    def undo(self) -> None:
        """Leave nothing behind: kill the processes, remove the cgroup and the state directory."""
        self.kill()
        self.end_agent()
        if self.answers is not None:
            self.answers.end()
        self._remove_rdt()
        if self.net_devices is not None:
            self.net_devices.give_back()
            self.net_devices.close()
        if self.session is not None:
            self.session.close()
        if self.manager is not None:
            try:
                self.manager.discard()
            except Exception as error:  # whatever it is, the rest has to be undone as well
                log.warning(f"the cgroup is left behind: {error}")
        if self.lock is not None:
            self.store.remove(self.request.id)
            self.lock.release()
        if self.hooked:
            self._poststop()

    def _remove_rdt(self) -> None:
        if self.state is not None and "intelRdt" in self.state.extra:
            from pyrunc.setup import resctrl

            try:
                resctrl.remove(self.state)
            except Error as error:
                log.warning(str(error))

    def _poststop(self) -> None:
        """runtime.md, "Lifecycle": a hook that fails stops the container, and poststop hooks follow."""
        hooks = self.config.get("hooks", {}).get("poststop")
        if hooks and self.state is not None:
            from pyrunc.setup.host_hooks import run_poststop

            run_poststop(hooks, self.state.hook_state("stopped"), cwd=self.request.bundle)
