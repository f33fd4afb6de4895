"""`pyrunc audit`: how far a container is isolated from its host, with reasons, from its configuration.

Levels: "error", the host is within reach; "warning", a protection that engines give by default is missing or was taken
away; "note", a habit that people teach, or worth knowing.
"""

import os
from collections.abc import Iterator
from typing import Any

from pyrunc.inspect import risks, seccomp_reach
from pyrunc.inspect.findings import Finding, ordered

CAPABILITIES = "https://man7.org/linux/man-pages/man7/capabilities.7.html"
_SPACES = {
    "pid": ("sees the host's processes, and may signal or trace those of its user", "warning"),
    "network": ("uses the host's interfaces, and reaches abstract sockets and services bound to localhost", "warning"),
    "ipc": ("shares System V memory, semaphores and message queues", "warning"),
    "mount": ("changes of mounts are the host's", "error"),
    "uts": ("shares the host's name", "note"),
    "cgroup": ("sees the paths of the host's cgroups", "note"),
}


def audit(config: Any, rootfs: str) -> list[Finding]:
    """Findings about a configuration that is valid by the schema, the worst first. rootfs: absolute path."""
    return ordered(
        [
            *_namespaces(config),
            *_user(config),
            *_capabilities(config),
            *_process(config),
            *seccomp_reach.findings(config),
            *_kernel_files(config),
            *_mounts(config),
            *_devices(config),
            *_limits(config),
            *_habits(config, rootfs),
        ]
    )


def has_user_namespace(config: Any) -> bool:
    return any(it.get("type") == "user" for it in (config.get("linux") or {}).get("namespaces") or [])


def _namespaces(config: Any) -> Iterator[Finding]:
    spaces = (config.get("linux") or {}).get("namespaces") or []
    kinds = {it.get("type"): (index, it.get("path") or "") for index, it in enumerate(spaces)}
    for kind, (why, level) in _SPACES.items():
        at, path = kinds.get(kind, (-1, ""))
        if kind in kinds and not path:
            continue
        if kind not in kinds or _is_hosts(path):
            pointer = f"/linux/namespaces/{at}" if kind in kinds else "/linux/namespaces"
            yield Finding(level, "host-namespace", f"shares the host's {kind} namespace: {why}", pointer)
        elif kind in ("pid", "mount"):
            text = f"joins the {kind} namespace {path}: shared with another container"
            yield Finding("note", "shared-namespace", text, f"/linux/namespaces/{at}/path")


def _is_hosts(path: str) -> bool:
    """Whether a namespace's path leads to that of the host's first process."""
    try:
        here = os.stat(path)
        host = os.stat(f"/proc/1/ns/{os.path.basename(path)}")
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return path.startswith("/proc/1/ns/")
    return (here.st_dev, here.st_ino) == (host.st_dev, host.st_ino)


def _user(config: Any) -> Iterator[Finding]:
    uid = ((config.get("process") or {}).get("user") or {}).get("uid", 0)
    if has_user_namespace(config):
        for index, entry in enumerate((config.get("linux") or {}).get("uidMappings") or []):
            if entry.get("hostID") == 0:
                text = "the user namespace maps the caller's uid 0: the host's root, unless the engine is rootless"
                yield Finding("note", "root-mapped", text, f"/linux/uidMappings/{index}")
    elif uid == 0:
        text = "runs as root without a user namespace: who breaks out is root, unless the engine is rootless"
        yield Finding("warning", "root", text, "/process/user/uid", "another uid, or a user namespace")


def _capabilities(config: Any) -> Iterator[Finding]:
    sets = (config.get("process") or {}).get("capabilities") or {}
    inside = has_user_namespace(config)
    process = config.get("process") or {}
    root = (process.get("user") or {}).get("uid", 0) == 0
    # What the program may come to hold: with noNewPrivileges, or as root, what it has; else by set-user-ID programs.
    held = {name for kind in ("effective", "permitted", "ambient") for name in sets.get(kind) or ()}
    if not root and process.get("noNewPrivileges"):
        held = set(sets.get("ambient") or ())
    reached = held if process.get("noNewPrivileges") else held | set(sets.get("bounding") or ())
    for name in sorted(reached):
        risk = risks.CAPABILITIES.get(name)
        if risk is None:
            continue
        level, why = risk
        if inside:
            level, why = "note", f"{why}; within its user namespace only"
        how = "" if name in held else " (in the bounding set: a set-user-ID program gets it)"
        kind = "effective" if name in (sets.get("effective") or ()) else "permitted" if name in held else "bounding"
        text = f"{name}{how}: {why}"
        yield Finding(level, "capability", text, f"/process/capabilities/{kind}", "", CAPABILITIES)


def _process(config: Any) -> Iterator[Finding]:
    process = config.get("process") or {}
    if not process.get("noNewPrivileges"):
        text = "set-user-ID programs and file capabilities of the image give privileges"
        yield Finding("note", "new-privileges", text, "/process/noNewPrivileges", "noNewPrivileges: true")
    for index, entry in enumerate(process.get("env") or []):
        name, _, value = entry.partition("=")
        if value and risks.is_credential(name, value):
            text = f"the environment variable {name} looks like a credential: every process has it"
            yield Finding("warning", "credential", text, f"/process/env/{index}", "a file, mounted, in its place")
    args = process.get("args") or []
    program = os.path.basename(args[0]) if args else ""
    if program in risks.SUPERVISORS:
        text = f"{program} runs several services: they share one life, one log and one set of rights"
        yield Finding("note", "several-processes", text, "/process/args", "a container for each")
    if program == "sshd":
        yield Finding("note", "several-processes", "sshd: exec gives a shell without it", "/process/args")


