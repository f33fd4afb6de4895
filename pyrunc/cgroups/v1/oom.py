"""Waiting for the OOM killer of a v1 memory group: an eventfd that the kernel counts up (memory.rst, 10)."""

import posix
import select
import time

from pyrunc.cgroups import files
from pyrunc.cgroups.oom import FLAGS, Watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyrunc.cgroups.v1.driver import V1Manager


class V1Watch(Watch):
    """As Watch, by memory.oom_control. `seen` does not count: the eventfd does."""

    def __init__(self, manager: "V1Manager") -> None:
        self.manager = manager
        self.group = self.memory = -1
        self.seen = 0
        memory = manager.controller("memory")
        if memory < 0:
            return
        self.memory = posix.eventfd(0, posix.EFD_CLOEXEC | posix.EFD_NONBLOCK)
        control = posix.open("memory.oom_control", FLAGS, dir_fd=memory)
        try:
            files.write(memory, "cgroup.event_control", f"{self.memory} {control}".encode())
        finally:
            posix.close(control)

    def wait(self, timeout: "float | None", others: "Iterable[int]" = ()) -> "int | None":
        """As Watch.wait(). Nothing wakes us when a v1 group becomes empty: it is looked at every half second."""
        deadline = None if timeout is None else time.monotonic() + timeout
        poll = select.poll()
        extra = set(others)
        for fd in (*extra, self.memory):
            if fd >= 0:
                poll.register(fd, select.POLLIN)
        while True:
            left = 0.5 if deadline is None else min(0.5, max(0.0, deadline - time.monotonic()))
            ready = [fd for fd, _ in poll.poll(left * 1000)]
            if self.memory in ready:
                count = posix.eventfd_read(self.memory)
                # The end of the group is counted as well.
                if any(posix.access(path, posix.F_OK) for path in self.manager.paths.values()):
                    return count
                return None
            if not self.manager.populated():
                return None
            if any(fd in extra for fd in ready) or (deadline is not None and time.monotonic() >= deadline):
                return 0
