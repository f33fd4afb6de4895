"""Compiled filters, run by an interpreter of classic BPF, against a reading of the profile."""

import errno
import functools
import json
import platform
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrunc.errors import Error
from pyrunc.seccomp import compile as compiler
from pyrunc.seccomp import filter_for, names
from pyrunc.seccomp.enosys import prologue
from pyrunc.seccomp.verify import interpret

pyseccomp = pytest.importorskip("pyseccomp")

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="the calls used here are those of x86_64")

X86_64 = names.ARCHITECTURES["SCMP_ARCH_X86_64"]
X32 = names.ARCHITECTURES["SCMP_ARCH_X32"]
X86 = names.ARCHITECTURES["SCMP_ARCH_X86"]
AARCH64 = names.ARCHITECTURES["SCMP_ARCH_AARCH64"]
ENOSYS = names.ERRNO | errno.ENOSYS
EPERM = names.ERRNO | errno.EPERM


@functools.cache
def resolve(architecture: int, name: str) -> int:
    number: int = pyseccomp.resolve_syscall(architecture, name)
    return number


OPERATIONS: dict[str, Callable[[int, int, int], bool]] = {
    "SCMP_CMP_NE": lambda arg, value, two: arg != value,
    "SCMP_CMP_LT": lambda arg, value, two: arg < value,
    "SCMP_CMP_LE": lambda arg, value, two: arg <= value,
    "SCMP_CMP_EQ": lambda arg, value, two: arg == value,
    "SCMP_CMP_GE": lambda arg, value, two: arg >= value,
    "SCMP_CMP_GT": lambda arg, value, two: arg > value,
    "SCMP_CMP_MASKED_EQ": lambda arg, mask, value: arg & mask == value & mask,
}


def meaning(word: str, code: "int | None") -> int:
    number = names.ACTIONS[word]
    if word in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"):
        number |= errno.EPERM if code is None else code
    return number


def matches(entry: dict[str, Any], args: tuple[int, ...]) -> bool:
    conditions = entry.get("args") or []
    results = [
        OPERATIONS[each["op"]](args[each["index"]], each["value"], each.get("valueTwo", 0)) for each in conditions
    ]
    indexes = [each["index"] for each in conditions]
    if len(set(indexes)) < len(indexes):
        return any(results)
    return all(results)


def expected(profile: dict[str, Any], number: int, architecture: int, args: tuple[int, ...]) -> set[int]:
    """What may come out: one value, or where rules with different actions match, any of theirs."""
    listed = {names.ARCHITECTURES[each] for each in profile.get("architectures") or ()} | {X86_64}
    half = architecture
    if architecture == X86_64 and number & 0x4000_0000:
        half = X32
    if half not in listed:
        return {names.KILL_THREAD}
    default = meaning(profile["defaultAction"], profile.get("defaultErrnoRet"))
    entries = profile.get("syscalls") or []
    newest = max((resolve(half, name) for entry in entries for name in entry["names"]), default=0)
    permissive = ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE")
    if profile["defaultAction"] not in permissive and 0 < newest < number:
        return {ENOSYS}
    return {
        meaning(entry["action"], entry.get("errnoRet"))
        for entry in entries
        if matches(entry, args) and number in {resolve(half, name) for name in entry["names"]}
    } or {default}


CALLS = [
    "read",
    "openat",
    "clone",
    "personality",
    "ioctl",
    "futex",
    "getpid",
    "dup2",
    "kill",
    "prctl",
    "clone3",
    "faccessat2",
    "_llseek",
    "no_such_call",
]
EDGES = [0, 1, 2, 7, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF]
WIDE = [*EDGES, 0x1_0000_0000, 0x1_0000_0001, 0x7FFF_FFFF_FFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF]

actions = st.sampled_from([each for each in names.ACTIONS if each != "SCMP_ACT_NOTIFY"])


