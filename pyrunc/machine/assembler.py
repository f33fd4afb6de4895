"""Lays a program out at pyrunc-init's fixed addresses: ops, then data; results have a space apart.

The layout is init.c's; tests/machine/test_layout.py compares the constants. docs/machine.md
describes it.

Import cost: _struct.
"""

from _struct import Struct

from pyrunc.errors import Error
from pyrunc.machine.ops import PSEUDO_NAMES, At, Label, Ref, Reg, Space, Step, Words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

ARENA = 0x10000000
PROGRAM = ARENA + 0x1000
SPACE = ARENA + 0xE00000
PROGRAM_SIZE = SPACE - PROGRAM
RAW = SPACE + 0x80000  # the part of it that is not zeroed
SPACE_SIZE = 0x100000
MAGIC = 0x4E525950
TRACING = 1
NOWHERE = 0xFF
ONLY = 1
MAX_OPS = 0xFFFF

OP = Struct("<6QIHBBHH4B")
_PACKED = Struct("<6QIHBBHHI")  # the same, with the four errnos as one number
# What follows the words of an op with so many arguments: those that it has not.
_PADS = tuple((0,) * (6 - count) for count in range(7))
HEADER = Struct("<6I")
_MASK = 0xFFFFFFFFFFFFFFFF


def syscall_numbers(machine: str) -> "dict[str, int]":
    """The system call numbers of an architecture by uname's name for it."""
    if machine == "x86_64":
        from pyrunc.machine.x86_64 import SYSCALLS

        return SYSCALLS
    if machine == "aarch64":
        from pyrunc.machine import aarch64

        return aarch64.SYSCALLS
    raise Error(f"pyrunc-init knows x86_64 and aarch64, not {machine}")


class _Layout:
    """Places memory behind the ops and gives out addresses."""

    __slots__ = ("base", "data", "keep", "known", "raw", "space")

    def __init__(self, base: int) -> None:
        self.base = base
        self.data = bytearray()
        self.known: dict[object, int] = {}
        self.space = 0
        self.raw = 0
        self.keep: list[object] = []  # an id is only good while its object lives

    def address(self, value: object) -> int:
        """The 64-bit word that stands for an integer, nothing, or memory."""
        kind = type(value)
        if kind is bytes:
            place = self.known.get(value)
            if place is None:
                assert isinstance(value, bytes)
                place = self.known[value] = self.base + len(self.data)
                self.data += value
                self.data += bytes(8 - (len(value) & 7))
            return place
        if value is None:
            return 0
        if isinstance(value, int):
            return value & _MASK
        if kind is Ref:
            assert isinstance(value, Ref)
            return ARENA + 8 * value.reg.index
        if kind is At:
            assert isinstance(value, At)
            return self.address(value.base) + value.offset
        place = self.known.get(id(value))
        if place is not None:
            return place
        self.keep.append(value)
        if kind is Words:
            assert isinstance(value, Words)
            words = [self.address(field).to_bytes(8, "little") for field in value.fields]
            place = self.base + len(self.data)
            self.data += b"".join(words)
        elif kind is Space:
            assert isinstance(value, Space)
            size = (value.size + 7) & ~7
            if value.raw:
                place = RAW + self.raw
                self.raw += size
            else:
                place = SPACE + self.space
                self.space += size
        else:
            raise TypeError(f"a program has no place for {value!r}")
        self.known[id(value)] = place
        return place


_known: "dict[int, tuple[dict[str, int], dict[str, int]]]" = {}


def _with_pseudo_ops(numbers: "dict[str, int]") -> "dict[str, int]":
    """The numbers of system calls and pseudo-ops; made once for each table, which stays alive so that its id does."""
    known = _known.get(id(numbers))
    if known is None:
        known = _known[id(numbers)] = numbers, {**numbers, **PSEUDO_NAMES}
    return known[1]


def _ahead(places: "dict[Label, int]", label: Label, offset: int) -> int:
    """The op that `label` stands before; ValueError unless it is behind the op at `offset`."""
    place = places.get(label, 0)
    if place * OP.size <= offset:
        raise ValueError(f"label {label.name!r} is not further on")
    return place


def _errnos(step: Step) -> int:
    """The errnos that an op lists, at most four bytes."""
    listed = step.only or step.ok
    if len(listed) > 4 or (step.only and (step.ok or step.error is None)):
        raise ValueError(f"{step.name}: errnos ok={step.ok} only={step.only}")
    return int.from_bytes(bytes(listed), "little")


def assemble(
    items: "Iterable[Step | Label]", numbers: "dict[str, int]", *, tracing: bool = False
) -> "tuple[bytes, list[Step]]":
    """Lay out a program for the system call numbers of one architecture.

    Returns the message for pyrunc-init and the steps by op number. Raises Error where the program
    is too large.
    """
    steps: list[Step] = []
    places: dict[Label, int] = {}
    for item in items:
        if type(item) is Step:
            steps.append(item)
        else:
            assert isinstance(item, Label)
            places[item] = len(steps)
    if len(steps) > MAX_OPS - 1:
        raise Error(f"the program has {len(steps)} steps, more than {MAX_OPS - 1}")
    if len(steps) in places.values():
        # A label behind the last step needs an op to point at.
        steps.append(Step("move", (0,), None, (), (), None, None, "", "", ""))
    layout = _Layout(PROGRAM + OP.size * len(steps))
    address = layout.address
    memory = layout.known.get
    all_numbers = _with_pseudo_ops(numbers)
    out = bytearray(OP.size * len(steps))
    pack_into = _PACKED.pack_into
    offset = 0
    for step in steps:
        kinds = 0
        shift = 0
        words = []
        for arg in step.args:
            if type(arg) is int:
                words.append(arg & _MASK)
            elif type(arg) is Reg:
                kinds |= 1 << shift
                words.append(arg.index)
            elif type(arg) is bytes:
                words.append(memory(arg) or address(arg))
            elif type(arg) is Ref:
                kinds |= 2 << shift
                words.append(arg.reg.index)
            else:
                words.append(address(arg))
            shift += 2
        dst, error, zero = step.dst, step.error, step.zero
        pack_into(
            out,
            offset,
            *words,
            *_PADS[len(words)],
            all_numbers[step.name],
            kinds,
            NOWHERE if dst is None else dst.index,
            ONLY if step.only else 0,
            0 if error is None else _ahead(places, error, offset),
            0 if zero is None else _ahead(places, zero, offset),
            _errnos(step) if step.only or step.ok else 0,
        )
        offset += OP.size
    size = len(out) + len(layout.data)
    if size > PROGRAM_SIZE or max(layout.space, layout.raw) > SPACE_SIZE // 2:
        raise Error(f"the program is too large: {size} bytes, and {layout.space} for results")
    flags = TRACING if tracing else 0
    header = HEADER.pack(MAGIC, len(steps), len(layout.data), layout.space, flags, 0)
    return b"".join((header, out, layout.data)), steps
