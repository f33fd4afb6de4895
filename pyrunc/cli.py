"""The command line: global flags, the choice of the command, and how failures end.

Exit status: the command's own; 1 on an error (`exec`: 255); 3 for a command that does not exist.

Import cost: posix, and pyrunc's own modules for the one command that is called.
"""

import posix
import sys
from errno import EBADF, EMFILE, ENFILE

from pyrunc.arguments import SWITCH, Command, Flag, Options, UsageError, parse, write
from pyrunc.errors import Error, from_os_error
from pyrunc.log import log
from pyrunc.options import Globals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from signal import SIG_DFL, SIGCHLD, signal
    from typing import Protocol

    class CommandModule(Protocol):
        COMMAND: Command
        main: Callable[[Globals, Options, Sequence[str]], int]

else:
    from _signal import SIG_DFL, SIGCHLD, signal


COMMANDS = (
    *("audit", "checkpoint", "create", "delete", "doctor", "events", "exec", "features", "kill", "list", "metrics"),
    *("mounts", "pause", "plan", "ps", "restore", "resume", "run", "spec", "start", "state", "update", "validate"),
)

GLOBAL_FLAGS = (
    Flag("debug", "log what is being done", SWITCH),
    Flag("log-level", "what to log: error, warning or debug", value="LEVEL", default="warning"),
    Flag(
        "log",
        "where to log in place of standard error: FILE, file:FILE, journald:NAME or syslog:NAME",
        value="FILE",
    ),
    Flag("log-format", '"text" or "json"', value="FORMAT", default="text"),
    Flag("root", "directory for the state of containers", value="DIR", default="/run/pyrunc"),
    Flag("criu", "accepted and ignored: criu is looked up in $PATH", value="PATH"),
    Flag("systemd-cgroup", "let systemd make cgroups; cgroupsPath is slice:prefix:name", SWITCH),
    Flag(
        "cgroup-manager",
        "who makes cgroups: cgroupfs, systemd (as --systemd-cgroup), or disabled, which makes none",
        value="MANAGER",
        default="cgroupfs",
    ),
    Flag(
        "rootless",
        'go on where cgroups are out of reach: "true", "false" or "auto"',
        value="WHEN",
        default="auto",
    ),
    Flag("version, v, V", "print the version", SWITCH),
)

INTERNAL = "internal error: "


def main(argv: "Sequence[str] | None" = None) -> int:
    """Run the command that argv (without the program's name; default: the process's) asks for.

    Out: the exit status. Whatever goes wrong has been reported when this returns.
    """
    failed = 1
    name = ""
    try:
        try:
            # Ignored by the caller, the end of children could not be waited for.
            signal(SIGCHLD, SIG_DFL)
            _complete_stdio()
            options, words = parse(GLOBAL_FLAGS, sys.argv[1:] if argv is None else argv, stop=True)
            if options.on("version"):
                return _version()
            if not words or options.help:
                return _help("")
            name = words[0]
            if name in ("help", "h"):
                return _help(words[1] if len(words) > 1 else "", words[2:])
            globals_ = _globals(options)
            if name not in COMMANDS:
                return _unknown(name)
            module = load(name)
            if name == "exec":
                failed = 255
            return _call(module, globals_, words[1:])
        except UsageError as error:
            # The command's own were handled by _call: this one is about the global flags.
            _usage(error, None)
            return 1
        except Error as error:
            _report(error)
            return failed
        except KeyboardInterrupt:
            return 130
        except ImportError as error:
            # All of pyrunc's own and of the standard library is there, unless somebody took it away.
            _unexpected(error, f"the installation is damaged: {error}", "")
            return failed
    except OSError as error:
        # Of the command, or of what tells its error: nothing may be left to load that with.
        _free_descriptors(error)
        from pyrunc.exhaustion import told

        _trace(error)
        _report(told(error, name))
        return failed
    except MemoryError as error:
        from pyrunc.exhaustion import out_of_memory

        _trace(error)
        _report(out_of_memory(name))
        return failed
    except Exception as error:
        _unexpected(error, f"{type(error).__name__}: {error}")
        return failed


def load(name: str) -> "CommandModule":
    """The module of a command."""
    __import__("pyrunc.commands." + name)
    return sys.modules["pyrunc.commands." + name]


def _call(module: "CommandModule", globals_: Globals, words: "Sequence[str]") -> int:
    command = module.COMMAND
    try:
        options, arguments = parse(command.flags, words, command.stop)
        if options.help:
            return _help(command.name)
        command.check(arguments)
    except UsageError as error:
        _usage(error, command)
        return 1
    return module.main(globals_, options, arguments)


def _complete_stdio() -> None:
    """Open /dev/null for those of 0, 1 and 2 that are closed.

    The next file that is opened would get the number, and the container would write to it.
    """
    for fd in (0, 1, 2):
        try:
            posix.fstat(fd)
        except OSError as error:
            if error.errno != EBADF:
                raise
            # The lowest free number is this one, as all below are open by now.
            posix.set_inheritable(posix.open("/dev/null", posix.O_RDWR), True)


