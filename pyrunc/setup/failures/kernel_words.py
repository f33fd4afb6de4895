"""What the kernel itself says of a mount that it refuses: the log of a file system context. Cold.

fsopen(2) gives a descriptor whose read(2) yields one message a call, "e tmpfs: Unknown parameter 'sizee'", and ENODATA
where there is none left (Documentation/filesystems/mount_api.rst, "Filesystem context logging").
"""

from pyrunc import didyoumean
from pyrunc.errors import Error
from pyrunc.machine.ops import Program, Space, conversation
from pyrunc.machine.session import Lost
from pyrunc.plan.filesystem.mountoptions import known_options
from pyrunc.setup.failures import step_errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.machine.ops import Step
    from pyrunc.machine.session import Session

_MOST = 8  # messages; the kernel keeps as many
_LONGEST = 256
_UNKNOWN = "Unknown parameter '"
# Options of the file systems that configurations have (tmpfs(5), proc(5), overlayfs.rst, devpts.rst, cgroup-v2.rst).
OF_FILESYSTEMS = (
    *("size", "nr_blocks", "nr_inodes", "mode", "uid", "gid", "huge", "mpol", "inode32", "inode64", "noswap"),
    *("hidepid", "subset", "newinstance", "ptmxmode", "max", "nsdelegate", "favordynmods", "memory_recursiveprot"),
    *("lowerdir", "upperdir", "workdir", "redirect_dir", "index", "metacopy", "volatile", "xino", "userxattr"),
    *("errors", "data", "journal_checksum", "commit", "discard", "compress", "subvol", "subvolid"),
)


def of_filesystem(session: "Session", step: "Step", errno: int, prefix: str) -> Error:
    """The Error for an fsconfig or fsmount that failed, with the kernel's words for it where it has some.

    session: with the process that waits after the failure; the step's first argument is the context's register.
    """
    error = step_errors.step_error(step, errno, prefix)
    said = [harmless(text) for text in messages(session, step)]
    if said:
        error.message += f" (the kernel says: {'; '.join(said)})"
        error.args = (error.message,)
        name = said[0].partition(_UNKNOWN)[2].rpartition("'")[0]
        if name and not error.hint:
            error.hint = didyoumean.hint(name, (*OF_FILESYSTEMS, *known_options()))
    return error


def messages(session: "Session", step: "Step") -> "list[bytes]":
    """The errors among the messages in the log of the step's context; reading takes them out."""
    said: list[bytes] = []
    try:
        for _ in range(_MOST):
            p = Program(conversation())
            text = Space(_LONGEST, "message")
            p.call("read", step.args[0], text, _LONGEST - 1)
            p.sync("message", text)
            reply = session.run(p)
            if reply.errno:  # ENODATA at the end; whatever else it is, the step's own error is the one to tell
                break
            line = reply.data.partition(b"\0")[0].strip()
            if line.startswith(b"e "):
                said.append(line[2:])
    except Lost:
        pass
    return said


def harmless(text: bytes) -> str:
    r"""A message that holds what a configuration had as option or value: printable ASCII as it is, the rest as \xNN."""
    shown = "".join(chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}" for byte in text)
    return shown if len(shown) <= 200 else shown[:197] + "..."
