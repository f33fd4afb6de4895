"""How a command declares its flags, and how a command line is taken apart.

The rules are those of Go's flag package and urfave/cli, which engines and scripts have come to rely
on: one dash or two, `--flag value` or `--flag=value`, `--flag=false`; flags also after the
container's id, except where what follows the id belongs to another program.

Import cost: posix. Texts of help are in the commands' modules, their layout in usage.py.
"""

import posix

from pyrunc.errors import Error, from_os_error
from pyrunc.options import absolute

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

TEXT, SWITCH, NUMBER, LIST = "text", "switch", "number", "list"

PRESERVE_FDS = "give the process N more descriptors, from 3 on (after those of $LISTEN_FDS)"
CONSOLE_SOCKET = "unix socket to send the terminal's master descriptor to"
PIDFD_SOCKET = "unix socket to send a pidfd of the process to"
PID_FILE = "file to write the process id to"
TRACE = "write the time of every step to FILE, in the Chrome trace format"


class UsageError(Error):
    """The command line is wrong. `banner` goes on standard output, before the command's help."""

    def __init__(self, message: str, banner: str = "") -> None:
        super().__init__(message)
        self.banner = banner or f"Incorrect Usage: {message}"


class Flag:
    """One flag. names: long one first, separated by ", "; kind: TEXT, SWITCH, NUMBER or LIST.

    value: how help names the value; default: for TEXT and NUMBER. A flag without help is hidden.
    """

    __slots__ = ("default", "help", "kind", "names", "value")

    def __init__(
        self,
        names: str,
        help: str,
        kind: str = TEXT,
        *,
        value: str = "value",
        default: "str | int" = "",
    ) -> None:
        self.names = names.split(", ")
        self.kind = kind
        self.help = help
        self.value = value
        self.default = default or 0 if kind == NUMBER else default


class Command:
    """The declaration of a command.

    usage: what stands after its name; least, most: how many arguments (most None: any number).
    stop: flags end at the first argument, since the rest belongs to another program.
    text: paragraphs of help, with headings.
    """

    __slots__ = ("flags", "least", "most", "name", "stop", "summary", "text", "usage")

    def __init__(
        self,
        name: str,
        summary: str,
        *,
        usage: str = "<container-id>",
        least: int = 1,
        most: "int | None" = 1,
        flags: "Sequence[Flag]" = (),
        stop: bool = False,
        text: str = "",
    ) -> None:
        self.name = name
        self.summary = summary
        self.usage = usage
        self.least = least
        self.most = most
        self.flags = flags
        self.stop = stop
        self.text = text

    def check(self, arguments: "Sequence[str]") -> None:
        """Errors: too few or too many arguments."""
        count = len(arguments)
        if self.least <= count and (self.most is None or count <= self.most):
            return
        if self.least == self.most:
            wants = f"exactly {self.least}"
        elif count < self.least:
            wants = f"a minimum of {self.least}"
        else:
            wants = f"a maximum of {self.most}"
        raise UsageError(f'pyrunc: "{self.name}" requires {wants} argument(s)', banner="Incorrect Usage.")


class Options:
    """What a command line says for each flag, by the flag's long name."""

    __slots__ = ("help", "values")

    def __init__(self) -> None:
        self.values: dict[str, str | bool | int | list[str]] = {}
        self.help = False

    def given(self, name: str) -> bool:
        """Whether the command line has the flag."""
        return name in self.values

    def text(self, name: str, default: str = "") -> str:
        """The value of a TEXT flag."""
        value = self.values.get(name, default)
        assert isinstance(value, str)
        return value

    def on(self, name: str) -> bool:
        """Whether a SWITCH is on."""
        return self.values.get(name, False) is True

    def number(self, name: str, default: int = 0) -> int:
        """The value of a NUMBER flag."""
        value = self.values.get(name, default)
        assert isinstance(value, int)
        return value

    def path(self, name: str) -> str:
        """The absolute path that a TEXT flag gives; "" without the flag."""
        value = self.text(name)
        return absolute(value) if value else ""

    def many(self, name: str) -> "list[str]":
        """The values of a LIST flag, in the order given."""
        value = self.values.get(name, [])
        assert isinstance(value, list)
        return value


HELP = Flag("help, h", "show help", SWITCH)

_TRUE = ("1", "t", "T", "true", "TRUE", "True")
_FALSE = ("0", "f", "F", "false", "FALSE", "False")


def parse(flags: "Sequence[Flag]", argv: "Sequence[str]", stop: bool) -> "tuple[Options, list[str]]":
    """Take a command line apart into options and arguments.

    stop: flags end at the first argument; otherwise only at "--". `--help` and `-h` set
    Options.help and end the parsing. Errors: UsageError, in the words of Go's flag package.
    """
    known = {name: flag for flag in flags for name in flag.names}
    options = Options()
    arguments: list[str] = []
    index = 0
    while index < len(argv):
        word = argv[index]
        index += 1
        if word == "--":
            arguments += argv[index:]
            break
        if len(word) < 2 or word[0] != "-":
            arguments.append(word)
            if stop:
                arguments += argv[index:]
                break
            continue
        name, equals, value = word[2 if word[1] == "-" else 1 :].partition("=")
        flag = known.get(name)
        if flag is None:
            if name in HELP.names:
                options.help = True
                break
            if not name or name[0] in "-=":
                raise UsageError(f"bad flag syntax: {word}")
            if arguments and name.isdecimal():
                arguments.append(word)
                continue
            raise UsageError(f"flag provided but not defined: -{name}")
        if not equals and flag.kind != SWITCH:
            if index == len(argv):
                raise UsageError(f"flag needs an argument: -{name}")
            value = argv[index]
            index += 1
        _put(options, flag, name, value if equals or flag.kind != SWITCH else "true")
    return options, arguments


def _put(options: Options, flag: Flag, name: str, value: str) -> None:
    """Enter one flag's value; the last one counts."""
    key = flag.names[0]
    if flag.kind == SWITCH:
        if value not in _TRUE and value not in _FALSE:
            raise UsageError(f'invalid boolean value "{value}" for -{name}: parse error')
        options.values[key] = value in _TRUE
    elif flag.kind == NUMBER:
        digits = value[1:] if value[:1] in ("-", "+") else value
        if not (digits.isascii() and digits.isdecimal() and len(digits) < 19):
            raise UsageError(f'invalid value "{value}" for flag -{name}: parse error')
        options.values[key] = int(value)
    elif flag.kind == LIST:
        options.values[key] = [*options.many(key), value]
    else:
        options.values[key] = value


def write(text: str) -> None:
    """Write to standard output, all of it."""
    rest = memoryview(text.encode("utf-8", "surrogateescape"))
    try:
        while rest:
            rest = rest[posix.write(1, rest) :]
    except OSError as error:
        raise from_os_error("write to standard output", error) from None
