"""`--trace FILE`: where the time goes, in the trace event format of Chrome, which Perfetto and
speedscope read as well.

Every system call is one event on the line of its process: `cat` is "step", `args` tell the reason
and the JSON pointer. What pyrunc itself did is on the line "pyrunc" (`cat` "host"). Times are in
microseconds of CLOCK_MONOTONIC, with three decimals. Cold.
"""

import posix

from pyrunc.config.strict import dumps
from pyrunc.errors import strerror
from pyrunc.log import log
from pyrunc.machine.describe import reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.machine.session import Trace

HOST = "pyrunc"


def write(path: str, trace: "Trace") -> None:
    """Write the trace to a file, which is made or replaced. A failure is a warning: the container is there by then, and
    has to be waited for."""
    data = dumps(document(trace)).encode() + b"\n"
    flags = posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC | posix.O_CLOEXEC
    try:
        fd = posix.open(path, flags, 0o644)
        try:
            while data:
                data = data[posix.write(fd, data) :]
        finally:
            posix.close(fd)
    except OSError as error:
        log.warning(f"the trace is not written to {path}: {strerror(error.errno or 0)}")


def document(trace: "Trace") -> "dict[str, object]":
    """The trace as a JSON value."""
    events: list[dict[str, object]] = []
    lines: dict[str, int] = {}
    pid = posix.getpid()

    def line(name: str) -> int:
        """A number for a process; Python's own is 1."""
        if name not in lines:
            lines[name] = len(lines) + 1
            events.append(
                {
                    "ph": "M",
                    "name": "thread_name",
                    "pid": pid,
                    "tid": lines[name],
                    "args": {"name": name},
                }
            )
        return lines[name]

    line(HOST)
    for name, start, end in trace.spans:
        events.append(_complete(name, "host", start, end, pid, line(HOST), {}))
    # A step begins where the one before it, or the program, did end or begin.
    before: dict[str, int] = {}
    for process, end, syscall, why, pointer in trace.events:
        start = before.get(process, end)
        before[process] = end
        if syscall:
            told = {"why": reason(why), "pointer": pointer}
            tid = line(process)
            events.append(_complete(syscall, "step", start, end, pid, tid, told))
    return {"traceEvents": events, "displayTimeUnit": "ns"}


def _complete(
    name: str, kind: str, start: int, end: int, pid: int, tid: int, told: "dict[str, str]"
) -> "dict[str, object]":
    """A complete event ("X"): something with a begin and a duration."""
    return {
        "ph": "X",
        "name": name,
        "cat": kind,
        "ts": start / 1000,
        "dur": max(end - start, 0) / 1000,
        "pid": pid,
        "tid": tid,
        "args": told,
    }
