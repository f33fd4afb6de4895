"""Annotations that crun gives a meaning to, and engines set for it (crun(1), "Extensions to OCI")."""

import os
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pyrunc.errors import ConfigError
from pyrunc.machine.ops import Step
from pyrunc.plan.create import Facts, compile_create
from support import DEFAULT_CONFIG, MakeBundle, Runtime, merge

pytestmark = pytest.mark.usefixtures("needs_root")


def test_pidfd_receiver(runtime: Runtime, bundle: MakeBundle, root_dir: Path) -> None:
    path = f"{root_dir}/pidfd"
    it = bundle(
        {
            "annotations": {"run.oci.pidfd_receiver": path},
            "process": {"args": ["/bin/sleep", "100"]},
        }
    )
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        server.settimeout(10)
        id = runtime.create(it)
        connection, _ = server.accept()
        with connection:
            _, (pidfd,), _, _ = socket.recv_fds(connection, 100, 2)
    info = Path(f"/proc/self/fdinfo/{pidfd}").read_text()
    os.close(pidfd)
    assert f"Pid:\t{runtime.state(id)['pid']}\n" in info


# -- keep_original_groups -----------------------------------------------------------------------

GROUPS = [101, 202, 303]
KEEP = {"run.oci.keep_original_groups": "1"}
OWN = [{"containerID": 0, "hostID": 0, "size": 1000}]


def with_groups(runtime: Runtime, *words: str) -> list[str]:
    """What a command prints that is called with GROUPS."""
    done = subprocess.run(
        runtime.command(*words),
        check=False,
        text=True,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
        extra_groups=GROUPS,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("userns", [False, True])
def test_keep_original_groups(userns: bool, runtime: Runtime, bundle: MakeBundle) -> None:
    linux = {}
    if userns:
        spaces = [*DEFAULT_CONFIG["linux"]["namespaces"], {"type": "user"}]
        linux = {"namespaces": spaces, "uidMappings": OWN, "gidMappings": OWN}
    user = {"uid": 1, "gid": 2, "additionalGids": [7]}
    show = ["/bin/grep", "Groups:", "/proc/self/status"]
    it = bundle({"annotations": KEEP, "linux": linux, "process": {"args": show, "user": user}})
    expected = ["Groups:", *map(str, GROUPS)]
    assert with_groups(runtime, "run", "-b", str(it.path), runtime.new_id()) == expected
    # Without it: those of the configuration.
    it.update({"annotations": None})
    assert with_groups(runtime, "run", "-b", str(it.path), runtime.new_id()) == ["Groups:", "7"]
    it.update({"annotations": KEEP, "process": {"args": ["/bin/sleep", "100"]}})
    id = runtime.create(it)
    runtime.call("start", id, check=True)
    assert with_groups(runtime, "exec", id, *show) == expected


# -- mount_context_type ---------------------------------------------------------------------------


def label_words(type_: str | None) -> set[object]:
    """What file systems are told about a mount label, in a plan."""
    annotations = {} if type_ is None else {"run.oci.mount_context_type": type_}
    label = "system_u:object_r:container_file_t:s0"
    config: Any = merge(
        DEFAULT_CONFIG, {"annotations": annotations, "linux": {"mountLabel": label}}
    )
    steps = compile_create(config, Facts("x", "/b", "/b/rootfs")).child.items
    return {
        step.args[2]
        for step in steps
        if isinstance(step, Step) and step.name == "fsconfig" and label.encode() in step.args
    }


@pytest.mark.parametrize("type_", [None, "context", "rootcontext", "fscontext", "defcontext"])
def test_mount_context_type(type_: str | None) -> None:
    assert label_words(type_) == {(type_ or "context").encode()}


def test_a_context_type_that_there_is_not() -> None:
    with pytest.raises(ConfigError) as caught:
        label_words("uid")
    assert caught.value.pointer == "/annotations/run.oci.mount_context_type"
