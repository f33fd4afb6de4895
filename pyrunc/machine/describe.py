"""Steps as strace(1) would print them: for errors, `pyrunc plan` and whoever debugs a plan. Cold.

    openat2(root, "proc", {flags=O_PATH|O_CLOEXEC, resolve=RESOLVE_IN_ROOT})

Sizes of structures are left out.

Import cost: machine.decode.
"""

from pyrunc.machine import names
from pyrunc.machine.decode import (
    AT,
    CAPABILITY,
    CLOEXEC,
    CLONE,
    FD,
    HEX,
    INT,
    MASK,
    MODE,
    OCTAL,
    OPEN,
    PATH,
    SIGNAL,
    arguments,
    array,
    bits,
    choice,
    clone_flags,
    device,
    environment,
    hidden,
    io_priority,
    last_descriptor,
    mask,
    mempolicy,
    number_as,
    plain,
    quoted,
    socket_type,
    struct,
)
from pyrunc.machine.names import Table, errno
from pyrunc.machine.ops import Label, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyrunc.machine.decode import Decoder

# System calls whose arguments all have one meaning.
CALLS: "dict[str, tuple[Decoder, ...]]" = {
    "accept4": (FD, plain, plain, bits(names.SOCKET_FLAGS)),
    "capget": (struct("cap_header"), plain),
    "capset": (struct("cap_header"), struct("cap_data")),
    "chdir": (PATH,),
    "chroot": (PATH,),
    "clone": (number_as(clone_flags), plain, plain),
    "clone3": (struct("clone_args"), hidden),
    "close": (FD,),
    "close_range": (INT, last_descriptor, bits(names.CLOSE_RANGE)),
    "connect": (FD, struct("sockaddr"), hidden),
    "dup": (FD,),
    "dup3": (FD, FD, CLOEXEC),
    "execve": (PATH, arguments, environment),
    "execveat": (FD, PATH, arguments, environment, AT),
    "exit_group": (INT,),
    "faccessat": (FD, PATH, bits(names.ACCESS)),
    "faccessat2": (FD, PATH, bits(names.ACCESS), bits(names.AT_ACCESS)),
    "fchdir": (FD,),
    "fchmod": (FD, OCTAL),
    "fchmodat": (FD, PATH, OCTAL),
    "fchmodat2": (FD, PATH, OCTAL, AT),
    "fchown": (FD, INT, INT),
    "fchownat": (FD, PATH, INT, INT, AT),
    "fsconfig": (FD, choice(names.FSCONFIG), PATH, PATH, hidden),
    "fsmount": (FD, bits(names.FSMOUNT), bits(names.MOUNT_ATTR)),
    "fsopen": (PATH, bits(names.FSOPEN)),
    "fspick": (FD, PATH, bits(names.FSPICK)),
    "fstatfs": (FD, plain),
    "ftruncate": (FD, INT),
    "ioprio_set": (choice(names.IO_WHO), INT, number_as(io_priority)),
    "kill": (INT, SIGNAL),
    "linkat": (FD, PATH, FD, PATH, AT),
    "memfd_create": (PATH, bits(names.MEMFD)),
    "mkdirat": (FD, PATH, OCTAL),
    "mount": (PATH, PATH, PATH, bits(names.MS), PATH),
    "mount_setattr": (FD, PATH, AT, struct("mount_attr"), hidden),
    "move_mount": (FD, PATH, FD, PATH, bits(names.MOVE_MOUNT)),
    "open_tree": (FD, PATH, bits(names.OPEN_TREE)),
    "open_tree_attr": (FD, PATH, bits(names.OPEN_TREE), struct("mount_attr"), hidden),
    "openat2": (FD, PATH, struct("open_how"), hidden),
    "personality": (choice(names.PERSONALITY),),
    "pidfd_send_signal": (FD, SIGNAL, plain, INT),
    "pipe2": (plain, CLOEXEC),
    "pivot_root": (PATH, PATH),
    "prlimit64": (INT, choice(names.RLIMIT), struct("rlimit"), plain),
    "read": (FD, plain, INT),
    "readlinkat": (FD, PATH, plain, INT),
    "renameat2": (FD, PATH, FD, PATH, bits(names.RENAME)),
    "rt_sigaction": (SIGNAL, struct("sigaction"), plain, hidden),
    "signalfd4": (FD, hidden, hidden, CLOEXEC),
    "sched_setaffinity": (INT, hidden, mask),
    "sched_setattr": (INT, struct("sched_attr"), INT),
    "sched_setscheduler": (INT, choice(names.SCHEDULER), plain),
    "seccomp": (choice(names.SECCOMP), bits(names.SECCOMP_FILTER), struct("sock_fprog")),
    "sendmsg": (FD, struct("msghdr"), bits(names.MSG)),
    "recvmsg": (FD, struct("msghdr"), bits(names.MSG)),
    "set_mempolicy": (number_as(mempolicy), mask, INT),
    "setdomainname": (PATH, hidden),
    "setfsuid": (INT,),
    "setgroups": (INT, array),
    "sethostname": (PATH, hidden),
    "setns": (FD, CLONE),
    "setpriority": (choice(names.PRIORITY), INT, INT),
    "setresgid": (INT, INT, INT),
    "setresuid": (INT, INT, INT),
    "socket": (choice(names.FAMILY), number_as(socket_type), INT),
    "statx": (FD, PATH, AT, bits(names.STATX), plain),
    "symlinkat": (PATH, FD, PATH),
    "umask": (OCTAL,),
    "umount2": (PATH, bits(names.UMOUNT)),
    "unlinkat": (FD, PATH, bits(names.AT_UNLINK)),
    "unshare": (CLONE,),
    "wait4": (INT, plain, bits(names.WAIT), plain),
    "waitid": (choice(names.WAIT_ID), plain, plain, bits(names.WAIT), plain),
    "write": (FD, plain, hidden),
}

