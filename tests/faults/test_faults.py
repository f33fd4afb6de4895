"""A sample of what `make faults` does, and what it once found; a little of `make soak`."""

import os
import shutil
import subprocess
import sys

import pytest

from support import IN_GUEST, IS_ROOT, ROOT

pytestmark = [
    pytest.mark.skipif(not IS_ROOT, reason="needs root"),
    pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler"),
]


def run(module: str, *words: str) -> None:
    """Run it in a process of its own, which becomes the parent of all orphans. Everything has to end well."""
    done = subprocess.run(
        [sys.executable, "-m", module, *words],
        cwd=ROOT / "tests",
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_a_sample() -> None:
    run("faults.faults", "--jobs", "1", "-n", "1" if IN_GUEST else "4")


@pytest.mark.slow
def test_a_little_of_make_soak() -> None:
    run("faults.soak", "--kills", "1", "--lives", "2", "--at-once", "15", "--execs", "10")


#: Each was a finding. scene, injections, what was wrong.
FOUND = [
    ("run-d", r"0\.1\.1 setgroups 1 signal", "an init killed before its execve was a success"),
    ("exec", r"0\.1\.1 setresuid 1 signal", "a process killed before its execve was one that had run"),
    ("rich-create", r"0\.2 fsmount 1 signal", "an agent that was killed was taken for the init, which was waited for"),
    ("rich-delete", r"unlinkat .* EIO .*state.json", "a removal that had failed half-way could not be done again"),
    ("exec", r"0\.1\.1 getcwd 1 errno ENOMEM", "a lack of memory was told as a break-out"),
    ("rich-start", r"0 pipe2 1 errno EMFILE", "a poststart hook that could not be run left a container that runs"),
    ("rich-create", r"0 write .*errno ENOMEM socket", "the pid file of a process that was not to be was left"),
    ("run", r"0 newfstatat .*state", "the error did not say what could not be looked at"),
    ("state", r"0 read .*EIO /proc/.*stat", "the error did not say what could not be read"),
    ("create", r"0 mkdirat .*SIGINT /sys/fs", "a cgroup was left where SIGINT came as it was made"),
    ("create", r"0 openat .*EACCES /sys/fs/cgroup/[cu]", "a cgroup was left in a hierarchy that was given up half-way"),
    ("rich-create", r"0\.2 (prctl|mmap) 1 errno", "an agent's exit status was not told"),
    ("rich-create", r"0 recvmsg 1[1-4] errno ENOMEM", "the error was replaced by that of the cleaning up after it"),
    ("update", r"0 renameat .* ENOSPC", "an update that could not be remembered was in force"),
    ("rich-create", r"pyrunc-cache", "a cache of filters that could not be looked at was an error"),
]


@pytest.mark.parametrize(("scene", "which"), [it[:2] for it in FOUND], ids=[it[2] for it in FOUND])
def test_found_once(scene: str, which: str) -> None:
    run("faults.faults", "--jobs", "1", "--scene", scene, "--only", which)
