"""The plan of `exec`: what is joined where, and in which order. Pure."""

from typing import Any

from pyrunc.kernel.uapi import (
    CLONE_INTO_CGROUP,
    CLONE_NEWCGROUP,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    CLONE_PARENT,
)
from pyrunc.machine.ops import Fd, Program, Step, Words
from pyrunc.plan.exec import Accounts, clone, compile_exec, finish, prepare
from pyrunc.plan.facts import ExecFacts
from pyrunc.plan.process.lookup import LookUp

SPEC: Any = {"args": ["true"], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}}


def facts(spaces: int = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWCGROUP, **changes: Any) -> ExecFacts:
    it = ExecFacts()
    it.spaces = spaces
    it.cgroup_ns = Fd(20, "cgroup namespace") if spaces & CLONE_NEWCGROUP else None
    for key, value in changes.items():
        setattr(it, key, value)
    return it


def steps(*programs: Program) -> list[Step]:
    return [item for program in programs for item in program if isinstance(item, Step)]


def names(*programs: Program) -> list[str]:
    return [step.name for step in steps(*programs)]


def compiled(spec: Any = None, **changes: Any) -> tuple[list[Step], list[Step]]:
    """The agent's steps, and the child's up to its first decision."""
    it = facts(**changes)
    plan = compile_exec(spec or SPEC, it)
    cloning, begin = clone(plan, it)
    return steps(plan.agent, cloning), steps(begin, plan.child)


def test_descriptors_are_marked_before_it_joins() -> None:
    agent, _ = compiled()
    order = [step.name for step in agent]
    assert order.index("close_range") < order.index("setns")


def test_root_gives_its_groups_up_before_it_joins_a_user_namespace() -> None:
    agent, _ = compiled(spaces=CLONE_NEWUSER | CLONE_NEWNS)
    order = [step.name for step in agent]
    assert order.index("setgroups") < order.index("setns")


def test_all_namespaces_but_that_of_cgroups_in_one_call() -> None:
    agent, child = compiled()
    joins = [step for step in agent if step.name == "setns"]
    assert [step.args[1] for step in joins] == [CLONE_NEWNS | CLONE_NEWPID]
    joins = [step for step in child if step.name == "setns"]
    assert [step.args[1] for step in joins] == [CLONE_NEWCGROUP]


def test_nothing_is_joined_that_is_pyruncs_own() -> None:
    agent, child = compiled(spaces=0)
    assert "setns" not in [step.name for step in (*agent, *child)]


def flags_of(agent: list[Step]) -> int:
    arguments = next(step for step in agent if step.name == "clone3").args[0]
    assert isinstance(arguments, Words)
    value = arguments.fields[0]
    assert isinstance(value, int)
    return value


def test_born_in_the_cgroup_as_pyruncs_child() -> None:
    agent, _ = compiled(cgroup=Fd(21, "cgroup"))
    assert flags_of(agent) == CLONE_PARENT | CLONE_INTO_CGROUP
    agent, _ = compiled(cgroup=Fd(21, "cgroup"), by_pid=True)
    assert flags_of(agent) == CLONE_PARENT
    agent, _ = compiled()
    assert flags_of(agent) == CLONE_PARENT


def test_child_lets_go_of_the_hosts_descriptors_first() -> None:
    _, child = compiled(cgroup=Fd(21, "cgroup"), pidfd=Fd(22, "init"))
    begin = next(i for i, step in enumerate(child) if step.key == "begin")
    closed = [step.args[0] for step in child[:begin] if step.name == "close"]
    assert 21 in closed
    assert 22 in closed


def test_root_of_the_user_namespace_only_where_there_is_one() -> None:
    _, child = compiled()
    assert "setresuid" not in [step.name for step in child]
    _, child = compiled(spaces=CLONE_NEWUSER, ids=(3, 4))
    ids = [step.args for step in child if step.name in ("setresgid", "setresuid")]
    assert ids == [(4, 4, 4), (3, 3, 3)]


def test_names_are_looked_up_before_anything_depends_on_them() -> None:
    it = facts(names=True)
    plan = compile_exec(SPEC, it)
    assert type(steps(plan.child)[-1].key) is Accounts
    assert "fchown" not in names(plan.child)
    assert type(steps(prepare(plan, SPEC, it))[-1].key) is LookUp


def test_descriptors_are_closed_before_the_execve() -> None:
    it = facts(lowest=5)
    plan = compile_exec(SPEC, it)
    ready, last = finish(plan, SPEC, it, "/bin/true", [])
    order = names(ready, last)
    assert order.index("close_range") < order.index("execve")
    closing = next(step for step in steps(ready) if step.name == "close_range")
    assert closing.args[0] == 6  # 5 is the session, closed on execve
    # What follows is for where it fails, and needs nothing that was closed.
    assert order[order.index("execve") + 1 :] == ["reply", "read", "write", "move", "write", "exit_group"]


def test_chroot_where_there_is_no_mount_namespace() -> None:
    _, child = compiled(spaces=0, rootfs="/bundle/rootfs")
    assert [step.args for step in child if step.name == "chroot"] == [(b"/bundle/rootfs",)]
    _, child = compiled(rootfs="/bundle/rootfs")
    assert "chroot" not in [step.name for step in child]


def test_affinity() -> None:
    def masks(found: list[Step]) -> list[object]:
        return [step.args[2] for step in found if step.name == "sched_setaffinity"]

    agent, child = compiled()
    assert not masks(agent)
    everywhere = masks(child)
    assert everywhere == [b"\xff" * 1024]
    agent, child = compiled({**SPEC, "execCPUAffinity": {"initial": "0"}})
    assert [bytes(mask).rstrip(b"\0") for mask in masks(agent)] == [b"\x01"]  # type: ignore[call-overload]
    # The specification: without `final` the affinity should not be changed once the process has moved.
    assert not masks(child)
    agent, child = compiled({**SPEC, "execCPUAffinity": {"initial": "0-1", "final": "1,3"}})
    assert [bytes(mask).rstrip(b"\0") for mask in masks(agent)] == [b"\x03"]  # type: ignore[call-overload]
    assert [bytes(mask).rstrip(b"\0") for mask in masks(child)] == [b"\x0a"]  # type: ignore[call-overload]
