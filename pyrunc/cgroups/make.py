"""Making a container's cgroup: where it lies, and every directory and controller on the way to it.

Import cost: posix.
"""

import posix
from errno import EEXIST

from pyrunc.cgroups import detect, files, tree
from pyrunc.errors import ConfigError, Error, from_os_error, strerror
from pyrunc.log import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyrunc.cgroups.conversions import Write

_MOST_RETRIES = 8
# Controllers that work inside a threaded subtree (cgroup-v2.rst, "Threads").
THREADED = ("cpu", "cpuset", "pids", "perf_event")


def make(
    host: "detect.Host", path: str, wanted: "list[Write]", made: "list[str]", *, new: bool = True, leaf: bool = True
) -> int:
    """Make every directory on the way to `path`, each time enabling the controllers for the next;
    returns a descriptor of the last.

    wanted: the writes that need a controller. made: gets the directories that were not there.
    new: the cgroup has to be empty and not frozen, and (leaf) able to hold processes. Raises OSError,
    and Error with the reason.
    """
    for _ in range(_MOST_RETRIES):
        try:
            return _make(host, path, wanted, made, new, leaf)
        except OSError as error:
            # Whoever made a directory on the way and failed has taken it back.
            if error.errno not in tree.GONE:
                raise
    return _make(host, path, wanted, made, new, leaf)


def _make(host: "detect.Host", path: str, wanted: "list[Write]", made: "list[str]", new: bool, leaf: bool) -> int:
    names = path[len(host.mount) :].strip("/").split("/")
    fd = files.open_dir(host.mount)
    here = host.mount
    fresh = False
    try:
        for name in names:
            enable(fd, here, host.controllers, wanted)
            here = f"{here}/{name}"
            fresh = make_directory(fd, name, here, made)
            child = files.open_dir(name, fd)
            posix.close(fd)
            fd = child
            _check_type(fd, here, wanted)
        if new:
            check_unused(fd, path, fresh)
            if leaf and not fresh:
                _release(fd, path)
        offered = (files.try_read(fd, "cgroup.controllers") or b"").decode().split()
        for write in wanted:
            if write.controller not in offered:
                from pyrunc.cgroups import explain

                raise explain.not_enabled(host.mount, path, write)
    except BaseException:
        posix.close(fd)
        raise
    return fd


def make_directory(parent: int, name: str, path: str, made: "list[str]") -> bool:
    """Make one directory; whether it was not there. path: its absolute path, which `made` gets then. Raises OSError."""
    made.append(path)  # before it is there: SIGINT may come in between
    try:
        posix.mkdir(name, 0o755, dir_fd=parent)
    except OSError as error:
        made.pop()
        if error.errno != EEXIST:
            raise
        return False
    return True


def _release(fd: int, path: str) -> None:
    """Have a group that was there before hold processes: one that enables controllers for groups below it cannot
    (cgroup-v2.rst, "No Internal Process Constraint"; clone3(2): EBUSY). Where there are none below it, it need not.
    """
    words = (files.try_read(fd, "cgroup.subtree_control") or b"").decode().split()
    if not words:
        return
    below = files.subdirs(fd)
    if not below:
        try:
            files.write(fd, "cgroup.subtree_control", " ".join("-" + word for word in words).encode())
            return
        except OSError as error:
            log.debug(f"disable {' '.join(words)} in {path}: {strerror(error.errno or 0)}")
    if not set(words) <= set(THREADED):
        raise Error(
            f"container's cgroup cannot hold processes: {path} enables {' '.join(words)} for groups below it"
            " (no internal processes)",
            pointer="/linux/cgroupsPath",
            hint=f"name a group below it, or remove those that are there: {', '.join(sorted(below))}" if below else "",
        )


def enable(fd: int, path: str, controllers: "tuple[str, ...]", wanted: "Iterable[Write]" = ()) -> None:
    """Enable all controllers that a group has for its children: limits and statistics need them.

    A group with processes of its own can only have thread-aware controllers for its children, and
    these become threaded then, with all that this forbids: so it is done only where such a limit is
    wanted. What cannot be enabled is told by make() if a limit needs it.
    """
    enabled = files.try_read(fd, "cgroup.subtree_control")
    if enabled is None:
        return
    missing = set(controllers).difference(enabled.decode().split())
    if not missing:
        return
    offered = (files.try_read(fd, "cgroup.controllers") or b"").decode().split()
    names = [name for name in offered if name in missing]
    # The real root has no type, and may have processes.
    if files.try_read(fd, "cgroup.type") and files.try_read(fd, "cgroup.procs"):
        asked = {write.controller for write in wanted}
        names = [name for name in names if name in asked] if asked <= set(THREADED) else []
    words = ["+" + name for name in names]
    if not words:
        return
    try:
        files.write(fd, "cgroup.subtree_control", " ".join(words).encode())
    except OSError as error:
        log.debug(f"enable {' '.join(words)} in {path}: {strerror(error.errno or 0)}")
        for word in words:
            try:
                files.write(fd, "cgroup.subtree_control", word.encode())
            except OSError:
                pass  # make() looks whether a limit needs it


def _check_type(fd: int, path: str, wanted: "list[Write]") -> None:
    """A group in or under a threaded subtree takes only thread-aware controllers."""
    kind = (files.try_read(fd, "cgroup.type") or b"domain").strip()
    if kind == b"domain":
        return
    for write in wanted:
        if write.controller not in THREADED:
            raise Error(
                f'cannot enter cgroup {path} with the domain controller "{write.controller}"'
                f" ({write.pointer[1:]}): its type is {kind.decode()}",
                pointer=write.pointer,
            )
    if kind == b"domain invalid":
        try:
            files.write(fd, "cgroup.type", b"threaded")
        except OSError as error:
            raise from_os_error(f"make cgroup {path} threaded:", error) from None


def check_unused(fd: int, path: str, fresh: bool = False) -> None:
    """A cgroup that was there before must be empty and not frozen: what it holds would be
    killed with the container, and a process in a frozen group never starts.
    """
    events = files.table(files.try_read(fd, "cgroup.events"))
    if events.get("populated"):
        count = len(tree.procs(fd))
        raise Error(
            f"container's cgroup is not empty: {count} process(es) found in {path}",
            pointer="/linux/cgroupsPath",
        )
    frozen = bool(events.get("frozen"))
    if not frozen and not fresh:
        frozen = (files.try_read(fd, "cgroup.freeze") or b"0").strip() == b"1"
    if frozen:
        where = f"{path} or one above it" if fresh else path
        raise Error(f"container's cgroup unexpectedly frozen: {where}", pointer="/linux/cgroupsPath")


def split(path: str) -> "list[str]":
    """The names in a cgroupsPath; ConfigError for `..`."""
    names = [name for name in path.split("/") if name not in ("", ".")]
    if ".." in names or "\0" in path:
        raise ConfigError(
            f'cgroupsPath "{path}" (linux/cgroupsPath) must not contain ".."',
            pointer="/linux/cgroupsPath",
        )
    return names


def locate(cgroups_path: "str | None", id: str, mount: str, own: "str | None" = None) -> str:
    """The directory of a container's cgroup.

    Absolute paths count from the mount of v2; relative ones, and ID where there is no path, from
    the group above the caller's own: that one holds processes, so that no controllers could be
    enabled for a group below.
    """
    names = split(cgroups_path or "") or [id]
    if not (cgroups_path or "").startswith("/"):
        if own is None:
            own = detect.of_process()
        names = [name for name in own.split("/") if name][:-1] + names
    return mount + "/" + "/".join(names)
