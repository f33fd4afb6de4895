"""Device nodes for a container in a user namespace, where nobody may make any, by the host.

One agent makes them all, with the modes and owners that the configuration says, on a tmpfs of its own, and clones a
mount of each. They travel as descriptors, many at once, and the container's init attaches them. What is in the place
of a node already, and what the host may not make either, is decided by device_nodes.py, node by node.

Import cost: that of host_mounts.
"""

import posix
from errno import EEXIST, ENODEV, ENOENT, EPERM

from pyrunc.errors import INIT
from pyrunc.kernel.files import read_file
from pyrunc.kernel.uapi import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_SYMLINK_NOFOLLOW,
    CLONE_NEWNS,
    FSCONFIG_CMD_CREATE,
    FSCONFIG_SET_STRING,
    FSMOUNT_CLOEXEC,
    FSOPEN_CLOEXEC,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOVE_MOUNT_F_EMPTY_PATH,
    MS_PRIVATE,
    MS_REC,
    O_CLOEXEC,
    O_NOFOLLOW,
    O_PATH,
    OPEN_TREE_CLOEXEC,
    OPEN_TREE_CLONE,
    S_IFMT,
    S_IFREG,
    STATX_MODE_AT,
    STATX_SIZE,
    STATX_SIZE_AT,
    STATX_SIZE_OF,
    STATX_TYPE,
)
from pyrunc.machine.ops import At, Label, Program, Reg, Registers, Space, conversation
from pyrunc.machine.session import Session, StandingAgent
from pyrunc.plan.filesystem.devices import Node, attributes, same_device
from pyrunc.plan.filesystem.mountapi import attach
from pyrunc.setup.failures import step_errors
from pyrunc.setup.filesystem.device_nodes import Nodes
from pyrunc.setup.filesystem.host_mounts import hand_over, receive

_ALL = 0xFFFFFFFFFFFFFFFF
# At once: so many descriptors has each of agent, pyrunc and init open for a moment, whose limits may be low.
_MOST = 32
_TMPFS, _NODE = Reg(1, "tmpfs"), Reg(2, "node")  # of the agent


class HostNodes:
    """The agent that makes nodes. It exists from the first use on.

    pid: the container's init. lowest: descriptors of the agent are not below it.
    """

    __slots__ = ("_agent", "_maps", "_number")

    def __init__(self, pid: int, lowest: int) -> None:
        self._agent = StandingAgent(lowest)
        self._number = 0
        self._maps = _map(pid, "uid"), _map(pid, "gid")

    def make(self, init: Session, nodes: "list[Node]") -> "list[Node]":
        """Make nodes and have the init attach them; those that it could not be done for. Raises Error."""
        left, able = [], []
        for node in nodes:
            _, _, uid, gid = attributes(node.device)
            owner = _outside(self._maps[0], uid), _outside(self._maps[1], gid)
            if -1 in owner:
                left.append(node)
            else:
                able.append((node, owner))
        while able:
            some, able = able[:_MOST], able[_MOST:]
            made, descriptors = self._make(some)
            try:
                if descriptors:
                    _attach(init, [node for (node, _), one in zip(some, made, strict=True) if one], descriptors)
            finally:
                for fd in descriptors:
                    posix.close(fd)
            left += [node for (node, _), one in zip(some, made, strict=True) if not one]
        return left

    def _make(self, nodes: "list[tuple[Node, tuple[int, int]]]") -> "tuple[bytes, list[int]]":
        """For each node 1 where the host may make it, else 0; descriptors of detached mounts of those that it made."""
        p = Program(Registers(3, 9))
        if not self._agent.started:
            _begin(p)
        session = self._agent.session()
        made = Space(8 * len(nodes), "made")
        for number, (node, owner) in enumerate(nodes):
            p.about(node.why, node.pointer)
            mode, device, _, _ = attributes(node.device)
            name = str(self._number).encode()
            self._number += 1
            refused = Label("refused")
            p.call("mknodat", _TMPFS, name, mode, device, only=(EPERM,), error=refused)
            p.call("fchownat", _TMPFS, name, *owner, AT_SYMLINK_NOFOLLOW)
            p.call("open_tree", _TMPFS, name, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC, dst=_NODE)
            p.send_fds(_NODE)
            p.call("close", _NODE)
            p.store(At(made, 8 * number), 1, 8)
            p.label(refused)
        p.sync("made", made)
        try:
            reply = step_errors.check(session.run(p), INIT)
        except BaseException:
            for fd in session.descriptors:
                posix.close(fd)
            raise
        descriptors, session.descriptors[:] = session.descriptors[:], []
        return reply.data[::8], descriptors

    def close(self, error: "BaseException | None" = None) -> None:
        """Let the agent end. error: as of StandingAgent.close."""
        self._agent.close(error)


