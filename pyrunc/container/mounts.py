"""`mounts add` and `mounts remove`: mounts of a container that runs, as crun(1) has them.

Not on the hot path.
"""

import posix
from errno import ENOENT

from pyrunc.config import strict
from pyrunc.config.load import parse_config
from pyrunc.errors import Error, from_os_error
from pyrunc.machine.ops import Fd, Step
from pyrunc.machine.session import Agent, Session
from pyrunc.options import Globals
from pyrunc.plan.filesystem.inroot import Target
from pyrunc.plan.filesystem.running_mounts import RunningMounts
from pyrunc.plan.namespaces import Namespaces
from pyrunc.setup.drive import conduct
from pyrunc.setup.failures import step_errors
from pyrunc.setup.filesystem.path_failures import PathFailures
from pyrunc.setup.filesystem.path_walk import Walk
from pyrunc.state.processes import open_init
from pyrunc.state.state import State
from pyrunc.state.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from pyrunc.config.types import Mount
    from pyrunc.machine.ops import Label
    from pyrunc.machine.session import Reply

_OPEN = 32  # more than the agent has open at once


def mounts_in(path: str) -> "list[Mount]":
    """The mounts in a file: a mounts array of config.json, or an object with one; "-" is standard input.

    Errors: it cannot be read; ConfigError with the pointer of what is wrong in it.
    """
    what = "mounts"
    try:
        data = strict.read_descriptor(0, what) if path == "-" else strict.read_file(path, what)
    except OSError as error:
        raise from_os_error("read mounts", error) from None
    value = strict.loads(data, what, drop_null=True)
    found = value.get("mounts") if type(value) is dict else value
    config = parse_config(strict.dumps({"ociVersion": "1.0.0", "mounts": found}).encode(), what)
    return config.get("mounts", [])


def add(globals_: Globals, id: str, mounts: "list[Mount]") -> None:
    """Mount what is in the array, in its order. Where one fails, those before it are taken away again.

    Errors: `container not running`; it has no mount namespace; pyrunc is not root; a mount that cannot be made.
    """
    with Store(globals_.root).lock(id):
        state = _running(globals_, id)
        done: list[int] = []
        try:
            _change(state, mounts, done, adds=True)
        except Error:
            if done:
                _change(state, [mounts[index] for index in reversed(done)], [], adds=False)
            raise


def remove(globals_: Globals, id: str, mounts: "list[Mount]") -> None:
    """Take away the mounts at the destinations that are in the array, in its order; nothing else of them counts.

    Errors: as of add; there is no mount at a destination.
    """
    with Store(globals_.root).lock(id):
        _change(_running(globals_, id), mounts, [], adds=False)


def _spaces(state: State) -> Namespaces:
    config: Any = state.config
    return Namespaces(config)


def _running(globals_: Globals, id: str) -> State:
    state = Store(globals_.root).load(id)
    if state.status() not in ("running", "created", "paused"):
        raise Error("container not running")
    if not _spaces(state).has("mount"):
        raise Error(f"container {id} has no mount namespace of its own: what is mounted there is the host's")
    if posix.geteuid():
        raise Error("mounts of a running container need root")
    return state


def _change(state: State, mounts: "list[Mount]", done: "list[int]", *, adds: bool) -> None:
    """Have an agent do it. done: gets the indices of the mounts that are in place."""
    pidfd = open_init(state)
    if pidfd < 0:
        raise Error("container not running")
    try:
        spare = pidfd + _OPEN
        plan = RunningMounts(Fd(pidfd, "container's init"), spare)
        userns = bool(_spaces(state).has("user"))
        for index, mount in enumerate(mounts):
            if adds:
                plan.add(index, mount, state.bundle, state.rootfs, userns=userns)
            else:
                plan.remove(index, mount)
        with Agent(spare + 1, (pidfd,)) as session:
            _conduct(session, plan, done)
    finally:
        posix.close(pidfd)


def _conduct(session: Session, plan: RunningMounts, done: "list[int]") -> None:
    paths = PathFailures(session)

    def at_sync(key: object, _: "Reply") -> None:
        assert isinstance(key, int)
        done.append(key)

    def at_failure(step: Step, errno: int) -> "tuple[bool, Iterable[Step | Label]]":
        errno, answer = paths.answer(step, errno)
        if not errno:
            return answer
        if type(step.key) is Target and errno == ENOENT:
            Walk(session, plan.root).make(step.key)
            return False, ()
        raise step_errors.step_error(step, errno)

    conduct(session, plan.p.items, at_sync, at_failure)
