"""Walking a path below a root by descriptors, one component at a time, in a conversation with pyrunc-init.

It serves where openat2(2) in a step of the plan (plan/filesystem/inroot.py) does not:

- mount points that need decisions: several missing directories, dangling symbolic links;
- kernels, or seccomp filters around pyrunc, that have no openat2.

Each component is opened in the directory before it, a link is read and its text walked from the root on, and ".." goes
back to a descriptor that is held: no path is resolved by the kernel, so nothing leads outside, whatever is renamed
meanwhile. Cold.
"""

from errno import EEXIST, EINVAL, ELOOP, ENOENT, EXDEV

from pyrunc.errors import Error, strerror
from pyrunc.kernel.uapi import (
    AT_EMPTY_PATH,
    O_CLOEXEC,
    O_DIRECTORY,
    O_NOFOLLOW,
    O_PATH,
    PROC_SUPER_MAGIC,
    RESOLVE_NO_SYMLINKS,
    RESOLVE_NO_XDEV,
    S_IFDIR,
    S_IFLNK,
    S_IFMT,
    S_IFREG,
    STATX_MNT_ID,
    STATX_MNT_ID_AT,
    STATX_MODE_AT,
    STATX_SIZE_OF,
    STATX_TYPE,
)
from pyrunc.machine.ops import At, Program, Reg, Space, Words, conversation
from pyrunc.plan.filesystem.inroot import Target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.machine.ops import Step
    from pyrunc.machine.session import Session

_MOST_LINKS = 40  # in one path, as the kernel counts
_LONGEST_LINK = 4095
# What is told of a component: its descriptor, struct statx, struct statfs, the text of a link.
_STATFS_AT = 8 + STATX_SIZE_OF
_LINK_AT = _STATFS_AT + 120


class Component:
    """What a name led to: its descriptor in pyrunc-init, mode and mount (statx(2): stx_mnt_id), and the text of a link.

    magic: whether it is a link of procfs that leads to an open file or the like, whatever its text says.
    """

    __slots__ = ("fd", "link", "magic", "mode", "mount")

    def __init__(self, data: bytes) -> None:
        stat = data[8 : 8 + STATX_SIZE_OF]
        self.fd = int.from_bytes(data[:8], "little")
        self.mode = int.from_bytes(stat[STATX_MODE_AT : STATX_MODE_AT + 2], "little") & S_IFMT
        self.mount = stat[STATX_MNT_ID_AT : STATX_MNT_ID_AT + 8]
        kind = int.from_bytes(data[_STATFS_AT : _STATFS_AT + 8], "little")
        self.link = link = data[_LINK_AT:].partition(b"\0")[0]
        # Those that are only text are relative: self, thread-self, mounts, net.
        self.magic = kind == PROC_SUPER_MAGIC and (link.startswith((b"/", b"(")) or b":" in link)


