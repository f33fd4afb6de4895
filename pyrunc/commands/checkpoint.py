"""`pyrunc checkpoint`: save a running container, with criu."""

from collections.abc import Sequence

from pyrunc.arguments import LIST, NUMBER, SWITCH, Command, Flag, Options
from pyrunc.options import Globals

# Shared with restore.
TCP_ESTABLISHED = Flag("tcp-established", "allow open TCP connections", SWITCH)
EXT_UNIX_SK = Flag("ext-unix-sk", "allow unix sockets whose other end is outside", SWITCH)
SHELL_JOB = Flag("shell-job", "allow a terminal that is not the container's", SWITCH)
FILE_LOCKS = Flag("file-locks", "save and restore file locks", SWITCH)
MANAGE_CGROUPS = Flag("manage-cgroups-mode", "what criu does to cgroups: soft, full, strict or ignore", value="MODE")
EMPTY_NS = Flag("empty-ns", "make a namespace but leave it empty: network (repeatable)", LIST, value="KIND")
AUTO_DEDUP = Flag("auto-dedup", "drop pages from images that newer ones replace", SWITCH)
LINK_REMAP = Flag("link-remap", "give deleted files that are open a name for the time", SWITCH)
SKIP_IN_FLIGHT = Flag("tcp-skip-in-flight", "skip connections that are being made", SWITCH)
WORK_PATH = Flag("work-path", "directory for criu's log and work files", value="DIR")

COMMAND = Command(
    "checkpoint",
    "save a running container",
    flags=(
        Flag("image-path", "directory to save to, by default ./checkpoint", value="DIR"),
        WORK_PATH,
        Flag(
            "parent-path",
            "earlier images of a --pre-dump, relative to --image-path",
            value="DIR",
        ),
        Flag("leave-running", "let the container go on", SWITCH),
        TCP_ESTABLISHED,
        SKIP_IN_FLIGHT,
        LINK_REMAP,
        EXT_UNIX_SK,
        SHELL_JOB,
        Flag("lazy-pages", "leave memory behind, to be fetched on demand", SWITCH),
        Flag(
            "status-fd",
            "descriptor that gets a zero byte when --lazy-pages is ready",
            NUMBER,
            value="FD",
            default=-1,
        ),
        Flag("page-server", "page server to send memory to", value="ADDRESS:PORT"),
        FILE_LOCKS,
        Flag("pre-dump", "save memory only and let the container go on", SWITCH),
        MANAGE_CGROUPS,
        EMPTY_NS,
        AUTO_DEDUP,
    ),
    text="""
DESCRIPTION:
   Writes the container's processes and their memory to image files, from which
   "pyrunc restore" makes the container again, here or elsewhere. Needs criu(8).
""",
)


def main(globals_: Globals, options: Options, arguments: Sequence[str]) -> int:
    from pyrunc.checkpoint.checkpoint import checkpoint

    checkpoint(globals_, arguments[0], options.values)
    return 0
