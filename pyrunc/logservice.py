"""The log as messages to systemd's journal or to syslog: `--log journald:NAME`, `--log syslog:NAME`.

Both are datagrams to a unix socket. Import cost: _socket, _struct, posix; nothing of it where the log is a file.
"""

import posix
from _socket import AF_UNIX, SOCK_DGRAM, socket
from _struct import pack

JOURNAL = "/run/systemd/journal/socket"
SYSLOG = "/dev/log"

# syslog(3): severities, and the facility LOG_DAEMON.
SEVERITY = {"debug": 7, "info": 6, "warning": 4, "error": 3}
DAEMON = 3 << 3


class Service:
    """A service that takes messages. destination: "journald:NAME" or "syslog:NAME"; the name is the
    identifier that messages carry, by default pyrunc. fd: the socket, which closes with the process.

    Errors: OSError, nobody listens.
    """

    def __init__(self, destination: str) -> None:
        kind, _, name = destination.partition(":")
        self.journal = kind == "journald"
        self.name = name or "pyrunc"
        path = JOURNAL if self.journal else SYSLOG
        self.socket = socket(AF_UNIX, SOCK_DGRAM)
        try:
            self.socket.connect(path)
        except OSError as error:
            error.filename = path
            raise
        self.fd = self.socket.fileno()

    def send(self, level: str, message: str) -> None:
        """Send one message. Errors: OSError."""
        posix.write(self.fd, self.message(level, message))

    def message(self, level: str, message: str) -> bytes:
        """A message as its service wants it: the journal's native protocol, or RFC 3164's."""
        text = message.encode("utf-8", "backslashreplace")
        name = self.name.encode("utf-8", "surrogateescape")
        severity = SEVERITY[level]
        if not self.journal:
            return b"<%d>%s[%d]: %s" % (DAEMON | severity, name, posix.getpid(), text)
        # With its length, a value may have more than one line.
        return b"PRIORITY=%d\nSYSLOG_IDENTIFIER=%s\nMESSAGE\n%s%s\n" % (
            severity,
            name.replace(b"\n", b" "),
            pack("<Q", len(text)),
            text,
        )
