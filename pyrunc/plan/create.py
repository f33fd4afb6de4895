"""The whole of `create`: from a configuration and the host's facts to the steps of the host agent and of the
container's init.

The child's steps stop at syncs where Python has to decide or to do something: "begin" (id maps, cgroup by pid),
mountapi.CopyUp, console.Console, "hooks", lookup.LookUp. What follows the last is made by
`finish`, when the executable and HOME are known.
"""

from _struct import pack

from pyrunc.config.annotation_names import KEEP_GROUPS, MOUNT_CONTEXT_TYPE
from pyrunc.errors import ConfigError
from pyrunc.kernel.signals import SIGKILL
from pyrunc.kernel.uapi import (
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWTIME,
    CLONE_NEWUSER,
    O_CLOEXEC,
    PR_SET_PDEATHSIG,
    SIOCSIFFLAGS,
)
from pyrunc.machine.ops import Label, Program, Reg, Registers
from pyrunc.plan import console, namespaces, waiting
from pyrunc.plan import sysctl as sysctls
from pyrunc.plan.facts import Facts
from pyrunc.plan.filesystem import devices, masks, mount_entry, mounts, rootfs
from pyrunc.plan.process import affinity, capabilities, lookup, process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.config.types import Config, Linux, Process
    from pyrunc.plan.timens import TimeNamespace


class CreatePlan:
    """agent: the host agent's steps, up to and with the clone. child: those of the container's init after it.

    clone: where in the agent's items the clone begins. proc: the host's /proc, where the process has a label to be
    written there. time: of a new time namespace.
    """

    __slots__ = ("agent", "child", "child_label", "clone", "proc", "registers", "root", "slave", "time")

    def __init__(self) -> None:
        self.registers = Registers()
        self.agent = Program(self.registers)
        self.child = Program(self.registers)
        self.child_label = Label("init")
        self.clone = 0
        self.root: Reg | None = None
        self.slave: Reg | None = None
        self.proc: Reg | None = None
        self.time: TimeNamespace | None = None


def base_ids(config: "Config") -> "tuple[int, int]":
    """Who the container's init is while it sets up: root in the container, or where no root is mapped the first id."""
    linux = config.get("linux", {})
    ids = []
    for maps in (linux.get("uidMappings", []), linux.get("gidMappings", [])):
        starts = [entry["containerID"] for entry in maps]
        ids.append(0 if not starts or 0 in starts else min(starts))
    return ids[0], ids[1]


def compile_create(config: "Config", facts: Facts) -> CreatePlan:
    """The plan of `create`. Pure: what it needs of the host is in `facts`. Raises ConfigError."""
    plan = CreatePlan()
    spaces = namespaces.Namespaces(config)
    _agent(plan, config, facts, spaces)
    _child(plan, config, facts, spaces)
    return plan


def _agent(plan: CreatePlan, config: "Config", facts: Facts, spaces: namespaces.Namespaces) -> None:
    p = plan.agent
    seen = not facts.privileged and bool(spaces.new & (CLONE_NEWUSER | CLONE_NEWTIME))
    if seen:
        namespaces.show(p, True)
    if spaces.new & CLONE_NEWTIME:
        from pyrunc.plan.timens import TimeNamespace

        plan.time = TimeNamespace(config, spaces)
        plan.time.prepare(p)
    if seen and not spaces.new & CLONE_NEWUSER:
        namespaces.show(p, False)
    namespaces.begin(p, facts.lowest)
    if facts.before_clone is not None:
        facts.before_clone(p)
    if {"apparmorProfile", "selinuxLabel"} & config["process"].keys():
        from pyrunc.plan.process import lsm

        plan.proc = lsm.host_proc(p)
    if plan.time is not None:
        plan.time.before_join(p)
    if spaces.joins("user") and facts.may_drop_groups and not _keeps_groups(config):
        namespaces.drop_groups(p)
    namespaces.join(p, spaces)
    if plan.time is not None:
        plan.time.before_clone(p)
    if spaces.new & CLONE_NEWUSER and facts.privileged:
        from pyrunc.plan.userns_owner import become_owner, owner_of

        p.about("error preparing the user namespace", spaces.pointers["user"])
        become_owner(p, owner_of(config.get("linux", {}).get("uidMappings", [])), facts.capabilities)
    plan.clone = len(p.items)
    cgroup = None if facts.by_pid else facts.cgroup
    new = spaces.new & ~CLONE_NEWIPC if spaces.has("user") else spaces.new
    namespaces.clone(p, new, plan.child_label, cgroup=cgroup, old=facts.old_clone)


