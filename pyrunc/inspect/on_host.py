"""What a configuration asks for that is not there: on this host, or in the image."""

import os
import stat
from collections.abc import Iterator
from typing import Any

from pyrunc.cgroups import detect
from pyrunc.didyoumean import nearest
from pyrunc.inspect.findings import Finding

_SPACES = {
    "pid": "pid", "network": "net", "ipc": "ipc", "uts": "uts", "mount": "mnt", "user": "user", "cgroup": "cgroup",
    "time": "time",
}  # fmt: skip


def missing(config: Any, bundle: str) -> list[Finding]:
    """Findings for what this kernel, host or image does not have. config: valid by the schema."""
    root = os.path.join(bundle, (config.get("root") or {}).get("path") or "rootfs")
    linux = config.get("linux") or {}
    return [
        *_root(root),
        *_sources(config.get("mounts") or [], bundle),
        *_file_systems(config.get("mounts") or []),
        *_hooks(config.get("hooks") or {}),
        *_namespaces(linux),
        *_cgroups(linux),
        *_sysctls(linux.get("sysctl") or {}),
        *_labels(config.get("process") or {}),
        *_masked(linux, config.get("mounts") or [], root),
    ]


def _root(root: str) -> Iterator[Finding]:
    if not os.path.isdir(root):
        yield Finding("error", "host", f'the root file system "{root}" is not there', "/root/path", _near(root))


def _near(path: str) -> str:
    try:
        found = nearest(os.path.basename(path), sorted(os.listdir(os.path.dirname(path))))
    except OSError:
        return ""
    return f'did you mean "{found}"?' if found else ""


def _sources(mounts: list[Any], bundle: str) -> Iterator[Finding]:
    for index, mount in enumerate(mounts):
        options = mount.get("options") or []
        if not {"bind", "rbind"} & set(options) and mount.get("type") not in ("bind", "rbind"):
            continue
        source = os.path.join(bundle, mount.get("source") or "")
        if not os.path.lexists(source):
            text = f'the source "{source}" is not there'
            yield Finding("error", "host", text, f"/mounts/{index}/source", _near(source))


def _file_systems(mounts: list[Any]) -> Iterator[Finding]:
    with open("/proc/filesystems", encoding="ascii") as file:
        known = {line.split()[-1] for line in file}
    for index, mount in enumerate(mounts):
        kind = mount.get("type") or ""
        options = set(mount.get("options") or [])
        if kind in ("", "bind", "rbind", "none", "cgroup") or options & {"bind", "rbind"}:
            continue
        if kind.partition(".")[0] in known:
            continue
        meant = nearest(kind, known)
        hint = f'did you mean "{meant}"?' if meant else "a module may bring it when it is mounted"
        text = f'this kernel has no file system "{kind}" (/proc/filesystems)'
        yield Finding("warning", "host", text, f"/mounts/{index}/type", hint)


def _hooks(hooks: Any) -> Iterator[Finding]:
    for kind, them in hooks.items():
        if kind in ("createContainer", "startContainer") or not isinstance(them, list):
            continue  # startContainer's lie in the container
        for index, hook in enumerate(them):
            path = hook.get("path") or ""
            pointer = f"/hooks/{kind}/{index}/path"
            try:
                mode = os.stat(path).st_mode
            except OSError as error:
                text = f'the hook "{path}": {(error.strerror or "").lower()}'
                yield Finding("error", "host", text, pointer, _near(path))
                continue
            if not stat.S_ISREG(mode) or not mode & 0o111:
                yield Finding("error", "host", f'the hook "{path}" may not be executed', pointer)


def _namespaces(linux: Any) -> Iterator[Finding]:
    for index, space in enumerate(linux.get("namespaces") or []):
        kind, path = space.get("type") or "", space.get("path")
        pointer = f"/linux/namespaces/{index}"
        if kind in _SPACES and not os.path.lexists(f"/proc/self/ns/{_SPACES[kind]}"):
            yield Finding("error", "host", f"this kernel has no {kind} namespaces", pointer)
        if path and not os.path.exists(path):
            yield Finding("error", "host", f'the namespace "{path}" is not there', f"{pointer}/path")


def _says_something(value: Any) -> bool:
    """Whether an object has a member other than zeros, which stand for "not set"."""
    if isinstance(value, dict):
        return any(_says_something(it) for it in value.values())
    return bool(value)


def _cgroups(linux: Any) -> Iterator[Finding]:
    resources = linux.get("resources") or {}
    host = detect.detect()
    wanted = {
        "memory": "memory", "cpu": "cpu", "pids": "pids", "blockIO": "io", "hugepageLimits": "hugetlb", "rdma": "rdma"
    }  # fmt: skip
    offered = set(host.controllers)
    if host.mode in ("hybrid", "legacy"):
        from pyrunc.cgroups.v1 import hierarchies

        offered = {"io" if name == "blkio" else name for it in hierarchies.mounted() for name in it.names}
    for name, controller in wanted.items():
        pointer = f"/linux/resources/{name}"
        if not _says_something(resources.get(name)):
            continue
        if controller not in offered:
            yield Finding("error", "host", f'this host has no cgroup controller "{controller}"', pointer)


def _sysctls(sysctls: Any) -> Iterator[Finding]:
    for name in sysctls:
        path = "/proc/sys/" + (name if "/" in name else name.replace(".", "/"))
        if os.path.lexists(path) or "/conf/" in path or "/neigh/" in path:  # of interfaces that are not made yet
            continue
        parent, _, last = path.rpartition("/")
        near = nearest(last, os.listdir(parent)) if os.path.isdir(parent) else ""
        hint = f'did you mean "{name[: -len(last)]}{near}"?' if near else ""
        pointer = "/linux/sysctl/" + name.replace("~", "~0").replace("/", "~1")
        yield Finding("error", "host", f'this kernel has no sysctl "{name}"', pointer, hint)


def _labels(process: Any) -> Iterator[Finding]:
    if process.get("apparmorProfile") and not os.path.isdir("/sys/kernel/security/apparmor"):
        yield Finding("warning", "host", "AppArmor is not enabled on this host", "/process/apparmorProfile")
    if process.get("selinuxLabel") and not os.path.isdir("/sys/fs/selinux"):
        yield Finding("warning", "host", "SELinux is not enabled on this host", "/process/selinuxLabel")


def _masked(linux: Any, mounts: list[Any], root: str) -> Iterator[Finding]:
    """Masked and read-only paths that are not there: skipped in silence (config-linux.md, "Masked Paths")."""
    covered = {(it.get("destination") or "").rstrip("/"): it.get("type") for it in mounts}
    for member in ("maskedPaths", "readonlyPaths"):
        done, kernel = "masked" if member == "maskedPaths" else "made read-only", []
        for index, path in enumerate(linux.get(member) or []):
            top = max((it for it in covered if path == it or path.startswith(it + "/")), key=len, default="")
            kind = covered.get(top)
            if kind in ("proc", "sysfs"):
                real = {"proc": "/proc", "sysfs": "/sys"}[kind] + path[len(top) :]
            elif top:
                continue  # what a volume has is not known
            else:
                real = root + path
            if os.path.isabs(path) and not os.path.lexists(real):
                if kind in ("proc", "sysfs"):
                    kernel.append(path)  # lists that suit every kernel are usual
                    continue
                text = f"{path} is not there: nothing is {done}"
                yield Finding("note", "no-effect", text, f"/linux/{member}/{index}")
        if kernel:
            text = f"this kernel does not have these, nothing is {done}: {', '.join(kernel)}"
            yield Finding("note", "no-effect", text, f"/linux/{member}")
