"""Compare pyrunc's cost with that of runc and crun: `make bench`.

    python tools/bench.py [--rounds N] [RUNTIME...]

Each round calls every runtime once for each operation, in turn, so that what else the machine
does hits all alike. Printed are the medians over the rounds, and pyrunc's as a multiple of the
others'. CPU is user and system time of the call and of all children it waited for; wall is
what the caller waits. Two yardsticks come first: a bare Python, and starting `true` itself.
The container runs /bin/true (`run`) or sleeps (everything else), without limits.

By default pyrunc is there in both of its forms, with CPython embedded (`pyrunc`) and as a script.
All runtimes get the same conditions: where cgroup v2 is not at its place it is mounted there, in
this program's mount namespace, as crun refuses a machine that has v1 too and runc does more work
on it. Where the machine refuses to raise RLIMIT_MEMLOCK, at which crun gives up, a preloaded
function tells crun that it worked.
"""

import argparse
import ctypes
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from support import Bundle, make_bundle  # noqa: E402

OPERATIONS = ("run", "create", "state", "start", "exec", "kill", "delete")
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
EMPTY = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}


class Failed(Exception):
    """A call that should have worked did not."""


def measure(command: list[str], env: dict[str, str] = EMPTY) -> tuple[float, float]:
    """Run the command; its CPU and wall time in milliseconds."""
    # Errors go to a file: a created container would hold a pipe open.
    with tempfile.TemporaryFile() as errors:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        start = time.perf_counter()
        done = subprocess.run(
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env=env,
        )
        wall = time.perf_counter() - start
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode:
            errors.seek(0)
            text = errors.read().decode(errors="replace").strip()
            raise Failed(f"{' '.join(command)}: exit status {done.returncode}: {text}")
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return cpu * 1000, wall * 1000


class Bench:
    """The samples of one runtime."""

    def __init__(self, name: str, program: str, directory: Path, env: dict[str, str]) -> None:
        self.name = name
        self.program = program
        self.env = env
        self.root = directory / f"{name}-state"
        # The version of the specification that the oldest crun in use knows.
        version = {"ociVersion": "1.0.2"}
        self.true: Bundle = make_bundle(directory / f"{name}-true", version)
        self.sleep = make_bundle(directory / f"{name}-sleep", version).args("/bin/sleep", "1000")
        self.samples: dict[str, list[tuple[float, float]]] = {}
        self.resident: list[float] = []
        self.failure = ""

    def command(self, *args: str) -> list[str]:
        return [self.program, "--root", str(self.root), *args]

    def note(self, operation: str, *args: str) -> None:
        self.samples.setdefault(operation, []).append(measure(self.command(*args), self.env))

    def steps(self, id: str) -> list[Callable[[], None]]:
        """The calls of one round, in order; the rounds of all runtimes are interleaved."""
        pid_file = self.sleep.path / "pid"
        # A session keyring outlives its container for a moment, under the container's id.
        id = f"{id}-{self.name}"

        def look() -> None:
            # Let the init that waits for `start` settle before its memory is read.
            time.sleep(0.02)
            self.resident.append(resident(int(pid_file.read_text())))

        sleep = str(self.sleep.path)
        return [
            lambda: self.note("run", "run", "--bundle", str(self.true.path), id),
            lambda: self.note("create", "create", "--bundle", sleep, "--pid-file", str(pid_file), id),
            look,
            lambda: self.note("state", "state", id),
            lambda: self.note("start", "start", id),
            lambda: self.note("exec", "exec", id, "/bin/true"),
            lambda: self.note("kill", "kill", id, "KILL"),
            lambda: self.delete(id, pid_file),
        ]

    def delete(self, id: str, pid_file: Path) -> None:
        """Delete the container once its process, killed before, has ended."""
        stat = Path(f"/proc/{int(pid_file.read_text())}/stat")
        end = time.monotonic() + 10
        while stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z":
            if time.monotonic() > end:
                raise Failed(f"{self.name}: the container outlives SIGKILL")
            time.sleep(0.001)
        self.note("delete", "delete", id)

    def clean(self, id: str) -> None:
        subprocess.run(
            self.command("delete", "--force", f"{id}-{self.name}"),
            check=False,
            capture_output=True,
            env=self.env,
        )


