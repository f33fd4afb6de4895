"""Semantic checks of a process: config.json's, and the one that `exec --process` reads.

Import cost: pyrunc's own modules.
"""

from pyrunc.config.rules.names import CAPABILITIES
from pyrunc.config.rules.refusal import refuse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.config.types import Capabilities, Process, Scheduler

SETS = ("bounding", "effective", "inheritable", "permitted", "ambient")
MOST_GROUPS = 65536  # NGROUPS_MAX
MOST_CPUS = 65535
LEAST_RUNTIME = 1024  # nanoseconds; the kernel's DL_SCALE
MOST_TIME = 1 << 63  # nanoseconds, which is too many (sched(7))


def check_process(process: "Process", pointer: str) -> "list[str]":
    """Check a process that is valid by the schema; return warnings.

    pointer: where the process lies in its document: "/process", or "" for process.json.
    Raises ConfigError (config.md, "Process").
    """
    if not process.get("args"):
        refuse("args must not be empty", pointer + "/args")
    cwd = process["cwd"]
    if not cwd:
        refuse("Cwd property must not be empty", pointer + "/cwd")
    if cwd[0] != "/":
        refuse(f'Cwd must be an absolute path, not "{cwd}"', pointer + "/cwd")
    for index, entry in enumerate(process.get("env", ())):
        if entry.find("=") < 1:
            # Values are nobody's business: what follows "=" is not shown.
            name, reason = ("=", "an empty name") if entry[:1] == "=" else (entry, 'a missing "="')
            refuse(f'invalid environment variable "{name}": {reason}', f"{pointer}/env/{index}")
    groups = process.get("user", {}).get("additionalGids", ())
    if len(groups) > MOST_GROUPS:
        refuse(
            f"{len(groups)} additional groups, of which the kernel allows {MOST_GROUPS}",
            pointer + "/user/additionalGids",
        )
    _check_rlimits(process, pointer + "/rlimits")
    if "scheduler" in process:
        _check_scheduler(process["scheduler"], pointer + "/scheduler")
    affinity = process.get("execCPUAffinity", {})
    if affinity:
        _check_cpus(affinity.get("initial", ""), pointer + "/execCPUAffinity/initial")
        _check_cpus(affinity.get("final", ""), pointer + "/execCPUAffinity/final")
    if "capabilities" in process:
        return _check_capabilities(process["capabilities"])
    return []


def _check_rlimits(process: "Process", pointer: str) -> None:
    seen: set[str] = set()
    for index, limit in enumerate(process.get("rlimits", ())):
        name = limit["type"]
        if name in seen:
            refuse(f"{name} is limited twice", f"{pointer}/{index}/type")
        seen.add(name)
        if limit["soft"] > limit["hard"]:
            refuse(
                f"{name}: the soft limit {limit['soft']} is above the hard limit {limit['hard']}",
                f"{pointer}/{index}/soft",
            )


def _check_scheduler(scheduler: "Scheduler", pointer: str) -> None:
    """The rules of sched_setattr(2), whose EINVAL names none of them."""
    policy = scheduler["policy"]
    priority = scheduler.get("priority", 0)
    if policy in ("SCHED_FIFO", "SCHED_RR"):
        if not 1 <= priority <= 99:
            refuse(f"scheduler.priority {priority}: {policy} has 1 to 99", pointer + "/priority")
    elif priority:
        refuse(
            "scheduler.priority can only be specified for SchedFIFO or SchedRR policy",
            pointer + "/priority",
        )
    runtime, deadline = scheduler.get("runtime", 0), scheduler.get("deadline", 0)
    period = scheduler.get("period", 0)
    if policy != "SCHED_DEADLINE":
        if runtime or deadline or period:
            refuse(
                "scheduler runtime/deadline/period can only be specified for SchedDeadline policy",
                pointer,
            )
    else:
        _check_deadline(scheduler, pointer)


def _check_deadline(scheduler: "Scheduler", pointer: str) -> None:
    """What sched(7) asks of SCHED_DEADLINE, told in crun's words."""
    what = "sched_setattr: `SCHED_DEADLINE`"
    for name in ("runtime", "deadline"):
        if name not in scheduler:
            refuse(f"{what} requires `{name}`", pointer)
    runtime, deadline = scheduler["runtime"], scheduler["deadline"]
    period = scheduler.get("period", 0)
    if not runtime:
        refuse(f"{what} runtime must be greater than 0", pointer + "/runtime")
    if runtime > deadline:
        text = f"{what} runtime ({runtime}) must be <= deadline ({deadline})"
        refuse(text, pointer + "/runtime")
    if period and deadline > period:
        text = f"{what} deadline ({deadline}) must be <= period ({period})"
        refuse(text, pointer + "/deadline")
    for name, value in (("runtime", runtime), ("deadline", deadline), ("period", period)):
        least = LEAST_RUNTIME if name == "runtime" else 0
        if not least <= value < MOST_TIME:
            text = f"{what} {name} ({value}) must be between {least} and {MOST_TIME - 1}"
            refuse(text, f"{pointer}/{name}")


def _check_cpus(text: str, pointer: str) -> None:
    from pyrunc.kernel import cpu_lists  # few configurations need it

    try:
        cpu_lists.parse(text, MOST_CPUS)
    except ValueError as error:
        refuse(f'invalid CPU list "{text}": {error}', pointer)


def _check_capabilities(sets: "Capabilities") -> "list[str]":
    """Warnings for names that no capability has, and for ambient ones that cannot be raised."""
    unknown: set[str] = set()
    by_kind: Any = sets
    for kind in SETS:
        for name in by_kind.get(kind, ()):
            if name not in CAPABILITIES and name.upper() not in CAPABILITIES:
                unknown.add(name)
    warnings = []
    if unknown:
        names = " ".join(sorted(unknown))
        warnings.append(f"ignoring unknown or unavailable capabilities: [{names}]")
    if sets.get("ambient"):
        permitted, inheritable = sets.get("permitted", ()), sets.get("inheritable", ())
        # One line for all: engines show a user what they read here.
        reason = "it is not both permitted and inheritable"
        refused = [
            f"can't raise ambient capability {name}: {reason}"
            for name in sets["ambient"]
            if (name not in permitted or name not in inheritable) and name not in unknown
        ]
        if refused:
            warnings.append("; ".join(refused))
    return warnings
