"""`pyrunc create`: everything up to a container whose init waits for `start`; `run` uses it too.

    host: Creation                       pyrunc-init
    state directory, cgroup
    spawn the agent ───────────────────► agent: device program, joins, clone3
    id maps, oom_score_adj, cgroup ◄───► init: "begin"
                                         mounts, devices
    hooks, console, decisions ◄────────► syncs of plan/create.py
    the executable, HOME ◄─────────────► LookUp
    state.json, pid file ◄─────────────► "ready"
    exit                                 waits on start.sock

The init dies with pyrunc (PDEATHSIG, and the end of its session) until it has been told to wait for `start`.
"""

import posix
from _socket import AF_UNIX, SOCK_STREAM, socket
from fcntl import F_DUPFD_CLOEXEC, fcntl

from pyrunc import cgroups
from pyrunc.cgroups import delegate
from pyrunc.config.check import check
from pyrunc.config.load import load_config
from pyrunc.container import failure
from pyrunc.container.conduct import conduct, first_piece
from pyrunc.container.host import (
    check_selinux,
    oom_killed,
    own_capabilities,
    raise_hard_limits,
    read_file,
    reap,
    send_fd,
    write_file,
    write_pid_file,
)
from pyrunc.container.state import State
from pyrunc.container.store import Store
from pyrunc.errors import Error, from_os_error
from pyrunc.log import log
from pyrunc.machine.ops import CONVERSATION, Fd, Label, Program, Registers, Step
from pyrunc.machine.session import Agent, Lost, Session, Trace, pair, sealed_init, spawn
from pyrunc.plan.capabilities import Sets
from pyrunc.plan.console import Console
from pyrunc.plan.create import CreatePlan, Facts, compile_create, finish
from pyrunc.plan.inroot import Target
from pyrunc.plan.mounts import BindSource, CopyUp, IdMap, InheritMode
from pyrunc.plan.namespaces import Namespaces
from pyrunc.plan.process import LookUp, check_capabilities, environment, home_of
from pyrunc.plan.uapi import (
    CLONE_NEWUSER,
    EACCES,
    EAGAIN,
    EINVAL,
    ENOENT,
    ENOTDIR,
    FSCONFIG_SET_STRING,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyrunc.config.types import Config
    from pyrunc.container.hostmounts import HostMounts
    from pyrunc.container.netdevices import NetDevices
    from pyrunc.container.notify import Handover
    from pyrunc.container.request import CreateRequest
    from pyrunc.container.sdnotify import Proxy
    from pyrunc.globals import Globals
    from pyrunc.machine.session import Reply

    Items = Iterable[Step | Label]

SIGKILL = 9
_LISTENING = "start.sock"
# Retries of a path walk that someone disturbs by renaming: 2 ms and more of them.
_MOST_RETRIES = 4096


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


class Creation:
    """The making of one container: prepare, build, commit, end; or undo at any point."""

    def __init__(self, globals_: "Globals", request: "CreateRequest", *, listen: bool) -> None:
        self.globals = globals_
        self.request = request
        self.listen = listen
        self.store = Store(globals_.root)
        self.trace = Trace() if request.trace else None
        self.config: Config = load_config(request.bundle)
        self.state: State | None = None
        self.manager: cgroups.Manager | None = None
        self.lock: object = None
        self.facts: Facts | None = None
        self.plan: CreatePlan | None = None
        self.session: Session | None = None
        self.agent: Session | None = None
        self.agent_pid = 0
        self.pid = 0
        self.console = -1
        self.deny_setgroups = False
        self.last: list[Step | Label] = []
        # What this call adds to the configuration's, and no later `exec` gets.
        self.more_environment: list[str] = []
        self.notify: Proxy | None = None
        self.host_mounts: HostMounts | None = None
        self.net_devices: NetDevices | None = None
        self._retries = 0
        self._hooked = False

    # -- before there is a process ---------------------------------------------------------------

    def prepare(self) -> None:
        """Read and check the configuration; make the state directory and the cgroup."""
        request = self.request
        config = self.config
        for warning in check(config, request.bundle, euid=posix.geteuid()):
            log.warning(warning)
        self._check_console()
        check_selinux(config["process"], "/process")
        preserved = self._preserved()
        rootfs = real_path(self._join(config["root"]["path"]))
        self.facts = facts = Facts(request.id, request.bundle, rootfs)
        facts.lowest = 3 + preserved
        facts.pivot = not request.no_pivot
        facts.keyring = not request.no_new_keyring
        facts.privileged = posix.geteuid() == 0
        if request.no_pivot:
            facts.exposed = exposed_mounts(rootfs)
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
            systemd=self.globals.systemd_cgroup,
            rootless=self.globals.is_rootless(),
            annotations=config.get("annotations", {}),
            owner=delegate.owner(config),
        )
        # Written before the cgroup exists: whatever dies from here on can be removed by `delete --force`.
        state.cgroup = manager.to_state()
        self.store.save(state)
        if b"NOTIFY_SOCKET" in posix.environ:
            self._notify_socket()
        directory = manager.create()
        if directory is not None:
            manager.apply()
            state.cgroup = manager.to_state()
            facts.cgroup = Fd(fcntl(directory, F_DUPFD_CLOEXEC, facts.lowest + 8), "cgroup")
            program = manager.device_program()
            if program is not None:
                self._restrict_devices(program, facts.cgroup)
        else:
            state.cgroup = manager.to_state()
            facts.cgroup = None
            facts.by_pid = bool(getattr(manager, "needs_pid", False))
        facts.cgroup_mount = getattr(manager.host, "mount", "") or "/sys/fs/cgroup"
        if manager.path.startswith(facts.cgroup_mount):
            facts.cgroup_path = manager.path[len(facts.cgroup_mount) :]

    def _notify_socket(self) -> None:
        """A way for the container to tell the service manager of pyrunc that it is ready."""
        from pyrunc.container import sdnotify

        directory = self.store.path(self.request.id, "notify")
        mount = sdnotify.make_directory(directory)
        config = self.config
        self.config = {**config, "mounts": [*config.get("mounts", []), mount]}
        self.more_environment.append(sdnotify.ENVIRONMENT)
        if not self.listen:
            self.notify = sdnotify.Proxy(directory)

    def _restrict_devices(self, program: bytes, cgroup: Fd) -> None:
        from pyrunc.cgroups import bpf

        assert self.facts is not None
        assert self.manager is not None
        # A container around us may forbid bpf(2); v1's device controller, not ours, rules there anyway.
        optional = self.manager.host.mode != "unified"
        self.facts.before_clone = lambda steps: bpf.attach(
            steps, program, cgroup, optional=optional
        )

    def _restrict_devices_later(self, program: bytes) -> None:
        """The same where the cgroup only exists now: by an agent of its own."""
        from pyrunc.cgroups import bpf

        assert self.manager is not None
        assert self.facts is not None
        directory = fcntl(self.manager.leaf(), F_DUPFD_CLOEXEC, self.facts.lowest + 8)
        with Agent(self.facts.lowest + 8, (directory,)) as session:
            steps = Program()
            bpf.attach(steps, program, Fd(directory, "cgroup"))
            steps.sync("done")
            reply = session.run(steps)
            if reply.errno and reply.step is not None:
                raise failure.step_error(reply.step, reply.errno, failure.SETUP)
        posix.close(directory)

    def _join(self, path: str) -> str:
        return path if path.startswith("/") else f"{self.request.bundle}/{path}"

    def _check_console(self) -> None:
        request = self.request
        terminal = bool(self.config["process"].get("terminal"))
        detached = self.listen or request.detach
        if terminal and detached and not request.console_socket:
            raise Error(
                "cannot allocate tty if runc will detach without setting console socket (process/terminal)",
                pointer="/process/terminal",
                hint="use --console-socket",
            )
        if request.console_socket and not (terminal and detached):
            raise Error(
                "cannot use console socket if runc will not detach or allocate tty",
                pointer="/process/terminal",
            )
        if terminal and not detached:
            from pyrunc.container.terminal import check_terminal

            check_terminal()

    def _preserved(self) -> int:
        """How many descriptors from 3 on the container gets: LISTEN_FDS meant for us, and --preserve-fds."""
        listen = 0
        if posix.environ.get(b"LISTEN_PID") == str(posix.getpid()).encode():
            text = posix.environ.get(b"LISTEN_FDS", b"0")
            listen = int(text) if text.isdigit() else 0
            if listen:
                self.more_environment += [f"LISTEN_FDS={listen}", "LISTEN_PID=1"]
        count = listen + self.request.preserve_fds
        for fd in range(3, 3 + count):
            try:
                posix.fstat(fd)
            except OSError as error:
                raise from_os_error(
                    f"unable to stat preserved-fd {fd} (of {count})", error
                ) from None
        return count

    def _seccomp(self) -> None:
        profile = self.config.get("linux", {}).get("seccomp")
        if not profile:
            return
        from pyrunc.seccomp import filter_for

        assert self.facts is not None
        compiled = filter_for(profile)
        if compiled is not None:
            self.facts.seccomp = (compiled.program, compiled.flags)
            if compiled.listener:
                from pyrunc.container.notify import check_agent

                check_agent(compiled.listener_path)

    def _check_capabilities(self) -> None:
        process = self.config["process"]
        if not process.get("capabilities") or Namespaces(self.config).has("user"):
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
        facts.listener = None
        if self.listen:
            facts.listener = Fd(self._listening_socket(lowest), _LISTENING)
            inherit.append(facts.listener)
        if facts.cgroup is not None:
            inherit.append(facts.cgroup)
        memfd = sealed_init()
        self.agent_pid = spawn(memfd, theirs_agent, tuple(inherit))
        posix.close(memfd)
        self.agent = Session(ours_agent, "agent", self.trace)
        self.session = Session(ours_child, "init", self.trace)
        for fd in (theirs_agent, *inherit):
            posix.close(fd)
        self.plan = plan = compile_create(self.config, facts)
        piece, rest = first_piece(plan.child.items)
        try:
            steps = self.agent.send([*plan.agent.items, plan.child_label, *piece])
            reply = self.agent.receive(steps)
            if reply.errno:
                assert reply.step is not None
                raise failure.step_error(reply.step, reply.errno, failure.SETUP)
        except Lost:
            raise self._lost("the host agent ended", self.agent_pid) from None
        self.pid = int.from_bytes(reply.data, "little")
        self._end_agent()
        self.state.set_process(self.pid)
        self._adjust_oom_score()
        self._move_network_devices()
        self._intel_rdt()
        try:
            conduct(
                self.session, [*piece, *rest], self._at_sync, self._at_failure, sent=steps
            )
        except Lost:
            raise self._lost("the container's init ended", self.pid) from None
        self._end_host_mounts()

    def _intel_rdt(self) -> None:
        config = self.config.get("linux", {}).get("intelRdt")
        if config is None:
            return
        from pyrunc.container import rdt

        assert self.state is not None
        group = rdt.group_of(config, self.request.id, rdt.mount_of())
        # As with the cgroup: written before it exists.
        self.state.extra["intelRdt"] = group.to_state()
        self.store.save(self.state)
        rdt.apply(group, config, self.pid)

    def _move_network_devices(self) -> None:
        devices = self.config.get("linux", {}).get("netDevices")
        if not devices:
            return
        from pyrunc.container.netdevices import NetDevices

        assert self.facts is not None
        self.net_devices = NetDevices(self.pid, self.facts.lowest + 8)
        self.net_devices.move(devices)

    def _listening_socket(self, lowest: int) -> int:
        """A socket in the state directory to which `start` will connect; by a short name, as sun_path has 108 bytes."""
        directory = posix.open(
            self.store.path(self.request.id), posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC
        )
        listener = socket(AF_UNIX, SOCK_STREAM)
        mask = posix.umask(0o177)
        try:
            listener.bind(f"/proc/self/fd/{directory}/{_LISTENING}")
        finally:
            posix.umask(mask)
            posix.close(directory)
        listener.listen(1)
        number = fcntl(listener.fileno(), F_DUPFD_CLOEXEC, lowest)
        listener.close()
        return number

    def _move_refused(self, step: Step) -> int:
        """The errno that tells more than move_mount's EINVAL, where a file meets a directory."""
        from pyrunc.plan.inroot import is_directory

        assert self.session is not None
        kinds = []
        for reg in (step.args[0], step.args[2]):
            p = Program(Registers(CONVERSATION, 127))
            no = Label("no directory")
            is_directory(p, reg, no)  # type: ignore[arg-type]
            p.sync("directory")
            p.label(no)
            p.sync("other")
            reply = self.session.run(p)
            kinds.append(reply.step is not None and reply.step.key == "directory")
        return ENOTDIR if kinds[0] != kinds[1] else EINVAL

    def _end_agent(self) -> None:
        if self.agent is not None:
            self.agent.close()
            self.agent = None
        if self.agent_pid:
            reap(self.agent_pid)
            self.agent_pid = 0

    def _lost(self, what: str, pid: int) -> Error:
        """Why a process is gone that did not say so: usually the memory limit."""
        status = reap(pid)
        how = f"killed by signal {posix.WTERMSIG(status)}" if posix.WIFSIGNALED(status) else ""
        how = how or f"exit status {posix.WEXITSTATUS(status)}"
        if pid == self.pid:
            self.pid = 0
        text = f"{failure.SETUP}{what}: {how}"
        memory = (self.config.get("linux", {}).get("resources") or {}).get("memory") or {}
        limit = (memory.get("limit") or 0) > 0
        hint = "raise the memory limit (linux/resources/memory/limit)" if limit else ""
        if self.manager is not None and oom_killed(self.manager):
            text += " (the memory limit was reached during set-up)"
        elif how.endswith("signal 9") and limit and self.manager is not None and not self.manager.exists():
            # systemd has removed the cgroup with its only process, and the kernel's count with it.
            text += " (probably because the memory limit was reached during set-up)"
        else:
            hint = ""
        return Error(text, hint=hint)

    def _adjust_oom_score(self) -> None:
        score = self.config["process"].get("oomScoreAdj")
        if score is None:
            return
        try:
            write_file(f"/proc/{self.pid}/oom_score_adj", str(score).encode())
        except OSError as error:
            if posix.geteuid() == 0 and not self.globals.is_rootless():
                raise Error(
                    f"{failure.SETUP}unable to set oom_score_adj (process/oomScoreAdj):"
                    f" {posix.strerror(error.errno or 0).lower()}",
                    pointer="/process/oomScoreAdj",
                    errno=error.errno or 0,
                ) from None

    # -- where the program asks or fails ---------------------------------------------------------

    def _at_sync(self, key: object, reply: "Reply") -> "Items | None":
        if type(key) is LookUp:
            return self._finish(key, reply)
        if key == "begin":
            self._begin()
            return None
        if key == "hooks":
            return self._run_hooks()
        if type(key) is Console:
            self._take_console()
        elif type(key) is InheritMode:
            return self._inherit_mode(key, reply.data)
        elif type(key) is CopyUp:
            self._copy_up()
        elif type(key) is IdMap:
            assert self.session is not None
            self._host_mounts().map_ids(key, self.config, self.session.descriptors.pop())
        elif type(key) is not str:
            raise failure.hook_failed(key, reply.data)  # the only key left: plan.hooks.HookFailed
        return None

    def _host_mounts(self) -> "HostMounts":
        if self.host_mounts is None:
            from pyrunc.container.hostmounts import HostMounts

            assert self.facts is not None
            self.host_mounts = HostMounts(self.pid, self.facts.lowest + 8)
        return self.host_mounts

    def _end_host_mounts(self) -> None:
        if self.host_mounts is not None:
            self.host_mounts.close()
            self.host_mounts = None

    def _at_failure(self, step: Step, errno: int) -> "tuple[bool, Items]":
        key = step.key
        if errno == EAGAIN and step.name == "openat2" and self._retries < _MOST_RETRIES:
            # The kernel could not be sure that ".." stayed inside while something was renamed: again.
            self._retries += 1
            return True, ()
        if type(key) is BindSource and errno == EACCES and self.facts is not None:
            assert self.session is not None
            errno = self._host_mounts().instead(step, self.session)
            if not errno:
                return False, ()
        if type(key) is Target and errno == ENOENT:
            from pyrunc.container.target import Walk

            assert self.session is not None
            try:
                Walk(self.session, Registers(CONVERSATION, 127), key.root).make(key)
            except Error as error:
                where = f"{step.why} ({step.at[1:]})" if step.at else step.why
                raise error.prefixed(f"{failure.INIT}{where}: ") from None
            return False, ()
        if step.name == "move_mount" and errno == EINVAL:
            errno = self._move_refused(step)
        raise failure.step_error(step, errno, failure.INIT)

    def _begin(self) -> None:
        """What the new process needs before it goes on: its cgroup, and its ids."""
        assert self.manager is not None
        assert self.facts is not None
        assert self.state is not None
        if self.facts.by_pid:
            self.manager.add(self.pid)
            self.state.cgroup = self.manager.to_state()
            program = self.manager.device_program()
            if program is not None:
                self._restrict_devices_later(program)
        spaces = Namespaces(self.config)
        if spaces.has("user"):
            raise_hard_limits(self.pid, self.config["process"])
        if spaces.new & CLONE_NEWUSER:
            from pyrunc.container.idmap import write_maps

            linux = self.config.get("linux", {})
            user = self.config["process"].get("user") or {}
            self.deny_setgroups = write_maps(
                self.pid,
                linux.get("uidMappings") or [],
                linux.get("gidMappings") or [],
                bool(user.get("additionalGids")),
            )

    def _run_hooks(self) -> "Items | None":
        from pyrunc.container.hooks import run_hooks

        assert self.state is not None
        hooks = self.config.get("hooks", {})
        self._hooked = True
        given = self.state.hook_state("creating")
        for kind, listed in (
            ("prestart", hooks.get("prestart")),
            ("createRuntime", hooks.get("createRuntime")),
        ):
            if listed:
                run_hooks(listed, kind, given, cwd=self.request.bundle)
        inside = hooks.get("createContainer")
        if not inside:
            return None
        from pyrunc.container.hooks import state_json
        from pyrunc.plan.hooks import run_all

        assert self.plan is not None
        assert self.plan.root is not None
        steps = Program(Registers(CONVERSATION, 127))
        run_all(steps, inside, "createContainer", state_json(given), [], self.plan.root)
        return steps

    def _take_console(self) -> None:
        assert self.session is not None
        master = self.session.descriptors.pop()
        if self.request.console_socket:
            send_fd(self.request.console_socket, master, b"/dev/ptmx", "console socket")
            posix.close(master)
        else:
            from pyrunc.container.terminal import adopt

            self.console = master
            size = self.config["process"].get("consoleSize", {})
            adopt(master, sized=bool(size.get("height") or size.get("width")))

    def _inherit_mode(self, key: InheritMode, data: bytes) -> "Items | None":
        if int.from_bytes(data[:4], "little"):
            return None  # made for this mount: the file system's own default
        mode = int.from_bytes(data[28:30], "little") & 0o7777
        word = f"{mode:o}".encode()
        return [
            Step(
                "fsconfig",
                (key.fs, FSCONFIG_SET_STRING, b"mode", word, 0),
                None, (), (), None, None, "error setting the mode of a tmpfs", "", "",
            )
        ]  # fmt: skip

    def _copy_up(self) -> None:
        from pyrunc.container.copyup import copy_tree

        assert self.session is not None
        mount, directory = self.session.descriptors.pop(), self.session.descriptors.pop()
        try:
            copy_tree(directory, mount)
        finally:
            posix.close(directory)
            posix.close(mount)

    def _finish(self, key: LookUp, reply: "Reply") -> "Items":
        assert self.plan is not None
        assert self.facts is not None
        assert self.state is not None
        process = self.config["process"]
        name = process["args"][0]
        try:
            path = key.read(reply.data, name)
        except Error as error:
            raise error.prefixed(failure.SETUP) from None
        if self.config.get("hooks", {}).get("startContainer"):
            from pyrunc.container.hooks import state_json

            given = self.state.hook_state("created")
            if self.state.private_pid:
                given["pid"] = 1
            self.facts.hook_state = state_json(given)
        home = None
        if key.passwd:
            home = home_of(b"".join(reply.notes), (process.get("user") or {}).get("uid") or 0)
        ready, last = finish(
            self.plan,
            self.config,
            self.facts,
            path,
            environment(
                {**process, "env": [*process.get("env", []), *self.more_environment]}, home
            ),
            deny_setgroups=self.deny_setgroups,
        )
        self.last = last.items
        return ready

    # -- the end ---------------------------------------------------------------------------------

    def commit(self, status: str) -> None:
        """Record the container as `status` ("created" or "started") and let its init go on."""
        state, session = self.state, self.session
        assert state is not None
        assert session is not None
        if status == "created":
            state.extra["start"] = [
                failure.kept(step)
                for step in self.last
                if type(step) is Step
            ]
        state.status_hint = status
        self.store.save(state)
        if self.request.pidfd_socket:
            pidfd = posix.pidfd_open(self.pid)
            send_fd(self.request.pidfd_socket, pidfd, b"pidfd", "pidfd socket")
            posix.close(pidfd)
        if self.request.pid_file:
            write_pid_file(self.request.pid_file, self.pid)
        self.steps = session.send(self.last)

    def handover(self, status: str) -> "Handover | None":
        """What gives the seccomp agent its listener, where the configuration names one."""
        profile = self.config.get("linux", {}).get("seccomp")
        if not profile or not profile.get("listenerPath"):
            return None
        from pyrunc.container.notify import Handover

        assert self.state is not None
        return Handover(profile, self.pid, self.state.hook_state(status))

    def end(self) -> None:
        """Let go of what only the making needed; the container stays."""
        if self.trace is not None:
            from pyrunc.container.trace import write

            write(self.request.trace, self.trace)
        if self.manager is not None:
            self.manager.close()
        if self.net_devices is not None:
            self.net_devices.close()
        if self.session is not None:
            self.session.close()
        if self.lock is not None:
            self.lock.release()  # type: ignore[attr-defined]

    def undo(self) -> None:
        """Leave nothing behind: kill the processes, remove the cgroup and the state directory."""
        if self.pid:
            try:
                posix.kill(self.pid, SIGKILL)
            except ProcessLookupError:
                pass
            reap(self.pid)
        self._end_agent()
        self._end_host_mounts()
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
            self.lock.release()  # type: ignore[attr-defined]
        if self._hooked:
            self._poststop()

    def _remove_rdt(self) -> None:
        if self.state is not None and "intelRdt" in self.state.extra:
            from pyrunc.container import rdt

            try:
                rdt.remove(self.state)
            except Error as error:
                log.warning(str(error))

    def _poststop(self) -> None:
        """runtime.md, "Lifecycle": a hook that fails stops the container, and poststop hooks follow."""
        hooks = self.config.get("hooks", {}).get("poststop")
        if hooks and self.state is not None:
            from pyrunc.container.hooks import run_hooks

            try:
                run_hooks(
                    hooks, "poststop", self.state.hook_state("stopped"), cwd=self.request.bundle
                )
            except Error as error:
                log.warning(str(error))


# -- small things of the host ---------------------------------------------------------------------


def real_path(path: str) -> str:
    """The path without symbolic links. Raises Error where there is nothing."""
    try:
        fd = posix.open(path, 0o10000000 | posix.O_CLOEXEC)
    except OSError as error:
        raise from_os_error("invalid rootfs: stat", error, pointer="/root/path") from None
    try:
        return posix.readlink(f"/proc/self/fd/{fd}")
    finally:
        posix.close(fd)


def exposed_mounts(rootfs: str) -> "list[str]":
    """proc and sysfs mounts of this mount namespace that are not below the root, the deepest first (for --no-pivot)."""
    found = []
    for line in read_file("/proc/self/mountinfo").decode(errors="surrogateescape").split("\n"):
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) > 4 and after.split(" ")[0] in ("proc", "sysfs"):
            path = unescape(fields[4])
            if path != rootfs and not path.startswith(rootfs + "/"):
                found.append(path)
    return found[::-1]


def unescape(text: str) -> str:
    """A field of mountinfo: space, tab, newline and backslash are written as octal numbers there."""
    if "\\" not in text:
        return text
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, char)
    return text
