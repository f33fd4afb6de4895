"""`pyrunc features`: what this runtime can do, on this machine."""

from collections.abc import Sequence

from pyrunc.arguments import Command, Options, write
from pyrunc.config import strict
from pyrunc.options import Globals

COMMAND = Command(
    "features",
    "print what pyrunc can do",
    usage="",
    least=0,
    most=0,
    text="""
DESCRIPTION:
   Prints a JSON object as the specification defines it (features.md): the properties of
   "config.json" that this version knows and this machine's kernel supports. Engines ask
   for it before they use a property.
""",
)


def main(globals_: Globals, options: Options, arguments: Sequence[str]) -> int:
    from pyrunc.container.features import features

    write(strict.dumps(features(), indent=4) + "\n")
    return 0
