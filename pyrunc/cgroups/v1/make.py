"""Making a container's group in one hierarchy."""

import posix

from pyrunc.cgroups import files, tree
from pyrunc.cgroups.make import make_directory
from pyrunc.cgroups.v1.hierarchies import Hierarchy
from pyrunc.errors import Error


def walk(found: Hierarchy, path: str, made: "list[str]") -> int:
    """Every directory on the way to `path`, by descriptor; returns that of the last. Raises OSError.

    made: gets the directories that were not there. A new cpuset gets its parent's CPUs and nodes: it has none, and
    nobody can join it then (cpusets.rst, 1.9).
    """
    fd = files.open_dir(found.mount)
    here = found.mount
    try:
        for name in path[len(found.mount) :].strip("/").split("/"):
            here = f"{here}/{name}"
            make_directory(fd, name, here, made)
            child = files.open_dir(name, fd)
            try:
                if "cpuset" in found.names:
                    for file in ("cpuset.cpus", "cpuset.mems"):
                        if not files.read(child, file).strip():
                            files.write(child, file, files.read(fd, file))
            finally:
                posix.close(fd)
                fd = child
    except BaseException:
        posix.close(fd)
        raise
    return fd


def check_unused(fd: int, path: str, found: Hierarchy) -> None:
    """A group that was there before must be empty and not frozen, as with v2."""
    members = tree.procs(fd)
    if members:
        raise Error(
            f"container's cgroup is not empty: {len(members)} process(es) found in {path}",
            pointer="/linux/cgroupsPath",
        )
    if "freezer" in found.names and (files.try_read(fd, "freezer.state") or b"THAWED").strip() != b"THAWED":
        raise Error(f"container's cgroup unexpectedly frozen: {path} or one above it", pointer="/linux/cgroupsPath")
