"""`pyrunc audit`: how far a container is isolated from its host, with reasons."""

import os
from collections.abc import Sequence

from pyrunc.arguments import Command, Flag, Options, write
from pyrunc.options import Globals

COMMAND = Command(
    "audit",
    "tell how far a container is isolated from its host",
    usage="<bundle> | <file> | <container-id>",
    flags=(Flag("format", '"text", "json" or "sarif"', value="FORMAT", default="text"),),
    text="""
DESCRIPTION:
   Tells what a container can do to its host, and why: namespaces that it shares,
   capabilities by their risk, root without a user namespace, missing or weak seccomp
   filters (dangerous calls are asked of the compiled filter), writable parts of /proc and
   /sys, sockets of engines, paths and devices of the host, credentials in the
   environment; and the habits that people teach: a read-only root file system, volumes,
   limits, one service, small images, tags with a version.

   "error" means that the host is within reach, "warning" that a protection is missing
   which engines give, "note" that it is worth knowing. A name that is a directory or file
   is a bundle or a configuration, any other the id of a container: of a running one what
   the kernel says is compared with the configuration as well.

EXIT STATUS:
   0 where there are no errors; else 1.
""",
)


def main(globals_: Globals, options: Options, arguments: Sequence[str]) -> int:
    from pyrunc.config.load import parse_config
    from pyrunc.inspect import findings
    from pyrunc.inspect.audit import audit
    from pyrunc.inspect.document import Document
    from pyrunc.inspect.live import drift
    from pyrunc.inspect.validate import read
    from pyrunc.state.store import Store

    form = findings.check_format(options.text("format", "text"))
    name = arguments[0]
    if os.path.exists(name):
        data, name, bundle = read(name)
        config = parse_config(data)
        root = os.path.join(bundle, config["root"]["path"] if "root" in config else "rootfs")
        found = audit(config, root)
        document = Document(data)
        for finding in found:
            finding.line, finding.column = document.place(finding.pointer)
    else:
        state = Store(globals_.root).load(name)
        found = audit(state.config, state.rootfs)
        if state.alive():
            found = findings.ordered([*found, *drift(state)])
    write(findings.write(found, form, name, "audit"))
    return int(any(it.level == "error" for it in found))
