"""Laying programs out: what ends up where."""

import pytest

from pyrunc.errors import Error
from pyrunc.machine.assembler import (
    ARENA,
    HEADER,
    MAGIC,
    MAX_OPS,
    NOWHERE,
    ONLY,
    OP,
    PROGRAM,
    RAW,
    SPACE,
    SPACE_SIZE,
    TRACING,
    assemble,
    syscall_numbers,
)
from pyrunc.machine.ops import (
    MOVE,
    PSEUDO_NAMES,
    SESSION,
    At,
    Fd,
    Label,
    Program,
    Ref,
    Reg,
    Registers,
    Space,
    Words,
    conversation,
)

NUMBERS = syscall_numbers("x86_64")


class Laid:
    """An assembled program, taken apart again."""

    def __init__(self, p: Program, *, tracing: bool = False) -> None:
        self.message, self.steps = assemble(p, NUMBERS, tracing=tracing)
        header = HEADER.unpack_from(self.message)
        self.magic, self.count, self.size, self.space, self.flags, self.reserved = header
        end = HEADER.size + OP.size * self.count
        self.ops = list(OP.iter_unpack(self.message[HEADER.size : end]))
        self.data = self.message[end:]
        self.base = PROGRAM + OP.size * self.count

    def args(self, op: int) -> tuple[int, ...]:
        return tuple(self.ops[op][:6])

    def string(self, address: int) -> bytes:
        """The NUL-terminated bytes at an address."""
        start = address - self.base
        return self.data[start : self.data.index(0, start)]

    def word(self, address: int) -> int:
        start = address - self.base
        return int.from_bytes(self.data[start : start + 8], "little")


def test_header() -> None:
    p = Program()
    p.call("getpid")
    p.call("chdir", b"/")
    laid = Laid(p)
    assert (laid.magic, laid.count, laid.space, laid.flags, laid.reserved) == (MAGIC, 2, 0, 0, 0)
    assert laid.size == len(laid.data) == 8
    assert Laid(p, tracing=True).flags == TRACING


def test_integers_and_numbers() -> None:
    p = Program()
    p.call("openat", -100, b"x", 0o2000000, None, Fd(7, "root"), True)
    op = Laid(p).ops[0]
    assert op[0] == (1 << 64) - 100
    assert op[2:6] == (0o2000000, 0, 7, 1)
    assert op[6] == NUMBERS["openat"]
    assert op[7] == 0  # every argument is a constant
    assert op[8] == NOWHERE
    assert op[9:] == (0, 0, 0, 0, 0, 0, 0)


def test_strings_end_with_nul_and_are_kept_once() -> None:
    p = Program()
    for path in (b"/proc", b"12345678", b"", b"/proc"):
        p.call("chdir", path)
    laid = Laid(p)
    places = [laid.args(i)[0] for i in range(4)]
    assert [laid.string(place) for place in places] == [b"/proc", b"12345678", b"", b"/proc"]
    assert places[0] == places[3]
    assert len(set(places)) == 3
    assert all(place % 8 == 0 for place in places)
    assert len(laid.data) == 8 + 16 + 8


def test_registers_and_their_addresses() -> None:
    p = Program()
    fd = p.reg("fd")
    p.call("close", fd, dst=fd)
    p.call("read", SESSION, Ref(fd), 8)
    p.call("chdir", At(Space(16), 8), Ref(SESSION))
    laid = Laid(p)
    assert laid.ops[0][7] == 1
    assert laid.ops[0][0] == laid.ops[0][8] == fd.index
    assert laid.ops[1][7] == 1 | 2 << 2
    assert laid.args(1)[:3] == (0, fd.index, 8)
    assert laid.ops[2][7] == 2 << 2


