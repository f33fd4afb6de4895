"""What can be found out about a bind mount that failed, by looking at its source on the host. Cold."""

import posix
from errno import ENOENT, ENOTDIR

from pyrunc.config.whereabouts import first_missing
from pyrunc.didyoumean import nearest
from pyrunc.kernel.uapi import S_IFDIR, S_IFMT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.config.types import Config
    from pyrunc.machine.ops import Step


def of_mount(config: "Config", bundle: str, step: "Step", errno: int) -> str:
    """A hint for a step of a bind mount, "" where there is none."""
    kind, _, number = step.at[1:].partition("/")
    mounts = config.get("mounts", [])
    if kind != "mounts" or not number.isdigit() or int(number) >= len(mounts):
        return ""
    mount = mounts[int(number)]
    source = mount.get("source", "")
    source = source if source.startswith("/") else f"{bundle}/{source}"
    if step.name == "open_tree" and errno == ENOENT:
        missing = first_missing(source)
        parent, _, name = missing.rpartition("/")
        if not missing:
            return ""
        try:
            near = nearest(name, sorted(posix.listdir(parent or "/")))
        except OSError:
            near = ""
        return f'"{name}" is not in "{parent or "/"}"' + (f', did you mean "{near}"?' if near else "")
    if step.name == "move_mount" and errno == ENOTDIR:
        try:
            directory = posix.stat(source).st_mode & S_IFMT == S_IFDIR
        except OSError:
            return ""
        sides = ("a directory", "a file") if directory else ("a file", "a directory")
        return f'the source "{source}" is {sides[0]}, and the destination "{mount["destination"]}" is {sides[1]}'
    return ""
