"""What is done after the container's root is entered, by strace(1): nothing is opened by name, nothing executed."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from support import IS_ROOT, MakeBundle, Runtime

pytestmark = [
    pytest.mark.skipif(not IS_ROOT, reason="needs root"),
    pytest.mark.skipif(not shutil.which("strace"), reason="needs strace"),
]

_ENTERED = re.compile(r"(pivot_root\(|setns\(.*(NEWNS|0x7c|0x[0-9a-f]*2[0-9a-f]{4}\b)).* = 0$")
# "/" is the root itself: there is nothing in it that could be a link.
_BY_NAME = re.compile(r'\b(open|openat|openat2|creat)\((AT_FDCWD, )?"(/[^"]+)"')
_EXECUTES = re.compile(r'\b(execve|execveat)\((\d+, )?"([^"]*)"')


def _inside(log: Path) -> dict[str, list[str]]:
    """The calls of each process after it, or who forked it, entered the container, by pid."""
    found: dict[str, list[str]] = {}
    lines = []
    parents = {}
    for line in log.read_text(errors="replace").splitlines():
        pid, _, call = line.partition(" ")
        pid, call = pid.strip(), re.sub(r"^/\* .*? \*/", "", call).strip()
        lines.append((pid, call))
        # With CLONE_VFORK the parent's line comes after those of the child.
        child = re.search(r"clone3?[( ].* = (\d+)(?: /\* (\d+) in strace's PID NS \*/)?$", call)
        if child:
            parents[child[2] or child[1]] = pid
    for pid, call in lines:
        if pid not in found and parents.get(pid) in found:
            found[pid] = []
        if pid in found:
            found[pid].append(call)
        elif _ENTERED.search(call):
            found[pid] = []
    return found


def _gate(log: Path, programs: set[str]) -> None:
    inside = _inside(log)
    assert inside, "strace saw nobody enter"
    executed = set()
    for calls in inside.values():
        for call in calls:
            execution = _EXECUTES.search(call)
            if execution:
                executed.add(execution[3])
                assert execution[3] in programs, call
                break  # from here on it is the user's
            name = _BY_NAME.search(call)
            assert name is None, call
    assert executed == programs


def _strace(log: Path, command: list[str]) -> None:
    calls = "trace=open,openat,openat2,creat,execve,execveat,pivot_root,setns,clone,clone3,fork,vfork"
    with (log.parent / "said").open("w") as output:
        done = subprocess.run(
            ["strace", "-f", "-qq", "--decode-pids=pidns", "-s", "300", "-o", str(log), "-e", calls, *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, (log.parent / "said").read_text()


@pytest.mark.contains("CVE-2019-14271, GHSA-x86f-5xw2-fm2r: modules and helpers of the container's root")
def test_run(runtime: Runtime, bundle: MakeBundle, tmp_path: Path) -> None:
    """With masks, a user, HOME to be found, a hook, sysctls and a working directory that is made."""
    it = bundle(
        {
            "process": {"user": {"uid": 1000}, "cwd": "/made/here", "args": ["busybox", "true"]},
            "hooks": {"startContainer": [{"path": "/bin/date", "args": ["date"]}]},
            "linux": {"sysctl": {"net.ipv4.ip_default_ttl": "77"}},
        }
    )
    log = tmp_path / "log"
    _strace(log, runtime.command("run", "--bundle", str(it.path), runtime.new_id()))
    _gate(log, {"/bin/date", "/bin/busybox"})


@pytest.mark.contains("CVE-2019-14271, GHSA-x86f-5xw2-fm2r: modules and helpers of the container's root")
def test_exec(runtime: Runtime, bundle: MakeBundle, tmp_path: Path) -> None:
    it = bundle().args("/bin/sleep", "100")
    id = runtime.create(it)
    runtime.call("start", id, check=True)
    log = tmp_path / "log"
    _strace(log, runtime.command("exec", "--user", "user", "--cwd", "/tmp", id, "busybox", "true"))
    _gate(log, {"/bin/busybox"})


@pytest.mark.contains(
    "root of the host through an init that waits for its id maps in a joined pid namespace (found here)",
)
def test_who_makes_a_user_namespace_is_not_root(runtime: Runtime, bundle: MakeBundle, tmp_path: Path) -> None:
    """Neither that of the container nor those of idmapped mounts: every container without one runs as root."""
    maps = [{"containerID": 0, "hostID": 300000, "size": 65536}]
    other = [{"containerID": 0, "hostID": 400000, "size": 65536}]
    source = tmp_path / "source"
    source.mkdir()
    mount = {"destination": "/mapped", "type": "bind", "source": str(source)}
    mount |= {"uidMappings": other, "gidMappings": other}  # type: ignore[dict-item]
    it = bundle()
    namespaces = [*it.config["linux"]["namespaces"], {"type": "user"}]
    it.update({"linux": {"namespaces": namespaces, "uidMappings": maps, "gidMappings": maps}}).give(300000)
    it.update({"mounts": [*it.config["mounts"], mount]})
    log = tmp_path / "log"
    words = ["strace", "-f", "-qq", "-o", str(log), "-e", "trace=unshare,clone,clone3,setresuid"]
    command = [*words, *runtime.command("run", "--bundle", str(it.path), runtime.new_id())]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    effective: dict[str, int] = {}
    made = []
    for line in log.read_text().splitlines():
        pid, _, call = line.partition(" ")
        ids = re.match(r"\s*setresuid\((-1|\d+), (\d+), (-1|\d+)\)\s+= 0", call)
        if ids:
            effective[pid] = int(ids[2])
        elif "CLONE_NEWUSER" in call:
            made.append(effective.get(pid, 0))
    assert sorted(made) == [300000, 400000]