@st.composite
def profiles(draw: st.DrawFn) -> dict[str, Any]:
    """A profile in which all rules of one call have one action, so that it has one meaning."""
    architectures = draw(
        st.sampled_from(
            [
                [],
                ["SCMP_ARCH_X86_64"],
                ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
                ["SCMP_ARCH_X86", "SCMP_ARCH_AARCH64"],
                ["SCMP_ARCH_X32"],
            ]
        )
    )
    profile: dict[str, Any] = {"defaultAction": draw(actions), "architectures": architectures}
    if profile["defaultAction"] == "SCMP_ACT_ERRNO" and draw(st.booleans()):
        profile["defaultErrnoRet"] = draw(st.sampled_from([1, 38, 100]))
    # On 32-bit architectures the upper half of an argument is nothing a filter could see.
    values = st.sampled_from(EDGES if architectures else WIDE)
    condition = st.fixed_dictionaries(
        {
            "index": st.integers(0, 5),
            "op": st.sampled_from(list(OPERATIONS)),
            "value": values,
            "valueTwo": values,
        }
    )
    entries = []
    for call in draw(st.lists(st.sampled_from(CALLS), max_size=6, unique=True)):
        action = draw(actions)
        code = draw(st.sampled_from([None, 2, 4094])) if action in WITH_ERRNO else None
        for conditions in draw(st.lists(st.one_of(st.none(), st.lists(condition, max_size=3)), max_size=2)):
            entry: dict[str, Any] = {"names": [call], "action": action}
            if conditions is not None:
                entry["args"] = conditions
            if code is not None:
                entry["errnoRet"] = code
            entries.append(entry)
    profile["syscalls"] = draw(st.permutations(entries))
    return profile


WITH_ERRNO = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")


def questions(profile: dict[str, Any], draw: Any) -> "list[tuple[int, int, tuple[int, ...]]]":
    """Calls to ask the filter about: those of the profile, their neighbours, foreign ones."""
    asked = []
    values = st.sampled_from(EDGES if profile["architectures"] else WIDE)
    for architecture in (X86_64, X86, X32, AARCH64):
        kernel = X86_64 if architecture == X32 else architecture
        for name in CALLS:
            number = resolve(architecture, name)
            if number < 0:
                continue
            asked.append((number, kernel, tuple(draw(values) for _ in range(6))))
        for number in (0, 500, 0x4000_0000, 0x4000_01F4):
            asked.append((number, kernel, (0,) * 6))
    for entry in profile["syscalls"]:
        # The very arguments of the rule, so that conditions are met and just not met.
        exact = [0] * 6
        for each in entry.get("args") or []:
            masked = each["op"] == "SCMP_CMP_MASKED_EQ"
            exact[each["index"]] = each["valueTwo"] & each["value"] if masked else each["value"]
        for architecture in (X86_64, X86):
            number = resolve(architecture, entry["names"][0])
            if number >= 0:
                asked.append((number, architecture, tuple(exact)))
    return asked


@given(profiles(), st.data())
@settings(max_examples=60, deadline=None)
def test_a_filter_answers_as_its_profile_says(profile: dict[str, Any], data: st.DataObject) -> None:
    program = compiler.program(profile, "")
    for number, architecture, args in questions(profile, data.draw):
        answer = interpret(program, number, architecture, args)
        assert answer in expected(profile, number, architecture, args), (
            f"{number:#x} on {architecture:#x} {args}: {answer:#x}"
        )


@given(profiles(), st.data())
@settings(max_examples=60, deadline=None)
def test_a_filter_without_libseccomp_answers_so_too(profile: dict[str, Any], data: st.DataObject) -> None:
    """The last that is tried; of a profile with a part of socketcall it would be made by libseccomp only."""
    listed = profile.get("architectures") or []
    architectures = [X86_64, *(names.ARCHITECTURES[word] for word in listed if word != "SCMP_ARCH_X86_64")]
    default = meaning(profile["defaultAction"], profile.get("defaultErrnoRet"))
    *_, program = compiler._filters(pyseccomp, profile, default, architectures, "")
    for number, architecture, args in questions(profile, data.draw):
        answer = interpret(program, number, architecture, args)
        right = expected(profile, number, architecture, args)
        # Without the part before it that answers to newer calls.
        assert answer in ({default} if right == {ENOSYS} else right), f"{number:#x} on {architecture:#x} {args}"


def example_profiles() -> list[Any]:
    directory = Path(__file__).parent / "profiles"
    return [pytest.param(path, id=path.stem) for path in sorted(directory.glob("*.json"))]


