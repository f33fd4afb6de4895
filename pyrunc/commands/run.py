"""`pyrunc run`: create, start, wait, delete.

Import cost: that of container.run.
"""

import posix
from errno import ELOOP, ENAMETOOLONG

from pyrunc.arguments import SWITCH, Command, Flag, Options
from pyrunc.commands import create as create_command
from pyrunc.errors import Error
from pyrunc.options import Globals, absolute

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

COMMAND = Command(
    "run",
    "create and run a container",
    usage="<container-id> | <bundle>",
    flags=(
        *create_command.FLAGS,
        Flag("detach, d", "return once the program runs", SWITCH),
        Flag("keep", "do not delete the container when its program has ended", SWITCH),
    ),
    text="""
DESCRIPTION:
   Creates the container, starts its program, passes signals on to it, waits for its
   end and deletes the container. The exit status is the program's, or 128 and the
   number of the signal that killed it. With --detach the container stays, as after
   "pyrunc create" and "pyrunc start".

   Without --bundle, and with no "config.json" in the current directory, a directory
   that has one may stand in place of the id: it is the bundle, its name the id.
""",
)


def main(globals_: Globals, options: Options, arguments: "Sequence[str]") -> int:
    try:
        id, bundle = arguments[0], ""
        named = options.given("bundle") or options.given("config")
        if not named and not _is_bundle(".") and _is_bundle(id):
            bundle = id
            id = absolute(id).rpartition("/")[2]
        request = create_command.request(options, id, bundle)
        from pyrunc.container.run import run

        return run(globals_, request)
    except Error as error:
        raise error.prefixed("pyrunc run failed: ") from error.__cause__


def _is_bundle(directory: str) -> bool:
    try:
        posix.stat(directory + "/config.json")
    except (FileNotFoundError, NotADirectoryError, PermissionError, ValueError):
        return False
    except OSError as error:
        if error.errno not in (ELOOP, ENAMETOOLONG):
            raise
        return False
    return True