def _kernel_files(config: Any) -> Iterator[Finding]:
    linux = config.get("linux") or {}
    masked, readonly = set(linux.get("maskedPaths") or []), set(linux.get("readonlyPaths") or [])
    level = "note" if has_user_namespace(config) else "warning"
    for index, mount in enumerate(config.get("mounts") or []):
        options, kind = set(mount.get("options") or []), mount.get("type")
        where = (mount.get("destination") or "").rstrip("/")
        if kind == "proc" and "ro" not in options:
            if where + "/sys" not in readonly | masked:
                text = f"{where}/sys may be written: settings of the kernel, some of the whole host"
                yield Finding(level, "writable-proc", text, f"/mounts/{index}", "linux.readonlyPaths")
            if where + "/sysrq-trigger" not in readonly | masked:
                text = f"{where}/sysrq-trigger may be written: it can reboot the host"
                yield Finding(level, "writable-proc", text, f"/mounts/{index}", "linux.readonlyPaths")
            if where + "/kcore" not in masked:
                text = f"{where}/kcore may be read by who has CAP_SYS_RAWIO: the memory of the host"
                yield Finding(level, "readable-proc", text, f"/mounts/{index}", "linux.maskedPaths")
        if kind == "sysfs" and "ro" not in options and where not in readonly:
            yield Finding(level, "writable-sys", f"{where} may be written: devices of the host", f"/mounts/{index}")
        if kind in ("cgroup", "cgroup2") and "ro" not in options and level == "warning":
            text = f"{where} may be written: the container may lift limits within its own cgroup"
            yield Finding("note", "writable-cgroup", text, f"/mounts/{index}")


def _mounts(config: Any) -> Iterator[Finding]:
    for index, mount in enumerate(config.get("mounts") or []):
        options = set(mount.get("options") or [])
        pointer = f"/mounts/{index}"
        if not ({"bind", "rbind"} & options or mount.get("type") in ("bind", "rbind")):
            continue
        source = os.path.normpath(mount.get("source") or "")
        writable = "ro" not in options and "rro" not in options
        socket = risks.SOCKETS.get(os.path.basename(source))
        if socket:
            text = f"{source} is {socket}: who may talk to it is root on the host"
            yield Finding("error", "engine-socket", text, pointer)
            continue
        why = risks.host_path(source)
        if why:
            level = "error" if writable and why[0] == "error" else "warning"
            how = "read and written" if writable else "read"
            yield Finding(level, "host-path", f"{source} of the host may be {how}: {why[1]}", pointer)
        if {"shared", "rshared"} & options:
            text = f"mounts made below {mount.get('destination')} appear on the host"
            yield Finding("warning", "shared-mount", text, pointer)
    if (config.get("linux") or {}).get("rootfsPropagation") in ("shared", "rshared"):
        text = "mounts made in the container appear on the host"
        yield Finding("warning", "shared-mount", text, "/linux/rootfsPropagation")


def _devices(config: Any) -> Iterator[Finding]:
    linux = config.get("linux") or {}
    for index, rule in enumerate((linux.get("resources") or {}).get("devices") or []):
        broad = rule.get("type") in (None, "", "a") and rule.get("major") in (None, -1)
        if rule.get("allow") and broad and set(rule.get("access") or "rwm") & set("rw"):
            text = "every device of the host may be used: disks, memory"
            yield Finding("error", "device", text, f"/linux/resources/devices/{index}")
            return
    for index, device in enumerate(linux.get("devices") or []):
        path, kind = device.get("path") or "", device.get("type")
        why = risks.device(path, kind, device.get("major"), device.get("minor"))
        if why:
            yield Finding(why[0], "device", f"{path}: {why[1]}", f"/linux/devices/{index}")


def _limits(config: Any) -> Iterator[Finding]:
    resources = (config.get("linux") or {}).get("resources") or {}
    unified = resources.get("unified") or {}
    missing = [
        shown
        for kind, shown in (("memory", "memory"), ("pids", "processes"))
        if ((resources.get(kind) or {}).get("limit") or 0) <= 0 and f"{kind}.max" not in unified
    ]
    if missing:
        text = f"no limit of {' and of '.join(missing)}: one container may starve the host"
        yield Finding("note", "no-limit", text, "/linux/resources")


def _habits(config: Any, rootfs: str) -> Iterator[Finding]:
    root = config.get("root") or {}
    if not root.get("readonly"):
        text = "the root file system may be written: what a program, or an intruder, changes stays until deletion"
        yield Finding("note", "writable-root", text, "/root/readonly", "root.readonly: true, a tmpfs where it writes")
        kept = [it for it in config.get("mounts") or [] if risks.is_volume(it)]
        if not kept:
            yield Finding("note", "no-volume", "no volume: data that is written goes with the container", "/mounts")
    for name, value in (config.get("annotations") or {}).items():
        if name in risks.IMAGE_NAMES and risks.is_latest(value):
            pointer = "/annotations/" + name.replace("~", "~0").replace("/", "~1")
            text = f"the image {value} has no version of its own: it may be another one tomorrow"
            yield Finding("note", "latest-tag", text, pointer, "a tag with a version, or a digest")
    size, whole = risks.size_of(rootfs)
    if size >= risks.LARGE:
        text = f"the image has {'' if whole else 'more than '}{size >> 20} MiB"
        yield Finding("note", "large-image", text, "/root/path", "what is not needed at run time need not be there")
