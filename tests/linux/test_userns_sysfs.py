"""sysfs in a user namespace that does not own the network namespace: the kernel refuses it, the host's is bound."""

import pytest

from support import DEFAULT_CONFIG, MakeBundle, Runtime

OWN = [{"containerID": 0, "hostID": 0, "size": 1}]


@pytest.mark.usefixtures("needs_root")
def test_the_hosts_sysfs_read_only_to_the_last_mount(runtime: Runtime, bundle: MakeBundle) -> None:
    kinds = ("pid", "ipc", "uts", "mount", "user")
    it = bundle(
        {
            "linux": {
                "namespaces": [{"type": kind} for kind in kinds],
                "uidMappings": OWN,
                "gidMappings": OWN,
                "maskedPaths": None,
                "readonlyPaths": None,
            },
            "mounts": [entry for entry in DEFAULT_CONFIG["mounts"] if entry["destination"] in ("/proc", "/sys")],
        }
    ).shell("ls /sys/class/net >/dev/null && cat /proc/self/mountinfo")
    done = runtime.run(it, check=True)
    mounts = [line.split() for line in done.stdout.splitlines()]
    below = [fields for fields in mounts if fields[4] == "/sys" or fields[4].startswith("/sys/")]
    assert below[0][8 if below[0][6] == "-" else 7] == "sysfs"
    for fields in below:
        assert {"ro", "nosuid", "nodev", "noexec"} <= set(fields[5].split(",")), fields
