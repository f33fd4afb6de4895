"""The root file system and the configuration that every differential case starts from."""

import copy
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from support import DEFAULT_CONFIG, merge

Config = dict[str, Any]

BUSYBOX = "/bin/busybox"
APPLETS = (
    "sh cat ls stat readlink tr env id hostname uname ionice find sleep true false echo mkdir "
    "touch rm mount umount grep sort head wc test kill pwd stty dd mknod chmod chown sed cut"
).split()

CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]

# The configuration that `runc spec` writes, but without a terminal.
BASE: Config = merge(
    DEFAULT_CONFIG,
    {
        "ociVersion": "1.0.2",
        "process": {
            "args": ["/bin/sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
        },
        "hostname": "differential",
        "linux": {
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "maskedPaths": [
                *("/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats"),
                *("/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi"),
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    },
)
for _mount in BASE["mounts"]:
    if _mount["destination"] == "/dev/pts":
        _mount["options"].append("gid=5")

PASSWD = """root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
alice:x:1000:1000:Alice:/home/alice:/bin/sh
homeless:x:1001:1001:::/bin/sh
"""
GROUP = "root:x:0:\ndaemon:x:1:\nalice:x:1000:\nstaff:x:50:alice\n"


def base_config() -> Config:
    """A fresh copy of the base configuration, free to be edited."""
    return copy.deepcopy(BASE)


def make_template(where: Path) -> None:
    """Make the root file system's template: busybox, its links, and the usual folders."""
    for name in "bin dev proc sys tmp etc root home/alice usr/bin var/empty mnt data".split():
        (where / name).mkdir(parents=True)
    (where / "tmp").chmod(0o1777)
    os.chown(where / "home/alice", 1000, 1000)
    shutil.copy(BUSYBOX, where / "bin/busybox")
    for name in APPLETS:
        (where / "bin" / name).symlink_to("busybox")
    (where / "etc/passwd").write_text(PASSWD)
    (where / "etc/group").write_text(GROUP)
    (where / "etc/plain").write_text("not a program\n")
    script = where / "bin/bad-interpreter"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    garbage = where / "bin/garbage"
    garbage.write_bytes(b"\x7fELF but not really")
    garbage.chmod(0o755)


def copy_template(template: Path, rootfs: Path) -> None:
    """Copy the template with its modes and owners; files are hard links, as nothing writes them."""
    subprocess.run(["cp", "-al", "--", str(template), str(rootfs)], check=True)
    for name in ("etc/passwd", "etc/group", "etc/plain"):
        file = rootfs / name
        text = file.read_bytes()
        file.unlink()
        file.write_bytes(text)


def write_config(bundle: Path, config: Config) -> None:
    """Write the bundle's config.json."""
    (bundle / "config.json").write_text(json.dumps(config, indent=1))
