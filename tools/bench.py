"""Compare pyrunc's cost with that of runc, crun and youki: `make bench`.

    python tools/bench.py [--rounds N] [--quick | --all] [--json FILE] [--svg FILE] [[NAME=]RUNTIME...]

Each round calls every runtime once for each operation, in an order of its own, so that what else the machine does, and
what the call before left to the kernel, hits all alike. Printed are medians over the rounds, and the median of the
rounds' ratios of the first runtime to each other. CPU is user and system time of the call and of all children it
waited for; wall is what the caller waits; peak is the largest resident size. Instructions, where valgrind is there, do
not vary. `exec` is what a health probe calls, `sequence` what an engine does: create, start, state, kill, delete.

By default: CPU, wall, peak memory and page faults with a plain, a docker-like and a podman-like configuration (default
seccomp profile, 12 bind mounts, 30 variables), and instructions. --quick: the plain one alone. --all: also many
containers, many mounts, little memory, and podman and ctr, which takes minutes.

pyrunc is there in both of its forms, with CPython embedded (`pyrunc`) and as a script. All runtimes get the same
conditions: where cgroup v2 is not at its place it is mounted there, in this program's mount namespace, as crun refuses
a machine that has v1 too and runc does more work on it. Where the machine refuses to raise RLIMIT_MEMLOCK, at which
crun gives up, a preloaded function tells crun that it worked.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import statistics
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tools")]

from benchmark import engines, life, many, report  # noqa: E402
from benchmark.bundles import SHAPES  # noqa: E402
from benchmark.measure import Failed, Meter  # noqa: E402
from benchmark.runtimes import Runtime, find, one_hierarchy  # noqa: E402

PARTS = (("cpu", "CPU, ms"), ("wall", "wall, ms"), ("peak", "peak memory, KiB"), ("faults", "page faults"))


class Record:
    """All tables; each is printed when it is there."""

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self.tables: dict[str, list[report.Row]] = {}

    def add(self, title: str, rows: list[report.Row], quotients: "list[report.Row] | None" = None) -> None:
        self.tables[title] = rows
        if quotients is not None:
            self.tables[f"{title}, ratio"] = quotients
        print("\n" + report.table(title, rows, self.names, quotients), end="", flush=True)


def yardsticks(meter: Meter, rounds: int) -> str:
    """What a bare Python takes, and `true`."""
    lines = []
    for label, command in (
        ("python3 -IS -c pass", [os.path.realpath(sys.executable), "-IS", "-c", "pass"]),
        ("true", ["/bin/true"]),
    ):
        samples = [meter.call(command) for _ in range(rounds)]
        cpu, wall = (statistics.median(getattr(s, part) for s in samples) for part in ("cpu", "wall"))
        lines.append(f"{label:<22}{cpu:>8.1f} ms CPU {wall:>8.1f} ms wall")
    return "\n".join(lines)


def compare(runtimes: list[Runtime], meter: Meter, arguments: argparse.Namespace) -> Record:
    record = Record([runtime.name for runtime in runtimes])
    for runtime in runtimes:
        print(f"{runtime.name:<10}{runtime.version}")
    print(yardsticks(meter, arguments.rounds))
    print(f"medians of {arguments.rounds} rounds")
    for shape in SHAPES[:1] if arguments.quick else SHAPES:
        samples = life.measure(runtimes, shape, arguments.rounds)
        for part, title in PARTS:
            record.add(f"{shape}: {title}", report.medians(samples, part), report.ratios(samples, part))
        counted = life.count(runtimes, shape)
        rows = [
            (operation, {name: of[operation] for name, of in counted.items() if operation in of})
            for operation in ("run", "create", "state")
        ]
        if any(values for _, values in rows):
            record.add(f"{shape}: million instructions", rows)
    if arguments.all:
        record.add("many", many.rows(runtimes, arguments.factor))
        found = engines.rows(runtimes)
        if found:
            record.add("engines", found)
    return record


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare container runtimes.")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--factor", type=float, default=1.0, help="of the numbers of containers and mounts in --all")
    parser.add_argument("--json", type=Path, default=ROOT / "build/bench.json")
    parser.add_argument("--svg", type=Path, default=ROOT / "build/bench.svg")
    parser.add_argument("runtime", nargs="*")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        print("bench: needs root", file=sys.stderr)
        return 1
    # Whatever ends this, no container stays.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    directory = Path(tempfile.mkdtemp(prefix="bench-"))
    one_hierarchy()
    try:
        meter = Meter(directory)
        found = [Runtime(name, program, directory, meter) for name, program in find(arguments.runtime).items()]
        runtimes = [runtime for runtime in found if life.usable(runtime)]
        if not runtimes:
            return 1
        record = compare(runtimes, meter, arguments)
        about = {
            "kernel": platform.release(),
            "machine": platform.machine(),
            "processors": os.cpu_count(),
            "rounds": arguments.rounds,
            "versions": {runtime.name: runtime.version for runtime in runtimes},
        }
        for file in (arguments.json, arguments.svg):
            file.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(report.document(record.tables, about), indent=1) + "\n")
        plain = record.tables["plain: CPU, ms"]
        arguments.svg.write_text(report.plot("CPU of each call, plain configuration", plain, record.names, "ms"))
        print(f"\n{arguments.json} and {arguments.svg} have this, too")
    except Failed as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
