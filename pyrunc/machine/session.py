"""Sessions with pyrunc-init: start it from a sealed memfd, send programs, receive replies.

A program goes out as one message; a reply comes back when it reaches a `reply` op, fails, or ends.
Replies carry the op's number, an errno, the bytes that the op named and, with tracing, the time at
which each op ended.

Import cost: posix, fcntl, time, _socket, _struct.
"""

import posix
from _socket import AF_UNIX, SOCK_STREAM, socketpair
from _struct import Struct
from errno import EACCES, ECONNRESET, EINVAL, EMFILE, ENOSYS, EPERM, EPIPE
from fcntl import F_DUPFD_CLOEXEC, fcntl
from time import monotonic_ns

from pyrunc.errors import Error, from_os_error
from pyrunc.log import log
from pyrunc.machine.assembler import MAGIC, assemble, syscall_numbers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable, Iterable
    from typing import Any, Protocol

    from pyrunc.machine.ops import Label, Step

    class Channel(Protocol):
        """What a session reads from: a socket, or `start`'s end of a fifo."""

        def fileno(self) -> int: ...

        def close(self) -> None: ...

        def recvmsg(self, length: int, ancillary: int, flags: int, /) -> tuple[bytes, Any, int, Any]: ...


REPLY = Struct("<6I")
TRACE_ENTRY = Struct("<2Q")

MFD_CLOEXEC, MFD_ALLOW_SEALING, MFD_EXEC = 1, 2, 0x10
F_ADD_SEALS, ALL_SEALS = 1033, 0xF  # seal, shrink, grow, write
_CARRIER = 0xFFFFFFFF
_MSG_CMSG_CLOEXEC = 0x40000000
# No reply is longer: the arena, and its times.
_MOST_BYTES, _MOST_TIMES = 1 << 24, 1 << 16
# Key of the reply that says that the program could not be executed (plan.process.execute); it waits for a line of text.
NOT_EXECUTED = "not executed"
# Key of the note that nothing is left but the execve.
EXECUTES = "executes"

# What pyrunc-init says with its exit status (docs/machine.md).
_STATUSES = {
    120: ", its session with pyrunc broke",
    121: ", it was sent a malformed program",
    122: ", it could not hide itself (prctl) or map its memory (mmap)",
}

# Every signal but the two that the C library keeps for itself.
SIGNALS = (*range(1, 32), *range(34, 65))


class Reply:
    """What pyrunc-init answered: the step it stands at, errno (0: none), the bytes asked for."""

    __slots__ = ("data", "errno", "index", "step")

    def __init__(self, index: int, step: "Step | None", errno: int, data: bytes) -> None:
        self.index = index
        self.step = step
        self.errno = errno
        self.data = data


class Lost(Error):
    """The other side of a session ended without an answer."""

    def __init__(self, message: str, session: "Session | None" = None) -> None:
        super().__init__(message)
        self.session = session


class Trace:
    """What `--trace` collects, for setup/trace.py.

    events: name of the process, CLOCK_MONOTONIC in ns at the end of a step, and the step's system
    call, reason and JSON pointer; a program's begin is an event without a system call.
    spans: what pyrunc itself did: its name, begin and end on the same clock. since: the end of the last one.
    """

    __slots__ = ("events", "since", "spans")

    def __init__(self) -> None:
        self.events: list[tuple[str, int, str, str, str]] = []
        self.spans: list[tuple[str, int, int]] = []
        self.since = monotonic_ns()

    def span(self, name: str) -> None:
        """Add what pyrunc itself did since the last span, or since the trace began."""
        now = monotonic_ns()
        self.spans.append((name, self.since, now))
        self.since = now


