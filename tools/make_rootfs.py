"""Make the root file system of a bundle from the system's static busybox.

    python tools/make_rootfs.py DIRECTORY...

Each DIRECTORY becomes a root file system with a link for each applet. One that is complete
is left alone. Needs Debian's busybox-static, or a static busybox named by BUSYBOX.
"""

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

DIRECTORIES = (
    "bin",
    "dev",
    "etc",
    "home/user",
    "mnt",
    "proc",
    "root",
    "run",
    "sbin",
    "sys",
    "usr/bin",
    "usr/sbin",
    "var/tmp",
)
FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n"
    "user:x:1000:1000:A user:/home/user:/bin/sh\n"
    "nobody:x:65534:65534:nobody:/:/bin/false\n",
    "etc/group": "root:x:0:\ntty:x:5:\nwheel:x:10:root,user\nuser:x:1000:\nnogroup:x:65534:\n",
}


@cache
def busybox() -> tuple[str, list[str]]:
    """The path of a busybox, and the names of its applets with their directories."""
    program = os.environ.get("BUSYBOX") or shutil.which("busybox", path="/bin:/usr/bin")
    if not program:
        sys.exit("busybox is missing: apt-get install busybox-static")
    listed = subprocess.run([program, "--list-full"], check=True, capture_output=True, text=True)
    return program, listed.stdout.split()


def make(root: Path) -> None:
    """Make the root file system `root`, owned by the caller; nothing if it is complete."""
    complete = root / "etc/group"
    if complete.exists():
        return
    program, applets = busybox()
    for name in DIRECTORIES:
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "tmp").mkdir(exist_ok=True)
    (root / "tmp").chmod(0o1777)
    shutil.copy(program, root / "bin/busybox")
    for applet in applets:
        link = root / applet
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink() and not link.exists():
            link.symlink_to("/bin/busybox")
    for name, text in FILES.items():
        (root / name).write_text(text)


def main() -> int:
    for name in sys.argv[1:]:
        make(Path(name))
    return 0


if __name__ == "__main__":
    sys.exit(main())
