"""The mounts array (config.md, "Mounts"): every mount by descriptors, with the new mount API.

A mount is made detached, given its attributes, and moved onto a mount point that was opened inside the root. Nothing
is mounted by path, so a symbolic link swapped in meanwhile leads nowhere. mountapi.py has the system calls.
"""

from pyrunc.errors import ConfigError
from pyrunc.kernel.uapi import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_RECURSIVE,
    AT_SYMLINK_NOFOLLOW,
    EACCES,
    EBUSY,
    EEXIST,
    EINVAL,
    ENODEV,
    EPERM,
    FSCONFIG_CMD_CREATE,
    FSMOUNT_CLOEXEC,
    FSOPEN_CLOEXEC,
    MOUNT_ATTR__ATIME,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NODIRATIME,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_NOSYMFOLLOW,
    MOUNT_ATTR_RDONLY,
    O_CLOEXEC,
    O_DIRECTORY,
    O_PATH,
    OPEN_TREE_CLOEXEC,
    OPEN_TREE_CLONE,
    PROC_SUPER_MAGIC,
    RESOLVE_NO_SYMLINKS,
    STATX_MODE,
    STATX_MODE_AT,
    STATX_SIZE_OF,
    SYSFS_MAGIC,
)
from pyrunc.machine.ops import At, Label, Program, Reg, Space
from pyrunc.plan.filesystem.inroot import clean, mount_point, open_in_root
from pyrunc.plan.filesystem.mountapi import (
    LONGEST_STRING,
    BindSource,
    CopyUp,
    IdMap,
    attach,
    configure,
    mount_attr,
    new_filesystem,
    propagate,
    set_attributes,
)
from pyrunc.plan.filesystem.mountoptions import Options, split_data

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.config.types import Mount

# What a plain `bind,ro` takes away besides what it names, as mount(8) does it: a remount sets exactly the flags given.
SETTABLE = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NOSYMFOLLOW

_MOST_LATE = 64  # each keeps a register; what comes after them is read-only at once
_WHOLE = 0xFFFFFFFFFFFFFFFF
_LONGEST_LINK = 4095  # PATH_MAX without its NUL
_TIMES = MOUNT_ATTR__ATIME | MOUNT_ATTR_NODIRATIME

# Files below /proc that programs such as lxcfs may cover; anything else there could fool whoever reads /proc.
PROC_FILES = (
    "proc/cpuinfo",
    "proc/diskstats",
    "proc/meminfo",
    "proc/stat",
    "proc/swaps",
    "proc/uptime",
    "proc/loadavg",
    "proc/slabinfo",
    "proc/sys/kernel/ns_last_pid",
    "proc/sys/crypto/fips_enabled",
)


class Context:
    """What mounts need to know of the rest.

    root: register of the root file system's descriptor. bundle, rootfs: their absolute paths. userns: whether the
    container has a user namespace other than pyrunc's. cgroup_ns: whether a private cgroup namespace.
    cgroup_path: the container's directory below the cgroup file system's mount, for mounts without a namespace.
    cgroup_flags: options that the host's cgroup file system has and has to keep.
    late: mounts that are to be read-only when all are in place: register, why, pointer.
    label: SELinux mount label, given to file systems as label_option (mount(8), "context=").
    """

    __slots__ = (
        "bundle",
        "cgroup_flags",
        "cgroup_ns",
        "cgroup_path",
        "cgroup_root",
        "label",
        "label_option",
        "late",
        "root",
        "rootfs",
        "userns",
    )

    def __init__(self, root: Reg, bundle: str, rootfs: str) -> None:
        self.root = root
        self.bundle = bundle
        self.rootfs = rootfs
        self.userns = False
        self.cgroup_flags: tuple[str, ...] = ()
        self.cgroup_ns = True
        self.cgroup_path = ""
        self.cgroup_root = "/sys/fs/cgroup"
        self.label = ""
        self.label_option = "context"
        self.late: list[tuple[Reg, str, str]] = []