class Session:
    """One side of a socket to a pyrunc-init process.

    fd: Python's end. name: of the process, for traces. descriptors: received with the last reply.
    """

    __slots__ = ("descriptors", "fd", "name", "numbers", "sock", "trace")

    def __init__(self, sock: "Channel", name: str, trace: "Trace | None" = None, machine: str = "") -> None:
        self.sock = sock
        self.fd: int = sock.fileno()
        self.name = name
        self.trace = trace
        self.numbers = syscall_numbers(machine or posix.uname().machine)
        self.descriptors: list[int] = []

    def send(self, items: "Iterable[Step | Label]") -> "list[Step]":
        """Send a program; the steps by op number come back, for `receive`."""
        message, steps = assemble(items, self.numbers, tracing=self.trace is not None)
        view = memoryview(message)
        while view:
            try:
                view = view[posix.write(self.fd, view) :]
            except OSError as error:
                if error.errno in (EPIPE, ECONNRESET):
                    raise Lost(f"{self.name} ended before its program was sent", self) from None
                raise
        return steps

    def receive(self, steps: "list[Step]") -> Reply:
        """The next reply to the program whose steps these are; Lost where the process is gone."""
        magic, index, errno, length, times, _ = REPLY.unpack(self._exactly(REPLY.size))
        while index == _CARRIER:
            magic, index, errno, length, times, _ = REPLY.unpack(self._exactly(REPLY.size))
        if magic != MAGIC or index > len(steps) or length > _MOST_BYTES or times > _MOST_TIMES:
            raise Error(f"{self.name} answered nonsense")
        data = self._exactly(length)
        entries = self._exactly(times * TRACE_ENTRY.size)
        if self.trace is not None:
            for op, now in TRACE_ENTRY.iter_unpack(entries):
                if op < len(steps):
                    step = steps[op]
                    event = (self.name, now, step.name, step.why, step.at)
                else:
                    event = (self.name, now, "", "", "")
                self.trace.events.append(event)
        step_here = steps[index] if index < len(steps) else None
        return Reply(index, step_here, errno, data)

    def run(self, items: "Iterable[Step | Label]") -> Reply:
        """Send a program and wait for its first reply."""
        return self.receive(self.send(items))

    def until_exec(
        self,
        steps: "list[Step]",
        note: "Callable[[Session, list[Step], Reply], object] | None" = None,
    ) -> "Reply | None":
        """Wait for the execve at a program's end, which closes the session: None; or for the reply that says why not,
        which may be NOT_EXECUTED's. note: is given the replies before that, which do not wait."""
        while True:
            try:
                reply = self.receive(steps)
            except Lost:
                return None
            step = reply.step
            if reply.errno or step is None or step.name != "reply" or step.args[2] or step.key == NOT_EXECUTED:
                return reply
            if note is not None:
                note(self, steps, reply)

    def close(self) -> None:
        self.sock.close()

    def _exactly(self, length: int) -> bytes:
        parts: list[bytes] = []
        while length:
            try:
                part, ancillary, _, _ = self.sock.recvmsg(length, 256, _MSG_CMSG_CLOEXEC)
            except ConnectionResetError:
                part, ancillary = b"", []
            if not part:
                raise Lost(f"{self.name} ended without an answer", self)
            for _, _, fds in ancillary:
                self.descriptors += [int.from_bytes(fds[i : i + 4], "little") for i in range(0, len(fds), 4)]
            parts.append(part)
            length -= len(part)
        return b"".join(parts) if len(parts) != 1 else parts[0]


def init_path() -> str:
    """Where the compiled pyrunc-init lies: beside this file."""
    return __file__.rpartition("/")[0] + "/pyrunc-init"


def sealed_init() -> int:
    """A memfd with pyrunc-init in it and all seals set; /proc/PID/exe of everything that runs in a
    container before its own program (CVE-2019-5736). Where the host has no memfds to execute, a file without a name."""
    image: bytes = __loader__.get_data(init_path())  # type: ignore[name-defined]
    flags = MFD_CLOEXEC | MFD_ALLOW_SEALING
    try:
        memfd = posix.memfd_create("pyrunc-init", flags | MFD_EXEC)
    except OSError as error:
        if error.errno in (EACCES, EPERM, ENOSYS):  # vm.memfd_noexec=2, or a filter around pyrunc
            from pyrunc.kernel.unlinked import executable_copy

            return executable_copy(image)
        if error.errno != EINVAL:  # Linux 6.3 brought MFD_EXEC
            raise
        memfd = posix.memfd_create("pyrunc-init", flags)
    posix.write(memfd, image)
    fcntl(memfd, F_ADD_SEALS, ALL_SEALS)
    if log.debug_on:
        log.debug(f"pyrunc-init: {len(image)} bytes in a sealed memfd")
    return memfd


