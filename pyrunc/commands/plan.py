"""`pyrunc plan`: what `create` would do."""

from collections.abc import Sequence

from pyrunc.arguments import Command, Flag, Options
from pyrunc.errors import Error
from pyrunc.options import Globals, absolute

COMMAND = Command(
    "plan",
    "show the steps that create would take",
    usage="<bundle>",
    flags=(Flag("format", '"text" or "json"', value="FORMAT", default="text"),),
    text="""
DESCRIPTION:
   Compiles the bundle's "config.json" and prints the program that "pyrunc create" would
   have executed: a line for each system call, with its arguments, the element of the
   configuration that it serves and the reason for it. Nothing is changed; root is not
   needed.
""",
)


def main(globals_: Globals, options: Options, arguments: Sequence[str]) -> int:
    form = options.text("format", "text")
    if form not in ("text", "json"):
        raise Error("invalid format option")
    from pyrunc.container.show_plan import show

    show(globals_, absolute(arguments[0]), form)
    return 0
