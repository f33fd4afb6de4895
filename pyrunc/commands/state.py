"""`pyrunc state`: the state of a container as JSON.

Import cost: that of state.state.
"""

from pyrunc.arguments import Command, Options, write
from pyrunc.config import strict
from pyrunc.options import Globals
from pyrunc.state.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

COMMAND = Command(
    "state",
    "print the state of a container",
    text="""
DESCRIPTION:
   Prints a JSON object with the container's id, the pid of its first process (0 when it
   has ended), its status (creating, created, running, paused or stopped), bundle, root
   file system, time of creation and annotations.
""",
)


def main(globals_: Globals, options: Options, arguments: "Sequence[str]") -> int:
    state = Store(globals_.root).load(arguments[0])
    write(strict.dumps(state.document(), indent=2))
    return 0
