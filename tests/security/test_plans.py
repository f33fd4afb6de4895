"""Rules that hold for every step of every plan, by what the plans say: no kernel, no root."""

import itertools
from collections.abc import Iterator
from errno import EPERM
from typing import Any

import pytest

from pyrunc.kernel.uapi import (
    AT_FDCWD,
    CLONE_NEWNS,
    CLONE_NEWUSER,
    O_NOFOLLOW,
    RESOLVE_BENEATH,
    RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_XDEV,
)
from pyrunc.machine.ops import Fd, Program, Step, Words
from pyrunc.plan.create import compile_create
from pyrunc.plan.create import finish as finish_create
from pyrunc.plan.exec import clone, compile_exec
from pyrunc.plan.exec import finish as finish_exec
from pyrunc.plan.facts import ExecFacts, Facts
from pyrunc.plan.filesystem.inroot import IN_ROOT
from pyrunc.plan.filesystem.rootfs import move_root
from pyrunc.plan.waiting import Gate

PR_SET_DUMPABLE = 4
UNCHANGED = (-1, 0xFFFFFFFF)
# What somebody else could look at the process by, if it were not hidden yet.
LATE = ("clone", "clone3", "execve", "openat", "openat2", "reply", "seccomp", "unshare")
MAPS = [{"containerID": 0, "hostID": 100000, "size": 65536}]
LOW = [{"containerID": 5, "hostID": 100000, "size": 10}]

NEW: dict[str, Any] = {"namespaces": [{"type": "user"}], "uidMappings": MAPS, "gidMappings": MAPS}
WITHOUT_ROOT: dict[str, Any] = {"namespaces": [{"type": "user"}], "uidMappings": LOW, "gidMappings": LOW}
JOINED: dict[str, Any] = {"namespaces": [{"type": "user", "path": "/proc/1/ns/user"}]}
NONE: dict[str, Any] = {"namespaces": []}


def config(linux: dict[str, Any], **process: Any) -> Any:
    """Everything that opens something: mounts of all kinds, masks, devices, sysctls, labels, a terminal."""
    mounts = [
        ("/proc", "proc", []),
        ("/dev", "tmpfs", ["tmpcopyup", "ro"]),
        ("/dev/pts", "devpts", []),
        ("/sys", "sysfs", ["ro"]),
        ("/sys/fs/cgroup", "cgroup", ["ro"]),
        ("/data/new", "bind", ["rbind", "ro"]),
        ("/data/link", "bind", ["bind", "copy-symlink"]),
        ("/data/new", "", ["remount", "ro"]),
    ]
    return {
        "ociVersion": "1.3.0",
        "root": {"path": "rootfs", "readonly": True},
        "process": {
            "cwd": "/work/here",
            "args": ["true"],
            "apparmorProfile": "some",
            "selinuxLabel": "some",
            "terminal": True,
            "user": {"uid": 7, "gid": 8, "additionalGids": [9]},
            **process,
        },
        "mounts": [
            {"destination": place, "type": kind, "source": "/source", "options": options}
            for place, kind, options in mounts
        ],
        "linux": {
            **linux,
            "namespaces": [*linux["namespaces"], *({"type": kind} for kind in ("mount", "pid", "network", "ipc"))],
            "maskedPaths": ["/proc/kcore", "/proc/acpi"],
            "readonlyPaths": ["/proc/sys"],
            "sysctl": {"net.ipv4.ip_forward": "1"},
            "devices": [{"path": "/dev/other/null", "type": "c", "major": 1, "minor": 3, "uid": 7}],
        },
    }


def steps(*programs: Program) -> list[Step]:
    return [item for program in programs for item in program if isinstance(item, Step)]


def of_create(it: Any, *, privileged: bool = True, gate: bool = True) -> list[list[Step]]:
    """The steps of the agent, and those of the init."""
    facts = Facts("id", "/b", "/b/rootfs")
    facts.capabilities = (1 << 41) - 1
    facts.privileged = facts.may_drop_groups = privileged
    if gate:
        facts.gate = Gate(Fd(20, "start"), Fd(21, "line"), Fd(22, "answer"))
    plan = compile_create(it, facts)
    rest = finish_create(plan, it, facts, "/bin/true", [], deny_setgroups=not privileged)
    return [steps(plan.agent), steps(plan.child, *rest)]


def of_exec(spec: Any, spaces: int, *, privileged: bool = True) -> list[list[Step]]:
    """The steps of the agent, and those of its child."""
    facts = ExecFacts()
    facts.spaces = spaces
    facts.pointer = "/process"
    facts.privileged = facts.may_drop_groups = privileged
    facts.deny_setgroups = not privileged
    plan = compile_exec(spec, facts)
    begin = clone(plan, facts)
    return [steps(plan.agent), steps(*begin, plan.child, *finish_exec(plan, spec, facts, "/bin/true", []))]


