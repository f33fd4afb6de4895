"""Which dangerous system calls a configuration's seccomp filter lets through, asked of the compiled filter."""

from collections.abc import Iterator
from typing import Any

from pyrunc.config.annotation_names import SECCOMP_RAW
from pyrunc.errors import Error
from pyrunc.inspect.findings import Finding
from pyrunc.seccomp import filter_of
from pyrunc.seccomp.compile import binding
from pyrunc.seccomp.names import ACTIONS
from pyrunc.seccomp.verify import interpret

# Calls that the engines' default profiles keep from containers without these capabilities, and what they open.
DANGEROUS = {
    "bpf": ("CAP_BPF", "CAP_SYS_ADMIN"),
    "perf_event_open": ("CAP_PERFMON", "CAP_SYS_ADMIN"),
    "userfaultfd": ("CAP_SYS_PTRACE",),
    "init_module": ("CAP_SYS_MODULE",),
    "finit_module": ("CAP_SYS_MODULE",),
    "delete_module": ("CAP_SYS_MODULE",),
    "kexec_load": ("CAP_SYS_BOOT",),
    "kexec_file_load": ("CAP_SYS_BOOT",),
    "reboot": ("CAP_SYS_BOOT",),
    "open_by_handle_at": ("CAP_DAC_READ_SEARCH",),
    "iopl": ("CAP_SYS_RAWIO",),
    "ioperm": ("CAP_SYS_RAWIO",),
    "acct": ("CAP_SYS_PACCT",),
    "swapon": ("CAP_SYS_ADMIN",),
    "swapoff": ("CAP_SYS_ADMIN",),
    "settimeofday": ("CAP_SYS_TIME",),
    "clock_settime": ("CAP_SYS_TIME",),
    "quotactl": ("CAP_SYS_ADMIN",),
    "lookup_dcookie": ("CAP_SYS_ADMIN",),
}
# Those among them that the kernel lets some do without a capability; at the others the capability is asked as well.
UNPRIVILEGED = ("bpf", "perf_event_open", "userfaultfd")
_ALLOWED = ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG")
X86_64, AARCH64 = 0xC000003E, 0xC00000B7


def findings(config: Any) -> Iterator[Finding]:
    """What is to be said of the configuration's seccomp profile."""
    profile = (config.get("linux") or {}).get("seccomp")
    pointer = "/linux/seccomp"
    if not profile and SECCOMP_RAW not in (config.get("annotations") or {}):
        text = "no seccomp filter: every system call of the kernel may be made, also those that need no privilege"
        yield Finding("warning", "no-seccomp", text, pointer)
        return
    try:
        compiled = filter_of(config)
        open_calls = reached(compiled.program) if compiled else []
    except Error as error:
        yield Finding("note", "seccomp-unknown", f"the filter was not asked: {error.message}", pointer)
        return
    caps = (config.get("process") or {}).get("capabilities") or {}
    held = {name for them in caps.values() for name in them}
    needless = [name for name in open_calls if not held & set(DANGEROUS[name])]
    if needless:
        text = f"the filter lets calls through that docker's default keeps from containers: {', '.join(needless)}"
        level = "warning" if set(needless) & set(UNPRIVILEGED) else "note"
        yield Finding(level, "weak-seccomp", text, pointer)


def reached(program: bytes) -> list[str]:
    """Those of DANGEROUS that a filter lets through on this machine's architecture, in that order."""
    seccomp = binding()
    native = seccomp.system_arch()
    token = {seccomp.Arch.X86_64: X86_64, seccomp.Arch.AARCH64: AARCH64}.get(native, int(native))
    allowed = {ACTIONS[name] for name in _ALLOWED}
    found = []
    for name in DANGEROUS:
        number = seccomp.resolve_syscall(native, name)
        if number >= 0 and interpret(program, number, token) & 0xFFFF0000 in allowed:
            found.append(name)
    return found
