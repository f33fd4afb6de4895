"""A mount of type `cgroup` on a host with v1 hierarchies: the container's group of each, under one tmpfs.

Loaded on such hosts alone.
"""

from pyrunc.errors import ConfigError
from pyrunc.kernel.uapi import (
    AT_FDCWD,
    MOUNT_ATTR_RDONLY,
    O_CLOEXEC,
    O_DIRECTORY,
    O_NOFOLLOW,
    O_PATH,
    OPEN_TREE_CLOEXEC,
    OPEN_TREE_CLONE,
)
from pyrunc.plan.filesystem.inroot import mount_point
from pyrunc.plan.filesystem.mount_entry import Entry
from pyrunc.plan.filesystem.mountapi import attach, mount_attr, new_filesystem, propagate, set_attributes


def hierarchies(entry: Entry) -> None:
    """Every mount by descriptors: the tmpfs is new, so that nobody has put a link where a hierarchy goes.

    A group is bound, and with it what is below: others of the hierarchy are out of sight, with a cgroup namespace and
    without one. A hierarchy of several controllers has a link for each. Errors: ConfigError for an option of a file
    system, of which none is made.
    """
    p, options, context = entry.p, entry.options, entry.context
    if options.data:
        raise ConfigError(
            f'hierarchies of cgroup v1 take no option "{options.data[0]}" ({entry.pointer[1:]}/options)',
            pointer=f"{entry.pointer}/options",
        )
    top, place = p.reg("tmpfs"), p.reg("target")
    mount_point(p, context.root, entry.target, place)
    entry.not_led_away(place)
    attributes = options.set & ~MOUNT_ATTR_RDONLY
    new_filesystem(p, "tmpfs", ["source=tmpfs", "mode=755"], top, attributes=attributes)
    attach(p, top, place)
    for key, path in context.cgroup_v1:
        group, at = p.reg("cgroup"), p.reg("mount point")
        name = key.removeprefix("name=").encode()
        p.call("mkdirat", top, name, 0o755)
        p.call("openat", top, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0, dst=at)
        source = path.encode(errors="surrogateescape")
        p.call("open_tree", AT_FDCWD, source, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC, dst=group)
        set_attributes(p, group, mount_attr(options.set))
        attach(p, group, at)
        propagate(p, group, options.propagation)
        p.close(at)
        p.close(group)
        if "," in key:
            for controller in key.split(","):
                p.call("symlinkat", name, top, controller.encode())
    if options.set & MOUNT_ATTR_RDONLY:
        set_attributes(p, top, mount_attr(MOUNT_ATTR_RDONLY))
    propagate(p, top, options.propagation)
    p.close(place)
    p.close(top)
