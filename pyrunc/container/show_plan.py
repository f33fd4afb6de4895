"""`pyrunc plan`: the program that `create` would run, without running it.

What depends on the host is assumed: a cgroup to be born in, the first of the places where the
executable may lie, and no trouble. Nothing is changed and no right is needed. Cold.
"""

import posix

from pyrunc.config.load import load_config
from pyrunc.config.rules.check import check
from pyrunc.config.strict import dumps
from pyrunc.kernel.uapi import CLONE_NEWUSER
from pyrunc.log import log
from pyrunc.machine import names
from pyrunc.machine.describe import describe, outcome, reason
from pyrunc.machine.ops import Label, Program, Step, conversation
from pyrunc.plan.create import CreatePlan, compile_create, finish
from pyrunc.plan.facts import Facts
from pyrunc.plan.namespaces import Namespaces
from pyrunc.plan.process.lookup import candidates, environment
from pyrunc.setup.host import has_filter, own_capabilities

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.config.types import Config
    from pyrunc.options import Globals

    Items = list[Step | Label]

# What Python does where a program stops for it; by the sync's key, or the name of its class.
HOST = {
    "pid": "take the pid and let the agent end",
    "begin": "write the id maps and put the process into its cgroup",
    "hooks": "run prestart and createRuntime hooks",
    "Console": "take the terminal's master",
    "IdMap": "map the ids of the mount, with the host's privileges",
    "HostNodes": "make the devices, and have them attached",
    "CopyUp": "copy the directory into the tmpfs",
    "LookUp": "choose the executable and HOME",
    "ready": "write state.json and the pid file; the rest happens at start",
    "HookFailed": "report the hook's failure",
}


class Line:
    """A step of the plan: its number from 1 on, who executes it, whether something jumps to it."""

    __slots__ = ("number", "process", "step", "target")

    def __init__(self, number: int, process: str, step: Step) -> None:
        self.number = number
        self.process = process
        self.step = step
        self.target = False

    def host(self) -> str:
        """What Python does at this step, "" for all but syncs."""
        if self.step.name != "reply" or not self.step.args[2]:
            return ""
        key = self.step.key
        return HOST.get(key if isinstance(key, str) else type(key).__name__, "")


class Listing:
    """The whole plan, numbered; jumps are resolved to numbers."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.places: dict[Label, int] = {}

    def add(self, process: str, items: "Items") -> None:
        """Append a part that one process executes."""
        for item in items:
            if isinstance(item, Step):
                self.lines.append(Line(len(self.lines) + 1, process, item))
            else:
                self.places[item] = len(self.lines) + 1

    def resolve(self) -> None:
        """Mark the targets of jumps, once all parts are there."""
        targets = set()
        for line in self.lines:
            for label in (line.step.error, line.step.zero):
                if label is not None:
                    targets.add(self.places[label])
        for line in self.lines:
            line.target = line.number in targets

    def place(self, label: Label) -> str:
        return str(self.places[label])


def show(globals_: "Globals", bundle: str, form: str) -> None:
    """Print the plan of `create` for a bundle. form: "text" or "json". Raises Error for a configuration that
    `create` would refuse, but for a root file system that is not there."""
    config = load_config(bundle)
    # As for root, who may do all that it says.
    for warning in check(config, bundle, euid=0, rootfs=False):
        log.warning(warning)
    listing = compile_listing(config, facts_for(config, bundle))
    write = {"text": as_text, "json": as_json}[form]
    data = write(listing).encode(errors="surrogateescape")
    try:
        while data:
            data = data[posix.write(1, data) :]
    except BrokenPipeError:
        pass  # whoever reads has seen enough: `pyrunc plan ... | head`


def facts_for(config: "Config", bundle: str) -> Facts:
    """What the plan has to know of the host, as far as it can be known without touching it."""
    root = config.get("root")
    path = root["path"] if root else ""
    path = path if path.startswith("/") else f"{bundle}/{path}"
    facts = Facts(bundle.rpartition("/")[2] or "container", bundle, _real(path))
    facts.privileged = posix.geteuid() == 0
    facts.capabilities = own_capabilities()
    facts.cgroup_path = f"/{facts.id}"
    linux = config.get("linux", {})
    if facts.privileged and facts.cgroup is not None:
        from pyrunc.cgroups import bpf
        from pyrunc.cgroups.devices import device_program

        resources = linux.get("resources")
        program = device_program(dict(resources) if resources else None)
        cgroup = facts.cgroup
        facts.before_clone = lambda steps: bpf.attach(steps, program, cgroup)
    if has_filter(config):
        from pyrunc.seccomp import filter_of

        compiled = filter_of(config)
        assert compiled is not None
        facts.seccomp = (compiled.program, compiled.flags, not facts.privileged)
    return facts


def _real(path: str) -> str:
    """The path without symbolic links, or as it is where there is nothing."""
    try:
        fd = posix.open(path, names.OPEN_PATH | posix.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return path
    try:
        return posix.readlink(f"/proc/self/fd/{fd}")
    finally:
        posix.close(fd)


def compile_listing(config: "Config", facts: Facts) -> Listing:
    """The steps of the agent and of the container's init in the order of their execution."""
    plan = compile_create(config, facts)
    process = config["process"]
    found = candidates(process)
    ready, last = finish(
        plan,
        config,
        facts,
        found[0] if found else process["args"][0],
        environment(process, None),
        deny_setgroups=bool(Namespaces(config).new & CLONE_NEWUSER) and not facts.privileged,
    )
    listing = Listing()
    listing.add("agent", plan.agent.items)
    listing.add("init", [plan.child_label, *with_hooks(plan, config)])
    listing.add("init", ready.items)
    listing.add("init", last.items)
    listing.resolve()
    return listing


