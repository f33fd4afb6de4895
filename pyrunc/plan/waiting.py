"""How a created container waits for `pyrunc start`: with the credentials and under the filter of its process.

    start.fifo    `start` says that it is to go on, and whether to trace: four bytes; later a line for standard error
    answer.fifo   the session from then on: a failed hook, that the execve comes, that it failed; its end is the execve

Both lie in the state directory, with mode 0600: only who owns it, or root, can start a container. The filter has to
allow write, read and execve: to listen on a socket would ask more of it (accept4 and ppoll).

For a pyrunc without privileges `exec`, and engines that set up a network, could not join the namespaces of a process
that is not dumpable. Its init is dumpable while it waits, and keeps its capabilities permitted until `start`: so it is
out of reach for whoever has fewer, as the processes of a container whose user namespace it has joined (ptrace(2)). The
filter has to allow capset and prctl as well then.
"""

from pyrunc.machine.ops import ON_SIGNAL, SESSION, Fd, Program, Space

# What ends a container that waits to be started: SIGHUP, SIGINT, SIGQUIT, SIGTERM. The kernel keeps from the first
# process of a pid namespace the signals that it has no handler for: who asks this one to end would wait for ever.
_ENDING = (1, 2, 3, 15)


class Gate:
    """The descriptors of a waiting init: start (to be read and written, so that reading waits), line (the same fifo, to
    be read only: its end is that of `start`) and answer."""

    __slots__ = ("answer", "line", "start")

    def __init__(self, start: Fd, line: Fd, answer: Fd) -> None:
        self.start = start
        self.line = line
        self.answer = answer


def end_by_signals(p: Program) -> None:
    """Let signals end the process, with 128 and their number; execve gives them back their usual meaning."""
    p.about("error waiting to be started")
    for signal in _ENDING:
        p.call("rt_sigaction", signal, ON_SIGNAL, None, 8)


def try_reading(p: Program) -> None:
    """Fail here and now where the filter forbids read(2), which waiting needs."""
    p.about("the profile forbids read(2), by which a created container waits for start", "/linux/seccomp")
    p.call("read", SESSION, Space(8, "nothing"), 0)


def wait(p: Program, gate: Gate) -> None:
    """Wait for `start`, which is the session's other side from then on."""
    p.about("error waiting for start")
    p.take_flags(gate.start)
    p.call("move", gate.answer, dst=SESSION)
