"""Control groups of version 2: the files, and the systemd driver, behind one interface.

    manager = cgroups.manager(config["linux"], id, systemd=False, rootless=False, annotations=...)
    dirfd = manager.create()        # None: no usable v2 and nothing asked of it, or manager.needs_pid
    manager.apply()                 # writes the limits (Error: file, value and property)
    program = manager.device_program()   # bytes for BPF_PROG_LOAD (the host agent's work), or None
    ... clone3 with CLONE_INTO_CGROUP dirfd; or manager.add(pid) where dirfd is None (needs_pid: must be called)
    state["cgroup"] = manager.to_state()

    manager = Manager.from_state(state["cgroup"], resources)
    manager.procs() / freeze() / thaw() / frozen() / kill() / remove()

See fs.Manager for each method.

Import cost: posix, errno, select, time.
"""

from pyrunc.cgroups import detect
from pyrunc.cgroups.fs import Manager, locate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Manager", "manager"]


def manager(
    linux: "dict[str, Any]",
    id: str,
    *,
    systemd: bool,
    rootless: bool,
    annotations: "dict[str, str] | None" = None,
) -> Manager:
    """The manager of a container that is to be created. Touches nothing yet.

    linux: the configuration's `linux` (may be empty). systemd: the systemd driver, whose cgroupsPath is
    `slice:prefix:name`. rootless: the caller may lack the right to make cgroups. annotations: the
    configuration's, for `org.systemd.property.*` and `run.oci.delegate-cgroup`.
    """
    host = detect.detect()
    path = linux.get("cgroupsPath") or ""
    resources = linux.get("resources")
    if systemd:
        from pyrunc.cgroups.systemd import SystemdManager

        return SystemdManager.planned(
            path,
            id,
            rootless=rootless,
            resources=resources,
            host=host,
            annotations=annotations or {},
        )
    where = locate(path, id, host.mount) if host.mount else ""
    return Manager(where, rootless=rootless, explicit=bool(path), resources=resources, host=host)
