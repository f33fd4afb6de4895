"""The one exception type of pyrunc, and the words for errno values.

Import cost: none beyond the interpreter's own modules (``posix`` only).
"""

import posix

# What errors of a process that is on its way begin with, so that engines can tell their class.
SETUP = "unable to start container process: "
INIT = SETUP + "error during container init: "


class Error(Exception):
    """Something pyrunc could not do, told so that a user can act on it.

    message: lower case, no full stop: what was being done, to what, and the cause.
    pointer: JSON pointer into config.json ("/mounts/7"), or "" where none applies.
    syscall: name of the failed system call, or "".
    errno: its errno, or 0.
    hint: a remedy, printed on a line of its own; never in the words engines classify by
        ("no such file or directory", "permission denied", ...), unless they are the true class.
    """

    def __init__(
        self,
        message: str,
        *,
        pointer: str = "",
        syscall: str = "",
        errno: int = 0,
        hint: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.pointer = pointer
        self.syscall = syscall
        self.errno = errno
        self.hint = hint

    def __str__(self) -> str:
        return self.message

    def prefixed(self, prefix: str) -> "Error":
        """The same error with `prefix` before its message; keeps the class of the error."""
        self.message = prefix + self.message
        self.args = (self.message,)
        return self


class ConfigError(Error):
    """config.json, or another document, is not what the specification says."""


class NotFound(Error):
    """The container does not exist (`container does not exist`)."""


def strerror(errno: int) -> str:
    """What errno(3) means, as Go prints it: lower case ("no such file or directory")."""
    return posix.strerror(errno).lower()


def from_os_error(doing: str, error: OSError, *, pointer: str = "", hint: str = "") -> Error:
    """An Error for an OSError of the host side: `doing: file: cause`."""
    number = error.errno or 0
    name = error.filename
    if isinstance(name, bytes):
        name = name.decode(errors="replace")
    where = f" {name}" if name else ""
    cause = strerror(number) if number else str(error)
    return Error(f"{doing}{where}: {cause}", pointer=pointer, errno=number, hint=hint)
