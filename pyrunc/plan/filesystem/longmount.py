"""File systems with an option that is too long for fsconfig(2), such as the layers of an overlay: by mount(2).

fsconfig takes strings of up to 255 bytes only; mount(2) a page of them all. Imported where there is such an option.
"""

from pyrunc.errors import ConfigError
from pyrunc.kernel.uapi import AT_EMPTY_PATH, MNT_DETACH, OPEN_TREE_CLOEXEC, OPEN_TREE_CLONE
from pyrunc.machine.ops import Program, Reg
from pyrunc.plan.filesystem.inroot import open_in_root

# Words that mount(2) takes as flags; their opposites are what it does without.
FLAGS = {"ro": 1, "sync": 1 << 4, "mand": 1 << 6, "dirsync": 1 << 7, "lazytime": 1 << 25}
WITHOUT = ("rw", "async", "nomand", "nolazytime")
LONGEST = 4095  # a page with its NUL; the kernel cuts off what is more


def long_filesystem(
    p: Program, kind: str, source: str, words: "list[str]", place: Reg, mount: Reg, pointer: str
) -> None:
    """Make a detached mount as mountapi.new_filesystem does it, into the register `mount`.

    place: the mount point, where the mount is for a moment. pointer: of the mount, for ConfigError, which options
    longer than what mount(2) takes raise.
    """
    flags = 0
    data = []
    for word in words:
        if word in FLAGS:
            flags |= FLAGS[word]
        elif word not in WITHOUT:
            name, _, value = word.partition("=")
            # split_data() took the quotes away, which keep the commas of a SELinux context together.
            data.append(f'{name}="{value}"' if "," in value and name.endswith("context") else word)
    text = ",".join(data).encode(errors="surrogateescape")
    if len(text) > LONGEST:
        raise ConfigError(
            f"mount options of {len(text)} bytes: the kernel takes {LONGEST} ({pointer[1:]}/options)",
            pointer=pointer + "/options",
        )
    p.call("fchdir", place)
    p.call("mount", source.encode(errors="surrogateescape"), b".", kind.encode(), flags, text)
    top = p.reg("top")
    # What "." and "" name is below the mount. ".." of a root is that root, with what is mounted on it; no name in the
    # container's file system is looked up for it.
    open_in_root(p, place, "..", top)
    p.call("open_tree", top, b"", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC, dst=mount)
    p.call("fchdir", top)
    p.call("umount2", b".", MNT_DETACH)
    p.close(top)
