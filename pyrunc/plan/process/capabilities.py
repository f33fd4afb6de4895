"""Capabilities (config.md, "Linux Process": capabilities): names, and the five sets."""

from _struct import pack
from errno import EINVAL, EPERM

from pyrunc.kernel.uapi import PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, PR_CAP_AMBIENT_RAISE, PR_CAPBSET_DROP
from pyrunc.machine.ops import Program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.config.types import Capabilities

NAMES = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE "
    "NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO "
    "SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME "
    "SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG "
    "WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
).split()
NUMBERS = {f"CAP_{name}": number for number, name in enumerate(NAMES)}
LAST = len(NAMES) - 1

SETS = ("bounding", "effective", "inheritable", "permitted", "ambient")


def bits(names: "list[str] | None") -> int:
    """A set as a number; names that no capability has are left out (config/rules/check.py warns of them)."""
    value = 0
    for name in names or ():
        number = NUMBERS.get(name.upper())
        if number is not None:
            value |= 1 << number
    return value


class Sets:
    """The five sets of a process as numbers."""

    __slots__ = SETS

    def __init__(self, capabilities: "Capabilities | None") -> None:
        config = capabilities or {}
        self.bounding = bits(config.get("bounding"))
        self.effective = bits(config.get("effective"))
        self.inheritable = bits(config.get("inheritable"))
        self.permitted = bits(config.get("permitted"))
        self.ambient = bits(config.get("ambient"))


def drop_bounding(p: Program, keep: int, last: int) -> None:
    """Drop what is not to be kept from the bounding set; `last` is the kernel's last capability."""
    p.about("unable to apply bounding set", "/process/capabilities/bounding")
    for number in range(last + 1):
        if not keep >> number & 1:
            p.call("prctl", PR_CAPBSET_DROP, number, 0, 0, 0, ok=(EINVAL,))


def _capset(p: Program, effective: int, permitted: int, inheritable: int) -> None:
    p.about("unable to apply caps", "/process/capabilities")
    header = pack("<Ii", 0x20080522, 0)
    low, high = 0xFFFFFFFF, 32
    data = pack(
        "<6I",
        effective & low,
        permitted & low,
        inheritable & low,
        effective >> high,
        permitted >> high,
        inheritable >> high,
    )
    p.call("capset", header, data)


def may_load_filter(p: Program, sets: Sets, *, keep: bool = False) -> None:
    """What seccomp(2) asks for without no_new_privs, and nothing else, until `apply`. keep: all stay permitted."""
    admin = 1 << NUMBERS["CAP_SYS_ADMIN"]
    permitted = (1 << LAST + 1) - 1 if keep else sets.permitted | admin
    _capset(p, admin, permitted, sets.inheritable)


def apply(p: Program, sets: Sets) -> None:
    """capset(2) and the ambient set: what is not inheritable cannot be ambient, and is left out."""
    _capset(p, sets.effective, sets.permitted, sets.inheritable)
    p.about("unable to apply ambient capabilities", "/process/capabilities/ambient")
    p.call("prctl", PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0, ok=(EINVAL,))
    for number in range(LAST + 1):
        if sets.ambient >> number & 1:
            p.call("prctl", PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number, 0, 0, ok=(EPERM, EINVAL))