# What the second argument of prctl(2) and ioctl(2) and the like is depends on the one before.
PRCTL: "dict[str, tuple[Decoder, ...]]" = {
    "PR_SET_PDEATHSIG": (SIGNAL,),
    "PR_SET_NAME": (PATH,),
    "PR_CAPBSET_READ": (CAPABILITY,),
    "PR_CAPBSET_DROP": (CAPABILITY,),
}
IOCTL: "dict[str, tuple[Decoder, ...]]" = {
    "TIOCGPTPEER": (OPEN,),
    "TIOCSWINSZ": (struct("winsize"),),
    "TIOCSPTLCK": (array,),
    "SIOCSIFFLAGS": (struct("ifreq"),),
}
KEYCTL: "dict[str, tuple[Decoder, ...]]" = {
    "KEYCTL_JOIN_SESSION_KEYRING": (PATH,),
    "KEYCTL_SETPERM": (INT, HEX),
}
FCNTL: "dict[str, tuple[Decoder, ...]]" = {
    "F_SETFD": (bits(names.FD),),
    "F_SETFL": (OPEN,),
    "F_GETFD": (),
    "F_GETFL": (),
}


def _decoders(step: Step) -> "tuple[Decoder, ...]":
    """One decoder an argument; those of calls that are several in one follow their operation."""
    args = step.args
    name = step.name
    if name in ("openat",):
        last = args[2] if len(args) > 2 else 0
        creates = not isinstance(last, int) or last & 0o20000100
        return (FD, PATH, OPEN, OCTAL if creates else hidden)
    if name == "mknodat":
        kind = args[2] if len(args) > 2 else 0
        is_device = not isinstance(kind, int) or kind & names.S_IFMT in (0o020000, 0o060000)
        return (FD, PATH, MODE, number_as(device) if is_device else hidden)
    if name == "prctl":
        operation = _operation(args, 0, names.PRCTL)
        if operation == "PR_CAP_AMBIENT":
            ambient = _operation(args, 1, names.AMBIENT)
            rest = CAPABILITY if ambient != "PR_CAP_AMBIENT_CLEAR_ALL" else hidden
            return (choice(names.PRCTL), choice(names.AMBIENT), rest, hidden, hidden)
        return (choice(names.PRCTL), *PRCTL.get(operation, (INT,)), *(hidden,) * 3)
    if name == "ioctl":
        decoders = IOCTL.get(_operation(args, 1, names.IOCTL), (plain,))
        return (FD, choice(names.IOCTL), *decoders)
    if name == "keyctl":
        decoders = KEYCTL.get(_operation(args, 0, names.KEYCTL), (plain,) * 4)
        return (choice(names.KEYCTL), *decoders)
    if name == "fcntl":
        decoders = FCNTL.get(_operation(args, 1, names.FCNTL), (plain,))
        return (FD, choice(names.FCNTL), *decoders)
    if name == "bpf":
        operation = _operation(args, 0, names.BPF)
        attr = struct("bpf_prog_load" if operation == "BPF_PROG_LOAD" else "bpf_attr")
        return (choice(names.BPF), attr, hidden)
    return CALLS.get(name, ())


def _operation(args: "tuple[object, ...]", index: int, table: Table) -> str:
    value = args[index] if len(args) > index else None
    return table.get(int(value), "") if isinstance(value, int) else ""


def reason(why: str) -> str:
    """Why a step is there: what an error in it would begin with (Step.why), less the words for the error."""
    for word in ("error ", "unable to ", "can't "):
        why = why.removeprefix(word)
    return why.removesuffix(" failed")


