"""The caller's terminal and the container's (tty_ioctl(4), pty(7)), for `run` and `exec -t`.

What is typed goes to the pty's master as it is: the caller's terminal is raw while the process
runs, but for the processing of output, which the container's side leaves to it (a newline in the
container stays one byte).

    standard input ──► master        master ──► standard output        SIGWINCH: the size

Import cost: posix, select, termios, _signal.
"""

import posix
import termios
from errno import EAGAIN, EIO, EPIPE
from select import POLLIN, POLLOUT, poll

from pyrunc.errors import Error, from_os_error
from pyrunc.foreground.wait import forward, reap_until
from pyrunc.kernel.signals import SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGWINCH
from pyrunc.log import log
from pyrunc.machine.session import SIGNALS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from signal import SIG_BLOCK, SIG_UNBLOCK, pthread_sigmask, set_wakeup_fd, signal
    from typing import Any
else:
    from _signal import SIG_BLOCK, SIG_UNBLOCK, pthread_sigmask, set_wakeup_fd, signal


# Not handled: what cannot be, what says that pyrunc itself is at fault, SIGPIPE (ignored: a write
# tells), and what stops a job that uses its terminal from the background, as any other.
_LEFT = (4, 5, 7, 8, 9, 11, 13, 19, 21, 22, 31)
_HANDLED = tuple(number for number in SIGNALS if number not in _LEFT)
_JOB_CONTROL = (21, 22)  # SIGTTIN, SIGTTOU

BLOCK = 4096  # a pipe that polls writable takes as much without blocking
# What a pty can hold of a process's last words, and more: whoever else writes does not keep pyrunc.
_LAST_WORDS = 1 << 18


def check_terminal() -> None:
    """Raise Error where the caller has no terminal: `open /dev/tty: no such device or address`."""
    fd = _callers_terminal()
    if fd > 2:
        posix.close(fd)


def adopt(master: int, *, sized: bool) -> None:
    """Prepare a new pty by its master: newlines are left alone, and the size is that of the
    caller's terminal, unless the pty is `sized`.
    """
    attributes = termios.tcgetattr(master)
    attributes[1] &= ~termios.ONLCR
    termios.tcsetattr(master, termios.TCSANOW, attributes)
    if not sized:
        resize(master)


def resize(master: int) -> None:
    """Give the pty the size of the caller's terminal. A terminal that is gone has none."""
    try:
        fd = _callers_terminal()
    except Error:
        return
    try:
        termios.tcsetwinsize(master, termios.tcgetwinsize(fd))
    except termios.error:
        pass
    finally:
        if fd > 2:
            posix.close(fd)


def relay(master: int, pid: int) -> int:
    """Pass the terminal and signals on until the child `pid` ends; its exit status as of attend().

    master: closed in the end. Signals have to be blocked (attend.block_signals), and are so again
    afterwards. What the process wrote last is still passed on; what others write to its terminal
    then is not waited for.
    """
    relay = _Relay(master, pid)
    try:
        relay.begin()
        return relay.run()
    finally:
        relay.end()


def _callers_terminal() -> int:
    """A descriptor of it: a standard one, or else /dev/tty, to be closed. Raises Error."""
    for fd in (2, 1, 0):
        if posix.isatty(fd):
            return fd
    try:
        return posix.open("/dev/tty", posix.O_RDWR | posix.O_NOCTTY | posix.O_CLOEXEC)
    except OSError as error:
        raise from_os_error("open", error) from None


