"""`delete --force` of a container whose state.json is damaged or another runtime's: what is found is removed, and told.

Nothing is killed that is not known to be the container's: a process by its pid and the time of its start, a cgroup
by that process in it. Cold.
"""

import os
from signal import pidfd_send_signal
from typing import Any

from pyrunc.cgroups import detect, files, tree
from pyrunc.cgroups.make import locate
from pyrunc.config import strict
from pyrunc.errors import Error
from pyrunc.kernel.files import read_file
from pyrunc.kernel.signals import SIGKILL
from pyrunc.log import log
from pyrunc.state.processes import await_killed, open_init
from pyrunc.state.state import Damaged, State
from pyrunc.state.store import Store

#: Where pyrunc, runc and youki keep a container's state, and where crun does; their names for its first process, and
#: for when that has started (proc_pid_stat(5), field 22).
_FILES = ("state.json", "status")
_PIDS = ("pid", "init_process_pid")
_STARTS = ("pidStart", "init_process_start", "process-start-time")


def remove(store: Store, id: str, damage: Damaged) -> None:
    """Remove what can be found of a container. The caller holds its lock. Each step is a line of the log.

    damage: why its state cannot be read. Errors: a process does not end; the directory cannot be removed.
    """
    log.warning(f"{damage}: container {id} is removed as far as it can be told what it is")
    documents = [_document(store, id, name) for name in _FILES]
    pid = _number(documents, _PIDS)
    start = _number(documents, _STARTS)
    config = _document(store, id, "config.json")
    group = _group(documents, config, id)
    state = State(id, pid=pid, pid_start=start)
    within = _kill(state, group) if pid else False
    if group:
        _remove_group(group, within)
    hooks = config.get("hooks")
    if isinstance(hooks, dict) and hooks.get("poststop"):
        log.warning("its poststop hooks are not run")
    names = sorted(os.listdir(store.path(id)))
    store.remove(id)
    log.warning(f"{store.path(id)} is removed, with {', '.join(names) or 'nothing in it'}")


def _document(store: Store, id: str, name: str) -> "dict[str, Any]":
    """A JSON object in the container's directory; empty where it is not one."""
    try:
        data = store.read(id, name)
        found = strict.loads(data, name) if data else {}
    except Error as error:
        log.debug(str(error))
        return {}
    return found if isinstance(found, dict) else {}


def _number(documents: "list[dict[str, Any]]", names: "tuple[str, ...]") -> int:
    for document in documents:
        for name in names:
            value = document.get(name)
            if type(value) is int and value > 0:
                return value
    return 0


def _group(documents: "list[dict[str, Any]]", config: "dict[str, Any]", id: str) -> str:
    """The path of the container's cgroup, "" where it is not known, or cannot be one container's."""
    mount = detect.detect().mount
    for document in documents:
        for pick in (_own, _runc, lambda it: _crun(it, mount)):
            path = pick(document)
            if isinstance(path, str) and mount and path.startswith(mount + "/") and ".." not in path.split("/"):
                return path.rstrip("/") if path.rstrip("/") != mount else ""
    linux = config.get("linux")
    asked = linux.get("cgroupsPath") if isinstance(linux, dict) else None
    if not mount or not config or (asked is not None and (not isinstance(asked, str) or ":" in asked)):
        return ""
    try:
        return locate(asked, id, mount)
    except Error as error:
        log.debug(str(error))
        return ""


def _own(document: "dict[str, Any]") -> object:
    group = document.get("cgroup")
    return group.get("path") if isinstance(group, dict) else None


def _runc(document: "dict[str, Any]") -> object:
    paths = document.get("cgroup_paths")
    return paths.get("") if isinstance(paths, dict) else None


def _crun(document: "dict[str, Any]", mount: str) -> object:
    path = document.get("cgroup-path")
    return f"{mount}/{path.strip('/')}" if isinstance(path, str) and path.strip("/") else None


def _kill(state: State, group: str) -> bool:
    """End the init process, if it is the one that the state names. Whether it was in the cgroup `group` or below."""
    pidfd = open_init(state)
    if pidfd < 0:
        if os.path.exists(f"/proc/{state.pid}"):
            log.warning(f"process {state.pid} is left alone: it is not known to be the container's")
        return False
    try:
        own = detect.detect().mount + detect.parse_own(read_file(f"/proc/{state.pid}/cgroup"))
        pidfd_send_signal(pidfd, SIGKILL)
        await_killed(pidfd, state.pid)
    except ProcessLookupError:
        return False
    finally:
        os.close(pidfd)
    log.warning(f"process {state.pid} is killed")
    return bool(group) and (own + "/").startswith(group + "/")


def _remove_group(path: str, own: bool) -> None:
    """Remove a cgroup with all that is in it, if it is the container's `own`; otherwise only an empty one."""
    try:
        fd = files.open_dir(path)
    except FileNotFoundError:
        return
    try:
        pids = [] if own else tree.procs(fd)
    finally:
        os.close(fd)
    if pids:
        log.warning(
            f"cgroup {path} is left alone, with the processes {' '.join(map(str, pids[:20]))}: they are not known to"
            f" be the container's; if they are: echo 1 >{path}/cgroup.kill"
        )
        return
    tree.remove_at(path)
    log.warning(f"cgroup {path} is removed")
