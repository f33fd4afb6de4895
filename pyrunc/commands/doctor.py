"""`pyrunc doctor`: what this host can do for containers, and why a container does not go on."""

from collections.abc import Sequence

from pyrunc.arguments import Command, Flag, Options, write
from pyrunc.errors import Error
from pyrunc.options import Globals

COMMAND = Command(
    "doctor",
    "tell what this host lacks, or why a container does not go on",
    usage="[container-id]",
    least=0,
    most=1,
    flags=(Flag("format", '"text" or "json"', value="FORMAT", default="text"),),
    text="""
DESCRIPTION:
   Without an argument: looks at the kernel, namespaces, cgroups and their delegation, id
   maps, security modules, limits, programs that are called, and at the engines that are
   installed here, whether they know pyrunc. Each line says what the thing is for, and what
   to do where it is missing, with the lines to add.

   With the id of a container: says who holds its lock and what that waits for, in which
   state and system call its processes are, whether it is frozen or waits for "start", and
   which limits it has reached. Nothing is changed.

EXIT STATUS:
   0 where nothing is an "error"; else 1.
""",
)


def main(globals_: Globals, options: Options, arguments: Sequence[str]) -> int:
    from pyrunc.inspect import checks
    from pyrunc.inspect.engines import engine_checks
    from pyrunc.inspect.host_checks import host_checks
    from pyrunc.inspect.stuck import container_checks
    from pyrunc.state.store import Store

    form = options.text("format", "text")
    if form not in checks.FORMATS:
        raise Error(f"invalid format option: {form}: want {', '.join(checks.FORMATS)}")
    if arguments:
        found = container_checks(Store(globals_.root), arguments[0])
    else:
        found = [*host_checks(), *engine_checks()]
    write(checks.write(found, form))
    return int(any(it.level == "error" for it in found))