def everything() -> Iterator[tuple[bool, list[Step]]]:
    """Whether pyrunc is privileged, and the steps of one process, for plans of all kinds."""
    for linux, privileged, gate, uid in itertools.product(
        (NEW, WITHOUT_ROOT, JOINED, NONE), (True, False), (True, False), (0, 7)
    ):
        if linux is WITHOUT_ROOT and not uid:
            continue  # there is no such user
        groups = [9] if privileged else []
        it = config(linux, user={"uid": uid, "gid": uid, "additionalGids": groups})
        for found in of_create(it, privileged=privileged, gate=gate):
            yield privileged, found
    for spaces, privileged in itertools.product((CLONE_NEWUSER | CLONE_NEWNS, CLONE_NEWNS), (True, False)):
        spec = {**config(NONE)["process"], "user": {"uid": 7, "gid": 8}}
        for found in of_exec(spec, spaces, privileged=privileged):
            yield privileged, found


@pytest.mark.contains("CVE-2016-9962: exec'ed process can be traced before it drops")
def test_every_change_of_ids_is_followed_by_hiding() -> None:
    """The kernel makes a process that changes its effective ids as dumpable as fs.suid_dumpable says: with 1, open to
    whoever has CAP_SYS_PTRACE in the user namespace that it is in by then."""
    changes = 0
    for _, found in everything():
        for number, step in enumerate(found):
            if step.name != "setresuid" or step.args[1] in UNCHANGED:
                continue
            if step.why == "unable to setuid" and not step.args[1]:
                continue  # root before and after
            changes += 1
            after = [(other.name, other.args[:2]) for other in found[number + 1 :]]
            late = next((at for at, (name, _) in enumerate(after) if name in LATE), len(after))
            assert ("prctl", (PR_SET_DUMPABLE, 0)) in after[:late], (step.why, after[:late])
    assert changes > 30


@pytest.mark.contains("CVE-2019-18837, CVE-2025-24965: links in the image")
def test_every_path_is_opened_below_a_descriptor() -> None:
    """openat2(2) in the root file system, or beneath a procfs of the host's; openat(2) for one name, links not
    followed. What is opened without a directory is the host's, before its root is left, or "/" itself."""
    in_root = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
    beneath = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV
    assert in_root == IN_ROOT
    kinds = set()
    for _, found in everything():
        for step in found:
            name = step.args[1] if len(step.args) > 1 else None
            if step.name == "openat2":
                how = step.args[2]
                assert isinstance(how, Words)
                resolve = how.fields[2]
                assert isinstance(resolve, int)
                assert resolve & in_root == in_root or resolve & beneath == beneath, step.why
                kinds.add("in root" if resolve & RESOLVE_IN_ROOT else "beneath")
            elif step.name == "openat" and step.args[0] != AT_FDCWD:
                assert name == b"." or (step.args[2] & O_NOFOLLOW and b"/" not in name), step.why  # type: ignore[operator]
            elif step.name == "openat":
                assert name in (b"/", b"/proc", b"/dev/null", b"/proc/1/ns/user", b"/b/rootfs"), step.why
    assert kinds == {"in root", "beneath"}


def test_setgroups_may_fail_only_where_it_has_to() -> None:
    """A privileged pyrunc never goes on with its caller's groups."""
    seen = 0
    for privileged, found in everything():
        for step in found:
            if step.name == "setgroups" and privileged:
                assert EPERM not in step.ok
                seen += 1
    assert seen


@pytest.mark.contains("CVE-2024-21626: working directory by a leaked descriptor")
def test_the_working_directory_is_checked_before_the_execve() -> None:
    """getcwd(2) gives "(unreachable)..." for a directory that is not below the root (CVE-2024-21626)."""
    for found in (of_create(config(NEW))[1], of_exec(config(NONE)["process"], CLONE_NEWNS)[1]):
        last = max(at for at, step in enumerate(found) if step.name in ("chdir", "fchdir"))
        execve = next(at for at, step in enumerate(found) if step.name == "execve")
        checks = [step for step in found[last:execve] if step.name == "check" and step.key == "outside"]
        assert len(checks) == 1
        assert checks[0].args[2:4] == (0xFF, ord("/"))


@pytest.mark.contains("an unmasked `/proc` below `--no-pivot`")
def test_without_pivot_root_the_hosts_file_systems_go_first() -> None:
    """They would stay in the container's mount namespace, out of its sight: a user namespace inside could mount procfs
    and sysfs anew then, without masks."""
    p = Program()
    move_root(p, p.reg("root"), "/b/rootfs", [("/proc", "/"), ("/sys", "/")])
    found = steps(p)
    names = [step.name for step in found]
    gone = [(at, step.args[0]) for at, step in enumerate(found) if step.name == "umount2"]
    covered = [step.args[1] for step in found if step.name == "mount" and step.args[0] == b"tmpfs"]
    assert [path for _, path in gone] == covered == [b"/proc", b"/sys"]
    assert gone[-1][0] < names.index("chroot")
