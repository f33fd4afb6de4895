"""Bind mounts (config.md, "Mounts": options bind and rbind): a tree of the host's, cloned and moved into the root."""

from errno import EACCES, EEXIST, EINVAL, EPERM

from pyrunc.kernel.uapi import (
    AT_FDCWD,
    AT_RECURSIVE,
    AT_SYMLINK_NOFOLLOW,
    MOUNT_ATTR__ATIME,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NODIRATIME,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_NOSYMFOLLOW,
    MOUNT_ATTR_RDONLY,
    O_DIRECTORY,
    O_PATH,
    OPEN_TREE_CLOEXEC,
    OPEN_TREE_CLONE,
    PROC_SUPER_MAGIC,
)
from pyrunc.machine.ops import Label, Program, Reg, Space
from pyrunc.plan.filesystem.inroot import mount_point, open_in_root
from pyrunc.plan.filesystem.mount_entry import WHOLE, Entry
from pyrunc.plan.filesystem.mountapi import BindSource, mount_attr, set_attributes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.plan.filesystem.mountoptions import Options

# What a plain `bind,ro` takes away besides what it names, as mount(8) does it: a remount sets exactly the flags given.
SETTABLE = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NOSYMFOLLOW

_LONGEST_LINK = 4095  # PATH_MAX without its NUL
_TIMES = MOUNT_ATTR__ATIME | MOUNT_ATTR_NODIRATIME


def bind(entry: Entry) -> None:
    """A bind mount: its source is cloned, given its attributes, and moved onto its mount point."""
    p, target, options, context = entry.p, entry.target, entry.options, entry.context
    source_path = entry.mount.get("source", "")
    if not source_path.startswith("/"):
        source_path = f"{context.bundle}/{source_path}"
    source, place = p.reg("source"), p.reg("target")
    flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (AT_RECURSIVE if options.recursive else 0)
    if options.src_nofollow:
        flags |= AT_SYMLINK_NOFOLLOW
    name = source_path.encode(errors="surrogateescape")
    done = Label("copied")
    if options.copy_symlink:
        _copy_symlink(entry, name, done)
    p.call("open_tree", AT_FDCWD, name, flags, dst=source, key=BindSource())
    if target == "proc":
        # As of other types (mounts.py); what a bind mount brings is known only now.
        stat = Space(120, "statfs")
        p.call("fstatfs", source, stat)
        p.check(stat, 8, WHOLE, PROC_SUPER_MAGIC, EINVAL, key="not proc")
    nofollow = options.dest_nofollow
    mount_point(p, context.root, target, place, directory=None, source=source, nofollow=nofollow)
    entry.not_led_away(place)
    bind_attributes(p, source, options)
    entry.map_ids(source, own=False)
    entry.finish(source, place)
    p.close(place)
    p.close(source)
    p.label(done)


def _copy_symlink(entry: Entry, source: bytes, done: Label) -> None:
    """Where the source is a symbolic link: make the same in the container, and jump to `done`. One that is there
    already, from an earlier run, stays."""
    p, root = entry.p, entry.context.root
    other = Label("no link")
    text = Space(_LONGEST_LINK + 1, "link")
    p.call("readlinkat", AT_FDCWD, source, text, _LONGEST_LINK, only=(EINVAL, EACCES), error=other)
    head, _, tail = entry.target.rpartition("/")
    parent = p.reg("parent")
    if head:
        mount_point(p, root, head, parent)
    else:
        open_in_root(p, root, "", parent, O_PATH | O_DIRECTORY)
    # Once more: what was read is lost where the mount point's parents were made in a conversation.
    p.call("readlinkat", AT_FDCWD, source, text, _LONGEST_LINK)
    p.call("symlinkat", text, parent, tail.encode(errors="surrogateescape"), ok=(EEXIST,))
    p.close(parent)
    p.jump(done)
    p.label(other)


def bind_attributes(p: Program, fd: Reg, options: "Options") -> None:
    """The attributes of a bind mount.

    None named: those of the source stay. Some named: as a remount by mount(8), exactly those, but access times only
    where one is set. What a user namespace may not take away (locked flags) stays, unless the configuration asks for
    just that.
    """
    if not options.flagged:
        return
    new, named = options.set & ~_TIMES, options.clear & ~_TIMES
    times = 0
    if options.times is not None:
        new, times = new | options.times, _TIMES
    locked, done = Label("locked flags"), Label("attributes set")
    everything = (SETTABLE | named) & ~new | times
    set_attributes(p, fd, mount_attr(new, everything), only=(EPERM,), error=locked)
    p.jump(done)
    p.label(locked)
    # nosymfollow is never locked.
    set_attributes(p, fd, mount_attr(new, (MOUNT_ATTR_NOSYMFOLLOW | named) & ~new | times))
    p.label(done)
