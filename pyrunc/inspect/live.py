"""A running container as the kernel has it, compared with its configuration: `pyrunc audit ID`."""

import os
from collections.abc import Iterator
from errno import EINVAL, ENOENT, ESRCH
from typing import Any

from pyrunc.inspect.findings import Finding
from pyrunc.plan.process.capabilities import NAMES
from pyrunc.state.state import State

_FILES = {
    "pid": "pid_for_children", "network": "net", "ipc": "ipc", "uts": "uts", "mount": "mnt", "user": "user",
    "cgroup": "cgroup",
}  # fmt: skip


def drift(state: State) -> Iterator[Finding]:
    """Where the first process of a running container is no longer, or not, what its configuration says."""
    config = state.config
    status = read_status(state.pid)
    process = config.get("process") or {}
    linux = config.get("linux") or {}
    if status is None:
        return
    sets = process.get("capabilities") or {}
    for kind, field in (("effective", "CapEff"), ("bounding", "CapBnd")):
        wanted = set(sets.get(kind) or ())
        have = capability_names(int(status.get(field, "0"), 16))
        more = sorted(have - wanted)
        if more:
            text = f"the first process has {kind} capabilities that its configuration does not give: {' '.join(more)}"
            yield Finding("warning", "drift", text, f"/process/capabilities/{kind}")
    if process.get("noNewPrivileges") and status.get("NoNewPrivs") == "0":
        yield Finding("warning", "drift", "noNewPrivileges does not hold", "/process/noNewPrivileges")
    if linux.get("seccomp") and status.get("Seccomp") == "0":
        yield Finding("warning", "drift", "no seccomp filter is loaded", "/linux/seccomp")
    uid = (process.get("user") or {}).get("uid", 0)
    inside = any(it.get("type") == "user" for it in linux.get("namespaces") or [])
    real = status.get("Uid", "").split()
    if not inside and real and int(real[1]) != uid:
        yield Finding("note", "drift", f"the first process is user {real[1]} now, not {uid}", "/process/user/uid")
    for index, space in enumerate(linux.get("namespaces") or []):
        name = _FILES.get(space.get("type") or "", "")
        if not name or space.get("path"):
            continue
        try:
            if not _same(f"/proc/{state.pid}/ns/{name}", f"/proc/self/ns/{name}"):
                continue
            level = "warning"
            text = f"the first process is in the {space['type']} namespace of the caller, not in one of its own"
        except PermissionError:
            level = "note"
            text = f"the caller may not see in which {space['type']} namespace the first process is"
        yield Finding(level, "drift", text, f"/linux/namespaces/{index}")
    yield from _mounts(state, config)


def read_status(pid: int) -> dict[str, str] | None:
    """The fields of /proc/PID/status (proc_pid_status(5)); None where there is no such process."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            pairs = (line.split(":", 1) for line in file if ":" in line)
            return {name: value.strip() for name, value in pairs}
    except (FileNotFoundError, ProcessLookupError):
        return None


def capability_names(mask: int) -> set[str]:
    return {name for number, name in enumerate(all_capabilities()) if mask >> number & 1}


def all_capabilities() -> list[str]:
    """The names of capabilities by their numbers."""
    return [f"CAP_{name}" for name in NAMES]


def _same(one: str, other: str) -> bool:
    try:
        return os.readlink(one) == os.readlink(other)
    except FileNotFoundError:
        return False  # it has ended


def _mounts(state: State, config: Any) -> Iterator[Finding]:
    """Mounts that were added since: neither the configuration's, nor below one of them, nor of pyrunc's own making."""
    if not any(it.get("type") == "mount" for it in (config.get("linux") or {}).get("namespaces") or []):
        return
    known = {"/", *((it.get("destination") or "").rstrip("/") or "/" for it in config.get("mounts") or [])}
    linux = config.get("linux") or {}
    known |= {*(linux.get("maskedPaths") or ()), *(linux.get("readonlyPaths") or ()), "/dev/console"}
    try:
        with open(f"/proc/{state.pid}/mountinfo", "rb") as file:
            lines = file.read().splitlines()
    except OSError as error:
        if error.errno not in (ENOENT, ESRCH, EINVAL):  # it has ended
            raise
        return
    for line in lines:
        place = line.split(b" ")[4].decode(errors="replace").encode().decode("unicode_escape", "replace")
        if place in known or place.startswith("/dev/"):
            continue
        if any(place.startswith(it.rstrip("/") + "/") for it in known if it not in ("/", "")):
            continue
        yield Finding("note", "drift", f"{place} is mounted, and is not in the configuration", "/mounts")
