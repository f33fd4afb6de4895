"""Differences from the control that are known and wanted, and what fails with every runtime.

Each has its reason; a difference that is not listed here is a failure.
"""

from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True)
class Known:
    """Something known about scenarios.

    engines, scenarios   globs
    reason               why pyrunc differs from runc, or why neither passes
    only                 for a difference: globs of the lines that may differ; all others have to be the same
    """

    engines: str
    scenarios: str
    reason: str
    only: tuple[str, ...] = ("*",)

    def covers(self, engine: str, scenario: str) -> bool:
        return fnmatchcase(engine, self.engines) and fnmatchcase(scenario, self.scenarios)


# pyrunc's answer is another one than runc 1.1.15's, for a reason.
WANTED: list[Known] = [
    Known("*", "*", "masked folders share a tmpfs without room for files", ("/* tmpfs tmpfs relatime,ro  *",)),
    Known(
        "*",
        "same-*uidmap*",
        "mqueue belongs to root of the user namespace, as with crun; runc's group is unmapped",
        ("drwxrwxrwt *mqueue",),
    ),
    Known("podman*", "same-proc-opts", "runc 1.1 refuses paths to protect that `subset=pid` does not have"),
    Known(
        "*",
        "same-cpu-shares*",
        "the conversion of cpu.shares to cpu.weight is that of runc since 1.3.2",
        ("cpu.weight *",),
    ),
    Known("podman*", "same-pids-zero", "a limit of 0 is the least possible one, as in runc since 1.4, not none"),
    Known("*", "same-volume-*shared", "rootfsPropagation shared is kept, as in runc since 1.2", ("/ overlay *",)),
    Known("*", "same-volume-idmap*", "runc 1.1 ignores idmapped mounts"),
    Known(
        "*",
        "same-uidmap-network-host",
        "the host's own mount is bound, with another name of its source",
        ("/sys/fs/cgroup cgroup2 *", "drwxrwxrwt *mqueue"),
    ),
    Known(
        "cri",
        "cri-security-contexts",
        "a bind with `rw` has that attribute and no other, as with runc since 1.2; 1.1 takes rw for no attribute; "
        "masked folders are masked in another order",
        ("*: /dev/shm *", "masked: /sys/firmware *"),
    ),
    Known("cri", "cri-errors", "the system call's own error is named besides, where the command is a folder"),
    Known("ctr", "ctr-options", "masked folders are masked in another order", ("*: /sys/firmware ro,relatime",)),
    Known(
        "ctr",
        "ctr-options",
        "a class of resctrl where the kernel has no resctrl is an error, not ignored",
        ("*rdt-missing*",),
    ),
    Known("*", "same-error-folder", "the system call's own error is named besides"),
    Known(
        "*",
        "same-error-interpreter",
        "start itself says why the program cannot run; with runc the container ends with a status, silently",
    ),
    Known("*", "same-memory-too-little", "the error names the limit; runc's is one of its own pipe or file"),
    Known("*", "same-blkio-weight", "the error names the missing controller file"),
    Known("*", "same-volume-root", "the error says that a mount over the root is refused"),
]

# Fails with runc as well: the engine or the guest cannot do it.
BOTH: list[Known] = []


def unexplained(engine: str, scenario: str, differences: list[str]) -> list[str]:
    """Those lines of a difference ("-of the control", "+of the subject") that nothing explains."""
    globs = [glob for known in WANTED if known.covers(engine, scenario) for glob in known.only]
    return [line for line in differences if not any(fnmatchcase(line[1:], glob) for glob in globs)]


def reason(listed: list[Known], engine: str, scenario: str) -> str:
    """Why a scenario is in a list, or ""."""
    return next((known.reason for known in listed if known.covers(engine, scenario)), "")
