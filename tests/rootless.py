"""An unprivileged user's pyrunc, for tests that run as root: a directory of the user's with a bundle and the state."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support import Bundle, make_bundle

UID = 1000
MAPS = [{"containerID": 0, "hostID": UID, "size": 1}]


class Rootless:
    """Calls of pyrunc as the user, and a bundle that works for one: no network namespace, no sysfs."""

    def __init__(self, launcher: str, directory: Path) -> None:
        self.launcher = launcher
        self.directory = directory
        spaces = [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "user")]
        self.bundle: Bundle = make_bundle(
            directory / "bundle",
            {
                "process": {"args": ["/bin/sleep", "100"]},
                "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
                "linux": {"namespaces": spaces, "uidMappings": MAPS, "gidMappings": MAPS},
            },
        )
        for path in (directory, self.bundle.path, self.bundle.path / "config.json"):
            os.chown(path, UID, UID)
        self.bundle.give(UID)

    def __call__(self, *words: str, quiet: bool = False) -> subprocess.CompletedProcess[str]:
        """quiet: for what outlives the call and would hold its pipes open."""
        line = [self.launcher, "--root", str(self.directory / "state"), *words]
        return subprocess.run(
            line,
            check=False,
            stdin=subprocess.DEVNULL,
            text=True,
            cwd="/",
            timeout=60,
            user=UID,
            group=UID,
            extra_groups=[],
            stdout=subprocess.DEVNULL if quiet else subprocess.PIPE,
            stderr=subprocess.DEVNULL if quiet else subprocess.PIPE,
        )

    def create(self, id: str) -> None:
        """Create a container from the bundle; a failure fails the test."""
        log = self.directory / f"log-{id}"
        words = ("--log", str(log), "create", "--bundle", str(self.bundle.path), id)
        assert self(*words, quiet=True).returncode == 0, log.read_text()

    def pid(self, id: str) -> int:
        return int(json.loads(self("state", id).stdout)["pid"])

    def namespaces(self, *more: dict[str, Any]) -> list[dict[str, Any]]:
        """The bundle's namespaces, with these in the place of those of the same types."""
        own: list[dict[str, Any]] = self.bundle.config["linux"]["namespaces"]
        return [entry for entry in own if entry["type"] not in {each["type"] for each in more}] + list(more)


@contextmanager
def made(launcher: str) -> Iterator[Rootless]:
    """A Rootless; what it made is deleted at the end. Skips where the user cannot execute pyrunc."""
    directory = Path(tempfile.mkdtemp(prefix="pyrunc-", dir="/var/tmp"))
    directory.chmod(0o711)
    it = Rootless(launcher, directory)
    try:
        subprocess.run([launcher, "--version"], check=True, capture_output=True, user=UID)
    except (PermissionError, subprocess.CalledProcessError):  # a checkout in a closed home directory
        shutil.rmtree(directory)
        pytest.skip(f"user {UID} may not execute {launcher}")
    try:
        yield it
    finally:
        for container in json.loads(it("list", "--format", "json").stdout or "[]") or []:
            it("delete", "--force", container["id"])
        shutil.rmtree(directory)
