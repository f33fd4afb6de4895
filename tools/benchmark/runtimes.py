"""The runtimes that are compared, and the conditions that all of them get."""

import ctypes
import os
import resource
import shutil
import subprocess
import time
from pathlib import Path

from benchmark.measure import EMPTY, Failed, Meter, Sample, compile_c
from support import ROOT

MEMLOCK = """\
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/resource.h>
int setrlimit(__rlimit_resource_t resource, const struct rlimit *limit)
{
    int (*real)(__rlimit_resource_t, const struct rlimit *);
    if (resource == RLIMIT_MEMLOCK)
        return 0;
    real = (int (*)(__rlimit_resource_t, const struct rlimit *))dlsym(RTLD_NEXT, "setrlimit");
    return real(resource, limit);
}
"""
CLONE_NEWNS = 0x00020000
MS_REC, MS_PRIVATE = 0x4000, 0x40000
PEERS = ("runc", "crun", "youki")


class Runtime:
    """A program with a state directory of its own."""

    def __init__(self, name: str, program: str, directory: Path, meter: Meter) -> None:
        self.name = name
        self.program = program
        self.meter = meter
        self.directory = directory / name
        self.directory.mkdir()
        self.root = self.directory / "state"
        self.env = environment(name, self.directory)
        self.version = version(program)

    def command(self, *args: str) -> list[str]:
        return [self.program, "--root", str(self.root), *args]

    def call(self, *args: str) -> Sample:
        return self.meter.call(self.command(*args), self.env)

    def quietly(self, *args: str) -> "subprocess.CompletedProcess[bytes]":
        """Not measured, whatever comes of it."""
        return subprocess.run(self.command(*args), check=False, capture_output=True, env=self.env)

    def remove(self, id: str) -> None:
        self.quietly("delete", "--force", id)


def version(program: str) -> str:
    done = subprocess.run([program, "--version"], check=False, capture_output=True, text=True)
    return (done.stdout.splitlines() or ["?"])[0]


def find(names: list[str]) -> dict[str, str]:
    """Programs by name: those named ([NAME=]PROGRAM), or pyrunc in both forms and the peers that are there."""
    if names:
        pairs = [name.rpartition("=") for name in names]
        paths = {name or Path(program).name: shutil.which(program) or program for name, _, program in pairs}
        return {name: str(Path(path).absolute()) for name, path in paths.items()}
    found = {"pyrunc": str(ROOT / "build/embedded/pyrunc"), "script": str(ROOT / ".venv/bin/pyrunc")}
    for name in PEERS:
        program = shutil.which(name, path=EMPTY["PATH"] + ":/usr/local/bin")
        if program:
            found[name] = program
    return found


def one_hierarchy() -> None:
    """Put cgroup v2 at its place, in a mount namespace of this program's own."""
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) or libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None):
        print(f"no mount namespace for cgroup v2: {os.strerror(ctypes.get_errno())}")
        return
    subprocess.run(["mount", "-t", "cgroup2", "none", "/sys/fs/cgroup"], check=True)
    print("cgroup v2 is mounted over v1 for this run")


def environment(name: str, directory: Path) -> dict[str, str]:
    """Empty but for PATH, and what crun needs here: it gives up where RLIMIT_MEMLOCK cannot be raised."""
    if not name.startswith("crun"):
        return EMPTY
    try:
        infinite = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.setrlimit(resource.RLIMIT_MEMLOCK, infinite)
    except (OSError, ValueError):
        source, library = directory / "memlock.c", directory / "memlock.so"
        source.write_text(MEMLOCK)
        compile_c(source, library, "-shared", "-fPIC")
        print("crun is told that it may raise RLIMIT_MEMLOCK")
        return {**EMPTY, "LD_PRELOAD": str(library)}
    return EMPTY


def resident(pid: int) -> float:
    """Resident memory of a process in KiB, what it shares with others in equal parts (Pss)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return float(line.split()[1])
    raise Failed(f"process {pid} has no memory: it has ended")


def wait_ended(pid: int) -> None:
    """Until the process, which was killed, is dead."""
    stat = Path(f"/proc/{pid}/stat")
    end = time.monotonic() + 10
    try:
        while stat.read_text().rpartition(")")[2].split()[0] != "Z":
            if time.monotonic() > end:
                raise Failed("a container outlives SIGKILL")
            time.sleep(0.001)
    except (FileNotFoundError, ProcessLookupError):
        pass  # gone before it was opened, or before it was read