@pytest.mark.parametrize("path", example_profiles())
def test_profiles_of_the_engines(path: Path) -> None:
    """Every call of every architecture, with arguments that meet and miss the conditions."""
    profile = json.loads(path.read_text())
    program = compiler.program(profile, "")
    assert 8 < len(program) < 4096 * 8
    conditional = {name for entry in profile["syscalls"] if entry.get("args") for name in entry["names"]}
    for architecture in (X86_64, X86, X32):
        kernel = X86_64 if architecture == X32 else architecture
        lowest = 0x4000_0000 if architecture == X32 else 0
        several = {resolve(architecture, name) for name in conditional}
        for number in range(lowest, lowest + 500):
            if architecture == X86 and number in MULTIPLEXED:
                continue
            values = (0, 8, 40, 0x20000, 0x7E020000, 0xFFFFFFFF)
            for first in values if number in several else (0,):
                args = (first, first, 0, 0, 0, 0)
                answer = interpret(program, number, kernel, args)
                assert answer in expected(profile, number, kernel, args), (number, first)


MULTIPLEXED = {102, 117, 337, 345, *range(359, 374), *range(393, 403), 420}
"""i386's calls that also go through socketcall and ipc, whose arguments no filter can see."""


def test_engines_profiles_are_there() -> None:
    assert len(example_profiles()) >= 3


def compiled(syscalls: Any, default: str = "SCMP_ACT_ERRNO", **more: Any) -> bytes:
    return compiler.program({"defaultAction": default, "syscalls": syscalls, **more}, "/p")


def allow(*calls: str, **more: Any) -> dict[str, Any]:
    return {"names": list(calls), "action": "SCMP_ACT_ALLOW", **more}


def test_newer_calls_get_enosys() -> None:
    program = compiled([allow("read", "clone3")])
    clone3 = resolve(X86_64, "clone3")
    assert interpret(program, clone3, X86_64) == names.ALLOW
    assert interpret(program, clone3 - 1, X86_64) == EPERM
    assert interpret(program, clone3 + 1, X86_64) == ENOSYS
    assert interpret(program, clone3 + 1, X86) == names.KILL_THREAD


def test_a_forbidden_call_is_as_new_as_an_allowed_one() -> None:
    refused = {"names": ["clone3"], "action": "SCMP_ACT_ERRNO"}
    program = compiled([allow("read", "write"), refused])
    assert interpret(program, resolve(X86_64, "clone3"), X86_64) == EPERM


