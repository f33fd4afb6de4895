"""Containers where clone3(2) is hidden: filters that judge a clone's flags cannot see those of clone3."""

import json
import os
import subprocess

import pytest

from security.conftest import CLONE3, ENOSYS
from support import DEFAULT_CONFIG, IS_ROOT, PURE_V2, MakeBundle, Runtime

pytestmark = [
    pytest.mark.skipif(not IS_ROOT, reason="needs root"),
    pytest.mark.parametrize("runtime", [(CLONE3, 0), (CLONE3, ENOSYS)], ids=["clone3", "clone"], indirect=True),
]

MAPS = [{"containerID": 0, "hostID": 100000, "size": 65536}]
KMSG = "mknod /mnt/kmsg c 1 11; head -c1 /mnt/kmsg"
# All but "time", which it does not know everywhere.
SOME = "RestrictNamespaces=cgroup ipc net mnt pid uts"


@pytest.mark.parametrize("user", [False, True])
def test_run_and_exec(runtime: Runtime, bundle: MakeBundle, user: bool) -> None:
    """With a user namespace, and with a time namespace, which the agent makes before it is refused."""
    kinds = [{"type": kind} for kind in ("cgroup", "user" if user else "time")]
    it = bundle({"linux": {"namespaces": [*DEFAULT_CONFIG["linux"]["namespaces"], *kinds]}})
    if user:
        it.update({"linux": {"uidMappings": MAPS, "gidMappings": MAPS}})
        it.give(100000)
    elif os.path.exists("/proc/self/ns/time"):
        it.update({"linux": {"timeOffsets": {"monotonic": {"secs": 77}}}})
    done = runtime.run(it.shell("echo $$; cat /proc/self/timens_offsets; cat /proc/self/cgroup"), check=True)
    words = done.stdout.split()
    assert words[0] == "1"
    assert user or "77" in words
    id = runtime.create(it.args("sleep", "60"))
    runtime.call("start", id, check=True)
    assert runtime.call("exec", id, "id", "-u", check=True).stdout == "0\n"
    pid = json.loads(runtime.call("state", id, check=True).stdout)["pid"]
    for kind in ("pid", "net", "ipc", "uts", "mnt", "cgroup", "user" if user else "time"):
        assert os.readlink(f"/proc/{pid}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}")


@pytest.mark.skipif(not PURE_V2, reason="needs pure cgroup v2")
def test_cgroup_and_devices(runtime: Runtime, bundle: MakeBundle) -> None:
    """Moved into its cgroup from outside, to which the agent has attached the program."""
    it = bundle({"process": {"capabilities": {kind: ["CAP_MKNOD"] for kind in ("bounding", "effective", "permitted")}}})
    it.update({"mounts": [*it.config["mounts"], {"destination": "/mnt", "type": "tmpfs", "source": "mnt"}]})
    it.update({"linux": {"resources": {"pids": {"limit": 77}, "devices": [{"allow": False, "access": "rwm"}]}}})
    done = runtime.run(it.shell(f"cat /proc/self/cgroup; {KMSG}"))
    assert runtime.ids[-1] in done.stdout
    assert "head: /mnt/kmsg: Operation not permitted" in done.stderr
    id = runtime.create(it.args("sleep", "60"))
    runtime.call("start", id, check=True)
    done = runtime.call("exec", id, "sh", "-c", f"cat /proc/self/cgroup; {KMSG}")
    assert id in done.stdout
    assert "head: /mnt/kmsg: Operation not permitted" in done.stderr
    stats = json.loads(runtime.call("events", "--stats", id, check=True).stdout)
    assert stats["data"]["pids"] == {"current": 1, "limit": 77}


def test_the_times_of_the_init_are_its_own(runtime: Runtime, bundle: MakeBundle) -> None:
    it = bundle()
    trace = it.path / "trace"
    runtime.run(it, "--trace", str(trace), check=True)
    events = json.loads(trace.read_text())["traceEvents"]
    (tid,) = [event["tid"] for event in events if event["ph"] == "M" and event["args"]["name"] == "init"]
    calls = [event["name"] for event in events if event.get("cat") == "step" and event["tid"] == tid]
    assert calls[0] in ("clone", "clone3")
    assert calls[1] == "move"


@pytest.mark.guest
def test_a_service_of_restricted_namespaces(runtime: Runtime, bundle: MakeBundle) -> None:
    it = bundle().args("echo", "fine")
    line = runtime.command("run", "--bundle", str(it.path), runtime.new_id())
    unit = ["systemd-run", "--quiet", "--pipe", "--wait", "--collect", "-p", SOME, *line]
    done = subprocess.run(unit, check=False, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stdout) == (0, "fine\n"), done.stderr
