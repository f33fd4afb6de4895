"""`pyrunc exec`: another process in a container.

Import cost: that of container.exec.
"""

from pyrunc.arguments import (
    CONSOLE_SOCKET,
    LIST,
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
from pyrunc.options import Globals
from pyrunc.setup.request import ExecRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

COMMAND = Command(
    "exec",
    "execute a program in a container",
    usage="<container-id> <command> [arguments...] || -p process.json <container-id>",
    most=None,
    stop=True,
    flags=(
        Flag("console-socket", CONSOLE_SOCKET, value="PATH"),
        Flag("pidfd-socket", PIDFD_SOCKET, value="PATH"),
        Flag("cwd", "working directory in the container", value="DIR"),
        Flag("env, e", "set an environment variable (repeatable)", LIST, value="NAME=VALUE"),
        Flag("tty, t", "give the program a terminal", SWITCH),
        Flag("user, u", "user, and group, by number", value="UID[:GID]"),
        Flag("additional-gids, g", "add a supplementary group (repeatable)", LIST, value="GID"),
        Flag("process, p", 'file with a "process" object as in config.json', value="FILE"),
        Flag("detach, d", "return once the program runs", SWITCH),
        Flag("pid-file", PID_FILE, value="FILE"),
        Flag("process-label", "SELinux label of the program", value="LABEL"),
        Flag("apparmor", "AppArmor profile of the program", value="PROFILE"),
        Flag("no-new-privs", "let the program gain no privileges by execve(2)", SWITCH),
        Flag("cap, c", "add a capability (repeatable)", LIST, value="CAP"),
        Flag("preserve-fds", PRESERVE_FDS, NUMBER, value="N"),
        Flag(
            "cgroup",
            "run in an existing cgroup below the container's; / is the container's own",
            LIST,
            value="[CONTROLLERS:]PATH",
        ),
        Flag("ignore-paused", "wait for resume where the container is paused", SWITCH),
        Flag("trace", TRACE, value="FILE"),
    ),
    text="""
DESCRIPTION:
   Runs a program in the namespaces and the cgroup of a container that is running or
   created, with the user, environment, capabilities and limits of the container's own
   process unless told otherwise. The exit status is the program's, 128 and the number
   of the signal that killed it, or 255 if it could not be executed.

EXAMPLE:
   # pyrunc exec -t shell-1 sh
""",
)

HIGHEST_ID = 0xFFFFFFFE  # 4294967295 means "leave as it is" to setgroups(2) and its relatives


def main(globals_: Globals, options: Options, arguments: "Sequence[str]") -> int:
    try:
        request = _request(globals_, options, arguments)
        from pyrunc.container.exec import exec_

        return exec_(globals_, request)
    except Error as error:
        raise error.prefixed("exec failed: ") from error.__cause__


def _request(globals_: Globals, options: Options, arguments: "Sequence[str]") -> ExecRequest:
    id, args = arguments[0], arguments[1:]
    if not args and not options.given("process"):
        from pyrunc.state.store import Store

        Store(globals_.root).load(id)  # that it does not exist is the error to tell first
        raise Error("exec args cannot be empty")
    fds = options.number("preserve-fds")
    if fds < 0:
        raise Error(f"--preserve-fds {fds}: a number of descriptors cannot be negative")
    return ExecRequest(
        id,
        args,
        console_socket=options.text("console-socket"),
        pidfd_socket=options.text("pidfd-socket"),
        cwd=options.text("cwd"),
        env=options.many("env"),
        tty=options.on("tty") if options.given("tty") else None,
        user=options.text("user"),
        additional_gids=[_gid(text) for text in options.many("additional-gids")],
        process=options.path("process"),
        detach=options.on("detach"),
        pid_file=options.path("pid-file"),
        process_label=options.text("process-label"),
        apparmor=options.text("apparmor"),
        no_new_privs=options.on("no-new-privs") if options.given("no-new-privs") else None,
        caps=options.many("cap"),
        preserve_fds=fds,
        cgroup=options.many("cgroup"),
        ignore_paused=options.on("ignore-paused"),
        trace=options.path("trace"),
    )


def _gid(text: str) -> int:
    if text.isascii() and text.isdecimal() and len(text) < 11 and int(text) <= HIGHEST_ID:
        return int(text)
    raise Error(f'--additional-gids "{text}": want a number from 0 to {HIGHEST_ID}')
