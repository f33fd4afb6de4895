"""Work of pyrunc's own whose memory the container pays: what an image can make us do must not escape its limits.

The kernel charges a page to the cgroup of the process that touches it first (cgroup-v2.rst, "Memory Ownership"), so the
work is done by a child of pyrunc in the container's cgroup. It stays outside of every namespace of the container, as
pyrunc does: nobody inside can see it. Cold.

Import cost: posix.
"""

import posix

from pyrunc.errors import Error, from_os_error
from pyrunc.kernel.signals import SIGKILL
from pyrunc.setup.host import reap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyrunc.cgroups import Manager

_PIECE = 1 << 16


def charged(manager: "Manager", what: str, work: "Callable[[], None]", why: "Callable[[int], tuple[str, str]]") -> None:
    """Do `work` in the container's cgroup; here, where the container has none.

    what: the work, for messages. why: what is known of the reason when the child was killed by a signal, as
    setup.process.Making.why_lost. Errors: those of `work`, which are to be of errors.Error or OSError; the child cannot
    be made, moved into the cgroup, or was killed. The child is gone when this returns or raises.
    """
    if not manager.path:
        work()
        return
    try:
        answer, answers = posix.pipe2(posix.O_CLOEXEC)
    except OSError as error:
        raise from_os_error(f"{what}: pipe", error) from None
    try:
        pid = posix.fork()
    except OSError as error:
        posix.close(answer)
        posix.close(answers)
        raise from_os_error(f"{what}: fork", error) from None
    if not pid:
        _child(manager, what, work, answers)
    posix.close(answers)
    try:
        text = _whole(answer)
    except BaseException:
        posix.kill(pid, SIGKILL)
        reap(pid)
        raise
    finally:
        posix.close(answer)
    status = reap(pid)
    if posix.WIFSIGNALED(status):
        signal = posix.WTERMSIG(status)
        reason, hint = why(signal)
        raise Error(f"{what}: killed by signal {signal}{reason}", hint=hint)
    if text:
        errno, hint, message = text.split("\0", 2)
        raise Error(message, errno=int(errno), hint=hint)
    if status:
        raise RuntimeError(f"{what}: the child ended with status {status:#x} and said nothing")


def _child(manager: "Manager", what: str, work: "Callable[[], None]", answers: int) -> None:
    """Never returns. An error goes to the parent as its errno, its hint and its message."""
    text = ""
    status = 1
    try:
        try:
            manager.add(posix.getpid())
            work()
            status = 0
        except OSError as error:
            raise from_os_error(what, error) from None
    except Error as error:
        text = f"{error.errno}\0{error.hint}\0{error}"
    finally:
        # Whatever else was raised is a bug, which the status tells.
        rest = text.encode(errors="surrogateescape")
        while rest:
            rest = rest[posix.write(answers, rest) :]
        posix._exit(status)


def _whole(fd: int) -> str:
    parts = []
    while part := posix.read(fd, _PIECE):
        parts.append(part)
    return b"".join(parts).decode(errors="surrogateescape")
