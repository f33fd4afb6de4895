"""System calls that a command was seen to make, and what can be done to each: injections.

What is spoilt is generated from what a real run calls (injector.c, "record"), so that it cannot go stale: a call that
pyrunc makes for the first time tomorrow is made to fail tomorrow.
"""

import atexit
import errno
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from support import ROOT

SOURCE = Path(__file__).with_name("injector.c")

#: What the manual pages say of these calls, besides what is a mistake of the caller's.
ERRNOS = {
    "openat": "EMFILE ENOMEM EIO EACCES EINTR",
    "openat2": "EMFILE ENOMEM EIO EACCES EINTR",
    "open": "EMFILE ENOMEM EIO EACCES EINTR",
    "read": "EIO EINTR",
    "pread64": "EIO",
    "write": "ENOSPC EIO EINTR",
    "mmap": "ENOMEM",
    "munmap": "ENOMEM",
    "mprotect": "ENOMEM",
    "mkdirat": "ENOSPC ENOMEM EROFS",
    "mknodat": "ENOSPC EPERM",
    "symlinkat": "ENOSPC EIO",
    "renameat": "ENOSPC EIO",
    "rename": "ENOSPC EIO",
    "unlinkat": "EIO EPERM EBUSY",
    "rmdir": "EIO EBUSY",
    "newfstatat": "ENOMEM EACCES EIO",
    "fstat": "ENOMEM EIO",
    "readlink": "ENOMEM EACCES EIO",
    "readlinkat": "ENOMEM EACCES EIO",
    "getdents64": "EIO",
    "fcntl": "EMFILE ENOMEM",
    "dup": "EMFILE",
    "dup3": "EBUSY",
    "pipe2": "EMFILE ENFILE",
    "socketpair": "EMFILE ENOMEM",
    "socket": "EMFILE ENOMEM",
    "connect": "EAGAIN ENOMEM",
    "sendmsg": "ENOMEM EINTR",
    "recvmsg": "ENOMEM EINTR",
    "sendto": "ENOMEM EINTR",
    "recvfrom": "ENOMEM EINTR",
    "memfd_create": "EMFILE ENOMEM EPERM",
    "clone": "EAGAIN ENOMEM",
    "clone3": "EAGAIN ENOMEM ENOSPC",
    "fork": "EAGAIN ENOMEM",
    "vfork": "EAGAIN ENOMEM",
    "execve": "ENOMEM EIO EAGAIN",
    "execveat": "ENOMEM EIO",
    "rt_sigtimedwait": "EINTR",
    "wait4": "EINTR",
    "waitid": "EINTR",
    "poll": "ENOMEM EINTR",
    "ppoll": "ENOMEM EINTR",
    "flock": "ENOLCK EINTR",
    "pidfd_open": "EMFILE ENOMEM",
    "pidfd_send_signal": "EPERM",
    "kill": "EPERM",
    "fchmod": "EIO EPERM",
    "fchown": "EIO EPERM",
    "fchownat": "EIO EPERM",
    "getcwd": "ENOMEM",
    "open_tree": "EMFILE ENOMEM",
    "fsopen": "EMFILE ENOMEM EPERM",
    "fsmount": "EMFILE ENOMEM EPERM",
    "fsconfig": "ENOMEM EPERM",
    "mount": "ENOMEM EPERM",
    "move_mount": "ENOMEM EPERM",
    "mount_setattr": "ENOMEM EPERM",
    "umount2": "EBUSY ENOMEM",
    "pivot_root": "EPERM EBUSY",
    "unshare": "ENOMEM ENOSPC EPERM",
    "setns": "ENOMEM EPERM",
    "sethostname": "EPERM",
    "setgroups": "EPERM ENOMEM",
    "setresuid": "EAGAIN EPERM",
    "setresgid": "EPERM",
    "close": "EIO",
    "seccomp": "ENOMEM",
    "bpf": "ENOMEM EPERM",
    "statfs": "EIO ENOMEM",
    "fstatfs": "EIO ENOMEM",
    "getrandom": "EINTR",
}
OTHERS = "ENOMEM EPERM"
#: They cannot fail; or, as brk, not with an errno.
NEVER = (
    "exit exit_group brk getpid gettid getppid getuid geteuid getgid getegid rt_sigreturn restart_syscall umask uname "
    "rt_sigaction rt_sigprocmask lseek set_tid_address set_robust_list rseq arch_prctl clock_gettime"
)
#: Calls on a descriptor that fail for what it is: a socket or a pipe has no disk below it.
ON_SOCKETS = {"read": "ENOMEM EINTR", "write": "ENOMEM EINTR", "fstat": ""}
ON_PIPES = {"read": "EINTR", "write": "EINTR", "fstat": ""}
#: These happen although they fail: close(2), "Dealing with error returns from close()".
AFTER = ("close",)
#: Files of the interpreter's, and directories of them: what fails there is told as an installation that is damaged.
_CODE = (".py", "__pycache__", "/lib/python3", str(ROOT))
_VIRTUAL = ("/memfd:", "/dev/null", ".fifo")
DELAY = 60  # milliseconds
DELAYED = ("read", "write", "clone3", "recvmsg", "sendmsg", "kill", "wait4", "rename", "renameat", "poll")


