"""What `create`, `run` and `restore` do before there is a process: read, check, look at the host, and make the state
directory and the cgroup.
"""

import posix
from time import CLOCK_BOOTTIME, clock_gettime

from pyrunc import cgroups
from pyrunc.cgroups import delegate, detect
from pyrunc.config.annotation_names import KEEP_GROUPS
from pyrunc.config.load import load_config
from pyrunc.config.rules.check import check
from pyrunc.kernel.files import real_path
from pyrunc.kernel.uapi import CLONE_NEWUSER
from pyrunc.log import log
from pyrunc.machine.ops import Fd
from pyrunc.machine.session import above
from pyrunc.plan.facts import Facts
from pyrunc.plan.namespaces import Namespaces
from pyrunc.plan.process.capabilities import Sets
from pyrunc.plan.process.process import check_capabilities
from pyrunc.setup.device_filter import restrict
from pyrunc.setup.host import check_selinux, has_filter, may_drop_groups, on_null, own_capabilities
from pyrunc.setup.process import attempt, check_console, check_preserved
from pyrunc.state.state import State
from pyrunc.state.store import Lock, Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.config.types import Config
    from pyrunc.foreground.sd_notify import Proxy
    from pyrunc.options import Globals
    from pyrunc.setup.request import CreateRequest

NOT_TO_BE_KILLED = (
    "the container has neither a cgroup nor a pid namespace of its own: what its first process leaves behind cannot be"
    " found, nor killed. Such configuration is strongly discouraged"
)


class Preparation:
    """A container before it has a process: what is known of it, and by `make` its state directory and its cgroup.

    config: as it was read, and with the mount for NOTIFY_SOCKET. spaces: its namespaces.
    facts: what its plan needs to know of the host. state, manager, lock: its own; the lock is held once made.
    more_environment: what this call adds to the configuration's, and no later `exec` gets.
    notify: who passes on to pyrunc's service manager that the container is ready.
    """

    def __init__(self, globals_: "Globals", request: "CreateRequest", *, listen: bool) -> None:
        """Read and check; nothing is made yet. listen: whether it is to wait for `start`. Errors: errors.Error."""
        self.globals = globals_
        self.request = request
        self.listen = listen
        self.store = Store(globals_.root)
        self.config: Config = load_config(request.bundle, request.config)
        if self.config.get("annotations", {}).get(KEEP_GROUPS):
            self.config["process"].get("user", {}).pop("additionalGids", None)
        self.spaces = Namespaces(self.config)
        self.more_environment: list[str] = []
        self.notify: Proxy | None = None
        self.lock = Lock(-1)
        self._check()
        self.facts = self._look_at_host()
        self._seccomp()
        self._check_capabilities()
        config = self.config
        self.state = State(
            request.id, bundle=request.bundle, rootfs=self.facts.rootfs, config=config, status_hint="creating"
        )
        if request.no_new_keyring:
            self.state.extra["noKeyring"] = True  # for exec
        self.manager = cgroups.manager(
            config.get("linux", {}),
            request.id,
            driver=globals_.cgroups,
            rootless=globals_.is_rootless(),
            annotations=config.get("annotations", {}),
            owner=delegate.owner(config),
        )

    # -- before anything is made -----------------------------------------------------------------

    def _check(self) -> None:
        request, config = self.request, self.config
        for warning in check(config, request.bundle, euid=posix.geteuid()):
            log.warning(warning)
        detached = self.listen or request.detach
        check_console(config["process"], request.console_socket, "/process", detached=detached)
        check_selinux(config["process"], "/process")

    def _look_at_host(self) -> Facts:
        request = self.request
        preserved = self._preserved()
        path = self.config["root"]["path"]
        rootfs = real_path(path if path.startswith("/") else f"{request.bundle}/{path}")
        facts = Facts(request.id, request.bundle, rootfs)
        facts.lowest = 3 + preserved
        facts.on_null = on_null()
        facts.pivot = not request.no_pivot
        facts.keyring = not request.no_new_keyring
        facts.privileged = posix.geteuid() == 0
        if request.no_pivot:
            from pyrunc.kernel.mountinfo import exposed_mounts

            facts.exposed = exposed_mounts(rootfs)
        if self.spaces.has("user"):
            facts.may_drop_groups = may_drop_groups()
        return facts

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

        compiled = filter_of(self.config)
        if compiled is not None:
            self.facts.seccomp = (compiled.program, compiled.flags, not self.facts.privileged)
            if compiled.listener:
                from pyrunc.setup.seccomp_agent import check_agent

                check_agent(compiled.listener_path)

    def _check_capabilities(self) -> None:
        process = self.config["process"]
        if self.spaces.new & CLONE_NEWUSER and posix.geteuid() == 0:
            self.facts.capabilities = own_capabilities()
        if not process.get("capabilities") or self.spaces.has("user"):
            return
        sets = Sets(process.get("capabilities"))
        check_capabilities(sets.permitted | sets.effective | sets.inheritable, own_capabilities())

    # -- what is made ----------------------------------------------------------------------------

    def make(self) -> None:
        """The state directory, with the lock, and the cgroup. Errors leave it to `undo` to remove them."""
        state, manager = self.state, self.manager
        self.lock = self.store.create(self.request.id)
        # Written before the cgroup exists: whatever dies from here on can be removed by `delete --force`.
        state.cgroup = manager.to_state()
        state.extra["since"] = int(clock_gettime(CLOCK_BOOTTIME) * 100)  # in ticks, as proc(5) has it
        self.store.save(state)
        if b"NOTIFY_SOCKET" in posix.environ:
            self._notify_socket()
        self._make_cgroup()

    def _make_cgroup(self) -> None:
        facts, state, manager, spaces = self.facts, self.state, self.manager, self.spaces
        # With nsdelegate nobody can be born outside of the cgroup namespace that the agent has joined by then: the
        # process is put there from here.
        facts.by_pid = spaces.joins("cgroup")
        facts.cgroup = None
        directory = manager.create()
        if directory is not None:
            manager.apply()
        state.cgroup = manager.to_state()
        if directory is None:
            facts.by_pid = manager.needs_pid
            if not facts.by_pid and manager.rootless and not spaces.has("pid"):
                log.warning(NOT_TO_BE_KILLED)
        elif not facts.by_pid:
            facts.cgroup = Fd(above(directory, facts.above), "cgroup")
            program = manager.device_program()
            if program is not None:
                restrict(facts, manager, program)
        facts.cgroup_mount = getattr(manager.host, "mount", "") or "/sys/fs/cgroup"
        facts.cgroup_flags = detect.mount_flags(self.config, facts.cgroup_mount)
        if manager.many:
            facts.cgroup_v1 = tuple(manager.paths.items())
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

    def undo(self) -> None:
        """Leave nothing behind: remove the cgroup and the state directory, where they are this container's."""
        if self.lock.fd < 0:
            return
        attempt(self.manager.discard, "the cgroup is left behind")
        attempt(lambda: self.store.remove(self.request.id), "the state directory is left behind")
        self.lock.release()
