"""Mounts of a container that are not its own: what criu is to leave out of images, and to bind again.

criu knows such a mount by a name. Here it is the destination that config.json says (with what an
rbind brought along: the path below), so that a restore can tell its source by the configuration
alone, and a container can be restored elsewhere from other sources.
"""

import os
import re
import stat
from collections.abc import Iterator, Mapping
from errno import EACCES, ELOOP, ENOENT, ENOTDIR
from typing import Any

from pyrunc.errors import Error, from_os_error
from pyrunc.plan.filesystem.devices import device_list
from pyrunc.plan.filesystem.inroot import clean

Config = Mapping[str, Any]

_LINKS = 40  # symbolic links in one path, as the kernel counts
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class MountLine:
    """One line of mountinfo (proc_pid_mountinfo(5))."""

    __slots__ = ("id", "path", "root", "type")

    def __init__(self, line: str) -> None:
        fields = line.split(" ")
        self.id = int(fields[0])
        self.root = _unescape(fields[3])
        self.path = _unescape(fields[4])
        self.type = fields[fields.index("-") + 1]


def mounts_of(pid: int | str) -> list[MountLine]:
    """The mounts that a process sees."""
    try:
        with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            return [MountLine(line) for line in file]
    except OSError as error:
        raise from_os_error("read the mounts of the container", error) from None


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def is_bind(mount: Mapping[str, Any]) -> bool:
    """Whether an entry of `mounts` binds something of the host."""
    options = mount.get("options", ())
    return mount.get("type") == "bind" or "bind" in options or "rbind" in options


def dumped(config: Config, lines: list[MountLine], root: int) -> list[str]:
    """`external` of a dump: `mnt[MOUNT POINT]:NAME` for each foreign mount of the container.

    lines: the container's mounts; root: a descriptor of its root, for symbolic links in the
    destinations of config.json.
    """
    present = {line.path: line for line in lines}
    found: dict[str, str] = {}
    own = ["/" + clean(mount["destination"]) for mount in config.get("mounts", ())]
    for mount in config.get("mounts", ()):
        name = "/" + clean(mount["destination"])
        if not is_bind(mount):
            continue
        where = name if name in present else _resolve(root, name)
        if where in present:
            found[where] = name
        for path in present:
            if path.startswith(where + "/") and not _within(path, where, own):
                found.setdefault(path, name + path[len(where) :])
    for path in _covered(config):
        if path in present and present[path].root != "/":
            found.setdefault(path, path)
    return [f"mnt[{path}]:{name}" for path, name in found.items()]


def restored(config: Config, bundle: str) -> list[str]:
    """`external` of a restore: `mnt[NAME]:SOURCE` for each mount that dumped() can have named."""
    found: dict[str, str] = {}
    host: list[MountLine] | None = None
    for mount in config.get("mounts", ()):
        if not is_bind(mount):
            continue
        name = "/" + clean(mount["destination"])
        # criu looks for the mount that it lies on by comparing names: neither links nor dots.
        source = os.path.realpath(os.path.join(bundle, mount["source"]))
        found[name] = source
        if "rbind" in mount.get("options", ()):
            host = host if host is not None else mounts_of("self")
            real = os.path.realpath(source)
            for line in host:
                if line.path.startswith(real.rstrip("/") + "/"):
                    found.setdefault(name + line.path[len(real.rstrip("/")) :], line.path)
    masked = {"/" + clean(path) for path in config.get("linux", {}).get("maskedPaths") or ()}
    for path in _covered(config):
        found.setdefault(path, "/dev/null" if path in masked else path)
    return [f"mnt[{name}]:{source}" for name, source in found.items()]


def _covered(config: Config) -> Iterator[str]:
    """Paths where a file of the host may be bound: masked ones, and devices in a user namespace."""
    for path in config.get("linux", {}).get("maskedPaths", ()):
        yield "/" + clean(path)
    for device, _ in device_list(config):  # type: ignore[arg-type]
        yield "/" + clean(device["path"])


