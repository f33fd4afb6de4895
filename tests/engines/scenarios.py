"""What a scenario is, and what one may use: an engine's command line with a runtime chosen."""

import contextlib
import json
import os
import shlex
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from typing import Any

TIMEOUT = 120.0
IMAGE = "localhost/bb:latest"
ROOTFUL = ("podman", "docker")
PODMEN = ("podman", "podman-rootless")
EVERY = (*PODMEN, "docker")

_numbers = count(1)


class Failed(Exception):
    """A scenario's expectation does not hold."""


class NotHere(Exception):
    """This engine, or this guest, cannot show the scenario."""


@dataclass
class Answer:
    """What a command gave."""

    command: list[str]
    status: int
    out: str
    err: str

    def __str__(self) -> str:
        return f"{' '.join(self.command)}: status {self.status}\n{self.out}{self.err}"[-2000:]


def command(*words: str, status: int | None = 0, input: str | None = None, timeout: float = TIMEOUT) -> Answer:
    """Run a command; unless `status` is None its exit status has to be that."""
    try:
        done = subprocess.run(
            words,
            check=False,
            timeout=timeout,
            capture_output=True,
            input=b"" if input is None else input.encode(),
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"{' '.join(words)}: no end after {timeout:.0f} s") from None
    answer = Answer(
        list(words), done.returncode, done.stdout.decode("utf-8", "replace"),
        done.stderr.decode("utf-8", "replace"),
    )  # fmt: skip
    if status is not None and answer.status != status:
        raise Failed(f"expected status {status}: {answer}")
    return answer


def expect(condition: object, what: object) -> None:
    """Fail the scenario unless the condition holds."""
    if not condition:
        raise Failed(str(what))


def until(condition: Callable[[], object], what: str, seconds: float = 30.0) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.1)


@dataclass
class Engine:
    """A docker-like command line.

    name      as the scenarios name it
    runtime   the runtime's name: "runc", "pyrunc"
    base      the words that every command begins with
    prefix    the words before those, for another user
    """

    name: str
    runtime: str
    base: Sequence[str]
    run_flags: Sequence[str] = ("--network", "none")
    machine: str = "uml"
    prefix: Sequence[str] = ()
    kept: list[str] = field(default_factory=list)

    @property
    def remove(self) -> tuple[str, ...]:
        """The command that removes a container at once."""
        return ("rm", "-f", "-t", "0") if self.name.startswith("podman") else ("rm", "-f")

    def call(
        self,
        *words: str,
        status: int | None = 0,
        input: str | None = None,
        timeout: float = TIMEOUT,
    ) -> Answer:
        """One command of the engine."""
        words = (*self.prefix, *self.base, *words)
        return command(*words, status=status, input=input, timeout=timeout)

    def terminal(self, *words: str) -> Answer:
        """One command of the engine on a terminal."""
        line = shlex.join([*self.base, *words])
        return command(*self.prefix, "script", "-qec", line, "/dev/null")

    def run(
        self,
        *words: str,
        flags: Sequence[str] = (),
        status: int | None = 0,
        input: str | None = None,
        image: str = IMAGE,
        timeout: float = TIMEOUT,
    ) -> Answer:
        """Run a container in the foreground and remove it."""
        words = ("run", "--rm", *self.run_flags, *flags, image, *words)
        return self.call(*words, status=status, input=input, timeout=timeout)

    def start(self, *words: str, flags: Sequence[str] = ()) -> str:
        """Start a container in the background; it is removed after the scenario."""
        name = f"s{next(_numbers)}"
        self.kept.append(name)
        self.call("run", "-d", "--name", name, *self.run_flags, *flags, IMAGE, *words)
        return name

    def shell(self, script: str, **more: Any) -> str:
        """What a script prints in a container of its own."""
        return self.run("/bin/sh", "-c", script, **more).out

    def exec(self, name: str, script: str, *flags: str, status: int | None = 0) -> Answer:
        """Run a script in a running container."""
        return self.call("exec", *flags, name, "/bin/sh", "-c", script, status=status)

    def inspect(self, name: str) -> Any:
        """The engine's description of a container."""
        return json.loads(self.call("container", "inspect", name).out)[0]

    def clean(self) -> None:
        """Remove what `start` left."""
        for name in self.kept:
            self.call(*self.remove, name, status=None)
        self.kept.clear()


@dataclass(frozen=True)
class Scenario:
    """A named scenario for some engines."""

    name: str
    engines: tuple[str, ...]
    act: Callable[[Any], object]  # what it returns has to be the same with both runtimes
    machine: str = ""  # "qemu" where User-mode Linux lacks something


ALL: list[Scenario] = []

Act = Callable[[Any], object]


def scenario(*engines: str, machine: str = "") -> Callable[[Act], Act]:
    """Make a function a scenario of the engines named; its name is the function's."""

    def add(act: Act) -> Act:
        ALL.append(Scenario(act.__name__.replace("_", "-"), engines, act, machine))
        return act

    return add


class Counts:
    """How many containers the loops start."""

    serial = 10
    parallel = 5


def many(act: Callable[[], object]) -> None:
    """Do something many times in a row, then many times at once."""
    for _ in range(Counts.serial):
        act()
    with ThreadPoolExecutor(Counts.parallel) as pool:
        list(pool.map(lambda _: act(), range(Counts.parallel)))


@contextlib.contextmanager
def playing(e: Engine, manifest: object) -> Iterator[None]:
    """Podman's pod of a Kubernetes manifest, for the time of a `with`."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        os.chmod(file.name, 0o644)
        json.dump(manifest, file)
        file.flush()
        e.call("kube", "play", file.name, timeout=300)
        try:
            yield
        finally:
            e.call("kube", "down", file.name, timeout=300, status=None)
