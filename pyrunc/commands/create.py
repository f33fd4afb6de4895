"""`pyrunc create`: make a container; its process waits for `start`.

Import cost: that of container.create.
"""

from pyrunc.arguments import (
    CONSOLE_SOCKET,
    NUMBER,
    PID_FILE,
    PIDFD_SOCKET,
    PRESERVE_FDS,
    SWITCH,
    TRACE,
    Command,
    Flag,
    Options,
)
from pyrunc.errors import Error
from pyrunc.options import Globals, absolute
from pyrunc.setup.request import CreateRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

CONFIG = "configuration in place of the bundle's config.json"
BUNDLE = "directory with config.json, by default the current one"
NO_PIVOT = "move the root file system in place of pivot_root(2), for hosts that run from a ramdisk"
NO_NEW_KEYRING = "leave the container the caller's session keyring"
NO_SUBREAPER = "do not adopt the container's orphaned processes"

FLAGS = (
    Flag("bundle, b", BUNDLE, value="DIR"),
    Flag("config, f", CONFIG, value="FILE"),
    Flag("console-socket", CONSOLE_SOCKET, value="PATH"),
    Flag("pidfd-socket", PIDFD_SOCKET, value="PATH"),
    Flag("pid-file", PID_FILE, value="FILE"),
    Flag("no-pivot", NO_PIVOT, SWITCH),
    Flag("no-new-keyring", NO_NEW_KEYRING, SWITCH),
    Flag("preserve-fds", PRESERVE_FDS, NUMBER, value="N"),
    Flag("no-subreaper", NO_SUBREAPER, SWITCH),
    Flag("trace", TRACE, value="FILE"),
)

COMMAND = Command(
    "create",
    "create a container",
    flags=FLAGS,
    text="""
DESCRIPTION:
   Makes the namespaces, the cgroup and the root file system that the bundle's
   "config.json" describes, and a process in them that waits: "pyrunc start" lets it
   execute the program. Standard input, output and error become the program's. The
   container is known by its id from then on, until "pyrunc delete".
""",
)


def request(options: Options, id: str, bundle: str = "") -> CreateRequest:
    """What the command line asks for. bundle: where no --bundle is given."""
    fds = options.number("preserve-fds")
    if fds < 0:
        raise Error(f"--preserve-fds {fds}: a number of descriptors cannot be negative")
    return CreateRequest(
        id,
        absolute(options.text("bundle") or bundle or "."),
        config=options.path("config"),
        console_socket=options.text("console-socket"),
        pidfd_socket=options.text("pidfd-socket"),
        pid_file=options.path("pid-file"),
        no_pivot=options.on("no-pivot"),
        no_new_keyring=options.on("no-new-keyring"),
        preserve_fds=fds,
        detach=options.on("detach"),
        keep=options.on("keep"),
        no_subreaper=options.on("no-subreaper"),
        trace=options.path("trace"),
    )


def main(globals_: Globals, options: Options, arguments: "Sequence[str]") -> int:
    try:
        it = request(options, arguments[0])
        it.detach = True
        from pyrunc.container.create import create

        create(globals_, it)
    except Error as error:
        raise error.prefixed("pyrunc create failed: ") from error.__cause__
    return 0