def with_hooks(plan: CreatePlan, config: "Config") -> "Items":
    """The init's steps with those of createContainer hooks, which create puts in at "hooks"."""
    hooks = config.get("hooks", {}).get("createContainer")
    items: Items = list(plan.child.items)
    if not hooks or plan.root is None:
        return items
    from pyrunc.plan.hooks import run_all

    steps = Program(conversation())
    run_all(steps, hooks, "createContainer", b"{}", [], plan.root)
    for index, item in enumerate(items):
        if isinstance(item, Step) and item.name == "reply" and item.key == "hooks":
            items[index + 1 : index + 1] = steps.items
            break
    return items


def as_text(listing: Listing) -> str:
    """One step a line: number (with ">" where something jumps to it), process, call, what becomes
    of its result, JSON pointer and reason."""
    lines = []
    width = len(str(len(listing.lines)))
    for line in listing.lines:
        step = line.step
        mark = ">" if line.target else " "
        text = f"{line.number:{width}}{mark} {line.process:5}  {describe(step)}"
        after = outcome(step, listing.place)
        if after:
            text += f"  [{after}]"
        if line.host():
            text += f"  [pyrunc: {line.host()}]"
        text += f"  # {step.at + ': ' if step.at else ''}{reason(step.why)}"
        lines.append(text + "\n")
    return "".join(lines)


def as_json(listing: Listing) -> str:
    """{"steps": [...]}; jumps are numbers of steps, errnos their names."""
    steps = []
    for line in listing.lines:
        step = line.step
        entry: dict[str, object] = {
            "number": line.number,
            "process": line.process,
            "call": step.name,
            "text": describe(step),
        }
        if step.dst is not None:
            entry["result"] = step.dst.name
        if step.ok:
            entry["ok"] = [names.errno(number) for number in step.ok]
        if step.only:
            entry["only"] = [names.errno(number) for number in step.only]
        if step.error is not None:
            entry["onError"] = listing.places[step.error]
        if step.zero is not None:
            entry["onZero"] = listing.places[step.zero]
        if line.host():
            entry["host"] = line.host()
        entry["pointer"] = step.at
        entry["why"] = reason(step.why)
        steps.append(entry)
    return dumps({"steps": steps}, 2) + "\n"