def _child(plan: CreatePlan, config: "Config", facts: Facts, spaces: namespaces.Namespaces) -> None:
    p = plan.child
    namespaces.begin_child(p, facts.child, facts.agent)
    p.call("prctl", PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)
    p.call("setsid")
    new_user = bool(spaces.new & CLONE_NEWUSER)
    limits = spaces.has("user") and config["process"].get("rlimits")
    if new_user or facts.by_pid or limits:
        p.sync("begin")
    affinity.run_anywhere(p)
    if plan.time is not None:
        plan.time.after_clone(p)
    if spaces.has("user"):
        before = spaces.joins("user") and facts.may_drop_groups
        namespaces.become_root(
            p,
            *base_ids(config),
            "/linux/uidMappings",
            drop=not before and not _keeps_groups(config),
            may_fail=not facts.may_drop_groups,
        )
        if spaces.new & CLONE_NEWIPC:
            # Made by the namespace's root, whose /dev/mqueue is then.
            p.about("error creating the ipc namespace", spaces.pointers["ipc"])
            p.call("unshare", CLONE_NEWIPC)
    if spaces.new & CLONE_NEWCGROUP:
        p.about("error creating the cgroup namespace", spaces.pointers["cgroup"])
        p.call("unshare", CLONE_NEWCGROUP)
    if facts.keyring:
        label = config["process"].get("selinuxLabel", "")
        if label and plan.proc is not None:
            from pyrunc.plan.process import lsm

            lsm.label_keys(p, label, plan.proc)
            process.session_keyring(p, f"_ses.{facts.id}")
            lsm.label_keys(p, "", plan.proc)
        else:
            process.session_keyring(p, f"_ses.{facts.id}")
    if spaces.new & CLONE_NEWNET:
        _loopback(p, spaces.pointers["network"])
    p.about("error preparing rootfs")
    p.call("umask", 0)
    root = plan.root = p.reg("root")
    proc_spec = config["process"]
    if proc_spec.get("terminal"):
        plan.slave = p.reg("pty")
    if spaces.has("mount"):
        _root_file_system(plan, config, facts, spaces, root)
    else:
        path = facts.rootfs.encode(errors="surrogateescape")
        p.call("openat", -100, path, 0o10000000 | O_CLOEXEC, 0, dst=root)
        if plan.slave is not None:
            master = console.host_ptmx(p, "/process")
            console.open_console(p, proc_spec, root, plan.slave, mount=False, pointer="/process", master=master)
        _hooks(p, config)
        _labels(plan, config)
        rootfs.change_root(p, facts.rootfs)
    _names(p, config)
    _prepare_process(plan, config, root, facts.on_null)


def _keeps_groups(config: "Config") -> bool:
    return bool(config.get("annotations", {}).get(KEEP_GROUPS))


def _loopback(p: Program, pointer: str) -> None:
    p.about("error bringing up the loopback interface", pointer)
    sock = p.reg("socket")
    p.call("socket", 2, 2 | O_CLOEXEC, 0, dst=sock)
    request = pack("<16sH22x", b"lo", 1 | 0x40)  # IFF_UP | IFF_RUNNING
    p.call("ioctl", sock, SIOCSIFFLAGS, request)
    p.close(sock)


def _hooks(p: Program, config: "Config") -> None:
    hooks = config.get("hooks", {})
    if hooks.get("prestart") or hooks.get("createRuntime") or hooks.get("createContainer"):
        p.about("error running hooks", "/hooks")
        p.sync("hooks")


def _labels(plan: CreatePlan, config: "Config") -> None:
    """After the hooks: those that the init forks are not to take the labels."""
    if plan.proc is not None:
        from pyrunc.plan.process import lsm

        lsm.apply(plan.child, config["process"], "/process", plan.proc)
        plan.child.close(plan.proc)


def _root_file_system(
    plan: CreatePlan,
    config: "Config",
    facts: Facts,
    spaces: namespaces.Namespaces,
    root: Reg,
) -> None:
    p = plan.child
    linux = config.get("linux", {})
    rootfs.enter(p, config, facts.rootfs, root)
    context = mount_entry.Context(root, facts.bundle, facts.rootfs)
    context.userns = spaces.has("user") or not facts.privileged
    context.cgroup_ns = bool(spaces.has("cgroup"))
    context.cgroup_root = facts.cgroup_mount
    context.cgroup_flags = facts.cgroup_flags
    context.cgroup_path = facts.cgroup_path
    context.cgroup_v1 = facts.cgroup_v1
    context.label = linux.get("mountLabel", "")
    if context.label:
        context.label_option = _context_type(config)
    for index, mount in enumerate(config.get("mounts", [])):
        mounts.compile_mount(p, index, mount, context)
    if devices.needs_dev(config):
        devices.make_devices(p, config, context)
    if plan.slave is not None:
        console.open_console(p, config["process"], root, plan.slave, mount=True, pointer="/process")
    _hooks(p, config)
    _labels(plan, config)
    if linux.get("sysctl"):
        proc = p.reg("proc")
        sysctls.private_proc(p, proc)
        sysctls.write_sysctls(p, linux, proc)
        p.close(proc)
    mount_entry.read_only_late(p, context)
    masks.read_only_paths(p, linux, root)
    masks.mask_paths(p, linux, root)
    if facts.pivot:
        rootfs.pivot(p, root)
    else:
        rootfs.move_root(p, root, facts.rootfs, facts.exposed)
    rootfs.final_propagation(p, config, root)
    if config["root"].get("readonly"):
        process.make_directory(p, config["process"], root, "/process")
        rootfs.read_only_root(p, root)


