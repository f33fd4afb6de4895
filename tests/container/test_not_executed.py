"""A program that cannot be executed after all: its standard error has the line, it ends with 255, `start` succeeds."""

import os
import struct
import time
from pathlib import Path

import pytest

from support import IS_ROOT, Bundle, MakeBundle, Runtime

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="needs root")

MACHINE = {"x86_64": 62, "aarch64": 183}[os.uname().machine]
OTHER, OTHER_NAME = (183, "aarch64") if MACHINE == 62 else (62, "x86_64")


def elf(machine: int, loader: bytes) -> bytes:
    """A 64-bit program whose only segment names its loader."""
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, 0x400000, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 3, 4, 120, 0x400078, 0x400078, len(loader) + 1, len(loader) + 1, 1)
    return header + segment + loader + b"\0"


CASES = {
    "interpreter": (
        b"#!/usr/bin/python9 -u\n", 'no such file or directory: its interpreter "/usr/bin/python9" does not exist',
    ),
    "deeper": (
        b"#!/inner arg\n", 'no such file or directory: its interpreter "/nowhere" does not exist',
    ),
    "carriage return": (
        b"#!/bin/sh\r\necho\r\n",
        'no such file or directory: the first line ends in a carriage return (interpreter "/bin/sh\\x0d")',
    ),
    "loader": (
        elf(MACHINE, b"/lib/ld-other.so.1"),
        'no such file or directory: its ELF loader "/lib/ld-other.so.1" does not exist (an image for another libc?)',
    ),
    "machine": (
        elf(OTHER, b"/lib/ld.so"),
        f"exec format error: built for {OTHER_NAME}, this machine is {os.uname().machine}",
    ),
    "no line": (b"echo hello\n", "exec format error: it is neither a program nor a script: no #! line"),
    "empty": (b"", "exec format error: the file is empty"),
    "harmless": (
        b"#!/x\x1b[31m\xff\n", 'no such file or directory: its interpreter "/x\\x1b[31m\\xff" does not exist',
    ),
    "cut off": (b"\x7fELF", "exec format error"),
}  # fmt: skip


def prepared(bundle: MakeBundle, name: str) -> tuple[Bundle, str]:
    content, text = CASES[name]
    it = bundle({"process": {"args": ["/run.sh"]}})
    for file, data in (("run.sh", content), ("inner", b"#!/nowhere\n")):
        (it.rootfs / file).write_bytes(data)
        (it.rootfs / file).chmod(0o755)
    return it, f"exec /run.sh: {text}"


def until_stopped(runtime: Runtime, id: str) -> None:
    deadline = time.monotonic() + 20
    while runtime.state(id)["status"] != "stopped":
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("name", CASES)
def test_create_and_start(runtime: Runtime, bundle: MakeBundle, name: str) -> None:
    it, line = prepared(bundle, name)
    id = runtime.create(it)
    done = runtime.call("start", id, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    until_stopped(runtime, id)
    text = (it.path / "output").read_text()
    assert text.startswith(line) if name == "cut off" else text == line + "\n"


@pytest.mark.parametrize("seccomp", [False, True])
def test_run(runtime: Runtime, bundle: MakeBundle, seccomp: bool) -> None:
    it, line = prepared(bundle, "interpreter")
    if seccomp:
        it.update({"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}}})
    done = runtime.run(it)
    assert (done.returncode, done.stdout, done.stderr) == (255, "", line + "\n")


def test_exec(runtime: Runtime, bundle: MakeBundle, tmp_path: Path) -> None:
    it, line = prepared(bundle, "interpreter")
    id = runtime.create(it.args("/bin/sleep", "100"))
    runtime.call("start", id, check=True)
    done = runtime.call("exec", id, "/run.sh")
    assert (done.returncode, done.stderr) == (255, line + "\n")
    done = runtime.call("exec", "--detach", "--pid-file", str(tmp_path / "pid"), id, "/run.sh")
    assert (done.returncode, done.stderr) == (0, line + "\n")
    assert (tmp_path / "pid").exists()


def test_noexec(runtime: Runtime, bundle: MakeBundle) -> None:
    """What `create` can tell it tells; the interpreter it does not look at."""
    it = bundle({"process": {"args": ["/run.sh"]}})
    it.config["mounts"].append(
        {"destination": "/mnt", "type": "bind", "source": str(it.path / "data"), "options": ["bind", "noexec"]}
    )
    it.save()
    (it.path / "data").mkdir()
    for file in (it.rootfs / "run.sh", it.path / "data/shell"):
        file.write_text("#!/mnt/shell\n")
        file.chmod(0o755)
    done = runtime.run(it)
    cause = 'its interpreter "/mnt/shell" cannot be executed: the file system is mounted noexec (/mnt)'
    assert (done.returncode, done.stderr) == (255, f"exec /run.sh: permission denied: {cause}\n")


def test_a_directory_that_the_user_may_not_search(runtime: Runtime, bundle: MakeBundle) -> None:
    it = bundle({"process": {"args": ["/run.sh"], "user": {"uid": 1000, "gid": 1000}}})
    (it.rootfs / "srv/x").mkdir(parents=True)
    (it.rootfs / "srv/x").chmod(0o700)
    for name in ("run.sh", "srv/x/shell"):
        (it.rootfs / name).write_text("#!/srv/x/shell\n")
        (it.rootfs / name).chmod(0o755)
    done = runtime.run(it)
    cause = 'the directory "/srv/x" may not be searched by uid 1000'
    assert (done.returncode, done.stderr) == (255, f"exec /run.sh: permission denied: {cause}\n")
