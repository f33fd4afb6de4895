"""The executable (config.md, "Process"): the environment in which it is looked for, and whether it is there.

The container's init asks, as the user would see it, and sends what it found; Python picks (LookUp).
"""

from errno import EACCES, EINVAL, ELOOP, ENOENT, ENOTDIR

from pyrunc.errors import Error, strerror
from pyrunc.kernel.uapi import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    S_IFDIR,
    S_IFMT,
    S_IFREG,
    STATX_MODE,
    STATX_MODE_AT,
    STATX_SIZE_OF,
    STATX_TYPE,
)
from pyrunc.machine.ops import At, Label, Program, Reg, Space
from pyrunc.plan.filesystem.inroot import open_in_root
from pyrunc.plan.process import capabilities

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.config.types import Process

# /etc/passwd and /etc/group are read so far.
FILE_SIZE = 1 << 19


def environment(process: "Process", home: "str | None") -> "list[str]":
    """The environment: the last value of each name, in the order of first appearance, and HOME where none is set.

    home: from the container's /etc/passwd; None where it was not looked up.
    """
    values: dict[str, str] = {}
    for entry in process.get("env", []):
        name, equals, _ = entry.partition("=")
        if equals and name:
            values[name] = entry
    if not values.get("HOME", "HOME=")[5:]:
        values["HOME"] = f"HOME={home or '/'}"
    return list(values.values())


def wants_home(process: "Process") -> bool:
    """Whether HOME has to be looked up."""
    home = ""
    for entry in process.get("env", []):
        if entry.startswith("HOME="):
            home = entry[5:]
    return not home


def home_of(passwd: bytes, uid: int) -> str:
    """The home directory of a uid in the text of an /etc/passwd; "/" where it has none."""
    wanted = b"%d" % uid
    for line in passwd.split(b"\n"):
        fields = line.split(b":")
        if len(fields) > 5 and fields[2] == wanted and fields[5]:
            return fields[5].decode(errors="surrogateescape")
    return "/"


def candidates(process: "Process") -> "list[str]":
    """The paths under which the executable may lie: args[0] itself, or below each directory of the container's PATH."""
    name = (process.get("args") or [""])[0]
    if "/" in name:
        return [name]
    path = ""
    for entry in process.get("env", []):
        if entry.startswith("PATH="):
            path = entry[5:]
    return [f"{directory or '.'}/{name}" for directory in path.split(":")] if path else []


class LookUp:
    """Key of the sync at which Python learns where the executable is, and what /etc/passwd says.

    The reply: 16 bytes a candidate (the result of faccessat, the mode). passwd: whether a descriptor of /etc/passwd has
    been sent before it, where there is one.
    """

    __slots__ = ("passwd", "paths", "pointer")

    def __init__(self, paths: "list[str]", passwd: bool, pointer: str) -> None:
        self.paths = paths
        self.passwd = passwd
        self.pointer = pointer

    def read(self, data: bytes, name: str) -> str:
        """The path to execute. Raises Error with the words engines look for."""
        for index, path in enumerate(self.paths):
            at = 16 * index
            error = -int.from_bytes(data[at : at + 8], "little", signed=True)
            mode = int.from_bytes(data[at + 8 : at + 10], "little")
            if not error and mode & S_IFMT == S_IFDIR:
                error = -1
            if not error:
                return path
            if "/" in name:
                if error == -1:
                    raise Error(f'exec: "{name}": is a directory: permission denied', pointer=self.pointer)
                what = f"stat {name}: " if error in (ENOENT, ENOTDIR) else ""
                raise Error(f'exec: "{name}": {what}{strerror(error)}', pointer=self.pointer, errno=error)
        text = f'exec: "{name}": executable file not found in $PATH'
        raise Error(text, pointer=self.pointer, errno=ENOENT)


def send_file(p: Program, root: Reg, path: str, sent: "Reg | None" = None) -> None:
    """Send Python a descriptor of a regular file of the container (O_PATH); nothing where it is something else.

    Only Python opens it, by what it was sent: to open a device, a terminal or a FIFO would be to use it already.
    sent: a register that says afterwards whether there was one (1) or not (0).
    """
    p.about(f"error reading the container's /{path}")
    fd, none, other = p.reg(path.rpartition("/")[2]), Label(f"no {path}"), Label("no file")
    if sent is not None:
        p.call("move", 0, dst=sent)
    open_in_root(p, root, path, fd, only=(ENOENT, ENOTDIR, EACCES, ELOOP), error=none)
    stat = Space(STATX_SIZE_OF, "statx")
    p.call("statx", fd, b"", AT_EMPTY_PATH, STATX_TYPE, stat)
    p.check(At(stat, STATX_MODE_AT), 2, S_IFMT, S_IFREG, EINVAL, error=other)
    p.send_fds(fd)
    if sent is not None:
        p.call("move", 1, dst=sent)
    p.label(other)
    p.call("close", fd)
    p.label(none)
    p.registers.give(fd)


def look_up(p: Program, process: "Process", root: Reg, pointer: str, own: "tuple[int, int]" = (0, 0)) -> LookUp:
    """Look for the executable as the user would see it, and read /etc/passwd where HOME is wanted.

    own: the uid and gid that the process has until it becomes the user; in a user namespace that maps no root, others.
    """
    paths = candidates(process)
    want = wants_home(process)
    account = process.get("user", {})
    sets = capabilities.Sets(process.get("capabilities"))
    uid, gid = account.get("uid", 0), account.get("gid", 0)
    if want:
        # First: where its open has to be tried again, the memory of the steps before it is lost.
        send_file(p, root, "etc/passwd")
    p.about("error looking for the executable", f"{pointer}/args/0")
    size = 16 * len(paths)
    answer = Space(size, "answer")
    result = p.reg("result")
    # access(2) asks for the real ids, and forgets capabilities unless the real uid is root's.
    override = sets.effective & 1 << capabilities.NUMBERS["CAP_DAC_OVERRIDE"]
    as_user = bool(uid or gid) and (uid, gid) != own and not override
    if as_user:
        p.call("setresgid", gid, -1, -1)
        p.call("setresuid", uid, -1, -1)
    for index, path in enumerate(paths):
        name = path.encode(errors="surrogateescape")
        stat = Space(STATX_SIZE_OF, "statx")
        absent = Label()
        p.call("faccessat", AT_FDCWD, name, 1, dst=result, error=absent)
        p.call("statx", AT_FDCWD, name, 0, STATX_TYPE | STATX_MODE, stat, dst=result, error=absent)
        mode = p.reg("mode")
        p.load(At(stat, STATX_MODE_AT), 2, mode)
        p.store(At(answer, 8 + 16 * index), mode, 8)
        p.registers.give(mode)
        p.label(absent)
        p.store(At(answer, 16 * index), result, 8)
    if as_user:
        p.call("setresuid", own[0], -1, -1)
        p.call("setresgid", own[1], -1, -1)
    p.registers.give(result)
    key = LookUp(paths, want, f"{pointer}/args/0")
    p.sync(key, answer, size)
    return key
