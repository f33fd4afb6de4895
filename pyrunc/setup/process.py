"""What `create`, `run` and `exec` have in common: a process on its way into a container.

A host agent makes it, a session leads it through its program, and it may get a terminal. What is asked and
what fails on the way is answered by those who know more (create.Creation, exec.Execution).

Import cost: posix, that of machine.session and of plan.process.
"""

import posix
from errno import EACCES

from pyrunc.errors import SETUP, Error, from_os_error
from pyrunc.kernel.files import read_file, write_file
from pyrunc.kernel.signals import SIGILL, SIGKILL
from pyrunc.log import log
from pyrunc.machine.session import Lost, Session, Trace, how_ended, spawn
from pyrunc.setup.host import reap, send_fd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from pyrunc.config.types import Process
    from pyrunc.machine.ops import Label, Step
    from pyrunc.options import Globals

    Items = Iterable[Step | Label]


class Making:
    """One process in the making.

    pid: of the process, 0 while there is none. agent, session: the conversations with the agent and with
    the process. console: the terminal's master, where pyrunc keeps it. last: the steps that come after `ready`.
    """

    def __init__(self, globals_: "Globals", console_socket: str, *, traced: bool) -> None:
        self.globals = globals_
        self.console_socket = console_socket
        self.trace = Trace() if traced else None
        self.session: Session | None = None
        self.agent: Session | None = None
        self.agent_pid = 0
        self.pid = 0
        self.console = -1
        self.last: list[Step | Label] = []

    # -- the agent -------------------------------------------------------------------------------

    def spawn_agent(self, session: int, inherit: "tuple[int, ...]") -> None:
        """Start the agent on its end of a session. Its own descriptors are closed here, as they are its now."""
        if self.trace is not None:
            self.trace.span("prepare")
        self.agent_pid = spawn(session, inherit)
        for fd in (session, *inherit):
            posix.close(fd)

    def ask_agent(self, items: "Items") -> "tuple[list[Step], Step | None, int]":
        """Have the agent execute steps that make the process; self.pid is its then.

        The steps as they were sent, and where one failed that one and its errno.
        """
        assert self.agent is not None
        try:
            steps = self.agent.send(items)
            reply = self.agent.receive(steps)
        except Lost as lost:
            raise self.lost("the host agent ended", self.agent_pid, lost) from None
        if reply.errno:
            return steps, reply.step, reply.errno
        self.pid = int.from_bytes(reply.data, "little")
        return steps, None, 0

    def tell_made(self) -> None:
        """For --debug and --trace: who made the process, and on which CPUs that happened."""
        if self.trace is not None:
            self.trace.span("make the process")
        if log.debug_on:
            from pyrunc.kernel.cpu_lists import text

            cpus = text(posix.sched_getaffinity(self.agent_pid))
            log.debug(f"host agent {self.agent_pid}, on CPUs {cpus}, has made process {self.pid}")

    def end_agent(self) -> None:
        """The agent has done its work: its session's end is its own."""
        if self.agent is not None:
            self.agent.close()
            self.agent = None
        if self.agent_pid:
            reap(self.agent_pid)
            self.agent_pid = 0

    def lost(self, what: str, pid: int, lost: "Lost | None" = None) -> Error:
        """Why a process is gone that did not say so: "{what}: killed by signal 9".

        lost: where it was noticed, which may have been the session of another agent, asked for something meanwhile.
        """
        if lost is not None and lost.session not in (self.session, self.agent):
            return Error(f"{SETUP}{lost}")
        status = reap(pid)
        if pid == self.pid:
            self.pid = 0
        else:
            self.agent_pid = 0
        signal = posix.WTERMSIG(status) if posix.WIFSIGNALED(status) else 0
        if signal == SIGILL:  # what pyrunc-init does where exit_group(2) has failed
            return Error(
                f"{SETUP}{what}: its seccomp filter refuses even exit_group (linux/seccomp)",
                pointer="/linux/seccomp",
                hint="a profile has to allow read, write and execve",
            )
        reason, hint = self.why_lost(signal)
        return Error(f"{SETUP}{what}: {how_ended(status)}{reason}", hint=hint)

    def check_executed(self, what: str) -> None:
        """Raise Error where the session's end was not the execve, but that of the process.

        Asked of the kernel: write(2), by which the process could tell, may be forbidden by its filter.
        """
        try:
            posix.readlink(f"/proc/{self.pid}/exe")
        except FileNotFoundError:
            # It has ended, before or after its execve, which would have given it another name.
            name = read_file(f"/proc/{self.pid}/comm").strip()
            if name == b"pyrunc-init" or name.isdigit():
                raise self.lost(what, self.pid) from None
        except PermissionError:
            pass  # it lives, and is not ours to look at

    def why_lost(self, signal: int) -> "tuple[str, str]":
        """What is known of the reason, in parentheses, and a hint. signal: what killed it, or 0."""
        raise NotImplementedError

    # -- the process -----------------------------------------------------------------------------

    def adjust_oom_score(self, process: "Process") -> None:
        """process.oomScoreAdj, written from outside, as the init may have lost the right to lower it.

        Errors: EACCES: CAP_SYS_RESOURCE alone may go below what was set with it (proc_pid_oom_score_adj(5)).
        """
        score = process.get("oomScoreAdj")
        if score is None:
            return
        try:
            write_file(f"/proc/{self.pid}/oom_score_adj", str(score).encode())
        except OSError as error:
            what = f"{SETUP}unable to set oom_score_adj (process/oomScoreAdj)"
            hint = "without CAP_SYS_RESOURCE it can only be raised" if error.errno == EACCES else ""
            raise from_os_error(what, error, pointer="/process/oomScoreAdj", hint=hint) from None

    def take_console(self, process: "Process") -> None:
        """The terminal's master came with the last reply: it goes to whoever waits for it, or stays here."""
        assert self.session is not None
        master = self.session.descriptors.pop()
        if self.console_socket:
            send_fd(self.console_socket, master, b"/dev/ptmx", "console socket")
            posix.close(master)
            return
        from pyrunc.foreground.terminal import adopt

        self.console = master
        size: Any = process.get("consoleSize", {})
        adopt(master, sized=bool(size.get("height") or size.get("width")))

    def kill(self) -> None:
        """End the agent and the process, children that nobody has reaped: their numbers are still their own.

        The agent, too: whoever was interrupted may hold a session that nothing else knows, and it waits for its end.
        """
        for pid in (self.agent_pid, self.pid):
            if pid:
                try:
                    posix.kill(pid, SIGKILL)
                except ProcessLookupError:
                    pass
                reap(pid)
        self.agent_pid = self.pid = 0