def _begin(p: Program) -> None:
    """The tmpfs, mounted where only the agent sees it: of what is not mounted nothing can be cloned (open_tree(2))."""
    p.about("error making a file system for device nodes")
    fs = p.reg("fs")
    p.call("unshare", CLONE_NEWNS)
    p.call("mount", None, b"/", None, MS_REC | MS_PRIVATE, None)
    p.call("umask", 0)
    p.call("fsopen", b"tmpfs", FSOPEN_CLOEXEC, dst=fs)
    p.call("fsconfig", fs, FSCONFIG_SET_STRING, b"mode", b"755", 0)
    p.call("fsconfig", fs, FSCONFIG_CMD_CREATE, None, None, 0)
    p.call("fsmount", fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, dst=_TMPFS)
    p.call("move_mount", _TMPFS, b"", AT_FDCWD, b"/", MOVE_MOUNT_F_EMPTY_PATH)
    p.close(fs)


def _attach(init: Session, nodes: "list[Node]", descriptors: "list[int]") -> None:
    """Have the init attach one mount for each node. Raises Error."""
    p = Program(conversation())
    p.about("error receiving device nodes")
    control = receive(p, len(nodes))
    source, place = p.reg("device"), p.reg("place")
    stat = Space(STATX_SIZE_OF, "statx")
    for number, node in enumerate(nodes):
        p.about(node.why, node.pointer)
        p.load(At(control, 16 + 4 * number), 4, source)
        _place(p, node, place, stat)
        attach(p, source, place)
        p.label(node.made)
        p.call("close", source)
        p.call("close", place)
    p.sync("attached")
    reply = hand_over(init, p, descriptors)
    if reply.errno and reply.step is not None and type(reply.step.key) is Node:
        # Says what is there.
        Nodes(init, reply.step.key).check_place()
    step_errors.check(reply, INIT)


def _place(p: Program, node: Node, place: Reg, stat: Space) -> None:
    """Open what the node is attached to. Nothing is done where the device is there already."""
    missing, other, found = Label("missing"), Label("another file"), Label("found")
    flags = O_PATH | O_NOFOLLOW | O_CLOEXEC
    p.call("openat", node.parent, node.name, flags, 0, dst=place, only=(ENOENT,), error=missing)
    same_device(p, place, node.device, ENODEV, error=other)
    p.jump(node.made)
    p.label(other)
    # An empty file is what an earlier container has bound its node over.
    p.call("statx", place, b"", AT_EMPTY_PATH, STATX_TYPE | STATX_SIZE, stat)
    p.check(At(stat, STATX_MODE_AT), 2, S_IFMT, S_IFREG, EEXIST, key=node)
    p.check(At(stat, STATX_SIZE_AT), 8, _ALL, 0, EEXIST, key=node)
    p.jump(found)
    p.label(missing)
    p.call("mknodat", node.parent, node.name, S_IFREG | 0o755, 0, ok=(EEXIST,))
    p.call("openat", node.parent, node.name, flags, 0, dst=place)
    p.label(found)


def _map(pid: int, kind: str) -> "list[tuple[int, int, int]]":
    """A process's uid or gid map: first id inside, first id in pyrunc's user namespace, number of ids."""
    lines = read_file(f"/proc/{pid}/{kind}_map").splitlines()
    return [(int(inside), int(outside), int(size)) for inside, outside, size in map(bytes.split, lines)]


def _outside(ids: "list[tuple[int, int, int]]", id: int) -> int:
    """What an id of the container is outside; -1 where it is not mapped."""
    for inside, outside, size in ids:
        if inside <= id < inside + size:
            return outside + id - inside
    return -1
