"""`pyrunc restore`: a container from the images of `checkpoint`.

pyrunc                     host agent, then criu                 container
state directory, cgroup
spawn ───────────────────► a mount namespace of its own,
                           the root bound onto itself, as criu
                           wants a mount point; execve of criu
cgroup ──────────────────► born in it, as all that it forks
request ─────────────────► restores ───────────────────────────► pyrunc's child, like criu
hooks ◄── setup-namespaces
console ◄ orphan-pts-master
state, pid file ◄── post-restore                                 stopped until criu resumes it
"""

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from signal import SIG_SETMASK, pthread_sigmask
from typing import Any

from pyrunc.checkpoint import criu_rpc, external_mounts
from pyrunc.checkpoint.criu_options import (
    DESCRIPTORS,
    EXTERNAL_NAMESPACES,
    JOINED_NAMESPACES,
    Directories,
    Given,
    common,
    namespace_paths,
)
from pyrunc.config import strict
from pyrunc.container.create import Creation
from pyrunc.container.delete import delete
from pyrunc.container.prepare import Preparation
from pyrunc.container.start import after_start
from pyrunc.errors import SETUP, Error, from_os_error
from pyrunc.foreground.wait import attend, become_subreaper, block_signals
from pyrunc.kernel.files import read_file, write_pid_file
from pyrunc.kernel.uapi import AT_FDCWD, CLONE_NEWNS, MS_REC, MS_SLAVE, O_DIRECTORY, O_RDONLY
from pyrunc.log import log
from pyrunc.machine.ops import SESSION, At, Program, Space, Words
from pyrunc.machine.session import Session, above, pair, spawn
from pyrunc.options import Globals, absolute
from pyrunc.setup import device_filter
from pyrunc.setup.failures import step_errors
from pyrunc.setup.host import send_fd
from pyrunc.setup.request import CreateRequest

LOG = "restore.log"

F_SETFD, FD_CLOEXEC = 2, 1
_THREE = struct.Struct("<3i")
MS_BIND = 0x1000


def restore(globals_: Globals, id: str, given: Given) -> int:
    """Make the container again; its exit status as of `run`, 0 with detach.

    given: the flags, as pyrunc-restore(8). Errors: as of `create`; criu (criu_rpc.call). Nothing is
    left behind then.
    """
    request = CreateRequest(
        id,
        absolute(given.get("bundle") or "."),
        console_socket=given.get("console-socket") or "",
        pid_file=absolute(given["pid-file"]) if given.get("pid-file") else "",
        no_subreaper=bool(given.get("no-subreaper")),
        detach=bool(given.get("detach")),
    )
    restoration = Restoration(Preparation(globals_, request, listen=False), given)
    old_mask = None
    try:
        restoration.prepared.make()
        if not request.detach:
            old_mask = block_signals()
            if not request.no_subreaper:
                become_subreaper()
        restoration.build()
    except BaseException:
        restoration.undo()
        raise
    try:
        restoration.release_lock()
        after_start(restoration.store, restoration.state)
    except Error:
        restoration.end()
        raise
    pid = restoration.pid
    restoration.end()
    if request.detach:
        return 0
    try:
        return attend(pid, restoration.console)
    finally:
        try:
            delete(globals_, id, True)
        except Error as error:
            log.warning(str(error))
        if old_mask is not None:
            pthread_sigmask(SIG_SETMASK, old_mask)


