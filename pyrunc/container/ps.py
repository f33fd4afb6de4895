"""`ps`: the container's processes, and what ps(1) says of them.

Not on the hot path.
"""

import subprocess
from collections.abc import Collection, Sequence

from pyrunc.errors import Error, from_os_error
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
        done = subprocess.run(
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=_environment(),
        )
    except OSError as error:
        raise from_os_error("ps:", error, hint="install procps") from None
    if done.returncode:
        text = (done.stderr + done.stdout).decode(errors="replace").strip()
        raise Error(f"{' '.join(command)}: exit status {done.returncode}: {text}")
    return choose(done.stdout.decode(errors="surrogateescape"), pids)


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


def _environment() -> dict[str, str]:
    import os

    return {"PATH": PATH, **os.environ}
