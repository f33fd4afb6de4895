"""The recording fake agrees with the real pyrunc-init, and tells what was called."""

import itertools
import os
import posix
import struct
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from machine.harness import arena_word, running, word
from machine.recording import BadProgram, Call, Kernel, Machine, Recorder
from machine.test_bad_programs import REFUSED, TRUNCATED
from pyrunc.machine.assembler import ARENA, SPACE, assemble
from pyrunc.machine.ops import SESSION, At, Label, Program, Ref, Reg, Space, Words
from pyrunc.machine.session import Lost

EBADF, ENOENT, EEXIST, EINVAL, ENOSYS = 9, 2, 17, 22, 38

# -- random programs --------------------------------------------------------------------------

WORD = st.one_of(
    st.integers(-5, 5),
    st.integers(-(1 << 63), (1 << 64) - 1),
    st.integers(SPACE - 8, SPACE + 40),
    st.integers(ARENA + (1 << 24) - 12, ARENA + (1 << 24)),
    st.sampled_from((0, ARENA - 1, -EBADF, -4095, -4096, 0x8000000000000000)),
)
ERRNO = st.sampled_from((EBADF, EINVAL, 1, 40))
WIDTH = st.sampled_from((1, 2, 4, 8, 8, 3, 0))
REG = st.integers(1, 12).map(lambda index: Reg(index, f"r{index}"))
OPERAND = st.one_of(WORD, REG, REG.map(Ref))

# System calls that change nothing but the mask of new files.
CALLS = ("umask", "close", "getpid", "dup3", "lseek", "personality", "fchdir")


@dataclass
class Plan:
    """A random program, and the memory that it uses."""

    program: Program = field(default_factory=Program)
    space: Space = field(default_factory=lambda: Space(32, "space"))
    words: Words = field(default_factory=lambda: Words((1, 0, -1, b"text"), "words"))


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    plan = Plan()
    p = plan.program
    count = draw(st.integers(1, 25))
    # Labels stand before the step of their number; the last one behind all steps.
    labels = [Label(str(number)) for number in range(count + 1)]
    place = st.one_of(
        st.integers(0, 24).map(lambda offset: At(plan.space, offset)),
        st.integers(0, 24).map(lambda offset: At(plan.words, offset)),
        REG.map(Ref),
    )
    outside = st.sampled_from((0, ARENA - 8, ARENA + (1 << 24) - 7, -8))
    for number in range(count):
        p.label(labels[number])
        later = st.integers(number + 1, count).map(labels.__getitem__)
        more: dict[str, Any] = {}
        if draw(st.booleans()):
            more["dst"] = draw(REG)
        if draw(st.booleans()):
            more["error"] = draw(later)
        if draw(st.booleans()):
            more["zero"] = draw(later)
        listed = tuple(draw(st.lists(ERRNO, max_size=4)))
        if listed and "error" in more and draw(st.booleans()):
            more["only"] = listed
        else:
            more["ok"] = listed
        kind = draw(st.sampled_from(("call", "call", "move", "store", "load", "check", "reply")))
        if kind == "call":
            name = draw(st.sampled_from(CALLS))
            same = draw(st.integers(0, 9))
            args: tuple[object, ...] = {
                "umask": (draw(OPERAND),),
                "close": (-1,),
                "dup3": (same, same, 0),
                "lseek": (-1, draw(OPERAND), draw(OPERAND)),
                "personality": (0xFFFFFFFF,),
                "fchdir": (-1,),
                "getpid": (draw(OPERAND), draw(OPERAND)),
            }[name]
            p.call(name, *args, **more)
        elif kind == "move":
            p.call("move", *draw(st.lists(OPERAND, min_size=1, max_size=3)), **more)
        elif kind == "store":
            p.call("store", draw(st.one_of(place, outside)), draw(OPERAND), draw(WIDTH), **more)
        elif kind == "load":
            p.call("load", draw(st.one_of(place, outside, REG)), draw(WIDTH), **more)
        elif kind == "check":
            where = draw(st.one_of(place, outside, REG))
            mask, value = draw(OPERAND), draw(OPERAND)
            p.call("check", where, draw(WIDTH), mask, value, draw(ERRNO), **more)
        else:
            at, wait = draw(place), draw(st.sampled_from((0, 0, 1)))
            p.call("reply", at, draw(st.integers(0, 8)), wait)
    p.label(labels[count])
    return plan


