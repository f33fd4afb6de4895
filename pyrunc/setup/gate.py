"""The fifos over which a created container waits for `start` (plan/waiting.py), as `create` makes them.

Import cost: posix.
"""

import posix

from pyrunc.machine.ops import Fd
from pyrunc.machine.session import above
from pyrunc.plan.waiting import Gate
from pyrunc.state.store import ANSWER, START


def make_gate(folder: str, lowest: int) -> Gate:
    """Make the fifos in a folder over which a container waits to be started; descriptors from `lowest` on."""
    start, answer = f"{folder}/{START}", f"{folder}/{ANSWER}"
    mask = posix.umask(0o177)
    try:
        posix.mkfifo(start)
        posix.mkfifo(answer)
    finally:
        posix.umask(mask)
    # For reading and writing first: to open one end alone would wait for the other.
    opened = [
        posix.open(start, posix.O_RDWR | posix.O_CLOEXEC),
        posix.open(start, posix.O_RDONLY | posix.O_CLOEXEC),
        posix.open(answer, posix.O_RDWR | posix.O_CLOEXEC),
        posix.open(answer, posix.O_WRONLY | posix.O_CLOEXEC),
    ]
    names = {0: START, 1: START, 3: ANSWER}
    found = [Fd(above(opened[at], lowest), name) for at, name in names.items()]
    for fd in opened:
        posix.close(fd)
    return Gate(*found)
