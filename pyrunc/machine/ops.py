"""Programs: lists of steps, each a system call or a pseudo-op with the reason for it.

A step's arguments are integers, registers and memory: `bytes` (a copy with a NUL behind it),
`Words` (a structure of 64-bit fields), `Space` (memory to be written to), `Reg` (a register's
value), `Ref` (its address) and `At` (a place inside a Words or Space). None of these is bound to an
address before assembler.py lays the program out.

Import cost: none.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    Word = "int | bytes | Words | Space | Reg | Ref | At | None"

PSEUDO = 0x80000000
MOVE, STORE, LOAD, CHECK, REPLY = range(PSEUDO, PSEUDO + 5)
PSEUDO_NAMES = {"move": MOVE, "store": STORE, "load": LOAD, "check": CHECK, "reply": REPLY}

REGISTERS = 128

# Where pyrunc-init keeps the flags of the program that it runs (assembler.py), and the flag that asks for times.
FLAGS_AT = 0x10000810
TRACING = 1

# Where pyrunc-init keeps a struct sigaction by which a signal ends it, with 128 and the signal's number.
ON_SIGNAL = 0x10000C00

# The first eight bytes of a reply that only carries descriptors: the magic, and no op's number.
CARRIER = 0x4E525950 | 0xFFFFFFFF << 32


class Reg:
    """One of pyrunc-init's registers; `name` is for whoever reads the plan."""

    __slots__ = ("index", "name")

    def __init__(self, index: int, name: str) -> None:
        self.index = index
        self.name = name


class Ref:
    """The address of a register."""

    __slots__ = ("reg",)

    def __init__(self, reg: Reg) -> None:
        self.reg = reg


class Fd(int):
    """A descriptor that pyrunc-init inherits, with a name for whoever reads the plan."""

    name: str

    def __new__(cls, number: int, name: str) -> "Fd":
        self = super().__new__(cls, number)
        self.name = name
        return self


class Space:
    """`size` bytes, zeroed when the program is loaded; or left as they are (raw), so that what is
    not used costs nothing."""

    __slots__ = ("name", "raw", "size")

    def __init__(self, size: int, name: str = "", *, raw: bool = False) -> None:
        self.size = size
        self.name = name
        self.raw = raw


class Words:
    """A structure or array of 64-bit fields; fields may point to other memory."""

    __slots__ = ("fields", "kind")

    def __init__(self, fields: "Iterable[object]", kind: str = "") -> None:
        self.fields = tuple(fields)
        self.kind = kind


class At:
    """The address `offset` bytes into a Words or Space."""

    __slots__ = ("base", "offset")

    def __init__(self, base: "Words | Space", offset: int) -> None:
        self.base = base
        self.offset = offset


class Label:
    """A place in a program to jump to: always further on."""

    __slots__ = ("name",)

    def __init__(self, name: str = "") -> None:
        self.name = name


class Step:
    """One op and why it is there.

    name: system call or pseudo-op. dst: register for the result. ok: errnos that count as success.
    only: errnos that jump to `error`, where others fail; without it any errno not in `ok` jumps.
    zero: where a result of 0 goes on. why: what an error message says pyrunc was doing. at: JSON
    pointer. key: what the container layer knows the step by.
    """

    __slots__ = ("args", "at", "dst", "error", "key", "name", "ok", "only", "why", "zero")

    def __init__(
        self,
        name: str,
        args: "tuple[object, ...]",
        dst: "Reg | None",
        ok: "tuple[int, ...]",
        only: "tuple[int, ...]",
        error: "Label | None",
        zero: "Label | None",
        why: str,
        at: str,
        key: object,
    ) -> None:
        self.name = name
        self.args = args
        self.dst = dst
        self.ok = ok
        self.only = only
        self.error = error
        self.zero = zero
        self.why = why
        self.at = at
        self.key = key


_new = object.__new__

CONVERSATION = 112


class Registers:
    """Hands out registers from a range; one pool for all programs that are compiled together.

    first, last: a conversation in the middle of a program uses the range from CONVERSATION on,
    since the pool of the program knows what is free at its end, not in its middle.
    """

    def __init__(self, first: int = 1, last: int = 111) -> None:
        self._free = list(range(last, first - 1, -1))

    def take(self, name: str) -> Reg:
        return Reg(self._free.pop(), name)

    def give(self, reg: Reg) -> None:
        self._free.append(reg.index)


def conversation() -> Registers:
    """The pool for a program in the middle of another one."""
    return Registers(CONVERSATION, REGISTERS - 1)


SESSION = Reg(0, "session")