def test_structures_point_to_memory() -> None:
    reg = Reg(5, "fd")
    space = Space(10, "buffer")
    inner = Words((1, b"name"))
    outer = Words((inner, b"name", space, At(space, 4), Ref(reg), None, -1, At(inner, 8)))
    p = Program()
    p.call("clone3", outer, 64)
    p.call("clone3", inner, 64)
    laid = Laid(p)
    at = laid.args(0)[0]
    fields = [laid.word(at + 8 * i) for i in range(8)]
    assert laid.args(1)[0] == fields[0]
    assert laid.word(fields[0]) == 1
    assert laid.string(laid.word(fields[0] + 8)) == b"name"
    assert fields[1] == laid.word(fields[0] + 8)
    assert fields[2:] == [
        SPACE,
        SPACE + 4,
        ARENA + 8 * 5,
        0,
        (1 << 64) - 1,
        fields[0] + 8,
    ]


def test_spaces_follow_each_other() -> None:
    first, second = Space(13), Space(8)
    p = Program()
    p.call("read", 0, first, 13)
    p.call("read", 0, second, 8)
    p.call("read", 0, At(first, 12), 1)
    laid = Laid(p)
    assert [laid.args(i)[1] for i in range(3)] == [SPACE, SPACE + 16, SPACE + 12]
    assert laid.space == 24
    assert laid.data == b""


def test_equal_structures_stay_apart() -> None:
    p = Program()
    p.call("clone3", Words((1,)), 8)
    p.call("clone3", Words((1,)), 8)
    laid = Laid(p)
    assert laid.args(0)[0] != laid.args(1)[0]


def test_jumps() -> None:
    failed, done = Label("failed"), Label("done")
    p = Program()
    p.call("chdir", b"/x", only=(2, 20), error=failed)
    p.jump(done)
    p.label(failed)
    p.call("chdir", b"/", ok=(13,), error=done)
    p.label(done)
    p.call("getpid", zero=None)
    laid = Laid(p)
    assert laid.ops[0][9:] == (ONLY, 2, 0, 2, 20, 0, 0)
    assert laid.ops[1][6] == MOVE
    assert laid.ops[1][9:] == (0, 0, 3, 0, 0, 0, 0)
    assert laid.ops[2][9:] == (0, 3, 0, 13, 0, 0, 0)


def test_label_behind_the_last_step() -> None:
    end = Label("end")
    p = Program()
    p.call("getpid", zero=end)
    p.label(end)
    laid = Laid(p)
    assert laid.count == 2
    assert laid.ops[0][9:12] == (0, 0, 1)
    assert [step.name for step in laid.steps] == ["getpid", "move"]


def test_labels_do_not_count_as_steps() -> None:
    p = Program()
    p.label(Label())
    p.label(Label())
    step = p.call("getpid")
    assert Laid(p).steps == [step]
    assert [item for item in p if not isinstance(item, Label)] == [step]


@pytest.mark.parametrize("which", ["error", "zero"])
def test_backward_and_missing_labels_are_refused(which: str) -> None:
    for placed in (True, False):
        label = Label("back")
        p = Program()
        p.call("getpid")
        if placed:
            p.label(label)
        p.call("getpid", **{which: label})  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="'back' is not further on"):
            assemble(p, NUMBERS)


def test_errnos_that_do_not_fit_are_refused() -> None:
    label = Label()
    for arguments in (
        {"ok": (1, 2, 3, 4, 5)},
        {"only": (1,)},
        {"only": (1,), "ok": (2,), "error": label},
    ):
        p = Program()
        p.call("getpid", **arguments)
        p.label(label)
        p.call("getpid")
        with pytest.raises(ValueError, match="getpid: errnos"):
            assemble(p, NUMBERS)


def test_arguments_that_are_no_memory_are_refused() -> None:
    p = Program()
    p.call("chdir", "/text")
    with pytest.raises(TypeError, match="no place for '/text'"):
        assemble(p, NUMBERS)
    p = Program()
    p.call("clone3", Words((Reg(1, "r"),)), 8)
    with pytest.raises(TypeError):
        assemble(p, NUMBERS)


