"""Masked and read-only paths (config-linux.md, "Masked Paths" and "Readonly Paths")."""

from errno import ELOOP, ENOENT, ENOTDIR

from pyrunc.errors import ConfigError
from pyrunc.kernel.uapi import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_RECURSIVE,
    MOUNT_ATTR_RDONLY,
    O_NOFOLLOW,
    O_PATH,
    OPEN_TREE_CLOEXEC,
    OPEN_TREE_CLONE,
)
from pyrunc.machine.ops import Label, Program, Reg
from pyrunc.plan.filesystem.devices import verify_null
from pyrunc.plan.filesystem.inroot import clean, is_directory, open_in_root
from pyrunc.plan.filesystem.mountapi import attach, mount_attr, new_filesystem, set_attributes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.config.types import Linux

_CLONE = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC


def _open_or_skip(p: Program, root: Reg, path: str, dst: Reg, skip: Label) -> None:
    """Open a path; what does not exist is skipped, but a symbolic link that leads nowhere is an error: what it will
    lead to later would be open."""
    target = clean(path)
    missing, found = Label(), Label()
    open_in_root(p, root, target, dst, only=(ENOENT, ENOTDIR), error=missing)
    p.jump(found)
    p.label(missing)
    open_in_root(p, root, target, dst, O_PATH | O_NOFOLLOW, only=(ENOENT, ENOTDIR), error=skip)
    p.fail(ELOOP, "dangling")
    p.label(found)


def absolute(path: str, pointer: str) -> None:
    if not path.startswith("/"):
        raise ConfigError(f'path "{path}" must be absolute ({pointer[1:]})', pointer=pointer)


def mask_paths(p: Program, linux: "Linux", root: Reg) -> None:
    """Cover files with /dev/null and directories with one shared empty read-only tmpfs."""
    paths: dict[str, str] = {}
    for index, path in enumerate(linux.get("maskedPaths", [])):
        pointer = f"/linux/maskedPaths/{index}"
        absolute(path, pointer)
        paths.setdefault(clean(path), pointer)
    if not paths:
        return
    null, tmpfs, attached = p.reg("null"), p.reg("tmpfs"), p.reg("attached")
    p.about("error masking paths: open /dev/null", "/linux/maskedPaths")
    host, have = Label("the host's null"), Label("have null")
    verify_null(p, root, null, host)
    p.jump(have)
    p.label(host)
    p.call("openat", AT_FDCWD, b"/dev/null", O_PATH | 0o2000000, dst=null)
    p.label(have)
    p.about("error masking paths: mount tmpfs", "/linux/maskedPaths")
    # nr_blocks=1, nr_inodes=1: nothing can be put there even by who finds a way to write.
    new_filesystem(
        p, "tmpfs", ["source=tmpfs", "nr_blocks=1", "nr_inodes=1", "ro"], tmpfs, attributes=MOUNT_ATTR_RDONLY
    )
    p.call("move", 0, dst=attached)
    for path, pointer in paths.items():
        p.about(f'can\'t mask path "/{path}"', pointer)
        skip, a_file, first, done = Label(f"skip {path}"), Label(), Label(), Label()
        place, mount = p.reg("target"), p.reg("mount")
        _open_or_skip(p, root, path, place, skip)
        is_directory(p, place, a_file)
        p.call("move", attached, zero=first)
        p.call("open_tree", tmpfs, b"", AT_EMPTY_PATH | _CLONE, dst=mount)
        attach(p, mount, place)
        p.call("close", mount)
        p.jump(done)
        p.label(first)
        attach(p, tmpfs, place)
        p.call("move", 1, dst=attached)
        p.jump(done)
        p.label(a_file)
        p.call("open_tree", null, b"", AT_EMPTY_PATH | _CLONE, dst=mount)
        attach(p, mount, place)
        p.call("close", mount)
        p.label(done)
        p.call("close", place)
        p.label(skip)
        p.registers.give(mount)
        p.registers.give(place)
    p.close(null)
    p.close(tmpfs)
    p.registers.give(attached)


def read_only_paths(p: Program, linux: "Linux", root: Reg) -> None:
    """Bind each path onto itself and make it read-only."""
    for index, path in enumerate(linux.get("readonlyPaths", [])):
        pointer = f"/linux/readonlyPaths/{index}"
        absolute(path, pointer)
        p.about(f'error setting "{path}" as readonly', pointer)
        place, mount = p.reg("target"), p.reg("mount")
        skip = Label(f"skip {path}")
        _open_or_skip(p, root, path, place, skip)
        p.call("open_tree", place, b"", AT_EMPTY_PATH | AT_RECURSIVE | _CLONE, dst=mount)
        set_attributes(p, mount, mount_attr(MOUNT_ATTR_RDONLY))
        attach(p, mount, place)
        p.call("close", mount)
        p.call("close", place)
        p.label(skip)
        p.registers.give(mount)
        p.registers.give(place)
