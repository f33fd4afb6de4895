"""A program that cannot be executed after all: the line that its standard error gets, and why the kernel refused.

The kernel's errno is the same for a missing program and for a script whose interpreter is missing. What there is to be
seen is looked at when it has happened, by a host agent in the root directory of the process, which waits for the line.

Imported where an execve has failed.
"""

import posix
from _struct import error as StructError  # type: ignore[attr-defined]
from _struct import unpack_from
from errno import EACCES, ENOENT, ENOEXEC

from pyrunc.errors import Error, strerror
from pyrunc.kernel.files import read_file
from pyrunc.kernel.uapi import O_DIRECTORY, O_NOCTTY, O_NONBLOCK, O_PATH, O_RDONLY
from pyrunc.log import log
from pyrunc.machine.ops import Fd, Program
from pyrunc.machine.session import Agent, Session, above
from pyrunc.plan.filesystem.inroot import open_in_root
from pyrunc.plan.process import capabilities
from pyrunc.plan.process.process import LONGEST_LINE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.config.types import Process
    from pyrunc.machine.session import Reply

_LOWEST = 16
# linux/binfmts.h: BINPRM_BUF_SIZE, of which the kernel reads the first line of a script; and how often one may lead to
# the next (fs/exec.c, exec_binprm).
_HEAD, _DEEPEST = 256, 5
_ST_NOEXEC = 8
_S_IFMT, _S_IFREG = 0o170000, 0o100000
_PT_INTERP = 3
# elf.h: EM_*, with the names of uname -m.
_MACHINES = {
    3: "i386", 8: "mips", 20: "ppc", 21: "ppc64", 22: "s390x", 40: "arm", 62: "x86_64", 183: "aarch64", 243: "riscv64",
    258: "loongarch64",
}  # fmt: skip
# Machines whose programs another one executes as well, if its kernel is built so.
_ALSO = {"x86_64": ("i386",), "aarch64": ("arm",)}


def tell(answers: int, reply: "Reply", pid: int, process: "Process") -> None:
    """Send the line that the process writes to its standard error before it ends with 255.

    answers: where it waits for it. reply: NOT_EXECUTED's. pid: the process.
    """
    errno = -int.from_bytes(reply.data, "little", signed=True)
    assert reply.step is not None
    why = reply.step.why
    line = f"{why}: {strerror(errno)}"
    try:
        cause = _Look(pid, process).cause(why[len("exec ") :], errno)
    except (OSError, Error) as error:  # whatever it is: the cause is an extra
        log.debug(f"the cause is not known: {error}")
        cause = ""
    if cause:
        line += f": {cause}"
    data = line.encode(errors="surrogateescape")[: LONGEST_LINE - 1] + b"\n"
    try:
        posix.write(answers, data)
    except BrokenPipeError:
        pass  # it has been killed meanwhile


def _quoted(text: bytes) -> str:
    """What an image says, harmless for a terminal and a log."""
    shown = "".join(chr(byte) if 32 <= byte < 127 and byte != 34 else f"\\x{byte:02x}" for byte in text[:200])
    return f'"{shown}"'


