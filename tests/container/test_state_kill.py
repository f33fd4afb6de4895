"""kill, delete, pause, resume and ps on containers that are plain processes with a state."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pyrunc import cli
from pyrunc.cgroups import detect
from pyrunc.container import ps
from pyrunc.errors import Error
from pyrunc.kernel.signals import parse_signal
from pyrunc.state import processes
from pyrunc.state.state import State
from pyrunc.state.store import Store
from support import ROOT, unique_id

PROGRAM = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from pyrunc.cli import main
sys.exit(main())
"""

PRIVATE = {"ociVersion": "1.3.0", "linux": {"namespaces": [{"type": "pid"}]}}
SHARED = {"ociVersion": "1.3.0", "linux": {"namespaces": [{"type": "mount"}]}}


class Box:
    """A state directory with containers that are plain processes."""

    def __init__(self, root: str) -> None:
        self.store = Store(root)
        self.started: list[subprocess.Popen[bytes]] = []

    def spawn(self, *args: str) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(args or ("sleep", "100"), stdout=subprocess.PIPE)
        self.started.append(process)
        return process

    def put(
        self,
        id: str = "a",
        hint: str = "started",
        process: "subprocess.Popen[bytes] | None" = None,
        config: dict[str, Any] = PRIVATE,
        **fields: Any,
    ) -> State:
        with self.store.create(id):
            state = State(id, bundle="/", rootfs="/", config=config, status_hint=hint, **fields)
            if process is not None:
                state.set_process(process.pid)
            self.store.save(state)
        return state

    def call(self, *words: str) -> int:
        return cli.main(["--root", self.store.root, *words])

    def ids(self) -> list[str]:
        return sorted(os.listdir(self.store.root))


@pytest.fixture
def box(root_dir: Path) -> Iterator[Box]:
    it = Box(str(root_dir / "state"))
    yield it
    for process in it.started:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def ended_by(process: "subprocess.Popen[bytes]") -> int:
    return -process.wait(timeout=5)


# -- signals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("KILL", 9),
        ("SIGKILL", 9),
        ("kill", 9),
        ("sigkill", 9),
        ("9", 9),
        ("0", 0),
        ("64", 64),
        ("TERM", 15),
        ("USR1", 10),
        ("CLD", 17),
        ("SYS", 31),
        ("RTMIN", 34),
        ("RTMIN+0", 34),
        ("SIGRTMIN+3", 37),
        ("RTMAX", 64),
        ("rtmax-14", 50),
    ],
)
def test_signals(text: str, number: int) -> None:
    assert parse_signal(text) == number


def test_signals_are_numbered_as_the_kernel_does() -> None:
    for known in signal.Signals:
        assert parse_signal(known.name) == known


@pytest.mark.parametrize(
    "text",
    *[
        [
            *("", "FOO", "SIG", "SIGSIGKILL", "65", "-9", "1000", "9 ", "\u0669", "1_0"),
            *("RTMIN+", "RTMIN-1", "RTMIN+31", "RTMAX+1", "RTMAX-31", "RTMIN3", "RTMIN+ 1"),
        ]
    ],
)
def test_unknown_signals(text: str) -> None:
    with pytest.raises(Error) as caught:
        parse_signal(text)
    assert str(caught.value) == f'unknown signal "{text}"'


# -- kill --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "number"), [([], 15), (["KILL"], 9), (["SIGUSR1"], 10), (["2"], 2), (["RTMIN+5"], 39)]
)
@pytest.mark.parametrize("hint", ["created", "started"])
def test_kill(words: list[str], number: int, hint: str, box: Box) -> None:
    process = box.spawn()
    box.put(hint=hint, process=process)
    assert box.call("kill", "a", *words) == 0
    assert ended_by(process) == number


def test_signal_0_and_unknown_ones_do_nothing(box: Box, capfd: pytest.CaptureFixture[str]) -> None:
    process = box.spawn()
    box.put(process=process)
    assert box.call("state", "a") == 0
    before = capfd.readouterr().out
    assert box.call("kill", "a", "0") == 0
    assert box.call("kill", "a", "FOO") == 1
    assert 'unknown signal \\"FOO\\"' in capfd.readouterr().err
    assert box.call("state", "a") == 0
    assert capfd.readouterr().out == before
    assert process.poll() is None


