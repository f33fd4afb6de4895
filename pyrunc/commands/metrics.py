"""`pyrunc metrics`: what all containers use, for a collector of metrics."""

from collections.abc import Sequence

from pyrunc.arguments import Command, Options, write
from pyrunc.options import Globals

COMMAND = Command(
    "metrics",
    "print what all containers use, as OpenMetrics text",
    usage="",
    least=0,
    most=0,
    text="""
DESCRIPTION:
   Prints one family of samples after the other for all containers whose state is in the
   directory that the global option --root names: status, CPU time and throttling, memory
   with its events, pressure, processes, input and output, huge pages. A container has no
   sample for what it has no limit of, and what its kernel does not count.

   There is no server: a collector calls the command, or reads a file that a timer writes
   (node_exporter's textfile collector, Telegraf's exec input).
""",
)


def main(globals_: Globals, options: Options, arguments: Sequence[str]) -> int:
    from pyrunc.inspect.metrics import metrics
    from pyrunc.state.store import Store

    write(metrics(Store(globals_.root).list()))
    return 0
