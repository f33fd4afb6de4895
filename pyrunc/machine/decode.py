"""Values of arguments as text: numbers by the kernel's names, memory by what it holds. Cold.

A decoder takes an argument of a step and returns how it is shown. Registers and inherited
descriptors go by their names whatever the decoder. The values of environment variables are
never shown.

Import cost: machine.names, machine.structures.
"""

from pyrunc.machine import names
from pyrunc.machine.names import Table, flags, one
from pyrunc.machine.ops import At, Fd, Ref, Reg, Space, Words
from pyrunc.machine.structures import fields

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Decoder = Callable[[object], str]

MASK = 0xFFFFFFFFFFFFFFFF
_LAST = 0xFFFFFFFF
_BLOB = 48  # of what is written or otherwise opaque, this many bytes are shown


def quoted(value: bytes, most: int = 0) -> str:
    """Bytes between double quotes, UTF-8 as it is, everything else escaped; cut after `most`."""
    cut = most and len(value) > most
    text = (value[:most] if cut else value).decode("utf-8", "surrogateescape")
    parts = []
    for char in text:
        if char in '"\\':
            parts.append("\\" + char)
        elif char.isprintable():
            parts.append(char)
        elif char in "\n\t\r":
            parts.append({"\n": "\\n", "\t": "\\t", "\r": "\\r"}[char])
        else:
            raw = char.encode("utf-8", "surrogateescape")
            parts.append("".join(f"\\x{byte:02x}" for byte in raw))
    return f'"{"".join(parts)}"' + ("..." if cut else "")


def signed(value: int) -> int:
    """A 64-bit or 32-bit argument as the C type of most arguments has it: -1, not 2**64-1."""
    value &= MASK
    return value - (1 << 64) if value >> 63 else value


def plain(value: object) -> str:
    """Any argument, by its type alone."""
    if value is None:
        return "NULL"
    if isinstance(value, Fd):
        return value.name
    if isinstance(value, int):
        number = signed(int(value))
        return hex(number) if number > 0xFFFF else str(number)
    if isinstance(value, bytes):
        return quoted(value, _BLOB)
    if isinstance(value, Reg):
        return value.name
    if isinstance(value, Ref):
        return "&" + value.reg.name
    if isinstance(value, Space):
        return value.name or f"[{value.size} bytes]"
    if isinstance(value, At):
        return _place(value)
    if isinstance(value, Words):
        return structure(value, value.kind)
    return f"<{type(value).__name__}>"


def _place(value: At) -> str:
    """A place inside memory; the members of struct statx by name."""
    base = value.base
    name = base.kind or "structure" if isinstance(base, Words) else plain(base)
    if name == "statx" and value.offset in names.STATX_FIELDS:
        return "statx." + names.STATX_FIELDS[value.offset]
    return f"{name}+{value.offset}" if value.offset else name


def text(value: object) -> str:
    """A string that is shown as a whole: a path, a name."""
    return quoted(value) if isinstance(value, bytes) else plain(value)


def number(value: object) -> str:
    """A decimal number; 2**32-1, which stands for "none" or "last", as -1."""
    if type(value) is int:
        return "-1" if value == _LAST else str(signed(value))
    return plain(value)


def hexadecimal(value: object) -> str:
    return hex(value & MASK) if type(value) is int else plain(value)


def descriptor(value: object) -> str:
    if type(value) is int and signed(value) == names.AT_FDCWD:
        return "AT_FDCWD"
    return plain(value)


def last_descriptor(value: object) -> str:
    return "~0U" if type(value) is int and value & _LAST == _LAST else plain(value)


def number_as(decode: "Callable[[int], str]") -> "Decoder":
    """A decoder for integers; registers and memory are shown as they always are."""
    return lambda value: decode(value & MASK) if type(value) is int else plain(value)


def bits(table: Table) -> "Decoder":
    return number_as(lambda value: flags(value, table))


def choice(table: Table) -> "Decoder":
    return number_as(lambda value: one(value, table))


def struct(kind: str) -> "Decoder":
    """A structure, also where it is given as packed bytes or does not tell its kind."""
    return lambda value: structure(value, kind)


def environment(value: object) -> str:
    """The names of environment variables, without their values."""
    if not isinstance(value, Words):
        return "NULL" if value is None else "environment"
    parts = []
    for entry in value.fields:
        if isinstance(entry, bytes):
            parts.append(quoted(entry.partition(b"=")[0])[1:-1])
    return "[" + " ".join(parts) + "]"


def arguments(value: object) -> str:
    """An array of strings that ends with a null pointer."""
    if not isinstance(value, Words):
        return plain(value)
    return "[" + ", ".join(text(entry) for entry in value.fields if entry) + "]"


def array(value: object) -> str:
    """32-bit numbers: groups."""
    if not isinstance(value, bytes):
        return plain(value)
    words = (value[i : i + 4] for i in range(0, len(value) & ~3, 4))
    return "[" + ", ".join(str(int.from_bytes(word, "little")) for word in words) + "]"


