"""Loading the seccomp filter, and giving its listener to the seccomp agent (config-linux.md, "Seccomp").

Imported where there is a filter.
"""

from errno import EINVAL, EPIPE

from pyrunc.machine.ops import SESSION, Label, Program, Ref, Space, Words

_NEW_LISTENER = 8  # SECCOMP_FILTER_FLAG_NEW_LISTENER
# Keys of the notes by which the host side gets the listener, and the bytes that answer the first.
LISTENER, LISTENER_SENT = "seccomp listener", "seccomp listener sent"
TAKEN, SEND_IT = b"\1", b"\2"


def load_filter(p: Program, program: bytes, flags: int, send: bool) -> None:
    """seccomp(2): SECCOMP_SET_MODE_FILTER.

    send: the host side may not take the listener out of the process, which sends it at once then. To be asked for it
    would take a read, and that the agent may have to decide about, which has no listener yet.
    """
    p.about("unable to load seccomp filter", "/linux/seccomp")
    filter_program = Words((len(program) // 8, program), "sock_fprog")
    if not flags & _NEW_LISTENER:
        p.call("seccomp", 1, flags, filter_program)
        return
    listener, answer = p.reg("listener"), Space(8, "answer")
    taken, alone, asked = Label("taken"), Label("nobody listens"), Label("send it")
    p.call("seccomp", 1, flags, filter_program, dst=listener)
    # What may come next the profile decides; write and read are what a session needs anyway.
    p.about("error giving the listener to the seccomp agent", "/linux/seccomp/listenerPath")
    if send:
        unsent = Label("not sent")
        p.send_fds(listener, error=unsent)  # the profile may forbid it, and the host side try the other way
        p.label(unsent)
    p.call("reply", Ref(listener), 8, 0, key=LISTENER)
    p.call("read", SESSION, answer, 1, zero=alone)
    p.check(answer, 1, 0xFF, TAKEN[0], EINVAL, error=asked)
    p.jump(taken)
    p.label(asked)
    p.send_fds(listener)
    p.call("reply", Ref(listener), 0, 0, key=LISTENER_SENT)
    p.call("read", SESSION, answer, 1, zero=alone)
    p.jump(taken)
    p.label(alone)
    p.fail(EPIPE)
    # It is closed by execve.
    p.label(taken)
    p.registers.give(listener)
