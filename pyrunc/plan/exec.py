"""The whole of `exec`: from a process object and facts of the container to steps of pyrunc-init.

    agent                                child
    setns(pidfd, ...)
    clone3 ────────────────────────────► "begin": cgroup by pid, where it could not be born there
                                         cgroup namespace, root's ids
                                         Accounts: a user given by name
                                         terminal or standard streams, working directory
                                         LookUp
                                         execve

The agent joins all namespaces but that of cgroups, in one call: from inside that one the cgroup it
comes from is out of sight, and where cgroups are delegated by namespace nothing could be born into
another one (clone3: ENOENT).
"""

from pyrunc.kernel.signals import SIGKILL
from pyrunc.kernel.uapi import (
    AT_FDCWD,
    CLONE_NEWCGROUP,
    CLONE_NEWNS,
    CLONE_NEWUSER,
    O_CLOEXEC,
    O_DIRECTORY,
    O_PATH,
    PR_SET_PDEATHSIG,
)
from pyrunc.machine.ops import At, Label, Program, Reg, Registers, Space
from pyrunc.plan import namespaces
from pyrunc.plan.facts import ExecFacts
from pyrunc.plan.process import affinity, capabilities, lookup, process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.config.types import Process


class Accounts:
    """Key of the sync at which the names of a user and a group become numbers.

    Sent before it: descriptors of /etc/passwd and /etc/group. The reply: of each whether there was one, in eight bytes.
    """

    __slots__ = ()


class ExecPlan:
    """agent: the host agent's steps before the clone. child: those of its child, after the first
    few (see clone) and up to the sync Accounts or LookUp.
    """

    __slots__ = ("agent", "child", "master", "registers", "root", "slave")

    def __init__(self) -> None:
        self.registers = Registers()
        self.agent = Program(self.registers)
        self.child = Program(self.registers)
        self.root = self.registers.take("root")
        self.slave: Reg | None = None
        self.master: Reg | None = None  # of the terminal, where it is the host's


def compile_exec(spec: "Process", facts: ExecFacts) -> ExecPlan:
    """The plan of `exec`, but for the clone and what follows the syncs Accounts and LookUp."""
    plan = ExecPlan()
    p = plan.agent
    namespaces.begin(p, facts.lowest)
    initial = spec.get("execCPUAffinity", {}).get("initial")
    if initial:
        affinity.run_on(p, initial, f"{facts.pointer}/execCPUAffinity/initial")
    proc = None
    if spec.get("apparmorProfile") or spec.get("selinuxLabel"):
        from pyrunc.plan.process import lsm

        proc = lsm.host_proc(p)
    _join(p, facts)
    _enter(plan, spec, facts, proc)
    if facts.names:
        p = plan.child
        passwd, group, sent = p.reg("passwd sent"), p.reg("group sent"), Space(16, "sent")
        lookup.send_file(p, plan.root, "etc/passwd", passwd)
        lookup.send_file(p, plan.root, "etc/group", group)
        p.store(sent, passwd, 8)
        p.store(At(sent, 8), group, 8)
        p.sync(Accounts(), sent)
    else:
        plan.child.items += prepare(plan, spec, facts).items
    return plan


def _join(p: Program, facts: ExecFacts) -> None:
    joined = facts.spaces & ~CLONE_NEWCGROUP
    if not joined:
        return
    if joined & CLONE_NEWUSER and facts.may_drop_groups and not facts.keep_groups:
        namespaces.drop_groups(p)
    p.about("error joining the container's namespaces")
    if not facts.apart:
        p.call("setns", facts.pidfd, joined, key="join")
        return
    # With the rights of root outside, or else with those that the user has in the namespace that he made.
    for fd, flag in sorted(facts.apart, key=lambda it: (it[1] == CLONE_NEWUSER) == facts.privileged):
        p.call("setns", fd, flag, key="join")
        p.call("close", fd)


def clone(plan: ExecPlan, facts: ExecFacts) -> "tuple[Program, Program]":
    """The clone, and the child's first steps: apart, so that they can be tried again with by_pid.

    The agent replies with the pid, the child at the sync "begin".
    """
    p = Program(plan.registers)
    child = Label("process")
    cgroup = None if facts.by_pid else facts.cgroup
    namespaces.clone(p, 0, child, cgroup=cgroup, old=facts.old_clone, why="error creating the process", pointer="")
    p.label(child)
    begin = Program(plan.registers)
    _begin(begin, facts)
    return p, begin


