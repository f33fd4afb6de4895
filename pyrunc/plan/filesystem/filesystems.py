"""Mounts that are neither binds nor cgroups (config.md, "Mounts"): a file system that is made for the container."""

from errno import EACCES, EBUSY, EPERM

from pyrunc.kernel.uapi import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_RECURSIVE,
    FSCONFIG_CMD_CREATE,
    FSMOUNT_CLOEXEC,
    FSOPEN_CLOEXEC,
    MOUNT_ATTR__ATIME,
    MOUNT_ATTR_RDONLY,
    O_CLOEXEC,
    O_DIRECTORY,
    OPEN_TREE_CLOEXEC,
    OPEN_TREE_CLONE,
    RESOLVE_NO_SYMLINKS,
    STATX_MODE,
    STATX_MODE_AT,
    STATX_SIZE_OF,
)
from pyrunc.machine.ops import At, Label, Reg, Space
from pyrunc.plan.filesystem.inroot import mount_point
from pyrunc.plan.filesystem.mount_entry import Entry
from pyrunc.plan.filesystem.mountapi import (
    LONGEST_STRING,
    CopyUp,
    configure,
    mount_attr,
    new_filesystem,
    set_attributes,
)
from pyrunc.plan.filesystem.mountoptions import split_data

_MOST_LATE = 64  # each keeps a register; what comes after them is read-only at once


