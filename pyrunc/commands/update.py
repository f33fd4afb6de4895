"""`pyrunc update`: change the limits of a container."""

from collections.abc import Sequence

from pyrunc.arguments import NUMBER, Command, Flag, Options
from pyrunc.options import Globals

COMMAND = Command(
    "update",
    "change the resource limits of a container",
    flags=(
        Flag(
            "resources, r",
            "file with a resources object; - is standard input; other flags are ignored then",
            value="FILE",
        ),
        Flag("blkio-weight", "weight for block devices, 10 to 1000", NUMBER, value="N"),
        Flag("cpu-period", "length of a period of --cpu-quota in microseconds", value="USEC"),
        Flag("cpu-quota", "processor time in a period, in microseconds; -1: no limit", value="USEC"),
        Flag("cpu-burst", "unused quota that may be used later, in microseconds", value="USEC"),
        Flag("cpu-share", "weight for the processor, 2 to 262144", value="N"),
        Flag("cpu-rt-period", "period of real-time scheduling (cgroup v1 only)", value="USEC"),
        Flag("cpu-rt-runtime", "time of real-time scheduling (cgroup v1 only)", value="USEC"),
        Flag("cpuset-cpus", "processors that may be used: 0-3,7", value="LIST"),
        Flag("cpuset-mems", "memory nodes that may be used", value="LIST"),
        Flag("cpu-idle", "1: only when nothing else wants the processor", value="0|1"),
        Flag("memory", "limit of memory in bytes, or with suffix k, m, g; -1: none", value="SIZE"),
        Flag("memory-reservation", "memory that is reclaimed last", value="SIZE"),
        Flag("memory-swap", "limit of memory and swap together; -1: none", value="SIZE"),
        Flag("pids-limit", "limit of the number of tasks; -1: none", NUMBER, value="N"),
        Flag("l3-cache-schema", "Intel RDT's line about the L3 cache: L3:0=f;1=f0", value="SCHEMA"),
        Flag("mem-bw-schema", "Intel RDT's line about memory bandwidth: MB:0=50", value="SCHEMA"),
        Flag("kernel-memory", ""),
        Flag("kernel-memory-tcp", ""),
    ),
    text="""
DESCRIPTION:
   Changes what is given and leaves the rest as it is. The container remembers it: a
   later update starts from there. A resources object is that of "config.json"; a
   member that the specification does not have is an error:

      {"memory": {"limit": 134217728}, "cpu": {"quota": 50000, "period": 100000}}
""",
)


def main(globals_: Globals, options: Options, arguments: Sequence[str]) -> int:
    from pyrunc.container.update import from_file, from_flags, update

    if options.given("resources"):
        changes = from_file(options.text("resources"))
    else:
        changes = from_flags(options.values)
    update(globals_, arguments[0], changes)
    return 0