class Restoration(Creation):
    """The making of a container whose processes come from criu and not from a program."""

    def __init__(self, prepared: Preparation, given: Given) -> None:
        super().__init__(prepared)
        self.given = given

    def build(self) -> None:
        """Let criu restore the processes. The container is recorded as started before it runs."""
        directories = Directories(self.given, LOG, make=False)
        namespaces: dict[str, int] = {}
        try:
            external_mounts.make_mount_points(self.config, self.facts.rootfs, self.request.bundle)
            for kind, path in namespace_paths(self.config).items():
                if kind in EXTERNAL_NAMESPACES:
                    namespaces[kind] = self._open_namespace(path)
            options = {
                **directories.options(),
                **restore_options(self.config, self.given, self.facts.rootfs, self.request.bundle),
                "inherit_fd": _inherited(_streams(directories.images), namespaces),
            }
            self._spawn_agent(tuple(namespaces.values()))
            with (
                self._become_criu(directories, options) as sock,
                _opened_for(_mapped_root(self.config), directories.images),
            ):
                criu_rpc.call(sock, criu_rpc.RESTORE, options, self._notified, directories.log)
        finally:
            directories.close()
            for fd in namespaces.values():
                os.close(fd)
        self.end_agent()

    def _open_namespace(self, path: str) -> int:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise from_os_error("open namespace", error, pointer="/linux/namespaces") from None
        number: int = above(fd, self.facts.above)
        os.close(fd)
        return number

    def _spawn_agent(self, inherit: tuple[int, ...]) -> None:
        """Start what becomes criu, in the container's cgroup."""
        mine, session = pair(self.facts.above)
        self.agent_pid = spawn(session, inherit)
        self.agent = Session(mine, "agent", self.trace)
        os.close(session)
        self.manager.add(self.agent_pid)
        self.state.cgroup = self.manager.to_state()
        self.store.save(self.state)

    def _become_criu(self, directories: Directories, options: dict[str, Any]) -> socket.socket:
        """Let the agent make a mount namespace, which Python cannot leave the host's for, and
        execute criu there. Puts the numbers of its descriptors, and the cgroup, into `options`;
        returns the socket to talk to it."""
        assert self.agent is not None
        path = criu_rpc.program()
        numbers = Space(12, "descriptors")
        steps = surroundings(self.facts.rootfs, directories, numbers)
        reply = step_errors.check(self.agent.run(steps), SETUP)
        sock = socket.socket(fileno=self.agent.descriptors.pop())
        try:
            images, work, rpc = _THREE.unpack(reply.data)
            options["images_dir_fd"], options["work_dir_fd"] = images, work
            group = self._group()
            if group:
                options["cg_root"] = criu_rpc.encode({2: group})
            end = self.agent.until_exec(self.agent.send(execution(path, rpc)))
            if end is not None and end.step is not None:
                raise step_errors.step_error(end.step, end.errno, SETUP)
        except BaseException:
            sock.close()
            raise
        return sock

    def _group(self) -> str:
        """The cgroup that criu is in, as /proc/PID/cgroup says it; "" where it is not ours."""
        if not self.manager.path or self.manager.host.mode != "unified":
            return ""
        for line in read_file(f"/proc/{self.agent_pid}/cgroup").decode().split("\n"):
            if line.startswith("0::"):
                return line[3:]
        return ""

    def _notified(self, name: str, pid: int, fds: list[int]) -> None:
        if name == "orphan-pts-master":
            self._take_master(fds)
        elif name == "setup-namespaces":
            self._run_host_hooks(pid)
        elif name == "post-restore":
            self._record(pid)

    def _take_master(self, fds: list[int]) -> None:
        if not fds:
            raise Error("criu has sent no terminal")
        master = fds[0]
        if self.request.console_socket:
            send_fd(self.request.console_socket, master, b"/dev/ptmx", "console socket")
            os.close(master)
        elif self.request.detach:
            raise Error(
                "cannot allocate tty if runc will detach without setting console socket",
                hint="use --console-socket",
            )
        else:
            from pyrunc.foreground.terminal import adopt

            self.console = master
            adopt(master, sized=False)

    def _run_host_hooks(self, pid: int) -> None:
        """prestart and createRuntime; those inside would find their work done."""
        from pyrunc.setup.host_hooks import run_hooks

        self.pid = pid
        self.state.set_process(pid)
        hooks = self.config.get("hooks", {})
        self.hooked = True
        for kind, listed in (
            ("prestart", hooks.get("prestart")),
            ("createRuntime", hooks.get("createRuntime")),
        ):
            if listed:
                state = self.state.hook_state("creating")
                run_hooks(listed, kind, state, cwd=self.request.bundle)

    def _record(self, pid: int) -> None:
        """The processes are complete and wait for criu to let them go."""
        self.pid = pid
        # After all that criu had to make: what the container may do with devices is no limit to it.
        program = self.manager.device_program()
        if program is not None and self.manager.exists():
            device_filter.restrict_existing(self.manager, program, self.facts.above)
        self.state.set_process(pid)
        self._record_user_namespace()
        self.state.status_hint = "started"
        self.store.save(self.state)
        if self.request.pid_file:
            write_pid_file(self.request.pid_file, pid)