@dataclass(frozen=True)
class Call:
    """One system call of a recorded run; `times` counts those of its name in its process."""

    role: str
    name: str
    number: int
    times: int
    result: int
    path: str


@dataclass(frozen=True)
class Injection:
    """What is done to one call of a scene."""

    scene: str
    call: Call
    action: str
    value: int

    def __str__(self) -> str:
        call = self.call
        what = errno.errorcode[self.value] if self.action in ("errno", "after") else str(self.value)
        if self.action == "signal":
            what = signal.Signals(self.value).name
        return f"{self.scene} {call.role} {call.name} {call.times} {self.action} {what}"

    def words(self) -> list[str]:
        """injector's arguments."""
        return [self.call.role, str(self.call.number), str(self.call.times), self.action, str(self.value)]


@cache
def names() -> dict[int, str]:
    """The system calls by their numbers, as the C compiler's headers have them."""
    text = subprocess.run(
        ["cc", "-E", "-dM", "-"], input="#include <asm/unistd.h>\n", capture_output=True, text=True, check=True
    ).stdout
    return {int(number): name for name, number in re.findall(r"#define __NR_(\w+) (\d+)", text)}


@cache
def injector() -> str:
    """The compiled injector. It stays until the process ends."""
    directory = tempfile.mkdtemp(prefix="pyrunc-injector-")
    atexit.register(shutil.rmtree, directory)
    program = f"{directory}/injector"
    subprocess.run(["cc", "-O1", "-Wall", "-Wextra", "-Werror", "-o", program, str(SOURCE)], check=True)
    return program


def recorded(log: str) -> Iterator[Call]:
    """The calls of a log, without those of the dynamic loader's and the interpreter's start before pyrunc's first."""
    known = names()
    script = "/pyrunc/cli" in log
    began = False
    for line in log.splitlines():
        role, number, times, result, *strings = line.split(" ")
        name = known.get(int(number), number)
        # In the image, the first signals; in the script form, the module whose main() tells what goes wrong.
        if role == "0" and not began:
            began = "/pyrunc/cli" in line if script else name == "rt_sigaction"
            if not began:
                continue
        if script and role == "0" and name in ("mmap", "munmap", "mprotect"):
            continue  # of C modules that are loaded
        if any(word in "".join(strings) for word in _CODE):
            continue
        yield Call(role, name, int(number), int(times), int(result), " ".join(s for s in strings if s != "-"))


def injections(scene: str, calls: Sequence[Call]) -> Iterator[Injection]:
    """Everything that is done to the calls of a scene, one at a time."""
    written = {call.path.split(" ")[0] for call in calls if call.name == "write" and ".fifo" not in call.path}
    for call in calls:
        if call.name in ("exit", "exit_group", "rt_sigreturn"):
            continue  # nothing comes after it
        action = "after" if call.name in AFTER else "errno"
        errnos = "" if call.name in NEVER.split() else ERRNOS.get(call.name, OTHERS)
        if call.path.startswith("socket:"):
            errnos = ON_SOCKETS.get(call.name, errnos)
        elif call.path.startswith(("pipe:", "anon_inode:")) or any(word in call.path for word in _VIRTUAL):
            errnos = ON_PIPES.get(call.name, errnos)
        on_disk = call.path[:1] == "/" and "memfd:" not in call.path
        if call.name == "close" and not (on_disk and call.path in written):
            errnos = ""  # nothing is lost
        for name in errnos.split():
            if name == "EINTR" and call.role != "0":
                continue  # a pyrunc-init has no signal handlers that return
            yield Injection(scene, call, action, getattr(errno, name))
        if call.role == "0":
            # Kill -9 of pyrunc is soak.py's.
            yield Injection(scene, call, "signal", signal.SIGINT)
            yield Injection(scene, call, "signal", signal.SIGTERM)
        else:
            yield Injection(scene, call, "signal", signal.SIGKILL)
        if call.name in DELAYED:
            yield Injection(scene, call, "delay", DELAY)