class Harmless:
    """A kernel for CALLS."""

    def __init__(self, pid: int, umask: int, personality: int) -> None:
        self.pid = pid
        self.umask = umask
        self.personality = personality

    def __call__(self, call: Call) -> int:
        if call.name == "umask":
            before, self.umask = self.umask, call.args[0] & 0o777
            return before
        if call.name == "getpid":
            return self.pid
        if call.name == "personality":
            return self.personality
        return -EINVAL if call.name == "dup3" else -EBADF


def personality() -> int:
    return int(open("/proc/self/personality").read(), 16)


def test_agrees_with_the_real_one() -> None:
    mask = os.umask(0)
    os.umask(mask)
    with running() as agent:
        kernel = Harmless(agent.pid, mask, personality())
        machine = Machine(kernel, machine=posix.uname().machine, session=agent.session_fd)

        @settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(plans())
        def agree(plan: Plan) -> None:
            # Whatever happens, the memory and the registers are compared at the end.
            message, steps = assemble(plan.program, agent.session.numbers)
            agent.send_raw(message)
            machine.load(message, steps)
            compare(steps)
            p = Program()
            p.call("reply", ARENA, 8 * 128, 0)
            p.call("reply", SPACE, 64, 1)
            message, steps = assemble(p, agent.session.numbers)
            agent.send_raw(message)
            machine.load(message, steps)
            compare(steps)

        def compare(steps: "list[Any]") -> None:
            for _ in itertools.count():
                real = agent.session.receive(steps)
                index, errno, data, waits = machine.go()
                assert (real.index, real.errno, real.data) == (index, errno, data)
                if waits:
                    return

        agree()


ALONE = {name: message for name, message in {**REFUSED, **TRUNCATED}.items() if "second" not in name}


def loaded(message: bytes) -> None:
    machine = Machine(Kernel())
    machine.load(message)
    machine.go()


@pytest.mark.parametrize("why", ALONE)
def test_refuses_the_same_programs(why: str) -> None:
    """What the real one was shown to refuse in test_bad_programs.py."""
    with pytest.raises(BadProgram):
        loaded(ALONE[why])


# -- what tests of plans use ------------------------------------------------------------------


def test_records_calls_in_order() -> None:
    p = Program()
    fs, mount = p.reg("fs"), p.reg("mount")
    attr = Words((1, 0, 0, 0), "mount_attr")
    p.about("mount /proc", "/mounts/0")
    p.call("fsopen", b"proc", 1, dst=fs)
    p.call("fsmount", fs, 1, -1, dst=mount)
    p.call("mount_setattr", mount, b"", 0x1000, attr, 32)
    kernel = Kernel()
    reply = Recorder(kernel).run(p)
    assert (reply.errno, reply.step) == (0, None)
    assert [call.name for call in kernel.calls] == ["fsopen", "fsmount", "mount_setattr"]
    assert kernel.calls[0].values == (b"proc", 1)
    assert kernel.calls[1].values == (kernel.calls[0].result, 1, -1)
    assert kernel.calls[2].values == (kernel.calls[1].result, b"", 0x1000, (1, 0, 0, 0), 32)
    assert str(kernel.calls[0]) == 'fsopen("proc", FSOPEN_CLOEXEC)'
    assert kernel.calls[0].step is not None
    assert kernel.calls[0].step.at == "/mounts/0"
    assert kernel.calls[0].path() == "proc"