def _context_type(config: "Config") -> str:
    """The mount option that takes linux.mountLabel: mount(8)'s "context", or what an annotation of crun's says."""
    name = MOUNT_CONTEXT_TYPE
    option = config.get("annotations", {}).get(name) or "context"
    if option not in ("context", "fscontext", "defcontext", "rootcontext"):
        raise ConfigError(
            f'"{option}" is no mount option for a label (annotations/{name})', pointer=f"/annotations/{name}"
        )
    return option


def _names(p: Program, config: "Config") -> None:
    for key, call in (("hostname", "sethostname"), ("domainname", "setdomainname")):
        value = config.get(key)
        if value:
            name = str(value).encode()
            p.about(f"unable to set {key}", f"/{key}")
            p.call(call, name, len(name))


def _prepare_process(plan: CreatePlan, config: "Config", root: Reg, on_null: "tuple[int, ...]") -> None:
    p = plan.child
    spec = config["process"]
    process.rlimits(p, spec, "/process", late=False)
    uid = spec.get("user", {}).get("uid", 0)
    if plan.slave is not None:
        console.use_console(p, plan.slave, uid, "/process")
    else:
        process.own_stdio(p, root, uid, on_null)
    process.change_directory(p, spec, root, "/process", make=True)
    sets = capabilities.Sets(spec.get("capabilities"))
    capabilities.drop_bounding(p, sets.bounding, capabilities.LAST)
    lookup.look_up(p, spec, root, "/process", base_ids(config))


def finish(
    plan: CreatePlan,
    config: "Config",
    facts: Facts,
    path: str,
    environ: "list[str]",
    *,
    deny_setgroups: bool,
) -> "tuple[Program, Program]":
    """What follows once the executable is known: the steps up to the sync "ready", and those from there to the execve.

    With a gate the first part ends with the process's credentials and its filter, and the second first waits for
    `start`.
    """
    ready = Program(plan.registers)
    gate = facts.gate
    waits = () if gate is None else (gate.start, gate.line, gate.answer)
    *moved, out, err = process.only_what_is_needed(ready, facts.lowest, (*waits, *facts.hook_files))
    spec: Process = config["process"]
    linux: Linux = config.get("linux", {})
    if {"scheduler", "ioPriority"} & spec.keys() or {"memoryPolicy", "personality"} & linux.keys():
        from pyrunc.plan.process import scheduling

        scheduling.apply(ready, spec, linux, "/process")
    # Here and not later: pyrunc may be gone as soon as it has sent the rest. Until then the init ends with its session.
    process.outlive(ready)
    last = Program(plan.registers)
    # What comes before `ready` is done by `create`, what comes after it by `start`. `run` needs no such cut: what it
    # does itself there the filter need not allow.
    first = ready if gate is not None else last
    if gate is None:
        ready.about("error waiting to be started")
        ready.sync("ready")
    else:
        gate = waiting.Gate(*moved)  # type: ignore[arg-type]
        waiting.end_by_signals(ready)
    prepared = []
    hooks = config.get("hooks", {}).get("startContainer", [])
    if hooks:
        from pyrunc.plan.hooks import Prepared

        prepared = [
            Prepared(first, hook, "startContainer", index, facts.hook_state, environ, (out, err))
            for index, hook in enumerate(hooks)
        ]
    visible = gate is not None and not facts.privileged
    process.become(first, spec, "/process", deny_setgroups=deny_setgroups, seccomp=facts.seccomp, visible=visible)
    if gate is not None:
        if facts.seccomp:
            waiting.try_reading(ready)
        ready.about("error waiting to be started")
        ready.sync("ready")
        waiting.wait(last, gate)
        if visible:
            capabilities.apply(last, capabilities.Sets(spec.get("capabilities")))
    process.execute(last, spec, path, environ, "/process", hooks=prepared, gate=gate)
    return ready, last


__all__ = ["CreatePlan", "Facts", "base_ids", "compile_create", "finish"]
