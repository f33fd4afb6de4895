"""What is said when a system call fails that nobody expected to: the machine has run out of something.

Cold.
"""

from errno import EDQUOT, EIO, EMFILE, ENFILE, ENOMEM, ENOSPC, EPIPE, EROFS

from pyrunc.errors import Error, from_os_error

_HINTS = {
    EMFILE: "the limit of open files is reached (RLIMIT_NOFILE; ulimit -n)",
    ENFILE: "the system's limit of open files is reached (sysctl fs.file-max)",
    ENOMEM: "there is no memory left, or a limit of it is reached",
    ENOSPC: "a file system is full; /run, where containers' states lie, is one of its own",
    EDQUOT: "a quota is used up",
    EROFS: "a file system is mounted read-only",
    EIO: "the kernel's log (dmesg) may say more",
}


def told(error: OSError, command: str) -> Error:
    """An Error for an OSError that has come all the way up. command: that was called."""
    doing = f"pyrunc {command} failed:" if command else "pyrunc failed:"
    if error.errno == EPIPE:
        return from_os_error(f"{doing} write standard output", error)
    if not error.filename:
        doing += f" {_call_of(error)}"
    return from_os_error(doing, error, hint=_HINTS.get(error.errno or 0, ""))


def _call_of(error: OSError) -> str:
    """What failed, by the function of pyrunc's that called the kernel: nothing else is known of it."""
    trace = error.__traceback__
    name = ""
    while trace is not None:
        name = trace.tb_frame.f_code.co_name
        trace = trace.tb_next
    return name.strip("_").replace("_", " ")
