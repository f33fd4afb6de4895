"""What a container's init is answered on its way: at each sync of its program (plan/create.py), and where a step fails.

    begin         its cgroup, where it could not be born there, hard limits and id maps
    hooks         prestart and createRuntime here; createContainer's go to the init as steps
    CopyUp        the copies for tmpcopyup
    IdMap         ids mapped by the host's privileges
    HostNodes     devices in a user namespace
    Node          a device in whose place something is, or that may not be made
    Console       where the terminal's master goes
    LookUp        the executable and HOME; compiles the rest of the program

Import cost: what create.py imports.
"""

import posix
from errno import EACCES, EEXIST, EINVAL, ENOENT, ENOTDIR, EPERM

from pyrunc.config.annotation_names import KEEP_GROUPS
from pyrunc.errors import INIT, SETUP, Error
from pyrunc.kernel.files import read_file, read_sent
from pyrunc.kernel.uapi import CLONE_NEWUSER
from pyrunc.machine.ops import Label, Program, Step, conversation
from pyrunc.machine.session import Lost
from pyrunc.plan.console import Console
from pyrunc.plan.create import finish
from pyrunc.plan.filesystem.devices import HostNodes, Node
from pyrunc.plan.filesystem.inroot import Target
from pyrunc.plan.filesystem.mountapi import BindSource, CopyUp, IdMap
from pyrunc.plan.process.lookup import FILE_SIZE, LookUp, environment, home_of
from pyrunc.setup.device_filter import restrict_existing
from pyrunc.setup.failures import step_errors
from pyrunc.setup.filesystem.path_failures import PathFailures
from pyrunc.setup.host import raise_hard_limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyrunc.cgroups import Manager
    from pyrunc.container.create import Creation
    from pyrunc.machine.session import Reply, Session
    from pyrunc.plan.create import CreatePlan
    from pyrunc.plan.facts import Facts
    from pyrunc.setup.filesystem import host_nodes
    from pyrunc.setup.filesystem.host_mounts import HostMounts
    from pyrunc.state.state import State

    Items = Iterable[Step | Label]


