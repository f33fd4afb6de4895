"""`pyrunc mounts`: mounts of a container that runs."""

from collections.abc import Sequence

from pyrunc.arguments import Command, Options, UsageError
from pyrunc.options import Globals

COMMAND = Command(
    "mounts",
    "add mounts to a running container, or take them away",
    usage="add|remove <container-id> <file>",
    least=3,
    most=3,
    text="""
DESCRIPTION:
   The file, or standard input where it is -, has a mounts array as that of "config.json",
   or an object with one:

      [{"destination": "/data", "source": "/srv/data", "options": ["rbind", "ro"]}]

   Bind mounts and tmpfs can be added, by root. Where one cannot be made, none is. To
   remove, only the destinations count; a mount that is in use goes when it no longer is.
   "config.json" stays as it is: neither a checkpoint nor a later container knows of them.
""",
)


def main(globals_: Globals, options: Options, arguments: Sequence[str]) -> int:
    from pyrunc.container import mounts

    action, id, file = arguments
    if action not in ("add", "remove"):
        raise UsageError(f'"{action}" is neither add nor remove')
    change = mounts.add if action == "add" else mounts.remove
    change(globals_, id, mounts.mounts_in(file))
    return 0