class Program:
    """A list of steps under construction. Items are steps, and labels before the step they name."""

    def __init__(self, registers: "Registers | None" = None) -> None:
        self.items: list[Step | Label] = []
        self.registers = registers or Registers()
        self._why = ""
        self._at = ""

    def __iter__(self) -> "Iterator[Step | Label]":
        return iter(self.items)

    def about(self, why: str, at: str = "") -> None:
        """Set the reason and the JSON pointer of the steps that follow."""
        self._why = why
        self._at = at

    def reg(self, name: str) -> Reg:
        return self.registers.take(name)

    def call(
        self,
        name: str,
        *args: object,
        dst: "Reg | None" = None,
        ok: "tuple[int, ...]" = (),
        only: "tuple[int, ...]" = (),
        error: "Label | None" = None,
        zero: "Label | None" = None,
        why: "str | None" = None,
        at: "str | None" = None,
        key: object = "",
    ) -> Step:
        """Append a step; see Step for the arguments."""
        # Filled here: a call of __init__ costs as much again, some hundred times in a program.
        step = _new(Step)
        step.name = name
        step.args = args
        step.dst = dst
        step.ok = ok
        step.only = only
        step.error = error
        step.zero = zero
        step.why = self._why if why is None else why
        step.at = self._at if at is None else at
        step.key = key
        self.items.append(step)
        return step

    def label(self, label: Label) -> None:
        """The next step is where `label` points."""
        self.items.append(label)

    def jump(self, label: Label) -> None:
        """Go on at `label`."""
        self.call("move", 0, zero=label)

    def negate(self, value: Reg, dst: Reg) -> None:
        """The negative of a register's value: kill(2) takes a process group so."""
        self.call("move", value, -1, 1, dst=dst)

    def close(self, reg: Reg) -> None:
        """Close the descriptor in a register and give the register back."""
        self.call("close", reg)
        self.registers.give(reg)

    def store(self, place: "At | Space", value: object, width: int = 4) -> None:
        """Write a register or constant into memory."""
        self.call("store", place, value, width)

    def load(self, place: "At | Space", width: int, dst: Reg) -> None:
        """Read `width` bytes of memory into a register."""
        self.call("load", place, width, dst=dst)

    def check(
        self,
        place: "At | Space | Ref",
        width: int,
        mask: int,
        value: int,
        errno: int,
        *,
        error: "Label | None" = None,
        key: object = "",
    ) -> None:
        """Fail with `errno` unless (memory & mask) == value."""
        self.call("check", place, width, mask, value, errno, error=error, key=key)

    def fail(self, errno: int, key: object = "") -> None:
        """A step that always fails: what went wrong is that the program came here."""
        self.call("check", Ref(SESSION), 8, 0, 1, errno, key=key)

    def sync(self, key: object, space: "Space | Ref | At | None" = None, size: int = 0) -> None:
        """Tell Python that the program has come this far, with `size` bytes of memory, and wait.

        Without a place, an empty reply at the start of the arena's registers is sent.
        """
        if isinstance(space, Space) and not size:
            size = space.size
        self.call("reply", space if space is not None else Ref(SESSION), size, 1, key=key)

    def take_flags(self, fd: object) -> None:
        """Let whoever is at the other side of a descriptor say whether the rest is traced: four bytes."""
        self.call("read", fd, FLAGS_AT, 4)

    def flush_times(self) -> None:
        """Send the times so far in a reply that does not wait, where there are any: nothing is told after execve."""
        untraced = Label("untraced")
        self.call("check", FLAGS_AT, 4, TRACING, TRACING, 1, error=untraced)
        self.call("reply", Ref(SESSION), 0, 0)
        self.label(untraced)

    def stop(self, key: object, space: Space) -> None:
        """As `sync`, on a path taken only where something went wrong: no program is cut here."""
        self.call("reply", space, space.size, 2, key=key)

    def send_fds(self, *regs: Reg, error: "Label | None" = None) -> None:
        """Send descriptors to Python ahead of the next reply, in a message that looks like one."""
        size = 16 + 4 * len(regs)
        words = (size + 7) // 8
        # SOL_SOCKET, SCM_RIGHTS
        control = Words((size, 1 | 1 << 32, *(0,) * (words - 2)), "cmsghdr")
        for number, reg in enumerate(regs):
            self.store(At(control, 16 + 4 * number), reg)
        payload = Words((CARRIER, 0, 0), "reply")
        vector = Words((payload, 24), "iovec")
        message = Words((0, 0, vector, 1, control, words * 8, 0), "msghdr")
        self.call("sendmsg", SESSION, message, 0x4000, error=error)  # MSG_NOSIGNAL
