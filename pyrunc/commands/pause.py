"""`pyrunc pause`: stop all processes of a container."""

from collections.abc import Sequence

from pyrunc.arguments import Command, Options
from pyrunc.options import Globals

COMMAND = Command(
    "pause",
    "suspend all processes of a container",
    text="""
DESCRIPTION:
   Freezes the container's cgroup. The processes keep what they hold, and go on where
   they were with "pyrunc resume".
""",
)


def main(globals_: Globals, options: Options, arguments: Sequence[str]) -> int:
    from pyrunc.container.pause import pause

    pause(globals_, arguments[0])
    return 0