def compile_mount(p: Program, index: int, mount: "Mount", context: Context) -> None:
    """One entry of the mounts array. Raises ConfigError for destinations that no container may cover."""
    pointer = f"/mounts/{index}"
    destination = mount["destination"]
    if context.rootfs != "/" and destination.startswith(context.rootfs + "/"):
        # Where the root file system lies on the host: runc takes such a destination as one below it.
        destination = destination[len(context.rootfs) :]
    target = clean(destination)
    options = Options(mount.get("options") or [])
    kind = mount.get("type") or ""
    if kind == "bind":
        options.bind = True
    source = mount.get("source") or kind or "none"
    p.about(f'error mounting "{source}" to rootfs at "{destination}"', pointer)
    if not target:
        raise ConfigError(
            f'cannot mount over the root file system: destination "{destination}" ({pointer[1:]}/destination)',
            pointer=pointer + "/destination",
        )
    if target == "proc" and kind != "proc" and not (options.bind or options.remount):
        # CVE-2019-16884: whoever covers /proc decides what labels and sysctls are written to.
        raise ConfigError(
            f'"{destination}" cannot be mounted because it is not of type proc ({pointer[1:]}/type)',
            pointer=pointer + "/type",
        )
    inside_proc = target.startswith("proc/")
    if inside_proc and target not in PROC_FILES and kind != "proc":
        raise ConfigError(
            f'"{destination}" cannot be mounted because it is inside /proc ({pointer[1:]}/destination)',
            pointer=pointer + "/destination",
        )
    if options.remount and not options.bind:
        _remount(p, index, target, mount, options, context)
    elif options.bind:
        _bind(p, index, target, mount, options, context)
    elif kind == "cgroup" or kind == "cgroup2":
        _cgroup(p, index, target, mount, options, context)
    else:
        _filesystem(p, index, target, mount, kind, options, context)


def not_led_away(p: Program, target: str, place: Reg) -> None:
    """Fail where a symbolic link of the image's has led a mount point into /proc or /sys: masks would be put upon what
    is mounted there, and others would take it for the kernel's (CVE-2019-16884).

    Whether `target` may lie there by its text, compile_mount has decided.
    """
    allowed = (target == "proc" or target.startswith("proc/"), target == "sys" or target.startswith("sys/"))
    if all(allowed):
        return
    stat = Space(120, "statfs")
    p.call("fstatfs", place, stat)
    for is_allowed, magic, key in zip(allowed, (PROC_SUPER_MAGIC, SYSFS_MAGIC), ("in proc", "in sys"), strict=True):
        if not is_allowed:
            elsewhere = Label("elsewhere")
            p.check(stat, 8, _WHOLE, magic, EINVAL, error=elsewhere)
            p.fail(EINVAL, key)
            p.label(elsewhere)


def _finish(p: Program, mount: Reg, target: Reg, options: Options) -> None:
    """Attach, then what is said for the whole tree, then propagation."""
    attach(p, mount, target)
    if options.tree_set or options.tree_clear:
        set_attributes(p, mount, mount_attr(options.tree_set, options.tree_clear), recursive=True)
    propagate(p, mount, options.propagation)


def bind_attributes(p: Program, fd: Reg, options: Options) -> None:
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


def _bind(p: Program, index: int, target: str, mount: "Mount", options: Options, context: Context) -> None:
    source_path = mount.get("source") or ""
    if not source_path.startswith("/"):
        source_path = f"{context.bundle}/{source_path}"
    source, place = p.reg("source"), p.reg("target")
    flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (AT_RECURSIVE if options.recursive else 0)
    if options.src_nofollow:
        flags |= AT_SYMLINK_NOFOLLOW
    name = source_path.encode(errors="surrogateescape")
    done = Label("copied")
    if options.copy_symlink:
        _copy_symlink(p, name, target, context, done)
    p.call("open_tree", AT_FDCWD, name, flags, dst=source, key=BindSource())
    if target == "proc":
        # As above; what a bind mount brings is known only now.
        stat = Space(120, "statfs")
        p.call("fstatfs", source, stat)
        p.check(stat, 8, _WHOLE, PROC_SUPER_MAGIC, EINVAL, key="not proc")
    nofollow = options.dest_nofollow
    mount_point(p, context.root, target, place, directory=None, source=source, nofollow=nofollow)
    not_led_away(p, target, place)
    bind_attributes(p, source, options)
    _idmap(p, index, source, mount, options, False)
    _finish(p, source, place, options)
    p.close(place)
    p.close(source)
    p.label(done)


