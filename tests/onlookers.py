"""What tests look on with: a terminal of a command's own, and a FIFO that tells who opens it."""

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path


def on_a_terminal(command: list[str]) -> str:
    """What a command prints on a terminal of its own, with standard error. It has a minute."""
    master, slave = os.openpty()
    text = b""
    with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True) as process:
        os.close(slave)
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                part = os.read(master, 4096)
            except OSError:
                break
            text += part
        process.wait(timeout=60)
    os.close(master)
    return text.decode(errors="replace")


@contextlib.contextmanager
def nobody_opens(fifo: Path) -> Iterator[None]:
    """Make a FIFO, and fail the test if somebody opens it to read meanwhile."""
    os.mkfifo(fifo)
    # Waits in open(2) until somebody does.
    writer = subprocess.Popen(["sh", "-c", f"exec 9>{fifo}; echo opened"], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    try:
        yield
        os.set_blocking(writer.stdout.fileno(), False)
        assert writer.poll() is None
        assert writer.stdout.read() is None
    finally:
        writer.kill()
        writer.wait()
        writer.stdout.close()