def _within(path: str, above: str, own: list[str]) -> bool:
    """Whether a mount below `above` belongs to an entry of its own in the configuration."""
    return any(it.startswith(above + "/") and (path + "/").startswith(it + "/") for it in own)


# -- paths below a root that is not trusted --------------------------------------------------------


def _resolve(root: int, path: str) -> str:
    """The path with its symbolic links followed inside `root`; itself where it leads nowhere."""
    walk = _Walk(root)
    try:
        walk.go(path, None)
        return walk.path()
    except OSError as error:
        if error.errno not in (ENOENT, ENOTDIR, ELOOP, EACCES):
            raise
        return path
    finally:
        walk.close()


class _Walk:
    """A walk through a tree, one component at a time and each by its parent's descriptor, so that
    no link leads out of it."""

    def __init__(self, root: int) -> None:
        self.fds = [os.dup(root)]
        self.names: list[str] = []
        self.links = 0

    def close(self) -> None:
        for fd in self.fds:
            os.close(fd)

    def path(self) -> str:
        return "/" + "/".join(self.names)

    def go(self, path: str, make: bool | None) -> None:
        """Follow `path`. make: whether what is missing is made, as a directory (True) or, at the
        end, as a file (False); None: it is an error."""
        parts = [part for part in path.split("/") if part not in ("", ".")]
        while parts:
            part = parts.pop(0)
            if part == "..":
                if self.names:
                    self.names.pop()
                    os.close(self.fds.pop())
                continue
            here = self.fds[-1]
            try:
                mode = os.stat(part, dir_fd=here, follow_symlinks=False).st_mode
            except FileNotFoundError:
                if make is None:
                    raise
                if not parts and not make:
                    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
                    os.close(os.open(part, flags, 0o644, dir_fd=here))
                    self.names.append(part)
                    self.fds.append(os.dup(here))
                    return
                os.mkdir(part, 0o755, dir_fd=here)
                mode = stat.S_IFDIR
            if stat.S_ISLNK(mode):
                self.links += 1
                if self.links > _LINKS:
                    raise OSError(40, "too many links", path)
                target = os.readlink(part, dir_fd=here)
                if target.startswith("/"):
                    while self.names:
                        self.names.pop()
                        os.close(self.fds.pop())
                parts = [it for it in target.split("/") if it not in ("", ".")] + parts
                continue
            if not stat.S_ISDIR(mode):
                if parts:
                    raise NotADirectoryError(20, "not a directory", path)
                self.names.append(part)
                self.fds.append(os.dup(here))
                return
            self.fds.append(os.open(part, _DIRECTORY, dir_fd=here))
            self.names.append(part)


def make_mount_points(config: Config, rootfs: str, bundle: str) -> None:
    """Make the mount points that are missing, which criu does not: a root file system that the
    container never ran in has none.

    Those in a bind mount are made in its source; those in any other mount are criu's to restore.
    """
    before: list[tuple[str, str]] = []
    for index, mount in enumerate(config.get("mounts", ())):
        name = "/" + clean(mount["destination"])
        source = os.path.join(bundle, mount.get("source", "")) if is_bind(mount) else ""
        base, rest = rootfs, name
        for above, above_source in before:
            if name.startswith(above + "/"):
                base, rest = above_source, name[len(above) :]
        before.append((name, source))
        if not base or name == "/":
            continue
        directory = not source or os.path.isdir(source)
        pointer = f"/mounts/{index}"
        try:
            root = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            what = f"make the mount point {name} ({pointer[1:]}):"
            raise from_os_error(what, error, pointer=pointer) from None
        walk = _Walk(root)
        try:
            walk.go(rest, directory)
        except OSError as error:
            raise Error(
                f"make the mount point {name} ({pointer[1:]}): {os.strerror(error.errno or 0).lower()}",
                pointer=pointer,
                errno=error.errno or 0,
            ) from None
        finally:
            walk.close()
            os.close(root)
