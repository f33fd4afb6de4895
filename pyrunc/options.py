"""The options that stand before the command's name, and what follows from them.

Import cost: posix.
"""

import posix

from pyrunc.errors import from_os_error

DEFAULT_ROOT = "/run/pyrunc"


class Globals:
    """The global options of one call.

    root: absolute path of the state directory; root_given: whether --root named it.
    log: path of the log file or ""; log_format: "text" or "json".
    cgroups: "cgroupfs", "systemd", or "disabled": the container stays in its caller's.
    rootless: "auto", "true" or "false", as given; see is_rootless().
    """

    __slots__ = ("cgroups", "debug", "log", "log_format", "root", "root_given", "rootless")

    def __init__(
        self,
        *,
        root: str = "",
        log: str = "",
        log_format: str = "text",
        debug: bool = False,
        cgroups: str = "cgroupfs",
        rootless: str = "auto",
    ) -> None:
        self.root_given = bool(root)
        self.root = absolute(root) if root else default_root()
        self.log = log
        self.log_format = log_format
        self.debug = debug
        self.cgroups = cgroups
        self.rootless = rootless

    def is_rootless(self) -> bool:
        """Whether cgroups may be out of reach, so that failing to make one is no error.

        "auto" says so for everyone but root of the initial user namespace. With the systemd driver
        it says whose instance is asked: root of a user namespace may have a systemd of its own.
        """
        if self.rootless != "auto":
            return self.rootless == "true"
        if posix.geteuid():
            return True
        return _root_of_a_user() if self.cgroups == "systemd" else in_user_namespace()


def default_root() -> str:
    """The state directory where --root is not given.

    /run/pyrunc for root; $XDG_RUNTIME_DIR/pyrunc for others and for the root of a user namespace
    (podman calls a rootless runtime so), except where that root is a root of its own ($USER says).
    """
    directory = posix.environ.get(b"XDG_RUNTIME_DIR", b"")
    if not directory or (posix.geteuid() == 0 and not _root_of_a_user()):
        return DEFAULT_ROOT
    return directory.decode("utf-8", "surrogateescape").rstrip("/") + "/pyrunc"


def _root_of_a_user() -> bool:
    return in_user_namespace() and posix.environ.get(b"USER") != b"root"


def in_user_namespace() -> bool:
    """Whether this process is in a user namespace below the initial one (user_namespaces(7))."""
    try:
        fd = posix.open("/proc/self/uid_map", posix.O_RDONLY | posix.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return posix.read(fd, 4096).split() != [b"0", b"0", b"4294967295"]
    finally:
        posix.close(fd)


def absolute(path: str) -> str:
    """The path from the root directory on, without ".", ".." and "//", by text as filepath.Abs.

    Errors: the current directory does not exist any more.
    """
    if not path.startswith("/"):
        try:
            path = posix.getcwd() + "/" + path
        except OSError as error:
            raise from_os_error("getcwd", error) from None
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            if parts:
                parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)
