"""Hooks inside the container's namespaces (config.md, "POSIX-platform Hooks"): createContainer and startContainer.

pyrunc-init forks, gives the hook the state on standard input and waits. Both ends are memory files, made
before a seccomp
filter is loaded that might forbid it: nothing blocks, whatever the hook reads or writes.
"""

from pyrunc.kernel.signals import SIGCHLD, SIGKILL
from pyrunc.kernel.uapi import CLONE_PIDFD, CLOSE_RANGE_CLOEXEC, LAST_FD
from pyrunc.machine.ops import At, Fd, Label, Program, Reg, Space, Words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.config.types import Hook

    Files = tuple[Fd | None, Fd | None]

OUTPUT = 2048
_MFD_CLOEXEC = 1
_POLLIN = 1
# What the child writes where the hook could not be executed: this, and the negative errno in eight bytes.
NOT_EXECUTED = b"\0pyrunc: execve\0"
TIMED_OUT = 0xFFFFFFFF


class HookFailed:
    """Key of the sync that is reached only when a hook has failed: its status (8 bytes) and output."""

    __slots__ = ("index", "kind", "timeout")

    def __init__(self, kind: str, index: int, timeout: float) -> None:
        self.kind = kind
        self.index = index
        self.timeout = timeout

    def as_list(self) -> "list[object]":
        """For state.json: `start` may be who has to tell."""
        return [self.kind, self.index, self.timeout]


class Prepared:
    """A hook with its memory files."""

    __slots__ = ("argv", "environ", "files", "hook", "index", "input", "kind", "output", "pointer")

    def __init__(
        self,
        p: Program,
        hook: "Hook",
        kind: str,
        index: int,
        state: bytes,
        environ: "list[str]",
        files: "Files" = (None, None),
    ) -> None:
        self.files = files
        self.hook = hook
        self.kind = kind
        self.index = index
        self.pointer = f"/hooks/{kind}/{index}"
        self.input, self.output = p.reg("state"), p.reg("output")
        given = hook.get("env")
        self.environ = environ if given is None else given
        self.argv = hook.get("args") or [hook["path"]]
        p.about(f"error running {kind} hook #{index}", self.pointer)
        p.call("memfd_create", b"state", _MFD_CLOEXEC, dst=self.input)
        p.call("write", self.input, state, len(state))
        p.call("lseek", self.input, 0, 0)
        p.call("memfd_create", b"output", _MFD_CLOEXEC, dst=self.output)

    def run(self, p: Program, directory: "Reg | bytes") -> None:
        """Run the hook in a directory, and stop at HookFailed where it fails."""
        hook, output = self.hook, self.output
        p.about(f"error running {self.kind} hook #{self.index}", self.pointer)
        child, waited, failed, passed = Label("hook"), Label(), Label("failed"), Label("passed")
        pid, pidfd = p.reg("hook"), p.reg("hook's pidfd")
        place = Space(8, "pidfd")
        # clone(2), not clone3(2): seccomp profiles that cannot look into structures forbid the latter.
        p.call("clone", SIGCHLD | CLONE_PIDFD, 0, place, 0, 0, dst=pid, zero=child)
        answer = Space(8 + OUTPUT, "status and output")
        timeout = float(hook.get("timeout", 0))
        p.load(place, 4, pidfd)
        if timeout:
            late = Label("too late")
            event = Space(8, "pollfd")
            p.store(event, pidfd)
            p.store(At(event, 4), _POLLIN)
            limit = Words((int(timeout), 0), "timespec")
            p.call("ppoll", event, 1, limit, None, 0, zero=late)
            p.jump(waited)
            p.label(late)
            group = p.reg("group")
            # The hook leads a process group; its number negated is the group.
            p.negate(pid, group)
            p.call("kill", group, SIGKILL, ok=(3,))
            p.call("wait4", pid, None, 0, None)
            p.store(answer, TIMED_OUT, 8)
            p.registers.give(group)
            p.jump(failed)
        p.label(waited)
        p.call("wait4", pid, answer, 0, None)
        p.call("check", answer, 4, LAST_FD, 0, 1, error=failed, zero=passed)
        p.label(child)
        self._child(p, directory)
        p.label(failed)
        p.call("pread64", output, At(answer, 8), OUTPUT, 0)
        p.stop(HookFailed(self.kind, self.index, timeout), answer)
        p.label(passed)
        p.call("close", pidfd)
        p.close(self.input)
        p.close(output)
        p.registers.give(pid)
        p.registers.give(pidfd)

    def _child(self, p: Program, directory: "Reg | bytes") -> None:
        no = Label("not executed")
        p.call("setsid")
        p.call("dup3", self.input, 0, 0)
        p.call("dup3", self.files[0] or self.output, 1, 0)
        p.call("dup3", self.files[1] or self.output, 2, 0)
        # Whatever fails is told in the output: a reply would come on the session of the init.
        error = p.reg("error")
        if isinstance(directory, bytes):
            p.call("chdir", directory, dst=error, error=no)
        else:
            p.call("fchdir", directory, dst=error, error=no)
        elsewhere = self.files[0] is not None
        # Where the output is a file, the report below still needs the memory file.
        p.call("close_range", 3, LAST_FD, CLOSE_RANGE_CLOEXEC if elsewhere else 0)
        argv = Words((*(word.encode() for word in self.argv), 0), "argv")
        envp = Words((*(entry.encode() for entry in self.environ), 0), "envp")
        p.call("execve", self.hook["path"].encode(), argv, envp, dst=error, error=no)
        p.label(no)
        report = Space(8, "errno")
        p.store(report, error, 8)
        if elsewhere:
            p.call("dup3", self.output, 1, 0)
        p.call("write", 1, NOT_EXECUTED, len(NOT_EXECUTED))
        p.call("write", 1, report, 8)
        p.call("exit_group", 127)
        p.registers.give(error)


def run_all(
    p: Program,
    hooks: "list[Hook]",
    kind: str,
    state: bytes,
    environ: "list[str]",
    directory: "Reg | bytes",
    files: "Files" = (None, None),
) -> None:
    """All hooks of a kind, one after the other. files: descriptors for what they write to 1 and to 2."""
    for index, hook in enumerate(hooks):
        Prepared(p, hook, kind, index, state, environ, files).run(p, directory)
