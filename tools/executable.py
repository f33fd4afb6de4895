"""ELF files for the image (tools/build_embedded.py): shared objects linked in, and a process's memory saved as an
executable.

elf(5); the processor supplements of the System V ABI for the numbers of relocations.
"""

import re
import struct
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

PAGE = 0x1000
PT_LOAD, PT_DYNAMIC, PT_TLS = 1, 2, 7
PF_X, PF_W = 1, 2
DT_NEEDED, DT_STRTAB, DT_SYMTAB, DT_RELA, DT_RELASZ, DT_JMPREL, DT_PLTRELSZ, DT_INIT_ARRAYSZ = 1, 5, 6, 7, 8, 23, 2, 27
SHN_UNDEF, STB_WEAK = 0, 2

#: By e_machine: the relocations that stand for "the object's own address plus the addend", and for "this symbol plus
#: the addend".
RELATIVE = {62: (8,), 183: (1027,)}
SYMBOLIC = {62: (1, 6, 7), 183: (257, 1025, 1026)}


class Segment(NamedTuple):
    """A program header (Elf64_Phdr)."""

    type: int
    flags: int
    offset: int
    address: int
    size: int
    memory: int
    align: int


class Symbol(NamedTuple):
    name: str
    defined: bool
    weak: bool
    value: int


class Unfit(Exception):
    """A shared object that cannot be linked in."""


class Elf:
    """A 64-bit little-endian ELF file."""

    def __init__(self, data: bytes) -> None:
        if data[:6] != b"\x7fELF\x02\x01":
            raise Unfit("not a little-endian 64-bit ELF file")
        self.data = data
        (self.machine,) = struct.unpack_from("<H", data, 18)
        (self.headers,) = struct.unpack_from("<Q", data, 32)
        (self.number,) = struct.unpack_from("<H", data, 56)
        self.segments = [self.segment(index) for index in range(self.number)]
        self.loads = [segment for segment in self.segments if segment.type == PT_LOAD]

    def segment(self, index: int) -> Segment:
        kind, flags, offset, address, _, size, memory, align = struct.unpack_from(
            "<IIQQQQQQ", self.data, self.headers + 56 * index
        )
        return Segment(kind, flags, offset, address, size, memory, align)

    def offset(self, address: int) -> int:
        """Where in the file the byte at an address is."""
        for load in self.loads:
            if load.address <= address < load.address + load.size:
                return load.offset + address - load.address
        raise Unfit(f"no byte of the file is at {address:#x}")

    def dynamic(self) -> Iterator[tuple[int, int]]:
        for segment in self.segments:
            if segment.type == PT_DYNAMIC:
                for tag, value in struct.iter_unpack("<QQ", self.data[segment.offset : segment.offset + segment.size]):
                    if not tag:
                        return
                    yield tag, value

    def symbol(self, number: int, entries: dict[int, int]) -> Symbol:
        name, info, _, section, value, _ = struct.unpack_from(
            "<IBBHQQ", self.data, self.offset(entries[DT_SYMTAB]) + 24 * number
        )
        return Symbol(self.string(entries[DT_STRTAB] + name), section != SHN_UNDEF, info >> 4 == STB_WEAK, value)

    def string(self, address: int) -> str:
        start = self.offset(address)
        return self.data[start : self.data.index(b"\0", start)].decode()

    def relocations(self, entries: dict[int, int]) -> Iterator[tuple[int, int, int, int]]:
        """(address, type, number of the symbol, addend) of each."""
        for table, size in ((DT_RELA, DT_RELASZ), (DT_JMPREL, DT_PLTRELSZ)):
            if table in entries:
                start = self.offset(entries[table])
                for address, info, addend in struct.iter_unpack("<QQq", self.data[start : start + entries[size]]):
                    yield address, info & 0xFFFFFFFF, info >> 32, addend


