"""Labels of Linux security modules: AppArmor's profile and SELinux's label (config.md, "Process").

A process asks for the label of its next execve by writing to files below /proc/self/attr. That is
done while "/proc" is still the host's: nothing of the container can lead the write elsewhere
(CVE-2019-16884, CVE-2025-52881). Only hooks that run before have to come before it as well, since
what init forks would take the label too.
"""

from errno import EINVAL, ENOENT

from pyrunc.kernel.uapi import (
    AT_FDCWD,
    O_CLOEXEC,
    O_DIRECTORY,
    O_PATH,
    O_WRONLY,
    RESOLVE_BENEATH,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_XDEV,
)
from pyrunc.machine.ops import Label, Program, Ref, Reg
from pyrunc.plan.filesystem.inroot import open_how

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.config.types import Process

_HOW = open_how(O_WRONLY | O_CLOEXEC, 0, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV)
_EXEC = "self/attr/exec"
_APPARMOR = "self/attr/apparmor/exec"  # since Linux 5.8, for kernels with several modules
_KEYCREATE = "self/attr/keycreate"
_ALL = 0xFFFFFFFFFFFFFFFF


def host_proc(p: Program) -> Reg:
    """Open the host's /proc; to be closed by who called this."""
    p.about("error opening /proc")
    proc = p.reg("proc")
    p.call("openat", AT_FDCWD, b"/proc", O_PATH | O_DIRECTORY | O_CLOEXEC, 0, dst=proc)
    return proc


def apply(p: Program, process: "Process", pointer: str, proc: Reg) -> None:
    """Ask for the labels of the next execve. proc: the host's, by this process or its parent."""
    profile = process.get("apparmorProfile")
    if profile:
        # Engines look for the file's name between backquotes.
        p.about(
            f'unable to apply apparmor profile "{profile}": `/proc/{_APPARMOR}`',
            f"{pointer}/apparmorProfile",
        )
        file, older, opened = p.reg("attr"), Label("older kernel"), Label("opened")
        name = _APPARMOR.encode()
        p.call("openat2", proc, name, _HOW, 24, dst=file, only=(ENOENT,), error=older)
        p.jump(opened)
        p.label(older)
        p.call("openat2", proc, _EXEC.encode(), _HOW, 24, dst=file)
        p.label(opened)
        _write_profile(p, file, b"exec " + profile.encode(errors="surrogateescape"))
        p.close(file)
    label = process.get("selinuxLabel")
    if label:
        p.about(
            f'unable to set the process label "{label}": `/proc/{_EXEC}`',
            f"{pointer}/selinuxLabel",
        )
        file = p.reg("attr")
        p.call("openat2", proc, _EXEC.encode(), _HOW, 24, dst=file)
        text = label.encode(errors="surrogateescape")
        p.call("write", file, text, len(text))
        p.close(file)


def _write_profile(p: Program, file: Reg, text: bytes) -> None:
    """Write to AppArmor, whose errors are not what they are elsewhere: "no such file" would tell
    engines that the container's program is missing."""
    unknown, disabled, written = Label("not loaded"), Label("not enabled"), Label("written")
    result = p.reg("result")
    p.call("write", file, text, len(text), dst=result, only=(ENOENT, EINVAL), error=unknown)
    p.jump(written)
    p.label(unknown)
    # The result is the negative errno.
    p.check(Ref(result), 8, _ALL, -ENOENT & _ALL, EINVAL, error=disabled)
    p.fail(ENOENT, "profile not loaded")
    p.label(disabled)
    p.fail(EINVAL, "no apparmor")
    p.label(written)
    p.registers.give(result)


def label_keys(p: Program, label: str, proc: Reg) -> None:
    """The SELinux label of the keys that are made from here on; "" for the usual one."""
    p.about(f'unable to set the label of keys "{label}": `/proc/{_KEYCREATE}`')
    file, none = p.reg("attr"), Label("no labels of keys")
    p.call("openat2", proc, _KEYCREATE.encode(), _HOW, 24, dst=file, only=(ENOENT,), error=none)
    text = label.encode(errors="surrogateescape") or b"\n"
    p.call("write", file, text, len(text))
    p.call("close", file)
    p.label(none)
    p.registers.give(file)
