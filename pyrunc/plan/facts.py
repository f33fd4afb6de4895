"""What a plan needs to know that its document does not say: facts of the host, of the caller and of the container.

They are gathered before anything is planned; the plans (create.py, exec.py) read nothing of the host themselves.
"""

from pyrunc.machine.ops import Fd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyrunc.config.types import Linux
    from pyrunc.machine.ops import Program
    from pyrunc.plan.waiting import Gate

    Filter = tuple[bytes, int, bool]  # what plan.process.seccomp_filter.load_filter takes

# The last steps move what they need of pyrunc's descriptors to `lowest` and up, one after the other, and close the
# rest (plan.process.process.only_what_is_needed). These are the session, up to three of the gate and two of the hooks:
# what is to be moved has to lie above.
_MOVED = 8


class Facts:
    """What the plan of `create` needs to know beside config.json.

    id: the container's.
    bundle: its absolute path.
    rootfs: the absolute path of the root file system, without symbolic links.
    lowest: the first descriptor number that is not the container's.
    agent, child: sessions of the agent and of the container's init, which the agent inherits.
    gate: the fifos over which a created container waits for `start`; None for `run`.
    cgroup: the cgroup's directory to be born in; None where there is none, or the child is added by pid.
    by_pid: whether pyrunc puts the child into its cgroup.
    cgroup_mount: where the host's cgroup file system is mounted.
    cgroup_flags: options that it has and that a mount of it has to keep.
    cgroup_path: the container's directory below it, beginning with a slash; "" for none.
    cgroup_v1: the container's groups in v1 hierarchies, as (controllers, directory).
    old_clone: whether to do without clone3(2), and so by_pid.
    before_clone: appends what the agent does first, such as the device program.
    capabilities: pyrunc's own, as a mask; asked for by a new user namespace only.
    privileged: whether pyrunc is root where it is.
    may_drop_groups: whether it is root, and setgroups(2) is allowed where it is.
    exposed: for --no-pivot: mounts of the host that have to go, as (path, type).
    pivot: whether the root is changed by pivot_root(2).
    keyring: whether the container gets a session keyring of its own.
    hook_state: the state that startContainer hooks read.
    hook_files: where hooks inside the container write to; None for what is kept for errors.
    on_null: those of 0, 1 and 2 that are /dev/null.
    seccomp: the filter; None without one.
    """

    __slots__ = (
        "agent",
        "before_clone",
        "bundle",
        "by_pid",
        "capabilities",
        "cgroup",
        "cgroup_flags",
        "cgroup_mount",
        "cgroup_path",
        "cgroup_v1",
        "child",
        "exposed",
        "gate",
        "hook_files",
        "hook_state",
        "id",
        "keyring",
        "lowest",
        "may_drop_groups",
        "old_clone",
        "on_null",
        "pivot",
        "privileged",
        "rootfs",
        "seccomp",
    )

    def __init__(self, id: str, bundle: str, rootfs: str) -> None:
        self.id = id
        self.bundle = bundle
        self.rootfs = rootfs
        self.lowest = 3
        self.agent = Fd(11, "agent's session")
        self.child = Fd(12, "init's session")
        self.gate: Gate | None = None
        self.cgroup: Fd | None = Fd(14, "cgroup")
        self.cgroup_mount = "/sys/fs/cgroup"
        self.cgroup_flags: tuple[str, ...] = ()
        self.cgroup_path = ""
        self.cgroup_v1: tuple[tuple[str, str], ...] = ()
        self.by_pid = False
        self.capabilities = 0
        self.old_clone = False
        self.before_clone: Callable[[Program], None] | None = None
        self.exposed: list[tuple[str, str]] = []
        self.hook_files: tuple[Fd | None, Fd | None] = (None, None)
        self.hook_state = b"{}"
        self.on_null: tuple[int, ...] = ()
        self.pivot = True
        self.keyring = True
        self.privileged = True
        self.may_drop_groups = True
        self.seccomp: Filter | None = None

    @property
    def above(self) -> int:
        """The lowest number for descriptors that the init inherits from pyrunc and still needs in its last steps."""
        return self.lowest + _MOVED


class ExecFacts:
    """What the plan of `exec` needs to know beside the process object.

    pidfd: the container's init.
    agent, child: sessions of the agent and of the new process, which the agent inherits.
    spaces: CLONE_NEW* of the namespaces that the configuration has and that are not pyrunc's too.
    apart: namespaces one by one, each with its CLONE_NEW*, where the container's init has left its user namespace.
    cgroup_ns: the container's cgroup namespace, if that is among them.
    privileged: whether pyrunc is root where it is.
    may_drop_groups: whether it is root, and setgroups(2) is allowed where it is.
    deny_setgroups: whether the container's user namespace forbids setgroups(2).
    keep_groups: whether pyrunc's supplementary groups stay.
    cgroup: the directory to be born in; None without one.
    by_pid: whether pyrunc puts the child into its cgroup.
    old_clone: whether to do without clone3(2), and so by_pid.
    rootfs: what to chroot to where the container has no mount namespace.
    ids: uid and gid of root in the container's user namespace.
    keyring: the session keyring to join; "" for none.
    lowest: the first descriptor number that is not the process's.
    names: whether the user is given by name.
    on_null: those of 0, 1 and 2 that are /dev/null.
    linux: that section of the container's configuration.
    seccomp: the filter; None without one.
    pointer: of the process object in its document.
    """

    __slots__ = (
        "agent",
        "apart",
        "by_pid",
        "cgroup",
        "cgroup_ns",
        "child",
        "deny_setgroups",
        "ids",
        "keep_groups",
        "keyring",
        "linux",
        "lowest",
        "may_drop_groups",
        "names",
        "old_clone",
        "on_null",
        "pidfd",
        "pointer",
        "privileged",
        "rootfs",
        "seccomp",
        "spaces",
    )

    def __init__(self) -> None:
        self.agent = Fd(11, "agent's session")
        self.child = Fd(12, "process's session")
        self.pidfd = Fd(13, "container's init")
        self.cgroup_ns: Fd | None = None
        self.cgroup: Fd | None = None
        self.by_pid = False
        self.old_clone = False
        self.spaces = 0
        self.apart: list[tuple[Fd, int]] = []
        self.privileged = True
        self.may_drop_groups = True
        self.rootfs = ""
        self.ids = (0, 0)
        self.deny_setgroups = False
        self.keep_groups = False
        self.keyring = ""
        self.linux: Linux = {}
        self.lowest = 3
        self.names = False
        self.on_null: tuple[int, ...] = ()
        self.seccomp: Filter | None = None
        self.pointer = ""

    @property
    def above(self) -> int:
        """The lowest number for descriptors that the process inherits from pyrunc and still needs in its last steps."""
        return self.lowest + _MOVED
