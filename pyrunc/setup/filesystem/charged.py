"""tmpcopyup's copying, by a process of its own in the container's cgroup.

The kernel charges pages and inodes of a tmpfs, and what is read for the first time, to the cgroup of whoever touches
them. A tree is as large as an image wants: it has to end at the container's limits, not at the host's. The process is a
copy of pyrunc, with pyrunc's rights over the tree. It tells what it is copying before it does so: at a memory limit
the kernel kills it without a word.

Import cost: posix, _signal.
"""

import posix
from errno import ENOMEM

from pyrunc.errors import Error, from_os_error, strerror
from pyrunc.kernel.files import write_file
from pyrunc.kernel.signals import SIGINT, SIGKILL
from pyrunc.setup.filesystem.tmpcopyup import copy_tree
from pyrunc.setup.host import reap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from signal import SIG_BLOCK, SIG_DFL, SIG_SETMASK, SIG_UNBLOCK, pthread_sigmask, signal

    # What the copy could not survive is told as: its signal; a reason in parentheses, and a hint.
    WhyKilled = Callable[[int], tuple[str, str]]
else:
    from _signal import SIG_BLOCK, SIG_DFL, SIG_SETMASK, SIG_UNBLOCK, pthread_sigmask, signal

# Words of the process, each with a number and a text: what is copied next (bytes, path), what failed (errno), a fault
# of ours, the end.
_NEXT, _FAILED, _BUG, _DONE = b"+", b"!", b"?", b"."


def copy_charged(source_fd: int, target_fd: int, join: "Callable[[int], None]", why_killed: "WhyKilled") -> None:
    """Copy what is in the directory `source_fd` into the empty directory `target_fd`, as copy_tree does.

    join: moves a process, by its number, into the container's cgroup. The process that copies calls it. Raises Error;
    no process is left then.
    """
    ours, theirs = posix.pipe2(posix.O_CLOEXEC)
    pid = 0
    try:
        # Until the copy has a disposition of its own: it is not to run on as a second pyrunc.
        before = pthread_sigmask(SIG_BLOCK, (SIGINT,))
        try:
            pid = posix.fork()
            if not pid:
                _be_the_copy(source_fd, target_fd, theirs, join)
        except OSError as error:
            raise from_os_error("tmpcopyup: make a process that copies", error) from None
        finally:
            pthread_sigmask(SIG_SETMASK, before)
            posix.close(theirs)
        last = _last_word(ours)
        status = posix.waitpid(pid, 0)[1]
        pid = 0
    finally:
        posix.close(ours)
        if pid:  # something interrupted pyrunc
            posix.kill(pid, SIGKILL)
            reap(pid)
    if last[:1] == _DONE:
        return
    text = last[1:].decode(errors="surrogateescape")
    number, _, what = text.partition(" ")
    if last[:1] == _BUG:
        raise RuntimeError(f"tmpcopyup: {text}")
    if last[:1] == _FAILED:
        raise Error(f"tmpcopyup: {what}", errno=int(number))
    doing = f"copy {what} ({number} bytes)" if last else "begin"
    if not posix.WIFSIGNALED(status):
        raise Error(f"tmpcopyup: {doing}: exit status {posix.WEXITSTATUS(status)}")
    signal = posix.WTERMSIG(status)
    reason, hint = why_killed(signal)
    raise Error(f"tmpcopyup: {doing}: killed by signal {signal}{reason}", hint=hint)


def _last_word(fd: int) -> bytes:
    """Read to the end; the last whole word. Each ends with a NUL."""
    last = rest = b""
    while part := posix.read(fd, 1 << 16):
        *whole, rest = (rest + part).split(b"\0")
        if whole:
            last = whole[-1]
    return last


def _be_the_copy(source_fd: int, target_fd: int, tell: int, join: "Callable[[int], None]") -> None:
    """What the process does; it does not come back."""

    def say(kind: bytes, number: int, text: str) -> None:
        # Without pyrunc nobody wants the copy: EPIPE ends it.
        posix.write(tell, b"%b%d %b\0" % (kind, number, text.encode(errors="surrogateescape")))

    try:
        try:
            _prepare((source_fd, target_fd, tell), join)
            copy_tree(source_fd, target_fd, lambda path, size: say(_NEXT, size, path))
            say(_DONE, 0, "")
        except Error as error:
            say(_FAILED, error.errno, error.message.removeprefix("tmpcopyup: "))
        except OSError as error:
            say(_FAILED, error.errno or 0, from_os_error("copy", error).message)
        except MemoryError:
            say(_FAILED, ENOMEM, f"copy: {strerror(ENOMEM)}")
        except Exception as error:
            say(_BUG, 0, repr(error))
    finally:
        posix._exit(1)


def _prepare(keep: "tuple[int, ...]", join: "Callable[[int], None]") -> None:
    """Move into the container's cgroup, and let go of all descriptors but those to keep."""
    signal(SIGINT, SIG_DFL)
    pthread_sigmask(SIG_UNBLOCK, (SIGINT,))
    # Before the container's init, whose death would say less.
    write_file("/proc/self/oom_score_adj", b"1000")
    join(posix.getpid())
    # The lock, and the ends of sessions, last as long as any copy of them.
    low = 3
    for fd in sorted(keep):
        posix.closerange(low, fd)
        low = fd + 1
    posix.closerange(low, posix.sysconf("SC_OPEN_MAX"))
