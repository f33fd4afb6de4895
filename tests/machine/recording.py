"""A pyrunc-init in Python, with a scripted kernel in place of the real one: for tests of plans.

    kernel = Kernel({"openat2": 7, "mount_setattr": [0, -ENOSYS]})
    session = Recorder(kernel)
    reply = session.run(program)
    [str(call) for call in kernel.calls]

Recorder stands where machine.session.Session does. What it executes is the assembled message, by
docs/machine.md and not by init.c, so that the two can be held against each other. Cold.
"""

from _struct import Struct

from pyrunc.errors import Error
from pyrunc.machine.assembler import assemble, syscall_numbers
from pyrunc.machine.describe import describe
from pyrunc.machine.ops import At, Label, Ref, Reg, Space, Step, Words
from pyrunc.machine.session import Lost, Reply, Trace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    Answer = int | list[int] | Callable[["Call"], int]

_ARENA, _ARENA_SIZE = 0x10000000, 1 << 24
_PROGRAM, _SPACE = 0x1000, 0xE00000
_MAGIC = 0x4E525950
_HEADER, _OP = Struct("<IIIIII"), Struct("<6QIHBBHH4B")
_PSEUDO = 0x80000000
_MASK = (1 << 64) - 1
_EINVAL = 22


class BadProgram(Error):
    """pyrunc-init would refuse the program and end."""


class Memory:
    """The arena: what lies at pyrunc-init's addresses."""

    def __init__(self, data: "bytes | bytearray" = b"") -> None:
        self.data = bytearray(data) if data else bytearray(_ARENA_SIZE)

    def holds(self, address: int, length: int) -> bool:
        return address >= _ARENA and length <= _ARENA_SIZE - (address - _ARENA)

    def read(self, address: int, length: int) -> bytes:
        """Bytes at an address; ValueError outside the arena."""
        if not self.holds(address, length):
            raise ValueError(f"{address:#x} is outside the arena")
        start = address - _ARENA
        return bytes(self.data[start : start + length])

    def write(self, address: int, data: bytes) -> None:
        """What the kernel does with a buffer; ValueError outside the arena."""
        if not self.holds(address, len(data)):
            raise ValueError(f"{address:#x} is outside the arena")
        start = address - _ARENA
        self.data[start : start + len(data)] = data

    def string(self, address: int) -> bytes:
        """The bytes up to the next NUL."""
        start = address - _ARENA
        return bytes(self.data[start : self.data.index(0, start)])

    def word(self, address: int) -> int:
        return int.from_bytes(self.read(address, 8), "little")


class Call:
    """One system call as it was made.

    name, args: its name and up to six words. step: the step it came from, None for a raw message.
    values: the arguments as a reader wants them: registers and integers as signed numbers, bytes
    as bytes, structures as tuples of such values. memory: for kernels that read or fill buffers.
    """

    def __init__(self, name: str, args: "tuple[int, ...]", step: "Step | None", memory: Memory) -> None:
        self.name = name
        self.args = args
        self.step = step
        self.memory = memory
        self.result = 0
        given = step.args if step is not None else args
        self.values = tuple(self._value(value, args[index]) for index, value in enumerate(given))

    def _value(self, value: object, word: int) -> object:
        if isinstance(value, bytes):
            return self.memory.read(word, len(value))
        if isinstance(value, Words):
            return tuple(
                self._value(field, self.memory.word(word + 8 * index)) for index, field in enumerate(value.fields)
            )
        if isinstance(value, (Space, At, Ref)) or value is None:
            return value
        return word - (1 << 64) if word >> 63 else word

    def path(self) -> str:
        """The first argument that is a string and not empty, "" without one."""
        for value in self.values:
            if isinstance(value, bytes) and value:
                return value.decode(errors="surrogateescape")
        return ""

    def __str__(self) -> str:
        return describe(self.step) if self.step is not None else f"{self.name}{self.args}"

    def __repr__(self) -> str:
        return f"<{self} = {self.result}>"


