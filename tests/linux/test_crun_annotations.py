"""Annotations that crun gives a meaning to, and engines set for it (crun(1), "Extensions to OCI")."""

import base64
import errno
import os
import platform
import socket
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pyrunc.config.annotations import apply
from pyrunc.errors import ConfigError
from pyrunc.machine.ops import Step
from pyrunc.plan.create import compile_create
from pyrunc.plan.facts import Facts
from pyrunc.seccomp import filter_of
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
    config: Any = merge(DEFAULT_CONFIG, {"annotations": annotations, "linux": {"mountLabel": label}})
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


# -- seccomp --------------------------------------------------------------------------------------

RET_ALLOW, RET_ERRNO = 0x7FFF0000, 0x00050000
LD_NUMBER = (0x20, 0, 0, 0)  # BPF_LD | BPF_W | BPF_ABS of struct seccomp_data's nr


def encoded(*instructions: tuple[int, int, int, int]) -> str:
    """struct sock_filter each, in base64."""
    return base64.b64encode(b"".join(struct.pack("=HBBI", *it) for it in instructions)).decode()


def no_mkdir() -> str:
    """A filter that answers mkdir(2) and mkdirat(2) with EXDEV."""
    numbers = {"x86_64": (83, 258), "aarch64": (34, 34)}[platform.machine()]
    return encoded(
        LD_NUMBER,
        (0x15, 1, 0, numbers[0]),
        (0x15, 0, 1, numbers[1]),
        (0x06, 0, 0, RET_ERRNO | errno.EXDEV),
        (0x06, 0, 0, RET_ALLOW),
    )


def test_seccomp_bpf_data(runtime: Runtime, bundle: MakeBundle) -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["uname"], "action": "SCMP_ACT_ERRNO"}],
    }
    it = bundle({"annotations": {"run.oci.seccomp_bpf_data": no_mkdir()}, "linux": {"seccomp": profile}})
    script = "uname && mkdir /made; grep Seccomp: /proc/self/status"
    done = runtime.run(it.shell(script), check=True)
    # The profile counts for nothing.
    assert done.stdout.split() == ["Linux", "Seccomp:", "2"]
    assert "cross-device link" in done.stderr.lower()
    id = runtime.create(it.args("/bin/sleep", "100"))
    runtime.call("start", id, check=True)
    again = runtime.call("exec", id, "/bin/mkdir", "/made")
    assert "cross-device link" in again.stderr.lower()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("###", "is not base64"),
        ("", "is no filter: 0 bytes"),
        (base64.b64encode(b"1234567").decode(), "is no filter: 7 bytes"),
        (base64.b64encode(bytes(8 * 4097)).decode(), "is no filter: 32776 bytes"),
    ],
)
def test_what_is_no_filter(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        filter_of({"annotations": {"run.oci.seccomp_bpf_data": text}})
    assert message in str(caught.value)
    assert caught.value.pointer == "/annotations/run.oci.seccomp_bpf_data"


def test_seccomp_fail_unknown_syscall(runtime: Runtime, bundle: MakeBundle) -> None:
    names = ["mkdir", "no_such_call"]
    rule = {"names": names, "action": "SCMP_ACT_ERRNO"}
    profile = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    it = bundle({"linux": {"seccomp": profile}})
    runtime.run(it, check=True)
    it.update({"annotations": {"run.oci.seccomp_fail_unknown_syscall": "1"}})
    done = runtime.run(it)
    assert done.returncode == 1
    assert "unknown system call" in done.stderr
    assert "no_such_call" in done.stderr
    names.pop()
    it.update({"linux": {"seccomp": profile}})
    runtime.run(it, check=True)


def test_seccomp_receiver() -> None:
    config: Any = {
        "annotations": {"run.oci.seccomp.receiver": "/run/agent"},
        "linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}},
    }
    apply(config)
    assert config["linux"]["seccomp"]["listenerPath"] == "/run/agent"
    config["linux"]["seccomp"]["listenerPath"] = "/run/mine"
    apply(config)
    assert config["linux"]["seccomp"]["listenerPath"] == "/run/mine"
    del config["linux"]["seccomp"]
    apply(config)
    assert config["linux"] == {}


# -- timens_offset --------------------------------------------------------------------------------


def test_timens_offset(runtime: Runtime, bundle: MakeBundle) -> None:
    spaces = [*DEFAULT_CONFIG["linux"]["namespaces"], {"type": "time"}]
    offsets = "monotonic 7 8\nboottime -9 10"
    it = bundle({"annotations": {"run.oci.timens_offset": offsets}, "linux": {"namespaces": spaces}})
    done = runtime.run(it.args("/bin/cat", "/proc/self/timens_offsets"), check=True)
    assert done.stdout.split() == offsets.split()


@pytest.mark.parametrize(
    "text",
    ["monotonic", "monotonic 1", "realtime 1 2", "monotonic 1 -2", "boottime x 2", "boottime 1 2 3",
     "boottime 1 1000000000", "boottime 9223372036854775808 0"],
)  # fmt: skip
def test_what_is_no_offset(text: str) -> None:
    config: Any = {"annotations": {"run.oci.timens_offset": text}, "linux": {}}
    with pytest.raises(ConfigError) as caught:
        apply(config)
    assert caught.value.pointer == "/annotations/run.oci.timens_offset"