class Linked(NamedTuple):
    """A shared object as assembler text for the linker. sections: their names and addresses. end: the first free
    address."""

    text: str
    sections: list[tuple[str, int]]
    end: int


def link(file: Path, name: str, base: int) -> Linked:
    """An extension module, a shared object, as part of an executable whose symbols it uses, at the address `base`.

    Its segments keep their places to each other; what the dynamic linker would relocate, the linker does. Its
    constructors are not called: a module in C has none of its own. Raises Unfit for what needs other libraries than
    the C library, or thread-local memory.
    """
    elf = Elf(file.read_bytes())
    entries = dict(elf.dynamic())
    needed = [elf.string(entries[DT_STRTAB] + value) for tag, value in elf.dynamic() if tag == DT_NEEDED]
    others = [library for library in needed if not library.startswith(("libc.so", "libm.so", "libpthread.so"))]
    if others or any(segment.type == PT_TLS for segment in elf.segments):
        raise Unfit(f"{file} needs {', '.join(others) or 'thread-local memory'}")
    values: dict[int, str] = {}
    weak = set()
    for address, kind, number, addend in elf.relocations(entries):
        if kind in RELATIVE[elf.machine]:
            values[address] = f"{base + addend:#x}"
        elif kind in SYMBOLIC[elf.machine]:
            symbol = elf.symbol(number, entries)
            values[address] = f"{base + symbol.value + addend:#x}" if symbol.defined else f"{symbol.name}+{addend}"
            if symbol.weak and not symbol.defined:
                weak.add(symbol.name)
        else:
            raise Unfit(f"{file} has a relocation of type {kind}")
    init = next(value for value in symbols(elf, entries) if value.name == f"PyInit_{name}")
    lines = [
        f".globl PyInit_{name}",
        f".set PyInit_{name}, {base + init.value:#x}",
        *(f".weak {word}" for word in sorted(weak)),
    ]
    sections, end = [], base
    for number, load in enumerate(elf.loads):
        section = f".image_{name}_{number}"
        flags = "a" + ("w" if load.flags & PF_W else "") + ("x" if load.flags & PF_X else "")
        start = load.address & -PAGE
        lines.append(f'.section {section},"{flags}",@progbits')
        sections.append((section, base + start))
        if load.flags & PF_W:
            lines.append(f"image_{name}_{number}:")
        lines += content(file, load, start, values)
        if load.flags & PF_W:
            lines += [f"image_{name}_{number}_end:", '.section .image_pieces,"a",@progbits']
            lines.append(f".quad image_{name}_{number}, image_{name}_{number}_end")
        end = base + load.address + load.memory
    return Linked("\n".join(lines) + "\n", sections, (end + PAGE - 1) & -PAGE)


def content(file: Path, load: Segment, start: int, values: dict[int, str]) -> Iterator[str]:
    """A segment's bytes from the file, with the values of its relocations."""
    if load.address > start:
        yield f".zero {load.address - start}"
    place = load.address
    for address in sorted(address for address in values if load.address <= address < load.address + load.size):
        if address > place:
            yield f'.incbin "{file}", {load.offset + place - load.address}, {address - place}'
        yield f".quad {values[address]}"
        place = address + 8
    if load.address + load.size > place:
        yield f'.incbin "{file}", {load.offset + place - load.address}, {load.address + load.size - place}'
    if load.memory > load.size:
        yield f".zero {load.memory - load.size}"


