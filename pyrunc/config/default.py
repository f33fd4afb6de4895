"""The configuration that `pyrunc spec` writes: the field's example.

Cold.
"""

from typing import Any

from pyrunc import SPEC_VERSION

_CAPABILITIES = ("CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE")
_NAMESPACES = ("pid", "network", "ipc", "uts", "mount")
_SAFE = ("nosuid", "noexec", "nodev")
_MASKED = (
    *("/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys"),
    *("/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug"),
    *("/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"),
)
_READONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def _mount(destination: str, kind: str, source: str, *options: str) -> dict[str, Any]:
    entry: dict[str, Any] = {"destination": destination, "type": kind, "source": source}
    if options:
        entry["options"] = list(options)
    return entry


def default_config(*, cgroup2: bool) -> dict[str, Any]:
    """A configuration for root: a shell on a terminal, in namespaces of its own.

    cgroup2: whether the host has cgroup v2 only; then the container gets a cgroup namespace.
    """
    kinds = (*_NAMESPACES, "cgroup") if cgroup2 else _NAMESPACES
    devpts = ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5")
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
            "capabilities": {kind: list(_CAPABILITIES) for kind in ("bounding", "effective", "permitted")},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "pyrunc",
        "mounts": [
            _mount("/proc", "proc", "proc"),
            _mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
            _mount("/dev/pts", "devpts", "devpts", *devpts),
            _mount("/dev/shm", "tmpfs", "shm", *_SAFE, "mode=1777", "size=65536k"),
            _mount("/dev/mqueue", "mqueue", "mqueue", *_SAFE),
            _mount("/sys", "sysfs", "sysfs", *_SAFE, "ro"),
            _mount("/sys/fs/cgroup", "cgroup", "cgroup", *_SAFE, "relatime", "ro"),
        ],
        "linux": {
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "namespaces": [{"type": kind} for kind in kinds],
            "maskedPaths": list(_MASKED),
            "readonlyPaths": list(_READONLY),
        },
    }


def make_rootless(config: dict[str, Any], uid: int, gid: int) -> None:
    """Change a configuration, in place, into one that the user `uid` can run.

    Only this user's ids are mapped, so terminals cannot have group 5. The network namespace
    is the host's, and a sysfs that shows it can only be bound, not mounted. No resources, since
    a cgroup may not be delegated.
    """
    linux = config["linux"]
    kept = [entry for entry in linux["namespaces"] if entry["type"] not in ("network", "user")]
    linux["namespaces"] = [*kept, {"type": "user"}]
    linux["uidMappings"] = [{"containerID": 0, "hostID": uid, "size": 1}]
    linux["gidMappings"] = [{"containerID": 0, "hostID": gid, "size": 1}]
    linux.pop("resources", None)
    for index, mount in enumerate(config["mounts"]):
        if mount["destination"].rstrip("/") == "/sys":
            config["mounts"][index] = _mount("/sys", "none", "/sys", "rbind", *_SAFE, "ro")
        elif "options" in mount:
            mount["options"] = [option for option in mount["options"] if not option.startswith(("uid=", "gid="))]
