"""Whose a new user namespace is (user_namespaces(7), "Interaction of user namespaces").

Who makes one owns it: processes of that user in the parent namespace have every capability in it, whatever theirs are.
A container without a user namespace runs as such a user, root, so it could trace what is set up in another's user
namespace, and reach the host by its root directory. What does not say otherwise is not dumpable, which keeps it off
(__ptrace_may_access); a hook that is executed there is dumpable again. So the agent takes an id of the container's
before it makes the namespace, and nothing else of that id: files are still opened as root's.

Cold: only a new user namespace loads this.
"""

from _struct import pack
from errno import EINVAL

from pyrunc.kernel.uapi import PR_SET_DUMPABLE
from pyrunc.machine.ops import Program
from pyrunc.plan.process.capabilities import bits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyrunc.config.types import IDMapping

# What pyrunc does to a container with a user namespace; who lacks one of these has it only as the owner.
NEEDED = bits(
    [f"CAP_{name}" for name in "KILL SETGID SETUID NET_ADMIN SYS_CHROOT SYS_PTRACE SYS_ADMIN SYS_NICE SETFCAP".split()]
)
_SAME = 0xFFFFFFFF


def owner_of(maps: "Sequence[IDMapping]") -> int:
    """The uid outside that is to own a user namespace with these uidMappings: that of the container's root; where this
    is root's, the highest that is mapped. 0 where only root is."""
    if not maps:
        return 0
    root = min(maps, key=lambda entry: entry["containerID"])["hostID"]
    return root or max(entry["hostID"] + entry["size"] - 1 for entry in maps)


def become_owner(p: Program, uid: int, capabilities: int) -> None:
    """The agent's last steps before it makes the namespace; `about` is the caller's. capabilities: pyrunc's own."""
    if not uid or NEEDED & ~capabilities:
        return
    # An id that is not mapped here is told when the map is written.
    p.call("setresuid", _SAME, uid, _SAME, ok=(EINVAL,))
    p.call("setfsuid", 0)
    low, high = capabilities & _SAME, capabilities >> 32
    p.call("capset", pack("<Ii", 0x20080522, 0), pack("<6I", low, low, 0, high, high, 0))
    p.call("prctl", PR_SET_DUMPABLE, 0, 0, 0, 0)
