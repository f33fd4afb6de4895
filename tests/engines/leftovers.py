"""What a runtime's containers left behind in the guest, after all of them were removed."""

import os
import time
from pathlib import Path

STATES = ("/run/{}", "/run/containerd/runc/default", "/run/containerd/runc/k8s.io",
          "/run/docker/runtime-runc/moby", "/run/user/1000/{}")  # fmt: skip


def leftovers(runtime: str) -> str:
    """A line for each thing left: containers in state directories, processes, cgroups, mounts.

    A shim or conmon may still be ending: they get a few seconds.
    """
    found: list[str] = []
    for _ in range(50):
        found = _states(runtime) + _processes() + _cgroups() + _mounts()
        if not found:
            break
        time.sleep(0.1)
    return "\n".join(found)


def _states(runtime: str) -> list[str]:
    return [
        f"state {where}/{entry}"
        for where in (pattern.format(runtime) for pattern in STATES)
        if os.path.isdir(where)
        for entry in os.listdir(where)
        if not entry.startswith(".")
    ]


def _processes() -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                comm = (entry / "comm").read_text().strip()
            except OSError:
                continue
            if comm in ("pyrunc-init", "runc", "runc:[2:INIT]", "conmon") or comm.startswith("pyrunc"):
                found.append(f"process {entry.name} {comm}")
    return found


def _cgroups() -> list[str]:
    """Cgroups named for containers, outside of the engines' own services."""
    root = Path("/sys/fs/cgroup")
    return [
        f"cgroup {path}"
        for path in root.rglob("*")
        if path.is_dir()
        and (path.name.startswith(("libpod-", "docker-", "cri-containerd-", "crio-", "ctr")))
        and not path.name.endswith((".slice", ".service"))
        and not path.name.startswith("libpod-conmon")
    ]


def _mounts() -> list[str]:
    with open("/proc/self/mountinfo") as file:
        points = [line.split()[4] for line in file]
    return [f"mount {p}" for p in points if p.endswith("/merged") or "/io.containerd.runtime" in p]
