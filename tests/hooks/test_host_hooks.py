"""Host-side hooks with real programs: state, environment, timeouts, output, descriptors."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pyrunc.errors import Error
from pyrunc.setup import host_hooks

STATE: dict[str, Any] = {
    "ociVersion": "1.3.0",
    "id": "c1",
    "status": "creating",
    "pid": 4711,
    "bundle": "/some/bundle",
    "annotations": {"a": "1", 'q"': "ü\n"},
}


def sh(script: str, **more: Any) -> dict[str, Any]:
    return {"path": "/bin/sh", "args": ["sh", "-c", script], **more}


def run(script: str, cwd: Path, **more: Any) -> None:
    host_hooks.run_hooks([sh(script, **more)], "prestart", STATE, cwd=str(cwd))


def running(marker: str) -> list[int]:
    """Processes that have the marker as an argument."""
    found = []
    for entry in os.listdir("/proc"):
        try:
            words = Path("/proc", entry, "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if entry.isdigit() and marker.encode() in words:
            found.append(int(entry))
    return found


def test_state_arrives_on_stdin(tmp_path: Path) -> None:
    run("cat > state", tmp_path)
    assert json.loads((tmp_path / "state").read_text()) == STATE


@pytest.mark.parametrize("size", [4096, 65536, 3_000_000])
def test_state_of_any_size_is_complete(tmp_path: Path, size: int) -> None:
    state = {**STATE, "annotations": {"big": "x" * size}}
    host_hooks.run_hooks([sh("cat > state")], "prestart", state, cwd=str(tmp_path))
    assert json.loads((tmp_path / "state").read_text()) == state


def test_state_without_a_process_has_no_pid() -> None:
    state = {"ociVersion": "1.3.0", "id": "x", "status": "stopped", "pid": 0, "bundle": "/b"}
    assert host_hooks.state_json({**state, "annotations": {}}) == (
        b'{"ociVersion":"1.3.0","id":"x","status":"stopped","bundle":"/b"}'
    )


@pytest.mark.parametrize("size", [10, 3_000_000])
def test_a_hook_that_does_not_read_is_no_error(tmp_path: Path, size: int) -> None:
    state = {**STATE, "annotations": {"big": "x" * size}}
    host_hooks.run_hooks([sh("exec <&-; exit 0")], "prestart", state, cwd=str(tmp_path))


def test_hooks_run_in_order_and_stop_at_the_first_failure(tmp_path: Path) -> None:
    listed = [sh("echo 0 >> log"), sh("echo 1 >> log; exit 3"), sh("echo 2 >> log")]
    with pytest.raises(Error) as caught:
        host_hooks.run_hooks(listed, "createRuntime", STATE, cwd=str(tmp_path))
    assert caught.value.message == ("error running createRuntime hook #1: exit status 3, stdout: , stderr: ")
    assert caught.value.pointer == "/hooks/createRuntime/1"
    assert (tmp_path / "log").read_text() == "0\n1\n"


def test_output_of_a_failed_hook_is_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(Error) as caught:
        run("echo out; echo err >&2; exit 1", tmp_path)
    assert caught.value.message == ("error running prestart hook #0: exit status 1, stdout: out, stderr: err")


def test_much_output_is_read_and_its_end_kept(tmp_path: Path) -> None:
    with pytest.raises(Error) as caught:
        run("seq 200000; seq 200000 >&2; echo last words >&2; exit 1", tmp_path)
    assert caught.value.message.endswith("last words")
    assert "200000, stderr: " in caught.value.message
    assert len(caught.value.message) < 9000
    written = sum(len(str(number)) + 1 for number in range(1, 200001))
    assert f"stdout: [{written - host_hooks.OUTPUT_KEPT} bytes left out] " in caught.value.message


def test_killed_hook(tmp_path: Path) -> None:
    with pytest.raises(Error) as caught:
        run("kill -9 $$", tmp_path)
    assert caught.value.message == ("error running prestart hook #0: signal: killed, stdout: , stderr: ")


def test_missing_program(tmp_path: Path) -> None:
    with pytest.raises(Error) as caught:
        host_hooks.run_hooks([{"path": "/nonexistent/hook"}], "prestart", STATE, cwd=str(tmp_path))
    assert caught.value.message == ("error running prestart hook #0: exec /nonexistent/hook: no such file or directory")


def test_program_that_is_not_executable(tmp_path: Path) -> None:
    (tmp_path / "hook").write_text("#!/bin/sh\n")
    hook = {"path": str(tmp_path / "hook")}
    with pytest.raises(Error, match="permission denied"):
        host_hooks.run_hooks([hook], "prestart", STATE, cwd=str(tmp_path))


def test_arguments_are_exact(tmp_path: Path) -> None:
    hook = {"path": sys.executable, "args": ["not the path", "-c", ARGV, "", "a b", "ü"]}
    host_hooks.run_hooks([hook], "prestart", STATE, cwd=str(tmp_path))
    assert (tmp_path / "argv").read_bytes().split(b"\0")[0] == b"not the path"
    assert (tmp_path / "argv").read_bytes().split(b"\0")[3:6] == [b"", b"a b", "ü".encode()]


ARGV = "open('argv', 'wb').write(open('/proc/self/cmdline', 'rb').read())"


def test_without_args_the_path_is_argv_0() -> None:
    assert host_hooks.arguments({"path": "/bin/x"}) == [b"/bin/x"]


def test_env_replaces_the_inherited_environment(tmp_path: Path) -> None:
    run("cat /proc/$$/environ > env", tmp_path, env=["A=1=2", "B=", "A=3", "junk"])
    assert sorted((tmp_path / "env").read_bytes().split(b"\0")) == [b"", b"A=3", b"B="]


def test_empty_env_is_an_empty_environment(tmp_path: Path) -> None:
    run("cat /proc/$$/environ > env", tmp_path, env=[])
    assert (tmp_path / "env").read_bytes() == b""


def test_without_env_the_environment_is_what_pyrunc_was_started_with(tmp_path: Path) -> None:
    """Under the C locale too, where the interpreter adds a variable of its own."""
    program = (
        "import sys; sys.path[:0] = [sys.argv[1]]\n"
        "from pyrunc.setup.host_hooks import run_hooks\n"
        "run_hooks([{'path': '/bin/sh', 'args': ['sh', '-c', 'cat /proc/$$/environ > env']}],"
        " 'prestart', {'ociVersion': '', 'id': '', 'status': '', 'bundle': ''}, cwd=sys.argv[2])"
    )
    root = Path(__file__).parents[2]
    command = [sys.executable, "-I", "-S", "-c", program, str(root), str(tmp_path)]
    subprocess.run(command, env={"X": "1", "PATH": "/usr/bin:/bin"}, check=True)
    variables = (tmp_path / "env").read_bytes().split(b"\0")
    assert sorted(variables) == [b"", b"PATH=/usr/bin:/bin", b"X=1"]


def test_timeout_kills_the_whole_process_group(tmp_path: Path) -> None:
    marker = f"60.{os.getpid()}"
    began = time.monotonic()
    with pytest.raises(Error) as caught:
        run(f"sleep {marker} & sleep {marker}", tmp_path, timeout=1)
    assert caught.value.message == ("error running prestart hook #0: hook ran past specified timeout of 1.0s")
    assert 0.9 < time.monotonic() - began < 10
    for _ in range(100):
        if not running(marker):
            break
        time.sleep(0.05)
    assert running(marker) == []


def test_a_hook_within_its_timeout(tmp_path: Path) -> None:
    run("echo done > log", tmp_path, timeout=30)
    assert (tmp_path / "log").exists()


def test_a_daemon_that_keeps_the_output_open_is_not_waited_for(tmp_path: Path) -> None:
    marker = f"30.{os.getpid()}"
    began = time.monotonic()
    run(f"sleep {marker} & echo started", tmp_path, timeout=20)
    assert time.monotonic() - began < 10
    # The shell may not yet have become the program when the hook has ended.
    for _ in range(100):
        left = running(marker)
        if left:
            break
        time.sleep(0.05)
    assert len(left) == 1
    os.kill(left[0], signal.SIGKILL)


def test_signals_descriptors_session_and_directory(tmp_path: Path) -> None:
    """What surrounds a hook: no signal ignored or blocked, 0, 1 and 2 open, its own session."""
    leak = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(leak, True)
    ignored = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    before = os.getcwd()
    try:
        run(REPORT, tmp_path, env=[])
    finally:
        signal.signal(signal.SIGHUP, ignored)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        os.close(leak)
    report = (tmp_path / "report").read_text().splitlines()
    ignored_set = int(report[1].split()[1], 16)
    assert report[0].split() == ["SigBlk:", "0" * 16]
    assert ignored_set & ~(3 << 31) == 0  # 32 and 33: glibc's posix_spawn leaves them ignored
    assert report[2] == "0 1 2 3"
    pid, session = report[3].split()
    assert pid == session
    assert report[4] == str(tmp_path)
    assert os.getcwd() == before


# Descriptor 3 in the listing is the listing's.
REPORT = """
exec 5> report
while read -r name value; do
  case $name in SigBlk:|SigIgn:) echo "$name $value" >&5 ;; esac
