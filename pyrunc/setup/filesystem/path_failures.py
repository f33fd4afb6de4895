"""What can be done about an openat2(2) that failed on its way to a path below a root.

Import cost: none; the walk is imported where it is needed.
"""

from errno import EAGAIN, ENOSYS, EPERM

from pyrunc.machine.ops import Program, Reg

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyrunc.machine.ops import Label, Step
    from pyrunc.machine.session import Session

    Items = Iterable[Step | Label]

# What openat2(2) gives where there is none: of the kernel, and of a seccomp filter that does not know it.
_NO_OPENAT2 = (ENOSYS, EPERM)
# Retries of a path that someone disturbs by renaming: 2 ms and more of them.
_MOST_RETRIES = 4096


class PathFailures:
    """The failures of one session's steps."""

    __slots__ = ("_retries", "_session")

    def __init__(self, session: "Session") -> None:
        self._session = session
        self._retries = 0

    def answer(self, step: "Step", errno: int) -> "tuple[int, tuple[bool, Items]]":
        """0 and the answer (drive.conduct): whether to try the step again, and steps before the rest; or the errno that
        is to be told.

        A step that failed only because something was renamed on its way is tried again, but not for ever: the kernel
        could not be sure that ".." stayed inside (EAGAIN). Where the kernel, or a seccomp filter around pyrunc, has no
        openat2, a walk does what it was to do.
        """
        if step.name != "openat2":
            return errno, (False, ())
        if errno == EAGAIN and self._retries < _MOST_RETRIES:
            self._retries += 1
            return 0, (True, ())
        if errno in _NO_OPENAT2:
            errno, more = self._reopen(step)
            return errno, (False, more)
        return errno, (False, ())

    def _reopen(self, step: "Step") -> "tuple[int, Items]":
        from pyrunc.setup.filesystem.path_walk import Walk

        root = step.args[0]
        assert isinstance(root, Reg)
        errno = Walk(self._session, root).reopen(step)
        if not errno or errno in step.ok:
            return 0, ()
        if step.error is not None and (not step.only or errno in step.only):
            p = Program()
            p.jump(step.error)
            return 0, p.items
        return errno, ()
