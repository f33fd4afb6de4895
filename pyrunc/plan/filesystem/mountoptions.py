"""Mount options: what each option of the specification (config.md, "Linux mount options") means to the mount API."""

from pyrunc.kernel.uapi import (
    MOUNT_ATTR__ATIME,
    MOUNT_ATTR_NOATIME,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NODIRATIME,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_NOSYMFOLLOW,
    MOUNT_ATTR_RDONLY,
    MOUNT_ATTR_STRICTATIME,
    MS_PRIVATE,
    MS_REC,
    MS_SHARED,
    MS_SLAVE,
    MS_UNBINDABLE,
)

# Option: attributes to set, attributes to clear. With "r" before it: the same for the whole tree.
ATTRIBUTES = {
    "ro": (MOUNT_ATTR_RDONLY, 0),
    "rw": (0, MOUNT_ATTR_RDONLY),
    "nosuid": (MOUNT_ATTR_NOSUID, 0),
    "suid": (0, MOUNT_ATTR_NOSUID),
    "nodev": (MOUNT_ATTR_NODEV, 0),
    "dev": (0, MOUNT_ATTR_NODEV),
    "noexec": (MOUNT_ATTR_NOEXEC, 0),
    "exec": (0, MOUNT_ATTR_NOEXEC),
    "nodiratime": (MOUNT_ATTR_NODIRATIME, 0),
    "diratime": (0, MOUNT_ATTR_NODIRATIME),
    "nosymfollow": (MOUNT_ATTR_NOSYMFOLLOW, 0),
    "symfollow": (0, MOUNT_ATTR_NOSYMFOLLOW),
    # Access times are one field of three values: setting one clears the others.
    "noatime": (MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME),
    "atime": (0, MOUNT_ATTR__ATIME),
    "relatime": (0, MOUNT_ATTR__ATIME),
    "norelatime": (0, MOUNT_ATTR__ATIME),
    "strictatime": (MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME),
    "nostrictatime": (0, MOUNT_ATTR__ATIME),
}
# mount(2)'s flags for access times, and whether the option sets or clears one: a bind mount keeps those of its source
# unless one is set at the end.
TIMES = {
    "noatime": ("noatime", True),
    "atime": ("noatime", False),
    "nodiratime": ("nodiratime", True),
    "diratime": ("nodiratime", False),
    "relatime": ("relatime", True),
    "norelatime": ("relatime", False),
    "strictatime": ("strictatime", True),
    "nostrictatime": ("strictatime", False),
}
RECURSIVE = {"r" + name: value for name, value in ATTRIBUTES.items()}

# What the superblock is told; None: the kernel has no such word any more, and nothing to do.
SUPERBLOCK: "dict[str, str | None]" = {
    "sync": "sync",
    "async": "async",
    "dirsync": "dirsync",
    "lazytime": "lazytime",
    "nolazytime": "nolazytime",
    "mand": "mand",
    "nomand": "nomand",
    "silent": None,
    "loud": None,
    "iversion": None,
    "noiversion": None,
    "defaults": None,
    "acl": "acl",
    "noacl": "noacl",
}
# Those of the above that the specification does not give: passed on to the file system.
_DATA = ("acl", "noacl")

PROPAGATION = {
    "private": MS_PRIVATE,
    "rprivate": MS_PRIVATE | MS_REC,
    "shared": MS_SHARED,
    "rshared": MS_SHARED | MS_REC,
    "slave": MS_SLAVE,
    "rslave": MS_SLAVE | MS_REC,
    "unbindable": MS_UNBINDABLE,
    "runbindable": MS_UNBINDABLE | MS_REC,
}

# For `pyrunc features`.
EXTENSIONS = ("bind", "rbind", "tmpcopyup", "idmap", "ridmap", "copy-symlink", "src-nofollow", "dest-nofollow")