def attempt(step: "Callable[[], object]", otherwise: str) -> None:
    """Do a step of undoing: a failure is a warning, as the error that led here is what counts, and the rest has to be
    undone as well. otherwise: what it means when it fails."""
    try:
        step()
    except Exception as error:
        log.warning(f"{otherwise}: {error}")


def check_console(process: "Process", console_socket: str, pointer: str = "", *, detached: bool) -> None:
    """Raise Error where nobody would hold the terminal, or where there is none to hand over.

    pointer: of `process`, in messages.
    """
    terminal = bool(process.get("terminal"))
    if terminal and detached and not console_socket:
        where = f" ({pointer[1:]}/terminal)" if pointer else ""
        raise Error(
            f"cannot allocate tty if runc will detach without setting console socket{where}",
            pointer=f"{pointer}/terminal",
            hint="use --console-socket",
        )
    if console_socket and not (terminal and detached):
        raise Error(
            "cannot use console socket if runc will not detach or allocate tty",
            pointer=f"{pointer}/terminal",
        )
    if terminal and not detached:
        from pyrunc.foreground.terminal import check_terminal

        check_terminal()


def check_preserved(count: int) -> None:
    """Raise Error unless the descriptors from 3 on that the container is to get are all open."""
    for fd in range(3, 3 + count):
        try:
            posix.fstat(fd)
        except OSError as error:
            raise from_os_error(f"unable to stat preserved-fd {fd - 3} (of {count}), descriptor {fd}", error) from None
