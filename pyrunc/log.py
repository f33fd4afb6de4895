"""The log: logrus lines on standard error, or text or JSON lines in a file (`--log`, `--log-format`);
or messages to the journal or to syslog (`--log journald:NAME`), see logservice.py. On a terminal, where neither
`--log` nor `--log-format` is given, plain words for people, see people.py.

Engines parse this. podman reads the whole JSON log as one object and containerd takes the last line with level "error",
so at the default level nothing is written before an error, and each line is one write(2) with O_APPEND.

Import cost: posix, time.
"""

import posix
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.logservice import Service


class Log:
    """Where messages go. `path` None is standard error.

    With a file, an error also goes bare to standard error, as runc does: go-runc puts it into the text that
    engines grep.
    """

    def __init__(self) -> None:
        self.fd = 2
        self.json = False
        self.people = True
        self.debug_on = False
        self.warning_on = True
        self.service: Service | None = None

    def setup(self, path: "str | None", log_format: str, level: str) -> None:
        """Open the log.

        path: of a file, also as "file:PATH"; or journald:NAME, syslog:NAME. log_format: "text", "json", or "": text,
        but plain words on a terminal.
        level: "debug", "warning" or "error", the least that is logged.
        """
        self.json = log_format == "json"
        self.people = not path and not log_format
        self.debug_on = level == "debug"
        self.warning_on = level != "error"
        if path and path.startswith(("journald:", "syslog:")):
            from pyrunc.logservice import Service

            self.service = Service(path)
            self.fd = self.service.fd
        elif path:
            path = path.removeprefix("file:")
            flags = posix.O_WRONLY | posix.O_CREAT | posix.O_APPEND | posix.O_CLOEXEC
            self.fd = posix.open(path, flags, 0o644)

    def write(self, level: str, message: str, extra: "dict[str, object] | None" = None) -> None:
        """Write one line; a log that cannot be written is no reason to fail."""
        try:
            if self.service is not None:
                self.service.send(level, message)
                return
            line = self.format(level, message, extra)
            posix.write(self.fd, line.encode("utf-8", "backslashreplace"))
        except OSError:
            pass

    def format(self, level: str, message: str, extra: "dict[str, object] | None") -> str:
        """One line of the log, with its newline."""
        if self.to_people():
            from pyrunc import people

            return people.plain(level, message, people.color_wanted())
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        if self.json:
            from _json import encode_basestring_ascii as quote

            fields = [f'"level":"{level}"', f'"msg":{quote(message)}']
            for key, value in (extra or {}).items():
                text = str(value) if isinstance(value, int) else quote(str(value))
                fields.append(f"{quote(key)}:{text}")
            fields.append(f'"time":"{now}"')
            return "{" + ",".join(fields) + "}\n"
        return f'time="{now}" level={level} msg={go_quote(message)}\n'

    def to_people(self) -> bool:
        """Whether who reads this is a person at a terminal, and has not asked for another form."""
        return self.people and self.fd == 2 and posix.isatty(2)

    def error(self, message: str, extra: "dict[str, object] | None" = None) -> None:
        self.write("error", message, extra)
        if self.fd != 2:
            try:
                posix.write(2, message.encode("utf-8", "backslashreplace") + b"\n")
            except OSError:
                pass

    def warning(self, message: str) -> None:
        if self.warning_on:
            self.write("warning", message)

    def debug(self, message: str) -> None:
        if self.debug_on:
            self.write("debug", message)


def go_quote(text: str) -> str:
    """The text in double quotes as Go's %q writes it."""
    out = []
    for char in text:
        if char in '"\\':
            out.append("\\" + char)
        elif char == "\n":
            out.append("\\n")
        elif char == "\t":
            out.append("\\t")
        elif char == "\r":
            out.append("\\r")
        elif ord(char) < 32 or ord(char) == 127:
            out.append(f"\\x{ord(char):02x}")
        else:
            out.append(char)
    return '"' + "".join(out) + '"'


log = Log()
