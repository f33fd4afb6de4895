"""Random kills, many lives, many at once: `make soak`.

    make soak                                          some minutes
    make soak SOAK_ARGS='--kills 2000 --lives 10000'   an hour or more

- kills: SIGKILL of pyrunc at a random moment of each kind of call, so many of each. Then `delete --force` says 0 and
  leaves nothing, and the id can be used again. Where the call was quicker than its end, that counts as no kill.
- lives: create, start, exec, kill and delete, one container after the other; processes, mounts, cgroups, files and
  descriptors are counted before and after.
- at once: so many containers at the same time; so many execs at the same time in one container.

What is printed are figures; the exit status is 1 where anything was left, hung or went wrong.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from faults.faults import program
from faults.scenes import SCENES, Scene
from faults.world import RUNS, TOKEN, World, alone, await_true

HANGS = 60.0  # seconds for calls that compete with many others
#: The commands whose calls are killed.
KILLED = "create run-d run start exec state kill delete delete-f rich-create rich-delete".split()


class Soak:
    """The figures, and what was wrong."""

    def __init__(self) -> None:
        self.wrong: list[str] = []

    def fail(self, text: str) -> None:
        self.wrong.append(text)
        print(f"wrong: {text}", flush=True)

    # -- kills ---------------------------------------------------------------------------------

    def kills(self, scene: Scene, number: int, seed: int) -> None:
        """Kill a scene's call at random moments, `number` times."""
        chance = random.Random(f"{seed} {scene.name}")
        world = World(program(), scene.changes)
        killed = 0
        try:
            longest = self._duration(scene, world)
            for _ in range(number):
                killed += self._kill(scene, world, chance.uniform(0, longest))
        finally:
            world.close()
        print(f"soak: {scene.name}: {number} calls, {killed} killed within {longest * 1000:.0f} ms", flush=True)

    def _duration(self, scene: Scene, world: World) -> float:
        """How long the call takes, in the middle of some tries."""
        found = []
        for _ in range(5):
            self._ready(scene, world)
            began = time.monotonic()
            world.call(*scene.command(world))
            found.append(time.monotonic() - began)
            self._clean(world, scene.name)
        return sorted(found)[2]

    def _ready(self, scene: Scene, world: World) -> None:
        world.clear_marks()
        try:
            scene.ready(world)
        except RuntimeError as error:
            self.fail(f"{scene.name}: the id cannot be used again: {error}")
            world.clear()
            scene.ready(world)

    def _kill(self, scene: Scene, world: World, moment: float) -> bool:
        self._ready(scene, world)
        process = subprocess.Popen(
            world.words(*scene.command(world)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(moment)
        process.send_signal(signal.SIGKILL)
        killed = process.wait() == -signal.SIGKILL
        self._clean(world, f"{scene.name} killed after {moment * 1000:.1f} ms")
        return killed

    def _clean(self, world: World, what: str) -> None:
        deleted = world.call("delete", "--force", world.id)
        world.forget_pid_files()
        world.pid_file.unlink(missing_ok=True)
        if deleted.code or deleted.hung:
            self.fail(f"{what}: delete --force: {deleted.code} {deleted.errors}")
        if left := world.left():
            self.fail(f"{what}: delete --force left {'; '.join(left)}")
            world.clear()

    # -- lives ---------------------------------------------------------------------------------

    def lives(self, number: int) -> None:
        """One container after the other."""
        world = World(program())
        world.shell(RUNS)
        began = time.monotonic()
        try:
            with self._same(world, f"{number} lives"):
                for count in range(number):
                    world.clear_marks()
                    world.need("create", "-b", str(world.bundle.path), world.id)
                    world.need("start", world.id)
                    if not world.ran():
                        self.fail(f"life {count}: the program has not run")
                    said = world.need("exec", world.id, "/bin/echo", TOKEN).output
                    if said != f"{TOKEN}\n":
                        self.fail(f"life {count}: exec said {said!r}")
                    world.need("kill", world.id, "KILL")
                    if not await_true(lambda: not world.processes()):
                        self.fail(f"life {count}: kill left {world.processes()}")
                    world.need("delete", world.id)
        finally:
            world.close()
        print(f"soak: {number} lives in {time.monotonic() - began:.0f} s", flush=True)

    # -- at once -------------------------------------------------------------------------------

    def at_once(self, number: int) -> None:
        """So many containers: made, running and deleted at the same time."""
        world = World(program())
        world.bundle.update({"root": {"path": str(world.bundle.rootfs)}}).shell("exec sleep 1000")
        bundles = Path(tempfile.mkdtemp(prefix="pyrunc-soak-"))
        names = [f"it-{index}" for index in range(number)]
        for name in names:
            world.bundle.update({"linux": {"cgroupsPath": f"/{world.group}/{name}"}})
            (bundles / name).mkdir()
            shutil.copy(world.bundle.path / "config.json", bundles / name)
        began = time.monotonic()
        try:
            with self._same(world, f"{number} at once"):
                self._all(world, [("run", "-d", "-b", str(bundles / name), name) for name in names])
                if not await_true(lambda: len(world.named("sleep")) == number, HANGS):
                    self.fail(f"{len(world.named('sleep'))} of {number} run")
                self._all(world, [("delete", "--force", name) for name in names])
                await_true(lambda: not world.processes(), HANGS)
        finally:
            for name in names:
                world.call("delete", "--force", name)
            world.close()
            shutil.rmtree(bundles)
        print(f"soak: {number} containers at once in {time.monotonic() - began:.0f} s", flush=True)

    def execs(self, number: int) -> None:
        """So many execs at the same time in one container."""
        world = World(program())
        world.shell(RUNS)
        began = time.monotonic()
        try:
            with self._same(world, f"{number} execs at once"):
                world.need("run", "-d", "-b", str(world.bundle.path), world.id)
                self._all(world, [("exec", world.id, "/bin/sh", "-c", "exit 7")] * number, code=7)
                if world.processes() != {world.program_pid()}:
                    self.fail(f"execs left {world.processes()}")
                world.need("delete", "--force", world.id)
        finally:
            world.close()
        print(f"soak: {number} execs at once in {time.monotonic() - began:.0f} s", flush=True)

    def _all(self, world: World, commands: list[tuple[str, ...]], code: int = 0) -> None:
        """Call all of them at the same time."""
        processes = [
            subprocess.Popen(
                world.words(*command),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=(world.directory / f"err{index}").open("wb"),
            )
            for index, command in enumerate(commands)
        ]
        until = time.monotonic() + HANGS + len(commands)
        for index, process in enumerate(processes):
            try:
                status = process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                status = process.wait()
            errors = world.directory / f"err{index}"
            if status != code:
                self.fail(f"{' '.join(commands[index])}: exit status {status}: {errors.read_text()}")
            errors.unlink()

    def _counts(self, world: World) -> dict[str, int]:
        return {
            "descriptors": len(os.listdir("/proc/self/fd")),
            "mounts": len(world.mounted().splitlines()),
            "cgroups": sum(len(list(path.rglob("*/"))) for path in world.groups),
            "processes": len(world.processes()),
            "containers": len(list(world.root.iterdir())) if world.root.exists() else 0,
        }

    @contextmanager
    def _same(self, world: World, what: str) -> Iterator[None]:
        """What there is, in this process and outside, is the same before and after."""
        before = self._counts(world)
        yield
        if left := world.left():
            self.fail(f"{what}: left {'; '.join(left)}")
        after = self._counts(world)
        if after != before:
            self.fail(f"{what}: before {before}, after {after}")
        print(f"soak: {what}: " + ", ".join(f"{value} {name}" for name, value in after.items()) + " before and after")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=40, help="of each kind of call")
    parser.add_argument("--lives", type=int, default=200, help="one after the other")
    parser.add_argument("--at-once", type=int, default=300, help="containers at the same time")
    parser.add_argument("--execs", type=int, default=100, help="at the same time")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    options = parser.parse_args()
    alone()
    soak = Soak()
    if options.kills:
        for scene in SCENES:
            if scene.name in KILLED:
                soak.kills(scene, options.kills, options.seed)
    if options.lives:
        soak.lives(options.lives)
    if options.at_once:
        soak.at_once(options.at_once)
    if options.execs:
        soak.execs(options.execs)
    print(f"soak: {len(soak.wrong)} things were wrong")
    return 1 if soak.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
