"""The constants of init.c and of the Python side are the same."""

import re
from pathlib import Path

from pyrunc.machine import aarch64, assembler, ops, session, x86_64

SOURCE = (Path(assembler.__file__).parent / "init.c").read_text()


def defines() -> dict[str, int]:
    """The #define'd constants of init.c that are arithmetic on others."""
    values: dict[str, int] = {}
    pattern = r"^#define (\w+) (.+?)(?:\s+/\*.*)?$"
    for name, text in re.findall(pattern, SOURCE, re.MULTILINE):
        if "sizeof" not in text:
            python = re.sub(r"\b(0x[0-9a-f]+|\d+)(?:ul|u)\b", r"\1", text)
            values[name] = int(eval(python, {}, values))
    return values


def enum(first: str) -> dict[str, int]:
    """The members of the enum that begins with `first`."""
    match = re.search(r"enum \{ (" + first + r"\b[^}]*)\}", SOURCE)
    assert match is not None
    values: dict[str, int] = {}
    value = -1
    for member in match[1].split(","):
        name, _, text = member.partition("=")
        value = int(text, 0) if text else value + 1
        values[name.strip()] = value
    return values


def struct_size(name: str) -> int:
    """The size of a struct of init.c whose members are aligned by themselves."""
    match = re.search(r"struct " + name + r" \{(.*?)\};", SOURCE, re.DOTALL)
    assert match is not None
    body = re.sub(r"/\*.*?\*/", "", match[1], flags=re.DOTALL)
    offset = 0
    for kind, members in re.findall(r"(\w+) ([^;]+);", body):
        width = {"u8": 1, "u16": 2, "u32": 4, "u64": 8}[kind]
        assert offset % width == 0
        for member in members.split(","):
            length = re.search(r"\[(\d+)\]", member)
            offset += width * (int(length[1]) if length else 1)
    return offset


def test_arena() -> None:
    values = defines()
    assert values["ARENA"] == assembler.ARENA
    assert values["PROGRAM"] == assembler.PROGRAM
    assert values["SPACE"] == assembler.SPACE
    assert values["PROGRAM_SIZE"] == assembler.PROGRAM_SIZE
    assert values["SPACE_SIZE"] == assembler.SPACE_SIZE
    assert values["REGISTERS"] == ops.REGISTERS
    assert values["HEADER"] + 16 == ops.FLAGS_AT, "after magic, ops, data and space"
    assert values["ARENA"] + 8 * values["REGISTERS"] <= values["PROGRAM"]
    assert values["TRACE"] < values["ARENA"] + values["ARENA_SIZE"]


def test_marks() -> None:
    values = defines()
    assert values["MAGIC"] == assembler.MAGIC
    assert values["MAGIC"].to_bytes(4, "little") == b"PYRN"
    assert values["TRACING"] == assembler.TRACING
    assert values["NOWHERE"] == assembler.NOWHERE
    assert values["ONLY"] == assembler.ONLY
    assert values["PSEUDO"] == ops.PSEUDO


def test_pseudo_ops_and_kinds() -> None:
    names = enum("MOVE")
    numbers = {name.lower(): ops.PSEUDO + value for name, value in names.items()}
    assert numbers == ops.PSEUDO_NAMES
    assert enum("CONSTANT") == {"CONSTANT": 0, "VALUE": 1, "ADDRESS": 2}


def test_structures() -> None:
    assert struct_size("op") == assembler.OP.size == 64
    assert struct_size("header") == assembler.HEADER.size
    assert struct_size("reply") == session.REPLY.size
    assert struct_size("entry") == session.TRACE_ENTRY.size


def test_own_system_calls() -> None:
    blocks = re.findall(r"enum \{ (NR_read[^}]*)\}", SOURCE)
    assert len(blocks) == 2
    for block, table in zip(blocks, (x86_64.SYSCALLS, aarch64.SYSCALLS), strict=True):
        for name, number in re.findall(r"NR_(\w+) = (\d+)", block):
            assert table[name] == int(number), name


def test_both_architectures_know_the_same_calls() -> None:
    assert x86_64.SYSCALLS.keys() == aarch64.SYSCALLS.keys()
    for table in (x86_64.SYSCALLS, aarch64.SYSCALLS):
        assert len(set(table.values())) == len(table)
    # From 424 on all architectures share their numbers.
    for name, number in x86_64.SYSCALLS.items():
        if number >= 424 or aarch64.SYSCALLS[name] >= 424:
            assert aarch64.SYSCALLS[name] == number, name


def test_init_stays_small() -> None:
    assert len(SOURCE.splitlines()) < 400
