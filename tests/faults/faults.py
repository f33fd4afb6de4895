"""Every system call of every hot command fails once: `make faults`.

    make faults FAULTS_ARGS='-n 500 --seed 7'
    make faults FAULTS_ARGS='--scene create --only "0.1.1 mkdirat"'

Each call of the runtime (scenes.py) is recorded, and then disturbed in all ways that calls.py knows, one at a time: in
Python, in the agent and in the init. Each time one of two things has to be:

- it fails, with exactly one error that names the cause, and leaves nothing (`start`, `exec`, ...: a container that is
  as before, or has ended);
- it succeeds, and the container is what was asked for.

It must not hang; `delete --force` afterwards leaves nothing; the id can be used again. What is printed: how many
injections there were, and of what was found each with the words that `--only` repeats it by. The exit status is 1
where anything was found. Root runs it, where there is a C compiler.
"""

import argparse
import multiprocessing
import os
import random
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from faults.calls import Injection, injections, injector, recorded
from faults.scenes import SCENES, Scene
from faults.world import Outcome, World, alone
from support import ROOT

KINDS = ("false success", "false failure", "hang", "leftover", "internal error", "traceback", "untrue error")
#: pyrunc.exhaustion's last resort: the name of a function.
NAMELESS = re.compile(r"pyrunc \w+ failed: [a-z ]+: [a-z /]+\"?$")
#: Without these a pyrunc-init can say no more than that it ends.
SPEECHLESS = ("read", "write", "dup3", "sendmsg", "recvmsg", "prctl", "mmap")
BROKEN = (
    "its session with pyrunc broke",
    "could not hide itself (prctl) or map its memory (mmap)",
    "without an answer",
)
#: Said of a process that was killed.
ENDED = ("killed", "ended", "has stopped")


@dataclass(frozen=True)
class Finding:
    kind: str
    text: str


def record(scene: Scene, world: World) -> list[Injection]:
    """All injections into a scene, from a run of it."""
    log = world.directory / "log"
    scene.ready(world)
    follow = scene.follow(world)
    done = world.call(*scene.command(world), before=[injector(), *_follow(follow), str(log), "record"])
    if done.code != scene.code:
        raise RuntimeError(f"{scene.name} fails without an injection: {done}")
    calls = list(recorded(log.read_text()))
    if wrong := scene.false_success(world, done):
        raise RuntimeError(f"{scene.name} without an injection: {wrong}")
    world.call("delete", "--force", world.id)
    world.clear()
    return list(injections(scene.name, calls))


def inject(scene: Scene, world: World, injection: Injection) -> tuple[bool, list[Finding]]:
    """Disturb one call. Whether the injection was met; what was found."""
    log = world.directory / "log"
    world.clear_marks()
    world.terminals()
    try:
        scene.ready(world)
    except RuntimeError as error:
        world.clear()
        return False, [Finding("leftover", f"the id cannot be used again: {error}")]
    log.unlink(missing_ok=True)
    world.pid_file.unlink(missing_ok=True)
    before = [injector(), *_follow(scene.follow(world)), str(log), *injection.words()]
    done = world.call(*scene.command(world), before=before, log=log)
    found = list(_judge(scene, world, injection, done))
    if not scene.keeps or found or not world.program_pid():
        deleted = world.call("delete", "--force", world.id)
        if injection.action == "signal" and injection.call.role == "0":
            world.forget_pid_files()
        world.pid_file.unlink(missing_ok=True)
        if deleted.code or deleted.hung:
            found.append(Finding("leftover", f"delete --force: {deleted.code} {deleted.errors}"))
        found += [Finding("leftover", f"after delete --force: {what}") for what in world.left()]
    if found:
        world.clear()
        said = done.errors.strip().replace("\n", " | ")[-400:]
        found = [Finding(it.kind, f"{it.text} [{done.code}: {said}]") for it in found]
    return done.hit, found


def _judge(scene: Scene, world: World, injection: Injection, done: Outcome) -> Iterator[Finding]:
    if done.hung:
        yield Finding("hang", f"no end after {done.code} s")
        return
    if "internal error" in done.errors:
        yield Finding("internal error", "")
    if "Traceback" in done.errors:
        yield Finding("traceback", "")
    own_signal = injection.action == "signal" and injection.call.role == "0"
    if own_signal:
        # A signal ends it as it comes; what it leaves is for delete --force.
        return
    if done.code == scene.code:
        if wrong := scene.false_success(world, done):
            yield Finding("false success", wrong)
        return
    if injection.action == "delay":
        yield Finding("false failure", "for a delay")
        return
    if done.code == 128 + injection.value and injection.call.name == "execve":
        return  # the exit status of the program, which it was about to be
    if done.code in (0, 7):
        yield Finding("false success", f"exit status {done.code}")
    if wrong := _error(injection, done):
        yield Finding("untrue error", wrong)
    if not scene.leaves and (left := world.left()):
        yield Finding("leftover", "; ".join(left))
    if wrong := scene.false_failure(world, done):
        yield Finding("false failure", wrong)


