"""`run` in the foreground: exit status, signals, orphans."""

import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from support import IS_ROOT, Bundle, MakeBundle, Runtime

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="needs root")


def started(runtime: Runtime, bundle: Bundle, *flags: str) -> "subprocess.Popen[bytes]":
    line = runtime.command("run", "--bundle", str(bundle.path), *flags, runtime.new_id())
    return subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)


#: Runs its arguments on a terminal of 33 rows and 77 columns, and copies what appears there.
ON_A_TERMINAL = (
    "import os, pty, sys, termios\n"
    "pid, fd = pty.fork()\n"
    "if not pid:\n"
    "    termios.tcsetwinsize(0, (33, 77))\n"
    "    os.execv(sys.argv[1], sys.argv[1:])\n"
    "while True:\n"
    "    try:\n"
    "        data = os.read(fd, 4096)\n"
    "    except OSError:\n"
    "        break\n"
    "    os.write(1, data)\n"
    "sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
)


def on_a_terminal(line: list[str]) -> "subprocess.CompletedProcess[bytes]":
    command = [sys.executable, "-c", ON_A_TERMINAL, *line]
    return subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True, timeout=30)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2, signal.SIGRTMIN + 3])
def test_signals_are_forwarded(runtime: Runtime, bundle: MakeBundle, number: int) -> None:
    script = f"trap 'exit 9' {number:d}; echo ready; while :; do sleep 0.05; done"
    with started(runtime, bundle().shell(script)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        assert process.wait(20) == 9


def test_killed_by_a_signal(runtime: Runtime, bundle: MakeBundle) -> None:
    with started(runtime, bundle().shell("echo ready; exec sleep 50")) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        runtime.call("kill", runtime.ids[-1], "KILL", check=True)
        assert process.wait(20) == 128 + signal.SIGKILL


@pytest.mark.skipif(not find_spec("_prctl"), reason="needs python-prctl")
@pytest.mark.parametrize("reaper", [True, False])
def test_orphans(runtime: Runtime, bundle: MakeBundle, reaper: bool) -> None:
    """Without a pid namespace, what outlives its parent becomes pyrunc's child."""
    spaces = [{"type": kind} for kind in ("ipc", "uts", "mount")]
    script = "(sh -c 'echo $$ >/orphan; exec sleep 30' &) ; sleep 0.5; echo ready; sleep 30"
    it = bundle({"linux": {"namespaces": spaces}}).shell(script)
    flags = [] if reaper else ["--no-subreaper"]
    with started(runtime, it, *flags) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            orphan = int((it.rootfs / "orphan").read_text())
            text = Path(f"/proc/{orphan}/stat").read_text()
            parent = int(text.rpartition(")")[2].split()[1])
            assert (parent == process.pid) == reaper
        finally:
            runtime.clean()
            process.wait(20)


def test_detached_container_outlives_pyrunc(runtime: Runtime, bundle: MakeBundle) -> None:
    it = bundle().args("/bin/sleep", "100")
    id = runtime.new_id()
    line = runtime.command("run", "--detach", "--bundle", str(it.path), id)
    subprocess.run(line, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(0.2)
    assert runtime.state(id)["status"] == "running"


def test_terminal_needs_one(runtime: Runtime, bundle: MakeBundle) -> None:
    it = bundle({"process": {"terminal": True}})
    line = runtime.command("run", "--bundle", str(it.path), runtime.new_id())
    done = subprocess.run(
        line, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True, start_new_session=True
    )
    assert done.returncode == 1
    assert "open /dev/tty: no such device or address" in done.stderr


def test_on_a_terminal(runtime: Runtime, bundle: MakeBundle) -> None:
    """The whole way, by a pty of the test's own."""
    it = bundle({"process": {"terminal": True}}).shell("tty; stty size; readlink /proc/1/fd/2; exit 3")
    line = runtime.command("run", "--bundle", str(it.path), runtime.new_id())
    done = on_a_terminal(line)
    assert done.stdout == b"/dev/pts/0\r\n33 77\r\n/dev/pts/0\r\n"
    assert done.returncode == 3


def test_terminal_without_a_mount_namespace(runtime: Runtime, bundle: MakeBundle) -> None:
    """Nothing is mounted in such a container, so the terminal is one of the host's: of `run`, and of `exec`."""
    spaces = [{"type": kind} for kind in ("pid", "ipc", "uts")]
    linux = {"namespaces": spaces, "maskedPaths": [], "readonlyPaths": []}
    it = bundle({"process": {"terminal": True}, "linux": linux})
    it.shell("test -t 0 && stty size; exit 3")
    done = on_a_terminal(runtime.command("run", "--bundle", str(it.path), runtime.new_id()))
    assert done.stdout == b"33 77\r\n"
    assert done.returncode == 3
    it.update({"process": {"terminal": False}}).args("/bin/sleep", "100")
    id = runtime.create(it)
    runtime.call("start", id, check=True)
    done = on_a_terminal(runtime.command("exec", "-t", id, "/bin/sh", "-c", "stty size; exit 4"))
    assert done.stdout == b"33 77\r\n"
    assert done.returncode == 4
