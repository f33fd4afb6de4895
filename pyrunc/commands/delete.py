"""`pyrunc delete`: remove what a container holds.

Import cost: that of container.delete.
"""

from pyrunc.arguments import SWITCH, Command, Flag, Options
from pyrunc.container.delete import delete
from pyrunc.options import Globals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

COMMAND = Command(
    "delete",
    "delete a container",
    flags=(
        Flag(
            "force, f",
            "kill the container if it runs; no error if there is no such container",
            SWITCH,
        ),
        Flag("regex, r", "the id is a regular expression: delete all containers it finds", SWITCH),
    ),
    text="""
DESCRIPTION:
   Removes the cgroup and the state of a container that has stopped, or was created and
   never started, and runs its poststop hooks.

   A container whose state.json is damaged, or another runtime's, is removed with
   --force alone, as far as it can be found: its process, if it is still the one that
   the file names, and the cgroup that this process is in. What was done, and what is
   left alone, is told in the log.
""",
)


def main(globals_: Globals, options: Options, arguments: "Sequence[str]") -> int:
    force = options.on("force")
    if options.on("regex"):
        from pyrunc.container.each_matching import each

        each(globals_, arguments[0], lambda id: delete(globals_, id, force))
    else:
        delete(globals_, arguments[0], force)
    return 0
