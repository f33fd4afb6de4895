"""NOTIFY_SOCKET (sd_notify(3)): a container tells the service manager that it is ready.

The service manager's socket is not the container's to reach, and it would not know the pids. So a
directory of the container's state is bound to /run/notify, with a socket in it from `start` on, and
what comes there pyrunc passes on: until the container is ready, or in the foreground all the time.
A container that ends without a word ends the waiting.

Import cost: posix, select, _socket; _thread in the foreground.
"""

import posix
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_DGRAM, socket
from select import POLLIN, poll

from pyrunc.errors import from_os_error, strerror
from pyrunc.log import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.config.types import Mount

DESTINATION = "/run/notify"
_NAME = "notify.sock"
ENVIRONMENT = f"NOTIFY_SOCKET={DESTINATION}/{_NAME}"
_LARGEST = 65536
# As with runc and crun: what else there is to say about the service (watchdog, stopping) is not the container's to say.
_PASSED_ON = b"READY=1"


def address() -> bytes:
    """The service manager's socket, as connect(2) takes it; empty where pyrunc was given none."""
    path = posix.environ.get(b"NOTIFY_SOCKET", b"")
    return b"\0" + path[1:] if path.startswith(b"@") else path


def make_directory(path: str) -> "Mount":
    """Make the directory for the socket; returns the mount that shows it to the container."""
    try:
        posix.mkdir(path, 0o755)
        posix.chmod(path, 0o755)  # whatever the umask
    except OSError as error:
        raise from_os_error("unable to make the directory for NOTIFY_SOCKET", error) from None
    return {
        "destination": DESTINATION,
        "type": "bind",
        "source": path,
        "options": ["bind", "nosuid", "noexec", "nodev", "ro"],
    }


class Proxy:
    """The container's socket, in the directory of make_directory. Raises Error.

    Where the service manager's cannot be reached, which is no reason not to run, there is none either: the
    container finds out as pyrunc has.
    """

    __slots__ = ("_manager", "_reached", "_sock")

    def __init__(self, directory: str) -> None:
        self._manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC)
        self._sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC)
        self._reached = False
        try:
            self._manager.connect(address())
        except OSError as error:
            log.warning(f"NOTIFY_SOCKET: connect: {strerror(error.errno or 0)}")
            return
        self._reached = True
        try:
            fd = posix.open(directory, posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)
            # A short name: sun_path has 108 bytes.
            short = f"/proc/self/fd/{fd}/{_NAME}"
            try:
                self._sock.bind(short)
                posix.chmod(short, 0o777)  # the process may be any user
            finally:
                posix.close(fd)
        except OSError as error:
            raise from_os_error("unable to set up NOTIFY_SOCKET", error) from None

    def until_ready(self, pid: int) -> None:
        """Pass on what the container says until it is ready, and which process that is; or until
        the process ends."""
        if self._reached:
            self._pass_on(pid, to_the_end=False)

    def in_background(self, pid: int) -> None:
        """Pass on what the container says for as long as the process lives, in a thread."""
        if not self._reached:
            return
        from _thread import start_new_thread

        start_new_thread(self._pass_on, (pid,), {"to_the_end": True})

    def _pass_on(self, pid: int, *, to_the_end: bool) -> None:
        try:
            pidfd = posix.pidfd_open(pid)
        except ProcessLookupError:
            return
        waiting = poll()
        waiting.register(self._sock, POLLIN)
        waiting.register(pidfd, POLLIN)
        try:
            while True:
                ready = {fd for fd, _ in waiting.poll()}
                # What was said last counts, even if the process has ended since.
                if self._sock.fileno() in ready:
                    lines = self._receive()
                    if b"READY=1" in lines and not to_the_end:
                        lines.append(b"MAINPID=%d" % pid)
                    if lines:
                        self._manager.send(b"\n".join(lines))
                    if b"READY=1" in lines and not to_the_end:
                        return
                elif pidfd in ready:
                    return
        except OSError as error:
            log.warning(str(from_os_error("NOTIFY_SOCKET", error)))
        finally:
            posix.close(pidfd)

    def _receive(self) -> "list[bytes]":
        return [line for line in self._sock.recv(_LARGEST).split(b"\n") if line == _PASSED_ON]