class _Look:
    """Looks around in the root directory of a process."""

    def __init__(self, pid: int, process: "Process") -> None:
        self.pid = pid
        self.process = process
        self.session: Session | None = None
        self.root = Fd(-1, "root")

    def cause(self, path: str, errno: int) -> str:
        """Why execve(path) may have given errno, or ""."""
        if errno not in (ENOENT, EACCES, ENOEXEC):
            return ""
        if not path.startswith("/"):
            path = f"{self.process.get('cwd') or '/'}/{path}"
        name = path.encode(errors="surrogateescape")
        root = posix.open(f"/proc/{self.pid}/root", O_PATH | O_DIRECTORY | posix.O_CLOEXEC)
        self.root = Fd(above(root, _LOWEST), "root")
        posix.close(root)
        try:
            with Agent(_LOWEST, (self.root,)) as self.session:
                return self._program(name, errno)
        finally:
            posix.close(self.root)

    def _open(self, path: bytes, flags: int = O_RDONLY | O_NONBLOCK | O_NOCTTY) -> int:
        """A descriptor of what a path names there; or the negative errno."""
        assert self.session is not None
        p = Program()
        fd = p.reg("file")
        open_in_root(p, self.root, path.decode(errors="surrogateescape"), fd, flags)  # type: ignore[arg-type]
        p.send_fds(fd)
        p.close(fd)
        p.sync("opened")
        reply = self.session.run(p)
        return -reply.errno if reply.errno else self.session.descriptors.pop()

    def _program(self, path: bytes, errno: int, what: str = "", depth: int = 0) -> str:
        """Why this file cannot be executed. what: what it is to the program, "" for the program itself."""
        fd = self._open(path)
        if fd == -ENOENT:
            return f"{what}does not exist" if what else ""
        if fd == -EACCES or errno == EACCES:
            closed = self._closed_directory(path)
            if closed:
                return closed
        if fd < 0:
            return ""
        try:
            stat = posix.fstat(fd)
            if stat.st_mode & _S_IFMT != _S_IFREG:
                return f"{what}is not a regular file" if what else ""
            if errno == EACCES:
                if posix.fstatvfs(fd).f_flag & _ST_NOEXEC:
                    where = f"the file system is mounted noexec ({self._mount(fd)})"
                    return f"{what}cannot be executed: {where}" if what else where
                if what and not stat.st_mode & 0o111:
                    return f"{what}is not executable"
            head = posix.pread(fd, _HEAD, 0)
            if head.startswith(b"\x7fELF"):
                return self._elf(fd, errno)
            if head.startswith(b"#!"):
                return self._script(head, errno, depth)
        finally:
            posix.close(fd)
        if errno != ENOEXEC:
            return ""
        return "the file is empty" if not head else "it is neither a program nor a script: no #! line"

    def _script(self, head: bytes, errno: int, depth: int) -> str:
        line = head[2:].partition(b"\n")[0].strip(b" \t")
        interpreter = line.split(b" ")[0].split(b"\t")[0]
        if not interpreter:
            return "its #! line names no interpreter"
        if line.endswith(b"\r") and errno == ENOENT:
            return f"the first line ends in a carriage return (interpreter {_quoted(interpreter)})"
        if depth == _DEEPEST:
            return "its interpreter is a script, and so on: too deep"
        return self._program(self._absolute(interpreter), errno, f"its interpreter {_quoted(interpreter)} ", depth + 1)

    def _absolute(self, path: bytes) -> bytes:
        if path.startswith(b"/"):
            return path
        cwd = (self.process.get("cwd") or "/").encode(errors="surrogateescape")
        return cwd + b"/" + path

    def _elf(self, fd: int, errno: int) -> str:
        try:
            return self._elf_header(fd, errno)
        except (IndexError, StructError):
            return "its ELF header is cut off"

    def _elf_header(self, fd: int, errno: int) -> str:
        head = posix.pread(fd, 64, 0)
        order = ">" if head[5] == 2 else "<"
        wide = head[4] == 2
        number = unpack_from(order + "H", head, 18)[0]
        name = _MACHINES.get(number, f"machine {number} (elf.h)")
        ours = posix.uname().machine
        if errno == ENOEXEC:
            if name != ours and name not in _ALSO.get(ours, ()):
                return f"built for {name}, this machine is {ours}"
            if name != ours:
                return f"built for {name}, which this kernel ({ours}) does not execute"
            return "its ELF header is damaged, or of a kind that this kernel does not execute"
        start, size, count = (
            unpack_from(f"{order}Q", head, 32)[0] if wide else unpack_from(f"{order}I", head, 28)[0],
            *unpack_from(f"{order}HH", head, 54 if wide else 42),
        )
        table = posix.pread(fd, min(size * count, 1 << 16), min(start, 1 << 62))
        for at in range(0, len(table), max(size, 1)):
            if unpack_from(order + "I", table, at)[0] != _PT_INTERP:
                continue
            if wide:
                offset, length = unpack_from(f"{order}Q", table, at + 8)[0], unpack_from(f"{order}Q", table, at + 32)[0]
            else:
                offset, length = unpack_from(f"{order}I", table, at + 4)[0], unpack_from(f"{order}I", table, at + 16)[0]
            loader = posix.pread(fd, min(length, 4096), min(offset, 1 << 62)).rstrip(b"\0")
            cause = self._program(self._absolute(loader), errno, f"its ELF loader {_quoted(loader)} ", _DEEPEST)
            return f"{cause} (an image for another libc?)" if cause.endswith("does not exist") else cause
        return ""

    def _closed_directory(self, path: bytes) -> str:
        """The first directory on the way that the process may not search."""
        account = self.process.get("user", {})
        uid, gid = account.get("uid", 0), account.get("gid", 0)
        groups = {gid, *account.get("additionalGids", ())}
        sets = capabilities.Sets(self.process.get("capabilities"))
        override = capabilities.NUMBERS["CAP_DAC_OVERRIDE"], capabilities.NUMBERS["CAP_DAC_READ_SEARCH"]
        if any(sets.effective >> number & 1 for number in override):
            return ""
        parts = [part for part in path.split(b"/") if part and part != b"."]
        for length in range(len(parts)):
            directory = b"/" + b"/".join(parts[:length])
            fd = self._open(directory, O_PATH | O_DIRECTORY)
            if fd < 0:
                return ""
            stat = posix.fstat(fd)
            posix.close(fd)
            mine, group = self._outside("uid", uid), {self._outside("gid", one) for one in groups}
            shift = 6 if stat.st_uid == mine else 3 if stat.st_gid in group else 0
            if not stat.st_mode >> shift & 1:
                return f"the directory {_quoted(directory)} may not be searched by uid {uid}"
        return ""

    def _outside(self, kind: str, number: int) -> int:
        """An id of the process's user namespace, as pyrunc sees it."""
        for line in read_file(f"/proc/{self.pid}/{kind}_map").splitlines():
            inside, outside, count = (int(word) for word in line.split())
            if inside <= number < inside + count:
                return outside + number - inside
        return -1

    def _mount(self, fd: int) -> str:
        """The mount point of an open file, as the process sees it."""
        info = read_file(f"/proc/self/fdinfo/{fd}").splitlines()
        (wanted,) = [line.split()[1] for line in info if line.startswith(b"mnt_id:")]
        for line in read_file(f"/proc/{self.pid}/mountinfo").splitlines():
            fields = line.split(b" ")
            if fields[0] == wanted:
                return _quoted(fields[4]).strip('"')
        return "?"