@pytest.mark.parametrize("zombie", [True, False])
@pytest.mark.parametrize("config", [PRIVATE, SHARED])
def test_kill_of_a_stopped_container(
    zombie: bool, config: dict[str, Any], box: Box, capfd: pytest.CaptureFixture[str]
) -> None:
    process = box.spawn()
    box.put(process=process, config=config)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    if not zombie:
        process.wait()
    assert box.call("kill", "a", "TERM") == 1
    assert box.call("kill", "a", "9") == 1
    err = capfd.readouterr().err
    assert err.count('msg="container not running"') == 2
    assert box.call("kill", "--all", "a", "9") == 0
    assert box.call("kill", "a", "15", "-a") == 0
    assert capfd.readouterr() == ("", "")


def test_number_that_is_now_another_process(box: Box, capfd: pytest.CaptureFixture[str]) -> None:
    process = box.spawn()
    state = box.put(process=process)
    state.pid_start -= 1
    box.store.save(state)
    assert box.call("kill", "a", "KILL") == 1
    assert "container not running" in capfd.readouterr().err
    assert box.call("delete", "--force", "a") == 0
    assert process.poll() is None


def test_all_without_a_cgroup_reaches_descendants(box: Box) -> None:
    process = box.spawn("sh", "-c", "sleep 100 & echo $!; wait")
    assert process.stdout is not None
    child = int(process.stdout.readline())
    box.put(process=process, config=SHARED)
    pidfd = os.pidfd_open(child)
    assert box.call("kill", "--all", "a", "KILL") == 0
    assert ended_by(process) == 9
    assert processes.await_end(pidfd, 5)
    os.close(pidfd)


# -- delete ------------------------------------------------------------------------------------


def test_delete_of_a_stopped_container(box: Box) -> None:
    process = box.spawn()
    box.put(process=process)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert box.call("delete", "a") == 0
    assert box.ids() == []


def test_delete_of_a_created_container(box: Box) -> None:
    process = box.spawn()
    box.put(hint="created", process=process)
    assert box.call("delete", "a") == 0
    assert ended_by(process) == 9
    assert box.ids() == []


def test_delete_of_a_running_container(box: Box, capfd: pytest.CaptureFixture[str]) -> None:
    process = box.spawn()
    box.put("x", process=process)
    assert box.call("delete", "x") == 1
    assert "cannot delete container x that is not stopped: running" in capfd.readouterr().err
    assert process.poll() is None
    assert box.call("delete", "x", "--force") == 0
    assert ended_by(process) == 9
    assert box.ids() == []


@pytest.mark.parametrize("force", [True, False])
def test_delete_waits_for_the_end(force: bool, box: Box) -> None:
    """A process that takes its time to die of KILL is dead when delete returns."""
    process = box.spawn()
    box.put(hint="created", process=process)
    assert box.call("delete", *(["-f"] if force else []), "a") == 0
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    assert fields[0] == "Z"


def test_half_created_container(box: Box) -> None:
    process = box.spawn()
    box.put(hint="creating", process=process)
    assert box.store.load("a").status() == "creating"
    assert box.call("delete", "--force", "a") == 0
    assert ended_by(process) == 9
    assert box.ids() == []


@pytest.mark.parametrize("force", [["--force"], []])
def test_bare_directory(force: list[str], box: Box) -> None:
    box.put("other")
    os.mkdir(box.store.path("a"))
    assert box.call("delete", *force, "a") == 0
    assert box.ids() == ["other"]


def test_delete_waits_for_a_create_under_way(box: Box) -> None:
    lock = box.store.create("a")
    deleter = box.spawn(sys.executable, "-c", PROGRAM, "--root", box.store.root, "delete", "-f", "a")
    time.sleep(0.3)
    assert deleter.poll() is None
    assert box.ids() == ["a"]
    lock.release()
    assert deleter.wait(timeout=10) == 0
    assert box.ids() == []


def hooks_config(*scripts: str) -> dict[str, Any]:
    hooks = [{"path": "/bin/sh", "args": ["sh", "-c", script]} for script in scripts]
    return {**PRIVATE, "hooks": {"poststop": hooks}}


def test_poststop_hooks(box: Box, tmp_path: Path) -> None:
    config = hooks_config(f"cat >{tmp_path}/state", f"echo 2 >{tmp_path}/second")
    box.put(config=config)
    assert box.call("delete", "a") == 0
    state = json.loads((tmp_path / "state").read_text())
    assert (state["id"], state["status"], state["bundle"]) == ("a", "stopped", "/")
    assert "pid" not in state
    assert (tmp_path / "second").exists()


