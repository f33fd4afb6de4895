"""A prologue for seccomp filters: ENOSYS for system calls that are newer than the profile.

Programs take ENOSYS for "this kernel does not have it" and fall back to an older call; the EPERM
or the kill of a profile that was written before the call existed breaks them. So whatever has a
higher number than all calls that the profile names gets ENOSYS, before the filter is asked.

The instructions are those of classic BPF (linux/filter.h) on struct seccomp_data (seccomp(2)).
"""

import errno
from _struct import pack

from pyrunc.seccomp.names import ERRNO, S390, S390X, X32, X86_64

LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
IF_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
IF_GREATER = 0x25  # BPF_JMP | BPF_JGT | BPF_K, unsigned
IF_BITS = 0x45  # BPF_JMP | BPF_JSET | BPF_K
RETURN = 0x06  # BPF_RET | BPF_K

NUMBER_AT, ARCHITECTURE_AT = 0, 4
X32_BIT = 0x4000_0000

NEXT = ""
"""A jump's target where the next instruction is meant."""


def prologue(newest: dict[int, int]) -> bytes:
    """The instructions to put before a filter, as an array of struct sock_filter.

    newest: for each architecture of the filter (libseccomp's number) the highest system call
    number that the profile names, X32's with its bit 30. Other architectures, and of x86_64
    whichever half is not in `newest`, are left to the filter. Empty where `newest` is.
    """
    if not newest:
        return b""
    # Operation, operand, target if true, target if not; targets are names of places.
    code = [(LOAD, ARCHITECTURE_AT, NEXT, NEXT)]
    places = {}
    # X32 is no architecture to the kernel but x86_64 with bit 30 set in the number.
    for architecture in dict.fromkeys(X86_64 if word == X32 else word for word in newest):
        after = f"after {architecture:#x}"
        code.append((IF_EQUAL, architecture, NEXT, after))
        code.append((LOAD, NUMBER_AT, NEXT, NEXT))
        if architecture == X86_64:
            code.append((IF_BITS, X32_BIT, "x32", NEXT))
            code.append(_limit(newest.get(X86_64)))
            places["x32"] = len(code)
            code.append(_limit(newest.get(X32)))
        else:
            if architecture in (S390, S390X):
                # Numbers above 255 are passed in a register there, and one that the kernel does
                # not know arrives as call 0, setup, which nothing has used for decades.
                code.append((IF_EQUAL, 0, "enosys", NEXT))
            code.append(_limit(newest[architecture]))
        places[after] = len(code)
    places["enosys"] = len(code)
    code.append((RETURN, ERRNO | errno.ENOSYS, NEXT, NEXT))
    places["filter"] = places[after] = len(code)
    return b"".join(
        pack(
            "=HBBI",
            operation,
            places[true] - at - 1 if true else 0,
            places[false] - at - 1 if false else 0,
            operand,
        )
        for at, (operation, operand, true, false) in enumerate(code)
    )


def _limit(number: "int | None") -> tuple[int, int, str, str]:
    """ENOSYS for what is above the number, the filter for the rest; for everything if None."""
    return (IF_GREATER, 0xFFFF_FFFF if number is None else number, "enosys", "filter")
