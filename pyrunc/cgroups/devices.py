"""Device rules compiled to an eBPF program of type BPF_PROG_TYPE_CGROUP_DEVICE. Pure.

The kernel calls the program with `struct bpf_cgroup_dev_ctx` (linux/bpf.h) whenever a process of
the cgroup opens or makes a device node; 1 lets it. Rules count in order, the last one that matches
wins, for each of the requested rights by itself. bpf.py loads and attaches the program.

Import cost: _struct.
"""

from _struct import Struct

from pyrunc.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Resources = dict[str, Any]

READ, WRITE, MKNOD = 2, 4, 1  # BPF_DEVCG_ACC_*
ACCESS = {"r": READ, "w": WRITE, "m": MKNOD}
ALL = READ | WRITE | MKNOD
BLOCK, CHAR = 1, 2  # BPF_DEVCG_DEV_*
TYPES = {"a": 0, "b": BLOCK, "c": CHAR, "u": CHAR}

INSTRUCTION = Struct("<BBhi")  # struct bpf_insn: opcode, registers, offset, immediate


class Rule:
    """One rule. kind: 0 (all), BLOCK or CHAR; major, minor: -1 for any; access: bits."""

    __slots__ = ("access", "allow", "kind", "major", "minor")

    def __init__(self, allow: bool, kind: int, major: int, minor: int, access: int) -> None:
        self.allow = allow
        self.kind = kind
        self.major = major
        self.minor = minor
        self.access = access

    def all(self) -> bool:
        """Whether the rule decides everything, so that none before it matters."""
        return not self.kind and self.major < 0 and self.minor < 0 and self.access == ALL


# What a container always has (config-linux.md, "Default Devices", and the terminals); device nodes
# may be made, too: without a rule to use them they open nothing. Engines rely on these: podman and
# buildah send nothing but "deny all".
DEFAULTS = (
    Rule(True, CHAR, -1, -1, MKNOD),
    Rule(True, BLOCK, -1, -1, MKNOD),
    Rule(True, CHAR, 1, 3, ALL),  # null
    Rule(True, CHAR, 1, 5, ALL),  # zero
    Rule(True, CHAR, 1, 7, ALL),  # full
    Rule(True, CHAR, 1, 8, ALL),  # random
    Rule(True, CHAR, 1, 9, ALL),  # urandom
    Rule(True, CHAR, 5, 0, ALL),  # tty
    Rule(True, CHAR, 5, 2, ALL),  # ptmx
    Rule(True, CHAR, 136, -1, ALL),  # pts/*
    Rule(True, CHAR, 10, 200, ALL),  # net/tun
)


def rules(resources: "Resources | None") -> "list[Rule]":
    """The rules of `linux.resources.devices`; absent members mean all. Raises ConfigError."""
    out = []
    for index, item in enumerate((resources or {}).get("devices") or ()):
        here = f"/linux/resources/devices/{index}"
        kind = item.get("type") or "a"
        if kind == "p":
            continue  # a pipe is not a device to the kernel's check
        if kind not in TYPES:
            raise ConfigError(f'invalid device type "{kind}" ({here[1:]}/type)', pointer=here + "/type")
        access = 0
        for letter in item.get("access") or "rwm":
            if letter not in ACCESS:
                raise ConfigError(
                    f'invalid device access "{item["access"]}" ({here[1:]}/access)',
                    pointer=here + "/access",
                )
            access |= ACCESS[letter]
        major, minor = (-1 if item.get(key) is None else item[key] for key in ("major", "minor"))
        if max(major, minor) > 0xFFFFFFFF or min(major, minor) < -1:
            raise ConfigError(f"device number out of range ({here[1:]})", pointer=here)
        out.append(Rule(bool(item.get("allow")), TYPES[kind], major, minor, access))
    return out


def compile(rules: "list[Rule]") -> bytes:
    """The program: an array of struct bpf_insn.

    Walks the rules from the last to the first and strikes each right that one decides; what no rule
    decides is denied. w3 holds the rights that are still undecided.
    """
    out: list[bytes] = []

    def emit(opcode: int, dst: int, src: int, offset: int, immediate: int) -> None:
        if immediate > 0x7FFFFFFF:
            immediate -= 1 << 32
        out.append(INSTRUCTION.pack(opcode, dst | src << 4, offset, immediate))

    emit(0x61, 2, 1, 0, 0)  # w2 = ctx->access_type: rights << 16 | type
    emit(0xBC, 3, 2, 0, 0)  # w3 = w2
    emit(0x74, 3, 0, 0, 16)  # w3 >>= 16
    emit(0x54, 2, 0, 0, 0xFFFF)  # w2 &= 0xffff
    emit(0x61, 4, 1, 4, 0)  # w4 = ctx->major
    emit(0x61, 5, 1, 8, 0)  # w5 = ctx->minor
    for rule in reversed(rules):
        verdict = 2 if rule.access == ALL else 4  # instructions
        tests = [
            (register, value)
            for register, value, used in (
                (2, rule.kind, rule.kind),
                (4, rule.major, rule.major >= 0),
                (5, rule.minor, rule.minor >= 0),
            )
            if used
        ]
        for left, (register, value) in zip(range(len(tests) - 1, -1, -1), tests, strict=True):
            emit(0x56, register, 0, left + verdict, value)  # if w != value: next rule
        if rule.access != ALL:
            if rule.allow:
                emit(0x54, 3, 0, 0, ~rule.access & ALL)  # w3 &= ~access
                emit(0x56, 3, 0, 2, 0)  # if w3 != 0: next rule
            else:
                emit(0x46, 3, 0, 1, rule.access)  # if w3 & access: deny
                emit(0x05, 0, 0, 2, 0)  # else: next rule
        emit(0xB4, 0, 0, 0, int(rule.allow))  # w0 = verdict
        emit(0x95, 0, 0, 0, 0)  # exit
        if rule.all():
            break  # the verifier refuses instructions that nothing reaches
    else:
        emit(0xB4, 0, 0, 0, 0)
        emit(0x95, 0, 0, 0, 0)
    return b"".join(out)


def device_program(resources: "Resources | None") -> bytes:
    """The program for a configuration: its rules, then the default devices, over "deny all"."""
    return compile([*rules(resources), *DEFAULTS])