done < /proc/$$/status
exec 5>&-
echo $(/bin/ls /proc/self/fd) >> report
read -r stat < /proc/$$/stat
set -- ${stat#*) }
echo $$ $4 >> report
pwd >> report
"""


def test_a_missing_bundle(tmp_path: Path) -> None:
    gone = str(tmp_path / "gone")
    with pytest.raises(Error, match=r"chdir to bundle .*/gone: no such file or directory"):
        host_hooks.run_hooks([sh("exit 0")], "prestart", STATE, cwd=gone)
    log = tmp_path / "log"
    host_hooks.run_poststop([sh(f"pwd > {log}")], STATE, cwd=gone)
    assert log.read_text() == "/\n"


def test_nothing_is_left_open_or_unreaped(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    run("exit 0", tmp_path)
    for script, more in (("exit 1", {}), ("sleep 60", {"timeout": 0.2})):
        with pytest.raises(Error):
            run(script, tmp_path, **more)
    with pytest.raises(Error):
        host_hooks.run_hooks([{"path": "/nonexistent"}], "prestart", STATE, cwd=str(tmp_path))
    assert os.listdir("/proc/self/fd") == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_closed_standard_descriptors(tmp_path: Path) -> None:
    """With 0, 1 and 2 closed, the pipes themselves would get these numbers."""
    program = (
        "import os, sys; sys.path[:0] = [sys.argv[1]]\n"
        "from pyrunc.setup.host_hooks import run_hooks\n"
        "os.closerange(0, 3)\n"
        "run_hooks([{'path': '/bin/sh', 'args': ['sh', '-c', 'cat > state; echo x; echo y >&2']}],"
        " 'prestart', {'ociVersion': '', 'id': 'i', 'status': '', 'bundle': ''}, cwd=sys.argv[2])"
    )
    root = Path(__file__).parents[2]
    command = [sys.executable, "-I", "-S", "-c", program, str(root), str(tmp_path)]
    subprocess.run(command, check=True)
    assert json.loads((tmp_path / "state").read_text())["id"] == "i"


def test_import_budget() -> None:
    """Only modules written in C, and pyrunc's own."""
    program = (
        "import sys; before = set(sys.modules); sys.path[:0] = [sys.argv[1]]\n"
        "import pyrunc.setup.host_hooks\n"
        "print(sorted(set(sys.modules) - before - {'pyrunc', 'pyrunc.setup'}))"
    )
    root = Path(__file__).parents[2]
    command = [sys.executable, "-I", "-S", "-c", program, str(root)]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert set(eval(listed)) <= {
        "_json",
        "fcntl",
        "select",
        "pyrunc.setup.host_hooks",
        "pyrunc.setup.hook_files",
        "pyrunc.config",
        "pyrunc.config.annotation_names",
        "pyrunc.errors",
        "pyrunc.log",
    }
