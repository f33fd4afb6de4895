"""Kill -9 of pyrunc at every step: what is left can be removed by `delete --force`, completely.

The steps are the calls of built-in functions (each system call is one of them) while `create` runs: a child
process counts
them and kills itself at the Nth.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import IS_ROOT, ROOT, MakeBundle, Runtime

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="needs root")

_SET_CHILD_SUBREAPER = 36  # prctl(2)

_DRIVER = """
import os, signal, sys
sys.path.insert(0, {root!r})
import pyrunc.cli, pyrunc.container.create, pyrunc.container.start, pyrunc.container.run
at, seen = int(sys.argv[1]), 0
def count(frame, event, function):
    global seen
    if event != "c_call" or function.__name__ not in NAMES:
        return
    seen += 1
    if seen == at:
        os.kill(os.getpid(), signal.SIGKILL)

# What changes something outside this process, or waits for it.
NAMES = {{"open", "write", "mkdir", "rename", "posix_spawn", "recvmsg", "bind", "listen", "close", "unlink", "waitpid",
         "memfd_create", "dup", "socketpair", "flock", "connect", "recv", "rmdir", "fcntl"}}
sys.setprofile(count)
code = pyrunc.cli.main(sys.argv[2:])
sys.setprofile(None)
print(seen)
sys.exit(code)
"""


@pytest.fixture(autouse=True)
def adopts() -> Iterator[None]:
    """Orphans of what the test starts become its own children, and so can be told from other tests' processes."""
    libc = ctypes.CDLL(None)
    assert libc.prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    yield
    libc.prctl(_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def _processes() -> set[int]:
    """The processes below this one whose program is a pyrunc-init. Dead ones that are its children are reaped."""
    parents: dict[int, int] = {}
    dead = set()
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                state, above = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[:2]
            except OSError:
                continue
            parents[int(name)] = int(above)
            if state == "Z":
                dead.add(int(name))
    found = set()
    for pid, parent in parents.items():
        ancestor = parent
        while ancestor > 1 and ancestor != os.getpid():
            ancestor = parents.get(ancestor, 0)
        if ancestor != os.getpid():
            continue
        try:
            if pid in dead and parent == os.getpid():
                os.waitpid(pid, os.WNOHANG)
            elif "memfd:pyrunc-init" in os.readlink(f"/proc/{pid}/exe"):
                found.add(pid)
        except OSError:
            continue
    return found


def _cgroups(name: str) -> list[Path]:
    root = Path("/sys/fs/cgroup")
    bases = [root, root / "unified"]
    return [base / name for base in bases if (base / name).exists()]


def _mounts() -> str:
    return Path("/proc/self/mountinfo").read_text()


def _die_at(step: int, runtime: Runtime, log: Path, *words: str) -> tuple[int, str]:
    """The exit status, and what was said; into a file, since a container keeps a pipe open."""
    driver = _DRIVER.format(root=str(ROOT))
    with log.open("w+") as output:
        result = subprocess.run(
            [sys.executable, "-IS", "-c", driver, str(step), "--root", str(runtime.root), *words],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            timeout=60,
            check=False,
        )
    return result.returncode, log.read_text()


def _gone(before: set[int], deadline: float = 5.0) -> set[int]:
    """The pyrunc-inits that are more than before, once they had time to end."""
    until = time.monotonic() + deadline
    while (left := _processes() - before) and time.monotonic() < until:
        time.sleep(0.01)
    return left


@pytest.mark.parametrize(("command", "stride"), [("create", 1), ("run", 3)])
def test_killed_at_every_step(command: str, stride: int, bundle: MakeBundle, runtime: Runtime, tmp_path: Path) -> None:
    """At each step: no process outlives it unless the container was created, and `delete --force` removes the rest."""
    made = bundle({"process": {"args": ["/bin/sleep", "60"]}})
    words = [command, *(["-d"] if command == "run" else []), "-b", str(made.path)]
    mounts, before = _mounts(), _processes()
    step = completed = 0
    while not completed:
        step += stride
        name = f"killed-{command}-{os.getpid()}-{step}"
        code, said = _die_at(step, runtime, tmp_path / "log", *words, name)
        if code != -signal.SIGKILL:
            assert code == 0, said
            completed = step
        state = runtime.root / name / "state.json"
        recorded = json.loads(state.read_text())["status"] if state.exists() else ""
        if recorded not in ("created", "started"):
            assert not _gone(before), f"step {step}: a process outlives pyrunc"
        deleted = subprocess.run(
            [runtime.program, "--root", str(runtime.root), "delete", "--force", name],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert deleted.returncode == 0, f"step {step}: {deleted.stderr}"
        assert deleted.stderr == ""
        assert not _gone(before), f"step {step}: a process is left"
        assert not (runtime.root / name).exists(), f"step {step}: the state is left"
        assert _cgroups(name) == [], f"step {step}: a cgroup is left"
    assert _mounts() == mounts
    assert completed > 40, "the steps were counted"


def test_two_creates_of_one_id(bundle: MakeBundle, runtime: Runtime, tmp_path: Path) -> None:
    """One wins; the other says why it did not, and takes nothing of the winner's with it."""
    made = bundle({"process": {"args": ["/bin/sleep", "60"]}})
    logs = [tmp_path / f"log{number}" for number in range(4)]
    processes = [
        subprocess.Popen(
            runtime.command("create", "-b", str(made.path), "one"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log.open("w"),
        )
        for log in logs
    ]
    runtime.ids.append("one")
    codes = [process.wait(timeout=60) for process in processes]
    assert sorted(codes) == [0, 1, 1, 1]
    for log, code in zip(logs, codes, strict=True):
        assert ("container with given ID already exists" in log.read_text()) == bool(code)
    assert json.loads(runtime.call("state", "one", check=True).stdout)["status"] == "created"


@pytest.mark.parametrize(
    "changes",
    [
        {"process": {"args": ["/no/such/program"]}},
        {"process": {"cwd": "/proc/self/fd/7"}},
        {"mounts": [{"destination": "/x", "type": "bind", "source": "/no/such", "options": ["bind"]}]},
        {"linux": {"namespaces": [{"type": "mount"}, {"type": "pid", "path": "/no/such"}]}},
        {"hooks": {"createRuntime": [{"path": "/bin/false"}]}},
        {"hooks": {"createContainer": [{"path": "/bin/false"}]}},
        {"process": {"rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1 << 40, "hard": 1 << 40}]}},
    ],
    ids=["command", "cwd", "mount", "namespace", "host-hook", "inside-hook", "rlimit"],
)
def test_failed_create_leaves_nothing(changes: dict[str, object], bundle: MakeBundle, runtime: Runtime) -> None:
    made = bundle(changes)
    mounts, before = _mounts(), _processes()
    name = f"failed-{os.getpid()}"
    result = subprocess.run(
        [runtime.program, "--root", str(runtime.root), "create", "-b", str(made.path), name],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 1
    lines = result.stderr.splitlines()
    assert len([line for line in lines if not line.startswith("hint: ")]) == 1
    assert "level=error" in lines[0]
    assert not _gone(before)
    assert not (runtime.root / name).exists()
    assert _cgroups(name) == []
    assert _mounts() == mounts


_KILLED_BEFORE_ITS_CGROUP = """
import os, signal, sys
sys.path.insert(0, sys.argv.pop(1))
import pyrunc.cli
from pyrunc.cgroups import make
make.make = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
sys.exit(pyrunc.cli.main(sys.argv[1:]))
"""


def test_a_half_made_namesake_takes_nothing_with_it(runtime: Runtime, bundle: MakeBundle, tmp_path: Path) -> None:
    """It has named its cgroup, and was killed before it saw that this is the cgroup of a container that runs."""
    it = bundle().args("/bin/sleep", "1000")
    id = runtime.create(it)
    runtime.call("start", id, check=True)
    path = json.loads((runtime.root / id / "state.json").read_text())["cgroup"]["path"]
    if not path:
        pytest.skip("containers have no cgroups here")
    time.sleep(0.1)  # longer than a tick
    root = ["--root", str(tmp_path / "other")]
    words = [sys.executable, "-c", _KILLED_BEFORE_ITS_CGROUP, str(ROOT), *root, "create", "--bundle", str(it.path), id]
    assert subprocess.run(words, stdin=subprocess.DEVNULL, timeout=60).returncode == -signal.SIGKILL
    assert json.loads((tmp_path / "other" / id / "state.json").read_text())["cgroup"]["path"] == path
    words = [
        sys.executable,
        "-c",
        "import sys; sys.path.insert(0, sys.argv.pop(1)); import pyrunc.cli; sys.exit(pyrunc.cli.main(sys.argv[1:]))",
        str(ROOT),
        *root,
        "delete",
        "--force",
        id,
    ]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert "is left alone" in done.stderr
    assert not (tmp_path / "other" / id).exists()
    assert runtime.state(id)["status"] == "running"
