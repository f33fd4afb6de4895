"""The calls of the runtime that are disturbed, and what is true of a container afterwards.

A scene makes ready what its call needs, says which exit status is success, and looks with its own eyes, not the
runtime's, whether what was said is so.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field

from faults.world import RUNS, TOKEN, Outcome, World, await_true
from support import Json

ENDS = f"echo {TOKEN}; exit 7"


def _nothing(_: World) -> None:
    pass


def _no_process(_: World) -> int:
    return 0


def _no_complaint(_: World, __: Outcome) -> str:
    return ""


@dataclass(frozen=True)
class Scene:
    """One call of the runtime.

    ready: what comes before; may find a container that an earlier call has left as it was. words: the call, where
    BUNDLE and ID stand for the world's. code: the exit status of success. follow: a process besides the call's own
    that takes part. false_success, false_failure: what is wrong with an outcome that says so, "": nothing.
    leaves: what a failure may leave: nothing ("create", "run"), or the container.
    """

    name: str
    words: tuple[str, ...]
    ready: Callable[[World], None] = _nothing
    code: int = 0
    follow: Callable[[World], int] = _no_process
    false_success: Callable[[World, Outcome], str] = _no_complaint
    false_failure: Callable[[World, Outcome], str] = _no_complaint
    leaves: bool = True
    keeps: bool = False  # the container is as before, and is not deleted after a success
    changes: Json = field(default_factory=dict)  # of the configuration

    def command(self, world: World) -> list[str]:
        """The runtime's arguments."""
        known = {
            "BUNDLE": str(world.bundle.path),
            "ID": world.id,
            "LOG": str(world.log),
            "PID": str(world.pid_file),
            "CONSOLE": str(world.directory / "console"),
        }
        return [known.get(word, word) for word in self.words]


# -- before ------------------------------------------------------------------------------------


def _none(world: World) -> None:
    world.shell(RUNS)


def _ends(world: World) -> None:
    world.shell(ENDS)


def _created(world: World) -> None:
    world.shell(RUNS)
    world.need("create", "-b", str(world.bundle.path), world.id)


def _running(world: World) -> None:
    world.shell(RUNS)
    if not world.program_pid():
        world.need("run", "-d", "-b", str(world.bundle.path), world.id)
        if not world.ran() or not await_true(world.program_pid):
            raise RuntimeError("the container does not run")


def _stopped(world: World) -> None:
    world.shell("exit 3")
    world.need("run", "-d", "-b", str(world.bundle.path), world.id)
    if not await_true(lambda: not world.processes()):
        raise RuntimeError("the container does not end")


def _waiting(world: World) -> int:
    return next(iter(world.processes()), 0)


# -- after -------------------------------------------------------------------------------------


def _is_created(world: World, outcome: Outcome) -> str:
    status = _status(world)
    if status == "stopped":
        return ""  # its init was hit after the end of create, and state tells so
    if status != "created":
        return f"create succeeded, the container is {status}"
    if world.has_run():
        return "create has run the program"
    done = world.call("start", world.id)
    if done.code:
        return f"create succeeded, start says {done.errors}"
    return "" if world.ran() else "create and start succeeded, the program has not run"


def _runs(world: World, _: Outcome) -> str:
    if not world.ran():
        return "the program has not run"
    if not await_true(world.program_pid, 2):
        return "the program runs no more"
    return "" if (status := _status(world)) == "running" else f"the container is {status}"


def _ended(_: World, outcome: Outcome) -> str:
    return "" if outcome.output == f"{TOKEN}\n" else f"the program has not run: {outcome.output!r}"


def _told(world: World, outcome: Outcome) -> str:
    try:
        state = json.loads(outcome.output)
    except ValueError:
        return f"no state: {outcome.output!r}"
    if state["status"] != "running" or state["pid"] != world.program_pid():
        return f"not true: {outcome.output}"
    return ""


def _killed(world: World, _: Outcome) -> str:
    return "" if await_true(lambda: not world.program_pid()) else "kill succeeded, the container runs"


def _deleted(world: World, _: Outcome) -> str:
    left = world.left()
    return f"delete succeeded, and left {', '.join(left)}" if left else ""


