"""Programs that no assembler would write end pyrunc-init with an exit status; none makes it hang.

The fuzz runs behind a seccomp filter that a first program installs: only reads and writes of the
session, the clock and the end of the process are left, so that no random call can do harm.
"""

import platform
import random
import socket
import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from machine.harness import Agent, arena_word, raw_op, raw_program, running
from pyrunc.machine.assembler import (
    ARENA,
    HEADER,
    MAGIC,
    OP,
    PROGRAM_SIZE,
    SPACE_SIZE,
    assemble,
    syscall_numbers,
)
from pyrunc.machine.ops import Program, Words

BAD_PROGRAM, BROKEN_SESSION = 121, 120
MOVE, STORE, LOAD, CHECK, REPLY = range(0x80000000, 0x80000005)
NOP = raw_op()


def status_of(message: bytes) -> int:
    """The exit status of a pyrunc-init that received `message`, and then the end of the session."""
    agent = Agent()
    agent.send_raw(message)
    agent.session.sock.shutdown(socket.SHUT_WR)  # type: ignore[attr-defined]
    try:
        return agent.ended()
    finally:
        agent.close()


REFUSED = {
    "wrong magic": raw_program([NOP], magic=0x4E525951),
    "no ops": raw_program([]),
    "too many ops": raw_program([NOP], count=0x10000),
    "number of ops that overflows": raw_program([NOP], count=0xFFFFFFFF),
    "too much data": raw_program([NOP], size=PROGRAM_SIZE),
    "data that overflows": raw_program([NOP], size=0xFFFFFFFF),
    "too much space": raw_program([NOP], space=SPACE_SIZE + 1),
    "space that overflows": raw_program([NOP], space=0xFFFFFFFF),
    "error jump backward": raw_program([NOP, raw_op(error=1), NOP]),
    "error jump further backward": raw_program([NOP, NOP, raw_op(error=1), NOP]),
    "error jump out of the program": raw_program([raw_op(error=2), NOP]),
    "zero jump backward": raw_program([NOP, raw_op(zero=1), NOP]),
    "zero jump out of the program": raw_program([raw_op(zero=0xFFFF), NOP]),
    "only without a jump": raw_program([raw_op(flags=1, listed=(2,)), NOP]),
    "result to a register that is none": raw_program([raw_op(dst=128)]),
    "result to the last number before nowhere": raw_program([raw_op(dst=254)]),
    "value of a register that is none": raw_program([raw_op(args=(128,), kinds=(1,))]),
    "address of a register that is none": raw_program(
        [raw_op(args=(0, 0, 0, 0, 0, 1 << 63), kinds=(0, 0, 0, 0, 0, 2))]
    ),
    "unknown kind": raw_program([raw_op(kinds=(3,))]),
    "unknown kind of the last argument": raw_program([raw_op(kinds=(0, 0, 0, 0, 0, 3))]),
    "unknown pseudo-op": raw_program([raw_op(REPLY + 1)]),
    "largest number": raw_program([raw_op(0xFFFFFFFF)]),
    "second program is bad": raw_program([NOP]) + raw_program([NOP], magic=0),
    "reply from outside": raw_program([raw_op(REPLY, (ARENA - 8, 8, 1))]),
}


@pytest.mark.parametrize("why", REFUSED)
def test_refused(why: str) -> None:
    assert status_of(REFUSED[why]) == BAD_PROGRAM


TRUNCATED = {
    "nothing": b"",
    "one byte": b"P",
    "half a header": raw_program([NOP])[:12],
    "a header": raw_program([NOP])[: HEADER.size],
    "half an op": raw_program([NOP])[:-1],
    "ops without their data": raw_program([NOP], size=8),
    "as many ops as can be": raw_program([NOP], count=0xFFFF),
    "half a second program": raw_program([NOP]) * 2 + b"PYRN",
}


@pytest.mark.parametrize("why", TRUNCATED)
def test_truncated(why: str) -> None:
    assert status_of(TRUNCATED[why]) == BROKEN_SESSION


def test_bad_ops_do_nothing() -> None:
    """The whole program is looked at before its first op is executed."""
    exit_group = syscall_numbers(platform.machine())["exit_group"]
    bad = raw_op(dst=200)
    assert status_of(raw_program([raw_op(exit_group, (5,)), bad])) == BAD_PROGRAM
    assert status_of(raw_program([raw_op(exit_group, (5,)), NOP])) == 5


def test_the_largest_program() -> None:
    """It fills the ops and the data completely, and all of the space."""
    count = 0xFFFF
    size = PROGRAM_SIZE - count * OP.size
    ops = [NOP] * (count - 1) + [raw_op(REPLY, (ARENA, 0, 1))]
    with running() as agent:
        agent.send_raw(raw_program(ops, bytes(size), space=SPACE_SIZE))
        head = agent.session.sock.recv(24, socket.MSG_WAITALL)  # type: ignore[attr-defined]
        assert struct.unpack("<6I", head) == (MAGIC, count - 1, 0, 0, 0, 0)
    assert agent.ended() == BROKEN_SESSION


