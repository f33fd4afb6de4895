"""Where hooks write to: the files that annotations name (crun(1), "run.oci.hooks.stdout" and ".stderr").

Import cost: posix, fcntl.
"""

import posix
from fcntl import F_DUPFD_CLOEXEC, fcntl

from pyrunc.config.annotation_names import HOOKS_STDERR, HOOKS_STDOUT
from pyrunc.errors import from_os_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyrunc.config.types import Config
    from pyrunc.machine.ops import Fd

NO_FILES = (-1, -1)


def output_files(annotations: "Mapping[str, str]") -> "tuple[int, int]":
    """The files that run.oci.hooks.stdout and run.oci.hooks.stderr name, open to be appended to; -1 for
    those not named. Errors: one cannot be opened."""
    files = [-1, -1]
    for index, name in enumerate((HOOKS_STDOUT, HOOKS_STDERR)):
        path = annotations.get(name)
        if path:
            flags = posix.O_WRONLY | posix.O_APPEND | posix.O_CREAT | posix.O_CLOEXEC
            try:
                files[index] = above_stdio(posix.open(path.encode(), flags, 0o600))
            except OSError as error:
                close_files((files[0], files[1]))
                raise from_os_error(f"output of hooks (annotations/{name}): open", error) from None
    return files[0], files[1]


def inherited_files(config: "Config", lowest: int) -> "tuple[Fd | None, Fd | None]":
    """output_files for the hooks that the container's init runs, under numbers from `lowest` on."""
    from pyrunc.machine.ops import Fd
    from pyrunc.machine.session import above

    files = output_files(config.get("annotations", {}))
    moved = [Fd(above(fd, lowest), "hooks' output") if fd >= 0 else None for fd in files]
    close_files(files)
    return moved[0], moved[1]


def close_files(files: "tuple[int, int]") -> None:
    """Close what output_files opened."""
    for fd in files:
        if fd >= 0:
            posix.close(fd)


def above_stdio(fd: int) -> int:
    """The descriptor, moved above 2: a dup2 onto 0, 1 or 2 must not overwrite a later source."""
    if fd > 2:
        return fd
    moved = fcntl(fd, F_DUPFD_CLOEXEC, 3)
    posix.close(fd)
    return moved
