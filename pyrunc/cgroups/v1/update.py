"""`update` on v1 hosts: new limits merged into the old ones, written, and put back where one is refused."""

from pyrunc.cgroups import files
from pyrunc.cgroups.update import checked
from pyrunc.cgroups.v1.apply import write_one
from pyrunc.errors import Error, strerror
from pyrunc.log import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.cgroups.v1.driver import V1Manager

    Resources = dict[str, Any]


def update(manager: "V1Manager", changes: "Resources") -> "Resources":
    """Apply `changes`; returns the resources that hold now. Raises Error, with all limits as they were."""
    old = manager.resources or {}
    new = checked(old, changes)
    _check_usage(manager, new)
    writes = manager.writes(new)
    before = [(manager.controller(write.controller), write.file, write.value) for write in writes]
    said = [(fd, name, _line(fd, name, value)) for fd, name, value in before if fd >= 0]
    try:
        for write in writes:
            write_one(manager, write)
        if "devices" in changes:
            manager.apply_devices(new)
    except (Error, OSError):
        # Twice: memory's limit and memory+swap's each wait for the other.
        for fd, name, line in said + said:
            if line is None:
                continue
            try:
                files.write(fd, name, line)
            except OSError as error:
                log.debug(f"restore {name}: {strerror(error.errno or 0)}")
        if "devices" in changes:
            manager.apply_devices(old)
        raise
    manager.resources = new
    return new


def _line(fd: int, name: str, value: str) -> "bytes | None":
    """What has to be written to undo a write of `value`; in a file with a line for each device, that device's line."""
    data = files.try_read(fd, name)
    if data is None or name == "memory.oom_control":
        return None if data is None else (b"1" if b"oom_kill_disable 1" in data else b"0")
    key, space, _ = value.partition(" ")
    if not space:
        return data.strip()
    for line in data.splitlines():
        if line.split()[:1] == [key.encode()]:
            return line
    return f"{key} 0".encode()


def _check_usage(manager: "V1Manager", resources: "Resources") -> None:
    """memory.checkBeforeUpdate: refuse limits below what is in use, instead of reclaiming for them."""
    memory = resources.get("memory") or {}
    fd = manager.controller("memory")
    if not memory.get("checkBeforeUpdate") or fd < 0:
        return
    for key, file, name in (("swap", "memory.memsw.", "memory+swap"), ("limit", "memory.", "memory")):
        usage, limit = files.try_read(fd, file + "usage_in_bytes"), memory.get(key) or 0
        if usage is not None and 0 < limit <= int(usage):
            raise Error(
                f"rejecting {name} limit {limit} <= usage {int(usage)}"
                f" (linux/resources/memory/{key}): checkBeforeUpdate is set",
                pointer=f"/linux/resources/memory/{key}",
            )
