"""`ps`: the container's processes, and what ps(1) says of them.

Not on the hot path, but what helps in need: no module of the standard library that is a file.
"""

import posix
from collections.abc import Collection, Mapping, Sequence

from pyrunc.errors import Error, from_os_error
from pyrunc.kernel.unlinked import memory_file
from pyrunc.options import Globals
from pyrunc.state.processes import cgroup_manager, pids
from pyrunc.state.store import Store

# Where ps(1) is looked for if the caller gives no PATH, as podman does not.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def container_pids(globals_: Globals, id: str) -> list[int]:
    """The processes of the container `id` as host pids, sorted; none when it has stopped."""
    state = Store(globals_.root).load(id)
    return pids(state, cgroup_manager(state))


def table(pids: Collection[int], arguments: Sequence[str] = ()) -> str:
    """The header of what `ps ARGUMENTS` (default: -ef) prints, and the lines of `pids`.

    Errors: ps is missing or fails; what it prints has no PID column.
    """
    command = ["ps", *(arguments or ["-ef"])]
    try:
        status, output, errors = _run(command, {b"PATH": PATH.encode(), **posix.environ})
    except OSError as error:
        raise from_os_error("ps:", error, hint="install procps") from None
    if status:
        text = (errors + output).decode(errors="replace").strip()
        raise Error(f"{' '.join(command)}: exit status {status}: {text}")
    return choose(output.decode(errors="surrogateescape"), pids)


def _run(command: list[str], environment: Mapping[bytes, bytes]) -> tuple[int, bytes, bytes]:
    """Exit status, standard output and standard error of a program; OSError where it cannot be started.

    Both outputs are files in memory, so that neither can fill while the other is read.
    """
    streams = [memory_file(f"{command[0]}-{name}") for name in ("stdout", "stderr")]
    try:
        pid = _spawn(command, environment, streams)
        _, status = posix.waitpid(pid, 0)
        output, errors = (_contents(fd) for fd in streams)
    finally:
        for fd in streams:
            posix.close(fd)
    return posix.waitstatus_to_exitcode(status), output, errors


def _spawn(command: list[str], environment: Mapping[bytes, bytes], streams: Sequence[int]) -> int:
    """The pid of a program that is looked up in the PATH of its own environment."""
    actions = [
        (posix.POSIX_SPAWN_OPEN, 0, "/dev/null", posix.O_RDONLY, 0),
        *((posix.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(streams, 1)),
    ]
    missing: OSError = FileNotFoundError(2, "No such file or directory", command[0])
    for directory in environment[b"PATH"].decode(errors="surrogateescape").split(":"):
        try:
            return posix.posix_spawn(f"{directory or '.'}/{command[0]}", command, environment, file_actions=actions)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError as error:
            missing = error
    raise missing


def _contents(fd: int) -> bytes:
    return posix.pread(fd, posix.fstat(fd).st_size, 0)


def choose(output: str, pids: Collection[int]) -> str:
    """The header and the lines of ps's output that are about `pids`."""
    header, _, rest = output.partition("\n")
    titles = header.split()
    if "PID" not in titles:
        raise Error("couldn't find PID field in ps output")
    column = titles.index("PID")
    wanted = {str(pid) for pid in pids}
    lines = [header]
    inside = False
    for line in rest.splitlines():
        number = (line.split() + [""] * len(titles))[column]
        # With "m" the lines of threads follow their process's, with "-" for its number.
        if number != "-":
            inside = number in wanted
        if inside:
            lines.append(line)
    return "".join(line + "\n" for line in lines)
