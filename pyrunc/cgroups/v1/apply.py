"""Writing limits and device rules into the groups of v1, and what is said where the kernel does not take them."""

from errno import EINVAL, ENOENT, EOPNOTSUPP, EPERM

from pyrunc.cgroups import files
from pyrunc.cgroups.conversions import Write
from pyrunc.cgroups.v1.hierarchies import key_of
from pyrunc.errors import Error
from pyrunc.log import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.cgroups.v1.driver import V1Manager

    Resources = dict[str, Any]

_NO_ENTRY = (ENOENT, EOPNOTSUPP, EINVAL)


def apply_devices(manager: "V1Manager", resources: "Resources | None") -> None:
    """Have the kernel's list be what the rules say. Raises Error."""
    fd = manager.controller("devices")
    if fd < 0 or manager.rootless:
        return
    from pyrunc.cgroups.devices import rules
    from pyrunc.cgroups.v1 import devices

    worked_out = devices.work_out(rules(resources))
    for file, line in devices.changes(worked_out, files.read(fd, "devices.list")):
        try:
            write_one(manager, Write(file, line, "/linux/resources/devices"))
        except Error as error:
            if (file, line) != ("devices.allow", "a") or error.errno not in (EPERM, EINVAL):
                raise
            log.warning("the container has the devices of the cgroup above it, which does not have all")


def write_one(manager: "V1Manager", write: Write) -> None:
    """Write one limit into the group of its controller. Raises Error."""
    from pyrunc.cgroups.v1.writes import GONE_LATELY

    fd = manager.controller(write.controller)
    try:
        if fd < 0:
            if write.optional:
                return
            from pyrunc.cgroups.v1 import explain

            raise explain.unavailable(write)
        files.write(fd, write.file, write.value.encode())
    except OSError as error:
        if write.file in GONE_LATELY and error.errno in _NO_ENTRY:
            log.warning(f"{write.pointer[1:]} is ignored: this kernel no longer has {write.file}")
            return
        if error.errno == ENOENT and write.optional:
            return
        from pyrunc.cgroups.v1 import explain

        path = manager.paths[key_of(manager.paths, write.controller)]
        raise explain.write_failed(path, fd, write, error) from None
    if write.file == "cpu.shares":
        said = files.read(fd, "cpu.shares").strip().decode()
        if said != write.value:  # clamped
            bound = "minimum" if int(said) > int(write.value) else "maximum"
            raise Error(
                f"the {bound} allowed cpu-shares is {said}, not {write.value} (linux/resources/cpu/shares)",
                pointer=write.pointer,
            )
