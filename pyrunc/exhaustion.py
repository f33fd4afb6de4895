"""What is said when a system call fails that nobody expected to: the machine has run out of something.

Cold.
"""

from errno import EDQUOT, EIO, EMFILE, ENFILE, ENOMEM, ENOSPC, ENOSYS, EPIPE, EROFS

from pyrunc.errors import Error, from_os_error, strerror
from pyrunc.kernel.refused import OLD_KERNEL

_HINTS = {
    EMFILE: "the limit of open files is reached (RLIMIT_NOFILE; ulimit -n)",
    ENFILE: "the system's limit of open files is reached (sysctl fs.file-max)",
    ENOMEM: "there is no memory left, or a limit of it is reached",
    ENOSPC: "a file system is full; /run, where containers' states lie, is one of its own",
    EDQUOT: "a quota is used up",
    EROFS: "a file system is mounted read-only",
    EIO: "the kernel's log (dmesg) may say more",
}

# Functions whose name would not say what they do to whom.
DOING = {
    "__exit__": "wait for an agent on the host (pyrunc-init)",
    "_each": "go through the cgroup's groups (dup)",
    "_exactly": "hear from pyrunc-init (recvmsg)",
    "_outside": "read an id map of the container's process",
    "_subdirs": "list the cgroup's groups",
    "_try_lock": "lock container",
    "build": "pass descriptors on to pyrunc-init (fcntl)",
    "descriptor": "look at state directory",
    "in_user_namespace": "read /proc/self/uid_map",
    "lend": "lend a descriptor to pyrunc-init (sendmsg)",
    "make_gate": "make the fifos in",
    "on_null": "look at standard input, output and error (fstat)",
    "pair": "make a session with pyrunc-init (socketpair)",
    "raise_hard_limits": "raise a limit of the container's process (prlimit)",
    "read_file": "read",
    "read_sent": "read the container's /etc/passwd or /etc/group",
    "read_whole": "read",
    "sealed_init": "make the memfd of pyrunc-init",
    "send": "send a program to pyrunc-init (write)",
    "spawn": "start pyrunc-init (posix_spawn)",
    "subdirs": "list the cgroup's groups",
}
_OBJECTS = ("path", "folder", "name", "id")


def told(error: OSError, command: str) -> Error:
    """An Error for an OSError that has come all the way up. command: that was called."""
    doing = f"pyrunc {command} failed:" if command else "pyrunc failed:"
    if error.errno == EPIPE:
        return from_os_error(f"{doing} write standard output", error)
    if not isinstance(error.filename, (str, bytes)):  # a number is a descriptor's
        error.filename = None
        doing += f" {_what_failed(error)}"
    if error.errno == ENOSYS:
        return from_os_error(doing, error, hint=OLD_KERNEL)
    return from_os_error(doing, error, hint=_HINTS.get(error.errno or 0, ""))


def out_of_memory(command: str) -> Error:
    """An Error for the interpreter's own want of memory."""
    what = f"pyrunc {command} failed" if command else "pyrunc failed"
    return Error(f"{what}: memory for pyrunc itself: {strerror(ENOMEM)}", errno=ENOMEM, hint=_HINTS[ENOMEM])


def _what_failed(error: OSError) -> str:
    """What was done, to what: by the function of pyrunc's that called the kernel, and what it was called with."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    name, variables = trace.tb_frame.f_code.co_name, trace.tb_frame.f_locals
    words = DOING.get(name) or name.strip("_").replace("_", " ")
    it = variables.get("self")
    for found in (*(variables.get(key) for key in _OBJECTS), getattr(it, "path", None), getattr(it, "root", None)):
        if isinstance(found, str):
            return f"{words} {found}"
    return words
