"""Control groups: the files of v2, the systemd driver, and the hierarchies of v1, behind one interface.

    manager = cgroups.manager(config["linux"], id, driver="cgroupfs", rootless=False, annotations={})
    dirfd = manager.create()    # for CLONE_INTO_CGROUP, or None: see below
    manager.apply()             # writes the limits; Error with file, value and property
    program = manager.device_program()      # None, or eBPF for bpf.attach()
    if dirfd is None: manager.add(pid)      # when the process exists, before it goes on
    state["cgroup"] = manager.to_state()

create() returns None where the host has no usable v2 and the configuration asks nothing of it
(manager.path is "" then, add() and apply() do nothing), and with the systemd driver
(manager.needs_pid): there is no cgroup before add(pid), which makes the unit and applies the
limits; device_program() is to be attached to manager.dir() after that.

    manager = Manager.from_state(state["cgroup"], resources)
    manager.procs() / freeze() / thaw() / frozen() / kill() / remove() / dir()

A create that fails later on calls manager.discard().

See fs.Manager for each method.

Import cost: posix, errno, select, time.
"""

from pyrunc.cgroups import detect
from pyrunc.cgroups.fs import Manager
from pyrunc.config.annotation_names import DELEGATE_CGROUP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

__all__ = ["Manager", "manager"]


def manager(
    linux: "Mapping[str, Any]",
    id: str,
    *,
    driver: str,
    rootless: bool,
    annotations: "dict[str, str] | None" = None,
    owner: "int | None" = None,
) -> Manager:
    """The manager of a container that is to be created. Touches nothing yet.

    linux: the configuration's `linux` (may be empty). driver: "cgroupfs"; "systemd", whose
    cgroupsPath is `slice:prefix:name`; or "disabled": no cgroup, and no limits.
    rootless: the caller may lack the right to make cgroups.
    annotations: the configuration's, for `org.systemd.property.*` and `run.oci.delegate-cgroup`.
    owner: delegate.owner(config), which says whom the cgroup is delegated to.
    """
    from pyrunc.cgroups.make import locate, split
    from pyrunc.errors import ConfigError

    host = detect.detect()
    path = linux.get("cgroupsPath", "")
    resources = linux.get("resources")
    annotations = annotations or {}
    self: Manager
    if driver == "disabled":
        nowhere = detect.Host(host.mode, "", ())
        self = Manager("", rootless=rootless, explicit=False, resources=None, host=nowhere)
        self.owner = None
        return self
    if driver == "systemd":
        from pyrunc.cgroups.systemd import SystemdManager

        self = SystemdManager.planned(
            path,
            id,
            rootless=rootless,
            resources=resources,
            host=host,
            annotations=annotations,
        )
    else:
        where = locate(path, id, host.mount) if host.mount else ""
        found = []
        if host.mode in ("hybrid", "legacy"):
            from pyrunc.cgroups.v1 import driver as v1
            from pyrunc.cgroups.v1 import hierarchies

            found = hierarchies.mounted()
        if found:
            self = v1.planned(path, id, found, v2=where, rootless=rootless, resources=resources, host=host)
        else:
            self = Manager(where, rootless=rootless, explicit=bool(path), resources=resources, host=host)
    self.owner = owner
    self.sub = "/".join(split(annotations.get(DELEGATE_CGROUP) or ""))
    if "/" in self.sub:
        raise ConfigError(
            f"annotation {DELEGATE_CGROUP} must be a single name",
            pointer=f"/annotations/{DELEGATE_CGROUP}",
        )
    return self
