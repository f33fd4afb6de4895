"""Waiting for the OOM killer, and for the end of a container, in one poll(2).

The kernel wakes whoever polls memory.events or cgroup.events (POLLPRI) when their numbers change:
nothing is forked and nothing is read in between.
"""

import posix
import select
import time
from errno import ENODEV

from pyrunc.cgroups import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

FLAGS = posix.O_RDONLY | posix.O_CLOEXEC


def kills(dir_fd: int) -> int:
    """How often the OOM killer struck in and below the cgroup; 0 without a memory controller."""
    return files.table(files.try_read(dir_fd, "memory.events")).get("oom_kill", 0)


class Watch:
    """Counts kills from now on. Raises OSError where the cgroup is gone."""

    def __init__(self, dir_fd: int) -> None:
        self.group = posix.open("cgroup.events", FLAGS, dir_fd=dir_fd)
        self.memory = -1
        try:
            self.memory = posix.open("memory.events", FLAGS, dir_fd=dir_fd)
        except FileNotFoundError:
            pass  # no memory controller, no kill by its limit
        self.seen = self._kills() or 0

    def __enter__(self) -> "Watch":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the descriptors."""
        for fd in (self.group, self.memory):
            if fd >= 0:
                posix.close(fd)
        self.group = self.memory = -1

    def _kills(self) -> "int | None":
        """None: the cgroup has been removed."""
        if self.memory < 0:
            return 0
        try:
            return files.table(posix.pread(self.memory, 4096, 0)).get("oom_kill", 0)
        except OSError as error:
            if error.errno != ENODEV:
                raise
            return None

    def _populated(self) -> bool:
        try:
            return bool(files.table(posix.pread(self.group, 4096, 0)).get("populated"))
        except OSError as error:
            if error.errno != ENODEV:
                raise
            return False

    def wait(self, timeout: "float | None", others: "Iterable[int]" = ()) -> "int | None":
        """The number of new kills; 0 after `timeout` seconds (None: for ever), or when one of the
        descriptors `others` can be read; None when the container's last process is gone.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        poll = select.poll()
        extra = set(others)
        for fd in extra:
            poll.register(fd, select.POLLIN)
        for fd in (self.group, self.memory):
            if fd >= 0:
                poll.register(fd, select.POLLPRI)
        while True:
            now = self._kills()
            if now is not None and now > self.seen:
                fresh, self.seen = now - self.seen, now
                return fresh
            if now is None or not self._populated():
                return None
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return 0
            ready = poll.poll(None if left is None else left * 1000)
            if any(fd in extra for fd, _ in ready):
                return 0
