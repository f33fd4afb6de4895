"""The bundles of the repository run, and show what they are there to show."""

import os
import pty
import shutil
import subprocess
import time
from pathlib import Path

import pytest

import make_rootfs
from pyrunc.cgroups.v1 import hierarchies
from support import IS_ROOT, PURE_V2, ROOT, Runtime

V1 = {name for it in hierarchies.mounted() for name in it.names}

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="needs root")


def run(runtime: Runtime, name: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Run a copy of the bundle, whose root file system is made anew."""
    return runtime.call("run", "--bundle", str(copy(name, tmp_path)), runtime.new_id())


def copy(name: str, tmp_path: Path) -> Path:
    bundle = tmp_path / name
    shutil.copytree(ROOT / "bundles" / name, bundle, ignore=shutil.ignore_patterns("rootfs"))
    make_rootfs.make(bundle / "rootfs")
    # The user namespace's root is an ordinary user outside: it has to reach the bundle.
    for directory in (tmp_path, *tmp_path.parents[:2]):
        directory.chmod(0o755)
    return bundle


def sections(output: str) -> dict[str, list[str]]:
    """The lines below each `--- title` line; those before the first one under ""."""
    found: dict[str, list[str]] = {"": []}
    title = ""
    for line in output.splitlines():
        if line.startswith("--- "):
            title = line[4:]
            found[title] = []
        elif line:
            found[title].append(line)
    return found


def test_hello(runtime: Runtime, tmp_path: Path) -> None:
    done = run(runtime, "hello", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    shown = sections(done.stdout)
    assert "pid 1, uid 0, host name hello," in shown[""][0]
    processes = [line.split() for line in shown["processes (all that exist here)"][1:]]
    assert processes[0][0] == "1"
    assert len(processes) == 2, "only the shell and ps itself"
    mounts = {line.split()[0]: line.split()[1:] for line in shown["mounts"]}
    assert mounts["/"][1].split(",")[0] == "ro"
    assert mounts["/proc"][0] == "proc"
    assert mounts["/proc/sys"][1].split(",")[0] == "ro"
    assert mounts["/tmp"][0] == "tmpfs"
    assert shown["network interfaces"] == ["lo"]
    status = dict(line.split(":\t") for line in shown["privileges"])
    wanted = 1 << 29 | 1 << 10 | 1 << 5  # audit_write, net_bind_service, kill
    for kind in ("CapPrm", "CapEff", "CapBnd"):
        assert int(status[kind], 16) == wanted
    assert status["NoNewPrivs"] == "1"
    files = next(line for line in shown["limits"] if line.startswith("Max open files"))
    assert files.split()[3:5] == ["512", "1024"]
    attempts = {line[:34].strip(): line[34:].strip() for line in shown["attempts"]}
    assert attempts.pop("write to /tmp") == "succeeded"
    assert len(attempts) == 4
    assert all(result.startswith("refused") for result in attempts.values()), attempts


def test_hello_by_its_directory(runtime: Runtime, tmp_path: Path) -> None:
    """`pyrunc run DIRECTORY` takes the directory as the bundle and its name as the id."""
    if Path(runtime.program).name != "pyrunc":
        pytest.skip("only pyrunc does this")
    bundle = copy("hello", tmp_path)
    runtime.new_id("hello")
    done = runtime.call("run", str(bundle), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "host name hello" in done.stdout


@pytest.mark.guest
def test_limits(runtime: Runtime, tmp_path: Path) -> None:
    done = run(runtime, "limits", tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "memory.max 33554432" in lines
    assert "memory.swap.max 0" in lines
    assert "cpu.max 50000 100000" in lines
    assert "pids.max 16" in lines
    assert "too many processes were refused" in lines


@pytest.mark.host
@pytest.mark.skipif(PURE_V2 or {"memory", "pids", "cpu"} <= V1, reason="this machine has what the limits need")
def test_limits_that_cannot_be_had(runtime: Runtime, tmp_path: Path) -> None:
    """Where no controller can be had, limits are refused, not ignored; nothing is left."""
    if Path(runtime.program).name != "pyrunc":
        pytest.skip("other runtimes use cgroup v1")
    done = run(runtime, "limits", tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "cgroup" in done.stderr
    assert runtime.call("list", "-q", check=True).stdout == ""


def test_userns(runtime: Runtime, tmp_path: Path) -> None:
    done = run(runtime, "userns", tmp_path)
    assert done.returncode == 0, done.stderr
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    assert lines == [
        "uid 0 gid 0",
        "uid_map  0 100000 65536",
        "gid_map  0 100000 65536",
        "chown 1000:1000",
        "mount allowed in its own namespace",
        "owner of / is 65534",
    ]


def test_terminal(runtime: Runtime, tmp_path: Path) -> None:
    """In the foreground the container's terminal is joined to the caller's."""
    bundle = copy("terminal", tmp_path)
    command = runtime.command("run", "--bundle", str(bundle), runtime.new_id())
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(command[0], command)
    try:
        output = read_until(terminal, "name? ")
        os.write(terminal, b"world\n")
        output += read_until(terminal, None)
    finally:
        os.close(terminal)
        _, status = os.waitpid(pid, 0)
    assert "terminal /dev/" in output
    assert "hello world" in output
    assert "not a tty" not in output
    assert os.waitstatus_to_exitcode(status) == 0, output


def read_until(terminal: int, text: str | None, seconds: float = 20) -> str:
    """Read from the terminal until `text` has come, or to the end; fail if it does not come."""
    output = ""
    end = time.monotonic() + seconds
    os.set_blocking(terminal, False)
    while text is None or text not in output:
        assert time.monotonic() < end, f"no {text!r} in {output!r}"
        try:
            output += os.read(terminal, 4096).decode(errors="replace")
        except BlockingIOError:
            time.sleep(0.01)
        except OSError:  # EIO: the other side has been closed
            break
    assert text is None or text in output, output
    return output