@pytest.mark.parametrize("default", ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"])
def test_a_permissive_default_answers_itself(default: str) -> None:
    refused = {"names": ["write"], "action": "SCMP_ACT_KILL"}
    assert interpret(compiled([refused], default), 999, X86_64) == meaning(default, None)


def test_prologue_for_x86_64_alone_leaves_x32_to_the_filter() -> None:
    allowed = struct.pack("=HBBI", 0x06, 0, 0, names.ALLOW)
    program = prologue({X86_64: 300}) + allowed
    assert interpret(program, 301, X86_64) == ENOSYS
    assert interpret(program, 300, X86_64) == names.ALLOW
    assert interpret(program, 0x4000_0000 + 500, X86_64) == names.ALLOW
    program = prologue({X32: 0x4000_0000 + 300}) + allowed
    assert interpret(program, 0x4000_0000 + 301, X86_64) == ENOSYS
    assert interpret(program, 301, X86_64) == names.ALLOW


def test_prologue_for_every_architecture_at_once() -> None:
    allowed = struct.pack("=HBBI", 0x06, 0, 0, names.ALLOW)
    newest = {number: 100 + at for at, number in enumerate(names.ARCHITECTURES.values())}
    newest[X32] |= 0x4000_0000
    program = prologue(newest) + allowed
    for architecture, number in newest.items():
        kernel = X86_64 if architecture == X32 else architecture
        assert interpret(program, number, kernel) == names.ALLOW
        assert interpret(program, number + 1, kernel) == ENOSYS
    assert interpret(program, 99999, 0x1234) == names.ALLOW


def test_prologue_for_s390x_answers_its_multiplexer() -> None:
    """A call unknown to the kernel arrives as number 0 there."""
    allowed = struct.pack("=HBBI", 0x06, 0, 0, names.ALLOW)
    program = prologue({names.S390X: 300}) + allowed
    assert interpret(program, 0, names.S390X) == ENOSYS
    assert interpret(program, 1, names.S390X) == names.ALLOW


def test_rules_that_say_nothing_new() -> None:
    program = compiled(
        [
            allow("read"),
            allow("read", "read", "no_such_call"),
            {"names": ["write"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1},
        ]
    )
    assert interpret(program, 0, X86_64) == names.ALLOW
    assert interpret(program, 1, X86_64) == EPERM


@pytest.mark.parametrize("profile", [{}, {"syscalls": []}, {"syscalls": [], "architectures": []}])
def test_profile_without_rules(profile: dict[str, Any]) -> None:
    for default, answer in (("SCMP_ACT_ALLOW", names.ALLOW), ("SCMP_ACT_ERRNO", EPERM)):
        assert interpret(compiler.program({"defaultAction": default, **profile}, "/p"), 1, X86_64) == answer


def test_notify() -> None:
    entry = {"names": ["mkdir", "read"], "action": "SCMP_ACT_NOTIFY"}
    program = compiled([entry], "SCMP_ACT_ALLOW")
    assert interpret(program, resolve(X86_64, "mkdir"), X86_64) == names.NOTIFY
    profile = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [entry]}
    made = filter_for({**profile, "listenerPath": "/run/agent", "listenerMetadata": "m"})
    assert (made.listener, made.listener_path, made.listener_metadata) == (True, "/run/agent", "m")
    assert made.flags == 12


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"defaultAction": "SCMP_ACT_NO"}, 'unknown action "SCMP_ACT_NO"', "/defaultAction"),
    ({"defaultAction": "SCMP_ACT_NOTIFY"}, "cannot be used as default", "/defaultAction"),
    ({"defaultErrnoRet": 4095}, "4095 is no errno", "/defaultErrnoRet"),
    (
        {"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1},
        "SCMP_ACT_ALLOW has no errno",
        "/defaultErrnoRet",
    ),
    (
        {"architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_Z80"]},
        'unknown architecture "SCMP_ARCH_Z80"',
        "/architectures/1",
    ),
    (
        {"architectures": ["SCMP_ARCH_S390X"]},
        "cannot add architecture SCMP_ARCH_S390X",
        "/architectures/0",
    ),
    (
        {"syscalls": [allow("a"), {"names": ["a"], "action": "X"}]},
        'unknown action "X"',
        "/syscalls/1/action",
    ),
    (
        {"syscalls": [allow("read", errnoRet=3)]},
        "SCMP_ACT_ALLOW has no errno",
        "/syscalls/0/errnoRet",
    ),
    (
        {"syscalls": [allow("read", args=[{"index": 0, "op": "?", "value": 0}])]},
        'unknown operator "?"',
        "/syscalls/0/args/0/op",
    ),
    (
        {"syscalls": [allow("read", args=[{"index": 6, "op": "SCMP_CMP_EQ", "value": 0}])]},
        "no argument 6",
        "/syscalls/0/args/0/index",
    ),
    (
        {"syscalls": [{"names": ["read", "write"], "action": "SCMP_ACT_NOTIFY"}]},
        "SCMP_ACT_NOTIFY cannot be used for the write syscall",
        "/syscalls/0",
    ),
    (
        {
            "syscalls": [
                allow("read", args=[{"index": 0, "op": "SCMP_CMP_EQ", "value": 1}]),
                {
                    "names": ["close", "read"],
                    "action": "SCMP_ACT_KILL",
                    "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": 1}],
                },
            ]
        },
        "rule for read contradicts an earlier rule",
        "/syscalls/1/names/1",
    ),
]


@pytest.mark.parametrize(("change", "text", "pointer"), BAD, ids=[each[1] for each in BAD])
def test_bad_profile(change: dict[str, Any], text: str, pointer: str) -> None:
    with pytest.raises(Error) as caught:
        compiler.program({"defaultAction": "SCMP_ACT_ERRNO", **change}, "/linux/seccomp")
    assert text in caught.value.message
    assert caught.value.message.startswith("seccomp: ")
    assert caught.value.pointer == "/linux/seccomp" + pointer


def test_a_program_that_the_kernel_would_not_take() -> None:
    conditions = [
        allow("read", args=[{"index": 0, "op": "SCMP_CMP_EQ", "value": value << 32}]) for value in range(4100)
    ]
    with pytest.raises(Error, match="more than the 4096 that the kernel takes"):
        compiled(conditions)


def test_missing_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyseccomp", None)
    with pytest.raises(Error, match="seccomp: cannot load libseccomp"):
        compiled([allow("read")])
