"""`pyrunc checkpoint`: a container's processes, their memory and their kernel objects into images."""

import os
from typing import Any

from pyrunc.checkpoint import criu_rpc, external_mounts
from pyrunc.checkpoint.criu_options import (
    DESCRIPTORS,
    EXTERNAL_NAMESPACES,
    Directories,
    Given,
    common,
    namespace_paths,
    page_server,
)
from pyrunc.config import strict
from pyrunc.container.delete import destroy
from pyrunc.errors import Error, from_os_error
from pyrunc.options import Globals
from pyrunc.state.state import State
from pyrunc.state.store import Store

LOG = "dump.log"


def checkpoint(globals_: Globals, id: str, given: Given) -> None:
    """Write the images of a running or paused container, which is deleted then, unless `given` has
    leave-running or pre-dump.

    given: the flags, as pyrunc-checkpoint(8). Errors: it does not exist or does not run; a flag's
    value; criu (criu_rpc.call). The container goes on where it fails.
    """
    store = Store(globals_.root)
    with store.lock(id):
        state = store.load(id)
        status = state.status()
        if status not in ("running", "paused"):
            raise Error(f"container cannot be checkpointed in {status} state")
        directories = Directories(given, LOG, make=True)
        try:
            kind = criu_rpc.PRE_DUMP if given.get("pre-dump") else criu_rpc.DUMP
            parent = _parent(given, directories.images_path)
            lines = external_mounts.mounts_of(state.pid)
            stdio = standard_streams(state.pid, {line.id for line in lines})
            options = {
                **directories.options(),
                **dump_options(state, given, lines, paused=status == "paused"),
            }
            options["external"] += [it for it in stdio if it.startswith("file[")]
            if parent:
                options["parent_img"] = parent
            if kind == criu_rpc.DUMP:
                _write(directories.images, DESCRIPTORS, strict.dumps(stdio))
            _call(kind, options, directories.log)
        finally:
            directories.close()
        if kind == criu_rpc.DUMP and not given.get("leave-running"):
            destroy(store, state)


def dump_options(state: State, given: Given, lines: list[external_mounts.MountLine], *, paused: bool) -> dict[str, Any]:
    """What criu is told, but for directories and the parent. lines: the container's mounts.

    paused: criu then thaws and freezes the cgroup as it needs to.
    """
    options = common(given, state.annotations)
    options["pid"] = state.pid
    if given.get("leave-running"):
        options["leave_running"] = True
    if given.get("pre-dump") or given.get("parent-path"):
        options["track_mem"] = True
    if given.get("page-server"):
        options["ps"] = page_server(given["page-server"])
    if given.get("lazy-pages") and given.get("status-fd", -1) >= 0:
        options["status_fd"] = given["status-fd"]
    if paused and state.cgroup.get("path"):
        options["freeze_cgroup"] = state.cgroup.get("freezer") or state.cgroup["path"]
    external = []
    for kind in namespace_paths(state.config):
        if kind in EXTERNAL_NAMESPACES:
            name, key = EXTERNAL_NAMESPACES[kind]
            # The path may lead elsewhere by now; the process does not.
            inode = os.stat(f"/proc/{state.pid}/ns/{name}").st_ino
            external.append(f"{name}[{inode}]:{key}")
    root = os.open(f"/proc/{state.pid}/root", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        external += external_mounts.dumped(state.config, lines, root)
    finally:
        os.close(root)
    options["external"] = external
    return options


def standard_streams(pid: int, mounts: set[int]) -> list[str]:
    """What 0, 1 and 2 of a process are, in the words under which criu takes replacements for them.

    mounts: ids of the mounts in its namespace: a file on any other is the host's, which criu cannot
    name but as `file[MOUNT:INODE]`.
    """
    streams = []
    for fd in range(3):
        try:
            name = os.readlink(f"/proc/{pid}/fd/{fd}")
            if name.startswith("/"):
                with open(f"/proc/{pid}/fdinfo/{fd}", encoding="ascii") as file:
                    info = dict(line.split(":", 1) for line in file if ":" in line)
                mount = int(info["mnt_id"])
                if mount not in mounts:
                    inode = os.stat(f"/proc/{pid}/fd/{fd}").st_ino
                    name = f"file[{mount:x}:{inode:x}]"
        except FileNotFoundError:
            name = ""  # closed
        streams.append(name)
    return streams


def _parent(given: Given, images: str) -> str:
    """The value of --parent-path. Errors: it is absolute, or no directory."""
    path: str = given.get("parent-path") or ""
    if not path:
        return ""
    if path.startswith("/"):
        raise Error(f"--parent-path {path}: must be relative to --image-path, not absolute")
    try:
        os.close(os.open(f"{images}/{path}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    except OSError as error:
        raise from_os_error("--parent-path", error) from None
    return path


def _call(kind: int, options: dict[str, Any], log_path: str) -> None:
    ours, theirs = criu_rpc.pair()
    with ours:
        with theirs:
            pid = criu_rpc.spawn(theirs)
        try:
            criu_rpc.call(ours, kind, options, lambda name, about, fds: None, log_path)
        finally:
            ours.close()
            os.waitpid(pid, 0)


def _write(directory: int, name: str, text: str) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with open(os.open(name, flags, 0o600, dir_fd=directory), "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise from_os_error("write", error) from None
