"""A user namespace that maps no root, only the user (config-linux.md, "User namespace mappings")."""

import json

import pytest

from support import DEFAULT_CONFIG, MakeBundle, Runtime

NAMESPACES = [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "user")]


@pytest.mark.usefixtures("needs_root")
def test_run_and_exec(runtime: Runtime, bundle: MakeBundle) -> None:
    it = bundle(
        {
            "process": {"user": {"uid": 1000, "gid": 1001}},
            "linux": {
                "namespaces": NAMESPACES,
                "uidMappings": [{"containerID": 1000, "hostID": 100000, "size": 1}],
                "gidMappings": [{"containerID": 1001, "hostID": 200000, "size": 1}],
            },
            "mounts": [entry for entry in DEFAULT_CONFIG["mounts"] if entry["type"] != "mqueue"],
        }
    )
    it.give(100000, 200000)
    show = ("sh", "-c", "id -u; id -g; cat /proc/self/uid_map")
    want = ["1000", "1001", "1000", "100000", "1"]
    assert runtime.run(it.args(*show), check=True).stdout.split() == want
    id = runtime.create(it.args("sleep", "60"))
    runtime.call("start", id, check=True)
    assert runtime.call("exec", id, *show, check=True).stdout.split() == want
    assert json.loads(runtime.call("state", id, check=True).stdout)["status"] == "running"
