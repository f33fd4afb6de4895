"""The process (config.md, "Process"): limits, working directory, credentials, and the execve.

The steps come in four parts: what is done as root in the container, the look for the executable (lookup.py), the
process's credentials and its filter (`become`), and the execve (`execute`). A container that waits for `start`
(waiting.py) waits between the last two.
"""

from _struct import pack
from errno import EACCES, EINVAL, ENOENT, ENOSYS, EPERM, EROFS

from pyrunc.errors import Error
from pyrunc.kernel.uapi import (
    AT_EMPTY_PATH,
    KEYCTL_JOIN_SESSION_KEYRING,
    KEYCTL_SETPERM,
    LAST_FD,
    O_CLOEXEC,
    O_NOCTTY,
    O_PATH,
    O_RDWR,
    PR_SET_DUMPABLE,
    PR_SET_KEEPCAPS,
    PR_SET_NO_NEW_PRIVS,
    PR_SET_PDEATHSIG,
    S_IFCHR,
    S_IFMT,
    STATX_MODE_AT,
    STATX_RDEV_MAJOR_AT,
    STATX_RDEV_MINOR_AT,
    STATX_SIZE_OF,
    STATX_TYPE,
)
from pyrunc.machine.ops import SESSION, At, Fd, Label, Program, Ref, Reg, Space, Words
from pyrunc.machine.session import EXECUTES, NOT_EXECUTED
from pyrunc.plan.filesystem.inroot import clean, mount_point, open_in_root
from pyrunc.plan.process import capabilities

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyrunc.config.types import Process
    from pyrunc.plan.hooks import Prepared
    from pyrunc.plan.waiting import Gate

RLIMITS = ("CPU FSIZE DATA STACK CORE RSS NPROC NOFILE MEMLOCK AS LOCKS SIGPENDING MSGQUEUE NICE RTPRIO RTTIME").split()
RLIMIT_NUMBERS = {f"RLIMIT_{name}": number for number, name in enumerate(RLIMITS)}
_NOFILE = 7
# Below this, a limit on descriptors would hit pyrunc-init itself while it waits; it is set at the very end then.
_ENOUGH_FILES = 64

DEFAULT_UMASK = 0o022
_NO_ID = 0xFFFFFFFF

# Longest line that is written to a container's standard error: what a pipe takes in one go (pipe(7), PIPE_BUF).
LONGEST_LINE = 4096


def rlimits(p: Program, process: "Process", pointer: str, *, late: bool) -> None:
    """setrlimit(2). late: those that would hamper pyrunc-init, or those that would not."""
    for index, limit in enumerate(process.get("rlimits", [])):
        number = RLIMIT_NUMBERS[limit["type"]]
        if (number == _NOFILE and limit["soft"] < _ENOUGH_FILES) != late:
            continue
        p.about(
            f"error setting rlimits for ready process: error setting rlimit type {number}",
            f"{pointer}/rlimits/{index}",
        )
        value = pack("<2Q", limit["soft"] & 0xFFFFFFFFFFFFFFFF, limit["hard"] & 0xFFFFFFFFFFFFFFFF)
        p.call("prlimit64", 0, number, value, None)


def session_keyring(p: Program, name: str) -> None:
    """A session keyring of the container's own (keyctl(2)), which its user may search."""
    p.about("unable to join session keyring")
    keyring, done = p.reg("keyring"), Label("no keyrings")
    p.call(
        "keyctl",
        KEYCTL_JOIN_SESSION_KEYRING,
        name.encode(),
        dst=keyring,
        only=(ENOSYS,),
        error=done,
    )
    # Possessor: all but setattr; user: view, read, search, link.
    p.call("keyctl", KEYCTL_SETPERM, keyring, 0x1F1B0000, ok=(EACCES,))
    p.label(done)
    p.registers.give(keyring)


def make_directory(p: Program, process: "Process", root: Reg, pointer: str) -> None:
    """Make the working directory where it is missing, in a root that is to be read-only."""
    cwd = clean(process.get("cwd") or "/")
    if cwd:
        p.about(f'chdir to cwd ("{process.get("cwd")}") set in config.json failed', f"{pointer}/cwd")
        fd = p.reg("cwd")
        mount_point(p, root, cwd, fd, directory=True)
        p.close(fd)


def change_directory(p: Program, process: "Process", root: Reg, pointer: str, *, make: bool) -> None:
    """Enter the working directory with root's rights; what only the user may enter is tried again later.

    It is opened inside the root, so that /proc/self/fd/N is no way out (CVE-2024-21626). make: create what is missing.
    """
    cwd = process.get("cwd") or "/"
    p.about(f'chdir to cwd ("{cwd}") set in config.json failed', f"{pointer}/cwd")
    fd, done = p.reg("cwd"), Label("in cwd")
    closed, later = Label("only the user may reach it"), Label("only the user may enter")
    if make and clean(cwd):
        mount_point(p, root, clean(cwd), fd, directory=True)
    else:
        open_in_root(p, root, clean(cwd), fd, only=(EACCES, EPERM), error=closed)
    p.call("fchdir", fd, only=(EACCES, EPERM), error=later)
    p.call("close", fd)
    p.jump(done)
    p.label(later)
    p.call("close", fd)
    p.label(closed)
    p.call("chdir", b"/")
    p.label(done)
    p.registers.give(fd)


