"""The steps for SELinux, which no test machine has: what the plan says, not what the kernel does."""

from typing import Any

import pytest

from pyrunc.machine.ops import Program, Step
from pyrunc.plan.create import compile_create
from pyrunc.plan.facts import Facts
from pyrunc.plan.process import lsm

LABEL = "system_u:system_r:container_t:s0:c1,c2"
MOUNT_LABEL = "system_u:object_r:container_file_t:s0:c1,c2"


def config(**linux: Any) -> Any:
    return {
        "ociVersion": "1.3.0",
        "root": {"path": "rootfs"},
        "process": {"cwd": "/", "args": ["true"], "selinuxLabel": LABEL},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts"},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue"},
        ],
        "linux": {
            "namespaces": [{"type": "mount"}, {"type": "pid"}],
            "mountLabel": MOUNT_LABEL,
            **linux,
        },
    }


def steps(p: Program) -> list[Step]:
    return [item for item in p if isinstance(item, Step)]


def place(found: list[Step], name: str, argument: object) -> int:
    """The index of the one step of a system call that has the argument."""
    places = [n for n, step in enumerate(found) if step.name == name and argument in step.args]
    assert len(places) == 1
    return places[0]


def test_the_process_label() -> None:
    """It is written before pivot_root; keys are labelled only while the keyring is made."""
    found = steps(compile_create(config(), Facts("id", "/b", "/b/rootfs")).child)
    label = LABEL.encode()
    writes = [n for n, step in enumerate(found) if step.name == "write" and label in step.args]
    assert [found[n - 1].args[1] for n in writes] == [b"self/attr/keycreate", b"self/attr/exec"]
    keyring = place(found, "keyctl", b"_ses.id")
    reset = place(found, "write", b"\n")
    assert writes[0] < keyring < reset < writes[1]
    assert writes[1] < [step.name for step in found].index("pivot_root")


def test_which_file_systems_get_the_mount_label() -> None:
    """tmpfs and devpts by an option, mqueue by an attribute; proc and sysfs have labels of their own."""
    found = steps(compile_create(config(), Facts("id", "/b", "/b/rootfs")).child)
    labelled, kind = [], b""
    for step in found:
        if step.name == "fsopen":
            kind = step.args[0]  # type: ignore[assignment]
        if step.name == "fsconfig" and step.args[2:4] == (b"context", MOUNT_LABEL.encode()):
            labelled.append(kind)
        if step.name == "fsetxattr":
            assert step.args[1:3] == (b"security.selinux", MOUNT_LABEL.encode())
            labelled.append(kind + b" attribute")
    assert labelled == [b"tmpfs", b"devpts", b"mqueue attribute"]


@pytest.mark.contains("CVE-2025-52881, CVE-2025-62596: labels and sysctls written elsewhere")
def test_the_agent_opens_proc_before_it_joins_a_mount_namespace() -> None:
    """What is at /proc there may be anything."""
    joined = {"namespaces": [{"type": "mount", "path": "/proc/1/ns/mnt"}]}
    found = steps(compile_create(config(**joined), Facts("id", "/b", "/b/rootfs")).agent)
    names = [step.name for step in found]
    assert place(found, "openat", b"/proc") < names.index("setns")


def test_without_a_label_nothing_is_opened() -> None:
    it = config()
    del it["process"]["selinuxLabel"], it["linux"]["mountLabel"]
    plan = compile_create(it, Facts("id", "/b", "/b/rootfs"))
    for step in [*steps(plan.agent), *steps(plan.child)]:
        assert b"/proc" not in step.args
        assert step.name != "fsetxattr"


def test_an_apparmor_profile_falls_back_to_the_older_file() -> None:
    p = Program()
    lsm.apply(p, {"cwd": "/", "apparmorProfile": "x"}, "/process", p.reg("proc"))
    opened = [step.args[1] for step in steps(p) if step.name == "openat2"]
    assert opened == [b"self/attr/apparmor/exec", b"self/attr/exec"]
    assert place(steps(p), "write", b"exec x")
