"""The state directory itself: where it is, whose it is, and who may pass it.

Import cost: posix.
"""

import posix
from errno import EACCES, EPERM, EROFS

from pyrunc.errors import Error, from_os_error

DIRECTORY = posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC | posix.O_NOFOLLOW  # how a directory is opened


class StateDirectory:
    """The directory `path` (absolute) in which every container has one of its own.

    shared: whether others may make entries in it as well, as in /tmp: known once it is open. The sticky bit keeps
    them from exchanging ours; an entry of theirs is no container of ours.
    """

    __slots__ = ("_fd", "path", "shared")

    def __init__(self, path: str) -> None:
        self.path = path
        self.shared = False
        self._fd = -1

    def exists(self) -> bool:
        """Whether the state directory is there."""
        return self.descriptor() is not None

    def descriptor(self) -> "int | None":
        """A descriptor of the state directory, None where it does not exist.

        Errors: it belongs to someone else or others may exchange what is in it: whoever can change the state
        can have root signal processes and remove cgroups. One that a umask of 002 has left to its
        group, and that is still empty, is taken from the group instead.
        """
        if self._fd >= 0:
            return self._fd
        try:
            # A symbolic link is followed: /var/run and the like.
            fd = posix.open(self.path, DIRECTORY & ~posix.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise from_os_error("open state directory", error) from None
        status = posix.fstat(fd)
        user = posix.geteuid()
        problem = ""
        if status.st_uid != user:
            problem = f"belongs to uid {status.st_uid}, not to {user}"
        elif status.st_mode & 0o022 and status.st_mode & 0o1000:
            self.shared = True
        elif status.st_mode & 0o022 and not _taken_back(fd, status.st_mode):
            problem = f"can be written by others (mode {status.st_mode & 0o7777:04o})"
        if problem:
            posix.close(fd)
            raise Error(f"state directory {self.path} {problem}")
        self._fd = fd
        return fd

    def make(self) -> int:
        """The state directory's descriptor; makes it and what is missing above it."""
        fd = self.descriptor()
        if fd is not None:
            return fd
        path = ""
        made = False
        for part in self.path.strip("/").split("/"):
            path += "/" + part
            try:
                posix.mkdir(path, self.mode() | 0o100)
                made = True
            except FileExistsError:
                made = False
            except OSError as error:
                hint = ""
                if error.errno == EACCES and posix.geteuid():
                    hint = "without privileges set $XDG_RUNTIME_DIR, or --root to a directory of your own"
                raise from_os_error("create state directory", error, hint=hint) from None
        if made:
            # The sticky bit keeps tmpfiles.d from clearing a user's directory of old files
            # (XDG Base Directory Specification).
            runtime_directory = posix.environ.get(b"XDG_RUNTIME_DIR", b"").decode(errors="replace")
            sticky = bool(runtime_directory) and self.path.startswith(runtime_directory)
            posix.chmod(self.path, self.mode() | (0o1000 if sticky else 0))
        fd = self.descriptor()
        if fd is None:
            raise Error(f"create state directory {self.path}: it has been removed again")
        return fd

    def mode(self) -> int:
        """Others may pass root's directories: a container's root has to reach its start socket."""
        return 0o711 if posix.geteuid() == 0 else 0o700


def _taken_back(fd: int, mode: int) -> bool:
    """Whether nobody else could have put anything into the directory, nor can from here on: it was empty and only its
    group could write to it, which it no longer can."""
    if mode & 0o002 or posix.listdir(fd):
        return False
    try:
        posix.fchmod(fd, mode & 0o7755)
    except OSError as error:
        if error.errno not in (EROFS, EPERM):
            raise from_os_error("change the mode of the state directory", error) from None
        return False
    return not posix.listdir(fd)  # the group may have been faster