def test_failing_poststop_hook(box: Box, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """runtime.md, step 13: a warning; the remaining hooks and the life cycle go on as if it had succeeded."""
    box.put(config=hooks_config("echo why >&2; exit 1", f"touch {tmp_path}/second"))
    assert box.call("delete", "a") == 0
    (line,) = capfd.readouterr().err.splitlines()
    assert "level=warning" in line
    assert "error running poststop hook #0: exit status 1, stdout: , stderr: why" in line
    assert box.ids() == []
    assert (tmp_path / "second").exists()


def test_killed_at_any_moment_it_can_be_done_again(box: Box) -> None:
    """Kill `delete --force` after each of its system calls; a second one removes what is left."""
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "import posix, signal\n"
        "left = int(sys.argv[2])\n"
        "def counting(real):\n"
        "    def call(*args, **kwargs):\n"
        "        global left\n"
        "        if not left:\n"
        "            signal.raise_signal(signal.SIGKILL)\n"
        "        left -= 1\n"
        "        return real(*args, **kwargs)\n"
        "    return call\n"
        "from pyrunc import cli\n"
        "from pyrunc.container import delete\n"
        "delete.pidfd_send_signal = counting(delete.pidfd_send_signal)\n"
        "for name in ('open', 'unlink', 'rmdir'):\n"
        "    setattr(posix, name, counting(getattr(posix, name)))\n"
        "sys.exit(cli.main(['--root', sys.argv[1], 'delete', '--force', 'a']))\n"
    )
    for step in range(100):
        process = box.spawn()
        box.put(process=process)
        done = subprocess.run([sys.executable, "-c", code, box.store.root, str(step)], check=False, timeout=10)
        if done.returncode == 0:
            break
        assert done.returncode == -9
        assert box.call("delete", "--force", "a") == 0
        assert box.ids() == []
        assert ended_by(process) == 9
    assert 8 < step < 99
    assert box.ids() == []


# -- with a cgroup -----------------------------------------------------------------------------


@pytest.fixture
def cgroup() -> Iterator[dict[str, Any]]:
    """A cgroup v2 of the test's own, as a manager's state."""
    host = detect.detect()
    if not host.mount or os.geteuid() != 0:
        pytest.skip("needs root and a cgroup v2 mount")
    path = f"{host.mount}/{unique_id('pyrunc-test')}"
    try:
        os.mkdir(path)
    except OSError as error:
        pytest.skip(f"cannot make a cgroup: {error}")
    yield {
        "driver": "cgroupfs",
        "path": path,
        "mount": host.mount,
        "mode": host.mode,
        "rootless": False,
    }
    if os.path.isdir(path):
        Path(path, "cgroup.kill").write_text("1")
        deadline = time.monotonic() + 5
        while "populated 1" in Path(path, "cgroup.events").read_text() and time.monotonic() < deadline:
            time.sleep(0.01)
        for name, _, _ in os.walk(path, topdown=False):
            os.rmdir(name)


@pytest.fixture
def inside(box: Box, cgroup: dict[str, Any]) -> Callable[[str], "subprocess.Popen[bytes]"]:
    """Start a process in the cgroup, or in one below it."""

    def start(below: str = "") -> "subprocess.Popen[bytes]":
        process = box.spawn()
        path = Path(cgroup["path"], below)
        path.mkdir(exist_ok=True)
        (path / "cgroup.procs").write_text(str(process.pid))
        return process

    return start


Inside = Callable[..., "subprocess.Popen[bytes]"]


def test_kill_reaches_all_in_a_shared_pid_namespace(box: Box, cgroup: dict[str, Any], inside: Inside) -> None:
    first, second, third = inside(), inside(), inside("below")
    box.put(process=first, config=SHARED, cgroup=cgroup)
    assert box.call("kill", "a", "TERM") == 0
    assert ended_by(first) == 15
    assert (second.poll(), third.poll()) == (None, None)
    # The init is gone, and the others are reached nevertheless.
    assert box.store.load("a").status() == "stopped"
    assert box.call("kill", "a", "KILL") == 0
    assert (ended_by(second), ended_by(third)) == (9, 9)
    assert box.call("kill", "a", "KILL") == 1


def test_kill_all_with_another_signal(box: Box, cgroup: dict[str, Any], inside: Inside) -> None:
    first, second = inside(), inside("below")
    box.put(process=first, cgroup=cgroup)
    assert box.call("kill", "-a", "a", "USR1") == 0
    assert (ended_by(first), ended_by(second)) == (10, 10)


@pytest.mark.parametrize("force", [["--force"], []])
def test_delete_ends_the_cgroup(force: list[str], box: Box, cgroup: dict[str, Any], inside: Inside) -> None:
    first, second = inside(), inside("below")
    box.put(process=first, config=SHARED, cgroup=cgroup)
    first.kill()
    first.wait()
    assert box.call("delete", *force, "a") == 0
    assert ended_by(second) == 9
    assert not os.path.exists(cgroup["path"])
    assert box.ids() == []