def _startable(world: World, _: Outcome) -> str:
    """After a start that failed, the container can be started again, or has stopped."""
    status = _status(world)
    if status == "stopped":
        return ""
    if "hooks" in world.bundle.config and "container does not exist" in status:
        return ", ".join(world.left())  # runtime.md, "Lifecycle": its end follows
    if world.has_run():
        return "start failed, the program has run"
    if status != "created":
        return f"start failed, the container is {status}"
    done = world.call("start", world.id)
    if done.code:
        return f"start failed, and so did the second: {done.errors}"
    return "" if world.ran() else "the second start succeeded, the program has not run"


def _not_executed(world: World, outcome: Outcome) -> str:
    """After an exec that failed, nothing has run or runs."""
    if TOKEN in outcome.output or (world.bundle.rootfs / "exec").exists():
        (world.bundle.rootfs / "exec").unlink(missing_ok=True)
        return "exec failed, the program has run"
    program = world.program_pid()
    if not program:
        return "exec failed, the container is gone"
    if not await_true(lambda: world.processes() == {program}):
        return f"exec failed, and left {world.processes() - {program}}"
    return ""


def _executed(world: World, _: Outcome) -> str:
    """A detached exec: its program leaves a file."""
    mark = world.bundle.rootfs / "exec"
    if not await_true(mark.exists):
        return "exec succeeded, the program has not run"
    mark.unlink()
    number = (world.directory / "pid").read_text()
    (world.directory / "pid").unlink()
    return "" if number.isdigit() else f"pid file: {number!r}"


def _listed(world: World, outcome: Outcome) -> str:
    if not outcome.output and "is left out" in outcome.errors:
        return ""  # one that cannot be read must not hide the others
    return "" if outcome.output == f"{world.id}\n" else f"not true: {outcome.output!r}"


def _counted(world: World, outcome: Outcome) -> str:
    try:
        pids = json.loads(outcome.output)
    except ValueError:
        return f"no list: {outcome.output!r}"
    return "" if pids == [world.program_pid()] else f"not true: {outcome.output}"


def _still_runs(world: World, _: Outcome) -> str:
    return "" if world.program_pid() else "the container is gone"


def _status(world: World) -> str:
    done = world.call("state", world.id)
    if done.code:
        return f"unknown: {done.errors}"
    status: str = json.loads(done.output)["status"]
    return status


def _hook(name: str) -> Json:
    return {"path": "/bin/sh", "args": ["sh", "-c", f"cat > /dev/null; : {name}"], "env": ["PATH=/bin:/usr/bin"]}


#: Much of what a configuration can have: a user namespace, a filter, hooks of every kind, devices, limits, a name.
RICH: Json = {
    "process": {
        "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 512}],
        "oomScoreAdj": 100,
        "user": {"uid": 0, "gid": 0, "additionalGids": [5], "umask": 18},
        "noNewPrivileges": True,
    },
    "hooks": {
        "createRuntime": [_hook("createRuntime")],
        "createContainer": [_hook("createContainer")],
        "startContainer": [_hook("startContainer")],
        "poststart": [_hook("poststart")],
        "poststop": [_hook("poststop")],
    },
    "linux": {
        "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "cgroup", "user")],
        "uidMappings": [{"containerID": 0, "hostID": 300000, "size": 65536}],
        "gidMappings": [{"containerID": 0, "hostID": 300000, "size": 65536}],
        "devices": [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 438}],
        "sysctl": {"net.ipv4.ip_forward": "1"},
        "seccomp": {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["swapon"], "action": "SCMP_ACT_ERRNO"}],
        },
    },
}


def _paused(world: World) -> None:
    _running(world)
    world.need("pause", world.id)


def _is_paused(world: World, _: Outcome) -> str:
    status = _status(world)
    return "" if world.frozen() and status == "paused" else f"frozen: {world.frozen()}, and the container is {status}"


def _is_resumed(world: World, _: Outcome) -> str:
    status = _status(world)
    return "" if not world.frozen() and status == "running" else f"frozen: {world.frozen()}, the container is {status}"