class Kernel:
    """Answers system calls from a table and writes them down.

    answers: by name: a result (negative: an errno), a list of results one after another of which
    the last stays, or a function of the Call. What is not in it gets a fresh descriptor where the
    step keeps its result, and 0 otherwise; clone and clone3 give fresh pids.
    """

    def __init__(self, answers: "Mapping[str, Answer] | None" = None) -> None:
        self.answers: dict[str, Answer] = dict(answers or {})
        self.calls: list[Call] = []
        self._next_fd = 100
        self._next_pid = 1000

    def __call__(self, call: Call) -> int:
        answer = self.answers.get(call.name)
        if answer is None:
            result = self._default(call)
        elif isinstance(answer, int):
            result = answer
        elif isinstance(answer, list):
            result = answer.pop(0) if len(answer) > 1 else answer[0]
        else:
            result = answer(call)
        call.result = result
        self.calls.append(call)
        return result

    def fail(self, name: str, errno: int, when: "Callable[[Call], bool]") -> None:
        """Let those calls of a name fail for which `when` holds; the others stay as they were."""
        before = self.answers.get(name)

        def answer(call: Call) -> int:
            if when(call):
                return -errno
            if before is None:
                return self._default(call)
            if isinstance(before, int):
                return before
            if isinstance(before, list):
                return before.pop(0) if len(before) > 1 else before[0]
            return before(call)

        self.answers[name] = answer

    def named(self, *names: str) -> "list[Call]":
        """The calls of these names in their order."""
        return [call for call in self.calls if call.name in names]

    def _default(self, call: Call) -> int:
        if call.name in ("clone", "clone3"):
            self._next_pid += 1
            return self._next_pid
        if call.step is not None and call.step.dst is not None:
            self._next_fd += 1
            return self._next_fd
        return 0


class Machine:
    """The machine itself: registers, arena, and the program in it.

    Feed it a message as it goes over the socket; replies come as (op, errno, data). A process that
    clone or clone3 made is another Machine, in `children`, which stands at the step after the call.
    """

    def __init__(self, kernel: "Callable[[Call], int]", *, machine: str = "x86_64", session: int = 3) -> None:
        self.kernel = kernel
        self.memory = Memory()
        self.numbers = syscall_numbers(machine)
        self.names = {number: name for name, number in self.numbers.items()}
        self.children: list[Machine] = []
        self.ended = ""
        self._set(0, session)
        self._count = 0
        self._next = 0
        self._steps: list[Step] = []

    def register(self, index: int) -> int:
        return self.memory.word(_ARENA + 8 * index)

    def _set(self, index: int, value: int) -> None:
        self.memory.write(_ARENA + 8 * index, (value & _MASK).to_bytes(8, "little"))

    def load(self, message: bytes, steps: "list[Step] | None" = None) -> None:
        """Take a program. Raises BadProgram where pyrunc-init would end."""
        if len(message) < _HEADER.size:
            raise BadProgram("the header is cut")
        magic, count, size, space, _, _ = _HEADER.unpack_from(message)
        length = count * _OP.size + size
        if magic != _MAGIC or not 0 < count <= 0xFFFF:
            raise BadProgram("bad header")
        if length > _SPACE - _PROGRAM or space > 0x100000:
            raise BadProgram("too large")
        body = message[_HEADER.size : _HEADER.size + length]
        if len(body) < length:
            raise BadProgram("the program is cut")
        self.memory.write(_ARENA + _PROGRAM, body)
        self.memory.write(_ARENA + _SPACE, bytes(space))
        for index in range(count):
            self._examine(index, count)
        self._count = count
        self._next = 0
        self._steps = steps or []

    def _op(self, index: int) -> "tuple[int, ...]":
        return _OP.unpack_from(self.memory.data, _PROGRAM + _OP.size * index)

    def _examine(self, index: int, count: int) -> None:
        op = self._op(index)
        number, kinds, dst, flags, error, zero = op[6:12]
        for target in (error, zero):
            if target and not index < target < count:
                raise BadProgram(f"op {index} jumps to {target}")
        if dst >= 128 and dst != 0xFF:
            raise BadProgram(f"op {index} has register {dst} for its result")
        if flags & 1 and not error:
            raise BadProgram(f"op {index} jumps nowhere")
        if number > _PSEUDO + 4:
            raise BadProgram(f"op {index} has number {number:#x}")
        for place in range(6):
            kind = kinds >> 2 * place & 3
            if kind == 3 or (kind and op[place] >= 128):
                raise BadProgram(f"op {index} has a bad argument {place}")

    def go(self) -> "tuple[int, int, bytes, bool]":
        """Execute up to the next reply: op, errno, data, and whether the program waits there.

        Raises Lost where the process has ended, BadProgram where a reply leaves the arena.
        """
        while self._next < self._count:
            index = self._next
            op = self._op(index)
            number, kinds, dst, flags, error, zero = op[6:12]
            listed = [errno for errno in op[12:16] if errno]
            args = tuple(self._argument(op[i], kinds >> 2 * i & 3) for i in range(6))
            if number == _PSEUDO + 4:
                address, length, wait = args[:3]
                if not self.memory.holds(address, length):
                    self.ended = "bad program"
                    raise BadProgram(f"op {index} replies from {address:#x}")
                self._next = self._count if wait else index + 1
                return index, 0, self.memory.read(address, length), bool(wait)
            if number >= _PSEUDO:
                result = self._pseudo(number - _PSEUDO, args)
            else:
                result = self._call(index, number, args)
            if dst != 0xFF:
                self._set(dst, result)
            self._next = index + 1
            if -4095 <= result < 0 and number != _PSEUDO:
                is_listed = -result in listed
                jumps = is_listed if flags & 1 else bool(error) and not is_listed
                if jumps:
                    self._next = error
                elif flags & 1 or not is_listed:
                    self._next = self._count
                    return index, -result, b"", True
            elif result == 0 and zero:
                self._next = zero
        return self._count, 0, b"", True

    def _argument(self, word: int, kind: int) -> int:
        if kind == 1:
            return self.register(word)
        return _ARENA + 8 * word if kind == 2 else word

    def _call(self, index: int, number: int, args: "tuple[int, ...]") -> int:
        name = self.names.get(number, f"syscall_{number}")
        step = self._steps[index] if index < len(self._steps) else None
        if step is not None:
            args = args[: len(step.args)]
        result = self.kernel(Call(name, args, step, self.memory))
        if name in ("clone", "clone3") and result > 0:
            self.children.append(self._fork(index))
        if name == "exit_group" or (name in ("execve", "execveat") and result >= 0):
            self.ended = name
            raise Lost(f"the process ended with {name}")
        return result

    def _fork(self, index: int) -> "Machine":
        """The process that clone3 made: a copy in which the call has returned 0."""
        child = Machine.__new__(Machine)
        child.kernel = self.kernel
        child.memory = Memory(self.memory.data)
        child.numbers, child.names = self.numbers, self.names
        child.children = []
        child.ended = ""
        child._count, child._steps = self._count, self._steps
        op = self._op(index)
        if op[8] != 0xFF:
            child._set(op[8], 0)
        child._next = op[11] or index + 1
        return child

    def _pseudo(self, number: int, args: "tuple[int, ...]") -> int:
        """move, store, load and check; the result as a signed number."""
        if number == 0:
            return _signed((args[0] ^ args[1]) + args[2] & _MASK)
        address = args[0]
        if not self.memory.holds(address, 8):
            return -_EINVAL
        if number == 1:
            if args[2] not in (4, 8):
                return -_EINVAL
            self.memory.write(address, args[1].to_bytes(8, "little")[: args[2]])
            return 0
        width = args[1] if args[1] in (1, 2, 4) else 8
        value = int.from_bytes(self.memory.read(address, width), "little")
        if number == 2:
            return _signed(value)
        return 0 if value & args[2] == args[3] else _signed(-args[4] & _MASK)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