def symbols(elf: Elf, entries: dict[int, int]) -> Iterator[Symbol]:
    """All dynamic symbols: the table of their names follows them in what every linker writes."""
    for number in range((entries[DT_STRTAB] - entries[DT_SYMTAB]) // 24):
        yield elf.symbol(number, entries)


def pieces(dump: bytes) -> Iterator[tuple[int, bytes]]:
    """The stage's memory (main.c): addresses and what is there."""
    place = 0
    while place < len(dump):
        address, size = struct.unpack_from("<QQ", dump, place)
        yield address, dump[place + 16 : place + 16 + size]
        place += 16 + size


def same(first: bytes, second: bytes) -> tuple[bytes, int]:
    """What two dumps have in common, with zeros where they differ, and the number of differing places.

    Where two runs of one program differ, they hold what belongs to the process: its number, its threads, addresses of
    its stack and libraries.
    """
    if len(first) != len(second):
        raise ValueError(f"two stages differ in size: {len(first)} and {len(second)} bytes")
    result = bytearray(first)
    differing = 0
    for page in range(0, len(first), PAGE):
        if first[page : page + PAGE] == second[page : page + PAGE]:
            continue
        for half in range(page, min(page + PAGE, len(first)), 4):
            if first[half : half + 4] != second[half : half + 4]:
                result[half : half + 4] = bytes(4)
                differing += 1
                # The upper half of an address may be the same by chance. Else the other half is a member of its own.
                if half % 8 == 0 and 0x55 <= first[half + 5] <= 0x7F and first[half + 6 : half + 8] == b"\0\0":
                    result[half + 4 : half + 8] = bytes(4)
    return bytes(result), differing


def constructed(elf: Elf, loads: dict[Segment, bytearray]) -> None:
    """Take out the executable's constructors: they ran in the stage, and what they made is in the memory.

    CPython 3.13's mimalloc has one, which would begin each run with a newline on standard error.
    """
    for segment in elf.segments:
        if segment.type == PT_DYNAMIC:
            load = next(load for load in loads if load.address <= segment.address < load.address + load.size)
            for place in range(segment.address - load.address, segment.address - load.address + segment.size, 16):
                if struct.unpack_from("<Q", loads[load], place)[0] == DT_INIT_ARRAYSZ:
                    struct.pack_into("<Q", loads[load], place + 8, 0)


def save(stage: bytes, memory: Iterable[tuple[int, bytes]]) -> bytes:
    """The executable `stage` with `memory` as what its segments hold at the start; without section headers."""
    elf = Elf(stage)
    loads = {load: bytearray(stage[load.offset : load.offset + load.size]) for load in elf.loads}
    for address, data in memory:
        load = next(load for load in loads if load.address <= address < load.address + load.memory)
        start = address - load.address
        held = loads[load]
        held.extend(bytes(max(0, start + len(data) - len(held))))
        held[start : start + len(data)] = data
    constructed(elf, loads)
    output = bytearray()
    offsets = {}
    for load, held in loads.items():
        # Congruent to its address by the largest page that the linker expected.
        output += bytes((load.address - len(output)) % load.align)
        offsets[load] = len(output)
        output += held.rstrip(b"\0") if load.flags & PF_W else held
    for index, segment in enumerate(elf.segments):
        for load, offset in offsets.items():
            if (
                load.address <= segment.address
                and segment.address + segment.memory <= load.address + load.memory
                and segment.memory
            ):
                size = segment.size
                if segment is load or segment == load:
                    held = loads[load]
                    size = len(held.rstrip(b"\0")) if load.flags & PF_W else len(held)
                place = offset + segment.address - load.address
                struct.pack_into("<Q", output, elf.headers + 56 * index + 8, place)
                struct.pack_into("<Q", output, elf.headers + 56 * index + 32, size)
    struct.pack_into("<Q", output, 40, 0)  # e_shoff
    struct.pack_into("<HH", output, 60, 0, 0)  # e_shnum, e_shstrndx
    return bytes(output)


def glibc(program: bytes) -> str:
    """The C library that a program needs: the highest version of its symbols, as 2.36."""
    found = re.findall(rb"\0GLIBC_2\.(\d+)(?=[.\0])", program)
    return f"2.{max(map(int, found))}"


if __name__ == "__main__":
    if sys.argv[1:2] != ["glibc"]:
        raise SystemExit("usage: python tools/executable.py glibc PROGRAM")
    print(glibc(Path(sys.argv[2]).read_bytes()))
