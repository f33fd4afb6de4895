"""The CPUs that a process may run on (sched_setaffinity(2); config.md: execCPUAffinity)."""

from errno import EINVAL

from pyrunc.machine.ops import Program

_MOST = 8191  # the kernel's largest NR_CPUS, less one


def cpu_mask(text: str) -> bytes:
    """The list format, "0-3,7", as the kernel takes a mask."""
    from pyrunc.kernel import cpu_lists  # few processes need it

    bits = 0
    for first, last in cpu_lists.parse(text, _MOST):
        bits |= (1 << last + 1) - (1 << first)
    return bits.to_bytes((_MOST + 1) // 8, "little")


def run_on(p: Program, text: str, pointer: str) -> None:
    """Run on the CPUs of a list from here on."""
    p.about(f'error setting CPU affinity "{text}"', pointer)
    value = cpu_mask(text)
    p.call("sched_setaffinity", 0, len(value), value)


def run_anywhere(p: Program) -> None:
    """Run on all CPUs of the cgroup, whatever pyrunc's caller is confined to: a mask that was set
    outlives the move into another cpuset, so it has to go.
    """
    p.about("error resetting CPU affinity")
    value = b"\xff" * ((_MOST + 1) // 8)
    p.call("sched_setaffinity", 0, len(value), value, ok=(EINVAL,))