class _Relay:
    """State of a relay. out: read from the master, not yet written; typed: the other way round."""

    def __init__(self, master: int, pid: int) -> None:
        self.master = master
        self.pid = pid
        self.out = b""
        self.typed = b""
        self.stdin = True
        self.saved: Any = None
        self.handlers: list[tuple[int, Any]] = []
        self.wakeup = -1
        self.notify = -1
        self.previous = -1
        self.poll = poll()
        self.watched: dict[int, int] = {}

    def begin(self) -> None:
        posix.set_blocking(self.master, False)
        # Python's handler writes a signal's number into this pipe, so that poll(2) can wait for it.
        self.wakeup, self.notify = posix.pipe2(posix.O_CLOEXEC | posix.O_NONBLOCK)
        self.previous = set_wakeup_fd(self.notify, warn_on_full_buffer=False)
        for number in _HANDLED:
            self.handlers.append((number, signal(number, _ignore)))
        pthread_sigmask(SIG_UNBLOCK, (*_HANDLED, *_JOB_CONTROL))
        self._raw()

    def end(self) -> None:
        self._hang_up()
        if self.saved is not None:
            # From the background this would stop pyrunc at its very end.
            pthread_sigmask(SIG_BLOCK, _JOB_CONTROL)
            try:
                termios.tcsetattr(0, termios.TCSANOW, self.saved)
            except termios.error:
                pass
        pthread_sigmask(SIG_BLOCK, (*_HANDLED, *_JOB_CONTROL))
        for number, handler in self.handlers:
            signal(number, handler)
        if self.wakeup >= 0:
            set_wakeup_fd(self.previous)
            posix.close(self.wakeup)
            posix.close(self.notify)

    def run(self) -> int:
        code = reap_until(self.pid)
        while code is None:
            for fd in self._wait():
                if fd == self.wakeup:
                    code = self._signals()
                elif fd == self.master:
                    self._exchange()
                elif fd == 0:
                    self._read_typed()
                elif fd == 1 and self.out:
                    self._write_out()
        self._drain()
        return code

    def _wait(self) -> "list[int]":
        """Wait until something can go on; the descriptors that can.

        What cannot be passed on is not read, and what is not wanted is not polled: a hang-up would
        be reported for ever.
        """
        wanted = {self.wakeup: POLLIN}
        if self.master >= 0:
            events = (0 if self.out else POLLIN) | (POLLOUT if self.typed else 0)
            if events:
                wanted[self.master] = events
            if self.stdin and not self.typed:
                wanted[0] = POLLIN
        if self.out:
            wanted[1] = POLLOUT
        for fd in self.watched.keys() - wanted.keys():
            self.poll.unregister(fd)
        for fd, events in wanted.items():
            if self.watched.get(fd) != events:
                self.poll.register(fd, events)
        self.watched = wanted
        return [fd for fd, _ in self.poll.poll()]

    def _signals(self) -> "int | None":
        """Handle the signals that have come; the exit status, if the process has ended."""
        code = None
        for number in _read(self.wakeup, BLOCK) or b"":
            if number == SIGCHLD:
                ended = reap_until(self.pid)
                code = ended if code is None else code
            elif number == SIGWINCH:
                if self.master >= 0:
                    resize(self.master)
            else:
                if number == SIGCONT and self.saved is not None:
                    self._raw()  # a shell has set the terminal to its liking meanwhile
                if code is None:
                    forward(self.pid, number)
        return code

    def _exchange(self) -> None:
        """The master can be read, or written to."""
        if self.typed:
            try:
                self.typed = self.typed[posix.write(self.master, self.typed) :]
            except BlockingIOError:
                pass
            except OSError as error:
                if error.errno != EIO:  # nobody has the terminal open
                    raise
                self.typed = b""
        if not self.out:
            data = _read(self.master, BLOCK)
            if data == b"":
                self._hang_up()
            self.out = data or b""

    def _read_typed(self) -> None:
        data = _read(0, BLOCK)
        if data == b"":
            self.stdin = False
        self.typed = data or b""

    def _write_out(self) -> None:
        try:
            self.out = self.out[posix.write(1, self.out) :]
        except BlockingIOError:
            pass
        except OSError as error:
            # Whoever read the output is gone. The process learns it as from any terminal: SIGHUP.
            if error.errno not in (EPIPE, EIO):
                log.warning(str(from_os_error("write to standard output", error)))
            self.out = b""
            self._hang_up()

    def _drain(self) -> None:
        """Pass on what the process has left behind; a signal to end stops that."""
        left = _LAST_WORDS
        while self.out or self.master >= 0:
            if not self.out:
                data = _read(self.master, BLOCK)
                left -= len(data or b"")
                if not data or left < 0:
                    self._hang_up()
                self.out = data or b""
                continue
            waiting = poll()
            waiting.register(1, POLLOUT)
            waiting.register(self.wakeup, POLLIN)
            ready = [fd for fd, _ in waiting.poll()]
            if self.wakeup in ready:
                for number in _read(self.wakeup, BLOCK) or b"":
                    if number in (SIGHUP, SIGINT, SIGQUIT, SIGTERM):
                        return
            if 1 in ready:
                self._write_out()

    def _hang_up(self) -> None:
        if self.master >= 0:
            posix.close(self.master)
            # The next file would get the number, and what poll() knows of it.
            if self.watched.pop(self.master, 0):
                self.poll.unregister(self.master)
            self.master = -1

    def _raw(self) -> None:
        """Make the caller's terminal raw, where it is what is typed on."""
        if not posix.isatty(0):
            return
        attributes = termios.tcgetattr(0)
        if self.saved is None:
            self.saved = [*attributes[:6], list(attributes[6])]
        attributes[0] &= ~(
            termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP
            | termios.INLCR | termios.IGNCR | termios.ICRNL | termios.IXON
        )  # fmt: skip
        attributes[2] = attributes[2] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
        attributes[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
        attributes[6][termios.VMIN] = 1
        attributes[6][termios.VTIME] = 0
        termios.tcsetattr(0, termios.TCSANOW, attributes)


def _read(fd: int, most: int) -> "bytes | None":
    """What can be read; None where nothing can just now, b"" at the end or after a hang-up."""
    try:
        return posix.read(fd, most)
    except OSError as error:
        return None if error.errno == EAGAIN else b""


def _ignore(number: int, frame: object) -> None:
    """A signal's number has been written to the pipe; that is all."""
