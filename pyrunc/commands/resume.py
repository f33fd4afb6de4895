"""`pyrunc resume`: let the processes of a paused container go on."""

from collections.abc import Sequence

from pyrunc.arguments import Command, Options
from pyrunc.options import Globals

COMMAND = Command(
    "resume",
    "resume all processes of a paused container",
    text="""
DESCRIPTION:
   Thaws the cgroup that "pyrunc pause" has frozen.
""",
)


def main(globals_: Globals, options: Options, arguments: Sequence[str]) -> int:
    from pyrunc.container.pause import resume

    resume(globals_, arguments[0])
    return 0
