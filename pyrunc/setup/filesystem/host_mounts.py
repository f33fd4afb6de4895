"""What of a mount needs the host's privileges, by a host agent of its own.

- Mapping ids (mount_setattr(2), MOUNT_ATTR_IDMAP): the init may be in a user namespace that has
  no rights over the file system or the maps.
- Opening the source of a bind mount where the container's root may not enter the folders above it.
  The agent does so in the init's mount namespace: there flags of the host's mounts are locked.

Mounts travel as descriptors over the two sessions, one at a time. The agent exists from the first
use on.

Import cost: posix, _struct.
"""

import posix
from _struct import pack
from errno import EBADF, EINVAL

from pyrunc.errors import INIT, SETUP, Error, strerror
from pyrunc.kernel.uapi import (
    CLONE_NEWNS,
    CLONE_NEWUSER,
    MOUNT_ATTR_IDMAP,
)
from pyrunc.machine.ops import SESSION, At, Program, Reg, Registers, Space, Step, Words, conversation
from pyrunc.machine.session import Agent, Session, StandingAgent
from pyrunc.plan.filesystem.mountapi import IdMap, mount_attr, set_attributes
from pyrunc.plan.namespaces import show
from pyrunc.plan.userns_owner import become_owner, owner_of
from pyrunc.setup.failures import step_errors
from pyrunc.setup.host import own_capabilities

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.config.types import Config, IDMapping, Mount
    from pyrunc.machine.session import Reply

_ALL = 0xFFFFFFFFFFFFFFFF
_MSG_CMSG_CLOEXEC = 0x40000000
_TREE, _MAPS = Reg(1, "mount"), Reg(2, "namespace")  # of the agent, between its programs


class HostMounts:
    """The agent, and the user namespaces that were made for maps.

    pid: the container's init. lowest: descriptors of the agent are not below it.
    """

    __slots__ = ("_agent", "_entered", "_holds", "_lowest", "_maps", "_pid")

    def __init__(self, pid: int, lowest: int) -> None:
        self._pid = pid
        self._lowest = lowest
        self._agent = StandingAgent(lowest)
        self._entered = False
        self._holds = False
        self._maps: dict[tuple[tuple[int, ...], ...], int] = {}

    def map_ids(self, key: IdMap, config: "Config", mount_fd: int) -> None:
        """Map the ids of a detached mount; closes its descriptor. Raises Error."""
        mount = config["mounts"][key.index]
        userns = self._user_namespace(mount, key)
        try:
            session = self._agent.session()
            if self._holds:
                session.run([Step("close", (_TREE,), None, (), (), None, None, "", "", "")])
            self._holds = True
            for fd, reg in ((mount_fd, _TREE), (userns, _MAPS)):
                lend(session, fd, reg)
            p = Program(Registers(3, 9))
            p.about(key.why, key.at)
            attr = mount_attr(MOUNT_ATTR_IDMAP)
            p.store(At(attr, 24), _MAPS, 8)
            set_attributes(p, _TREE, attr, recursive=key.recursive)
            p.call("close", _MAPS)
            p.sync("done")
            reply = session.run(p)
        finally:
            posix.close(mount_fd)
        if not reply.errno:
            return
        assert reply.step is not None
        error = step_errors.step_error(reply.step, reply.errno, INIT)
        if reply.errno == EINVAL:
            text = f"{error} (this file system may not support id-mapped mounts)"
            raise Error(text, pointer=key.at, syscall="mount_setattr", errno=EINVAL)
        raise error

    def instead(self, step: Step, init: Session) -> int:
        """Do a step with the key BindSource for the init; the mount that it opens gets into its
        register. Returns 0, or the errno for which the host may not do it either."""
        session = self._enter()
        p = Program(Registers(3, 9))
        if step.name == "move_mount":
            # What was opened last.
            p.call("move_mount", _TREE, *step.args[1:])
            p.sync("attached")
            return session.run(p).errno
        assert step.dst is not None
        if self._holds:
            p.call("close", _TREE)
        self._holds = False
        p.call("open_tree", *step.args, dst=_TREE)
        p.send_fds(_TREE)
        p.sync("opened")
        reply = session.run(p)
        if reply.errno:
            return reply.errno
        self._holds = True
        source = session.descriptors.pop()
        try:
            lend(init, source, step.dst)
        finally:
            posix.close(source)
        return 0

    def close(self, error: "BaseException | None" = None) -> None:
        """Let the agent end. error: as of StandingAgent.close."""
        for fd in self._maps.values():
            posix.close(fd)
        self._maps.clear()
        self._agent.close(error)

    def _enter(self) -> Session:
        """The agent, in the mount namespace of the init."""
        session = self._agent.session()
        if not self._entered:
            namespace = posix.open(f"/proc/{self._pid}/ns/mnt", posix.O_RDONLY | posix.O_CLOEXEC)
            lend(session, namespace, _MAPS)
            posix.close(namespace)
            p = Program(Registers(3, 9))
            p.about("error joining the container's mount namespace")
            p.call("setns", _MAPS, CLONE_NEWNS)
            p.call("close", _MAPS)
            p.sync("joined")
            step_errors.check(session.run(p), SETUP)
            self._entered = True
        return session

    def _user_namespace(self, mount: "Mount", key: IdMap) -> int:
        """A descriptor of a user namespace with the maps of a mount, or the container's own."""
        uids, gids = mount.get("uidMappings", []), mount.get("gidMappings", [])
        wanted = (_numbers(uids), _numbers(gids))
        fd = self._maps.get(wanted)
        if fd is None:
            if uids or gids:
                fd = make_user_namespace(uids, gids, self._lowest, key)
            else:
                fd = posix.open(f"/proc/{self._pid}/ns/user", posix.O_RDONLY | posix.O_CLOEXEC)
            self._maps[wanted] = fd
        return fd