def change_directory_as_user(p: Program, process: "Process", pointer: str) -> None:
    """Enter the working directory as the user where root could not, and make sure that it is inside (getcwd(2) gives
    "(unreachable)..." for what is not)."""
    cwd = process.get("cwd") or "/"
    name = cwd.encode(errors="surrogateescape")
    p.about(f'chdir to cwd ("{cwd}") set in config.json failed', f"{pointer}/cwd")
    place = Space(4096, "cwd")
    if clean(cwd):
        inside = Label("in cwd")
        p.call("getcwd", place, 4096)
        # "/" alone, "/\0": root could not enter it.
        p.check(place, 2, 0xFFFF, 0x2F, EINVAL, error=inside)
        p.call("chdir", name)
        p.label(inside)
    p.call("getcwd", place, 4096, key="outside")
    p.check(place, 1, 0xFF, 0x2F, ENOENT, key="outside")


def own_stdio(p: Program, root: Reg, uid: int, on_null: "tuple[int, ...]") -> None:
    """Give standard input, output and error to the user, who may want to open /dev/stdout; never the host's
    /dev/null.

    on_null: those of the three that are /dev/null. They become the container's own, for reading and writing: who
    throws output away may have opened it for reading alone, and write(2) would fail with EBADF.
    """
    if on_null:
        _own_null(p, root, on_null)
    if uid:
        p.about("error giving standard input and output to the user", "/process/user/uid")
        for fd in range(3):
            if fd not in on_null:
                p.call("fchown", fd, uid, _NO_ID, ok=(EINVAL, EPERM, EROFS))


def _own_null(p: Program, root: Reg, fds: "tuple[int, ...]") -> None:
    """Open the container's /dev/null in place of the host's; where none can be opened, the host's stays.

    It is looked at before it is opened, since to open another device is to use it already; and what was opened is
    looked at again, since a running container may exchange it in between.
    """
    p.about("error opening /dev/null for standard input and output")
    null, stat = p.reg("null"), Space(STATX_SIZE_OF, "statx")
    another, missing = Label("/dev/null is something else"), Label("no /dev/null")
    for flags in (O_PATH, O_RDWR | O_NOCTTY):
        open_in_root(p, root, "dev/null", null, flags, error=missing)
        p.call("statx", null, b"", AT_EMPTY_PATH, STATX_TYPE, stat)
        p.check(At(stat, STATX_MODE_AT), 2, S_IFMT, S_IFCHR, EINVAL, error=another)
        p.check(At(stat, STATX_RDEV_MAJOR_AT), 4, LAST_FD, 1, EINVAL, error=another)
        p.check(At(stat, STATX_RDEV_MINOR_AT), 4, LAST_FD, 3, EINVAL, error=another)
        if flags == O_PATH:
            p.call("close", null)
    for fd in fds:
        p.call("dup3", null, fd, 0)
    p.label(another)
    p.close(null)
    p.label(missing)


def user(p: Program, process: "Process", pointer: str, *, deny_setgroups: bool) -> None:
    """Groups, gid, uid, umask. deny_setgroups: groups cannot be changed, in an unprivileged user namespace; or are
    not to be."""
    account = process.get("user", {})
    uid, gid = account.get("uid", 0), account.get("gid", 0)
    groups = account.get("additionalGids", [])
    p.about("unable to set groups", f"{pointer}/user/additionalGids")
    if groups or not deny_setgroups:
        array = pack(f"<{len(groups)}I", *groups)
        p.call("setgroups", len(groups), array if groups else None)
    p.about("unable to setgid", f"{pointer}/user/gid")
    p.call("setresgid", gid, gid, gid)
    p.about("unable to setuid", f"{pointer}/user/uid")
    p.call("prctl", PR_SET_KEEPCAPS, 1, 0, 0, 0)
    p.call("setresuid", uid, uid, uid)
    if uid or gid:
        # A change of ids sets what fs.suid_dumpable says.
        p.call("prctl", PR_SET_DUMPABLE, 0, 0, 0, 0)
    p.call("prctl", PR_SET_KEEPCAPS, 0, 0, 0, 0)
    umask = account.get("umask")
    p.call("umask", DEFAULT_UMASK if umask is None else umask)


