"""One call of a program, measured: CPU of it and of all children that it waited for, what the caller waits, memory,
page faults, and instructions."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

EMPTY = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}


class Failed(Exception):
    """A call that should have worked did not."""


class Sample(NamedTuple):
    """cpu, wall: milliseconds. peak: largest resident size of it or a child of its, KiB. faults: minor page faults."""

    cpu: float
    wall: float
    peak: float
    faults: float


def compile_c(source: Path, output: Path, *flags: str) -> None:
    """Raises Failed with what the compiler says."""
    try:
        subprocess.run(["cc", "-O2", *flags, "-o", output, source], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise Failed(f"{source.name}: {getattr(error, 'stderr', '') or error}") from None


class Meter:
    """Calls programs. directory: for its own files."""

    def __init__(self, directory: Path) -> None:
        self.child = directory / "child"
        compile_c(Path(__file__).with_name("child.c"), self.child)

    def call(self, command: list[str], env: Mapping[str, str] = EMPTY) -> Sample:
        """Run the command; raises Failed unless it ends with 0."""
        # Errors go to a file: a created container would hold a pipe open.
        with tempfile.TemporaryFile() as errors:
            read, write = os.pipe()
            try:
                subprocess.run(
                    [str(self.child), str(write), *command],
                    check=False,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=errors,
                    env=dict(env),
                    pass_fds=[write],
                )
            finally:
                os.close(write)
            with os.fdopen(read) as result:
                words = result.read().split()
            if len(words) != 5 or words[4] != "0":
                errors.seek(0)
                text = errors.read().decode(errors="replace").strip()
                raise Failed(f"{' '.join(command)}: exit status {words[-1:]}: {text}")
        cpu, wall, peak, faults = (float(word) for word in words[:4])
        return Sample(cpu / 1e6, wall / 1e6, peak, faults)


def instructions(command: list[str], env: Mapping[str, str] = EMPTY) -> float | None:
    """Millions of instructions in user space by valgrind; None where it is not there or cannot run the program."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        return None
    with tempfile.TemporaryDirectory() as name:
        log = Path(name) / "log"
        options = ["--tool=callgrind", f"--callgrind-out-file={name}/out", f"--log-file={log}"]
        with tempfile.TemporaryFile() as errors:
            done = subprocess.run(
                [valgrind, *options, *command],
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env=dict(env),
            )
        found = re.search(r"Collected : (\d+)", log.read_text() if log.exists() else "")
    return int(found[1]) / 1e6 if found and done.returncode == 0 else None