def describe(step: Step) -> str:
    """A step's system call or pseudo-op with its arguments decoded."""
    name, args = step.name, step.args
    special = PSEUDO.get(name)
    if special is not None:
        return special(step)
    decoders = _decoders(step)
    shown = []
    for index, value in enumerate(args):
        decode = decoders[index] if index < len(decoders) else plain
        if decode is not hidden:
            shown.append(decode(value))
    return f"{name}({', '.join(shown)})"


def _move(step: Step) -> str:
    value = step.args[0]
    if step.zero is not None and step.dst is None and type(value) is int and not value:
        return "jump"
    shown = ("-" if step.args[1:] == (-1, 1) else "") + plain(value)
    return f"move({shown})" if step.dst is not None else f"test({shown})"


def _store(step: Step) -> str:
    place, value, width = step.args
    return f"store({plain(place)}, {plain(value)}, {plain(width)})"


def _load(step: Step) -> str:
    place, width = step.args
    return f"load({plain(place)}, {plain(width)})"


def _check(step: Step) -> str:
    place, width, bit_mask, value, error = step.args
    name = plain(place)
    number_of = errno(error) if isinstance(error, int) else plain(error)
    if not isinstance(bit_mask, int) or not isinstance(value, int):
        return f"check({name}, {plain(bit_mask)}, {plain(value)}, {number_of})"
    if not bit_mask and value:
        return f"fail({number_of})"
    whole = bit_mask & MASK == (1 << 8 * int(str(width))) - 1
    if name == "statx.mode":
        wanted = names.FILE_TYPES.get(value) or hex(value)
        masked = "S_IFMT" if bit_mask == names.S_IFMT else hex(bit_mask)
    elif name == "statfs":
        wanted, masked = names.SUPER_MAGIC.get(value) or hex(value), hex(bit_mask)
        name = "statfs.type"
    else:
        wanted, masked = plain(value), hex(bit_mask)
        if width == 1 and 0x20 < value < 0x7F:
            wanted = f"'{chr(value)}'"
    left = name if whole else f"{name} & {masked}"
    return f"check({left} == {wanted}, {number_of})"


def _reply(step: Step) -> str:
    place, size, wait = step.args
    key = step.key if isinstance(step.key, str) else type(step.key).__name__
    parts = [f'"{key}"'] if key else []
    if size:
        parts += [plain(place), plain(size)]
    name = {0: "reply", 2: "stop"}.get(wait, "sync") if isinstance(wait, int) else "sync"
    return f"{name}({', '.join(parts)})"


PSEUDO: "dict[str, Callable[[Step], str]]" = {
    "move": _move,
    "store": _store,
    "load": _load,
    "check": _check,
    "reply": _reply,
}

# The argument that an error names, where it is not the first path.
OBJECT = {"mount": 1, "symlinkat": 2, "linkat": 3, "renameat2": 3, "move_mount": 3}
_OPERATIONS = {
    "prctl": (0, names.PRCTL),
    "ioctl": (1, names.IOCTL),
    "keyctl": (0, names.KEYCTL),
    "bpf": (0, names.BPF),
    "prlimit64": (1, names.RLIMIT),
}


def short(step: Step) -> str:
    """The system call and what it is about, for an error: `open_tree "/srv/x"`."""
    name = step.name
    if name in _OPERATIONS:
        index, table = _OPERATIONS[name]
        operation = _operation(step.args, index, table)
        return f"{name} {operation}" if operation else name
    decoders = _decoders(step)
    found = b""
    for index, value in enumerate(step.args):
        is_path = index < len(decoders) and decoders[index] is PATH
        if is_path and isinstance(value, bytes) and value:
            if OBJECT.get(name) == index:
                found = value
                break
            found = found or value
    return f"{name} {quoted(found)}" if found else name


def outcome(step: Step, place: "Callable[[Label], str] | None" = None) -> str:
    """What happens with a step's result: where it is kept, which errnos do not matter, the jumps.

    place: how to name the target of a jump; by default its label's name.
    """

    def target(label: Label) -> str:
        return place(label) if place else f'"{label.name}"'

    parts = []
    if step.dst is not None:
        parts.append(f"= {step.dst.name}")
    if step.ok:
        parts.append("ok: " + "|".join(errno(number) for number in step.ok))
    if step.error is not None:
        when = "|".join(errno(number) for number in step.only) if step.only else "error"
        parts.append(f"{when}: go to {target(step.error)}")
    if step.zero is not None:
        jump = step.name == "move" and describe(step) == "jump"
        parts.append(f"{'' if jump else '0: '}go to {target(step.zero)}")
    return "; ".join(parts)