def _begin(p: Program, facts: ExecFacts) -> None:
    namespaces.begin_child(p, facts.child, facts.agent)
    p.call("prctl", PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)
    p.call("close", facts.pidfd)
    if facts.cgroup is not None:
        p.call("close", facts.cgroup)
    p.call("setsid")
    p.sync("begin")


def _enter(plan: ExecPlan, spec: "Process", facts: ExecFacts, proc: "Reg | None") -> None:
    """The child's next steps: it is in its cgroup, and in all namespaces but one.

    proc: the host's procfs, for labels.
    """
    p = plan.child
    if facts.cgroup_ns is not None:
        p.about("error joining the container's cgroup namespace")
        p.call("setns", facts.cgroup_ns, CLONE_NEWCGROUP)
        p.call("close", facts.cgroup_ns)
    affinities = spec.get("execCPUAffinity", {})
    if affinities.get("final"):
        affinity.run_on(p, affinities["final"], f"{facts.pointer}/execCPUAffinity/final")
    elif not affinities.get("initial"):
        # With it alone the kernel decides (config.md, "execCPUAffinity"); without both, not pyrunc's caller.
        affinity.run_anywhere(p)
    if facts.spaces & CLONE_NEWUSER:
        drop = not facts.may_drop_groups and not facts.keep_groups and not facts.deny_setgroups
        namespaces.become_root(p, *facts.ids, "", drop=drop)
    _label(p, spec, facts, proc)
    p.call("umask", 0)
    p.about("error entering the container's root file system")
    flags = O_PATH | O_DIRECTORY | O_CLOEXEC
    if not facts.spaces & CLONE_NEWNS and facts.rootfs:
        from pyrunc.plan.filesystem.rootfs import change_root

        if spec.get("terminal"):
            from pyrunc.plan import console

            plan.master = console.host_ptmx(p, facts.pointer)
        change_root(p, facts.rootfs)
    p.call("openat", AT_FDCWD, b"/", flags, 0, dst=plan.root)


def _label(p: Program, spec: "Process", facts: ExecFacts, proc: "Reg | None") -> None:
    """The labels of the next execve and of the session keyring, and the keyring."""
    label = spec.get("selinuxLabel", "")
    if facts.keyring:
        if proc is not None and label:
            from pyrunc.plan.process import lsm

            lsm.label_keys(p, label, proc)
            process.session_keyring(p, facts.keyring)
            lsm.label_keys(p, "", proc)
        else:
            process.session_keyring(p, facts.keyring)
    if proc is not None:
        from pyrunc.plan.process import lsm

        lsm.apply(p, spec, facts.pointer, proc)
        # The register is not given back: the clone, which is compiled later, comes before.
        p.call("close", proc)


def prepare(plan: ExecPlan, spec: "Process", facts: ExecFacts) -> Program:
    """What is done as root in the container, once the user is known; ends with the sync LookUp."""
    p = Program(plan.registers)
    pointer = facts.pointer
    process.rlimits(p, spec, pointer, late=False)
    uid = spec.get("user", {}).get("uid", 0)
    if spec.get("terminal"):
        from pyrunc.plan import console

        plan.slave = slave = p.reg("pty")
        console.open_console(p, spec, plan.root, slave, mount=False, pointer=pointer, master=plan.master)
        console.use_console(p, slave, uid, pointer)
    else:
        process.own_stdio(p, plan.root, uid, facts.on_null)
    process.change_directory(p, spec, plan.root, pointer, make=False)
    sets = capabilities.Sets(spec.get("capabilities"))
    capabilities.drop_bounding(p, sets.bounding, capabilities.LAST)
    own = facts.ids if facts.spaces & CLONE_NEWUSER else (0, 0)
    lookup.look_up(p, spec, plan.root, pointer, own)
    return p


def finish(
    plan: ExecPlan, spec: "Process", facts: ExecFacts, path: str, environ: "list[str]"
) -> "tuple[Program, Program]":
    """What follows once the executable is known: up to the sync "ready", and then to the execve."""
    ready = Program(plan.registers)
    linux = facts.linux
    if {"scheduler", "ioPriority"} & spec.keys() or {"memoryPolicy", "personality"} & linux.keys():
        from pyrunc.plan.process import scheduling

        scheduling.apply(ready, spec, linux, facts.pointer)
    process.only_what_is_needed(ready, facts.lowest, ())
    ready.about("error waiting to be started")
    ready.sync("ready")
    last = Program(plan.registers)
    process.outlive(last)
    deny_setgroups = facts.deny_setgroups or facts.keep_groups
    process.become(last, spec, facts.pointer, deny_setgroups=deny_setgroups, seccomp=facts.seccomp)
    process.execute(last, spec, path, environ, facts.pointer)
    return ready, last
