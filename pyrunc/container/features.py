"""What this version of pyrunc can do with this kernel: `pyrunc features` (features.md).

Engines ask before they use a property, so a name is listed where using it works: what pyrunc knows,
less what the kernel or the machine lacks. Whether AppArmor, SELinux or resctrl are active on the
machine is another question (features-linux.md: "unrelated to whether the host supports"), which
engines ask the machine.

Cold: imports libseccomp's binding.
"""

import os
import shutil
from importlib.util import find_spec
from typing import Any

from pyrunc import SPEC_VERSION, __version__, thirdparty
from pyrunc.config.annotation_names import TABLE
from pyrunc.errors import Error
from pyrunc.plan.filesystem.mountoptions import RECURSIVE, known_options
from pyrunc.plan.process.capabilities import NAMES
from pyrunc.seccomp import compile as compiler
from pyrunc.seccomp.names import (
    ACTIONS,
    ARCHITECTURES,
    FLAG_KERNELS,
    FLAGS,
    KERNEL_ACTIONS,
    OPERATORS,
    kernel_version,
)

OLDEST = "1.0.0"

HOOKS = (
    *("prestart", "createRuntime", "createContainer"),
    *("startContainer", "poststart", "poststop"),
)

NAMESPACES = {
    "cgroup": "cgroup",
    "ipc": "ipc",
    "mount": "mnt",
    "network": "net",
    "pid": "pid",
    "time": "time",
    "user": "user",
    "uts": "uts",
}
"""Types of config.json, and the names of /proc/self/ns."""

MEMORY_MODES = {
    "MPOL_BIND": (2, 6),
    "MPOL_DEFAULT": (2, 6),
    "MPOL_INTERLEAVE": (2, 6),
    "MPOL_LOCAL": (3, 8),
    "MPOL_PREFERRED": (2, 6),
    "MPOL_PREFERRED_MANY": (5, 15),
    "MPOL_WEIGHTED_INTERLEAVE": (6, 9),
}
MEMORY_FLAGS = {
    "MPOL_F_NUMA_BALANCING": (5, 12),
    "MPOL_F_RELATIVE_NODES": (2, 6),
    "MPOL_F_STATIC_NODES": (2, 6),
}
"""With the kernel that each came with (set_mempolicy(2))."""

MOUNT_SETATTR = (5, 12)
"""The kernel that can change the attributes of a tree of mounts and map their ids."""

NOSYMFOLLOW = (5, 14)
"""The kernel whose mount_setattr(2) takes MOUNT_ATTR_NOSYMFOLLOW."""


def features() -> dict[str, Any]:
    """The document, with its members in the order of the specification."""
    thirdparty.enable()
    kernel = kernel_version(os.uname().release)
    annotations = {
        "io.github.pyrunc.version": __version__,
        "io.github.pyrunc.checkpoint.enabled": "true" if shutil.which("criu") else "false",
    }
    seccomp = _seccomp(kernel)
    if seccomp["enabled"]:
        annotations["io.github.seccomp.libseccomp.version"] = compiler.library()[1]
    return {
        "ociVersionMin": OLDEST,
        "ociVersionMax": SPEC_VERSION,
        "hooks": list(HOOKS),
        "mountOptions": _mount_options(kernel),
        "linux": {
            "namespaces": _namespaces(),
            "capabilities": _capabilities(),
            "cgroup": _cgroup(),
            "seccomp": seccomp,
            "apparmor": {"enabled": True},
            "selinux": {"enabled": True},
            "intelRdt": {"enabled": True, "schemata": True, "monitoring": True},
            "memoryPolicy": _memory_policy(kernel),
            "mountExtensions": {"idmap": {"enabled": kernel >= MOUNT_SETATTR}},
            "netDevices": {"enabled": _installed("pyroute2")},
        },
        "annotations": annotations,
        "potentiallyUnsafeConfigAnnotations": sorted(name for name, unsafe, _ in TABLE if unsafe),
    }


def _mount_options(kernel: tuple[int, int]) -> list[str]:
    missing: set[str] = set()
    if kernel < MOUNT_SETATTR:
        missing |= {*RECURSIVE, "idmap", "ridmap"}
    if kernel < NOSYMFOLLOW:
        missing |= {"nosymfollow", "symfollow", "rnosymfollow", "rsymfollow"}
    return [option for option in known_options() if option not in missing]


def _namespaces() -> list[str]:
    """Kinds that the kernel has; user namespaces only where at least one may be made."""
    present = set(os.listdir("/proc/self/ns"))
    if _number("/proc/sys/user/max_user_namespaces", 1) == 0:
        present.discard("user")
    return [kind for kind, name in NAMESPACES.items() if name in present]


def _capabilities() -> list[str]:
    last = _number("/proc/sys/kernel/cap_last_cap", len(NAMES) - 1)
    return ["CAP_" + name for name in NAMES[: last + 1]]


def _cgroup() -> dict[str, bool]:
    """pyrunc sets no limits in version 1; there it only runs containers that ask for none."""
    systemd = _installed("jeepney")
    return {"v1": False, "v2": True, "systemd": systemd, "systemdUser": systemd, "rdma": True}


def _memory_policy(kernel: tuple[int, int]) -> dict[str, list[str]]:
    """Nothing where the kernel was built without NUMA."""
    if not os.path.exists("/proc/self/numa_maps"):
        return {"modes": [], "flags": []}
    return {
        "modes": [mode for mode, since in MEMORY_MODES.items() if kernel >= since],
        "flags": [flag for flag, since in MEMORY_FLAGS.items() if kernel >= since],
    }


def _seccomp(kernel: tuple[int, int]) -> dict[str, Any]:
    """What libseccomp and the kernel both know; just `enabled` where one of them is missing."""
    try:
        with open("/proc/sys/kernel/seccomp/actions_avail", encoding="ascii") as file:
            available = set(file.read().split())
        library = compiler.binding()
    except (FileNotFoundError, Error):
        return {"enabled": False}
    if library.get_api() < compiler.NOTIFY_API:
        available.discard("user_notif")
    return {
        "enabled": True,
        "actions": [action for action in ACTIONS if KERNEL_ACTIONS[action] in available],
        "operators": list(OPERATORS),
        "archs": [word for word, number in ARCHITECTURES.items() if library.resolve_syscall(number, "read") >= 0],
        "knownFlags": sorted(FLAGS),
        "supportedFlags": sorted(flag for flag in FLAGS if kernel >= FLAG_KERNELS[flag]),
    }


def _installed(package: str) -> bool:
    """Whether a package that pyrunc imports only when it is needed can be found."""
    return find_spec(package) is not None


def _number(path: str, otherwise: int) -> int:
    try:
        with open(path, encoding="ascii") as file:
            return int(file.read())
    except (FileNotFoundError, PermissionError, ValueError):
        return otherwise