def _paused_or_not(world: World, _: Outcome) -> str:
    """After a failure it is one of the two, and `state` knows which."""
    status = _status(world)
    return "" if status == ("paused" if world.frozen() else "running") else f"it is {status}: {world.frozen()}"


def _updated(world: World, _: Outcome) -> str:
    return "" if world.setting("pids.max") == "77" else f"pids.max is {world.setting('pids.max')}"


def _not_updated(world: World, _: Outcome) -> str:
    return "update failed, and has changed the limit" if world.setting("pids.max") == "77" else ""


def _is_created_with_terminal(world: World, outcome: Outcome) -> str:
    return _is_created(world, outcome) or ("" if world.terminals() == 1 else "no terminal came")


def _executed_with_terminal(world: World, outcome: Outcome) -> str:
    return _executed(world, outcome) or ("" if world.terminals() == 1 else "no terminal came")


_RUN = ("run", "-b", "BUNDLE", "ID")
_EXEC = ("exec", "ID", "/bin/sh", "-c", ENDS)

SCENES = [
    Scene("create", ("create", "-b", "BUNDLE", "ID"), _none, false_success=_is_created, leaves=False),
    Scene("run-d", ("run", "-d", "-b", "BUNDLE", "ID"), _none, false_success=_runs, leaves=False),
    Scene("run", _RUN, _ends, code=7, false_success=_ended, leaves=False),
    Scene("start", ("start", "ID"), _created, follow=_waiting, false_success=_runs, false_failure=_startable),
    Scene("exec", _EXEC, _running, code=7, false_success=_ended, false_failure=_not_executed, keeps=True),
    Scene("state", ("state", "ID"), _running, false_success=_told, false_failure=_still_runs, keeps=True),
    Scene("kill", ("kill", "ID", "KILL"), _running, false_success=_killed),
    Scene("delete", ("delete", "ID"), _stopped, false_success=_deleted),
    Scene("delete-f", ("delete", "--force", "ID"), _running, false_success=_deleted),
    Scene(
        "rich-create",
        ("--log", "LOG", "--log-format", "json", "create", "--pid-file", "PID", "-b", "BUNDLE", "ID"),
        _none,
        false_success=_is_created,
        leaves=False,
        changes=RICH,
    ),
    Scene("rich-run", ("run", "-d", "-b", "BUNDLE", "ID"), _none, false_success=_runs, leaves=False, changes=RICH),
    Scene(
        "rich-start",
        ("start", "ID"),
        _created,
        follow=_waiting,
        false_success=_runs,
        false_failure=_startable,
        changes=RICH,
    ),
    Scene(
        "rich-exec",
        ("exec", "-d", "--pid-file", "PID", "ID", "/bin/sh", "-c", "echo > /exec"),
        _running,
        false_success=_executed,
        false_failure=_not_executed,
        keeps=True,
        changes=RICH,
    ),
    Scene("rich-delete", ("delete", "-f", "ID"), _running, false_success=_deleted, changes=RICH),
    Scene(
        "tty-create",
        ("create", "--console-socket", "CONSOLE", "-b", "BUNDLE", "ID"),
        _none,
        false_success=_is_created_with_terminal,
        leaves=False,
        changes={"process": {"terminal": True}},
    ),
    Scene(
        "tty-exec",
        ("exec", "-d", "-t", "--console-socket", "CONSOLE", "--pid-file", "PID", "ID", "/bin/touch", "/exec"),
        _running,
        false_success=_executed_with_terminal,
        false_failure=_not_executed,
        keeps=True,
    ),
    Scene("pause", ("pause", "ID"), _running, false_success=_is_paused, false_failure=_paused_or_not),
    Scene("resume", ("resume", "ID"), _paused, false_success=_is_resumed, false_failure=_paused_or_not),
    Scene(
        "update", ("update", "--pids-limit", "77", "ID"), _running, false_success=_updated, false_failure=_not_updated
    ),
    Scene("kill-all", ("kill", "--all", "ID", "KILL"), _running, false_success=_killed),
    Scene("list", ("list", "-q"), _running, false_success=_listed, false_failure=_still_runs, keeps=True),
    Scene("ps", ("ps", "-f", "json", "ID"), _running, false_success=_counted, false_failure=_still_runs, keeps=True),
]
