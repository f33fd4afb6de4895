"""Where tests of v1 hierarchies have their groups: below one that the test makes in each hierarchy."""

import contextlib
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from limits.limit_base import Driver
from pyrunc.cgroups.v1 import hierarchies
from support import Json, unique_id

FOUND = {name: it for it in hierarchies.mounted() for name in it.names}
NEEDS = [
    pytest.mark.skipif(not {"memory", "pids", "freezer"} <= FOUND.keys(), reason="needs v1 hierarchies"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]


def spaces(*kinds: str) -> list[Json]:
    return [{"type": kind} for kind in kinds]


def remove(path: str) -> None:
    """A group of ours with what is below it."""
    for below, _, _ in os.walk(path, topdown=False):
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(below)


class Place:
    """A group in each hierarchy, below which containers get theirs: `it`, or another name."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.name = unique_id("pyrunc-v1")
        self.tops = {it.mount for it in FOUND.values()} | {"/sys/fs/cgroup/unified"}
        for top in self.tops:
            if os.path.isdir(top):
                os.mkdir(f"{top}/{self.name}")

    def bundle(self, resources: Json, *args: str, name: str = "it", **linux: Any) -> Any:
        return self.driver.bundle(resources, *args, cgroupsPath=f"/{self.name}/{name}", **linux)

    def start(self, resources: Json, *args: str, **more: Any) -> str:
        runtime = self.driver.runtime
        id = runtime.create(self.bundle(resources, *args, **more), id=unique_id("limit"))
        runtime.call("start", id, check=True)
        return id

    def run(self, resources: Json, *args: str, **linux: Any) -> "subprocess.CompletedProcess[str]":
        return self.driver.runtime.run(self.bundle(resources, *args, **linux))

    def path(self, controller: str, name: str = "it") -> Path:
        return Path(FOUND[controller].mount, self.name, name)

    def read(self, file: str, name: str = "it") -> str:
        return (self.path(file.partition(".")[0], name) / file).read_text().strip()

    def left(self) -> list[str]:
        """Groups below ours."""
        return [
            entry.path
            for top in self.tops
            if os.path.isdir(f"{top}/{self.name}")
            for entry in os.scandir(f"{top}/{self.name}")
            if entry.is_dir()
        ]

    def end(self) -> None:
        try:
            self.driver.runtime.clean()
            left = self.left()
        finally:
            for top in self.tops:
                remove(f"{top}/{self.name}")
        assert not left
