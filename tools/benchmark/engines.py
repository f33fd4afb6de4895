"""The same as users of engines see it: wall time of podman and ctr with each runtime, where they are."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from benchmark.bundles import bundle
from benchmark.measure import Failed
from benchmark.runtimes import Runtime

ROUNDS = 5
#: Of podman: what not every machine has, and is no work of the runtime's.
OPTIONS = ("--network", "none", "--pids-limit", "-1")


def rows(runtimes: list[Runtime]) -> list[tuple[str, dict[str, float]]]:
    """Milliseconds, the least of some calls."""
    found: list[tuple[str, dict[str, float]]] = []
    works: list[tuple[str, str, Callable[[Runtime, str], list[float]]]] = [
        ("podman", "podman run", podman_run),
        ("podman", "podman exec", podman_exec),
        ("ctr", "ctr run", ctr_run),
    ]
    for program, name, work in works:
        if shutil.which(program) is None:
            print(f"{name}: left out, there is no {program}")
            continue
        values = {}
        for runtime in runtimes:
            try:
                values[runtime.name] = min(work(runtime, f"bench-{os.getpid()}-{runtime.name}"))
            except (Failed, OSError) as error:
                print(f"{name}: {runtime.name}: {error}")
        found.append((f"{name}: wall, ms", values))
    return found


def timed(*command: str) -> float:
    start = time.perf_counter()
    done = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise Failed(f"{' '.join(command)}: exit status {done.returncode}: {done.stderr.strip()}")
    return (time.perf_counter() - start) * 1000


def rootfs(runtime: Runtime) -> str:
    return str(bundle(runtime.directory / "engine", "plain", "/bin/true").path / "rootfs")


def podman(runtime: Runtime, *words: str) -> list[str]:
    return ["podman", "--runtime", runtime.program, *words]


def podman_run(runtime: Runtime, id: str) -> list[float]:
    words = podman(runtime, "run", "--rm", *OPTIONS, "--rootfs", rootfs(runtime), "/bin/true")
    return [timed(*words) for _ in range(ROUNDS)]


def podman_exec(runtime: Runtime, id: str) -> list[float]:
    words = ("run", "--detach", "--name", id, *OPTIONS, "--rootfs", rootfs(runtime), "/bin/sleep", "1000")
    timed(*podman(runtime, *words))
    try:
        return [timed(*podman(runtime, "exec", id, "/bin/true")) for _ in range(ROUNDS)]
    finally:
        subprocess.run(podman(runtime, "rm", "--force", "--time", "0", id), check=False, capture_output=True)


def ctr_run(runtime: Runtime, id: str) -> list[float]:
    words = ("--runc-binary", str(Path(runtime.program).resolve()), "--rootfs", rootfs(runtime))
    return [timed("ctr", "run", "--rm", *words, f"{id}-{number}", "/bin/true") for number in range(ROUNDS)]
