"""`pyrunc restore`: a container from a checkpoint, with criu."""

from collections.abc import Sequence

from pyrunc.arguments import CONSOLE_SOCKET, PID_FILE, SWITCH, Command, Flag, Options
from pyrunc.commands import checkpoint as it
from pyrunc.commands.create import BUNDLE, NO_PIVOT
from pyrunc.options import Globals

COMMAND = Command(
    "restore",
    "make a container from a checkpoint",
    flags=(
        Flag("console-socket", CONSOLE_SOCKET, value="PATH"),
        Flag("image-path", "directory with the images, by default ./checkpoint", value="DIR"),
        it.WORK_PATH,
        it.TCP_ESTABLISHED,
        it.EXT_UNIX_SK,
        it.SHELL_JOB,
        it.FILE_LOCKS,
        it.MANAGE_CGROUPS,
        Flag("bundle, b", BUNDLE, value="DIR"),
        Flag("detach, d", "return once the container runs", SWITCH),
        Flag("pid-file", PID_FILE, value="FILE"),
        Flag("no-subreaper", "do not adopt the container's orphaned processes", SWITCH),
        Flag("no-pivot", NO_PIVOT, SWITCH),
        it.EMPTY_NS,
        it.AUTO_DEDUP,
        Flag("lazy-pages", "fetch memory on demand", SWITCH),
        Flag("lsm-profile", "security profile of the processes", value="TYPE:NAME"),
        Flag("lsm-mount-context", "SELinux context of mounts", value="CONTEXT"),
    ),
    text="""
DESCRIPTION:
   Makes the container again that "pyrunc checkpoint" has saved, with its processes where
   they were. The exit status is as with "pyrunc run". Needs criu(8).
""",
)


def main(globals_: Globals, options: Options, arguments: Sequence[str]) -> int:
    from pyrunc.checkpoint.restore import restore

    return restore(globals_, arguments[0], options.values)
