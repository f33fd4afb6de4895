"""`pyrunc spec`: a config.json to start from.

Not on the hot path.
"""

import os
from collections.abc import Sequence
from typing import Any

from pyrunc import SPEC_VERSION
from pyrunc.arguments import SWITCH, Command, Flag, Options
from pyrunc.config import strict
from pyrunc.errors import Error, from_os_error
from pyrunc.globals import Globals

COMMAND = Command(
    "spec",
    "write a config.json to start from",
    usage="",
    least=0,
    most=0,
    flags=(
        Flag("bundle, b", "directory to write to, by default the current one", value="DIR"),
        Flag("file, f", "file to write, by default config.json", value="FILE"),
        Flag("rootless", "for a container that its user makes without privileges", SWITCH),
    ),
    text="""
DESCRIPTION:
   Writes "config.json" for a container that runs a shell on a terminal, with the file
   system in "rootfs" beside it. What it should be is then up to an editor. A file of
   that name is not overwritten.

   With --rootless the container's root is the calling user, in a user namespace, and
   the container has the host's network.
""",
)

CAPABILITIES = ("CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE")

MASKED = (
    *("/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys"),
    *("/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug"),
    *("/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"),
)
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def main(globals_: Globals, options: Options, arguments: Sequence[str]) -> int:
    name = options.text("file", "config.json")
    path = os.path.join(options.text("bundle", "."), name)
    config = example(cgroup2=os.path.exists("/sys/fs/cgroup/cgroup.controllers"))
    if options.on("rootless"):
        make_rootless(config, os.geteuid(), os.getegid())
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(strict.dumps(config, indent="\t") + "\n")
    except FileExistsError:
        raise Error(f"File {name} exists. Remove it first") from None
    except OSError as error:
        raise from_os_error("write", error) from None
    return 0


def mount(destination: str, kind: str, source: str, *options: str) -> dict[str, Any]:
    """An entry of `mounts`."""
    entry: dict[str, Any] = {"destination": destination, "type": kind, "source": source}
    if options:
        entry["options"] = list(options)
    return entry


def example(*, cgroup2: bool) -> dict[str, Any]:
    """A configuration for root. cgroup2: the host has v2 alone; then a cgroup namespace too."""
    safe = ("nosuid", "noexec", "nodev")
    namespaces = ["pid", "network", "ipc", "uts", "mount", *(["cgroup"] if cgroup2 else [])]
    return {
        "ociVersion": SPEC_VERSION,
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": [
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "TERM=xterm",
            ],
            "cwd": "/",
            "capabilities": {
                kind: list(CAPABILITIES) for kind in ("bounding", "effective", "permitted")
            },
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "pyrunc",
        "mounts": [
            mount("/proc", "proc", "proc"),
            mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
            mount(
                *("/dev/pts", "devpts", "devpts", "nosuid", "noexec"),
                *("newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
            ),
            mount("/dev/shm", "tmpfs", "shm", *safe, "mode=1777", "size=65536k"),
            mount("/dev/mqueue", "mqueue", "mqueue", *safe),
            mount("/sys", "sysfs", "sysfs", *safe, "ro"),
            mount("/sys/fs/cgroup", "cgroup", "cgroup", *safe, "relatime", "ro"),
        ],
        "linux": {
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "namespaces": [{"type": kind} for kind in namespaces],
            "maskedPaths": list(MASKED),
            "readonlyPaths": list(READ_ONLY),
        },
    }


def make_rootless(config: dict[str, Any], uid: int, gid: int) -> None:
    """Change a configuration into one that the user `uid` can run.

    One id is mapped, so gid 5 is not there for terminals; resources need a delegated cgroup; and
    the sysfs of a network namespace that is not the user's own cannot be mounted, only bound.
    """
    linux = config["linux"]
    namespaces = [entry for entry in linux["namespaces"] if entry["type"] != "network"]
    linux["namespaces"] = [*namespaces, {"type": "user"}]
    linux["uidMappings"] = [{"containerID": 0, "hostID": uid, "size": 1}]
    linux["gidMappings"] = [{"containerID": 0, "hostID": gid, "size": 1}]
    del linux["resources"]
    for index, entry in enumerate(config["mounts"]):
        if entry["destination"] == "/sys":
            config["mounts"][index] = mount(
                "/sys", "none", "/sys", "rbind", "nosuid", "noexec", "nodev", "ro"
            )
        elif entry["destination"] == "/dev/pts":
            entry["options"].remove("gid=5")
