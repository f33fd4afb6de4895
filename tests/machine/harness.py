"""pyrunc-init for tests: started without root, closed and reaped afterwards."""

import os
import posix
import select
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from pyrunc.machine.assembler import ARENA, HEADER, MAGIC, NOWHERE, OP
from pyrunc.machine.session import Session, Trace, pair, spawn

LIMIT = 10.0  # seconds that a pyrunc-init may take to end


class Agent:
    """A running pyrunc-init: its session and its pid; `status` once it ended."""

    def __init__(self, inherit: tuple[int, ...] = (), trace: Trace | None = None) -> None:
        sock, theirs = pair(100)
        try:
            self.pid = spawn(theirs, inherit)
        finally:
            os.close(theirs)
        self.session = Session(sock, "agent", trace)
        self.session_fd = theirs
        self.pidfd = os.pidfd_open(self.pid)
        self._status: int | None = None

    def ended(self) -> int:
        """Wait for the end; the exit status, or minus the signal. A hang fails the test."""
        if self._status is None:
            poll = select.poll()
            poll.register(self.pidfd, select.POLLIN)
            if not poll.poll(LIMIT * 1000):
                os.kill(self.pid, 9)
                os.waitpid(self.pid, 0)
                self._status = -9
                raise AssertionError(f"pyrunc-init did not end within {LIMIT} s")
            self._status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._status

    def send_raw(self, data: bytes) -> None:
        """Send bytes that no assembler wrote; pyrunc-init may be gone before it has them all."""
        try:
            while data:
                data = data[posix.write(self.session.fd, data) :]
        except (BrokenPipeError, ConnectionResetError):
            pass

    def close(self) -> int:
        """Close the session and return the exit status."""
        self.session.close()
        for fd in self.session.descriptors:
            os.close(fd)
        self.session.descriptors.clear()
        try:
            return self.ended()
        finally:
            os.close(self.pidfd)


@contextmanager
def running(inherit: tuple[int, ...] = (), trace: Trace | None = None) -> Iterator[Agent]:
    """A pyrunc-init for the length of a `with` statement."""
    agent = Agent(inherit, trace)
    try:
        yield agent
    finally:
        agent.close()


def raw_op(
    number: int = 0x80000000,
    args: tuple[int, ...] = (),
    kinds: tuple[int, ...] = (),
    dst: int = NOWHERE,
    flags: int = 0,
    error: int = 0,
    zero: int = 0,
    listed: tuple[int, ...] = (),
) -> bytes:
    """An op as the machine sees it, with whatever values. 0x80000000 is `move`."""
    words = (*args, 0, 0, 0, 0, 0, 0)[:6]
    bits = sum(kind << 2 * index for index, kind in enumerate(kinds))
    return OP.pack(*words, number, bits, dst, flags, error, zero, *(*listed, 0, 0, 0, 0)[:4])


def raw_program(
    ops: list[bytes],
    data: bytes = b"",
    *,
    magic: int = MAGIC,
    count: int | None = None,
    size: int | None = None,
    space: int = 0,
    flags: int = 0,
) -> bytes:
    """A program as it goes over the socket, with whatever header."""
    header = HEADER.pack(
        magic,
        len(ops) if count is None else count,
        len(data) if size is None else size,
        space,
        flags,
        0,
    )
    return header + b"".join(ops) + data


def arena_word(index: int) -> int:
    """The address of a register."""
    return ARENA + 8 * index


def word(data: bytes, index: int = 0) -> int:
    """A 64-bit word of a reply's data."""
    value: int = struct.unpack_from("<Q", data, 8 * index)[0]
    return value