def only_what_is_needed(p: Program, lowest: int, needed: "tuple[Fd | None, ...]") -> "list[Fd | None]":
    """Close every descriptor but the container's, the session and what is needed, which get fixed numbers behind
    the container's.

    Returns where those are then.
    """
    p.about("error closing descriptors")
    p.call("dup3", SESSION, lowest, O_CLOEXEC, dst=SESSION)
    moved: list[Fd | None] = []
    first = lowest + 1
    for fd in needed:
        moved.append(None if fd is None else Fd(first, fd.name))
        if fd is not None:
            p.call("dup3", fd, moved[-1], O_CLOEXEC)
            first += 1
    p.call("close_range", first, LAST_FD, 0)
    return moved


def outlive(p: Program) -> None:
    """From here on the process may outlive pyrunc: no signal at the parent's death, which would stay across execve."""
    p.about("error letting go of pyrunc")
    p.call("prctl", PR_SET_PDEATHSIG, 0, 0, 0, 0)


def become(
    p: Program,
    process: "Process",
    pointer: str,
    *,
    deny_setgroups: bool = False,
    seccomp: "tuple[bytes, int, bool] | None" = None,
    visible: bool = False,
) -> None:
    """Take on the credentials of the user's process, and its filter. seccomp: what seccomp_filter.load_filter takes.

    Without noNewPrivileges the filter needs CAP_SYS_ADMIN, so it is loaded before the capabilities go; with it, as
    late as possible. So it need not allow what the steps before need: a profile may well forbid getcwd or setresuid.
    visible: leave the process dumpable, with all capabilities permitted that it has (waiting.py), until
    capabilities.apply.
    """
    sets = capabilities.Sets(process.get("capabilities"))
    no_new_privileges = bool(process.get("noNewPrivileges"))
    if seccomp:
        from pyrunc.plan.process.seccomp_filter import load_filter
    rlimits(p, process, pointer, late=True)
    user(p, process, pointer, deny_setgroups=deny_setgroups)
    change_directory_as_user(p, process, pointer)
    if visible:
        p.call("prctl", PR_SET_DUMPABLE, 1, 0, 0, 0)
    if seccomp and not no_new_privileges:
        if process.get("user", {}).get("uid"):
            # The change of ids has left them permitted, but none effective.
            capabilities.may_load_filter(p, sets, keep=visible)
        load_filter(p, *seccomp)
    if not visible:
        capabilities.apply(p, sets)
    if no_new_privileges:
        p.about("unable to set no_new_privs", f"{pointer}/noNewPrivileges")
        p.call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if seccomp and no_new_privileges:
        load_filter(p, *seccomp)


def execute(
    p: Program,
    process: "Process",
    path: str,
    environ: "list[str]",
    pointer: str,
    *,
    hooks: "Sequence[Prepared]" = (),
    gate: "Gate | None" = None,
) -> None:
    """Become the user's process. hooks: startContainer hooks, which run as what the user's process will be.

    gate: where `start` speaks with the process, which is told then that nothing is left but the execve. Where that
    fails, a reply says so (NOT_EXECUTED), the other side answers with a line for standard error, and the process ends
    with 255. From `become` on a filter may be there: what is not needed for certain may be refused.
    """
    for hook in hooks:
        hook.run(p, b"/")
    p.about(f"exec {path}", f"{pointer}/args/0")
    encoded = [arg.encode(errors="surrogateescape") for arg in process.get("args", [])]
    argv = Words((*encoded, 0), "argv")
    envp = Words((*(entry.encode(errors="surrogateescape") for entry in environ), 0), "envp")
    if gate is not None:
        p.call("reply", Ref(SESSION), 0, 0, key=EXECUTES)
    else:
        p.flush_times()
    failed, alone, told = Label("not executed"), Label("nobody answers"), Label("told")
    result, length = p.reg("result"), p.reg("length")
    program = path.encode(errors="surrogateescape")
    p.call("execve", program, argv, envp, dst=result, error=failed)
    p.label(failed)
    p.call("reply", Ref(result), 8, 0, key=NOT_EXECUTED)
    answers: Reg | Fd = SESSION
    if gate is not None:
        # While it is open to be written to as well, the end of `start` would not be seen.
        closed = Label()
        p.call("close", gate.start, error=closed)
        p.label(closed)
        answers = gate.line
    line = Space(LONGEST_LINE, "line", raw=True)
    p.call("read", answers, line, LONGEST_LINE, dst=length, error=alone, zero=alone)
    p.call("write", 2, line, length, error=told)
    p.jump(told)
    p.label(alone)
    plain = b"exec " + program + b": cannot be executed\n"
    p.call("write", 2, plain, len(plain), error=told)
    p.label(told)
    p.call("exit_group", 255)
    p.registers.give(length)
    p.registers.give(result)


def check_capabilities(wanted: int, have: int) -> None:
    """Raise Error where a capability is asked for that pyrunc does not have itself: execve would come too late
    to tell."""
    if wanted & ~have:
        missing = [f"CAP_{name}" for number, name in enumerate(capabilities.NAMES) if (wanted & ~have) >> number & 1]
        raise Error(
            f"unable to apply caps: operation not permitted (process/capabilities): {', '.join(missing)}",
            pointer="/process/capabilities",
            errno=EPERM,
        )
