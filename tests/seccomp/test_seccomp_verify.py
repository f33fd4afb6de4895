"""Filters that libseccomp compiles wrongly are found, and not used."""

import platform
import struct
from typing import Any

import pytest

from pyrunc.errors import Error
from pyrunc.seccomp import compile as compiler
from pyrunc.seccomp import names, plain
from pyrunc.seccomp.verify import interpret, wrong_answer

pyseccomp = pytest.importorskip("pyseccomp")

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="the calls used here are those of x86_64")

X86_64 = names.ARCHITECTURES["SCMP_ARCH_X86_64"]
X86 = names.ARCHITECTURES["SCMP_ARCH_X86"]
PERSONALITY = 135

# Of this libseccomp makes a filter that allows every call.
MISCOMPILED = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    "syscalls": [
        {"names": ["_llseek"], "action": "SCMP_ACT_KILL"},
        {
            "names": ["personality"],
            "action": "SCMP_ACT_KILL",
            "args": [{"index": 0, "op": "SCMP_CMP_NE", "value": 0}],
        },
    ],
}


def test_the_other_way_to_compile_is_right() -> None:
    program = compiler.program(MISCOMPILED, "")
    assert interpret(program, PERSONALITY, X86_64, (1,)) == names.KILL_THREAD
    assert interpret(program, PERSONALITY, X86_64, (0,)) == names.ALLOW
    assert interpret(program, 0x4000_0000 + PERSONALITY, X86_64, (1,)) == names.KILL_THREAD
    assert interpret(program, 140, X86) == names.KILL_THREAD


# Here both forms are wrong.
MISCOMPILED_TWICE: dict[str, Any] = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [
        {
            "names": ["read"],
            "action": "SCMP_ACT_KILL",
            "args": [
                {"index": 0, "op": "SCMP_CMP_NE", "value": 0},
                {"index": 1, "op": "SCMP_CMP_NE", "value": 1},
                {"index": 1, "op": "SCMP_CMP_LT", "value": 0},
            ],
        },
        {
            "names": ["read"],
            "action": "SCMP_ACT_KILL",
            "args": [{"index": 1, "op": "SCMP_CMP_LT", "value": 1 << 32}],
        },
    ],
}


def test_a_filter_of_our_own_is_right() -> None:
    program = compiler.program(MISCOMPILED_TWICE, "")
    assert interpret(program, 0, X86_64, (0, 1)) == names.KILL_THREAD
    assert interpret(program, 0, X86_64, (0, 1 << 32)) == names.KILL_THREAD
    assert interpret(program, 1, X86_64, (0, 1)) == names.ALLOW
    assert interpret(program, 0, X86, (0, 1)) == names.KILL_THREAD
    assert interpret(program, 0x4000_0000, X86_64) == names.KILL_THREAD


def test_a_filter_that_stays_wrong_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with a libseccomp that does neither right."""
    seen = []

    def compile_wrongly(*arguments: Any) -> Any:
        tree = arguments[5:] == (True,)
        seen.append(tree)
        return struct.pack("=HBBI", 0x06, 0, 0, names.ALLOW), tree

    monkeypatch.setattr(compiler, "_compile", compile_wrongly)
    wrong = r"answers wrongly to personality\(1, 0, 0, 0, 0, 0\) on SCMP_ARCH_X86_64"
    monkeypatch.setattr(plain, "program", lambda *_: struct.pack("=HBBI", 0x06, 0, 0, names.ALLOW))
    with pytest.raises(Error, match=wrong) as caught:
        compiler.program(MISCOMPILED, "/linux/seccomp")
    assert caught.value.pointer == "/linux/seccomp"
    assert seen == [False, True]


def test_parts_of_socketcall_are_left_to_libseccomp() -> None:
    entries = [{"names": ["socket"], "action": "SCMP_ACT_KILL"}]
    profile = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": entries}
    assert len(list(compiler._filters(pyseccomp, profile, names.ALLOW, [X86_64], ""))) == 3
    assert len(list(compiler._filters(pyseccomp, profile, names.ALLOW, [X86_64, X86], ""))) == 2


CONDITIONS = [
    ("SCMP_CMP_NE", 5, 0),
    ("SCMP_CMP_LT", 5, 0),
    ("SCMP_CMP_LE", 5, 0),
    ("SCMP_CMP_EQ", 5, 0),
    ("SCMP_CMP_GE", 5, 0),
    ("SCMP_CMP_GT", 5, 0),
    ("SCMP_CMP_MASKED_EQ", 6, 4),
]


@pytest.mark.parametrize(("operator", "value", "two"), CONDITIONS)
def test_every_condition_is_asked_about(operator: str, value: int, two: int) -> None:
    """A filter that never does what the rule says is found, whatever the rule's condition."""
    condition = {"index": 2, "op": operator, "value": value, "valueTwo": two}
    entry = {"names": ["personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": 7, "args": [condition]}
    profile: dict[str, Any] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [entry]}
    right = compiler.program(profile, "")
    never = struct.pack("=HBBI", 0x06, 0, 0, names.ALLOW)

    def asked(program: bytes) -> str:
        return wrong_answer(program, profile, names.ALLOW, [X86_64], pyseccomp.resolve_syscall)

    assert asked(right) == ""
    assert asked(never).startswith("personality(0, 0, ")


def test_a_wrong_default_is_found() -> None:
    profile: dict[str, Any] = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": []}
    program = struct.pack("=HBBI", 0x06, 0, 0, names.ALLOW)
    found = wrong_answer(program, profile, names.ERRNO | 1, [X86_64], pyseccomp.resolve_syscall)
    assert found == "a call that it does not name, on SCMP_ARCH_X86_64"
