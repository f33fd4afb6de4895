"""`pyrunc ps`: the processes of a container."""

from collections.abc import Sequence

from pyrunc.arguments import Command, Flag, Options, write
from pyrunc.config import strict
from pyrunc.errors import Error
from pyrunc.options import Globals

COMMAND = Command(
    "ps",
    "list the processes of a container",
    usage="<container-id> [ps options]",
    most=None,
    stop=True,
    flags=(Flag("format, f", '"table" or "json"', value="FORMAT", default="table"),),
    text="""
DESCRIPTION:
   Calls ps(1) on the host and prints the lines of the container's processes, those in
   cgroups below the container's included. What follows the id goes to ps, whose output
   must have a PID column; by default that is -ef. With --format json it prints an array
   of the process ids, as the host numbers them.
""",
)


def main(globals_: Globals, options: Options, arguments: Sequence[str]) -> int:
    from pyrunc.container.ps import container_pids, table

    form = options.text("format", "table")
    if form not in ("table", "json"):
        raise Error("invalid format option")
    pids = container_pids(globals_, arguments[0])
    write(strict.dumps(pids) + "\n" if form == "json" else table(pids, arguments[1:]))
    return 0
