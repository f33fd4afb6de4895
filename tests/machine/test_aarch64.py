"""pyrunc-init for aarch64: cross-compiled and run in an emulator, where these are installed."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import build_parts
from machine.harness import word
from pyrunc.machine.ops import Label, Program, Ref, Space
from pyrunc.machine.session import Session, pair

COMPILER = "aarch64-linux-gnu-gcc"
EMULATOR = shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")

pytestmark = [
    pytest.mark.host,
    pytest.mark.skipif(not shutil.which(COMPILER), reason=f"needs {COMPILER} (package gcc-aarch64-linux-gnu)"),
]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("aarch64") / "pyrunc-init"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CC", COMPILER)
        build_parts.build_init(target)
    return target


def test_is_a_small_static_executable(image: Path) -> None:
    data = image.read_bytes()
    assert data[:4] == b"\x7fELF"
    assert int.from_bytes(data[18:20], "little") == 183  # EM_AARCH64
    assert int.from_bytes(data[16:18], "little") == 2  # ET_EXEC: linked at a fixed address
    assert len(data) < 8192
    offset, size = int.from_bytes(data[32:40], "little"), int.from_bytes(data[54:56], "little")
    kinds = {
        int.from_bytes(data[at : at + 4], "little")
        for at in range(offset, offset + size * int.from_bytes(data[56:58], "little"), size)
    }
    assert not kinds & {2, 3}, "PT_DYNAMIC or PT_INTERP"


@pytest.fixture
def session(image: Path) -> Iterator[Session]:
    if EMULATOR is None:
        pytest.skip("needs qemu-aarch64 (package qemu-user)")
    ours, theirs = pair(50)
    process = subprocess.Popen([EMULATOR, str(image), str(theirs)], pass_fds=[theirs])
    os.close(theirs)
    session = Session(ours, "aarch64", machine="aarch64")
    yield session
    session.close()
    assert process.wait(20) == 120


def test_executes_programs(session: Session, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"contents")
    p = Program()
    fd, result, old = p.reg("fd"), p.reg("result"), p.reg("old")
    buffer = Space(16, "buffer")
    failed = Label("failed")
    p.call("openat", -100, bytes(tmp_path / "file"), os.O_CLOEXEC, 0, dst=fd)
    p.call("read", fd, buffer, 16, dst=result)
    p.call("close", -1, only=(9,), error=failed)
    p.sync("not reached")
    p.label(failed)
    p.call("umask", 0o27, dst=old)
    p.call("umask", old, dst=old)
    p.check(buffer, 8, -1, int.from_bytes(b"contents", "little"), 22)
    p.sync("buffer", buffer)
    reply = session.run(p)
    assert reply.errno == 0
    assert reply.data == b"contents" + bytes(8)
    p = Program(p.registers)
    p.call("reply", Ref(result), 8, 0)
    p.sync("old", Ref(old), 8)
    steps = session.send(p)
    assert [word(session.receive(steps).data) for _ in range(2)] == [8, 0o27]
    p = Program(p.registers)
    bad = p.call("mkdirat", fd, b"x", 0o755)
    reply = session.run(p)
    assert (reply.step, reply.errno) == (bad, 20)


def test_names_are_those_of_the_kernel(session: Session, tmp_path: Path) -> None:
    """A few numbers that differ from x86_64's, by what the calls do."""
    p = Program()
    root = p.reg("root")
    p.call("openat", -100, bytes(tmp_path), os.O_CLOEXEC, 0, dst=root)
    p.call("mkdirat", root, b"made", 0o700)
    p.call("symlinkat", b"made", root, b"link")
    p.call("fchmodat", root, b"made", 0o711)
    p.call("renameat2", root, b"made", root, b"moved", 1)
    p.call("unlinkat", root, b"link", 0)
    p.call("fchdir", root)
    place = Space(4096, "cwd")
    p.call("getcwd", place, 4096)
    p.sync("cwd", place)
    reply = session.run(p)
    assert (reply.errno, reply.step and reply.step.key) == (0, "cwd")
    assert reply.data.partition(b"\0")[0] == bytes(tmp_path)
    assert os.listdir(tmp_path) == ["moved"]
    assert (tmp_path / "moved").stat().st_mode & 0o777 == 0o711
