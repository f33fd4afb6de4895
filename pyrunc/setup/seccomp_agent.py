"""The seccomp agent (config-linux.md, "Seccomp": listenerPath, listenerMetadata).

    init                                   host
    seccomp(2), a new listener
    note: the listener's number ─────────► take it (pidfd_getfd(2), by a host agent)
                                           connect to the agent, send state and descriptor
    goes on ◄───────────────────────────── one byte

From the filter on the init may only do what the profile allows: it writes and reads its session, as
for any step. Where the host side may not take the descriptor (no privileges over a process that
cannot be dumped), the init sends it with the note, or when it is asked to.

Import cost: posix, _socket, _struct.
"""

import posix
from _socket import AF_UNIX, SOCK_STREAM, socket
from _struct import pack

from pyrunc.config.strict import dumps
from pyrunc.errors import Error, from_os_error
from pyrunc.machine.ops import Fd, Program
from pyrunc.machine.session import Agent, above
from pyrunc.plan.process.seccomp_filter import LISTENER, LISTENER_SENT, SEND_IT, TAKEN
from pyrunc.setup.host import connect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.config.types import Seccomp
    from pyrunc.machine.ops import Step
    from pyrunc.machine.session import Reply, Session

_POINTER = "/linux/seccomp/listenerPath"
_FAILED = "failed to connect with seccomp agent"
_LOWEST = 16
_S_IFMT, _S_IFSOCK = 0o170000, 0o140000


def check_agent(path: str) -> None:
    """Raise Error where nobody can be listening: `create` would succeed, and `start` could not."""
    try:
        mode = posix.stat(path).st_mode
    except OSError as error:
        raise from_os_error(f"{_FAILED} {path} (linux/seccomp/listenerPath)", error) from None
    if mode & _S_IFMT != _S_IFSOCK:
        raise Error(f"{_FAILED} {path} (linux/seccomp/listenerPath): not a socket", pointer=_POINTER)


class Handover:
    """Gives the listener of one process to the agent when the process has made it.

    profile: linux.seccomp of the configuration. pid: the process, as pyrunc sees it. state: of the
    container, as hooks get it.
    """

    __slots__ = ("pid", "profile", "state")

    def __init__(self, profile: "Seccomp", pid: int, state: "dict[str, Any]") -> None:
        self.profile = profile
        self.pid = pid
        self.state = state

    def __call__(self, session: "Session", steps: "list[Step]", reply: "Reply") -> bool:
        """For Session.until_exec and conduct: what a note of the process asks for, and whether it asked. Raises
        Error."""
        if reply.step is None or reply.step.key != LISTENER:
            return False
        sent_ahead = session.descriptors
        fd = sent_ahead.pop() if sent_ahead else self._take(int.from_bytes(reply.data, "little"))
        if fd < 0:
            posix.write(session.fd, SEND_IT)
            sent = session.receive(steps)
            if sent.errno or sent.step is None or sent.step.key != LISTENER_SENT:
                raise Error("the seccomp listener can be neither taken nor sent", pointer=_POINTER)
            fd = session.descriptors.pop()
        try:
            self._give(fd)
        finally:
            posix.close(fd)
        try:
            posix.write(session.fd, TAKEN)
        except BrokenPipeError:
            pass  # the process has been killed meanwhile
        return True

    def _take(self, number: int) -> int:
        """A descriptor of the process as one of our own; -1 where the kernel forbids it."""
        pidfd = posix.pidfd_open(self.pid)
        theirs = Fd(above(pidfd, _LOWEST), "process")
        posix.close(pidfd)
        try:
            with Agent(_LOWEST, (theirs,)) as session:
                p = Program()
                p.about("error taking the seccomp listener", _POINTER)
                listener = p.reg("listener")
                p.call("pidfd_getfd", theirs, number, 0, dst=listener)
                p.send_fds(listener)
                p.sync("taken")
                reply = session.run(p)
                return -1 if reply.errno else session.descriptors.pop()
        finally:
            posix.close(theirs)

    def _give(self, listener: int) -> None:
        path = self.profile.get("listenerPath", "")
        message: dict[str, Any] = {
            "ociVersion": self.state["ociVersion"],
            "fds": ["seccompFd"],
            "pid": self.pid,
        }
        if self.profile.get("listenerMetadata"):
            message["metadata"] = self.profile["listenerMetadata"]
        message["state"] = self.state
        data = dumps(message).encode(errors="surrogateescape")
        agent = socket(AF_UNIX, SOCK_STREAM)
        try:
            connect(agent, path)
        except OSError as error:
            agent.close()
            raise from_os_error(f"{_FAILED} {path} (linux/seccomp/listenerPath)", error) from None
        try:
            sent = agent.sendmsg([data], [(1, 1, pack("<i", listener))])
            while sent < len(data):
                # The descriptor went with the first part, as the specification wants it.
                sent += agent.send(data[sent:])
        except OSError as error:
            where = f"error sending to the seccomp agent {path} (linux/seccomp/listenerPath)"
            raise from_os_error(where, error) from None
        finally:
            agent.close()