def surroundings(rootfs: str, directories: Directories, numbers: Space) -> Program:
    """What the agent executes to make a mount namespace in which `rootfs` is a mount point.

    criu looks its directories up in the descriptors of whoever made the socket, and mounts on them:
    so both are made by the process that becomes criu, which sends one end and writes the numbers of
    the directories and of the other end into `numbers`.
    """
    p = Program()
    p.about("make a mount namespace for criu", "/root/path")
    p.call("fcntl", SESSION, F_SETFD, FD_CLOEXEC)
    p.call("unshare", CLONE_NEWNS)
    # Slave: bind mounts that were slaves of the host's have to become so again.
    p.call("mount", b"none", b"/", None, MS_REC | MS_SLAVE, None)
    root = rootfs.encode("utf-8", "surrogateescape")
    p.call("mount", root, root, None, MS_BIND | MS_REC, None)
    for index, path in enumerate((directories.images_path, directories.work_path)):
        p.about(f"open {path}")
        fd = p.reg("directory")
        name = path.encode("utf-8", "surrogateescape")
        p.call("openat", AT_FDCWD, name, O_RDONLY | O_DIRECTORY, dst=fd)
        p.store(At(numbers, 4 * index), fd)
    p.about("make the socket to criu")
    ends = Space(8, "socket pair")
    ours, theirs = p.reg("ours"), p.reg("criu's")
    p.call("socketpair", socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, ends)
    p.load(ends, 4, ours)
    p.load(At(ends, 4), 4, theirs)
    p.store(At(numbers, 8), theirs)
    p.send_fds(ours)
    p.close(ours)
    p.sync("ready", numbers, 12)
    return p


def execution(path: str, rpc: int) -> Program:
    """What the agent executes then, to become `criu swrk RPC`."""
    p = Program()
    p.about(f"exec {path}")
    argv = Words((b"criu", b"swrk", str(rpc).encode(), None), "argv")
    words = [f"{name}={value}" for name, value in criu_rpc.environment().items()]
    envp = Words((*(word.encode("utf-8", "surrogateescape") for word in words), None), "envp")
    p.call("execve", path.encode("utf-8", "surrogateescape"), argv, envp)
    return p


def restore_options(config: Any, given: Given, rootfs: str, bundle: str) -> dict[str, Any]:
    """What criu is told, but for directories, the cgroup and descriptors."""
    options = common(given, config.get("annotations", {}))
    options["root"] = rootfs
    options["rst_sibling"] = True
    options["evasive_devices"] = True
    options["external"] = external_mounts.restored(config, bundle)
    joined = []
    for kind, path in namespace_paths(config).items():
        if kind in JOINED_NAMESPACES:
            joined.append(criu_rpc.encode({1: JOINED_NAMESPACES[kind], 2: path}))
        elif kind not in EXTERNAL_NAMESPACES:
            raise Error(
                f"a {kind} namespace joined by path cannot be restored (linux/namespaces)",
                pointer="/linux/namespaces",
            )
    if joined:
        options["join_ns"] = joined
    return options


def _mapped_root(config: Any) -> int | None:
    """The host's group that is root's in the container's user namespace; None where it is 0."""
    for mapping in config.get("linux", {}).get("gidMappings", ()):
        if mapping["containerID"] == 0:
            return mapping["hostID"] or None
    return None


@contextmanager
def _opened_for(gid: int | None, directory: int) -> Iterator[None]:
    """Let a group pass the directory, but not list it, for the time: a process that is restored
    into a user namespace opens its images itself, as the root of that namespace."""
    if gid is None:
        yield
        return
    before = os.fstat(directory)
    os.fchown(directory, -1, gid)
    os.fchmod(directory, (before.st_mode & 0o7777) | 0o010)
    try:
        yield
    finally:
        os.fchown(directory, -1, before.st_gid)
        os.fchmod(directory, before.st_mode & 0o7777)


def _streams(images: int) -> list[str]:
    """What checkpoint wrote of standard input, output and error."""
    try:
        with open(os.open(DESCRIPTORS, os.O_RDONLY | os.O_CLOEXEC, dir_fd=images), "rb") as file:
            streams = strict.loads(file.read(), DESCRIPTORS)
    except FileNotFoundError:
        raise Error(f"--image-path has no {DESCRIPTORS}", hint="is it a checkpoint?") from None
    if not isinstance(streams, list) or not all(isinstance(it, str) for it in streams):
        raise Error(f"{DESCRIPTORS}: not a list of names")
    return streams[:3]


def _inherited(streams: list[str], namespaces: dict[str, int]) -> list[bytes]:
    """`inherit_fd`: what the images lack, and criu's descriptors that stand for it."""
    found: dict[str, int] = {}
    for fd, name in enumerate(streams):
        if name.startswith(("pipe:", "file[")):
            found.setdefault(name, fd)
    for kind, fd in namespaces.items():
        found[EXTERNAL_NAMESPACES[kind][1]] = fd
    return [criu_rpc.encode({1: key, 2: fd}) for key, fd in found.items()]
