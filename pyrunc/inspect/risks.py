"""What gives a container power over its host: tables for `audit`, each entry with its reason."""

import os
import re
from errno import ENOENT
from typing import Any

# Beyond the fourteen that engines give by default. Level, and what the capability can do to a host: capabilities(7).
CAPABILITIES = {
    "CAP_SYS_ADMIN": ("error", "mounts, and most of what root may do"),
    "CAP_SYS_MODULE": ("error", "loads code into the kernel"),
    "CAP_SYS_RAWIO": ("error", "reads and writes memory and ports of the machine"),
    "CAP_SYS_PTRACE": ("warning", "traces other processes: with the host's pid namespace, all of them"),
    "CAP_DAC_READ_SEARCH": ("error", "open_by_handle_at(2) opens any file of a mounted file system of the host"),
    "CAP_SYS_BOOT": ("warning", "loads another kernel, and reboots outside of a pid namespace"),
    "CAP_SYS_TIME": ("warning", "sets the clock of the host"),
    "CAP_MAC_ADMIN": ("error", "changes the policy of the security module"),
    "CAP_MAC_OVERRIDE": ("error", "overrides the security module"),
    "CAP_BPF": ("warning", "loads BPF programs"),
    "CAP_PERFMON": ("warning", "observes the whole host by perf events"),
    "CAP_NET_ADMIN": ("warning", "configures interfaces, routes and the firewall of its network namespace"),
    "CAP_SYSLOG": ("warning", "reads the kernel's log, and its addresses"),
    "CAP_LINUX_IMMUTABLE": ("warning", "makes files that root cannot delete"),
    "CAP_SYS_RESOURCE": ("warning", "lifts limits and quotas"),
    "CAP_SYS_NICE": ("note", "takes the processor from others"),
    "CAP_IPC_LOCK": ("note", "locks memory"),
    "CAP_SYS_TTY_CONFIG": ("note", "hangs terminals up"),
    "CAP_AUDIT_CONTROL": ("warning", "switches auditing off"),
    "CAP_AUDIT_READ": ("note", "reads the audit log"),
    "CAP_WAKE_ALARM": ("note", "wakes the machine up"),
    "CAP_BLOCK_SUSPEND": ("note", "keeps the machine awake"),
    "CAP_CHECKPOINT_RESTORE": ("note", "reads the memory maps of others"),
    "CAP_LEASE": ("note", "holds leases on files of others"),
    "CAP_IPC_OWNER": ("note", "overrides permissions of System V objects"),
    "CAP_SYS_PACCT": ("note", "switches process accounting"),
}

SOCKETS = {
    "docker.sock": "docker's socket",
    "podman.sock": "podman's socket",
    "containerd.sock": "containerd's socket",
    "crio.sock": "CRI-O's socket",
    "buildkitd.sock": "buildkit's socket",
}

# Directories of the host, and whether they matter when written or already when read.
_PATHS = {
    "/": ("error", "all of its files"),
    "/etc": ("error", "passwords, and what runs as root"),
    "/root": ("error", "root's files and keys"),
    "/boot": ("error", "the kernel"),
    "/proc": ("error", "its processes and settings"),
    "/sys": ("error", "its devices and cgroups"),
    "/dev": ("error", "its devices"),
    "/run": ("error", "sockets of its services"),
    "/var/run": ("error", "sockets of its services"),
    "/var": ("error", "state of its services, and other containers"),
    "/usr": ("error", "its programs"),
    "/bin": ("error", "its programs"),
    "/sbin": ("error", "its programs"),
    "/lib": ("error", "its libraries"),
    "/home": ("warning", "its users' files and keys"),
    "/var/lib/docker": ("error", "other containers"),
    "/var/lib/containers": ("error", "other containers"),
    "/var/lib/containerd": ("error", "other containers"),
    "/var/lib/kubelet": ("error", "other pods and their secrets"),
    "/lib/modules": ("warning", "modules of its kernel"),
    "/var/log": ("warning", "logs of its services"),
}
_BELOW = ("/etc", "/root", "/boot")
_HARMLESS = ("/etc/localtime", "/etc/timezone", "/etc/hosts", "/etc/resolv.conf", "/etc/hostname", "/etc/ssl/certs")

