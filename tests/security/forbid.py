"""Execute a program under a seccomp filter that refuses system calls, as old kernels and containers around it do.

python3 forbid.py NUMBER[,NUMBER]... ERRNO PROGRAM [ARGUMENT]...
"""

import ctypes
import os
import struct
import sys

PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
LOAD_NUMBER, EQUAL, RETURN = 0x20, 0x15, 0x06  # BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_JEQ|BPF_K, BPF_RET|BPF_K
ALLOW, ERRNO = 0x7FFF0000, 0x00050000


def instruction(code: int, value: int, otherwise: int = 0) -> bytes:
    """struct sock_filter: `otherwise` is how many instructions a comparison skips that is not true."""
    return struct.pack("<HBBI", code, 0, otherwise, value)


def main() -> None:
    numbers, errno, *command = sys.argv[1:]
    code = instruction(LOAD_NUMBER, 0)
    for number in numbers.split(","):
        code += instruction(EQUAL, int(number), 1) + instruction(RETURN, ERRNO | int(errno))
    code += instruction(RETURN, ALLOW)
    memory = ctypes.create_string_buffer(code)
    program = struct.pack("<H6xQ", len(code) // 8, ctypes.addressof(memory))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.c_char_p(program), 0, 0):
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