def _copy_symlink(p: Program, source: bytes, target: str, context: Context, done: Label) -> None:
    """Where the source is a symbolic link: make the same in the container, and jump to `done`. One that is there
    already, from an earlier run, stays."""
    other = Label("no link")
    text = Space(_LONGEST_LINK + 1, "link")
    p.call("readlinkat", AT_FDCWD, source, text, _LONGEST_LINK, only=(EINVAL, EACCES), error=other)
    head, _, tail = target.rpartition("/")
    parent = p.reg("parent")
    if head:
        mount_point(p, context.root, head, parent)
    else:
        open_in_root(p, context.root, "", parent, O_PATH | O_DIRECTORY)
    # Once more: what was read is lost where the mount point's parents were made in a conversation.
    p.call("readlinkat", AT_FDCWD, source, text, _LONGEST_LINK)
    p.call("symlinkat", text, parent, tail.encode(errors="surrogateescape"), ok=(EEXIST,))
    p.close(parent)
    p.jump(done)
    p.label(other)


def _idmap(p: Program, index: int, fd: Reg, mount: "Mount", options: Options, own: bool) -> None:
    """Map the ids of a detached mount, where the configuration asks for it.

    own: whether its file system belongs to the container's user namespace: without maps of the
    mount's own its ids are the container's already.
    """
    mapped = bool(mount.get("uidMappings") or mount.get("gidMappings"))
    if mapped or (options.idmap and not own):
        p.send_fds(fd)
        p.sync(IdMap(index, options.idmap == "ridmap", p._why, p._at))


def _filesystem(
    p: Program,
    index: int,
    target: str,
    mount: "Mount",
    kind: str,
    options: Options,
    context: Context,
) -> None:
    fd, place = p.reg(kind or "mount"), p.reg("target")
    source = mount.get("source") or kind
    words = [f"source={source}", *options.superblock, *split_data(options.data)]
    if context.label and kind not in ("proc", "sysfs", "mqueue"):
        words.append(f"{context.label_option}={context.label}")
    attributes = options.set
    read_only_late = False
    mode = None
    created = p.reg("created")
    if kind in ("proc", "sysfs"):
        # CVE-2019-19921: a /proc or /sys that is a symbolic link leads labels and masks elsewhere.
        mount_point(p, context.root, target, place, resolve=RESOLVE_NO_SYMLINKS)
    else:
        mount_point(p, context.root, target, place, created=created)
        not_led_away(p, target, place)
    if kind == "tmpfs":
        read_only_late = bool(attributes & MOUNT_ATTR_RDONLY) and len(context.late) < _MOST_LATE
        if read_only_late:
            attributes &= ~MOUNT_ATTR_RDONLY
        if not any(word.startswith("mode=") for word in words):
            covered, mode = Space(STATX_SIZE_OF, "statx"), p.reg("mode")
            p.call("statx", place, b"", AT_EMPTY_PATH, STATX_MODE, covered)
            p.load(At(covered, STATX_MODE_AT), 2, mode)
            # What is read-only at once could not be given a mode.
            attributes &= ~MOUNT_ATTR_RDONLY
    elif attributes & MOUNT_ATTR_RDONLY:
        words.append("ro")
    if kind == "sysfs" and context.userns:
        # A user namespace that does not own the network namespace may not mount sysfs: the host's is bound instead.
        refused, fallback, made = Label("no sysfs"), Label("bind the host's"), Label("made")
        fs = p.reg("fs")
        p.call("fsopen", b"sysfs", FSOPEN_CLOEXEC, dst=fs, only=(EPERM,), error=refused)
        configure(p, fs, words)
        p.call(
            "fsconfig",
            fs,
            FSCONFIG_CMD_CREATE,
            None,
            None,
            0,
            only=(EPERM, EBUSY, EACCES),
            error=fallback,
        )
        p.call("fsmount", fs, FSMOUNT_CLOEXEC, attributes, dst=fd, only=(EPERM,), error=fallback)
        p.call("close", fs)
        p.jump(made)
        p.label(fallback)
        p.close(fs)
        p.label(refused)
        tree = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE
        p.call("open_tree", AT_FDCWD, b"/sys", tree, dst=fd)
        # With all that is mounted below it: it would stay writable.
        set_attributes(p, fd, mount_attr(attributes), recursive=True)
        p.label(made)
    elif any(len(word.encode(errors="surrogateescape")) > LONGEST_STRING for word in words):
        from pyrunc.plan.filesystem.longmount import long_filesystem

        long_filesystem(p, kind, source, words[1:], place, fd, f"/mounts/{index}")
        set_attributes(p, fd, mount_attr(attributes, MOUNT_ATTR__ATIME))
    else:
        new_filesystem(p, kind, words, fd, attributes=attributes)
    if mode is not None:
        _inherit_mode(p, fd, created, mode)
        if options.set & MOUNT_ATTR_RDONLY and not read_only_late:
            set_attributes(p, fd, mount_attr(MOUNT_ATTR_RDONLY))
    _idmap(p, index, fd, mount, options, context.userns)
    if context.label and kind == "mqueue":
        # It takes no context option, only the attribute; not on descriptors of mounts (O_PATH).
        label = context.label.encode(errors="surrogateescape")
        top = p.reg("top")
        p.call("openat", fd, b".", O_DIRECTORY | O_CLOEXEC, 0, dst=top)
        p.call("fsetxattr", top, b"security.selinux", label, len(label), 0)
        p.close(top)
    if options.tmpcopyup and kind == "tmpfs":
        p.send_fds(place, fd)
        p.sync(CopyUp())
    _finish(p, fd, place, options)
    p.close(place)
    p.registers.give(created)
    if read_only_late:
        # Kept open: by its path another mount could be found by then.
        context.late.append((fd, p._why, p._at))
    else:
        p.close(fd)