def _numbers(maps: "list[IDMapping]") -> "tuple[int, ...]":
    return tuple(number for m in maps for number in (m["containerID"], m["hostID"], m["size"]))


def make_user_namespace(uids: "list[IDMapping]", gids: "list[IDMapping]", lowest: int, key: IdMap) -> int:
    """A descriptor of a new user namespace with these maps. Raises Error.

    A pyrunc-init enters it; the namespace outlives that process by the descriptor.
    """
    agent = Agent(lowest)
    with agent as session:
        p = Program()
        p.about(key.why, key.at)
        if posix.geteuid():
            show(p, True)
            p.about(key.why, key.at)
        else:
            become_owner(p, owner_of(uids), own_capabilities())
        p.call("unshare", CLONE_NEWUSER)
        p.sync("made")
        step_errors.check(session.run(p), INIT)
        for name, maps in (("uid", uids), ("gid", gids)):
            _write_map(f"/proc/{agent.pid}/{name}_map", maps, f"{key.at}/{name}Mappings", key.why)
        return posix.open(f"/proc/{agent.pid}/ns/user", posix.O_RDONLY | posix.O_CLOEXEC)


def _write_map(path: str, maps: "list[IDMapping]", pointer: str, why: str) -> None:
    lines = [f"{m['containerID']} {m['hostID']} {m['size']}\n" for m in maps]
    try:
        fd = posix.open(path, posix.O_WRONLY | posix.O_CLOEXEC)
        try:
            posix.write(fd, "".join(lines).encode())
        finally:
            posix.close(fd)
    except OSError as error:
        errno = error.errno or 0
        raise Error(
            f"{INIT}{why} ({pointer[1:]}): write {path.rpartition('/')[2]}: {strerror(errno)}",
            pointer=pointer,
            errno=errno,
        ) from None


def receive(p: Program, count: int) -> Space:
    """Steps that take copies of `count` descriptors, at most 253; where their numbers will be, from byte 16 on, four
    bytes each."""
    size = 16 + 4 * count
    payload, control = Space(8, "byte"), Space((size + 7) // 8 * 8, "cmsghdr")
    vector = Words((payload, 1), "iovec")
    message = Words((0, 0, vector, 1, control, control.size, 0), "msghdr")
    p.call("recvmsg", SESSION, message, _MSG_CMSG_CLOEXEC)
    p.check(control, 8, _ALL, size, EBADF)
    return control


def hand_over(session: Session, p: Program, descriptors: "list[int]") -> "Reply":
    """Run a program that begins with receive(). The descriptors stay open here."""
    steps = session.send(p)
    # After the program: whoever reads that takes no descriptors.
    sock: Any = session.sock
    sock.sendmsg([b"\0"], [(1, 1, pack(f"<{len(descriptors)}i", *descriptors))])
    return session.receive(steps)


def lend(session: Session, fd: int, dst: Reg) -> None:
    """Give a pyrunc-init that waits for a program a copy of a descriptor, in a register."""
    p = Program(conversation())
    p.about("error receiving a descriptor")
    control = receive(p, 1)
    p.load(At(control, 16), 4, dst)
    p.sync("received")
    step_errors.check(hand_over(session, p, [fd]), INIT)
