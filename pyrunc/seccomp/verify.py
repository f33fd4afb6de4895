"""Ask a compiled filter what it answers, and compare that with the profile.

libseccomp (2.5.4 and 2.6.0 were seen to) leaves out the load of the call's number in some filters for x86_64, x32 and
x86 whose rules have conditions on arguments, which then allow what the profile forbids.
Cold, as pyrunc.seccomp.compile is.
"""

import struct

from pyrunc.seccomp.names import ACTIONS, ARCHITECTURES, ERRNO, IS_64BIT, TRACE, X32, X86, X86_64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    Profile = Mapping[str, Any]

WORD = 0xFFFF_FFFF
NOT_LISTED = 0xFFF
"""A number that no architecture has given to a call."""

CHECKED = (X86_64, X86, X32, ARCHITECTURES["SCMP_ARCH_AARCH64"])
MULTIPLEXERS = ("socketcall", "ipc")
"""Calls of 32-bit architectures whose first argument is the call that is meant: libseccomp adds rules for them."""


def interpret(program: bytes, number: int, architecture: int, args: "tuple[int, ...]" = ()) -> int:
    """What the kernel would answer to a call: the part of classic BPF that seccomp(2) allows."""
    return _run(_decode(program), number, architecture, args)


def _decode(program: bytes) -> "tuple[int, ...]":
    return struct.unpack("=" + "HBBI" * (len(program) // 8), program)


def _run(code: "tuple[int, ...]", number: int, architecture: int, args: "tuple[int, ...]" = ()) -> int:
    data = struct.pack("=IIQ6Q", number & WORD, architecture, 0, *(args + (0,) * 6)[:6])
    a = x = at = 0
    memory = [0] * 16
    while True:
        op, true, false, k = code[at : at + 4]
        at += 4
        kind, operand = op & 0x07, x if op & 0x08 else k
        if kind == 0x05:
            if op & 0xF0 == 0x00:
                at += 4 * k
                continue
            if op & 0xF0 == 0x10:
                holds = a == operand
            elif op & 0xF0 == 0x20:
                holds = a > operand
            elif op & 0xF0 == 0x30:
                holds = a >= operand
            else:
                holds = bool(a & operand)
            at += 4 * (true if holds else false)
        elif kind == 0x00:
            # From struct seccomp_data, a scratch word or a constant.
            if op & 0xE0 == 0x20:
                (a,) = struct.unpack_from("=I", data, k)
            else:
                a = memory[k] if op & 0xE0 == 0x60 else k
        elif kind == 0x06:
            return int(a if op & 0x18 == 0x10 else k)
        elif kind == 0x04:
            a = _arithmetic(op & 0xF0, a, operand)
        elif kind == 0x01:
            x = memory[k] if op & 0xE0 == 0x60 else k
        elif kind == 0x02:
            memory[k] = a
        elif kind == 0x03:
            memory[k] = x
        else:
            a, x = (a, a) if op & 0xF8 == 0 else (x, x)


def _arithmetic(operator: int, a: int, operand: int) -> int:
    results = {0x00: a + operand, 0x10: a - operand, 0x40: a | operand, 0x50: a & operand, 0xA0: a ^ operand}
    return results[operator] & WORD


def wrong_answer(
    program: bytes, profile: "Profile", default: int, architectures: "list[int]", resolve: "Callable[[int, str], int]"
) -> str:
    """The first call to which the filter's answer is not the profile's, "" where there is none.

    Asked are the calls that the profile names, with zeros, with arguments that meet the conditions of each rule and
    with such at a condition's edge; and one that it does not name. default: the answer where no rule fits. resolve: the
    number of a call on an architecture, negative where it has none.
    """
    code = _decode(program)
    entries = profile.get("syscalls", ())
    named: dict[str, list[Any]] = {}
    for entry in entries:
        for name in entry.get("names", ()):
            named.setdefault(name, []).append(entry)
    for architecture in architectures:
        if architecture not in CHECKED:
            continue
        kernel = X86_64 if architecture == X32 else architecture
        above = 0x4000_0000 if architecture == X32 else 0
        mask = WORD if not architecture & IS_64BIT else WORD << 32 | WORD
        if _run(code, above + NOT_LISTED, kernel) != default:
            return f"a call that it does not name, on {_name(architecture)}"
        for name, rules in named.items():
            number = resolve(architecture, name)
            if number < 0 or name in MULTIPLEXERS or any(_is_wide(rule, mask) for rule in rules):
                continue
            groups = [group for rule in rules for group in alternatives(rule)]
            for args in {(0,) * 6, *(args for group in groups for args in _questions(group, mask))}:
                right = {answer(rule) for rule in rules if _meets(rule, args)} or {default}
                if _run(code, number, kernel, args) not in right:
                    return f"{name}{args} on {_name(architecture)}"
    return ""


def _name(architecture: int) -> str:
    return next(name for name, number in ARCHITECTURES.items() if number == architecture)


def answer(rule: "Mapping[str, Any]") -> int:
    action = ACTIONS[rule["action"]]
    if action not in (ERRNO, TRACE):
        return action
    errno = rule.get("errnoRet")
    return action | (1 if errno is None else errno)


def _is_wide(rule: "Mapping[str, Any]", mask: int) -> bool:
    """Whether the rule compares with more than a 32-bit architecture's filters can see."""
    return any(max(each.get("value", 0), each.get("valueTwo", 0)) > mask for each in rule.get("args", ()))


def alternatives(rule: "Mapping[str, Any]") -> "list[list[Mapping[str, Any]]]":
    """The rule's conditions: all of one group have to hold, of several on one argument any."""
    conditions = list(rule.get("args", ()))
    if len({each["index"] for each in conditions}) < len(conditions):
        return [[each] for each in conditions]
    return [conditions]


def _meets(rule: "Mapping[str, Any]", args: "tuple[int, ...]") -> bool:
    return any(all(_holds(each, args[each["index"]]) for each in group) for group in alternatives(rule))


def _holds(condition: "Mapping[str, Any]", arg: int) -> bool:
    value, two = condition.get("value", 0), condition.get("valueTwo", 0)
    results = {
        "SCMP_CMP_NE": arg != value,
        "SCMP_CMP_LT": arg < value,
        "SCMP_CMP_LE": arg <= value,
        "SCMP_CMP_EQ": arg == value,
        "SCMP_CMP_GE": arg >= value,
        "SCMP_CMP_GT": arg > value,
        "SCMP_CMP_MASKED_EQ": arg & value == two & value,
    }
    return bool(results[condition["op"]])


def _questions(group: "list[Mapping[str, Any]]", mask: int) -> "Iterator[tuple[int, ...]]":
    """Arguments that meet the conditions, where they can be met, and such with one of them at the condition's edge."""
    met = [0] * 6
    for condition in group:
        value, two = condition.get("value", 0), condition.get("valueTwo", 0)
        others = {"SCMP_CMP_NE": value ^ 1, "SCMP_CMP_LT": value - 1, "SCMP_CMP_GT": value + 1}
        others["SCMP_CMP_MASKED_EQ"] = value & two
        met[condition["index"]] = max(0, min(others.get(condition["op"], value), mask))
    yield tuple(met)
    for condition in group:
        value = condition.get("value", 0)
        for edge in (value - 1, value, value + 1):
            if 0 <= edge <= mask:
                yield (*met[: condition["index"]], edge, *met[condition["index"] + 1 :])
