"""`update`: new limits for a container that runs.

Not on the hot path.
"""

from collections.abc import Mapping

from pyrunc.config import strict
from pyrunc.config.load import load_resources
from pyrunc.errors import Error, from_os_error
from pyrunc.options import Globals
from pyrunc.setup.process import attempt
from pyrunc.state.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    from pyrunc.cgroups import Manager

Resources: "TypeAlias" = dict[str, "Any"]

# Flag -> member of linux.resources.
FLAGS = {
    "blkio-weight": ("blockIO", "weight"),
    "cpu-period": ("cpu", "period"),
    "cpu-quota": ("cpu", "quota"),
    "cpu-burst": ("cpu", "burst"),
    "cpu-share": ("cpu", "shares"),
    "cpu-rt-period": ("cpu", "realtimePeriod"),
    "cpu-rt-runtime": ("cpu", "realtimeRuntime"),
    "cpuset-cpus": ("cpu", "cpus"),
    "cpuset-mems": ("cpu", "mems"),
    "cpu-idle": ("cpu", "idle"),
    "memory": ("memory", "limit"),
    "memory-reservation": ("memory", "reservation"),
    "memory-swap": ("memory", "swap"),
    "pids-limit": ("pids", "limit"),
}
# Members that are texts; all others are numbers.
TEXTS = ("cpus", "mems")
SIZES = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
MAY_BE_NEGATIVE = ("cpu-quota", "cpu-rt-runtime", "memory", "memory-reservation", "memory-swap")


def update(globals_: Globals, id: str, changes: Resources) -> None:
    """Change limits of the container `id` and remember them.

    changes: what is to be different, as from_file() and from_flags() return it; intelRdt in it is
    that of config.json. Where the kernel
    refuses a limit, all are put back. Errors: `container not running`; it has no cgroup.
    """
    from pyrunc.cgroups import Manager
    from pyrunc.cgroups.update import checked

    store = Store(globals_.root)
    with store.lock(id):
        state = store.load(id)
        if state.status() not in ("running", "created", "paused"):
            raise Error("container not running")
        schemas = changes.pop("intelRdt", None)
        if schemas:
            from pyrunc.setup import resctrl

            resctrl.change(state, schemas)
            store.save(state)
            if not changes:
                return
        if not state.cgroup or not state.cgroup["path"]:
            raise Error(
                f"cannot update container {id}: it has no cgroup",
                hint="cgroup v2 was out of reach when it was created",
            )
        config = state.config
        linux = config.setdefault("linux", {})
        before = linux.get("resources", {})
        manager = Manager.from_state(state.cgroup, before)
        # Remembered before it is so: what the disk refuses must not be in force, and the kernel's limits cannot all be
        # put back (one that was not there).
        linux["resources"] = checked(before, changes)
        state.config = config
        try:
            store.save(state)
            manager.update(changes)
            if "devices" in changes:
                _replace_devices(manager)
        except BaseException:
            linux["resources"] = before
            state.config = config
            attempt(lambda: store.save(state), "the configuration that is kept of the container has the new limits")
            raise


def from_file(path: str) -> Resources:
    """The changes in a file with a resources object; "-" is standard input.

    Errors: it cannot be read; ConfigError with the pointer of what is wrong in it.
    """
    what = "resources"
    try:
        if path == "-":
            data = strict.read_descriptor(0, what)
        else:
            data = strict.read_file(path, what)
    except OSError as error:
        raise from_os_error("read resources", error) from None
    return dict(load_resources(data, what))


def from_flags(given: Mapping[str, object]) -> Resources:
    """The changes that flags ask for. given: the options of the command line by their names."""
    changes: Resources = {}
    for flag, member in (("l3-cache-schema", "l3CacheSchema"), ("mem-bw-schema", "memBwSchema")):
        if given.get(flag):
            changes.setdefault("intelRdt", {})[member] = given[flag]
    for flag, (section, member) in FLAGS.items():
        value = given.get(flag)
        if value is None or value == "":
            continue
        if isinstance(value, str) and member not in TEXTS:
            value = amount(value, flag)
        changes.setdefault(section, {})[member] = value
    return changes


def amount(text: str, flag: str) -> int:
    """The number that the text of a flag means; those of memory may end in k, m, g, t or p, in
    either case, with "i" and "b" behind as decoration: all are powers of 1024.
    """
    number, factor = text, 1
    if flag.startswith("memory") and not text.startswith("-"):
        number = text.rstrip("kKmMgGtTpPiIbB")
        suffix = text[len(number) :].lower()
        power = SIZES.get(suffix.removesuffix("b").removesuffix("i"))
        if power is None:
            raise Error(f'invalid value for {flag}: "{text}"')
        factor = 1024**power
    digits = number.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 20):
        raise Error(f'invalid value for {flag}: "{text}"')
    value = int(number) * factor
    if (value < 0 and flag not in MAY_BE_NEGATIVE) or (value < -1 and flag.startswith("memory")) or value >= 1 << 63:
        raise Error(f'invalid value for {flag}: "{text}" is out of range')
    return value


def _replace_devices(manager: "Manager") -> None:
    """Have a host agent put a new device program in the place of the old."""
    program = manager.device_program()
    if program is None:
        return
    from pyrunc.cgroups import bpf
    from pyrunc.machine.session import Agent

    directory = manager.dir()
    with Agent(directory + 1, (directory,)) as session:
        bpf.replace(session, program, directory)
