"""The walk by descriptors that stands in for openat2(2), alone: with a pyrunc-init that is in no container."""

import ctypes
import os
from collections.abc import Iterator
from errno import ELOOP, EXDEV
from pathlib import Path

import pytest

from pyrunc.errors import Error
from pyrunc.kernel.uapi import (
    AT_FDCWD,
    O_CLOEXEC,
    O_DIRECTORY,
    O_PATH,
    RESOLVE_NO_SYMLINKS,
    RESOLVE_NO_XDEV,
)
from pyrunc.machine.ops import Program, Reg, Registers
from pyrunc.machine.session import Agent, Session
from pyrunc.plan.filesystem.inroot import Target
from pyrunc.setup.filesystem.path_walk import Component, Walk
from support import IS_ROOT

MS_BIND = 0x1000
DST = Reg(100, "found")


class Below:
    """A pyrunc-init, and a directory that is open in it."""

    def __init__(self, session: Session, root: Path) -> None:
        self.session = session
        p = Program(Registers())
        self.reg = p.reg("root")
        p.call("openat", AT_FDCWD, os.fsencode(root), O_PATH | O_DIRECTORY | O_CLOEXEC, 0, dst=self.reg)
        p.sync("open")
        assert not session.run(p).errno
        self.root = root


@pytest.fixture
def below(tmp_path: Path) -> Iterator[Below]:
    root = tmp_path / "root"
    root.mkdir()
    with Agent(100) as session:
        yield Below(session, root)


def test_a_file_that_becomes_a_link(below: Below, tmp_path: Path) -> None:
    """Between the look at it and its open: what is opened then is not what the link leads to."""
    secret = tmp_path / "secret"
    secret.write_text("of the host")
    file = below.root / "file"
    file.write_text("of the container")

    class Swapping(Walk):
        def look(self, parent: object, name: bytes) -> "Component | int":
            found = super().look(parent, name)
            file.unlink()
            file.symlink_to(secret)
            return found

    assert Swapping(below.session, below.reg).open(b"file", DST, os.O_RDONLY) == ELOOP


@pytest.mark.contains("CVE-2025-52881, CVE-2025-62596: labels and sysctls written elsewhere")
@pytest.mark.skipif(not IS_ROOT, reason="needs root")
@pytest.mark.parametrize("path", ["over", "plain/over", "over/file", "bound"])
def test_another_file_system_on_the_way(below: Below, path: str) -> None:
    """RESOLVE_NO_XDEV: also in the first step, and where the same file system is mounted once more."""
    mount = ctypes.CDLL(None, use_errno=True).mount
    place = below.root / "over"
    (below.root / "plain/over").mkdir(parents=True)
    place.mkdir()
    (below.root / "bound").touch()
    (below.root / "other").write_text("another file of the same file system")
    before = path.encode().removesuffix(b"/file")
    assert Walk(below.session, below.reg).open(before, DST, O_PATH, resolve=RESOLVE_NO_XDEV) == 0
    # Not seen by others: the tests have a mount namespace of their own, pyrunc-init is in it.
    over = below.root / "plain/over" if path.startswith("plain") else place
    assert not mount(b"tmpfs", os.fsencode(over), b"tmpfs", 0, None)
    assert not mount(os.fsencode(below.root / "other"), os.fsencode(below.root / "bound"), None, MS_BIND, None)
    try:
        (over / "file").touch()
        walk = Walk(below.session, below.reg)
        assert walk.open(path.encode(), DST, O_PATH, resolve=RESOLVE_NO_XDEV) == EXDEV
        assert walk.open(path.encode(), DST, O_PATH) == 0
    finally:
        for target in (over, below.root / "bound"):
            ctypes.CDLL(None).umount2(os.fsencode(target), 2)


@pytest.mark.contains("CVE-2019-19921, CVE-2023-27561, CVE-2023-28642, CVE-2025-54867: `/proc` or `/sys` is a link")
def test_links_where_there_may_be_none(below: Below) -> None:
    """Nothing is made behind one either."""
    (below.root / "real").mkdir()
    (below.root / "link").symlink_to("real")
    (below.root / "dangling").symlink_to("nothing")
    for path in ("link", "link/new", "dangling", "dangling/new"):
        target = Target(below.reg, path, DST, True, None, resolve=RESOLVE_NO_SYMLINKS)
        with pytest.raises(Error, match="must be mounted on ordinary directory"):
            Walk(below.session, below.reg).make(target)
    assert not (below.root / "nothing").exists()
    assert not list((below.root / "real").iterdir())
