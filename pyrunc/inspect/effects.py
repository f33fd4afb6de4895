"""What a configuration asks for without effect: told from the configuration alone."""

from collections.abc import Iterator
from typing import Any

from pyrunc.config.rules.names import ENGINE_OPTIONS
from pyrunc.didyoumean import nearest
from pyrunc.inspect.findings import Finding
from pyrunc.plan.filesystem.mountoptions import known_options
from pyrunc.setup.failures.kernel_words import OF_FILESYSTEMS


def note(rule: str, message: str, pointer: str, hint: str = "") -> Finding:
    return Finding("note", rule, message, pointer, hint)


def without_effect(config: Any) -> list[Finding]:
    """Findings of level "note" or "warning" for elements that change nothing. config: valid by the schema."""
    process = config.get("process") or {}
    linux = config.get("linux") or {}
    return [
        *_process(process),
        *_resources(linux.get("resources") or {}),
        *_namespaces(linux, process),
        *_mounts(config.get("mounts") or []),
        *_seccomp(linux.get("seccomp") or {}),
    ]


def _process(process: Any) -> Iterator[Finding]:
    if process.get("consoleSize") and not process.get("terminal"):
        yield note("no-effect", "a console size without a terminal has no effect", "/process/consoleSize")
    seen: dict[str, int] = {}
    for index, entry in enumerate(process.get("env") or []):
        name, equals, _ = entry.partition("=")
        if not equals:
            yield Finding("warning", "no-effect", 'an entry without "=" is left out', f"/process/env/{index}")
        elif name in seen:
            text = f'"{name}" is set again: the last one counts'
            yield note("no-effect", text, f"/process/env/{seen[name]}")
        seen[name] = index
    sets = process.get("capabilities") or {}
    bounding, permitted = set(sets.get("bounding") or ()), set(sets.get("permitted") or ())
    inheritable = set(sets.get("inheritable") or ())
    for index, name in enumerate(sets.get("ambient") or ()):
        if name not in permitted or name not in inheritable:
            text = f"ambient {name} cannot be raised: it has to be permitted and inheritable as well"
            yield Finding("warning", "no-effect", text, f"/process/capabilities/ambient/{index}", "", "capabilities(7)")
    user = (process.get("user") or {}).get("uid", 0)
    if user and permitted and not sets.get("ambient"):
        text = "permitted capabilities of another user than root are gone at execve: the ambient set is empty"
        yield note("no-effect", text, "/process/capabilities/permitted", "ambient ones stay: capabilities(7)")
    for index, name in enumerate(sets.get("effective") or ()):
        if name not in permitted and name in bounding:
            text = f"effective {name} is not permitted"
            yield note("no-effect", text, f"/process/capabilities/effective/{index}")


def _resources(resources: Any) -> Iterator[Finding]:
    at = "/linux/resources"
    memory, cpu = resources.get("memory") or {}, resources.get("cpu") or {}
    for name in ("kernel", "kernelTCP", "swappiness", "disableOOMKiller", "useHierarchy"):
        if memory.get(name):
            yield note("cgroup-v1", f'"{name}" is of cgroup v1, and has no effect on v2', f"{at}/memory/{name}")
    for name in ("realtimeRuntime", "realtimePeriod"):
        if cpu.get(name):
            yield note("cgroup-v1", f'"{name}" is of cgroup v1, and has no effect on v2', f"{at}/cpu/{name}")
    if cpu.get("burst") and (cpu.get("quota") or 0) <= 0:
        yield Finding("warning", "no-effect", "a CPU burst without a quota has no effect", f"{at}/cpu/burst")
    if cpu.get("period") and (cpu.get("quota") or 0) <= 0:
        yield note("no-effect", "a CPU period without a quota limits nothing", f"{at}/cpu/period")
    if (memory.get("swap") or 0) > 0 and (memory.get("limit") or 0) <= 0:
        yield note("no-effect", "a limit of swap without one of memory: swap counts both", f"{at}/memory/swap")
    reservation, limit = memory.get("reservation") or 0, memory.get("limit") or 0
    if 0 < limit < reservation:
        text = "the reservation is above the limit"
        yield Finding("warning", "no-effect", text, f"{at}/memory/reservation", f"memory.limit is {limit}")
    if "leafWeight" in (resources.get("blockIO") or {}):
        text = '"leafWeight" is of cgroup v1, and has no effect on v2'
        yield note("cgroup-v1", text, f"{at}/blockIO/leafWeight")
    for name in ("classID", "priorities"):
        if (resources.get("network") or {}).get(name):
            yield note("cgroup-v1", f'"{name}" is of cgroup v1, and has no effect on v2', f"{at}/network/{name}")


def _namespaces(linux: Any, process: Any) -> Iterator[Finding]:
    kinds = {it.get("type") for it in linux.get("namespaces") or []}
    for name in ("maskedPaths", "readonlyPaths"):
        if linux.get(name) and "mount" not in kinds:
            text = "without a mount namespace of the container's nothing is mounted over these"
            yield Finding("warning", "no-effect", text, f"/linux/{name}")
    if (process.get("user") or {}).get("additionalGids") and "user" in kinds and not linux.get("gidMappings"):
        text = "additional groups without mappings of groups"
        yield note("no-effect", text, "/process/user/additionalGids")


def _mounts(mounts: list[Any]) -> Iterator[Finding]:
    places = [(it.get("destination") or "").rstrip("/") or "/" for it in mounts]
    for index, place in enumerate(places):
        for later in range(index + 1, len(places)):
            over = places[later]
            if over == place or place.startswith(over.rstrip("/") + "/"):
                text = f"mounts/{later} ({over}) covers {place}"
                yield Finding("warning", "covered-mount", text, f"/mounts/{index}", "mounts are made in their order")
                break
    known = {*known_options(), *ENGINE_OPTIONS, *OF_FILESYSTEMS}
    for index, mount in enumerate(mounts):
        for at, option in enumerate(mount.get("options") or []):
            name = option.partition("=")[0]
            meant = "" if name in known else nearest(name, known)
            if meant:
                text = f'the mount option "{name}" is not known, and left to the file system'
                where = f"/mounts/{index}/options/{at}"
                yield Finding("warning", "misspelt-option", text, where, f'did you mean "{meant}"?')
    pairs = (("ro", "rw"), ("nosuid", "suid"), ("nodev", "dev"), ("noexec", "exec"))
    for index, mount in enumerate(mounts):
        options = mount.get("options") or []
        for one, other in pairs:
            if one in options and other in options:
                text = f'"{one}" and "{other}" contradict each other: the last one counts'
                yield Finding("warning", "contradiction", text, f"/mounts/{index}/options")


def _seccomp(profile: Any) -> Iterator[Finding]:
    default = profile.get("defaultAction")
    for index, rule in enumerate(profile.get("syscalls") or []):
        same = rule.get("action") == default and rule.get("errnoRet") == profile.get("defaultErrnoRet")
        if same and not rule.get("args"):
            text = f"the rule does what the default action does ({default})"
            yield note("no-effect", text, f"/linux/seccomp/syscalls/{index}")
