"""How the kernel treats the process: scheduling, input and output, memory, personality.

Specification: config.md "Linux Process" (scheduler, ioPriority), config-linux.md "Memory Policy"
and "Personality".

All of it acts on pyrunc-init as well, so it comes late: when everything is set up, but before
`start` is waited for (what is wrong is told by `create`), before the capabilities change and before
a seccomp filter that may forbid it.
"""

from _struct import pack
from errno import EPERM

from pyrunc.machine.ops import Label, Program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.config.types import IOPriority, Linux, MemoryPolicy, Process, Scheduler

POLICIES = {
    "SCHED_OTHER": 0,
    "SCHED_FIFO": 1,
    "SCHED_RR": 2,
    "SCHED_BATCH": 3,
    "SCHED_ISO": 4,
    "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6,
}
SCHEDULER_FLAGS = {
    f"SCHED_FLAG_{name}": 1 << bit
    for bit, name in enumerate(
        ("RESET_ON_FORK RECLAIM DL_OVERRUN KEEP_POLICY KEEP_PARAMS UTIL_CLAMP_MIN UTIL_CLAMP_MAX").split()
    )
}
_SCHED_ATTR_SIZE = 48

IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
_IOPRIO_WHO_PROCESS = 1

MEMORY_MODES = {
    "MPOL_DEFAULT": 0,
    "MPOL_PREFERRED": 1,
    "MPOL_BIND": 2,
    "MPOL_INTERLEAVE": 3,
    "MPOL_LOCAL": 4,
    "MPOL_PREFERRED_MANY": 5,
    "MPOL_WEIGHTED_INTERLEAVE": 6,
}
MEMORY_FLAGS = {
    "MPOL_F_NUMA_BALANCING": 1 << 13,
    "MPOL_F_RELATIVE_NODES": 1 << 14,
    "MPOL_F_STATIC_NODES": 1 << 15,
}
_MOST_NODES = 1024  # MAX_NUMNODES at its largest; config/rules/check_linux.py refuses more

PERSONALITIES = {"LINUX": 0, "LINUX32": 8}


def apply(p: Program, process: "Process", linux: "Linux", pointer: str) -> None:
    """All of this module. pointer: of the process; linux: the container's, also for `exec`."""
    if linux.get("memoryPolicy"):
        memory_policy(p, linux["memoryPolicy"])
    if linux.get("personality"):
        p.about("unable to set personality", "/linux/personality")
        p.call("personality", PERSONALITIES[linux["personality"]["domain"]])
    if process.get("ioPriority"):
        io_priority(p, process["ioPriority"], f"{pointer}/ioPriority")
    if process.get("scheduler"):
        cpu = linux.get("resources", {}).get("cpu", {})
        scheduler(p, process["scheduler"], f"{pointer}/scheduler", cpuset=bool(cpu.get("cpus")))


def scheduler(p: Program, config: "Scheduler", pointer: str, *, cpuset: bool) -> None:
    """sched_setattr(2).

    cpuset: whether the container is confined to some CPUs; SCHED_DEADLINE admits nobody there.
    """
    p.about("error setting scheduler", pointer)
    policy = config["policy"]
    flags = 0
    for name in config.get("flags", []):
        flags |= SCHEDULER_FLAGS[name]
    attributes = pack(
        "<IIQiIQQQ",
        _SCHED_ATTR_SIZE,
        POLICIES[policy],
        flags,
        config.get("nice", 0),
        config.get("priority", 0),
        config.get("runtime", 0),
        config.get("deadline", 0),
        config.get("period", 0),
    )
    if policy != "SCHED_DEADLINE" or not cpuset:
        p.call("sched_setattr", 0, attributes, 0)
        return
    refused, done = Label("not on some CPUs only"), Label("scheduled")
    p.call("sched_setattr", 0, attributes, 0, only=(EPERM,), error=refused)
    p.jump(done)
    p.label(refused)
    p.fail(EPERM, "deadline on cpuset")
    p.label(done)


def io_priority(p: Program, config: "IOPriority", pointer: str) -> None:
    """ioprio_set(2)."""
    p.about("error setting io priority", pointer)
    value = IO_CLASSES[config["class"]] << 13 | config.get("priority", 0)
    p.call("ioprio_set", _IOPRIO_WHO_PROCESS, 0, value)


def memory_policy(p: Program, config: "MemoryPolicy") -> None:
    """set_mempolicy(2)."""
    from pyrunc.kernel import cpu_lists  # few configurations need it

    p.about("error setting memory policy", "/linux/memoryPolicy")
    mode = MEMORY_MODES[config["mode"]]
    for name in config.get("flags", []):
        mode |= MEMORY_FLAGS[name]
    nodes = 0
    for first, last in cpu_lists.parse(config.get("nodes", ""), _MOST_NODES - 1):
        nodes |= (1 << last + 1) - (1 << first)
    if nodes:
        # The kernel looks at one bit less than it is told of.
        size = nodes.bit_length() + 1
        p.call("set_mempolicy", mode, nodes.to_bytes(_MOST_NODES // 8, "little"), size)
    else:
        p.call("set_mempolicy", mode, None, 0)
