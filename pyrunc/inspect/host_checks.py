"""What this host can do for containers: kernel, cgroups, ids, security modules, limits. Cold."""

import ctypes
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from pyrunc.cgroups import detect
from pyrunc.inspect.checks import Check
from pyrunc.machine.assembler import syscall_numbers

_BAD = 0xFFFFFFFF
# System calls with arguments that the kernel refuses before it looks for privileges, and what each is for.
_CALLS = (
    ("mount_setattr", (_BAD, 0, _BAD, 0, 0), "every mount (Linux 5.12)"),
    ("open_tree", (_BAD, 0, _BAD), "bind mounts (Linux 5.2)"),
    ("openat2", (_BAD, 0, 0, 0), "paths that cannot leave the root (Linux 5.6)"),
    ("clone3", (0, 0), "a process that is born in its cgroup (Linux 5.7)"),
    ("pidfd_open", (_BAD, _BAD), "signals that reach the right process (Linux 5.3)"),
    ("close_range", (1, 0, 0), "closing descriptors at once (Linux 5.9)"),
    ("memfd_create", (0, _BAD), "an init that no container can overwrite (CVE-2019-5736)"),
    ("statx", (_BAD, 0, _BAD, _BAD, 0), "looking at files"),
)
_NEEDED = {"mount_setattr", "open_tree", "memfd_create"}
_SPACES = (
    ("mnt", "mount"), ("pid", "pid"), ("net", "network"), ("ipc", "ipc"), ("uts", "uts"), ("user", "user"),
    ("cgroup", "cgroup"), ("time", "time"),
)  # fmt: skip
_ENOSYS, _EPERM = 38, 1


def host_checks() -> list[Check]:
    """Everything, topic by topic."""
    return [*_kernel(), *_namespaces(), *_cgroups(), *_ids(), *_security(), *_limits(), *_programs()]


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except (FileNotFoundError, PermissionError):
        return ""


def errno_of(name: str, arguments: tuple[int, ...]) -> int:
    """The errno of a system call with these arguments; 0 where it succeeds."""
    libc = ctypes.CDLL(None, use_errno=True)
    number = syscall_numbers(os.uname().machine)[name]
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *(ctypes.c_ulong(it) for it in arguments))
    return ctypes.get_errno() if result == -1 else 0


def _kernel() -> Iterator[Check]:
    release = os.uname().release
    parts = [part for part in release.split("-")[0].split(".") if part.isdigit()]
    version = tuple(int(part) for part in parts[:2])
    enough = version >= (5, 12)
    yield Check("ok" if enough else "error", "kernel", f"Linux {release}", "pyrunc needs 5.12" if not enough else "")
    for name, arguments, use in _CALLS:
        errno = errno_of(name, arguments)
        level = "error" if name in _NEEDED else "warning"
        if errno == _ENOSYS:
            remedy = "a newer kernel, or a seccomp profile around pyrunc that knows the call"
            yield Check(level, "kernel", f"no {name}: function not implemented", use, remedy)
        elif errno == _EPERM:
            yield Check(level, "kernel", f"{name} is refused: a seccomp filter around pyrunc", use, "allow the call")
        else:
            yield Check("ok", "kernel", name, use)
    actions = _text("/proc/sys/kernel/seccomp/actions_avail").split()
    if not actions:
        yield Check("warning", "kernel", "no seccomp", "linux.seccomp", "CONFIG_SECCOMP_FILTER")
    else:
        missing = {"errno", "kill_process", "user_notif"} - set(actions)
        level, found = ("note", f"seccomp without {', '.join(sorted(missing))}") if missing else ("ok", "seccomp")
        yield Check(level, "kernel", found, "linux.seccomp")
    noexec = _text("/proc/sys/vm/memfd_noexec")
    if noexec == "2":
        yield Check("warning", "kernel", "vm.memfd_noexec is 2", "pyrunc-init", "sysctl vm.memfd_noexec=1")


