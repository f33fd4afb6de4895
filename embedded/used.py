"""What hot commands use, for the layout of the image's memory (heap.c): run by stage.py.

CPython counts references in the objects themselves, so that who uses one writes to its page, which the kernel then
copies. What is used lies together: first what was watched in the rehearsal, then what else is called by a name in
there, or in what is called. It is a guess, which costs or saves time and nothing else.
"""

import sys

from _embedded import place  # type: ignore[import-not-found]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from types import CodeType, FrameType, FunctionType, ModuleType
else:
    FunctionType = type(lambda: None)
    CodeType = type((lambda: None).__code__)

#: Heaps (heap.h).
WARM, HOT = 1, 2
#: Commands whose way is followed.
ROOTS = ["pyrunc.commands." + name for name in ("state", "kill", "delete", "start", "create", "run", "exec")]
#: Of larger containers only what is named is used.
SMALL = 100


class Used:
    """modules: names of those of the image."""

    def __init__(self, modules: "Iterable[str]") -> None:
        self.functions: dict[str, list[CodeType]] = {}
        self.roots: list[CodeType] = []
        for module in modules:
            for name, function in functions(sys.modules[module]):
                self.functions.setdefault(name, []).append(function.__code__)
                if module in ROOTS:
                    self.roots.append(function.__code__)
        self.codes: set[CodeType] = set()
        self.names: set[str] = set()
        self.placed: set[int] = set()
        self.seen: set[int] = set()

    def watch(self, frame: "FrameType", event: str, argument: object) -> None:
        """For sys.setprofile."""
        if event == "call":
            self.codes.add(frame.f_code)

    def note(self) -> None:
        """Tell heap.c."""
        self.heap = HOT
        self.note_all()
        self.follow()
        self.heap = WARM
        self.placed, self.seen = self.seen, set()
        self.note_all()

    def follow(self) -> None:
        """Take in all code that may be called."""
        todo = [*self.codes, *self.roots]
        while todo:
            code = todo.pop()
            self.codes.add(code)
            todo += [value for value in code.co_consts if type(value) is CodeType and value not in self.codes]
            for name in code.co_names:
                todo += self.functions.pop(name, ())

    def note_all(self) -> None:
        for code in self.codes:
            self.names.update(code.co_names)
            self.names.update(value for value in code.co_consts if type(value) is str)
        for code in self.codes:
            self.add(code)
            for value in (*code.co_consts, *code.co_names):
                self.add(value)
        for module in sys.modules.values():
            self.add(module)
            self.add(module.__spec__)
            self.add(vars(module))
            self.members(vars(module))

    def members(self, members: "Mapping[str, object]") -> None:
        for name, value in members.items():
            if name in self.names:
                self.add(value)

    def add(self, value: object) -> None:
        """An object, and what is used with it."""
        code = getattr(value, "__code__", value)
        if id(value) in self.seen or (type(code) is CodeType and code not in self.codes):
            return
        self.seen.add(id(value))
        if id(value) not in self.placed:
            place(value, self.heap)
        if isinstance(value, FunctionType):
            for part in (value.__code__, value.__defaults__, value.__kwdefaults__, value.__closure__):
                self.add(part)
        elif isinstance(value, tuple | frozenset | list | set):
            if len(value) < SMALL:
                for item in value:
                    self.add(item)
        elif isinstance(value, dict):
            for name, item in value.items():
                if len(value) < SMALL or name in self.names:
                    self.add(item)
        elif isinstance(value, type):
            self.add(value.__mro__)
            self.members(vars(value))
        elif isinstance(value, staticmethod | classmethod):
            self.add(value.__func__)
        elif isinstance(value, property):
            self.add(value.fget)


def functions(module: "ModuleType") -> "Iterator[tuple[str, FunctionType]]":
    """All functions of a module, and the names by which they are called; __init__ and the like have their class's."""
    for name, value in vars(module).items():
        if isinstance(value, FunctionType):
            yield name, value
        elif isinstance(value, type) and value.__module__ == module.__name__:
            for called, member in vars(value).items():
                function = getattr(member, "__func__", None) or getattr(member, "fget", None) or member
                if isinstance(function, FunctionType):
                    yield name if called[:2] == "__" else called, function