class Answers:
    """The answering side of one creation, whose init `creation.pid` exists."""

    def __init__(
        self, creation: "Creation", session: "Session", plan: "CreatePlan", facts: "Facts", state: "State",
        manager: "Manager",
    ) -> None:  # fmt: skip
        self.creation = creation
        self.config = creation.config
        self.session = session
        self.plan = plan
        self.facts = facts
        self.state = state
        self.manager = manager
        self.deny_setgroups = False
        self._paths = PathFailures(session)
        self._host_mounts: HostMounts | None = None
        self._host_nodes: host_nodes.HostNodes | None = None

    def at_sync(self, key: object, reply: "Reply") -> "Items | None":
        """Do what the init waits for; steps to send before the rest, or None (conduct.conduct)."""
        if type(key) is LookUp:
            return self._finish(key, reply)
        if key == "begin":
            self._begin()
            return None
        if key == "hooks":
            return self._run_hooks()
        if type(key) is Console:
            self.creation.take_console(self.config["process"])
        elif type(key) is CopyUp:
            self._copy_up(key)
        elif type(key) is IdMap:
            self._mounts().map_ids(key, self.config, self.session.descriptors.pop())
        elif type(key) is HostNodes:
            self._make_nodes(key)
        elif type(key) is not str:
            raise step_errors.hook_failed(key, reply.data)  # the only key left: plan.hooks.HookFailed
        return None

    def at_failure(self, step: Step, errno: int) -> "tuple[bool, Items]":
        """Whether to try the step again, and steps before that; or raises what is to be said of it."""
        key = step.key
        errno, answer = self._paths.answer(step, errno)
        if not errno:
            return answer
        if type(key) is BindSource and errno == EACCES:
            errno = self._mounts().instead(step, self.session)
            if not errno:
                return False, ()
        if type(key) is Node and errno in (EEXIST, EPERM):
            from pyrunc.setup.filesystem.device_nodes import Nodes

            return False, Nodes(self.session, key).refused(errno)
        if type(key) is Target and errno == ENOENT:
            from pyrunc.setup.filesystem.path_walk import Walk

            try:
                Walk(self.session, key.root).make(key)
            except Error as error:
                where = f"{step.why} ({step.at[1:]})" if step.at else step.why
                raise error.prefixed(f"{INIT}{where}: ") from None
            return False, ()
        if step.name == "move_mount" and errno == EINVAL:
            errno = self._move_refused(step)
        if step.name in ("fsconfig", "fsmount"):
            from pyrunc.setup.failures.kernel_words import of_filesystem

            raise of_filesystem(self.session, step, errno, INIT)
        failed = step_errors.step_error(step, errno, INIT)
        if step.name in ("move_mount", "open_tree") and not failed.hint:
            from pyrunc.setup.failures.mount_hints import of_mount

            failed.hint = of_mount(self.config, self.creation.request.bundle, step, errno)
        raise failed

    def end(self, error: "Lost | None" = None) -> None:
        """Let go of what the answers needed. error: a session that has ended; raised again if it is of an agent of
        theirs, as what the end of that was."""
        nodes, self._host_nodes = self._host_nodes, None
        mounts, self._host_mounts = self._host_mounts, None
        try:
            if nodes is not None:
                nodes.close(error)
        finally:
            if mounts is not None:
                mounts.close(error)

    def told(self, lost: "Lost") -> "Lost":
        """The same, with what the end of the agent was, if it is of one of theirs."""
        try:
            self.end(lost)
        except Lost as it:
            return it
        return lost

    # -- at the beginning ------------------------------------------------------------------------

    def _begin(self) -> None:
        """What the new process needs before it goes on: its cgroup, and its ids."""
        pid = self.creation.pid
        if self.facts.by_pid:
            self.manager.add(pid)
            self.state.cgroup = self.manager.to_state()
            program = self.manager.device_program()
            if program is not None and self.facts.before_clone is None:
                restrict_existing(self.manager, program, self.facts.above)
        spaces = self.creation.spaces
        if spaces.has("user"):
            raise_hard_limits(pid, self.config["process"])
        if spaces.new & CLONE_NEWUSER:
            from pyrunc.setup.id_maps import write_maps

            linux = self.config.get("linux", {})
            user = self.config["process"].get("user", {})
            self.deny_setgroups = write_maps(
                pid,
                linux.get("uidMappings", []),
                linux.get("gidMappings", []),
                bool(user.get("additionalGids")),
            )

    # -- mounts ----------------------------------------------------------------------------------

    def _mounts(self) -> "HostMounts":
        if self._host_mounts is None:
            from pyrunc.setup.filesystem.host_mounts import HostMounts

            self._host_mounts = HostMounts(self.creation.pid, self.facts.above)
        return self._host_mounts

    def _make_nodes(self, key: HostNodes) -> None:
        from pyrunc.setup.filesystem import host_nodes
        from pyrunc.setup.filesystem.device_nodes import Nodes

        left = key.nodes
        if self.facts.privileged:
            if self._host_nodes is None:
                self._host_nodes = host_nodes.HostNodes(self.creation.pid, self.facts.above)
            left = self._host_nodes.make(self.session, left)
        for node in left:
            Nodes(self.session, node).bind_hosts()

    def _copy_up(self, key: CopyUp) -> None:
        from pyrunc.setup.filesystem.charged import copy_charged

        mount, directory = self.session.descriptors.pop(), self.session.descriptors.pop()
        try:
            copy_charged(directory, mount, self._join_cgroup, self._why_killed)
        except Error as error:
            error.pointer = error.pointer or key.at
            raise error.prefixed(f"{INIT}{key.why} ({key.at[1:]}): ") from None
        finally:
            posix.close(directory)
            posix.close(mount)

    def _join_cgroup(self, pid: int) -> None:
        """Move a process to where the init is; nothing where the container has no cgroup of its own."""
        if self.facts.cgroup is not None or self.facts.by_pid:
            self.manager.add(pid)

    def _why_killed(self, signal: int) -> "tuple[str, str]":
        """creation.why_lost, for a process that copies: with the limit."""
        reason, hint = self.creation.why_lost(signal)
        limit = self.config.get("linux", {}).get("resources", {}).get("memory", {}).get("limit", 0)
        return f"{reason.removesuffix(')')}: {limit} bytes)" if reason and limit > 0 else reason, hint

    def _move_refused(self, step: Step) -> int:
        """The errno that tells more than move_mount's EINVAL, where a file meets a directory."""
        from pyrunc.plan.filesystem.inroot import is_directory

        kinds = []
        for reg in (step.args[0], step.args[2]):
            p = Program(conversation())
            no = Label("no directory")
            is_directory(p, reg, no)  # type: ignore[arg-type]
            p.sync("directory")
            p.label(no)
            p.sync("other")
            reply = self.session.run(p)
            kinds.append(reply.step is not None and reply.step.key == "directory")
        return ENOTDIR if kinds[0] != kinds[1] else EINVAL

    # -- hooks, and the end of the program -------------------------------------------------------

    def _run_hooks(self) -> "Items | None":
        from pyrunc.setup.host_hooks import run_hooks, state_json

        hooks = self.config.get("hooks", {})
        bundle = self.creation.request.bundle
        self.creation.hooked = True
        given = self.state.hook_state("creating")
        for kind, listed in (
            ("prestart", hooks.get("prestart")),
            ("createRuntime", hooks.get("createRuntime")),
        ):
            if listed:
                run_hooks(listed, kind, given, cwd=bundle)
        inside = hooks.get("createContainer")
        if not inside:
            return None
        from pyrunc.plan.hooks import run_all

        assert self.plan.root is not None
        steps = Program(conversation())
        run_all(steps, inside, "createContainer", state_json(given), [], self.plan.root, self.facts.hook_files)
        return steps

    def _finish(self, key: LookUp, reply: "Reply") -> "Items":
        process = self.config["process"]
        try:
            path = key.read(reply.data, process["args"][0])
        except Error as error:
            raise error.prefixed(SETUP) from None
        if self.config.get("hooks", {}).get("startContainer"):
            from pyrunc.setup.host_hooks import state_json

            given = self.state.hook_state("created")
            if self.state.private_pid:
                given["pid"] = 1
            self.facts.hook_state = state_json(given)
        home = None
        if key.passwd:
            sent = self.session.descriptors
            home = home_of(read_sent(sent, FILE_SIZE) if sent else b"", process.get("user", {}).get("uid", 0))
        spaces = self.creation.spaces
        if spaces.has("user") and not spaces.new & CLONE_NEWUSER:
            # One that was joined keeps what was decided when its gid_map was written.
            self.deny_setgroups = read_file(f"/proc/{self.creation.pid}/setgroups").strip() == b"deny"
        env = [*process.get("env", []), *self.creation.prepared.more_environment]
        ready, last = finish(
            self.plan,
            self.config,
            self.facts,
            path,
            environment({**process, "env": env}, home),
            deny_setgroups=self.deny_setgroups or bool(self.state.annotations.get(KEEP_GROUPS)),
        )
        self.creation.last = last.items
        return ready
