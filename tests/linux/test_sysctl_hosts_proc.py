"""Sysctls where no procfs of pyrunc's own can be had: a user namespace that does not own its pid namespace."""

import pytest

from support import IS_ROOT, MakeBundle, Runtime

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="needs root")


def test_user_namespace_in_the_hosts_pid_namespace(runtime: Runtime, bundle: MakeBundle) -> None:
    """As `podman run --uidmap --pid host` asks for, with the sysctl that podman always sets."""
    it = bundle()
    linux = it.config["linux"]
    kinds = [n for n in linux["namespaces"] if n["type"] not in ("pid", "user")]
    ids = [{"containerID": 0, "hostID": 0, "size": 65536}]
    proc = {
        "destination": "/proc",
        "type": "bind",
        "source": "/proc",
        "options": ["rbind", "nosuid", "noexec", "nodev"],
    }
    others = [m for m in it.config["mounts"] if m["destination"] != "/proc"]
    kinds = [*kinds, {"type": "user"}]
    if not any(n["type"] == "network" for n in kinds):
        kinds.append({"type": "network"})
    it.update(
        {
            "mounts": [proc, *others],
            "linux": {
                **linux,
                "namespaces": kinds,
                "uidMappings": ids,
                "gidMappings": ids,
                "sysctl": {"net.ipv4.ping_group_range": "0 7"},
            },
        }
    )
    done = runtime.run(it.shell("cat /proc/sys/net/ipv4/ping_group_range"), check=True)
    assert done.stdout.split() == ["0", "7"]
