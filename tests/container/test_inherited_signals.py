"""Signals that the caller ignores or blocks, its limits and timers: what is in a container starts as from a shell.

runc passes a blocked signal on to the container's program, which then cannot be ended by it; pyrunc does not.
"""

import json
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from support import IS_ROOT, MakeBundle, Runtime

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="needs root")

#: The two that the C library keeps for itself: posix_spawn(3) of some versions leaves them ignored in hooks.
OF_THE_LIBRARY = 1 << 31 | 1 << 32
SETTABLE = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
#: No shell: busybox's ignores SIGQUIT, for itself and for what it executes.
STATUS = "/proc/self/status"


def ignore_all() -> None:
    for number in SETTABLE:
        signal.signal(number, signal.SIG_IGN)


def block_all() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, SETTABLE)


def both() -> None:
    ignore_all()
    block_all()


def pending() -> None:
    """Signals wait for pyrunc. `run` and `exec` pass them on, as any; the other commands never get them."""
    block_all()
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGUSR1)


def call(runtime: Runtime, before: Callable[[], None], *words: str) -> str:
    """What a call of the runtime prints, by a caller that has done something before; it must succeed."""
    done = subprocess.run(
        runtime.command(*words),
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        preexec_fn=before,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def masks(text: str) -> dict[str, int]:
    found = dict(line.split(":", 1) for line in text.splitlines())
    return {name: int(found[name], 16) & ~OF_THE_LIBRARY for name in NONE}


NONE = {"SigBlk": 0, "SigIgn": 0, "SigPnd": 0}


@pytest.mark.parametrize("before", [ignore_all, block_all, both])
def test_run_and_exec(before: Callable[[], None], runtime: Runtime, bundle: MakeBundle) -> None:
    made = bundle().args("/bin/cat", STATUS)
    assert masks(call(runtime, before, "run", "--bundle", str(made.path), runtime.new_id())) == NONE
    id = runtime.create(bundle().args("/bin/sleep", "1000"))
    runtime.call("start", id, check=True)
    assert masks(call(runtime, before, "exec", id, "/bin/cat", STATUS)) == NONE
    call(runtime, before, "ps", id)
    call(runtime, before, "delete", "--force", id)


def copy(target: object) -> dict[str, object]:
    """A hook that keeps its own status in a file."""
    return {"path": "/bin/cp", "args": ["cp", STATUS, str(target)], "timeout": 60}


@pytest.mark.parametrize("before", [ignore_all, block_all, both, pending])
def test_create_start_and_hooks(
    before: Callable[[], None], runtime: Runtime, bundle: MakeBundle, tmp_path: Path
) -> None:
    kinds = ("createRuntime", "poststart", "poststop")
    hooks = {kind: [copy(tmp_path / kind)] for kind in kinds}
    made = bundle({"hooks": {**hooks, "startContainer": [copy("/startContainer")]}}).args("/bin/cp", STATUS, "/program")
    id = runtime.new_id()
    with (tmp_path / "log").open("w") as log:
        done = subprocess.run(
            runtime.command("create", "--bundle", str(made.path), id),
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=before,
            timeout=120,
        )
    runtime.ids.append(id)
    assert done.returncode == 0, (tmp_path / "log").read_text()
    call(runtime, before, "start", id)
    deadline = time.monotonic() + 60
    while runtime.state(id)["status"] != "stopped":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    call(runtime, before, "delete", id)
    for file in (made.rootfs / "program", made.rootfs / "startContainer", *(tmp_path / kind for kind in kinds)):
        assert masks(file.read_text()) == NONE, file


def test_a_program_ends_by_a_broken_pipe(runtime: Runtime, bundle: MakeBundle) -> None:
    """Python ignores SIGPIPE, and so may the caller: a program that writes for ever must end."""
    made = bundle().shell("yes | head -n 1 >/dev/null; echo done")
    assert call(runtime, ignore_all, "run", "--bundle", str(made.path), runtime.new_id()) == "done\n"


def test_the_limit_of_processor_time_is_the_callers(runtime: Runtime, bundle: MakeBundle) -> None:
    made = bundle().shell("ulimit -t")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (77, 88))

    assert call(runtime, limit, "run", "--bundle", str(made.path), runtime.new_id()) == "77\n"


def test_a_timer_of_the_caller_is_not_the_containers(runtime: Runtime, bundle: MakeBundle, tmp_path: Path) -> None:
    """execve(2) keeps ITIMER_REAL: it ends pyrunc, as the caller has asked, and never the container."""
    made = bundle().shell("sleep 4; echo survived >/out; exec sleep 1000")
    id = runtime.new_id()
    done = subprocess.run(
        runtime.command("run", "--detach", "--pid-file", str(tmp_path / "pid"), "--bundle", str(made.path), id),
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.setitimer(signal.ITIMER_REAL, 3) and None,
        timeout=60,
    )
    runtime.ids.append(id)
    if done.returncode == -signal.SIGALRM:
        pytest.skip("the machine was too slow: the timer came before the end of run")
    assert done.returncode == 0
    assert json.loads(runtime.call("state", id, check=True).stdout)["status"] == "running"
    deadline = time.monotonic() + 60
    while not (made.rootfs / "out").exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