class Recorder:
    """Session's methods on a Machine. `descriptors` is what a test says was received."""

    def __init__(self, kernel: Kernel, name: str = "recorder", machine: "Machine | None" = None) -> None:
        self.kernel = kernel
        self.name = name
        self.machine = machine or Machine(kernel)
        self.numbers = self.machine.numbers
        self.trace: Trace | None = None
        self.descriptors: list[int] = []
        self.closed = False

    def send(self, items: "Iterable[Step | Label]") -> "list[Step]":
        """Take a program; it is executed when the reply is asked for."""
        if self.machine.ended or self.closed:
            raise Lost(f"{self.name} ended before its program was sent")
        message, steps = assemble(items, self.numbers)
        self.machine.load(message, steps)
        return steps

    def receive(self, steps: "list[Step]") -> Reply:
        """Execute up to the next reply."""
        if self.machine.ended:
            raise Lost(f"{self.name} ended without an answer")
        index, errno, data, _ = self.machine.go()
        step = steps[index] if index < len(steps) else None
        return Reply(index, step, errno, data)

    def run(self, items: "Iterable[Step | Label]") -> Reply:
        """Take a program and execute it up to its first reply."""
        return self.receive(self.send(items))

    def child(self, number: int = -1) -> "Recorder":
        """The session of a process that clone3 made."""
        machine = self.machine.children[number]
        return Recorder(self.kernel, f"{self.name}'s child", machine)

    def register(self, reg: Reg) -> int:
        """What is in a register, as a signed number."""
        return _signed(self.machine.register(reg.index))

    def close(self) -> None:
        self.closed = True
