"""What waits for `start`: pyrunc-init alone, small, sealed, with nothing of the host's open."""

import fcntl
import json
import os
import re
import select
import stat
import subprocess
import threading
import time
from pathlib import Path

import pytest

from support import IS_ROOT, MakeBundle, Runtime

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="needs root")

F_GET_SEALS, ALL_SEALS = 1034, 0xF
# Several of these tests run at once, and a cgroup is named after its container.
NAME = f"created-{os.getpid()}"


def _create(runtime: Runtime, path: Path, log: Path, *flags: str, name: str = NAME) -> int:
    """Create a container and return its init's pid; its output goes to a file."""
    with log.open("w") as output:
        result = subprocess.run(
            runtime.command("create", "-b", str(path), *flags, name),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            timeout=60,
            check=False,
        )
    runtime.ids.append(name)
    assert result.returncode == 0, log.read_text()
    pid: int = json.loads(runtime.call("state", name, check=True).stdout)["pid"]
    return pid


def test_small_and_sealed(bundle: MakeBundle, runtime: Runtime, tmp_path: Path) -> None:
    pid = _create(runtime, bundle({}).path, tmp_path / "log")
    status = Path(f"/proc/{pid}/status").read_text()
    resident = int(re.search(r"VmRSS:\s+(\d+) kB", status)[1])  # type: ignore[index]
    assert resident < 400
    assert "memfd:pyrunc-init" in os.readlink(f"/proc/{pid}/exe")
    with open(f"/proc/{pid}/exe", "rb") as image:
        assert fcntl.fcntl(image, F_GET_SEALS) & ALL_SEALS == ALL_SEALS
        assert image.read(4) == b"\x7fELF"
    with pytest.raises(OSError):
        os.open(f"/proc/{pid}/exe", os.O_WRONLY)


def test_descriptors(bundle: MakeBundle, runtime: Runtime, tmp_path: Path) -> None:
    """behaviours.md, section 1: pipes, sockets, anonymous inodes and what the caller gave; nothing else of pyrunc's
    files, also where the caller leaks directories into pyrunc."""
    leaked = [os.open("/", os.O_RDONLY) for _ in range(20)]
    for fd in leaked:
        os.set_inheritable(fd, True)
    try:
        with (tmp_path / "log").open("w") as output:
            subprocess.run(
                runtime.command("create", "-b", str(bundle({}).path), NAME),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                close_fds=False,
                timeout=60,
                check=True,
            )
    finally:
        for fd in leaked:
            os.close(fd)
    runtime.ids.append(NAME)
    pid = json.loads(runtime.call("state", NAME, check=True).stdout)["pid"]
    found = {int(name): os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")}
    assert set(found) >= {0, 1, 2}
    for number, target in found.items():
        if number > 2:
            fifo = stat.S_ISFIFO(os.stat(f"/proc/{pid}/fd/{number}").st_mode)
            assert fifo or re.match(r"(socket|pipe|anon_inode):", target), (number, target)
    assert os.readlink(f"/proc/{pid}/cwd") == "/"


def _pythons() -> set[int]:
    found = set()
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                if "python" in os.readlink(f"/proc/{name}/exe") or "pyrunc" in os.readlink(f"/proc/{name}/exe"):
                    found.add(int(name))
            except OSError:
                continue
    return found


def test_python_never_inside(bundle: MakeBundle, runtime: Runtime, tmp_path: Path) -> None:
    """While containers are created, started and deleted, no interpreter has a root or namespace other than ours."""
    made = bundle({"process": {"args": ["/bin/sleep", "60"]}})
    own = {kind: os.readlink(f"/proc/self/ns/{kind}") for kind in ("mnt", "pid", "uts", "ipc")}
    done = threading.Event()
    trespassers: list[tuple[int, str, str]] = []
    looked = 0

    def look() -> None:
        nonlocal looked
        strangers: dict[int, None] = {}
        while not done.is_set():
            for pid in _pythons():
                try:
                    spaces = {kind: os.readlink(f"/proc/{pid}/ns/{kind}") for kind in own}
                    root = os.readlink(f"/proc/{pid}/root")
                    line = Path(f"/proc/{pid}/cmdline").read_bytes()
                    exe = os.readlink(f"/proc/{pid}/exe")
                except OSError:
                    continue
                if str(runtime.root).encode() not in line or "memfd" in exe or pid in strangers:
                    continue
                looked += 1
                trespassers.extend((pid, kind, name) for kind, name in spaces.items() if name != own[kind])
                if root != "/":
                    trespassers.append((pid, "root", root))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        for number in range(5):
            _create(runtime, made.path, tmp_path / "log", name=f"c{number}")
            runtime.call("start", f"c{number}", check=True)
            runtime.call("delete", "--force", f"c{number}", check=True)
    finally:
        done.set()
        watcher.join()
    assert looked > 5
    assert trespassers == []


@pytest.mark.parametrize("name", ["HUP", "INT", "QUIT", "TERM"])
def test_a_signal_ends_the_wait(bundle: MakeBundle, runtime: Runtime, tmp_path: Path, name: str) -> None:
    """It is the first process of a pid namespace, to which the kernel delivers no signal without a handler."""
    pid = _create(runtime, bundle({}).path, tmp_path / "log")
    pidfd = os.pidfd_open(pid)
    try:
        runtime.call("kill", NAME, name, check=True)
        assert select.select([pidfd], [], [], 10)[0]
    finally:
        os.close(pidfd)
    assert json.loads(runtime.call("state", NAME, check=True).stdout)["status"] == "stopped"


def test_other_signals_do_not_and_none_stays_blocked(bundle: MakeBundle, runtime: Runtime, tmp_path: Path) -> None:
    it = bundle({}).shell("grep -E '^Sig(Blk|Pnd|Ign|Cgt)' /proc/self/status; ls /proc/self/fd | wc -l")
    _create(runtime, it.path, tmp_path / "log")
    for name in ("USR1", "ALRM", "CONT"):
        runtime.call("kill", NAME, name, check=True)
    runtime.call("start", NAME, check=True)
    deadline = time.monotonic() + 10
    while "4\n" not in (tmp_path / "log").read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    lines = (tmp_path / "log").read_text().split("\n")
    assert [line.split()[1] for line in lines[:2]] == ["0" * 16, "0" * 16], lines
    assert lines[4] == "4", lines