def test_pause_and_resume(box: Box, cgroup: dict[str, Any], inside: Inside, capfd: pytest.CaptureFixture[str]) -> None:
    process = inside()
    box.put(process=process, cgroup=cgroup)
    assert box.call("resume", "a") == 1
    assert "container not paused" in capfd.readouterr().err
    assert box.call("pause", "a") == 0
    assert box.store.load("a").status() == "paused"
    assert box.call("pause", "a") == 1
    assert "container not running" in capfd.readouterr().err
    assert box.call("delete", "a") == 1
    assert "that is not stopped: paused" in capfd.readouterr().err
    assert box.call("resume", "a") == 0
    assert box.store.load("a").status() == "running"


@pytest.mark.parametrize("how", ["kill", "delete"])
def test_end_of_a_paused_container(
    how: str, box: Box, cgroup: dict[str, Any], inside: Inside, capfd: pytest.CaptureFixture[str]
) -> None:
    process = inside()
    box.put(process=process, cgroup=cgroup)
    assert box.call("pause", "a") == 0
    if how == "kill":
        assert box.call("kill", "a", "KILL") == 0
        assert ended_by(process) == 9
        assert box.call("resume", "a") == 1
        assert "container not paused" in capfd.readouterr().err
    assert box.call("delete", "--force", "a") == 0
    assert ended_by(process) == 9
    assert not os.path.exists(cgroup["path"])


def test_pause_without_a_cgroup(box: Box, capfd: pytest.CaptureFixture[str]) -> None:
    box.put(process=box.spawn())
    assert box.call("pause", "a") == 1
    assert "it has no cgroup" in capfd.readouterr().err


# -- ps ----------------------------------------------------------------------------------------


def test_ps(box: Box, cgroup: dict[str, Any], inside: Inside, capfd: pytest.CaptureFixture[str]) -> None:
    pids = sorted((inside().pid, inside("below").pid))
    box.put(process=box.started[0], cgroup=cgroup)
    assert box.call("ps", "--format", "json", "a") == 0
    assert capfd.readouterr().out == f"[{pids[0]},{pids[1]}]\n"
    assert box.call("ps", "a") == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0].split() == ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    assert sorted(int(line.split()[1]) for line in lines[1:]) == pids
    assert box.call("ps", "a", "-e", "-x") == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0].split() == ["PID", "TTY", "STAT", "TIME", "COMMAND"]
    assert sorted(int(line.split()[0]) for line in lines[1:]) == pids


def test_ps_of_a_stopped_container(box: Box, capfd: pytest.CaptureFixture[str]) -> None:
    box.put()
    assert box.call("ps", "a") == 0
    assert len(capfd.readouterr().out.splitlines()) == 1
    assert box.call("ps", "-f", "json", "a") == 0
    assert capfd.readouterr().out == "[]\n"


def test_ps_that_fails(box: Box, capfd: pytest.CaptureFixture[str]) -> None:
    box.put()
    assert box.call("ps", "a", "--no-such-option") == 1
    assert "ps --no-such-option: exit status" in capfd.readouterr().err
    assert box.call("ps", "a", "-o", "comm") == 1
    assert "couldn't find PID field in ps output" in capfd.readouterr().err


def test_lines_of_threads_follow_their_process() -> None:
    output = "USER PID COMMAND\nr 1 init\nr - -\nr 2 x\nr - -\nr - -\nr 3 y\n"
    assert ps.choose(output, [2]) == "USER PID COMMAND\nr 2 x\nr - -\nr - -\n"


def test_descendants_without_a_cgroup(box: Box) -> None:
    process = box.spawn("sh", "-c", "sleep 100 & echo $!; wait")
    assert process.stdout is not None
    child = int(process.stdout.readline())
    state = box.put(process=process, config=SHARED)
    assert processes.pids(state, None) == sorted((process.pid, child))


def test_members_of_the_pid_namespace_without_a_cgroup(box: Box, needs_root: None) -> None:
    process = box.spawn("unshare", "-fp", "sh", "-c", "sleep 100 & echo; wait")
    assert process.stdout is not None
    process.stdout.readline()
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    state = box.put()
    state.set_process(int(children[0]))
    found = processes.pids(state, None)
    assert len(found) == 2
    assert int(children[0]) in found
    assert process.pid not in found
    os.kill(int(children[0]), signal.SIGKILL)