def above(fd: int, lowest: int) -> int:
    """A copy of a descriptor under a number of at least `lowest`, close-on-exec. Errors: OSError; EMFILE where no such
    number may be used, which fcntl(2) calls EINVAL."""
    try:
        return fcntl(fd, F_DUPFD_CLOEXEC, lowest)
    except OSError as error:
        if error.errno == EINVAL:
            raise OSError(EMFILE, posix.strerror(EMFILE)) from None
        raise


def pair(lowest: int) -> "tuple[socket, int]":
    """A socket pair: Python's socket, and the number of the other end, at least `lowest` so that it
    cannot stand where a descriptor for the container has to be. The caller closes it after the
    spawn."""
    try:
        ours, theirs = socketpair(AF_UNIX, SOCK_STREAM)
    except OSError as error:
        if error.errno not in (EACCES, EPERM, ENOSYS):
            raise
        from pyrunc.kernel import refused

        hint = refused.hint("socketpair", error.errno)
        raise from_os_error("make a session with pyrunc-init: socketpair", error, hint=hint) from None
    number = above(theirs.fileno(), lowest)
    theirs.close()
    return ours, number


def spawn(session: int, inherit: "tuple[int, ...]") -> int:
    """Start pyrunc-init on the descriptor `session`; `inherit` stay open in it under their numbers.

    Signals are as a container wants them: nothing blocked, nothing ignored (Python ignores SIGPIPE
    and SIGXFSZ, and what is ignored would stay so across execve). Returns the pid. Raises Error.
    """
    actions = [(posix.POSIX_SPAWN_DUP2, fd, fd) for fd in (session, *inherit)]
    memfd = sealed_init()
    try:
        return posix.posix_spawn(
            f"/proc/self/fd/{memfd}",
            ["pyrunc-init", str(session)],
            {},
            file_actions=actions,
            setsigmask=(),
            setsigdef=SIGNALS,
        )
    except OSError as error:
        from pyrunc.kernel import refused

        # What posix_spawn(3) needs of this kind.
        raise from_os_error("start pyrunc-init", error, hint=refused.hint("clone3", error.errno or 0)) from None
    finally:
        posix.close(memfd)


class Agent:
    """A host agent for a few programs: `with Agent(lowest, inherit) as session`."""

    __slots__ = ("inherit", "lowest", "pid", "session")

    def __init__(self, lowest: int, inherit: "tuple[int, ...]" = ()) -> None:
        self.lowest = lowest
        self.inherit = inherit

    def __enter__(self) -> Session:
        ours, theirs = pair(self.lowest)
        try:
            self.pid = spawn(theirs, self.inherit)
        finally:
            posix.close(theirs)
        self.session = Session(ours, "agent")
        return self.session

    def __exit__(self, kind: object = None, error: object = None, trace: object = None) -> None:
        self.session.close()
        status = posix.waitpid(self.pid, 0)[1]
        if isinstance(error, Lost) and error.session is self.session:
            raise Lost(f"a host agent ended: {how_ended(status)}", self.session) from None


class StandingAgent:
    """A host agent that exists from the first use on, until it is closed."""

    __slots__ = ("_agent", "_lowest", "_session")

    def __init__(self, lowest: int) -> None:
        """lowest: descriptors of the agent are not below it."""
        self._lowest = lowest
        self._agent: Agent | None = None
        self._session: Session | None = None

    @property
    def started(self) -> bool:
        return self._session is not None

    def session(self) -> Session:
        """The session with it. Raises Error where it cannot be started."""
        if self._session is None:
            agent = Agent(self._lowest)
            self._session = agent.__enter__()
            self._agent = agent
        return self._session

    def close(self, error: "BaseException | None" = None) -> None:
        """Let it end. error: what ended its use; one of its session's is raised again, as what its end was."""
        agent, self._agent = self._agent, None
        if agent is not None:
            agent.__exit__(type(error), error)


def how_ended(status: int) -> str:
    """What a pyrunc-init's wait status means (docs/machine.md)."""
    if posix.WIFSIGNALED(status):
        return f"killed by signal {posix.WTERMSIG(status)}"
    code = posix.WEXITSTATUS(status)
    return f"exit status {code}{_STATUSES.get(code, '')}"