def test_unknown_names_are_refused() -> None:
    p = Program()
    p.call("no_such_call")
    with pytest.raises(KeyError):
        assemble(p, NUMBERS)
    with pytest.raises(Error, match="not riscv64"):
        syscall_numbers("riscv64")


def test_too_large() -> None:
    p = Program()
    for _ in range(MAX_OPS):
        p.call("getpid")
    with pytest.raises(Error, match=r"the program has 65535 steps, more than 65534"):
        assemble(p, NUMBERS)
    p = Program()
    p.call("chdir", bytes(15 << 20))
    with pytest.raises(Error, match="the program is too large"):
        assemble(p, NUMBERS)
    p = Program()
    p.call("read", 0, Space(SPACE_SIZE + 1), 1)
    with pytest.raises(Error, match="the program is too large"):
        assemble(p, NUMBERS)


def test_pseudo_ops() -> None:
    space = Space(256, "statx")
    p = Program()
    reg = p.reg("value")
    p.store(At(space, 8), reg, 8)
    p.store(space, 1)
    p.load(At(space, 28), 2, reg)
    p.check(At(space, 28), 2, 0o170000, 0o040000, 20)
    p.sync("ready", space)
    p.sync("ready")
    laid = Laid(p)
    assert [op[6] for op in laid.ops] == [
        PSEUDO_NAMES[name] for name in ("store", "store", "load", "check", "reply", "reply")
    ]
    assert laid.args(0)[:3] == (SPACE + 8, reg.index, 8)
    assert laid.args(1)[:3] == (SPACE, 1, 4)
    assert laid.args(2)[:2] == (SPACE + 28, 2)
    assert laid.ops[2][8] == reg.index
    assert laid.args(3)[:5] == (SPACE + 28, 2, 0o170000, 0o040000, 20)
    assert laid.args(4)[:3] == (SPACE, 256, 1)
    assert laid.args(5)[:3] == (0, 0, 1)


def test_registers_are_handed_out_once() -> None:
    registers = Registers()
    taken = [registers.take(str(i)) for i in range(111)]
    assert sorted(reg.index for reg in taken) == list(range(1, 112))
    with pytest.raises(IndexError):
        registers.take("one more")
    registers.give(taken[3])
    assert registers.take("again").index == taken[3].index


def test_a_conversation_has_registers_of_its_own() -> None:
    registers = conversation()
    assert sorted(registers.take("").index for _ in range(16)) == list(range(112, 128))


def test_raw_space_lies_behind_the_zeroed_one() -> None:
    raw, other, zeroed = Space(100, raw=True), Space(8, raw=True), Space(8)
    p = Program()
    p.call("read", 0, raw, 100)
    p.call("read", 0, zeroed, 8)
    p.call("read", 0, other, 8)
    laid = Laid(p)
    assert [laid.args(i)[1] for i in range(3)] == [RAW, SPACE, RAW + 104]
    assert laid.space == 8
    p = Program()
    p.call("read", 0, Space(SPACE + SPACE_SIZE - RAW, raw=True), 8)
    assert Laid(p).space == 0
    p.call("read", 0, Space(1, raw=True), 8)
    with pytest.raises(Error, match="the program is too large"):
        assemble(p, NUMBERS)


def test_close_gives_the_register_back() -> None:
    registers = Registers()
    p = Program(registers)
    fd = p.reg("fd")
    p.close(fd)
    assert Program(registers).reg("other").index == fd.index


def test_reasons_and_pointers() -> None:
    p = Program()
    p.about("mount /proc", "/mounts/0")
    first = p.call("fsopen", b"proc", 1)
    second = p.call("fsmount", 3, 0, 0, why="other", at="/root", key="k")
    assert (first.why, first.at, first.key) == ("mount /proc", "/mounts/0", "")
    assert (second.why, second.at, second.key) == ("other", "/root", "k")
