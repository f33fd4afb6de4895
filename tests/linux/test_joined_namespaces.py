"""A container in the namespaces of another one, all but the mount namespace (config-linux.md, "Namespaces")."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from support import MakeBundle, Runtime

pytestmark = pytest.mark.guest

FILES = {"network": "net", "mount": "mnt"}
KINDS = ("pid", "network", "ipc", "uts", "mount", "cgroup", "time")
MAPS = [{"containerID": 0, "hostID": 100000, "size": 65536}]


@pytest.mark.parametrize("user", [False, True])
def test_all_of_them(runtime: Runtime, bundle: MakeBundle, user: bool) -> None:
    """The cgroup namespace too: from inside there is no way into a cgroup beside it (nsdelegate)."""
    kinds = (*KINDS, "user") if user else KINDS
    it = bundle({"linux": {"namespaces": [{"type": kind} for kind in kinds]}})
    if user:
        it.update({"linux": {"uidMappings": MAPS, "gidMappings": MAPS}})
        it.give(100000)
    first = runtime.create(it.args("sleep", "60"))
    runtime.call("start", first, check=True)
    pid = json.loads(runtime.call("state", first, check=True).stdout)["pid"]
    joined: list[dict[str, Any]] = [
        {"type": kind} if kind == "mount" else {"type": kind, "path": f"/proc/{pid}/ns/{FILES.get(kind, kind)}"}
        for kind in kinds
    ]
    it.update({"linux": {"namespaces": joined, "uidMappings": None, "gidMappings": None}})
    second = runtime.create(it)
    runtime.call("start", second, check=True)
    other = json.loads(runtime.call("state", second, check=True).stdout)["pid"]
    for kind in kinds:
        links = [os.readlink(f"/proc/{each}/ns/{FILES.get(kind, kind)}") for each in (pid, other)]
        assert (links[0] == links[1]) == (kind != "mount"), kind
    groups = [Path(f"/proc/{each}/cgroup").read_text() for each in (pid, other)]
    assert groups[0] != groups[1]
    assert groups[1].strip().endswith(second)
