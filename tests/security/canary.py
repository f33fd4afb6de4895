"""What the tests of this directory share: canaries on the host, and racers that swap paths."""

import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

Picture = dict[str, tuple[object, ...]]

#: Arguments: two paths, to be exchanged as fast as possible until killed (renameat2(2)).
_SWAP = """
import ctypes, os, sys
rename = ctypes.CDLL(None, use_errno=True).renameat2
one, two = (os.fsencode(path) for path in sys.argv[1:3])
print("ready", flush=True)
while True:
    rename(-100, one, -100, two, 2)
"""


class Canary:
    """A directory of the host that no container has any business with.

    `check()` fails when anything in it, or its own times, owner or mode, is no longer as it was.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        path.chmod(0o755)
        (path / "ptmx").write_text("marker")
        (path / "file").write_text("canary")
        (path / "directory").mkdir()
        (path / "directory/inner").write_text("inner")
        self.before = self.picture()

    def picture(self) -> Picture:
        found: Picture = {}
        for place in (self.path, *sorted(self.path.rglob("*"))):
            it = place.lstat()
            content = place.read_bytes() if stat.S_ISREG(it.st_mode) else b""
            key = str(place.relative_to(self.path))
            found[key] = (it.st_mode, it.st_uid, it.st_gid, it.st_ino, it.st_mtime_ns, it.st_ctime_ns, content)
        return found

    def check(self) -> None:
        assert self.picture() == self.before
        mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        assert not [path for path in mounts if path.startswith(str(self.path))]


@contextmanager
def swapping(one: Path, two: Path) -> Iterator[None]:
    """While the block runs, another process exchanges two paths all the time."""
    process = subprocess.Popen([sys.executable, "-ISc", _SWAP, str(one), str(two)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield
        assert process.poll() is None, "the racer raced to the end"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]


def rounds(seconds: float, most: int) -> Iterator[int]:
    """Numbers from 0 on for a bounded time: `seconds`, or PYRUNC_RACE_SECONDS where that is set."""
    wanted = os.environ.get("PYRUNC_RACE_SECONDS")
    until = time.monotonic() + (float(wanted) if wanted else seconds)
    number = 0
    while time.monotonic() < until and (wanted or number < most):
        yield number
        number += 1
