"""The relay between the caller's terminal and a process's: without root, on two ptys."""

import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import ROOT

LIMIT = 20.0

#: What `run` does with a terminal, for the shell script argv[1] in place of a container.
DRIVER = f"""
import os, signal, sys
sys.path.insert(0, {str(ROOT)!r})
from pyrunc.foreground import wait, terminal
before = os.listdir("/proc/self/fd")
master, slave = os.openpty()
terminal.adopt(master, sized=len(sys.argv) > 2)
old = wait.block_signals()
pid = os.fork()
if not pid:
    os.login_tty(slave)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in (signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    os.execv("/bin/sh", ["sh", "-c", sys.argv[1]])
os.close(slave)
code = wait.attend(pid, master)
blocked = signal.pthread_sigmask(signal.SIG_SETMASK, old)
assert signal.SIGTERM in blocked
assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
assert signal.set_wakeup_fd(-1) == -1
assert os.listdir("/proc/self/fd") == before, os.listdir("/proc/self/fd")
usage = os.times()
sys.stderr.write(f"<code={{code}} cpu={{usage.user + usage.system:.2f}}>")
sys.exit(0)
"""


class Outer:
    """A terminal of 33 rows and 77 columns with a program on it."""

    def __init__(self, command: list[str]) -> None:
        self.pid, self.fd = pty.fork()
        if not self.pid:
            # The size is set before anything can ask for it.
            termios.tcsetwinsize(0, (33, 77))
            os.execvp(command[0], command)
        self.output = b""
        self.status: int | None = None

    def read(self, wanted: bytes = b"") -> bytes:
        """All output until `wanted` has come, or to the end."""
        deadline = time.monotonic() + LIMIT
        while not wanted or wanted not in self.output:
            ready = select.select([self.fd], [], [], max(0, deadline - time.monotonic()))[0]
            assert ready, f"no {wanted!r} within {LIMIT} s: {self.output!r}"
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                break
            if not data:
                break
            self.output += data
        assert wanted in self.output, self.output
        return self.output

    def type(self, text: bytes) -> None:
        os.write(self.fd, text)

    def local_modes(self) -> int:
        modes: int = termios.tcgetattr(self.fd)[3]
        return modes

    def end(self) -> int:
        """Wait for the end; the exit status."""
        if self.status is None:
            self.read()
            self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.status

    def close(self) -> None:
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)


@pytest.fixture
def outers() -> Iterator[list[Outer]]:
    made: list[Outer] = []
    yield made
    for outer in made:
        outer.close()


def start(outers: list[Outer], script: str, *, shell: str = "", sized: bool = False) -> Outer:
    """The driver on a terminal. shell: the command line around it, with `$D` in its place."""
    driver = [sys.executable, "-c", DRIVER, script, *(["sized"] if sized else [])]
    if shell:
        quoted = shell.replace("$D", '"$@"')
        command = ["/bin/sh", "-c", quoted, "sh", *driver]
    else:
        command = driver
    outer = Outer(command)
    outers.append(outer)
    return outer


def test_typed_text_reaches_the_process_and_its_output_the_terminal(outers: list[Outer]) -> None:
    outer = start(outers, "echo ready; read x; echo got=$x; exit 7")
    outer.read(b"ready")
    outer.type(b"hello\r")
    assert b"got=hello\r\n" in outer.read()
    assert b"<code=7" in outer.output
    assert outer.end() == 0


def test_terminal_is_raw_meanwhile_and_restored_afterwards(outers: list[Outer]) -> None:
    outer = start(outers, "echo ready; read x; exit 0", shell="$D; echo over; read x")
    before = outer.local_modes()
    assert before & termios.ICANON
    outer.read(b"ready")
    assert not outer.local_modes() & (termios.ICANON | termios.ECHO | termios.ISIG)
    outer.type(b"\r")
    outer.read(b"over")
    assert outer.local_modes() == before
    outer.type(b"\n")
    assert outer.end() == 0


def test_terminal_is_restored_when_the_process_is_killed(outers: list[Outer]) -> None:
    outer = start(outers, "echo ready; kill -9 $$", shell="$D; echo over; read x")
    outer.read(b"over")
    assert outer.local_modes() & termios.ICANON
    assert b"<code=137" in outer.output
    outer.type(b"\n")
    outer.end()


