"""Making mount points that need decisions: several missing directories, dangling symbolic links.

The usual cases are steps of the plan (plan/inroot.py). Here the path is walked in a conversation with pyrunc-init, one
component at a time, each opened inside the root: a link is read, never followed by name.
"""

from pyrunc.errors import Error, strerror
from pyrunc.machine.ops import Program, Reg, Registers, Space
from pyrunc.plan.inroot import Target, open_in_root
from pyrunc.plan.uapi import (
    AT_EMPTY_PATH,
    EAGAIN,
    EEXIST,
    ENOENT,
    O_DIRECTORY,
    O_NOFOLLOW,
    O_PATH,
    S_IFDIR,
    S_IFMT,
    S_IFREG,
    STATX_MODE_AT,
    STATX_SIZE_OF,
    STATX_TYPE,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.machine.session import Reply, Session

_S_IFLNK = 0o120000
_MOST_LINKS = 40


class Walk:
    """One walk below a root in a session. The registers that it takes are given back."""

    def __init__(self, session: "Session", registers: Registers, root: Reg) -> None:
        self.session = session
        self.registers = registers
        self.root = root

    def make(self, target: Target) -> None:
        """Make what the target wants, and open it into its register."""
        directory = target.directory
        if directory is None:
            assert target.source is not None
            directory = self._mode(target.source) & S_IFMT == S_IFDIR
        path = self._resolve(target.path, directory)
        p = Program(self.registers)
        open_in_root(p, self.root, path, target.dst, O_PATH | O_NOFOLLOW)
        self._run(p, f"open /{path}")

    def _resolve(self, wanted: str, directory: bool) -> str:
        """The path without links at which the last component is, made where it was missing."""
        left = wanted.split("/")
        links = 0
        done: list[str] = []
        while left:
            name = left.pop(0)
            if name in ("", "."):
                continue
            if name == "..":
                if done:
                    done.pop()
                continue
            here = "/".join(done)
            path = f"{here}/{name}" if here else name
            mode, link = self._look(path)
            if mode & S_IFMT == _S_IFLNK:
                links += 1
                if links > _MOST_LINKS:
                    raise Error(f"/{wanted}: too many levels of symbolic links", errno=40)
                if link.startswith("/"):
                    done = []
                left = [*link.split("/"), *left]
                continue
            if not mode:
                self._create(here, name, directory or bool(left))
            done.append(name)
        return "/".join(done)

    def _look(self, path: str) -> "tuple[int, str]":
        """The mode of what is there (0: nothing), and where it points if it is a link."""
        p = Program(self.registers)
        fd = p.reg("component")
        stat, link = Space(STATX_SIZE_OF, "statx"), Space(4096, "link")
        open_in_root(p, self.root, path, fd, O_PATH | O_NOFOLLOW)
        p.call("statx", fd, b"", AT_EMPTY_PATH, STATX_TYPE, stat)
        p.call("reply", stat, STATX_SIZE_OF, 0)
        p.call("readlinkat", fd, b"", link, 4095, ok=(ENOENT, 22))
        p.close(fd)
        p.sync("link", link)
        steps = self.session.send(p)
        reply = self.session.receive(steps)
        if reply.errno == ENOENT:
            return 0, ""
        if reply.errno == EAGAIN:
            return self._look(path)
        self._ok(reply, f"open /{path}")
        mode = int.from_bytes(reply.data[STATX_MODE_AT : STATX_MODE_AT + 2], "little")
        reply = self.session.receive(steps)
        self._ok(reply, f"read link /{path}")
        return mode, reply.data.partition(b"\0")[0].decode(errors="surrogateescape")

    def _create(self, parent: str, name: str, directory: bool) -> None:
        p = Program(self.registers)
        fd = p.reg("parent")
        raw = name.encode(errors="surrogateescape")
        open_in_root(p, self.root, parent, fd, O_PATH | O_DIRECTORY | (O_NOFOLLOW if parent else 0))
        if directory:
            p.call("mkdirat", fd, raw, 0o755, ok=(EEXIST,))
        else:
            p.call("mknodat", fd, raw, S_IFREG | 0o755, 0, ok=(EEXIST,))
        p.close(fd)
        self._run(p, f"create /{parent}/{name}")

    def _mode(self, fd: Reg) -> int:
        p = Program(self.registers)
        stat = Space(STATX_SIZE_OF, "statx")
        p.call("statx", fd, b"", AT_EMPTY_PATH, STATX_TYPE, stat)
        p.sync("mode", stat)
        data = self._ok(self.session.run(p), "stat the source").data
        return int.from_bytes(data[STATX_MODE_AT : STATX_MODE_AT + 2], "little")

    def _run(self, p: Program, doing: str) -> "Reply":
        reply = self.session.run(p)
        if reply.errno == EAGAIN:
            return self._run(p, doing)
        return self._ok(reply, doing)

    @staticmethod
    def _ok(reply: "Reply", doing: str) -> "Reply":
        if reply.errno:
            name = reply.step.name if reply.step else ""
            raise Error(
                f"{doing}: {name}: {strerror(reply.errno)}", syscall=name, errno=reply.errno
            )
        return reply
