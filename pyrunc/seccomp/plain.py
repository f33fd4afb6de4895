"""Make a filter of a profile without libseccomp, for what that compiles wrongly (pyrunc.seccomp.verify).

One call after the other, one rule after the other, nothing shared: longer than what libseccomp makes, and nothing to
go wrong. The instructions are those of classic BPF (linux/filter.h) on struct seccomp_data (seccomp(2)). Cold.
"""

from _struct import pack

from pyrunc.seccomp.enosys import ARCHITECTURE_AT, IF_BITS, IF_EQUAL, IF_GREATER, LOAD, NUMBER_AT, RETURN, X32_BIT
from pyrunc.seccomp.names import IS_64BIT, KILL_THREAD, X32, X86_64
from pyrunc.seccomp.verify import WORD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    # A rule: what to answer, and the groups of conditions of which one has to hold.
    Rule = tuple[int, "list[list[Mapping[str, Any]]]"]

IF_AT_LEAST = 0x35  # BPF_JMP | BPF_JGE | BPF_K, unsigned
JUMP = 0x05  # BPF_JMP | BPF_JA
AND = 0x54  # BPF_ALU | BPF_AND | BPF_K
ARGUMENTS_AT = 16


class _Code:
    """Instructions with named places as targets; "" is the next instruction."""

    def __init__(self) -> None:
        self.items: list[tuple[int, int, str, str]] = []
        self.places: dict[str, int] = {}
        self.names = 0

    def add(self, operation: int, operand: int = 0, true: str = "", false: str = "") -> None:
        self.items.append((operation, operand, true, false))

    def name(self) -> str:
        self.names += 1
        return str(self.names)

    def place(self, name: str) -> None:
        self.places[name] = len(self.items)

    def unless_equal(self, operand: int, far: str) -> None:
        """Go on if the accumulator is that; conditional jumps reach no further than 255 instructions."""
        here = self.name()
        self.add(IF_EQUAL, operand, here)
        self.add(JUMP, 0, far)
        self.place(here)

    def bytes(self) -> bytes:
        out = []
        for at, (operation, operand, true, false) in enumerate(self.items):
            ahead = [self.places[name] - at - 1 if name else 0 for name in (true, false)]
            if operation == JUMP:
                out.append(pack("=HBBI", operation, 0, 0, ahead[0]))
            else:
                out.append(pack("=HBBI", operation, *ahead, operand))
        return b"".join(out)


def program(default: int, architectures: "Mapping[int, Mapping[int, list[Rule]]]") -> bytes:
    """A filter: for each little-endian architecture and number of a call its rules, the first that fits answers.

    Another architecture's calls kill, as with libseccomp; so do those of x32 or x86_64 where only the other is there.
    """
    code = _Code()
    code.add(LOAD, ARCHITECTURE_AT)
    for architecture in dict.fromkeys(X86_64 if each == X32 else each for each in architectures):
        after = code.name()
        code.unless_equal(architecture, after)
        code.add(LOAD, NUMBER_AT)
        if architecture == X86_64:
            x32, x86_64 = code.name(), code.name()
            code.add(IF_BITS, X32_BIT, "", x86_64)
            code.add(JUMP, 0, x32)
            code.place(x86_64)
            _calls(code, X86_64, architectures.get(X86_64), default)
            code.place(x32)
            _calls(code, X32, architectures.get(X32), default)
        else:
            _calls(code, architecture, architectures[architecture], default)
        code.place(after)
    code.add(RETURN, KILL_THREAD)
    return code.bytes()


def _calls(code: _Code, architecture: int, calls: "Mapping[int, list[Rule]] | None", default: int) -> None:
    if calls is None:
        code.add(RETURN, KILL_THREAD)
        return
    for number, rules in calls.items():
        other = code.name()
        code.unless_equal(number, other)
        for answer, groups in rules:
            for group in groups:
                fails = code.name()
                for condition in group:
                    _condition(code, condition, fails, wide=bool(architecture & IS_64BIT))
                code.add(RETURN, answer)
                code.place(fails)
        code.add(RETURN, default)
        code.place(other)
    code.add(RETURN, default)


def _condition(code: _Code, condition: "Mapping[str, Any]", fails: str, *, wide: bool) -> None:
    """Go on if the condition holds; the lower halves decide where the upper ones are equal."""
    operator = condition["op"]
    value, mask, masked = condition.get("value", 0), 0, operator == "SCMP_CMP_MASKED_EQ"
    if masked:
        mask, value = value, value & condition.get("valueTwo", 0)
    holds = code.name()
    low = ARGUMENTS_AT + 8 * condition["index"]
    if wide:
        _load(code, low + 4, mask >> 32, masked=masked)
        upper = value >> 32
        if operator in ("SCMP_CMP_GT", "SCMP_CMP_GE"):
            code.add(IF_GREATER, upper, holds)
            code.add(IF_EQUAL, upper, "", fails)
        elif operator in ("SCMP_CMP_LT", "SCMP_CMP_LE"):
            code.add(IF_GREATER, upper, fails)
            code.add(IF_EQUAL, upper, "", holds)
        else:
            code.add(IF_EQUAL, upper, "", holds if operator == "SCMP_CMP_NE" else fails)
    _load(code, low, mask & WORD, masked=masked)
    compare, right = {
        "SCMP_CMP_EQ": (IF_EQUAL, True),
        "SCMP_CMP_MASKED_EQ": (IF_EQUAL, True),
        "SCMP_CMP_NE": (IF_EQUAL, False),
        "SCMP_CMP_GT": (IF_GREATER, True),
        "SCMP_CMP_LE": (IF_GREATER, False),
        "SCMP_CMP_GE": (IF_AT_LEAST, True),
        "SCMP_CMP_LT": (IF_AT_LEAST, False),
    }[operator]
    code.add(compare, value & WORD, *((holds, fails) if right else (fails, holds)))
    code.place(holds)


def _load(code: _Code, at: int, mask: int, *, masked: bool) -> None:
    code.add(LOAD, at)
    if masked:
        code.add(AND, mask)