def _error(injection: Injection, done: Outcome) -> str:
    """What is wrong with what an error says."""
    lines = [line for line in done.errors.splitlines() if line and not line.startswith("hint: ")]
    lines = [line for line in lines if "level=warning" not in line]
    if len(lines) != 1:
        return f"{len(lines)} lines in place of one"
    if injection.call.role != "0" and injection.call.name in SPEECHLESS and any(it in lines[0] for it in BROKEN):
        return ""
    if injection.action == "signal":
        return "" if any(word in lines[0] for word in ENDED) else "does not name the cause"
    cause = os.strerror(injection.value).lower()
    if cause not in lines[0]:
        return "does not name the cause"
    return "does not name the object" if NAMELESS.search(lines[0]) else ""


def _follow(pid: int) -> list[str]:
    return ["-p", str(pid)] if pid else []


def program() -> str:
    """The runtime under test: the embedded form, where it was built."""
    built = ROOT / "build/embedded/pyrunc"
    return os.environ.get("RUNTIME") or str(built if built.exists() else ROOT / ".venv/bin/pyrunc")


# -- all of them -------------------------------------------------------------------------------


def sample(all_: Sequence[Injection], number: int, seed: int) -> list[Injection]:
    """At most `number` of the injections, the same ones for the same seed; 0: all."""
    if not number or number >= len(all_):
        return list(all_)
    return random.Random(seed).sample(list(all_), number)


Result = tuple[str, bool, list[Finding]]


def _work(names: Sequence[str], number: int, seed: int, only: str, share: tuple[int, int]) -> Iterator[Result]:
    """This process's share of the injections into these scenes."""
    alone()
    for scene in SCENES:
        if names and scene.name not in names:
            continue
        world = World(program(), scene.changes)
        try:
            chosen = [it for it in record(scene, world) if re.search(only, f"{it} {it.call.path}")]
            for injection in sample(chosen, number, seed)[share[0] :: share[1]]:
                hit, found = inject(scene, world, injection)
                yield str(injection) + f" ({injection.call.path})", hit, found
        finally:
            world.close()


def _worker(queue: "multiprocessing.Queue[Result | None]", *rest: object) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        for result in _work(*rest):  # type: ignore[arg-type]
            queue.put(result)
    finally:
        injector.cache_clear()
        queue.put(None)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=0, help="at most so many injections a scene (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="which ones")
    parser.add_argument("--scene", action="append", default=[], choices=[it.name for it in SCENES])
    parser.add_argument("--only", default="", help="injections that the regular expression finds")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--list", action="store_true", help="list the injections")
    options = parser.parse_args()
    began = time.monotonic()
    if options.list:
        alone()
        for scene in SCENES:
            world = World(program(), scene.changes)
            for injection in record(scene, world):
                print(injection, injection.call.path)
            world.close()
        return 0
    names = options.scene
    injector()  # compiled once, and removed at the end, by this process
    context = multiprocessing.get_context("fork")
    queue: multiprocessing.Queue[Result | None] = context.Queue()
    shares = [(index, options.jobs) for index in range(options.jobs)]
    workers = [
        context.Process(target=_worker, args=(queue, names, options.n, options.seed, options.only, share))
        for share in shares
    ]
    for worker in workers:
        worker.start()
    total, met, counts, running = 0, 0, Counter[str](), len(workers)
    while running:
        result = queue.get()
        if result is None:
            running -= 1
            continue
        words, hit, found = result
        total += 1
        met += hit
        for finding in found:
            counts[finding.kind] += 1
            print(f"{finding.kind}: {words}: {finding.text}", flush=True)
    broken = 0
    for worker in workers:
        worker.join()
        broken += worker.exitcode != 0
    figures = ", ".join(f"{counts[kind]} {kind}s" for kind in KINDS)
    figures = figures.replace("successs", "successes")
    print(f"faults: {total} injections ({met} met) in {time.monotonic() - began:.0f} s: {figures}")
    return 1 if sum(counts.values()) or broken or not total else 0


if __name__ == "__main__":
    sys.exit(main())
