"""The words that a seccomp profile is written in (config-linux.md, "Seccomp") and their numbers.

Numbers are libseccomp's, which for actions are the kernel's return values (seccomp(2)) and for
architectures, but for X32, the kernel's AUDIT_ARCH_ values.
"""

KILL_THREAD = 0x0000_0000
KILL_PROCESS = 0x8000_0000
TRAP = 0x0003_0000
ERRNO = 0x0005_0000
NOTIFY = 0x7FC0_0000
TRACE = 0x7FF0_0000
LOG = 0x7FFC_0000
ALLOW = 0x7FFF_0000

ACTIONS = {
    "SCMP_ACT_ALLOW": ALLOW,
    "SCMP_ACT_ERRNO": ERRNO,
    "SCMP_ACT_KILL": KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": KILL_PROCESS,
    "SCMP_ACT_KILL_THREAD": KILL_THREAD,
    "SCMP_ACT_LOG": LOG,
    "SCMP_ACT_NOTIFY": NOTIFY,
    "SCMP_ACT_TRACE": TRACE,
    "SCMP_ACT_TRAP": TRAP,
}

KERNEL_ACTIONS = {
    "SCMP_ACT_ALLOW": "allow",
    "SCMP_ACT_ERRNO": "errno",
    "SCMP_ACT_KILL": "kill_thread",
    "SCMP_ACT_KILL_PROCESS": "kill_process",
    "SCMP_ACT_KILL_THREAD": "kill_thread",
    "SCMP_ACT_LOG": "log",
    "SCMP_ACT_NOTIFY": "user_notif",
    "SCMP_ACT_TRACE": "trace",
    "SCMP_ACT_TRAP": "trap",
}
"""The words of /proc/sys/kernel/seccomp/actions_avail."""

OPERATORS = {
    "SCMP_CMP_EQ": 4,
    "SCMP_CMP_GE": 5,
    "SCMP_CMP_GT": 6,
    "SCMP_CMP_LE": 3,
    "SCMP_CMP_LT": 2,
    "SCMP_CMP_MASKED_EQ": 7,
    "SCMP_CMP_NE": 1,
}

IS_64BIT = 0x8000_0000
_LITTLE = 0x4000_0000
_N32 = 0x2000_0000

X86_64 = 62 | IS_64BIT | _LITTLE
X32 = 62 | _LITTLE
X86 = 3 | _LITTLE
S390 = 22
S390X = 22 | IS_64BIT

ARCHITECTURES = {
    "SCMP_ARCH_AARCH64": 183 | IS_64BIT | _LITTLE,
    "SCMP_ARCH_ARM": 40 | _LITTLE,
    "SCMP_ARCH_LOONGARCH64": 258 | IS_64BIT | _LITTLE,
    "SCMP_ARCH_M68K": 4,
    "SCMP_ARCH_MIPS": 8,
    "SCMP_ARCH_MIPS64": 8 | IS_64BIT,
    "SCMP_ARCH_MIPS64N32": 8 | IS_64BIT | _N32,
    "SCMP_ARCH_MIPSEL": 8 | _LITTLE,
    "SCMP_ARCH_MIPSEL64": 8 | IS_64BIT | _LITTLE,
    "SCMP_ARCH_MIPSEL64N32": 8 | IS_64BIT | _LITTLE | _N32,
    "SCMP_ARCH_PARISC": 15,
    "SCMP_ARCH_PARISC64": 15 | IS_64BIT,
    "SCMP_ARCH_PPC": 20,
    "SCMP_ARCH_PPC64": 21 | IS_64BIT,
    "SCMP_ARCH_PPC64LE": 21 | IS_64BIT | _LITTLE,
    "SCMP_ARCH_RISCV64": 243 | IS_64BIT | _LITTLE,
    "SCMP_ARCH_S390": S390,
    "SCMP_ARCH_S390X": S390X,
    "SCMP_ARCH_SH": 42 | _LITTLE,
    "SCMP_ARCH_SHEB": 42,
    "SCMP_ARCH_X32": X32,
    "SCMP_ARCH_X86": X86,
    "SCMP_ARCH_X86_64": X86_64,
}

NEW_LISTENER = 1 << 3
SPEC_ALLOW = 1 << 2
WAIT_KILLABLE_RECV = 1 << 5

FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 0,
    "SECCOMP_FILTER_FLAG_LOG": 1 << 1,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": SPEC_ALLOW,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": WAIT_KILLABLE_RECV,
}
"""Flags of seccomp(2). TSYNC is for threads; the process that loads the filter has one."""

FLAG_KERNELS = {
    "SECCOMP_FILTER_FLAG_TSYNC": (3, 17),
    "SECCOMP_FILTER_FLAG_LOG": (4, 14),
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": (4, 17),
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": (5, 19),
}
"""The kernel that each flag came with (seccomp(2), "HISTORY")."""


def kernel_version(release: str) -> tuple[int, int]:
    """(major, minor) of a kernel release as uname(2) gives it: "6.1.0-18-amd64" is (6, 1)."""
    numbers = []
    for part in release.split(".")[:2]:
        digits = ""
        for char in part:
            if not "0" <= char <= "9":
                break
            digits += char
        numbers.append(int(digits or "0"))
    major, minor = (*numbers, 0, 0)[:2]
    return major, minor