def _namespaces() -> Iterator[Check]:
    missing = [kind for file, kind in _SPACES if not os.path.lexists(f"/proc/self/ns/{file}")]
    yield Check(
        "warning" if missing else "ok",
        "namespaces",
        f"without {', '.join(missing)}" if missing else "all eight types",
    )
    for name, use in (("user", "user namespaces"), ("mnt", "containers"), ("pid", "containers"), ("net", "containers")):
        limit = _text(f"/proc/sys/user/max_{name}_namespaces")
        if limit == "0":
            yield Check("warning", "namespaces", f"user.max_{name}_namespaces is 0", use, "raise the sysctl")
    if os.geteuid() == 0:
        return
    if _text("/proc/sys/kernel/unprivileged_userns_clone") == "0":
        remedy = "sysctl kernel.unprivileged_userns_clone=1"
        yield Check("error", "namespaces", "unprivileged user namespaces are forbidden", "rootless containers", remedy)
    if _text("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1":
        remedy = "an AppArmor profile with `userns,`, or the sysctl kernel.apparmor_restrict_unprivileged_userns=0"
        yield Check("warning", "namespaces", "AppArmor restricts user namespaces", "rootless containers", remedy)


def _cgroups() -> Iterator[Check]:
    host = detect.detect()
    if host.mode == "unified":
        yield Check("ok", "cgroups", f"version 2 at {host.mount}: {' '.join(host.controllers)}")
    elif host.mode == "none":
        remedy = "mount -t cgroup2 none /sys/fs/cgroup"
        yield Check("warning", "cgroups", "no cgroup file system: no limits", "limits, pause, statistics", remedy)
        return
    else:
        from pyrunc.cgroups.v1 import hierarchies

        names = sorted({name for it in hierarchies.mounted() for name in it.names})
        what = "a hybrid of versions 1 and 2" if host.mode == "hybrid" else "version 1"
        remedy = "for the systemd driver and one tree for all: boot with systemd.unified_cgroup_hierarchy=1"
        yield Check("note", "cgroups", f"{what}; version 1 has {' '.join(names)}", remedy=remedy)
    if host.mode == "unified" and os.geteuid():
        own = f"{host.mount}{detect.of_process()}"
        for folder in (own, os.path.dirname(own)):
            if os.access(folder, os.W_OK):
                delegated = _text(f"{folder}/cgroup.controllers")
                lacking = [name for name in ("cpu", "memory", "pids") if name not in delegated.split()]
                found = f"delegated to this user: {delegated or 'nothing'}"
                remedy = "systemctl edit user@.service: [Service] Delegate=cpu cpuset io memory pids" if lacking else ""
                yield Check("note" if lacking else "ok", "cgroups", found, "limits without privileges", remedy)
                break
        else:
            remedy = "systemd-run --user --scope -p Delegate=yes COMMAND, or the systemd driver (--systemd-cgroup)"
            found = f"{own} is not this user's"
            yield Check("note", "cgroups", found, "limits without privileges", remedy)
    if os.path.isdir("/run/systemd/system"):
        yield Check("ok", "cgroups", "systemd runs", "--systemd-cgroup")
    else:
        yield Check("note", "cgroups", "systemd does not run here", "--systemd-cgroup")


def _ids() -> Iterator[Check]:
    if os.geteuid() == 0:
        return
    import pwd

    name = pwd.getpwuid(os.geteuid()).pw_name
    for file, program in (("/etc/subuid", "newuidmap"), ("/etc/subgid", "newgidmap")):
        lines = [line.split(":") for line in _text(file).splitlines()]
        mine = [line for line in lines if len(line) == 3 and line[0] in (name, str(os.geteuid()))]
        if mine:
            yield Check("ok", "ids", f"{file}: {', '.join(f'{line[1]}+{line[2]}' for line in mine)}")
        else:
            remedy = f"usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {name}"
            yield Check("note", "ids", f"{file} has nothing for {name}", "more than one id in a container", remedy)
        if not shutil.which(program):
            remedy = "apt install uidmap"
            yield Check("note", "ids", f"no {program}", "more than one id in a container", remedy)


def _security() -> Iterator[Check]:
    modules = _text("/sys/kernel/security/lsm")
    if modules:
        yield Check("ok", "security modules", modules, "apparmorProfile, selinuxLabel")
    else:
        found = "not known: securityfs is not mounted, or may not be read"
        yield Check("note", "security modules", found, "apparmorProfile, selinuxLabel")
    if _text("/proc/sys/fs/suid_dumpable") == "1":
        remedy = "sysctl fs.suid_dumpable=2"
        yield Check("warning", "security modules", "fs.suid_dumpable is 1: see docs/security.md", remedy=remedy)


def _limits() -> Iterator[Check]:
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = 0 <= soft < 256
    yield Check("warning" if few else "ok", "limits", f"{soft} descriptors", "mounts and hooks" if few else "")
    most = _text("/proc/sys/fs/mount-max")
    if most.isdigit() and int(most) < 1000:
        yield Check("warning", "limits", f"fs.mount-max is {most}", "mounts", "sysctl fs.mount-max=100000")
    keys = _text("/proc/sys/kernel/keys/maxkeys")
    if keys.isdigit() and int(keys) < 200:
        found = f"kernel.keys.maxkeys is {keys}"
        yield Check("note", "limits", found, "a session keyring for each container", "sysctl kernel.keys.maxkeys=2000")
    top = _text("/proc/sys/kernel/pid_max")
    if top.isdigit():
        yield Check("ok", "limits", f"{top} processes (kernel.pid_max)")


def _programs() -> Iterator[Check]:
    from importlib.util import find_spec

    from pyrunc import thirdparty

    thirdparty.enable()
    if shutil.which("criu"):
        yield Check("ok", "programs", "criu", "checkpoint and restore")
    else:
        yield Check("note", "programs", "no criu", "checkpoint and restore", "apt install criu")
    for module, use, package in (
        ("jsonschema", "why a configuration is invalid", "python3-jsonschema"),
        ("pyroute2", "linux.netDevices", "python3-pyroute2"),
        ("jeepney", "the systemd driver", "python3-jeepney"),
    ):
        if find_spec(module) is None:
            yield Check("note", "programs", f"no Python package {module}", use, f"apt install {package}")
        else:
            yield Check("ok", "programs", f"Python package {module}", use)
