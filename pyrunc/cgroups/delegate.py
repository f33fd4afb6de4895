"""Giving a cgroup to the container's user, so that systemd or podman inside can divide it.

Import cost: posix.
"""

import posix

from pyrunc.cgroups import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

# What /sys/kernel/cgroup/delegate lists since 4.13, for where sysfs is not mounted.
FILES = ("cgroup.procs", "cgroup.subtree_control", "cgroup.threads")


def owner(config: "Mapping[str, Any]") -> "int | None":
    """The host's user id that a container's cgroup is to belong to; None: nobody but root. Pure.

    A container gets its cgroup where it can see no other one and can write to it (config-linux.md,
    "Cgroup ownership"): with a new cgroup namespace and a writable cgroup mount. The owner is the process's user.
    """
    linux = config.get("linux", {})
    new = {n.get("type") for n in linux.get("namespaces", ()) if not n.get("path")}
    if "cgroup" not in new:
        return None
    for mount in config.get("mounts", ()):
        if mount.get("type") in ("cgroup", "cgroup2") and "ro" not in mount.get("options", ()):
            break
    else:
        return None
    uid: int = config.get("process", {}).get("user", {}).get("uid", 0)
    if all(n.get("type") != "user" for n in linux.get("namespaces", ())):
        return uid
    for mapping in linux.get("uidMappings", ()):
        first = mapping["containerID"]
        if first <= uid < first + mapping["size"]:
            return int(mapping["hostID"] + uid - first)
    return None


def delegated_files() -> "tuple[str, ...]":
    """The files that the kernel wants the owner of a delegated group to have; never its limits."""
    try:
        fd = files.open_dir("/sys/kernel/cgroup")
    except (FileNotFoundError, PermissionError):
        return FILES
    try:
        names = (files.try_read(fd, "delegate") or b"").decode().split()
    finally:
        posix.close(fd)
    return tuple(name for name in names if "/" not in name) or FILES


def chown(dir_fd: int, uid: int) -> None:
    """Give the directory and its delegated files to `uid`. Raises OSError."""
    posix.fchown(dir_fd, uid, -1)
    for name in delegated_files():
        try:
            posix.chown(name, uid, -1, dir_fd=dir_fd, follow_symlinks=False)
        except FileNotFoundError:
            pass  # files of controllers that are not enabled