class Walk:
    """Walks below one root. Of pyrunc-init's registers it uses those of conversations."""

    def __init__(self, session: "Session", root: Reg) -> None:
        self.session = session
        self.root = root

    def make(self, target: Target) -> None:
        """Make what the target wants where it is missing, and open it into its register. Raises Error."""
        directory = target.directory
        if directory is None:
            assert target.source is not None
            directory = self._is_directory(target.source)
        flags = O_PATH | (O_NOFOLLOW if target.nofollow else 0)
        name = target.path.encode(errors="surrogateescape")
        made = S_IFDIR if directory else S_IFREG
        errno = self.open(name, target.dst, flags, resolve=target.resolve, make=made)
        if errno == ELOOP and target.resolve & RESOLVE_NO_SYMLINKS:
            raise Error(f"/{target.path}: must be mounted on ordinary directory", errno=errno)
        if errno == ELOOP:
            raise Error(f"/{target.path}: too many levels of symbolic links", errno=errno)
        if errno:
            raise Error(f"open /{target.path}: {strerror(errno)}", syscall="openat", errno=errno)

    def reopen(self, step: "Step") -> int:
        """Do what a step's openat2 was to do; an errno, or 0."""
        _, name, how = step.args[:3]
        assert isinstance(name, bytes)
        assert isinstance(how, Words)
        assert step.dst is not None
        flags, _, resolve = how.fields
        return self.open(name, step.dst, flags, resolve=resolve)  # type: ignore[arg-type]

    def open(self, path: bytes, dst: Reg, flags: int, *, resolve: int = 0, make: int = 0) -> int:
        """Open what `path` names into a register; an errno, or 0.

        flags, resolve: as of openat2(2); of the latter NO_SYMLINKS and NO_XDEV are told apart, IN_ROOT and
        NO_MAGICLINKS always hold. make: S_IFDIR or S_IFREG: what is missing is made, the last component so; 0:
        nothing is.
        """
        walked = _Walked(self, flags, resolve, make)
        errno = walked.descend(path) or walked.take(dst)
        # Not after an exception: the process is not to be then, and a session that has failed is out of step.
        walked.close()
        return errno

    def look(self, parent: object, name: bytes) -> "Component | int":
        """Open one name of a directory, links not followed; an errno where that fails."""
        p = Program(conversation())
        fd = p.reg("component")
        found = Space(_LINK_AT + _LONGEST_LINK + 1, "component")
        p.call("openat", parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0, dst=fd)
        p.store(found, fd, 8)
        p.call("statx", fd, b"", AT_EMPTY_PATH, STATX_TYPE | STATX_MNT_ID, At(found, 8))
        p.call("fstatfs", fd, At(found, _STATFS_AT))
        p.call("readlinkat", fd, b"", At(found, _LINK_AT), _LONGEST_LINK, ok=(ENOENT, EINVAL))
        p.sync("component", found)
        reply = self.session.run(p)
        return reply.errno or Component(reply.data)

    def create(self, parent: object, name: bytes, kind: int) -> int:
        """Make an empty directory or file, where there is none; an errno, or 0."""
        p = Program(conversation())
        if kind == S_IFDIR:
            p.call("mkdirat", parent, name, 0o755, ok=(EEXIST,))
        else:
            p.call("mknodat", parent, name, kind | 0o755, 0, ok=(EEXIST,))
        p.sync("made")
        return self.session.run(p).errno

    def open_at(self, parent: object, name: bytes, flags: int, dst: Reg) -> int:
        """openat(2) of one name into a register; an errno, or 0."""
        p = Program(conversation())
        p.call("openat", parent, name, flags | O_NOFOLLOW | O_CLOEXEC, 0, dst=dst)
        p.sync("opened")
        return self.session.run(p).errno

    def close(self, descriptors: "list[int]") -> None:
        """Close descriptors of pyrunc-init's."""
        if descriptors:
            p = Program(conversation())
            for fd in descriptors:
                p.call("close", fd)
            p.sync("closed")
            self.session.run(p)

    def _is_directory(self, fd: Reg) -> bool:
        p = Program(conversation())
        stat = Space(STATX_SIZE_OF, "statx")
        p.call("statx", fd, b"", AT_EMPTY_PATH, STATX_TYPE, stat)
        p.sync("mode", stat)
        reply = self.session.run(p)
        if reply.errno:
            raise Error(f"stat the source: {strerror(reply.errno)}", syscall="statx", errno=reply.errno)
        return int.from_bytes(reply.data[STATX_MODE_AT : STATX_MODE_AT + 2], "little") & S_IFMT == S_IFDIR


class _Walked:
    """How far one walk has come: the descriptors from below the root to where it is, with their names."""

    def __init__(self, walk: Walk, flags: int, resolve: int, make: int) -> None:
        self.walk = walk
        self.flags = flags
        self.resolve = resolve
        self.missing = make
        self.held: list[tuple[int, bytes]] = []
        self.links = 0

    def top(self) -> object:
        return self.held[-1][0] if self.held else self.walk.root

    def back(self, count: int) -> None:
        """Let go of the last `count` descriptors."""
        if count:
            self.walk.close([fd for fd, _ in self.held[-count:]])
            del self.held[-count:]

    def descend(self, path: bytes) -> int:
        """Walk the whole path; an errno, or 0."""
        mount = b""
        if self.resolve & RESOLVE_NO_XDEV:
            root = self.walk.look(self.walk.root, b".")
            if isinstance(root, int):
                return root
            self.walk.close([root.fd])
            mount = root.mount
        left = [name for name in path.split(b"/") if name not in (b"", b".")]
        while left:
            name = left.pop(0)
            if name == b"..":
                self.back(1 if self.held else 0)
                continue
            found = self.walk.look(self.top(), name)
            if found == ENOENT and self.missing:
                errno = self.walk.create(self.top(), name, S_IFDIR if left else self.missing)
                if errno:
                    return errno
                found = self.walk.look(self.top(), name)
            if isinstance(found, int):
                return found
            self.held.append((found.fd, name))
            # Not by the device: a file of procfs may be mounted over another one.
            if self.resolve & RESOLVE_NO_XDEV and found.mount != mount:
                return EXDEV
            if found.mode != S_IFLNK or (not left and self.flags & O_NOFOLLOW):
                continue
            self.links += 1
            if found.magic or self.resolve & RESOLVE_NO_SYMLINKS or self.links > _MOST_LINKS:
                return ELOOP
            self.back(len(self.held) if found.link.startswith(b"/") else 1)
            left = [*(name for name in found.link.split(b"/") if name not in (b"", b".")), *left]
        return 0

    def take(self, dst: Reg) -> int:
        """Open where the walk has come to with the flags that were asked for; an errno, or 0."""
        if not self.held or self.flags & O_DIRECTORY:
            return self.walk.open_at(self.top(), b".", self.flags, dst)
        name = self.held[-1][1]
        parent = self.held[-2][0] if len(self.held) > 1 else self.walk.root
        if not self.flags & O_PATH:
            return self.walk.open_at(parent, name, self.flags, dst)
        p = Program(conversation())
        p.call("move", self.held.pop()[0], dst=dst)
        p.sync("taken")
        return self.walk.session.run(p).errno

    def close(self) -> None:
        self.back(len(self.held))
