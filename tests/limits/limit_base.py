"""What the tests of limits share: containers by one of the two drivers, and their cgroups' files."""

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support import Bundle, Json, MakeBundle, Runtime, unique_id

CGROUPS = Path("/sys/fs/cgroup")
KIB, MIB = 1 << 10, 1 << 20

# A buffer of 200 MiB, filled.
HOG = ("/bin/dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1")


def wait_until(true: Callable[[], Any], what: str, seconds: float = 20) -> Any:
    """What `true()` returns as soon as that is true; fails the test after `seconds`."""
    end = time.monotonic() + seconds
    while not (value := true()):
        assert time.monotonic() < end, f"still not so after {seconds:g} s: {what}"
        time.sleep(0.02)
    return value


def controllers() -> set[str]:
    """The controllers of this machine's cgroup v2."""
    try:
        return set((CGROUPS / "cgroup.controllers").read_text().split())
    except OSError:
        return set()


def disk() -> str:
    """MAJOR:MINOR of a disk that the io controller counts."""
    return (CGROUPS / "io.stat").read_text().split()[0]


class Group:
    """A container's cgroup directory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __getitem__(self, name: str) -> str:
        return (self.path / name).read_text().strip()

    def table(self, name: str) -> dict[str, int]:
        """A file of names and numbers."""
        return {key: int(number) for key, number in map(str.split, self[name].splitlines())}

    def has(self, name: str) -> bool:
        return (self.path / name).exists()


class Driver:
    """Containers whose cgroups one driver makes. name: "cgroupfs" or "systemd"."""

    def __init__(self, name: str, runtime: Runtime, make: MakeBundle) -> None:
        self.name = name
        self.runtime = runtime
        self.make = make
        if name == "systemd":
            runtime.flags.append("--systemd-cgroup")

    def bundle(self, resources: Json, *args: str, **linux: Any) -> Bundle:
        """A bundle with these limits that runs `args`; `linux` has further members of `linux`."""
        process = {"args": list(args or ("/bin/sleep", "1000"))}
        return self.make({"process": process, "linux": {"resources": resources, **linux}})

    def create(self, bundle: Bundle) -> tuple[str, Group]:
        """A created container's id and cgroup."""
        id = self.runtime.create(bundle, id=unique_id("limit"))
        return id, self.group(id)

    def start(self, bundle: Bundle) -> tuple[str, Group]:
        """The same of one that runs."""
        id, group = self.create(bundle)
        self.runtime.call("start", id, check=True)
        return id, group

    def group(self, id: str) -> Group:
        """Where the container's init is, in the words of the kernel."""
        line = Path(f"/proc/{self.runtime.state(id)['pid']}/cgroup").read_text()
        return Group(Path(f"{CGROUPS}{line.strip().removeprefix('0::')}"))

    def status(self, id: str) -> str:
        return str(self.runtime.state(id)["status"])

    def stopped(self, id: str) -> None:
        wait_until(lambda: self.status(id) == "stopped", f"{id} has stopped")

    def fails(self, *args: str, **how: Any) -> str:
        """What standard error says of a call that has to fail."""
        done = self.runtime.call(*args, **how)
        assert done.returncode != 0
        return done.stderr

    def events(self, id: str, bundle: Bundle, interval: str = "1h") -> "Events":
        return Events(self.runtime, id, bundle.path / "events", interval)


class Events:
    """`events` in the background."""

    def __init__(self, runtime: Runtime, id: str, path: Path, interval: str) -> None:
        self.path = path
        with open(path, "wb") as file:
            self.child = subprocess.Popen(
                runtime.command("events", "--interval", interval, id),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.PIPE,
            )
        # It watches once it sleeps in poll(2); what happened before does not count as an event.
        fds = Path(f"/proc/{self.child.pid}/fd")
        wait_until(lambda: any(link.endswith("memory.events") for link in links(fds)), "events watches")

    def lines(self) -> list[Json]:
        return [json.loads(line) for line in self.path.read_text().splitlines()]

    def end(self) -> list[Json]:
        """Wait until it ends, which it does with the container; what it printed."""
        assert self.child.wait(30) == 0
        assert self.child.stderr is not None
        assert self.child.stderr.read() == b""
        self.child.stderr.close()
        return self.lines()


def links(directory: Path) -> list[str]:
    """Where the symbolic links in a directory lead; those that go away meanwhile do not count."""
    found = []
    for name in os.listdir(directory):
        try:
            found.append(os.readlink(directory / name))
        except OSError:
            continue
    return found
