"""What is said of a failed step: why it was there, what it served, the system call and the kernel's answer."""

from errno import (
    EAGAIN,
    EBUSY,
    EINTR,
    EIO,
    ELOOP,
    EMFILE,
    ENFILE,
    ENODEV,
    ENOMEM,
    ENOSPC,
    ENOSYS,
    EOPNOTSUPP,
)

from pyrunc.errors import Error, strerror
from pyrunc.kernel import refused
from pyrunc.kernel.uapi import RESOLVE_NO_SYMLINKS
from pyrunc.plan.filesystem.inroot import Target
from pyrunc.plan.hooks import NOT_EXECUTED, TIMED_OUT, HookFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.machine.ops import Step
    from pyrunc.machine.session import Reply

# System calls that a kernel of any age may be built without.
_BUILT_WITHOUT = {
    "set_mempolicy": "this kernel has no memory policies (CONFIG_NUMA)",
    "seccomp": "this kernel has no seccomp filters (CONFIG_SECCOMP_FILTER)",
}
# Why there was no process; the cgroup is the one it was to be born in.
_NOT_MADE = {
    EAGAIN: "a limit of processes was reached: pids.max of the cgroup or one above it, or RLIMIT_NPROC",
    EBUSY: "the cgroup enables controllers for groups below it (cgroup.subtree_control), so it cannot hold processes",
    ENODEV: "the cgroup was removed meanwhile",
    ENOSPC: "a limit of namespaces was reached: user.max_*_namespaces (sysctl), or 32 within each other",
    EOPNOTSUPP: "the cgroup is threaded, or its type is invalid (cgroup.type)",
}
# These say nothing about what was looked at.
_OUT_OF = (EINTR, EIO, EMFILE, ENFILE, ENOMEM, ENOSPC)

# Steps that fail by a check of ours rather than by a system call: what the check found.
_FOUND = {
    "not proc": "cannot be mounted because it is not of type proc",
    "in proc": "cannot be mounted because a symbolic link in the root file system leads it inside /proc",
    "in sys": "cannot be mounted because a symbolic link in the root file system leads it inside /sys",
    "deadline on cpuset": "process scheduler can't be used together with AllowedCPUs (linux/resources/cpu/cpus)",
    "profile not loaded": "profile not loaded",
    "no apparmor": "apparmor is not enabled in this kernel, or the name is not a profile's",
    "not null": "/dev/null in the container is not the null device",
    "another device": "the host has no such device at this path",
    "no mount": "there is no mount",
    "not devpts": "/dev/pts in the container is not a devpts file system",
    "dangling": "it is a symbolic link that leads nowhere",
    "outside": "current working directory is outside of container mount namespace root"
    " -- possible container breakout detected",
}


def step_error(step: "Step", errno: int, prefix: str = "") -> Error:
    """The Error for a step that failed with errno."""
    from pyrunc.machine.describe import short

    return told(step.why, step.at, step.name, short(step), errno, step.key, prefix)


def check(reply: "Reply", prefix: str) -> "Reply":
    """The reply, or the Error for the step that it tells has failed."""
    if reply.errno:
        assert reply.step is not None
        raise step_error(reply.step, reply.errno, prefix)
    return reply


def kept(step: "Step") -> "list[object]":
    """A step's parts as state.json keeps them for `start`: why, at, name, key, and whether a reply waits."""
    key = step.key
    wait = step.args[2] if step.name == "reply" else 0
    if type(key) is HookFailed:
        return [step.why, step.at, step.name, key.as_list(), wait]
    return [step.why, step.at, step.name, key if type(key) is str else "", wait]


def hook_failed(key: object, data: bytes) -> Error:
    """The Error for a hook that failed inside the container. key: HookFailed, or its as_list()."""
    from pyrunc.setup.host_hooks import failure, status_text, timeout_text

    kind: str
    index: int
    timeout: float
    kind, index, timeout = key.as_list() if isinstance(key, HookFailed) else key  # type: ignore[misc]
    status = int.from_bytes(data[:4], "little")
    output = data[8:].partition(b"\0" * 8)[0]
    if data[8:].startswith(NOT_EXECUTED):
        at = 8 + len(NOT_EXECUTED)
        errno = -int.from_bytes(data[at : at + 8], "little", signed=True)
        return failure(kind, index, f"exec: {strerror(errno)}", errno=errno)
    if status == TIMED_OUT:
        return failure(kind, index, timeout_text(timeout))
    text = output.rstrip(b"\0\n").decode(errors="replace")
    return failure(kind, index, f"{status_text(status)}, output: {text}")


def told(why: str, at: str, name: str, short: str, errno: int, key: object, prefix: str = "") -> Error:
    """The same from a step's parts, as they are kept for `start`."""
    where = f"{why} ({at[1:]})" if at else why
    found = _FOUND.get(key) if isinstance(key, str) and errno not in _OUT_OF else None
    if found:
        return Error(f"{prefix}{where}: {found}", pointer=at, errno=errno)
    if errno == ELOOP and isinstance(key, Target) and key.resolve & RESOLVE_NO_SYMLINKS:
        return Error(f"{prefix}{where}: must be mounted on ordinary directory", pointer=at, errno=errno)
    hint = (_BUILT_WITHOUT.get(name) if errno == ENOSYS else "") or refused.hint(name, errno)
    if key == "clone":
        hint = _NOT_MADE.get(errno, hint)
    return Error(f"{prefix}{where}: {short}: {strerror(errno)}", pointer=at, syscall=name, errno=errno, hint=hint)
