"""The new mount API: thin functions over fsopen(2), fsmount(2), move_mount(2) and mount_setattr(2), and the keys of the
steps at which the host side has to help them.
"""

from pyrunc.kernel.uapi import (
    AT_EMPTY_PATH,
    AT_RECURSIVE,
    FSCONFIG_CMD_CREATE,
    FSCONFIG_SET_FLAG,
    FSCONFIG_SET_STRING,
    FSMOUNT_CLOEXEC,
    FSOPEN_CLOEXEC,
    MOVE_MOUNT_F_EMPTY_PATH,
    MOVE_MOUNT_T_EMPTY_PATH,
    MS_REC,
)
from pyrunc.machine.ops import Label, Program, Reg, Words

LONGEST_STRING = 255  # that fsconfig(2) takes


class BindSource:
    """Key of a step whose path the container's root may not be able to enter, where the host side
    can: open_tree of the source of a bind mount, or of the root; move_mount of the root."""

    __slots__ = ()


class CopyUp:
    """Key of the step at which the container layer copies a directory's content onto the tmpfs that will cover it.

    The descriptors of the directory and of the tmpfs have been sent. why, at: what the mount is for, for errors.
    """

    __slots__ = ("at", "why")

    def __init__(self, why: str, at: str) -> None:
        self.why = why
        self.at = at


class IdMap:
    """Key of the sync at which the host side maps the ids of a mount.

    The kernel wants privileges in the user namespace that has the maps and in that of the file
    system: the container's init may have neither. The detached mount's descriptor has been sent.
    index: in the mounts array. why, at: what the mount is for, for errors.
    """

    __slots__ = ("at", "index", "recursive", "why")

    def __init__(self, index: int, recursive: bool, why: str, at: str) -> None:
        self.index = index
        self.recursive = recursive
        self.why = why
        self.at = at


def mount_attr(attr_set: int, attr_clr: int = 0, propagation: int = 0, userns: int = 0) -> Words:
    """struct mount_attr of mount_setattr(2)."""
    return Words((attr_set, attr_clr, propagation, userns), "mount_attr")


def set_attributes(
    p: Program,
    fd: Reg,
    attr: Words,
    *,
    recursive: bool = False,
    only: "tuple[int, ...]" = (),
    error: "Label | None" = None,
) -> None:
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    p.call("mount_setattr", fd, b"", flags, attr, 32, only=only, error=error)


def attach(p: Program, mount: Reg, target: Reg) -> None:
    """Move a detached mount onto an open mount point."""
    flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
    p.call("move_mount", mount, b"", target, b"", flags)


def propagate(p: Program, mount: Reg, kinds: "list[int]") -> None:
    """Set propagation, once the mount is in its place: what is moved onto a shared mount becomes shared."""
    for flags in kinds:
        attr = mount_attr(0, 0, flags & ~MS_REC)
        set_attributes(p, mount, attr, recursive=bool(flags & MS_REC))


def new_filesystem(
    p: Program,
    kind: str,
    words: "list[str]",
    mount: Reg,
    *,
    attributes: int = 0,
) -> None:
    """fsopen(2), its parameters and fsmount(2), into a register."""
    fs = p.reg("fs")
    p.call("fsopen", kind.encode(), FSOPEN_CLOEXEC, dst=fs)
    configure(p, fs, words)
    p.call("fsconfig", fs, FSCONFIG_CMD_CREATE, None, None, 0)
    p.call("fsmount", fs, FSMOUNT_CLOEXEC, attributes, dst=mount)
    p.close(fs)


def configure(p: Program, fs: Reg, words: "list[str]") -> None:
    for word in words:
        name, equals, value = word.partition("=")
        if equals:
            p.call("fsconfig", fs, FSCONFIG_SET_STRING, name.encode(), value.encode(), 0)
        else:
            p.call("fsconfig", fs, FSCONFIG_SET_FLAG, name.encode(), None, 0)