_CREDENTIAL = re.compile(
    r"(^|_)(PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|CREDENTIALS?|API_?KEY|PRIVATE_?KEY|ACCESS_?KEY|SECRET_?KEY|AUTH)(_|$)"
)
_URL = re.compile(r"^[a-z][a-z0-9+.-]*://[^/@\s:]*:[^/@\s]+@")

SUPERVISORS = ("supervisord", "systemd", "runsvdir", "s6-svscan", "monit", "circusd")

IMAGE_NAMES = (
    "io.kubernetes.cri.image-name",
    "io.kubernetes.cri-o.ImageName",
    "io.kubernetes.cri-o.Image",
    "org.opencontainers.image.ref.name",
    "io.podman.image",
)

LARGE = 1 << 30
_COUNTED = 200_000  # files


def is_credential(name: str, value: str) -> bool:
    """Whether an environment variable holds a secret itself, by its name or as part of a URL."""
    upper = name.upper()
    if upper.endswith(("_FILE", "_PATH", "_DIR", "_URL", "_SOCK")) or value.startswith("/") or not value.strip():
        return bool(_URL.match(value))
    if value.lower() in ("true", "false", "yes", "no", "0", "1", "none"):
        return False
    return bool(_CREDENTIAL.search(upper) or _URL.match(value))


def host_path(source: str) -> "tuple[str, str] | None":
    """(level, why) for a path of the host that a container should not have; None for others."""
    if source in _PATHS:
        return _PATHS[source]
    if source in _HARMLESS:
        return None
    for top in _BELOW:
        if source.startswith(top + "/"):
            return "warning", f"below {top}"
    return None


def device(path: str, kind: object, major: object, minor: object) -> "tuple[str, str] | None":
    """(level, why) for a device that is not one of those that every container has."""
    if kind == "b":
        return "error", "a disk of the host, below all permissions of files"
    if major == 1 and minor in (1, 2, 4):
        return "error", "the memory of the host"
    if major == 1 and minor == 11:
        return "warning", "the kernel's log"
    if major == 10 and minor == 232:
        return "note", "virtual machines, by KVM"
    if path in ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/fuse"):
        return None
    if path == "/dev/net/tun":
        return "note", "makes network interfaces"
    return ("note", "a device of the host") if kind in ("c", "u") else None


def is_volume(mount: Any) -> bool:
    """Whether what is written to a mount outlives the container: a writable bind, but not one of an engine's files."""
    options = set(mount.get("options") or [])
    if "ro" in options or not ({"bind", "rbind"} & options or mount.get("type") == "bind"):
        return False
    where = mount.get("destination") or ""
    return not where.startswith(("/etc/", "/run/", "/dev/", "/proc/", "/sys/", "/var/run/"))


def is_latest(image: str) -> bool:
    """Whether an image's name leaves open which image it is."""
    if "@sha256:" in image or re.fullmatch(r"(sha256:)?[0-9a-f]{12,64}", image):
        return False
    last = image.rpartition("/")[2]
    return last.endswith(":latest") or ":" not in last


def size_of(directory: str) -> "tuple[int, bool]":
    """Bytes of the files below a directory, on its file system; whether all were counted."""
    total = count = 0
    complete = True
    stack = [directory]
    seen: set[int] = set()
    while stack:
        try:
            with os.scandir(stack.pop()) as entries:
                for entry in entries:
                    count += 1
                    if count > _COUNTED:
                        return total, False
                    if entry.is_dir(follow_symlinks=False):
                        stack.append(entry.path)
                    elif entry.is_file(follow_symlinks=False) and entry.inode() not in seen:
                        seen.add(entry.inode())
                        total += entry.stat(follow_symlinks=False).st_size
        except OSError as error:
            # What has gone meanwhile is nothing; what cannot be read is not counted.
            complete = complete and error.errno == ENOENT
    return total, complete
