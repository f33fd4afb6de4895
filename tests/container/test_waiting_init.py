"""Between `create` and `start`: the init has the credentials and the filter of the process that it will be."""

import json
import os
import signal
import stat
import subprocess
import time
from pathlib import Path

import pytest

from pyrunc.options import Globals
from pyrunc.setup.process import Making
from rootless import made
from support import IS_ROOT, Bundle, Json, MakeBundle, Runtime

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="needs root")

FIELDS = ("Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")
ALLOW = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["acct"], "action": "SCMP_ACT_ERRNO"}]}


def fields(text: str) -> dict[str, str]:
    """What of /proc/PID/status is the process's from `create` on."""
    lines = dict(line.split(":", 1) for line in text.split("\n") if ":" in line)
    return {name: lines[name].strip() for name in FIELDS}


def waiting(runtime: Runtime, id: str) -> dict[str, str]:
    return fields(Path(f"/proc/{runtime.state(id)['pid']}/status").read_text())


def printed(bundle: Bundle, until: str = "", seconds: float = 20) -> str:
    """What the container has written, once `until` is there."""
    deadline = time.monotonic() + seconds
    while True:
        text = (bundle.path / "output").read_text()
        if (until and until in text) or time.monotonic() > deadline:
            return text
        time.sleep(0.02)


@pytest.mark.parametrize("seccomp", [ALLOW, None])
@pytest.mark.parametrize("no_new_privileges", [True, False])
@pytest.mark.parametrize("uid", [0, 1000])
def test_the_init_waits_as_what_it_will_be(
    runtime: Runtime, bundle: MakeBundle, uid: int, no_new_privileges: bool, seccomp: Json | None
) -> None:
    changes: Json = {
        "process": {
            "noNewPrivileges": no_new_privileges,
            "user": {"uid": uid, "gid": uid, "additionalGids": [7]},
            "capabilities": {"ambient": ["CAP_KILL"], "inheritable": ["CAP_KILL"]},
        }
    }
    if seccomp:
        changes["linux"] = {"seccomp": seccomp}
    it = bundle(changes).shell("cat /proc/self/status; echo end")
    id = runtime.create(it)
    before = waiting(runtime, id)
    runtime.call("start", id, check=True)
    after = fields(printed(it, "end\n"))
    if seccomp is None and uid == 0:
        assert before["CapEff"] == "0000000020000420"
    # Ambient ones become effective by the execve.
    if uid:
        after["CapEff"] = before["CapEff"]
        after["CapPrm"] = before["CapPrm"]
    assert before == after


def test_the_signals_that_end_the_wait_are_as_usual_for_the_program(runtime: Runtime, bundle: MakeBundle) -> None:
    it = bundle({}).shell("grep SigCgt /proc/self/status; echo end")
    id = runtime.create(it)
    runtime.call("start", id, check=True)
    assert "SigCgt:\t0000000000000000" in printed(it, "end\n")


def test_only_the_owner_may_start(runtime: Runtime, bundle: MakeBundle) -> None:
    id = runtime.create(bundle({}))
    for name in ("start.fifo", "answer.fifo"):
        found = (runtime.root / id / name).lstat()
        assert stat.S_ISFIFO(found.st_mode)
        assert (stat.S_IMODE(found.st_mode), found.st_uid) == (0o600, 0)
        opened = subprocess.run(
            ["setpriv", "--reuid=65534", "--clear-groups", "dd", f"of={runtime.root / id / name}", "if=/dev/zero",
             "count=1", "oflag=nonblock"],
            capture_output=True, text=True, check=False, timeout=20,
        )  # fmt: skip
        assert "Permission denied" in opened.stderr
    assert runtime.state(id)["status"] == "created"


@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_write_read_and_execve_are_enough(runtime: Runtime, bundle: MakeBundle, no_new_privileges: bool) -> None:
    """The rest is what busybox itself calls."""
    own = ["brk", "arch_prctl", "set_tid_address", "set_robust_list", "rseq", "prlimit64", "readlinkat", "readlink",
           "getrandom", "mprotect", "getuid", "setuid", "geteuid", "newfstatat", "fstat", "exit_group", "ioctl",
           "uname", "mmap", "munmap", "openat", "close", "prctl"]  # fmt: skip
    if not no_new_privileges:
        own.append("capset")
    seccomp = {
        "defaultAction": "SCMP_ACT_KILL_PROCESS",
        "syscalls": [{"names": ["write", "read", "execve", *own], "action": "SCMP_ACT_ALLOW"}],
    }
    it = bundle({"linux": {"seccomp": seccomp}, "process": {"noNewPrivileges": no_new_privileges}})
    id = runtime.create(it.args("/bin/echo", "hello"))
    runtime.call("start", id, check=True)
    assert printed(it, "hello") == "hello\n"


