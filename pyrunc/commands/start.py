"""`pyrunc start`: let a created container execute its program.

Import cost: that of container.start.
"""

from pyrunc.arguments import TRACE, Command, Flag, Options
from pyrunc.options import Globals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

COMMAND = Command(
    "start",
    "start the program of a created container",
    flags=(Flag("trace", TRACE, value="FILE"),),
    text="""
DESCRIPTION:
   Lets the process that "pyrunc create" left waiting execute the program. Returns when
   it does so, and the poststart hooks have ended.
""",
)


def main(globals_: Globals, options: Options, arguments: "Sequence[str]") -> int:
    from pyrunc.container.start import start

    start(globals_, arguments[0], options.path("trace"))
    return 0
