"""`pyrunc kill`: a signal to a container.

Import cost: that of container.kill.
"""

from pyrunc.arguments import SWITCH, Command, Flag, Options
from pyrunc.container.kill import kill
from pyrunc.options import Globals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

COMMAND = Command(
    "kill",
    "send a signal (by default TERM) to a container",
    usage="<container-id> [signal]",
    most=2,
    flags=(
        Flag("regex, r", "the id is a regular expression: signal all containers it finds", SWITCH),
        Flag("all, a", "to all processes of the container, and no error if none is left", SWITCH),
    ),
    text="""
DESCRIPTION:
   The signal is a number or a name, with or without SIG: 9, KILL, SIGKILL, RTMIN+3. It
   goes to the container's first process. KILL reaches the others too: the kernel ends a
   pid namespace with its first process, and where the container shares one, pyrunc kills
   the processes of its cgroup.
""",
)


def main(globals_: Globals, options: Options, arguments: "Sequence[str]") -> int:
    signal = arguments[1] if len(arguments) > 1 else "TERM"
    everyone = options.on("all")
    if options.on("regex"):
        from pyrunc.container.each_matching import each

        each(globals_, arguments[0], lambda id: kill(globals_, id, signal, everyone))
    else:
        kill(globals_, arguments[0], signal, everyone)
    return 0
