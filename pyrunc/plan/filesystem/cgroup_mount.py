"""Mounts of type cgroup (config.md, "Mounts"): the cgroup file system of version 2."""

from errno import EACCES, EBUSY, ENODEV, EPERM

from pyrunc.kernel.uapi import (
    AT_FDCWD,
    AT_RECURSIVE,
    FSCONFIG_CMD_CREATE,
    FSMOUNT_CLOEXEC,
    FSOPEN_CLOEXEC,
    OPEN_TREE_CLOEXEC,
    OPEN_TREE_CLONE,
)
from pyrunc.machine.ops import Label
from pyrunc.plan.filesystem.inroot import mount_point
from pyrunc.plan.filesystem.mount_entry import Entry
from pyrunc.plan.filesystem.mountapi import configure, mount_attr, set_attributes
from pyrunc.plan.filesystem.mountoptions import split_data


def cgroup2(entry: Entry) -> None:
    """The cgroup file system: the container's own part of it with a cgroup namespace, and without one too where the
    kernel only lets the host's be bound (CVE-2023-25809: read-only stays read-only).

    Words that are for the file system are given to it even so: one that it does not know is an error."""
    p, options, context = entry.p, entry.options, entry.context
    fd, place = p.reg("cgroup2"), p.reg("target")
    mount_point(p, context.root, entry.target, place)
    entry.not_led_away(place)
    fallback, made = Label("bind the host's"), Label("made")
    fs = p.reg("fs")
    p.call("fsopen", b"cgroup2", FSOPEN_CLOEXEC, dst=fs)
    configure(p, fs, ["source=cgroup", *context.cgroup_flags, *options.superblock, *split_data(options.data)])
    errors = (EPERM, EBUSY, EACCES, ENODEV)
    p.call("fsconfig", fs, FSCONFIG_CMD_CREATE, None, None, 0, only=errors, error=fallback)
    p.call("fsmount", fs, FSMOUNT_CLOEXEC, options.set, dst=fd, only=(EPERM,), error=fallback)
    p.jump(made)
    p.label(fallback)
    path = context.cgroup_root + (context.cgroup_path if context.cgroup_ns else "")
    tree = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE
    p.call("open_tree", AT_FDCWD, path.encode(), tree, dst=fd)
    set_attributes(p, fd, mount_attr(options.set), recursive=True)
    p.label(made)
    p.close(fs)
    entry.map_ids(fd, own=context.userns)
    entry.finish(fd, place)
    p.close(place)
    p.close(fd)