def _inherit_mode(p: Program, fd: Reg, created: Reg, mode: Reg) -> None:
    """Give a tmpfs the mode of the directory that it covers, unless that was made for it.

    By fchmod(2), which takes no O_PATH. As a parameter of the file system it would be a text, and a question to Python.
    """
    covers, done, top = Label("covers a directory"), Label("done"), p.reg("top")
    p.call("move", created, zero=covers)
    p.jump(done)
    p.label(covers)
    p.call("openat", fd, b".", O_DIRECTORY | O_CLOEXEC, 0, dst=top)
    p.call("fchmod", top, mode)
    p.call("close", top)
    p.label(done)
    p.registers.give(top)
    p.registers.give(mode)


def read_only_late(p: Program, context: Context) -> None:
    """Make the tmpfs mounts read-only that were to be so, now that everything below them is in place."""
    for fd, why, at in context.late:
        p.about(why, at)
        set_attributes(p, fd, mount_attr(MOUNT_ATTR_RDONLY))
        p.close(fd)


def _remount(p: Program, index: int, target: str, mount: "Mount", options: Options, context: Context) -> None:
    fd = p.reg("mount")
    open_in_root(p, context.root, target, fd)
    set_attributes(p, fd, mount_attr(options.set, options.clear & ~(options.set & ~MOUNT_ATTR__ATIME)))
    _idmap(p, index, fd, mount, options, context.userns)
    propagate(p, fd, options.propagation)
    p.close(fd)


def _cgroup(p: Program, index: int, target: str, mount: "Mount", options: Options, context: Context) -> None:
    """The cgroup file system: the container's own part of it with a cgroup namespace, and without one too where the
    kernel only lets the host's be bound (CVE-2023-25809: read-only stays read-only)."""
    fd, place = p.reg("cgroup2"), p.reg("target")
    mount_point(p, context.root, target, place)
    not_led_away(p, target, place)
    fallback, made = Label("bind the host's"), Label("made")
    fs = p.reg("fs")
    p.call("fsopen", b"cgroup2", FSOPEN_CLOEXEC, dst=fs)
    configure(p, fs, ["source=cgroup", *context.cgroup_flags])
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
    _idmap(p, index, fd, mount, options, context.userns)
    _finish(p, fd, place, options)
    p.close(place)
    p.close(fd)