def test_unused_bits_mean_nothing() -> None:
    """Flags and kinds beyond those that are known are ignored, as docs/machine.md says."""
    strange = OP.pack(7, 0, 0, 0, 0, 0, MOVE, 0xF000, 1, 0xFE, 0, 0, 0, 0, 0, 0)
    reply = raw_op(REPLY, (arena_word(1), 8, 1))
    with running() as agent:
        agent.send_raw(raw_program([strange, reply], flags=0xFFFFFFFE))
        head = agent.session.sock.recv(32, socket.MSG_WAITALL)  # type: ignore[attr-defined]
        assert struct.unpack("<6IQ", head) == (MAGIC, 1, 0, 8, 0, 0, 7)


def fenced(agent: Agent) -> None:
    """Leave the process nothing but its session, the clock and its end."""
    numbers = syscall_numbers(platform.machine())
    session = agent.session_fd

    def op(code: int, jt: int, jf: int, k: int) -> bytes:
        return struct.pack("<HBBI", code, jt, jf, k)

    load, equal, result = 0x20, 0x15, 0x06
    allow, errno = 0x7FFF0000, 0x00050000 | 38
    code = [
        op(load, 0, 0, 0),
        op(equal, 6, 0, numbers["exit_group"]),
        op(equal, 5, 0, numbers["clock_gettime"]),
        op(equal, 1, 0, numbers["read"]),
        op(equal, 0, 2, numbers["write"]),
        op(load, 0, 0, 16),
        op(equal, 1, 0, session),
        op(result, 0, 0, errno),
        op(result, 0, 0, allow),
    ]
    filter_bytes = b"".join(code)
    program = Words((len(code), filter_bytes), "sock_fprog")
    p = Program()
    p.call("prctl", 38, 1, 0, 0, 0)
    p.call("seccomp", 1, 0, program)
    p.sync("fenced")
    reply = agent.session.run(p)
    assert reply.errno == 0
    p = Program()
    p.call("umask", 0)
    assert agent.session.run(p).errno == 38, "the fence does not hold"


def ends(message: bytes) -> int:
    """The exit status of a fenced pyrunc-init; it must end once the session does."""
    agent = Agent()
    try:
        fenced(agent)
        agent.session.sock.settimeout(0)  # type: ignore[attr-defined]
        try:
            agent.session.sock.send(message)  # type: ignore[attr-defined]
        except (BlockingIOError, BrokenPipeError):
            pass
    finally:
        status = agent.close()
    return status


FUZZ = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

SIGPIPE = -13  # the session was closed while pyrunc-init replied


@FUZZ
@given(st.binary(max_size=2000))
def test_random_bytes(data: bytes) -> None:
    if data[:4] == b"PYRN":
        return
    expected = BROKEN_SESSION if len(data) < HEADER.size else BAD_PROGRAM
    assert ends(data) == expected


@FUZZ
@given(st.lists(st.binary(min_size=64, max_size=64), min_size=1, max_size=20), st.binary())
def test_random_ops(ops: list[bytes], data: bytes) -> None:
    assert ends(raw_program(ops, data)) in (BROKEN_SESSION, BAD_PROGRAM, SIGPIPE)


WORDS = st.one_of(
    st.integers(0, 200),
    st.integers(0, (1 << 64) - 1),
    st.integers(ARENA - 16, ARENA + 16),
    st.integers(ARENA + (1 << 24) - 16, ARENA + (1 << 24) + 16),
    st.integers(ARENA, ARENA + (1 << 24)),
)


@st.composite
def plausible_op(draw: st.DrawFn, index: int, count: int) -> bytes:
    """An op that may pass the checks: its numbers are near what is allowed."""
    kinds = tuple(draw(st.sampled_from((0, 0, 0, 1, 2))) for _ in range(6))
    args = tuple(draw(st.integers(0, 130) if kind else WORDS) for kind in kinds)
    jump = st.one_of(st.just(0), st.integers(index, count))
    return raw_op(
        # Not 335 and 336: uretprobe(2) is for the kernel's trampoline alone, and SIGILL for others.
        draw(st.one_of(st.integers(MOVE, REPLY), st.integers(300, 334), st.integers(337, 500))),
        args,
        kinds,
        draw(st.one_of(st.just(255), st.integers(1, 129))),
        draw(st.integers(0, 1)),
        draw(jump),
        draw(jump),
        tuple(draw(st.lists(st.integers(0, 255), max_size=4))),
    )


@st.composite
def plausible_program(draw: st.DrawFn) -> bytes:
    count = draw(st.integers(1, 15))
    ops = [draw(plausible_op(index, count)) for index in range(count)]
    return raw_program(
        ops,
        draw(st.binary(max_size=64)),
        space=draw(st.integers(0, 4096)),
        flags=draw(st.integers(0, 1)),
    )


@FUZZ
@given(plausible_program())
def test_plausible_programs(message: bytes) -> None:
    """Stores may change the ops behind them; even so all that can happen is that it ends."""
    assert ends(message) in (BROKEN_SESSION, BAD_PROGRAM, SIGPIPE)


def test_flipped_bits() -> None:
    """A real program with single bits changed."""
    p = Program()
    reg = p.reg("x")
    p.call("move", 5, dst=reg)
    p.store(Words((1, 2)), reg, 8)  # type: ignore[arg-type]
    p.sync("done")
    message, _ = assemble(p, syscall_numbers(platform.machine()))
    source = random.Random(7)
    for _ in range(60):
        changed = bytearray(message)
        bit = source.randrange(8 * len(changed))
        changed[bit // 8] ^= 1 << bit % 8
        assert ends(bytes(changed)) in (BROKEN_SESSION, BAD_PROGRAM, SIGPIPE)
