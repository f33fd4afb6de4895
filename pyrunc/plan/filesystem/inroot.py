"""Opening and making things inside the root file system: by descriptor, never by a path that is resolved twice.

Everything in the root file system is hostile, also while it is being set up: what `openat2` with RESOLVE_IN_ROOT and
RESOLVE_NO_MAGICLINKS opened is what is checked and mounted upon (CVE-2019-18837, CVE-2021-30465, CVE-2024-45310).
"""

from errno import EEXIST, ENOENT, ENOTDIR

from pyrunc.kernel.uapi import (
    AT_EMPTY_PATH,
    O_CLOEXEC,
    O_DIRECTORY,
    O_NOFOLLOW,
    O_PATH,
    RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS,
    S_IFDIR,
    S_IFMT,
    S_IFREG,
    STATX_MODE,
    STATX_MODE_AT,
    STATX_SIZE_OF,
    STATX_TYPE,
)
from pyrunc.machine.ops import At, Label, Program, Reg, Space, Words

_hows: "dict[tuple[int, int, int], Words]" = {}


def open_how(flags: int, mode: int = 0, resolve: int = 0) -> Words:
    """struct open_how of openat2(2)."""
    key = (flags, mode, resolve)
    how = _hows.get(key)
    if how is None:
        how = _hows[key] = Words(key, "open_how")
    return how


IN_ROOT = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS


def clean(path: str) -> str:
    """An absolute path, or one relative to the root, without `.`, `..`, double slashes and the leading slash."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            if parts:
                parts.pop()
        elif part and part != ".":
            parts.append(part)
    return "/".join(parts)


def open_in_root(
    p: Program,
    root: Reg,
    path: str,
    dst: Reg,
    flags: int = O_PATH,
    *,
    resolve: int = 0,
    only: "tuple[int, ...]" = (),
    error: "Label | None" = None,
    key: object = "",
) -> None:
    """Open what `path` names inside the root into a register."""
    how = open_how(flags | O_CLOEXEC, 0, IN_ROOT | resolve)
    name = path.encode(errors="surrogateescape") or b"."
    p.call("openat2", root, name, how, 24, dst=dst, only=only, error=error, key=key)


class Target:
    """What the container layer has to make when a mount point is missing in a way that needs decisions
    (several missing components, dangling symbolic links): the step's key. resolve: of openat2(2), beside those that
    always hold."""

    __slots__ = ("directory", "dst", "nofollow", "path", "resolve", "root", "source")

    def __init__(
        self,
        root: Reg,
        path: str,
        dst: Reg,
        directory: "bool | None",
        source: "Reg | None",
        nofollow: bool = False,
        resolve: int = 0,
    ) -> None:
        self.nofollow = nofollow
        self.resolve = resolve
        self.root = root
        self.path = path
        self.dst = dst
        self.directory = directory
        self.source = source


def is_directory(p: Program, fd: Reg, no: Label) -> None:
    """Go on where the descriptor is a directory; jump to `no` where it is not."""
    stat = Space(STATX_SIZE_OF, "statx")
    p.call("statx", fd, b"", AT_EMPTY_PATH, STATX_TYPE | STATX_MODE, stat)
    p.check(At(stat, STATX_MODE_AT), 2, S_IFMT, S_IFDIR, ENOTDIR, error=no)


def mount_point(
    p: Program,
    root: Reg,
    path: str,
    dst: Reg,
    *,
    directory: "bool | None" = True,
    source: "Reg | None" = None,
    resolve: int = 0,
    created: "Reg | None" = None,
    nofollow: bool = False,
) -> None:
    """Open a mount point into `dst`, making it where it is missing.

    directory: whether to make a directory or an empty file; None: as what `source` refers to is.
    created: a register that says afterwards whether it was missing (1) or not (0). nofollow: a symbolic link is the
    mount point itself, not what it leads to.
    Only a missing last component is made here; the rest is decided outside (Target).
    """
    flags = O_PATH | (O_DIRECTORY if directory else 0) | (O_NOFOLLOW if nofollow else 0)
    missing, found = Label(f"make /{path}"), Label(f"found /{path}")
    if created is not None:
        p.call("move", 0, dst=created)
    key = Target(root, path, dst, directory, source, nofollow, resolve)
    open_in_root(p, root, path, dst, flags, resolve=resolve, only=(ENOENT,), error=missing, key=key)
    p.jump(found)
    p.label(missing)
    if created is not None:
        p.call("move", 1, dst=created)
    head, _, tail = path.rpartition("/")
    parent = p.reg("parent")
    # The directory above may be missing as well: the last open then fails, and is decided outside.
    deeper = Label()
    open_in_root(p, root, head, parent, O_PATH | O_DIRECTORY, resolve=resolve, only=(ENOENT,), error=deeper, key=key)
    name = tail.encode(errors="surrogateescape")
    if directory is None:
        as_file, made = Label("a file"), Label("made")
        assert source is not None
        is_directory(p, source, as_file)
        p.call("mkdirat", parent, name, 0o755, ok=(EEXIST,))
        p.jump(made)
        p.label(as_file)
        p.call("mknodat", parent, name, S_IFREG | 0o755, 0, ok=(EEXIST,))
        p.label(made)
    elif directory:
        p.call("mkdirat", parent, name, 0o755, ok=(EEXIST,))
    else:
        p.call("mknodat", parent, name, S_IFREG | 0o755, 0, ok=(EEXIST,))
    p.close(parent)
    p.label(deeper)
    open_in_root(p, root, path, dst, flags, resolve=resolve, key=key)
    p.label(found)
