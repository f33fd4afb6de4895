"""`pyrunc spec`: a config.json to start from.

Not on the hot path.
"""

import os
from collections.abc import Sequence

from pyrunc.arguments import SWITCH, Command, Flag, Options
from pyrunc.config import strict
from pyrunc.config.default import default_config, make_rootless
from pyrunc.errors import Error, from_os_error
from pyrunc.options import Globals

COMMAND = Command(
    "spec",
    "write a config.json to start from",
    usage="",
    least=0,
    most=0,
    flags=(
        Flag("bundle, b", "directory to write to, by default the current one", value="DIR"),
        Flag("file, f", "file to write, by default config.json", value="FILE"),
        Flag("rootless", "for a container that its user makes without privileges", SWITCH),
    ),
    text="""
DESCRIPTION:
   Writes "config.json" for a container that runs a shell on a terminal, with the file
   system in "rootfs" beside it. What it should be is then up to an editor. A file of
   that name is not overwritten.

   With --rootless the container's root is the calling user, in a user namespace, and
   the container has the host's network.
""",
)


def main(globals_: Globals, options: Options, arguments: Sequence[str]) -> int:
    name = options.text("file", "config.json")
    path = os.path.join(options.text("bundle", "."), name)
    config = default_config(cgroup2=os.path.exists("/sys/fs/cgroup/cgroup.controllers"))
    if options.on("rootless"):
        make_rootless(config, os.geteuid(), os.getegid())
    try:
        with open(path, "x", encoding="utf-8") as file:
            try:
                file.write(strict.dumps(config, indent="\t") + "\n")
                file.flush()
            except OSError:
                os.unlink(path)  # half a configuration is none
                raise
    except FileExistsError:
        raise Error(f"File {name} exists. Remove it first") from None
    except OSError as error:
        raise from_os_error("write", error) from None
    return 0
