"""Loading, attaching and replacing a device program, as steps for the host agent (bpf(2)).

The standard library has no bpf(2); pyrunc-init has every system call. attach() appends to a program
that the caller sends; replace() holds a conversation over a session.

Import cost: _struct and machine.ops, which create has loaded anyway.
"""

from _struct import Struct

from pyrunc.errors import Error, strerror
from pyrunc.machine.ops import At, Label, Program, Space, Words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.machine.ops import Reg
    from pyrunc.machine.session import Reply, Session

PROG_LOAD, PROG_ATTACH, PROG_DETACH, PROG_GET_FD_BY_ID, PROG_QUERY = 5, 8, 9, 13, 16
PROG_TYPE_CGROUP_DEVICE = 15
CGROUP_DEVICE = 6
ALLOW_MULTI, REPLACE = 2, 4
LICENSE = b"Apache-2.0"
NAME = b"pyrunc_devices\0\0"
MOST = 64  # programs that one cgroup can hold (BPF_CGROUP_MAX_PROGS)
POINTER = "/linux/resources/devices"


def _load(steps: Program, insns: bytes, failed: "Label | None") -> "Reg":
    attr = Words(
        (
            PROG_TYPE_CGROUP_DEVICE | len(insns) // 8 << 32,
            insns,
            LICENSE,
            0,  # no log: the kernel's verifier is content with what devices.compile() emits
            0,
            0,
            int.from_bytes(NAME[:8], "little"),
            int.from_bytes(NAME[8:], "little"),
        ),
        "bpf_attr",
    )
    program = steps.reg("device program")
    steps.call("bpf", PROG_LOAD, attr, 64, dst=program, error=failed)
    return program


def _attr(steps: Program, *fields: object) -> Space:
    """A bpf_attr of 32-bit fields, some of which are registers."""
    attr = Space(4 * len(fields), "bpf_attr")
    for index, field in enumerate(fields):
        if field != 0:
            steps.store(At(attr, 4 * index), field)
    return attr


def attach(steps: Program, insns: bytes, cgroup: object, *, optional: bool = False) -> None:
    """Append the steps that load `insns` and attach them to a cgroup that has no program yet.

    cgroup: descriptor of its directory in the agent (an integer, Fd or Reg). optional: go on
    without where the kernel refuses (no CAP_BPF in a user namespace, or a container around us).
    """
    steps.about("restrict devices", POINTER)
    loaded, done = Label("program loaded"), Label("devices done")
    program = _load(steps, insns, done if optional else None)
    attr = _attr(steps, cgroup, program, CGROUP_DEVICE, ALLOW_MULTI)
    steps.call("bpf", PROG_ATTACH, attr, 16, error=loaded if optional else None)
    if optional:
        steps.label(loaded)
    steps.close(program)
    if optional:
        steps.label(done)


def replace(session: "Session", insns: bytes, cgroup: int) -> None:
    """Put `insns` in the place of whatever device programs the cgroup has; one always decides.
    cgroup: descriptor of its directory in the agent. Raises Error.
    """
    old = query(session, cgroup)
    steps = Program()
    steps.about("replace the device program", POINTER)
    program = _load(steps, insns, None)
    handles = []
    for number in old:
        handle = steps.reg(f"program {number}")
        steps.call("bpf", PROG_GET_FD_BY_ID, _attr(steps, number), 12, dst=handle)
        handles.append(handle)
    if len(old) == 1:
        # The kernel swaps the two in one step (5.6).
        attr = _attr(steps, cgroup, program, CGROUP_DEVICE, ALLOW_MULTI | REPLACE, handles[0])
        steps.call("bpf", PROG_ATTACH, attr, 20)
    else:
        # All that are attached must agree, so the new one restricts at once and loosens at last.
        attr = _attr(steps, cgroup, program, CGROUP_DEVICE, ALLOW_MULTI)
        steps.call("bpf", PROG_ATTACH, attr, 16)
        for handle in handles:
            attr = _attr(steps, cgroup, handle, CGROUP_DEVICE)
            steps.call("bpf", PROG_DETACH, attr, 12)
    for handle in (*handles, program):
        steps.close(handle)
    _run(session, steps, "replace the device program")


def query(session: "Session", cgroup: int) -> "tuple[int, ...]":
    """The ids of the device programs attached to the cgroup itself. Raises Error."""
    steps = Program()
    steps.about("look at the device programs", POINTER)
    ids = Space(4 * MOST, "program ids")
    attr = _attr(steps, cgroup, CGROUP_DEVICE, 0, 0, 0, 0, MOST)
    steps.store(At(attr, 16), ids, 8)
    steps.call("bpf", PROG_QUERY, attr, 28)
    steps.call("reply", At(attr, 24), 4, 0)
    steps.sync("ids", ids, 4 * MOST)
    sent = session.send(steps)
    count = int.from_bytes(_ok(session.receive(sent), "look at the device programs"), "little")
    data = session.receive(sent).data
    return Struct(f"<{count}I").unpack_from(data)


def _run(session: "Session", steps: Program, doing: str) -> None:
    steps.sync("done")
    _ok(session.run(steps), doing)


def _ok(reply: "Reply", doing: str) -> bytes:
    if reply.errno:
        raise Error(
            f"{doing} ({POINTER[1:]}): bpf: {strerror(reply.errno)}",
            pointer=POINTER,
            syscall="bpf",
            errno=reply.errno,
        )
    return reply.data
