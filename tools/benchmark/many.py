"""Many at once, large, or in little memory. Each function gives a value by runtime; units are in the names of rows."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmark.bundles import bundle, limited, many_mounts
from benchmark.measure import Failed
from benchmark.runtimes import Runtime, resident

#: Limits of memory are tried to this many bytes.
STEP = 256 << 10
HIGHEST = 64 << 20

Row = tuple[str, dict[str, float]]


def rows(runtimes: list[Runtime], factor: float) -> list[Row]:
    """All rows. factor: of the numbers of containers and mounts that docs/performance.md has."""

    def times(number: int) -> int:
        return max(1, round(number * factor))

    found: list[Row] = []

    def add(name: str, work: Callable[[Runtime], float]) -> None:
        values = {}
        for runtime in runtimes:
            try:
                values[runtime.name] = work(runtime)
            except (Failed, OSError) as error:
                print(f"{name}: {runtime.name}: {error}")
        found.append((name, values))

    add(f"{times(100)} runs in a row: wall, ms", lambda runtime: in_a_row(runtime, times(100)))
    add(f"{times(50)} runs at once: wall, ms", lambda runtime: at_once(runtime, times(50)))
    for number in (10, 100, times(1000)):
        add(f"run with {number} tmpfs mounts: CPU, ms", partial(mounts, number=number))
    add(f"list of {times(1000)} containers: CPU, ms", lambda runtime: listing(runtime, times(1000)))
    add(f"{times(100)} created containers: memory, KiB each", lambda runtime: memory(runtime, times(100)))
    if memory_is_limited():
        add("lowest memory limit for run: KiB", lowest_limit)
    else:
        print("lowest memory limit: left out, the hierarchy of cgroup v2 has no memory controller here")
    return found


def name_of(runtime: Runtime, number: int) -> str:
    return f"bench-{os.getpid()}-{runtime.name}-{number}"


def in_a_row(runtime: Runtime, number: int) -> float:
    true = str(bundle(runtime.directory / "row", "plain", "/bin/true").path)
    return sum(runtime.call("run", "--bundle", true, name_of(runtime, n)).wall for n in range(number))


def at_once(runtime: Runtime, number: int) -> float:
    true = str(bundle(runtime.directory / "row", "plain", "/bin/true").path)
    start = time.perf_counter()
    calls = [
        subprocess.Popen(
            runtime.command("run", "--bundle", true, name_of(runtime, n)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=runtime.env,
        )
        for n in range(number)
    ]
    failed = sum(call.wait() != 0 for call in calls)
    wall = (time.perf_counter() - start) * 1000
    if failed:
        raise Failed(f"{failed} of {number} failed")
    return wall


def mounts(runtime: Runtime, number: int) -> float:
    """The least of some runs."""
    made = many_mounts(runtime.directory / f"mounts{number}", number)
    tries = 5 if number < 500 else 2
    return min(runtime.call("run", "--bundle", str(made.path), name_of(runtime, n)).cpu for n in range(tries))


def listing(runtime: Runtime, number: int) -> float:
    """The least of some calls of `list`, for one container whose state directory has copies under other names."""
    sleep = str(bundle(runtime.directory / "listed", "plain", "/bin/sleep", "1000").path)
    first = name_of(runtime, 0)
    runtime.call("create", "--bundle", sleep, first)
    names = [f"{first}-{n}" for n in range(1, number)]
    try:
        for name in names:
            shutil.copytree(runtime.root / first, runtime.root / name, ignore=special)
            for file in (runtime.root / name).iterdir():
                if file.is_file() and file.stat().st_size:
                    file.write_bytes(file.read_bytes().replace(f'"{first}"'.encode(), f'"{name}"'.encode()))
        shown = len(json.loads(runtime.quietly("list", "--format", "json").stdout))
        if shown != number:
            raise Failed(f"list shows {shown} of {number}")
        return min(runtime.call("list").cpu for _ in range(3))
    finally:
        for name in names:
            shutil.rmtree(runtime.root / name, ignore_errors=True)
        runtime.remove(first)


def special(directory: str, names: list[str]) -> list[str]:
    """For copytree: FIFOs and sockets stay behind."""
    return [name for name in names if not (Path(directory) / name).is_file() and not (Path(directory) / name).is_dir()]


def memory(runtime: Runtime, number: int) -> float:
    """Of the processes of created containers that wait for `start`, in the mean."""
    sleep = bundle(runtime.directory / "created", "plain", "/bin/sleep", "1000").path
    names = [name_of(runtime, n) for n in range(number)]
    try:
        pids = []
        for name in names:
            runtime.call("create", "--bundle", str(sleep), "--pid-file", str(sleep / "pid"), name)
            pids.append(int((sleep / "pid").read_text()))
        # Let those settle that wait for `start`.
        time.sleep(0.2)
        return sum(resident(pid) for pid in pids) / number
    finally:
        for name in names:
            runtime.remove(name)


def memory_is_limited() -> bool:
    controllers = Path("/sys/fs/cgroup/cgroup.controllers")
    return controllers.exists() and "memory" in controllers.read_text().split()


def lowest_limit(runtime: Runtime) -> float:
    """The least memory limit, in steps, with which `run` of true works three times."""

    def works(limit: int) -> bool:
        made = limited(runtime.directory / "limited", limit)
        for number in range(3):
            name = name_of(runtime, number)
            done = runtime.quietly("run", "--bundle", str(made.path), name)
            runtime.remove(name)
            if done.returncode:
                return False
        return True

    low, high = 0, HIGHEST // STEP
    if not works(high * STEP):
        raise Failed("fails with 64 MiB")
    while high - low > 1:
        middle = (low + high) // 2
        if works(middle * STEP):
            high = middle
        else:
            low = middle
    return high * STEP / 1024