def test_answers() -> None:
    p = Program()
    kernel = Kernel(
        {
            "umask": 0o22,
            "mkdirat": [0, -EEXIST],
            "chdir": lambda call: -ENOENT if call.path() == "/missing" else 0,
        }
    )
    old = p.reg("old")
    p.call("umask", 0, dst=old)
    for name in (b"a", b"b", b"c"):
        p.call("mkdirat", -100, name, 0o755, ok=(EEXIST,))
    p.call("chdir", b"/there")
    bad = p.call("chdir", b"/missing")
    p.call("getpid")
    session = Recorder(kernel)
    reply = session.run(p)
    assert (reply.step, reply.errno) == (bad, ENOENT)
    assert session.register(old) == 0o22
    assert [call.result for call in kernel.named("mkdirat")] == [0, -EEXIST, -EEXIST]
    assert not kernel.named("getpid")


def test_failing_on_condition() -> None:
    kernel = Kernel({"openat2": 7})
    kernel.fail("openat2", ENOSYS, lambda call: call.path() == "proc")
    p = Program()
    fd = p.reg("fd")
    fallback = Label("fallback")
    for path in (b"sys", b"proc"):
        p.call("openat2", 3, path, Words((0, 0, 0)), 24, dst=fd, only=(ENOSYS,), error=fallback)
    p.sync("no need")
    p.label(fallback)
    p.sync("fell back")
    reply = Recorder(kernel).run(p)
    assert reply.step is not None
    assert reply.step.key == "fell back"
    assert [call.result for call in kernel.calls] == [7, -ENOSYS]


def test_kernel_fills_memory() -> None:
    def statx(call: Call) -> int:
        call.memory.write(call.args[4] + 28, struct.pack("<H", 0o040755))
        return 0

    p = Program()
    space = Space(256, "statx")
    p.call("statx", 3, b"", 0x1000, 3, space)
    p.check(At(space, 28), 2, 0o170000, 0o040000, 20)
    p.sync("is a directory", At(space, 28), 2)
    reply = Recorder(Kernel({"statx": statx})).run(p)
    assert (reply.errno, reply.data) == (0, struct.pack("<H", 0o040755))


def test_children() -> None:
    child = Label("child")
    p = Program()
    pid, fd = p.reg("pid"), p.reg("fd")
    p.call("clone3", Words((0,) * 11, "clone_args"), 88, dst=pid, zero=child)
    p.sync("pid", Ref(pid), 8)
    p.label(child)
    p.call("move", 9, dst=SESSION)
    p.call("fsopen", b"proc", 1, dst=fd)
    p.sync("child", Ref(SESSION), 8)
    kernel = Kernel()
    parent = Recorder(kernel)
    steps = parent.send(p)
    first = parent.receive(steps)
    assert word(first.data) == 1001
    second = parent.child()
    reply = second.receive(steps)
    assert reply.step is not None
    assert (reply.step.key, word(reply.data)) == ("child", 9)
    assert second.register(pid) == 0
    assert parent.register(pid) == 1001
    assert parent.register(fd) == 0
    # It goes on with programs of its own.
    p = Program(p.registers)
    p.call("close", fd)
    assert second.run(p).errno == 0
    assert kernel.calls[-1].values == (second.register(fd),)


def test_ends() -> None:
    for name in ("exit_group", "execve"):
        p = Program()
        p.call(name, b"/bin/sh", None, None)
        session = Recorder(Kernel())
        with pytest.raises(Lost, match=f"ended with {name}"):
            session.run(p)
        with pytest.raises(Lost, match="ended before"):
            session.send(p)
    p = Program()
    p.call("execve", b"/bin/sh", None, None)
    assert Recorder(Kernel({"execve": -ENOENT})).run(p).errno == ENOENT


def test_memory_stays_inside() -> None:
    machine = Machine(Kernel())
    for address, length in ((ARENA - 1, 1), (ARENA, (1 << 24) + 1), (ARENA + (1 << 24), 1)):
        with pytest.raises(ValueError, match="outside the arena"):
            machine.memory.read(address, length)
        with pytest.raises(ValueError, match="outside the arena"):
            machine.memory.write(address, bytes(length))
    machine.memory.write(arena_word(5), struct.pack("<Q", 77))
    assert machine.register(5) == 77
