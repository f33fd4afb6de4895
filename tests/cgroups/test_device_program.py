"""The eBPF program of device rules, run by an interpreter for the instructions it uses."""

import struct
from typing import Any

import pytest

pytest.importorskip("hypothesis")

from hypothesis import given
from hypothesis import strategies as st

from pyrunc.cgroups import devices
from pyrunc.cgroups.devices import ALL, BLOCK, CHAR, MKNOD, READ, WRITE, Rule
from pyrunc.errors import ConfigError

ALU, JUMP = 0x04, 0x06  # the 32-bit classes


def run(program: bytes, kind: int, access: int, major: int, minor: int) -> bool:
    """Execute the program on a struct bpf_cgroup_dev_ctx as the kernel would."""
    context = struct.pack("<3I", access << 16 | kind, major, minor)
    instructions = list(struct.iter_unpack("<BBhi", program))
    registers: dict[int, int] = {}
    at = 0
    while True:
        opcode, packed, offset, immediate = instructions[at]
        dst, src = packed & 15, packed >> 4
        immediate &= 0xFFFFFFFF
        at += 1
        if opcode == 0x95:
            return bool(registers[0])
        if opcode == 0x61:
            assert src == 1
            registers[dst] = struct.unpack_from("<I", context, offset)[0]
        elif opcode == 0xBC:
            registers[dst] = registers[src]
        elif opcode == 0xB4:
            registers[dst] = immediate
        elif opcode == 0x74:
            registers[dst] >>= immediate
        elif opcode == 0x54:
            registers[dst] &= immediate
        elif opcode == 0x56:
            at += offset if registers[dst] != immediate else 0
        elif opcode == 0x46:
            at += offset if registers[dst] & immediate else 0
        elif opcode == 0x05:
            at += offset
        else:
            raise AssertionError(f"opcode {opcode:#x}")


def allowed(rules: list[Rule], kind: int, access: int, major: int, minor: int) -> bool:
    """What the rules mean: for each right, the last rule that matches."""
    for right in (READ, WRITE, MKNOD):
        verdict = False
        for rule in rules:
            if (
                rule.access & right
                and rule.kind in (0, kind)
                and rule.major in (-1, major)
                and rule.minor in (-1, minor)
            ):
                verdict = rule.allow
        if access & right and not verdict:
            return False
    return True


def reachable(program: bytes) -> bool:
    """Whether every instruction can be reached, which the kernel's verifier insists on."""
    instructions = list(struct.iter_unpack("<BBhi", program))
    todo, seen = [0], set()
    while todo:
        at = todo.pop()
        if at in seen:
            continue
        seen.add(at)
        opcode, _, offset, _ = instructions[at]
        if opcode == 0x05:
            todo.append(at + 1 + offset)
        elif opcode & 7 == JUMP:
            todo += [at + 1, at + 1 + offset]
        elif opcode != 0x95:
            todo.append(at + 1)
    return seen == set(range(len(instructions)))


numbers = st.sampled_from([-1, 0, 1, 2, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
rule_lists = st.lists(
    st.builds(
        Rule,
        st.booleans(),
        st.sampled_from([0, BLOCK, CHAR]),
        numbers,
        numbers,
        st.integers(1, ALL),
    ),
    max_size=12,
)
requests = st.tuples(
    st.sampled_from([BLOCK, CHAR]),
    st.integers(1, ALL),
    st.sampled_from([0, 1, 2, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]),
    st.sampled_from([0, 1, 2, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]),
)


@given(rule_lists, st.lists(requests, min_size=1, max_size=20))
def test_the_last_match_wins(rules: list[Rule], asked: list[tuple[int, int, int, int]]) -> None:
    program = devices.compile(rules)
    assert reachable(program)
    for request in asked:
        assert run(program, *request) == allowed(rules, *request)


def test_no_rules_deny_all() -> None:
    assert not run(devices.compile([]), CHAR, READ, 1, 3)


def test_deny_all_alone_keeps_the_default_devices() -> None:
    program = devices.device_program({"devices": [{"allow": False, "access": "rwm"}]})
    for major, minor in (
        (1, 3),
        (1, 5),
        (1, 7),
        (1, 8),
        (1, 9),
        (5, 0),
        (5, 2),
        (136, 9),
        (10, 200),
    ):
        assert run(program, CHAR, READ | WRITE, major, minor)
    assert not run(program, CHAR, READ, 1, 11)  # kmsg
    assert not run(program, BLOCK, READ, 1, 3)
    assert run(program, BLOCK, MKNOD, 8, 0)
    assert not run(program, BLOCK, READ | MKNOD, 8, 0)


def test_rights_of_several_rules_add_up() -> None:
    rules = [
        {"allow": False},
        {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "r"},
        {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "w"},
    ]
    program = devices.device_program({"devices": rules})
    assert run(program, CHAR, READ | WRITE, 1, 11)


def test_privileged_containers_may_everything() -> None:
    program = devices.device_program({"devices": [{"allow": True, "access": "rwm"}]})
    assert run(program, BLOCK, READ | WRITE | MKNOD, 259, 7)
    assert len(program) // 8 < 100


def test_members_default_to_all() -> None:
    (rule,) = devices.rules({"devices": [{"allow": True, "type": "b", "major": -1}]})
    assert (rule.kind, rule.major, rule.minor, rule.access) == (BLOCK, -1, -1, ALL)


def test_pipes_have_no_rule() -> None:
    assert devices.rules({"devices": [{"allow": False, "type": "p"}]}) == []


@pytest.mark.parametrize(
    ("item", "pointer"),
    [
        ({"allow": True, "type": "z"}, "/linux/resources/devices/1/type"),
        ({"allow": True, "access": "rx"}, "/linux/resources/devices/1/access"),
        ({"allow": True, "major": 1 << 32}, "/linux/resources/devices/1"),
        ({"allow": True, "minor": -2}, "/linux/resources/devices/1"),
    ],
)
def test_bad_rules(item: dict[str, Any], pointer: str) -> None:
    with pytest.raises(ConfigError) as info:
        devices.rules({"devices": [{"allow": False}, item]})
    assert info.value.pointer == pointer