def known_options() -> "list[str]":
    """All mount options that pyrunc gives a meaning to, sorted."""
    names = {*ATTRIBUTES, *RECURSIVE, *PROPAGATION, *EXTENSIONS, *SUPERBLOCK, "remount"}
    return sorted(names - set(_DATA))


class Options:
    """The options of one mount, sorted out.

    set/clear: attributes of this mount; tree_set/tree_clear: of the mount and all below; flagged: whether any
    attribute was named at all; copy_symlink, src_nofollow, dest_nofollow: as crun(1). times: what a bind mount's access
    times become, None where they stay as at the source.
    propagation: MS_* flags, one a step; superblock and data: words for the file system.
    """

    __slots__ = (
        "bind",
        "clear",
        "copy_symlink",
        "data",
        "dest_nofollow",
        "flagged",
        "idmap",
        "propagation",
        "recursive",
        "remount",
        "set",
        "src_nofollow",
        "superblock",
        "times",
        "tmpcopyup",
        "tree_clear",
        "tree_set",
    )

    def __init__(self, names: "list[str]") -> None:
        self.set = self.clear = self.tree_set = self.tree_clear = 0
        self.bind = self.recursive = self.remount = self.flagged = self.tmpcopyup = False
        self.copy_symlink = self.src_nofollow = self.dest_nofollow = False
        self.idmap = ""
        self.propagation: list[int] = []
        self.superblock: list[str] = []
        self.data: list[str] = []
        times: dict[str, bool] = {}
        for name in names:
            if name in TIMES:
                flag, on = TIMES[name]
                times[flag] = on
            if name in ATTRIBUTES:
                add, remove = ATTRIBUTES[name]
                self.set = self.set & ~(add | remove) | add
                self.clear = self.clear & ~add | remove
                self.flagged = True
            elif name in RECURSIVE:
                add, remove = RECURSIVE[name]
                self.tree_set = self.tree_set & ~(add | remove) | add
                self.tree_clear = self.tree_clear & ~add | remove
            elif name in PROPAGATION:
                self.propagation.append(PROPAGATION[name])
            elif name == "bind" or name == "rbind":
                self.bind = True
                self.recursive = self.recursive or name == "rbind"
            elif name == "remount":
                self.remount = True
            elif name == "tmpcopyup":
                self.tmpcopyup = True
            elif name == "idmap" or name == "ridmap":
                self.idmap = name
            elif name == "copy-symlink":
                self.copy_symlink = True
            elif name == "src-nofollow":
                self.src_nofollow = True
            elif name == "dest-nofollow":
                self.dest_nofollow = True
            elif name in _DATA or name not in SUPERBLOCK:
                self.data.append(name)
            else:
                word = SUPERBLOCK[name]
                if word is not None:
                    self.superblock.append(word)
                elif name not in ("defaults",):
                    self.flagged = True
        self.times: int | None = None
        if any(times.values()):
            # As the kernel reads the flags of mount(2): relatime, but for noatime, but for strictatime.
            self.times = MOUNT_ATTR_NODIRATIME if times.get("nodiratime") else 0
            if times.get("strictatime"):
                self.times |= MOUNT_ATTR_STRICTATIME
            elif times.get("noatime"):
                self.times |= MOUNT_ATTR_NOATIME


def split_data(data: "list[str]", *, escapes: bool = False) -> "list[str]":
    """Options may hold several words with commas between them; quotes keep commas together (SELinux contexts).

    escapes: as does a backslash, which stays (overlay: overlayfs.rst, "Multiple lower layers").
    """
    words: list[str] = []
    for item in data:
        word, quoted, escaped = "", False, False
        for char in item:
            if escaped:
                word += char
                escaped = False
            elif char == "\\" and escapes:
                word += char
                escaped = True
            elif char == '"':
                quoted = not quoted
            elif char == "," and not quoted:
                words.append(word)
                word = ""
            else:
                word += char
        words.append(word)
    return [word for word in words if word]
