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
    moved                of these lines, those alone that both have, at another place
    """

    engines: str
    scenarios: str
    reason: str
    only: tuple[str, ...] = ("*",)
    moved: bool = False

    def covers(self, engine: str, scenario: str) -> bool:
        return fnmatchcase(engine, self.engines) and fnmatchcase(scenario, self.scenarios)

    def explains(self, line: str, moved: bool) -> bool:
        return (moved or not self.moved) and any(fnmatchcase(line, glob) for glob in self.only)


_MQUEUE = "mqueue belongs to root of the user namespace, as with crun; runc's has the group of the one who called it"
_WEIGHT = "the conversion of cpu.shares to cpu.weight is that of runc since 1.3.2"
_SOURCE = "the control group file system is mounted with the source that the configuration names"
_HOSTS = "the host's control group file system keeps its options, which runc takes away from the host as well"
_SLAVE = "rootfsPropagation slave is kept; runc makes a root that is a mount of the host's private first, and cannot"

# pyrunc's answer is another one than runc 1.1.15's, for a reason.
WANTED: list[Known] = [
    Known("*", "*", "masked folders share a tmpfs without room for files", ("/* tmpfs tmpfs relatime,ro  *",)),
    Known("podman*", "same-*uidmap*", _MQUEUE, ("drwxrwxrwt *mqueue",)),
    Known(
        "podman",
        "same-uidmap-*",
        "a device is a node with the mode and owner that the configuration says, as with crun; runc binds the host's",
        ("/dev/* tmpfs none *", "/dev/* devtmpfs devtmpfs *", "[bc][r-][w-]*"),
    ),
    Known("podman*", "same-userns-*", _MQUEUE, ("drwxrwxrwt *mqueue",)),
    Known("docker", "user-namespace-remap", _MQUEUE, ("drwxrwxrwt *",)),
    Known("podman*", "same-proc-opts", "runc 1.1 refuses paths to protect that `subset=pid` does not have"),
    Known("*", "same-cpu-shares*", _WEIGHT, ("cpu.weight *",)),
    Known("*", "update-many", _WEIGHT, ("[[]*'] * 20 *", "[[]*'] * 59 *")),
    Known(
        "*",
        "update-many",
        "with runc the container does not survive so low a limit",
        ("[[]'-m', '1m'] *", "[[]'--cpuset-cpus', '99'] *", "[[]'--blkio-weight', '200'] *"),
    ),
    Known("podman*", "same-pids-zero", "a limit of 0 is the least possible one, as in runc since 1.4, not none"),
    Known("*", "same-volume-*shared", "rootfsPropagation shared is kept, as in runc since 1.2", ("/ overlay *",)),
    Known(
        "docker",
        "same-apparmor-missing",
        "a profile that is not loaded is no missing file, for which docker takes the command",
    ),
    Known(
        "*",
        "same-privileged-user",
        "the cgroup is the container's user's with the cgroupfs driver, too; with runc only with that of systemd",
        ("/sys/fs/cgroup",),
    ),
    Known("docker", "same-*slave", _SLAVE, ("/ overlay *",)),
    Known("docker", "exec-ways", "the system call's own error is named besides", ("OCI * chdir to cwd *",)),
    Known("*", "same-volume-idmap*", "runc 1.1 ignores idmapped mounts"),
    Known("*", "same-cgroupns-host", _HOSTS, ("/sys/fs/cgroup cgroup2 cgroup *",)),
    Known("*", "same-all-of-host*", _HOSTS, ("/sys/fs/cgroup cgroup2 cgroup *",)),
    Known("*", "same-uidmap-network-host", _SOURCE, ("/sys/fs/cgroup cgroup2 *",)),
    Known("podman-rootless", "same-network-host", _SOURCE, ("/sys/fs/cgroup cgroup2 *",)),
    Known("podman-rootless", "same-all-of-host-privileged", _SOURCE, ("/sys/fs/cgroup cgroup2 *",)),
    Known(
        "podman-rootless",
        "same-*privileged*",
        "a device that the configuration binds is not bound once more, as one of the default devices",
        ("/dev/* devtmpfs devtmpfs relatime,rw master *",),
    ),
    Known(
        "podman-rootless",
        "same-group-keep",
        "the annotation run.oci.keep_original_groups holds, as with crun; runc does not know it",
        ("Groups:*",),
    ),
    Known(
        "podman",
        "idmapped-root-directory",
        "runc 1.1 does not give the container its own idmapped root",
        ("[[]'--uidmap', *", " *0     200000       5000", "1000:50", "0:0"),
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
    Known("podman*", "same-*", "podman orders mounts of the same depth at random", ("/dev/* *", "/v/* *"), moved=True),
    Known("*", "same-error-folder", "the system call's own error is named besides"),
    Known(
        "*",
        "same-error-interpreter",
        "the line on standard error names the cause besides",
    ),
    Known("*", "same-memory-too-little", "the error names the limit; runc's is one of its own pipe or file"),
    Known("*", "same-blkio-weight", "the error names the missing controller file"),
    Known("*", "same-volume-root", "the error says that a mount over the root is refused"),
]

# Fails with runc as well: the engine or the guest cannot do it.
BOTH: list[Known] = []


def explain(engine: str, scenario: str, differences: list[str]) -> tuple[list[str], list[str]]:
    """What a difference is about, of lines "-of the control" and "+of the subject".

    Return those that nothing explains, and the reasons for the others.
    """
    left, reasons = [], []
    for line in differences:
        moved = ("-" if line[0] == "+" else "+") + line[1:] in differences
        known = [k for k in WANTED if k.covers(engine, scenario) and k.explains(line[1:], moved)]
        if known:
            reasons += [k.reason for k in known[:1]]
        else:
            left.append(line)
    return left, list(dict.fromkeys(reasons))


def reason(engine: str, scenario: str) -> str:
    """Why a scenario fails with every runtime, or ""."""
    return next((known.reason for known in BOTH if known.covers(engine, scenario)), "")
