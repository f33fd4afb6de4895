"""The root file system: propagation, the bind of the root onto itself, pivot_root, read-only root.

Specification: config.md "Root", config-linux.md "Rootfs Mount Propagation". pivot_root(2).
"""

from errno import EACCES, EINVAL

from pyrunc.kernel.uapi import (
    AT_FDCWD,
    AT_RECURSIVE,
    MNT_DETACH,
    MOUNT_ATTR_RDONLY,
    MOVE_MOUNT_F_EMPTY_PATH,
    MS_MOVE,
    MS_PRIVATE,
    MS_REC,
    MS_SHARED,
    MS_SLAVE,
    MS_UNBINDABLE,
    O_CLOEXEC,
    O_DIRECTORY,
    O_PATH,
    OPEN_TREE_CLOEXEC,
    OPEN_TREE_CLONE,
)
from pyrunc.machine.ops import Label, Program, Reg
from pyrunc.plan.filesystem.mountapi import BindSource, mount_attr, set_attributes
from pyrunc.plan.filesystem.mountoptions import PROPAGATION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.config.types import Config


def enter(p: Program, config: "Config", rootfs: str, root: Reg) -> None:
    """Keep mounts from the host (or let them through, as rootfsPropagation says), bind the root onto itself
    and open it.

    rootfs: absolute path on the host without symbolic links. root: register for its descriptor.
    """
    name = config.get("linux", {}).get("rootfsPropagation", "")
    flags = PROPAGATION[name] if name else MS_SLAVE | MS_REC
    if flags & MS_UNBINDABLE:
        # What is unbindable cannot be bound onto itself; the root becomes so at the end (final_propagation).
        flags = flags & ~MS_UNBINDABLE | MS_PRIVATE
    p.about("error preparing rootfs: propagation of /", "/linux/rootfsPropagation" if name else "")
    # "/" is changed with all below it, which would still reach the host else; but not where "/" itself is to reach it.
    kind = mount_attr(0, 0, flags & ~MS_REC)
    recursive = 0 if flags & (MS_SHARED | MS_REC) == MS_SHARED else AT_RECURSIVE
    p.call("mount_setattr", AT_FDCWD, b"/", recursive, kind, 32)
    p.about("error preparing rootfs: bind the root onto itself", "/root/path")
    if flags & MS_SHARED or not name:
        # What is attached to a shared mount appears on the host, and pivot_root refuses a shared parent. A copy of a
        # slave is a slave: what the host mounts below the root, or below what is bound from beside it, would show.
        # The mount is looked for from the root upward; a user namespace's root may not enter all of these folders.
        private = mount_attr(0, 0, MS_PRIVATE)
        done = Label("parent is private")
        path = rootfs
        while path:
            last = path == "/"
            further = Label()
            only = () if last else (EINVAL, EACCES)
            p.call(
                "mount_setattr",
                AT_FDCWD,
                path.encode(errors="surrogateescape"),
                0,
                private,
                32,
                only=only,
                error=None if last else further,
            )
            if last:
                break
            p.jump(done)
            p.label(further)
            path = path.rpartition("/")[0] or "/"
        p.label(done)
    path_bytes = rootfs.encode(errors="surrogateescape")
    tree = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE
    key = BindSource()
    p.call("open_tree", AT_FDCWD, path_bytes, tree, dst=root, key=key)
    if not name:
        set_attributes(p, root, mount_attr(0, 0, MS_PRIVATE))
    p.call("move_mount", root, b"", AT_FDCWD, path_bytes, MOVE_MOUNT_F_EMPTY_PATH, key=key)


def pivot(p: Program, root: Reg) -> None:
    """Make the root the root: the old one is stacked on the same place and detached, so no directory is needed
    for it."""
    p.about("error pivoting to the root file system", "/root/path")
    old = p.reg("old root")
    p.call("openat", AT_FDCWD, b"/", O_PATH | O_DIRECTORY | O_CLOEXEC, 0, dst=old)
    p.call("fchdir", root)
    p.call("pivot_root", b".", b".")
    p.call("fchdir", old)
    # Else the unmount would propagate to the host.
    p.call("mount", None, b".", None, MS_SLAVE | MS_REC, None)
    p.call("umount2", b".", MNT_DETACH)
    p.call("chdir", b"/")
    p.close(old)


def move_root(p: Program, root: Reg, rootfs: str, exposed: "list[tuple[str, str]]") -> None:
    """--no-pivot: move the root over "/" and chroot into it.

    exposed: proc and sysfs mounts of the host outside the root. They would stay reachable below the moved mount for who
    may mount, so they go first. With each, the place of the mount that it is on.
    """
    p.about("error moving the root file system over /", "/root/path")
    # What goes from a shared mount, as rootfsPropagation may make them, goes from the host's as well; and what is moved
    # over one covers the host's.
    for parent in dict.fromkeys(("/", *(parent for _, parent in exposed))):
        p.call("mount", None, parent.encode(errors="surrogateescape"), None, MS_PRIVATE, None, ok=(EINVAL,))
    for path, _ in exposed:
        name = path.encode(errors="surrogateescape")
        cover, done = Label(), Label()
        p.call("mount", None, name, None, MS_SLAVE | MS_REC, None, ok=(EINVAL,))
        p.call("umount2", name, MNT_DETACH, error=cover)
        p.jump(done)
        p.label(cover)
        p.call("mount", b"tmpfs", name, b"tmpfs", 0, None)
        p.label(done)
    p.call("fchdir", root)
    p.call("mount", rootfs.encode(errors="surrogateescape"), b"/", None, MS_MOVE, None)
    p.call("chroot", b".")
    p.call("chdir", b"/")


def change_root(p: Program, rootfs: str) -> None:
    """Without a mount namespace there is nothing to pivot in: chroot(2)."""
    p.about("error changing root", "/root/path")
    p.call("chroot", rootfs.encode(errors="surrogateescape"))
    p.call("chdir", b"/")


def final_propagation(p: Program, config: "Config", root: Reg) -> None:
    """rootfsPropagation as the container sees it on its root."""
    name = config.get("linux", {}).get("rootfsPropagation", "")
    if name:
        p.about("error setting rootfs propagation", "/linux/rootfsPropagation")
        flags = PROPAGATION[name]
        attr = mount_attr(0, 0, flags & ~MS_REC)
        set_attributes(p, root, attr, recursive=bool(flags & MS_REC))


def read_only_root(p: Program, root: Reg) -> None:
    p.about("error setting rootfs as readonly", "/root/readonly")
    set_attributes(p, root, mount_attr(MOUNT_ATTR_RDONLY))