def resident(pid: int) -> float:
    """Resident memory of a process in KiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return float(line.split()[1])
    raise Failed(f"process {pid} has no memory: it has ended")


def find_runtimes(names: list[str]) -> dict[str, str]:
    """Programs by name: those named, or pyrunc of this checkout, runc and crun if there."""
    if names:
        return {Path(name).name: shutil.which(name) or name for name in names}
    found = {
        "pyrunc": str(ROOT / "build/embedded/pyrunc"),
        "script": str(ROOT / ".venv/bin/pyrunc"),
    }
    for name in ("runc", "crun"):
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
    """The environment for a runtime: empty but for PATH, and what crun needs here."""
    if name != "crun":
        return EMPTY
    try:
        infinite = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.setrlimit(resource.RLIMIT_MEMLOCK, infinite)
    except (OSError, ValueError):
        source, library = directory / "memlock.c", directory / "memlock.so"
        source.write_text(MEMLOCK)
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, source], check=True)
        print("crun is told that it may raise RLIMIT_MEMLOCK")
        return {**EMPTY, "LD_PRELOAD": str(library)}
    return EMPTY


def usable(bench: Bench) -> bool:
    """Whether the runtime can do one whole round here; the reason for no is printed."""
    id = f"bench-try-{os.getpid()}"
    try:
        for step in bench.steps(id):
            step()
    except (Failed, OSError) as error:
        print(f"{bench.name} is left out: {error}")
        return False
    finally:
        bench.clean(id)
    bench.samples.clear()
    bench.resident.clear()
    return True


def table(title: str, rows: list[tuple[str, dict[str, float]]], names: list[str]) -> None:
    """Print one table: a column a runtime, and the first one's ratio to each other."""
    first, *others = names
    heads = [*names, *(f"{first}/{name}" for name in others)]
    print(f"\n{title:<22}" + "".join(f"{head:>14}" for head in heads))
    for label, values in rows:
        cells = [f"{values[name]:>14.1f}" if name in values else f"{'-':>14}" for name in names]
        for name in others:
            known = name in values and first in values and values[name] > 0
            cells.append(f"{values[first] / values[name]:>14.2f}" if known else f"{'-':>14}")
        print(f"{label:<22}" + "".join(cells))


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare container runtimes.")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("runtime", nargs="*")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        print("bench: needs root", file=sys.stderr)
        return 1
    directory = Path(tempfile.mkdtemp(prefix="bench-"))
    one_hierarchy()
    try:
        benches = [
            bench
            for name, program in find_runtimes(arguments.runtime).items()
            if usable(bench := Bench(name, program, directory, environment(name, directory)))
        ]
        if not benches:
            return 1
        yardsticks: dict[str, list[tuple[float, float]]] = {"python3 -IS -c pass": [], "true": []}
        for number in range(arguments.rounds):
            yardsticks["python3 -IS -c pass"].append(measure([os.path.realpath(sys.executable), "-IS", "-c", "pass"]))
            yardsticks["true"].append(measure(["/bin/true"]))
            id = f"bench-{os.getpid()}-{number}"
            try:
                for calls in zip(*(bench.steps(id) for bench in benches), strict=True):
                    for call in calls:
                        call()
            finally:
                for bench in benches:
                    bench.clean(id)
        report(benches, yardsticks, arguments.rounds)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return 0


def report(benches: list[Bench], yardsticks: dict[str, list[tuple[float, float]]], rounds: int) -> None:
    """Print the medians of all samples."""
    names = [bench.name for bench in benches]
    print(f"medians of {rounds} rounds, milliseconds")
    for label, samples in yardsticks.items():
        cpu, wall = (statistics.median(values) for values in zip(*samples, strict=True))
        print(f"{label:<22}{cpu:>8.1f} CPU {wall:>8.1f} wall")
    for column, title in ((0, "CPU (ms)"), (1, "wall (ms)")):
        rows = []
        for operation in OPERATIONS:
            values = {bench.name: statistics.median(s[column] for s in bench.samples[operation]) for bench in benches}
            rows.append((operation, values))
        whole = {
            bench.name: sum(
                statistics.median(s[column] for s in bench.samples[operation])
                for operation in ("create", "start", "kill", "delete")
            )
            for bench in benches
        }
        rows.append(("create..delete", whole))
        table(title, rows, names)
    memory = {bench.name: statistics.median(bench.resident) for bench in benches}
    table("memory (KiB)", [("created container", memory)], names)


if __name__ == "__main__":
    sys.exit(main())