def test_control_c_is_typed_and_does_not_end_the_relay(outers: list[Outer]) -> None:
    outer = start(outers, "trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 0.1; done")
    outer.read(b"ready")
    outer.type(b"\x03")
    outer.read(b"caught")
    outer.end()
    assert b"<code=5" in outer.output


def test_size_is_the_terminals_and_follows_it(outers: list[Outer]) -> None:
    outer = start(outers, "trap 'stty size; exit 0' WINCH; stty size; while :; do sleep 0.1; done")
    outer.read(b"33 77")
    termios.tcsetwinsize(outer.fd, (12, 34))  # the kernel sends SIGWINCH
    outer.read(b"12 34")
    outer.end()


def test_size_that_is_set_stays(outers: list[Outer]) -> None:
    outer = start(outers, "stty size", sized=True)
    assert b"0 0" in outer.read()


def test_newline_stays_one_byte(outers: list[Outer], tmp_path: Path) -> None:
    output = tmp_path / "output"
    outer = start(outers, "printf 'a\\nb\\n'", shell=f"$D >{output}")
    outer.end()
    assert output.read_bytes() == b"a\nb\n"


def test_signals_are_forwarded(outers: list[Outer]) -> None:
    outer = start(outers, "trap 'echo usr1; exit 3' USR1; echo ready; while :; do sleep 0.1; done")
    outer.read(b"ready")
    os.kill(outer.pid, signal.SIGUSR1)
    outer.read(b"<code=3")


def test_standard_input_at_its_end_costs_nothing(outers: list[Outer]) -> None:
    outer = start(outers, "sleep 1.5; echo done", shell="$D </dev/null")
    outer.read()
    assert b"done" in outer.output
    cpu = float(outer.output.partition(b"cpu=")[2].partition(b">")[0])
    assert cpu < 1.0, "a busy loop"


def test_standard_input_that_is_no_terminal(outers: list[Outer]) -> None:
    outer = start(outers, "read x; echo got=$x; stty size", shell="echo piped | $D")
    assert b"got=piped" in outer.read()
    assert b"33 77" in outer.output


def test_closed_standard_input(outers: list[Outer]) -> None:
    outer = start(outers, "echo done", shell="$D <&-")
    assert b"done" in outer.read()


def test_output_is_drained_after_the_end(outers: list[Outer]) -> None:
    """Everything arrives, though the reader is slow and the process long gone."""
    script = "i=0; while [ $i -lt 2000 ]; do echo line-$i-xxxxxxxxxxxxxxxxxxxxxxxxx; i=$((i+1)); done"
    outer = start(outers, script, shell="$D 2>/dev/null | { sleep 1; cat; }")
    lines = [line for line in outer.read().split(b"\r\n") if line.startswith(b"line-")]
    assert lines == [b"line-%d-xxxxxxxxxxxxxxxxxxxxxxxxx" % i for i in range(2000)]


def test_large_input_is_not_lost(outers: list[Outer], tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.write_bytes(b"".join(b"%07d\n" % i for i in range(20_000)))
    script = "stty raw -echo; echo ready; head -c 160000 | cksum"
    outer = start(outers, script, shell=f"{{ sleep 1; cat {data}; sleep 60; }} | $D; kill 0")
    want = subprocess.run(["cksum"], stdin=data.open("rb"), capture_output=True, check=True)
    outer.read(want.stdout.split()[0])


def test_others_that_keep_the_terminal_do_not_keep_the_relay(outers: list[Outer]) -> None:
    outer = start(outers, "trap '' HUP; sleep 30 & echo leader; exit 4")
    began = time.monotonic()
    outer.read(b"<code=4")
    assert time.monotonic() - began < 15
    assert b"leader" in outer.output


def test_reader_that_is_gone_hangs_the_terminal_up(outers: list[Outer], tmp_path: Path) -> None:
    code = tmp_path / "code"
    script = "i=0; while :; do i=$((i+1)); echo $i; done"
    outer = start(outers, script, shell=f"$D 2>{code} | head -n 2")
    outer.end()
    assert b"1\r\n2\r\n" in outer.output
    assert code.read_text().startswith("<code=129 ")


def test_no_terminal_at_all(tmp_path: Path) -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from pyrunc.foreground.terminal import check_terminal\n"
        "check_terminal()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        start_new_session=True,
    )
    assert done.returncode == 1
    assert "open /dev/tty: no such device or address" in done.stderr