def _globals(options: Options) -> Globals:
    """Globals from the global flags; opens the log."""
    log_format = options.text("log-format")
    rootless = options.text("rootless", "auto")
    path = options.text("log")
    level = "debug" if options.on("debug") else options.text("log-level", "warning")
    if level not in ("debug", "warning", "error"):
        raise Error(f"invalid log-level: {level}: want error, warning or debug")
    cgroups = "systemd" if options.on("systemd-cgroup") else "cgroupfs"
    cgroups = options.text("cgroup-manager", cgroups)
    if cgroups not in ("cgroupfs", "systemd", "disabled"):
        raise Error(f"invalid cgroup-manager: {cgroups}: want cgroupfs, systemd or disabled")
    if log_format not in ("text", "json") and options.given("log-format"):
        raise Error(f"invalid log-format: {log_format}")
    if rootless in ("1", "t", "T", "TRUE", "True"):
        rootless = "true"
    elif rootless in ("0", "f", "F", "FALSE", "False"):
        rootless = "false"
    elif rootless not in ("auto", "true", "false"):
        raise Error(f'invalid value "{rootless}" for --rootless: want true, false or auto')
    try:
        log.setup(path or None, log_format, level)
    except OSError as error:
        raise from_os_error("open log file", error) from None
    return Globals(
        root=options.text("root"),
        log=path,
        log_format=log_format or "text",
        debug=log.debug_on,
        cgroups=cgroups,
        rootless=rootless,
    )


def _version() -> int:
    """Print versions, each on a line; docker reads the first and the one of `commit:`."""
    from pyrunc import SPEC_VERSION, __version__, made_of

    python = ".".join(str(part) for part in sys.version_info[:3])
    form = ", ".join((made_of.FORM, *made_of.LINKED))
    write(
        f"pyrunc version {__version__}\ncommit: {made_of.COMMIT or __version__}\nspec: {SPEC_VERSION}\n"
        f"build: {made_of.BUILD or 'none, from the sources'}\npython: {python}\nform: {form}\n{made_of.FEATURES}\n"
    )
    return 0


def _help(name: str, words: "Sequence[str]" = ()) -> int:
    from pyrunc import topics, usage

    if not name:
        write(usage.overview(GLOBAL_FLAGS, [load(command).COMMAND for command in COMMANDS]))
    elif name in COMMANDS:
        write(usage.command(load(name).COMMAND))
    elif name in topics.TOPICS:
        write(topics.show(name, words))
    else:
        return _unknown(name)
    return 0


def _unknown(name: str) -> int:
    from pyrunc import didyoumean

    _report(Error(f"No help topic for '{name}'", hint=didyoumean.hint(name, COMMANDS)))
    return 3


def _usage(error: UsageError, command: "Command | None") -> None:
    """What is wrong and how it is done right on standard output, the error in the log."""
    from pyrunc import usage

    try:
        write(error.banner + "\n\n")
        if log.to_people():
            pass  # what is wrong, and where to read on, is enough
        elif command is None:
            write(usage.overview(GLOBAL_FLAGS, [load(name).COMMAND for name in COMMANDS]))
        else:
            write(usage.command(command))
    except Error:
        pass  # the error below is what counts
    hint = _flag_meant(error.message, command)
    if log.to_people():
        more = f"pyrunc {command.name} --help" if command else "pyrunc --help"
        hint = f'{hint} "{more}" tells them all' if hint else f'see "{more}"'
    _report(Error(error.message, hint=hint))


def _flag_meant(message: str, command: "Command | None") -> str:
    """The hint for a flag that is not defined, "" for other faults."""
    from pyrunc import didyoumean

    word = message.removeprefix("flag provided but not defined: ").lstrip("-")
    flags = command.flags if command else GLOBAL_FLAGS
    if word == message:
        return ""
    hint = didyoumean.hint(word, [name for flag in flags if flag.help for name in flag.names], "--{}")
    if not hint and command and any(word in flag.names for flag in GLOBAL_FLAGS):
        return f'"--{word}" stands before the command: pyrunc --{word} ... {command.name}'
    return hint


def _report(error: Error) -> None:
    """The error in the log, in JSON with its parts as fields; the hint on standard error, where that is for people."""
    try:
        _tell(error)
    except OSError as lack:
        if lack.errno not in (EMFILE, ENFILE):
            raise
        _free_descriptors(lack)
        _tell(error)


def _free_descriptors(error: OSError) -> None:
    """Close what is open, but for the log, where the error is that nothing more can be opened: this process only has
    something to say, and modules to load for it."""
    if error.errno in (EMFILE, ENFILE):
        end = 1 << 16
        posix.closerange(3, log.fd)
        posix.closerange(max(log.fd, 2) + 1, end)


def _tell(error: Error) -> None:
    extra: dict[str, object] = {}
    if error.pointer:
        extra["pointer"] = error.pointer
    if error.syscall:
        extra["syscall"] = error.syscall
    if error.errno:
        extra["errno"] = error.errno
    if error.hint:
        extra["hint"] = error.hint
    log.error(error.message, extra)
    _hint(error)


def _hint(error: Error) -> None:
    """Below the error; a log in JSON has it already, and nothing but objects."""
    if error.hint and (log.fd != 2 or not log.json):
        from pyrunc import people

        color = log.to_people() and people.color_wanted()
        _stderr(people.plain("hint", error.hint, color))


def _unexpected(error: Exception, text: str, prefix: str = INTERNAL) -> None:
    """One line for what pyrunc did not foresee; where it happened goes to the log with --debug."""
    _trace(error)
    report = "; please report this, with the output of the same command under --debug" if prefix == INTERNAL else ""
    log.error(prefix + text + report)


def _trace(error: Exception) -> None:
    if log.debug_on:
        try:
            import traceback

            log.debug("".join(traceback.format_exception(error)))
        except ImportError:
            pass  # the installation is damaged


def _stderr(text: str) -> None:
    try:
        posix.write(2, text.encode("utf-8", "backslashreplace"))
    except OSError:
        pass