class FileSystem:
    """A file system on its way onto its mount point.

    fd: register of the detached mount. place: of the mount point. created: whether the mount point was made for it.
    words: the parameters of the file system. attributes: those that the mount is made with. mode: register of the
    mode that a tmpfs takes over from what it covers. late: whether it becomes read-only when all mounts are in place.
    """

    __slots__ = ("attributes", "created", "entry", "fd", "late", "mode", "place", "words")

    def __init__(self, entry: Entry) -> None:
        options, context = entry.options, entry.context
        self.entry = entry
        self.fd = entry.p.reg(entry.kind or "mount")
        self.place = entry.p.reg("target")
        self.created = entry.p.reg("created")
        data = split_data(options.data, escapes=entry.kind == "overlay")
        self.words = [f"source={entry.source}", *options.superblock, *data]
        if context.label and entry.kind not in ("proc", "sysfs", "mqueue"):
            self.words.append(f"{context.label_option}={context.label}")
        self.attributes = options.set
        self.mode: Reg | None = None
        self.late = False

    def compile(self) -> None:
        """All steps, from the mount point to the attached mount."""
        entry = self.entry
        p = entry.p
        self._open_place()
        self._read_only()
        if entry.kind == "sysfs" and entry.context.userns:
            self._sysfs_or_hosts()
        else:
            self._new()
        if self.mode is not None:
            self._inherit_mode(self.mode)
        entry.map_ids(self.fd, own=entry.context.userns)
        if entry.context.label and entry.kind == "mqueue":
            self._label_mqueue()
        if entry.options.tmpcopyup and entry.kind == "tmpfs":
            p.send_fds(self.place, self.fd)
            p.sync(CopyUp(p._why, p._at))
        entry.finish(self.fd, self.place)
        p.close(self.place)
        p.registers.give(self.created)
        if self.late:
            # Kept open: by its path another mount could be found by then.
            entry.context.late.append((self.fd, p._why, p._at))
        else:
            p.close(self.fd)

    def _open_place(self) -> None:
        entry = self.entry
        if entry.kind in ("proc", "sysfs"):
            # CVE-2019-19921: a /proc or /sys that is a symbolic link leads labels and masks elsewhere.
            mount_point(entry.p, entry.context.root, entry.target, self.place, resolve=RESOLVE_NO_SYMLINKS)
        else:
            mount_point(entry.p, entry.context.root, entry.target, self.place, created=self.created)
            entry.not_led_away(self.place)

    def _read_only(self) -> None:
        """When it becomes read-only: a tmpfs once mount points in it have been made, and its mode is set."""
        p = self.entry.p
        if self.entry.kind != "tmpfs":
            if self.attributes & MOUNT_ATTR_RDONLY:
                self.words.append("ro")
            return
        self.late = bool(self.attributes & MOUNT_ATTR_RDONLY) and len(self.entry.context.late) < _MOST_LATE
        if self.late:
            self.attributes &= ~MOUNT_ATTR_RDONLY
        if not any(word.startswith("mode=") for word in self.words):
            covered, self.mode = Space(STATX_SIZE_OF, "statx"), p.reg("mode")
            p.call("statx", self.place, b"", AT_EMPTY_PATH, STATX_MODE, covered)
            p.load(At(covered, STATX_MODE_AT), 2, self.mode)
            # What is read-only at once could not be given a mode.
            self.attributes &= ~MOUNT_ATTR_RDONLY

    def _new(self) -> None:
        entry = self.entry
        p, words = entry.p, self.words
        if any(len(word.encode(errors="surrogateescape")) > LONGEST_STRING for word in words):
            from pyrunc.plan.filesystem.longmount import long_filesystem

            long_filesystem(p, entry.kind, entry.source, words[1:], self.place, self.fd, entry.pointer)
            set_attributes(p, self.fd, mount_attr(self.attributes, MOUNT_ATTR__ATIME))
        else:
            new_filesystem(p, entry.kind, words, self.fd, attributes=self.attributes)

    def _sysfs_or_hosts(self) -> None:
        """A user namespace that does not own the network namespace may not mount sysfs: the host's is bound instead."""
        p, fd = self.entry.p, self.fd
        refused, fallback, made = Label("no sysfs"), Label("bind the host's"), Label("made")
        fs = p.reg("fs")
        p.call("fsopen", b"sysfs", FSOPEN_CLOEXEC, dst=fs, only=(EPERM,), error=refused)
        configure(p, fs, self.words)
        errors = (EPERM, EBUSY, EACCES)
        p.call("fsconfig", fs, FSCONFIG_CMD_CREATE, None, None, 0, only=errors, error=fallback)
        p.call("fsmount", fs, FSMOUNT_CLOEXEC, self.attributes, dst=fd, only=(EPERM,), error=fallback)
        p.call("close", fs)
        p.jump(made)
        p.label(fallback)
        p.close(fs)
        p.label(refused)
        tree = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE
        p.call("open_tree", AT_FDCWD, b"/sys", tree, dst=fd)
        # With all that is mounted below it: it would stay writable.
        set_attributes(p, fd, mount_attr(self.attributes), recursive=True)
        p.label(made)

    def _inherit_mode(self, mode: Reg) -> None:
        """Give a tmpfs the mode of the directory that it covers, unless that was made for it.

        By fchmod(2), which takes no O_PATH. As a parameter of the file system it would be a text, and a question to
        Python.
        """
        p = self.entry.p
        covers, done, top = Label("covers a directory"), Label("done"), p.reg("top")
        p.call("move", self.created, zero=covers)
        p.jump(done)
        p.label(covers)
        p.call("openat", self.fd, b".", O_DIRECTORY | O_CLOEXEC, 0, dst=top)
        p.call("fchmod", top, mode)
        p.call("close", top)
        p.label(done)
        p.registers.give(top)
        p.registers.give(mode)
        if self.entry.options.set & MOUNT_ATTR_RDONLY and not self.late:
            set_attributes(p, self.fd, mount_attr(MOUNT_ATTR_RDONLY))

    def _label_mqueue(self) -> None:
        """It takes no context option, only the attribute; not on descriptors of mounts (O_PATH)."""
        p = self.entry.p
        label = self.entry.context.label.encode(errors="surrogateescape")
        top = p.reg("top")
        p.call("openat", self.fd, b".", O_DIRECTORY | O_CLOEXEC, 0, dst=top)
        p.call("fsetxattr", top, b"security.selinux", label, len(label), 0)
        p.close(top)
