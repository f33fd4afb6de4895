"""The freezer of v1 (admin-guide/cgroup-v1/freezer-subsystem.rst)."""

import time

from pyrunc.cgroups import files


def change(fd: int, state: bytes, timeout: float) -> bool:
    """Write freezer.state, FROZEN or THAWED, until it says so; False after `timeout` seconds. Raises OSError.

    Nothing wakes us: while processes fork, a group stays FREEZING until it is told again.
    """
    deadline, pause = time.monotonic() + timeout, 0.0005
    while True:
        files.write(fd, "freezer.state", state)
        if files.read(fd, "freezer.state").strip() == state:
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
        pause = min(pause * 2, 0.05)