def mask(value: object) -> str:
    """A bit mask of CPUs or NUMA nodes: [0-3, 8]."""
    if not isinstance(value, bytes):
        return plain(value)
    whole = int.from_bytes(value, "little")
    parts = []
    start = 0
    while whole >> start:
        if not whole >> start & 1:
            start += 1
            continue
        end = start
        while whole >> end + 1 & 1:
            end += 1
        parts.append(str(start) if end == start else f"{start}-{end}")
        start = end + 1
    return "[" + ", ".join(parts) + "]"


def device(value: int) -> str:
    major = (value >> 8 & 0xFFF) | (value >> 32 & 0xFFFFF000)
    minor = (value & 0xFF) | (value >> 12 & 0xFFFFFF00)
    return f"makedev({major}, {minor})" if value else "0"


def clone_flags(value: int) -> str:
    """clone(2) takes the signal of the child's end in the lowest byte of the flags."""
    return f"{flags(value & ~0xFF, names.CLONE)}|{one(value & 0xFF, names.SIGNALS)}"


def io_priority(value: int) -> str:
    return f"{one(value >> 13, names.IO_CLASS)}|{value & 0x1FFF}"


def socket_type(value: int) -> str:
    kind = one(value & 0xF, names.SOCKET)
    return f"{kind}|{flags(value & ~0xF, names.SOCKET_FLAGS)}" if value & ~0xF else kind


def mempolicy(value: int) -> str:
    kind = one(value & 0xFFF, names.MEMPOLICY)
    return f"{kind}|{flags(value & ~0xFFF, names.MEMPOLICY_FLAGS)}" if value & ~0xFFF else kind


def hidden(value: object) -> str:
    """The size of a structure, and what else tells nothing."""
    return ""


PATH = text
FD = descriptor
INT = number
HEX = hexadecimal
OCTAL = number_as(lambda value: f"0{value:o}" if value else "0")
MODE = number_as(names.mode)
OPEN = number_as(names.open_flags)
CLOEXEC = bits({0o2000000: "O_CLOEXEC", 0o4000: "O_NONBLOCK"})
AT = bits(names.AT)
CLONE = bits(names.CLONE)
SIGNAL = choice(names.SIGNALS)
CAPABILITY = choice(names.CAPABILITIES)

# How the members of structures are printed; a member without a decoder is printed as it is.
MEMBERS: "dict[str, dict[str, Decoder]]" = {
    "open_how": {"flags": OPEN, "mode": OCTAL, "resolve": bits(names.RESOLVE)},
    "mount_attr": {
        "attr_set": bits(names.MOUNT_ATTR),
        "attr_clr": bits(names.MOUNT_ATTR),
        "propagation": bits(names.MS),
    },
    "sigaction": {"handler": choice({0: "SIG_DFL", 1: "SIG_IGN"}), "flags": HEX},
    "clone_args": {"flags": CLONE, "exit_signal": SIGNAL},
    "cap_header": {"version": HEX},
    "cap_data": {
        name: number_as(lambda value: _capability_set(value)) for name in ("effective", "permitted", "inheritable")
    },
    "rlimit": {
        name: number_as(lambda value: "RLIM_INFINITY" if value == MASK else str(value)) for name in ("soft", "hard")
    },
    "sched_attr": {"policy": choice(names.SCHEDULER), "flags": bits(names.SCHEDULER_FLAGS)},
    "ifreq": {"name": PATH, "flags": bits(names.INTERFACE)},
    "sock_fprog": {"filter": hidden},
    "bpf_prog_load": {"insns": hidden},
    "sockaddr": {"family": choice(names.FAMILY), "path": PATH},
}
# Members that say something even when they are zero.
ALWAYS = {"rlimit": ("soft", "hard"), "winsize": ("rows", "columns"), "open_how": ("flags",)}
ALWAYS["sigaction"] = ("handler",)
ALWAYS["cap_data"] = ("effective", "permitted", "inheritable")


def _capability_set(value: int) -> str:
    every = (1 << len(names.CAPABILITIES)) - 1
    if value == every:
        return "all"
    table = {1 << bit: name for bit, name in names.CAPABILITIES.items()}
    return flags(value, table)


def structure(value: object, kind: str) -> str:
    """Memory that holds a structure: `{member=value, ...}` without what is zero."""
    if kind == "envp":
        return environment(value)
    if kind == "argv":
        return arguments(value)
    members = fields(value, kind)
    if members is None:
        return plain(value) if not isinstance(value, Words) else _unknown(value)
    decoders = MEMBERS.get(kind, {})
    always = ALWAYS.get(kind, ())
    parts = []
    for name, member in members:
        if (member is None or (type(member) is int and not member)) and name not in always:
            continue
        shown = decoders.get(name, plain)(member)
        if shown:
            parts.append(f"{name}={shown}")
    return "{" + ", ".join(parts) + "}"


def _unknown(value: Words) -> str:
    return "{" + ", ".join(plain(field) for field in value.fields) + "}"
