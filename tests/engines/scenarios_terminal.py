"""Terminals, descriptors, notification and systemd inside of a container."""

import fcntl
import os
import pty
import select
import shlex
import signal
import socket
import struct
import subprocess
import tempfile
import termios
import time
from pathlib import Path

from engines.scenarios import IMAGE, PODMEN, Engine, command, expect, scenario, until

# The host's programs inside of a container: image and host are of one machine.
HOST_TOOLS = ("-v", "/usr:/usr:ro", "-v", "/usr/lib:/lib:ro", "-v", "/usr/lib64:/lib64:ro")


class Terminal:
    """An engine's command on a terminal that the scenario holds."""

    def __init__(self, e: Engine, *words: str, rows: int = 24, columns: int = 80) -> None:
        self.seen = ""
        self.master, slave = pty.openpty()
        self.size(rows, columns)
        line = [*e.base, *words]
        if e.prefix:  # a service has no terminal of ours: script makes one, which follows ours
            line = [*e.prefix, "script", "-qec", shlex.join(line), "/dev/null"]
        self.process = subprocess.Popen(
            line, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(slave)

    def size(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def read(self, wanted: str, seconds: float = 30.0) -> str:
        """What came up to and with `wanted`, which has to come."""
        deadline = time.monotonic() + seconds
        while wanted not in self.seen:
            ready, _, _ = select.select([self.master], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                break
            try:
                self.seen += os.read(self.master, 65536).decode("utf-8", "replace")
            except OSError:
                break
        expect(wanted in self.seen, f"not on the terminal: {wanted!r} in {self.seen!r}")
        end = self.seen.index(wanted) + len(wanted)
        text, self.seen = self.seen[:end], self.seen[end:]
        return text

    def end(self) -> int:
        """Wait for the command and give its status."""
        try:
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            os.close(self.master)


@scenario("podman", "docker")
def terminal_size(e: Engine) -> None:
    """A terminal has its size at the start, and follows the caller's."""
    terminal = Terminal(e, "run", "--rm", "-it", *e.run_flags, IMAGE, "/bin/sh", rows=33, columns=101)
    until_size(terminal, "33 101")
    terminal.size(44, 111)
    until_size(terminal, "44 111")
    terminal.type("exit 5\n")
    expect(terminal.end() == 5, "the shell's status")


def until_size(terminal: Terminal, size: str) -> None:
    """The engine sets the size some time after the start."""
    for attempt in range(50):
        terminal.type(f"echo size{attempt} $(stty size) end; true\n")
        if size in terminal.read(f"size{attempt} ") + terminal.read(" end\r\n"):
            return
        time.sleep(0.1)
        # docker's client listens to the signal only when it has set the first size, and forgets what came before.
        terminal.process.send_signal(signal.SIGWINCH)
    expect(False, f"the size never was {size}")


@scenario("podman", "docker")
def terminal_size_exec(e: Engine) -> None:
    name = e.start("/bin/sleep", "60")
    terminal = Terminal(e, "exec", "-it", name, "/bin/sh", rows=35, columns=103)
    until_size(terminal, "35 103")
    terminal.size(46, 113)
    until_size(terminal, "46 113")
    terminal.type("exit 6\n")
    expect(terminal.end() == 6, "the shell's status")


@scenario("podman", "docker")
def terminal_keys(e: Engine) -> None:
    """An interrupt from the keyboard reaches the foreground program; detaching leaves it running."""
    name = e.start("/bin/sh", flags=["-it"])
    terminal = Terminal(e, "attach", name)
    terminal.type("cat\n")
    terminal.read("cat")
    time.sleep(0.5)
    terminal.type("\x03")
    time.sleep(0.5)
    terminal.type("echo after $((40+2))\n")
    terminal.read("after 42")
    for key in "\x10\x11":  # one at a time, as podman expects it from a keyboard
        time.sleep(0.5)
        terminal.type(key)
    terminal.end()
    expect(e.inspect(name)["State"]["Running"], "runs on after detaching")


@scenario(*PODMEN)
def preserve_fds(e: Engine) -> None:
    """Descriptors of podman's caller reach the container, and exec."""
    with tempfile.TemporaryDirectory() as where:
        os.chmod(where, 0o777)
        Path(where, "in").write_text("through a descriptor\n")
        Path(where, "in").chmod(0o666)
        script = f"exec 3<{where}/in 4<{where}/in; " + shlex.join(
            [*e.base, "run", "--rm", "--network", "none", "--preserve-fds", "2", IMAGE, "/bin/sh", "-c",
             "cat <&3; cat <&4; ls /proc/self/fd | wc -l"]
        )  # fmt: skip
        answer = command(*e.prefix, "sh", "-c", script)
        expect(answer.out.startswith("through a descriptor\n" * 2), answer)
        name = e.start("/bin/sleep", "60")
        script = f"exec 3<{where}/in; " + shlex.join(
            [*e.base, "exec", "--preserve-fds", "1", name, "/bin/cat", "/proc/self/fd/3"]
        )
        answer = command(*e.prefix, "sh", "-c", script)
        expect(answer.out == "through a descriptor\n", answer)


@scenario("podman")
def listen_fds(e: Engine) -> None:
    """Socket activation: the container gets systemd's sockets as LISTEN_FDS says."""
    with tempfile.TemporaryDirectory() as where:
        script = "echo $LISTEN_FDS $LISTEN_PID; ls -l /proc/self/fd/3 | grep -c socket"
        line = ["systemd-socket-activate", "-l", f"{where}/socket", "--", *e.base, "run", "--rm", "--network", "none",
                IMAGE, "/bin/sh", "-c", script]  # fmt: skip
        with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            until(lambda: os.path.exists(f"{where}/socket"), "the socket is there")
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(f"{where}/socket")
                out, err = process.communicate(timeout=60)
        expect(out == "1 1\n1\n", out + err)


@scenario("podman")
def notify(e: Engine) -> None:
    """NOTIFY_SOCKET: readiness from the container, or from conmon once it runs."""
    for mode, words in (
        ("container", ["/usr/bin/systemd-notify", "--ready", "--status=from inside"]),
        ("conmon", ["/bin/sleep", "1"]),
    ):
        with tempfile.TemporaryDirectory() as where, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
            server.bind(f"{where}/notify")
            os.chmod(f"{where}/notify", 0o777)
            server.settimeout(30)
            line = [*e.base, "run", "--rm", "--network", "none", "--sdnotify", mode, *HOST_TOOLS, IMAGE, *words]
            environment = {**os.environ, "NOTIFY_SOCKET": f"{where}/notify"}
            with subprocess.Popen(line, env=environment, stderr=subprocess.PIPE, text=True) as process:
                said = ""
                try:
                    while "READY=1" not in said:
                        said += server.recv(4096).decode() + "\n"
                except TimeoutError:
                    pass
                process.wait(60)
                error = process.stderr.read() if process.stderr else ""
            expect("READY=1" in said and "MAINPID=" in said, f"{mode}: {said} {error}")


@scenario("podman")
def systemd_inside(e: Engine) -> None:
    """systemd as a container's first process boots, and ends when it is told to."""
    tail = ("/etc/systemd/system/vm-job.service", "/etc/systemd/system/multi-user.target.wants/vm-job.service")
    mask = [word for path in tail for word in ("-v", f"/dev/null:{path}")]
    name = "systemd-inside"
    e.kept.append(name)
    e.call(
        "run", "-d", "--name", name, "--network", "none", "--systemd", "always", *mask, "--rootfs", "/:O",
        "/usr/lib/systemd/systemd", "--unit=basic.target",
    )  # fmt: skip
    until(lambda: e.exec(name, "systemctl is-active basic.target", status=None).out.strip() == "active", "booted", 60)
    out = e.exec(name, "cat /proc/1/comm; systemctl show -p ControlGroup init.scope; cat /proc/self/cgroup").out
    expect(out.startswith("systemd\nControlGroup=/init.scope\n0::/"), out)
    expect(e.exec(name, "systemd-run --wait -q -p MemoryMax=64M true; echo $?").out == "0\n", "a transient unit")
    e.call("stop", "-t", "30", name, timeout=60)
    expect(e.inspect(name)["State"]["ExitCode"] in (0, 130), e.inspect(name)["State"])
