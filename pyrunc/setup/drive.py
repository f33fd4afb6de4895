"""Conducting a program: send it piece by piece, and decide where it asks or fails.

A list of steps is cut at its syncs. At each, and at each failure, Python may put steps before what is left. Registers
keep their values from one piece to the next; memory does not: what a step that may fail and be made good has behind it
cannot read what was written before it.
"""

from pyrunc.machine.ops import Label, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pyrunc.machine.session import Reply, Session

    Items = "list[Step | Label]"


def first_piece(items: "list[Step | Label]") -> "tuple[list[Step | Label], list[Step | Label]]":
    """The items up to and with the first sync, and the rest."""
    for number, item in enumerate(items):
        # The name first: it is another one for all but a few.
        if item.name == "reply" and type(item) is Step and item.args[2] == 1:
            return items[: number + 1], items[number + 1 :]
    return items, []


def conduct(
    session: "Session",
    items: "Iterable[Step | Label]",
    at_sync: "Callable[[object, Reply], Iterable[Step | Label] | None]",
    at_failure: "Callable[[Step, int], tuple[bool, Iterable[Step | Label]]]",
    *,
    sent: "list[Step] | None" = None,
    note: "Callable[[Session, list[Step], Reply], object] | None" = None,
) -> None:
    """Run the steps to their end.

    at_sync(key, reply): steps to do first, or None.
    at_failure(step, errno): whether to try the step again, and steps to do before that; or raises. sent: what
    `session.send` returned, where the first piece has been sent already. note: is given each reply that does not wait.
    """
    left = list(items)
    while left:
        piece, left = first_piece(left)
        steps = session.send(piece) if sent is None else sent
        sent = None
        reply = session.receive(steps)
        while not reply.errno and reply.step is not None and reply.step.name == "reply":
            if reply.step.args[2]:
                break
            if note is not None:
                note(session, steps, reply)
            reply = session.receive(steps)
        if reply.errno:
            step = reply.step
            assert step is not None
            again, more = at_failure(step, reply.errno)
            place = piece.index(step)
            left = [*more, *piece[place if again else place + 1 :], *left]
        else:
            here = reply.step
            if here is not None and here.name == "reply":
                more_steps = at_sync(here.key, reply)
                if more_steps is not None:
                    left = [*more_steps, *left]