def test_a_profile_that_forbids_waiting(runtime: Runtime, bundle: MakeBundle) -> None:
    """An error of `create` that names the profile, not a container that is stopped by itself."""
    seccomp = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ERRNO"}],
    }
    it = bundle({"linux": {"seccomp": seccomp}})
    done = runtime.call("create", "--bundle", str(it.path), runtime.new_id())
    assert done.returncode == 1
    assert "the profile forbids read(2), by which a created container waits for start (linux/seccomp)" in done.stderr
    assert not list(runtime.root.iterdir())


def test_the_working_directory_of_the_user_is_created_s_to_tell(runtime: Runtime, bundle: MakeBundle) -> None:
    it = bundle({"process": {"user": {"uid": 1000, "gid": 1000}, "cwd": "/closed/inner"}})
    (it.rootfs / "closed/inner").mkdir(parents=True)
    id = runtime.create(it)  # root may enter it, and so its process stands there
    runtime.call("start", id, check=True)


def test_an_init_that_is_killed_before_its_execve_is_no_success(runtime: Runtime, bundle: MakeBundle) -> None:
    """A startContainer hook gives the time to do it."""
    hook = {"path": "/bin/sleep", "args": ["sleep", "30"]}
    it = bundle({"hooks": {"startContainer": [hook]}, "process": {"args": ["/bin/sleep", "100"]}})
    id = runtime.create(it)
    pid = runtime.state(id)["pid"]
    start = subprocess.Popen(runtime.command("start", id), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 20
    children = Path(f"/proc/{pid}/task/{pid}/children")
    while not children.read_text().strip() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(pid, signal.SIGKILL)
    error = start.communicate(timeout=30)[1]
    assert start.returncode == 1
    assert "the container's init ended before it could execute its program" in error


def test_start_of_a_container_whose_init_has_just_gone(runtime: Runtime, bundle: MakeBundle) -> None:
    id = runtime.create(bundle({}))
    pid = runtime.state(id)["pid"]
    os.kill(pid, signal.SIGKILL)
    done = runtime.call("start", id)
    assert done.returncode == 1
    assert "stopped" in done.stderr or "ended before it could" in done.stderr


def test_a_users_container(launcher: str) -> None:
    """Rootless: as what it will be, and still open to `exec`."""
    with made(launcher) as rootless:
        rootless.create("a")
        status = fields(Path(f"/proc/{rootless.pid('a')}/status").read_text())
        assert (status["NoNewPrivs"], status["CapBnd"]) == ("1", "0000000020000420")
        # What it is kept from others by: they have fewer.
        assert int(status["CapPrm"], 16) & ~0x20000420
        assert rootless("exec", "a", "/bin/echo", "inside").stdout == "inside\n"
        assert rootless("start", "a").returncode == 0
        started = fields(Path(f"/proc/{rootless.pid('a')}/status").read_text())
        assert started["CapPrm"] == started["CapEff"] == "0000000020000420"
        assert json.loads(rootless("state", "a").stdout)["status"] == "running"


@pytest.mark.parametrize("new_privileges", [False, True])
def test_a_filter_that_refuses_even_the_end(runtime: Runtime, bundle: MakeBundle, new_privileges: bool) -> None:
    """It was told as "killed by signal 4"."""
    profile = {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1}
    it = bundle({"process": {"noNewPrivileges": not new_privileges}, "linux": {"seccomp": profile}})
    done = runtime.call("create", "--bundle", str(it.path), "mute")
    assert done.returncode == 1
    assert "signal 4" not in done.stderr
    assert "linux/seccomp" in done.stderr or "operation not permitted" in done.stderr
    assert runtime.call("list", "-q", check=True).stdout == ""


class Ended(Making):
    def why_lost(self, signal: int) -> tuple[str, str]:
        return "", ""


def test_who_has_been_waited_for_is_not_signalled() -> None:
    """The number of a process that has been reaped may be another one's by the time of the clean-up."""
    making = Ended(Globals(), "", traced=False)
    for name in ("ILL", "KILL"):
        making.pid = os.posix_spawn("/bin/sh", ["sh", "-c", f"kill -{name} $$"], {})
        making.lost("it ended", making.pid)
        assert making.pid == 0
