"""`pyrunc events`: statistics of a container, and its out-of-memory kills."""

from collections.abc import Sequence

from pyrunc.arguments import SWITCH, Command, Flag, Options, write
from pyrunc.options import Globals

COMMAND = Command(
    "events",
    "print statistics and out-of-memory events of a container",
    flags=(
        Flag("interval", "time between two statistics: 100ms, 5s, 1m30s", value="TIME", default="5s"),
        Flag("stats", "print the statistics once and end", SWITCH),
    ),
    text="""
DESCRIPTION:
   Prints a JSON object a line: the container's use of processor, memory, block devices
   and so on at each interval, and an "oom" event when the kernel has killed a process
   for lack of memory. Ends with the container.
""",
)


def main(globals_: Globals, options: Options, arguments: Sequence[str]) -> int:
    from pyrunc.container.events import duration, events

    interval = duration(options.text("interval", "5s"))
    events(globals_, arguments[0], interval=interval, once=options.on("stats"), out=write)
    return 0
