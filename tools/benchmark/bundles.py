"""Configurations to measure with: plain, and as docker and podman write them."""

import json
from pathlib import Path

from support import DEFAULT_CONFIG, ROOT, Bundle, Json, make_bundle

#: The version of the specification that the oldest crun in use knows.
VERSION = "1.0.2"
SHAPES = ("plain", "docker-like", "podman-like")

PROFILE = ROOT / "tests/differential/seccomp_docker.json"
CAPABILITIES = [
    f"CAP_{name}"
    for name in (
        *("CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP", "SETPCAP"),
        *("NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE"),
    )
]
MASKED = "/proc/acpi /proc/asound /proc/kcore /proc/keys /proc/latency_stats /proc/timer_list /sys/firmware"
READ_ONLY = "/proc/bus /proc/fs /proc/irq /proc/sys /proc/sysrq-trigger"


def bundle(path: Path, shape: str, *args: str) -> Bundle:
    """A bundle in `path` that executes args; shape: one of SHAPES."""
    made = make_bundle(path, {"ociVersion": VERSION, "process": {"args": list(args)}})
    if shape == "plain":
        return made
    made = made.update(engine_like(path / "binds"))
    return made.update(podman_like(path.name)) if shape == "podman-like" else made


def engine_like(sources: Path) -> Json:
    """What engines add to DEFAULT_CONFIG: the default seccomp profile, 12 bind mounts, 30 variables, limits."""
    return {
        "process": {
            "env": [*DEFAULT_CONFIG["process"]["env"], *(f"VARIABLE_{n}=the value of {n}" for n in range(30))],
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), CAPABILITIES),
            "noNewPrivileges": False,
        },
        "mounts": [*DEFAULT_CONFIG["mounts"], *binds(sources)],
        "linux": {
            "maskedPaths": MASKED.split(),
            "readonlyPaths": READ_ONLY.split(),
            "seccomp": json.loads(PROFILE.read_text()),
            "resources": {
                "devices": [
                    {"allow": False, "access": "rwm"},
                    {"allow": True, "type": "c", "major": 1, "minor": 5, "access": "rwm"},
                    {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"},
                    {"allow": True, "type": "c", "major": 136, "access": "rwm"},
                ],
            },
        },
    }


def podman_like(id: str) -> Json:
    return {
        "process": {
            "user": {"uid": 0, "gid": 0, "umask": 0o22, "additionalGids": [0, 1, 2, 3, 4, 6, 10]},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "oomScoreAdj": 0,
        },
        "annotations": {f"io.podman.annotations.{n}": "FALSE" for n in ("privileged", "init", "autoremove")},
        "linux": {
            "sysctl": {"net.ipv4.ping_group_range": "0 0"},
            "cgroupsPath": f"/bench-{id}",
            "namespaces": [
                {"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "cgroup")
            ],
        },
    }  # fmt: skip


def binds(sources: Path) -> list[Json]:
    """12 bind mounts, of files and directories, some of them read-only."""
    sources.mkdir(exist_ok=True)
    mounts = []
    for number in range(12):
        source = sources / f"source{number}"
        if number % 2:
            source.mkdir(exist_ok=True)
        else:
            source.write_text("content\n")
        options = ["rbind", "rprivate", "ro"] if number % 3 else ["rbind", "rprivate"]
        mounts.append({"destination": f"/mnt/{number}", "type": "bind", "source": str(source), "options": options})
    return mounts


def many_mounts(path: Path, number: int) -> Bundle:
    """A plain bundle with so many tmpfs mounts more, that executes true."""
    mount = {"type": "tmpfs", "source": "tmpfs", "options": ["size=64k"]}
    more = [{**mount, "destination": f"/mnt/{n}"} for n in range(number)]
    made = bundle(path, "plain", "/bin/true")
    return made.update({"mounts": [*DEFAULT_CONFIG["mounts"], *more]})


def limited(path: Path, memory: int) -> Bundle:
    """A plain bundle with a memory limit in bytes, that executes true."""
    return bundle(path, "plain", "/bin/true").update({"linux": {"resources": {"memory": {"limit": memory}}}})


