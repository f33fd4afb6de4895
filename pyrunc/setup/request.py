"""What `create`, `run` and `exec` are asked for: the command line, taken apart.

Paths are absolute, except those of sockets: connect(2) takes 107 bytes, so they stay as given,
relative to the directory pyrunc was called in. "" and 0 stand for what was not given.

Import cost: none.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class CreateRequest:
    """`create` and `run`.

    bundle: directory with config.json; config: path of another file in its place.
    no_pivot, no_new_keyring, preserve_fds (a count), detach,
    keep, no_subreaper: as in pyrunc-run(8). trace: file for the times of steps.
    """

    __slots__ = (
        "bundle",
        "config",
        "console_socket",
        "detach",
        "id",
        "keep",
        "no_new_keyring",
        "no_pivot",
        "no_subreaper",
        "pid_file",
        "pidfd_socket",
        "preserve_fds",
        "trace",
    )

    def __init__(
        self,
        id: str,
        bundle: str,
        *,
        config: str = "",
        console_socket: str = "",
        pidfd_socket: str = "",
        pid_file: str = "",
        no_pivot: bool = False,
        no_new_keyring: bool = False,
        preserve_fds: int = 0,
        no_subreaper: bool = False,
        detach: bool = False,
        keep: bool = False,
        trace: str = "",
    ) -> None:
        self.id = id
        self.bundle = bundle
        self.config = config
        self.console_socket = console_socket
        self.pidfd_socket = pidfd_socket
        self.pid_file = pid_file
        self.no_pivot = no_pivot
        self.no_new_keyring = no_new_keyring
        self.preserve_fds = preserve_fds
        self.no_subreaper = no_subreaper
        self.detach = detach
        self.keep = keep
        self.trace = trace


class ExecRequest:
    """`exec`.

    args: the program and its arguments, empty where `process`, the path of a file with a process
    object, says them. user: "uid[:gid]" as given. env: "NAME=value" each. additional_gids: numbers.
    caps: names of capabilities to add. cgroup: "[controllers:]path" each, as given.
    tty, no_new_privs: None where the flag was not given, so that what the configuration says holds.
    """

    __slots__ = (
        "additional_gids",
        "apparmor",
        "args",
        "caps",
        "cgroup",
        "console_socket",
        "cwd",
        "detach",
        "env",
        "id",
        "ignore_paused",
        "no_new_privs",
        "pid_file",
        "pidfd_socket",
        "preserve_fds",
        "process",
        "process_label",
        "trace",
        "tty",
        "user",
    )

    def __init__(
        self,
        id: str,
        args: "Sequence[str]" = (),
        *,
        console_socket: str = "",
        pidfd_socket: str = "",
        cwd: str = "",
        env: "Sequence[str]" = (),
        tty: "bool | None" = None,
        user: str = "",
        additional_gids: "Sequence[int]" = (),
        process: str = "",
        detach: bool = False,
        pid_file: str = "",
        process_label: str = "",
        apparmor: str = "",
        no_new_privs: "bool | None" = None,
        caps: "Sequence[str]" = (),
        preserve_fds: int = 0,
        cgroup: "Sequence[str]" = (),
        ignore_paused: bool = False,
        trace: str = "",
    ) -> None:
        self.id = id
        self.args = list(args)
        self.console_socket = console_socket
        self.pidfd_socket = pidfd_socket
        self.cwd = cwd
        self.env = list(env)
        self.tty = tty
        self.user = user
        self.additional_gids = list(additional_gids)
        self.process = process
        self.detach = detach
        self.pid_file = pid_file
        self.process_label = process_label
        self.apparmor = apparmor
        self.no_new_privs = no_new_privs
        self.caps = list(caps)
        self.preserve_fds = preserve_fds
        self.cgroup = list(cgroup)
        self.ignore_paused = ignore_paused
        self.trace = trace
