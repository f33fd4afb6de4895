"""Freeze pyrunc's modules for the embedded form (embedded/main.c, embedded/boot.py).

Each module is compiled without its docstrings and marshalled. Functions that the usual container does
not need (embedded/hot.txt, which tools/record_hot.py writes) are kept apart: in their place stands a
call that loads them.
"""

import ast
import marshal
import platform
import sys
from collections.abc import Collection, Iterator, Mapping
from importlib.util import find_spec
from inspect import CO_OPTIMIZED, CO_VARARGS, CO_VARKEYWORDS
from pathlib import Path
from types import CodeType

EMBEDDED = Path(__file__).resolve().parent.parent / "embedded"

#: What the hot commands import, beyond what these import at their top level. A module that is
#: missing here is still found, by a longer way; tests/embedded holds this list to the truth.
NUMBERS = f"pyrunc.machine.{platform.machine()}"
CREATE = (
    NUMBERS,
    "pyrunc.config._validator",
    "pyrunc.cgroups.make",
    "pyrunc.cgroups.conversions",
    "pyrunc.cgroups.devices",
    "pyrunc.cgroups.bpf",
)
LIVING = ("pyrunc.cgroups", "pyrunc.cgroups.fs")
HOT = {
    "create": ("pyrunc.commands.create", "pyrunc.container.create", *CREATE),
    "start": ("pyrunc.commands.start", "pyrunc.container.start", NUMBERS, *LIVING),
    "run": ("pyrunc.commands.run", "pyrunc.container.run", "pyrunc.container.delete", *CREATE, *LIVING),
    "state": ("pyrunc.commands.state",),
    "kill": ("pyrunc.commands.kill", "pyrunc.container.kill", *LIVING),
    "delete": ("pyrunc.commands.delete", "pyrunc.container.delete", *LIVING),
    "exec": ("pyrunc.commands.exec", "pyrunc.container.exec", NUMBERS, *LIVING),
}

#: Modules of the standard library that the hot commands may use, and that may be files.
EXTENSIONS = ("_json", "termios", "_struct", "_socket", "fcntl", "select", "_blake2", "resource")

#: Bytes of code up to which a function is not worth being kept apart.
SMALL = 120


class Cold:
    """The code of functions that are loaded when they are first called; `data` is all of them."""

    def __init__(self, offset: int) -> None:
        self.offset = offset
        self.data = b""

    def take(self, code: CodeType) -> CodeType:
        """Code that stands for this one: it loads it and passes its arguments on."""
        data = marshal.dumps(code)
        place = self.offset + len(self.data)
        self.data += data
        return stub(code, f"__thaw__({place}, {len(data)})")


def stub(code: CodeType, function: str) -> CodeType:
    """Code of the same signature that calls `function`, an expression."""
    names = list(code.co_varnames)
    positional = [names.pop(0) for _ in range(code.co_argcount)]
    keywords = [names.pop(0) for _ in range(code.co_kwonlyargcount)]
    wanted, given = list(positional), list(positional)
    if code.co_posonlyargcount:
        wanted.insert(code.co_posonlyargcount, "/")
    if code.co_flags & CO_VARARGS:
        rest = f"*{names.pop(0)}"
        wanted.append(rest)
        given.append(rest)
    elif keywords:
        wanted.append("*")
    wanted += keywords
    given += [f"{name}={name}" for name in keywords]
    if code.co_flags & CO_VARKEYWORDS:
        rest = f"**{names.pop(0)}"
        wanted.append(rest)
        given.append(rest)
    text = f"def f({', '.join(wanted)}): return {function}({', '.join(given)})"
    module = compile(text, code.co_filename, "exec", dont_inherit=True)
    (made,) = (const for const in module.co_consts if isinstance(const, CodeType))
    return made.replace(co_name=code.co_name, co_qualname=code.co_qualname, co_firstlineno=code.co_firstlineno)


class Module:
    """A module to freeze: its code, and the names of what it imports at its top level.

    hot: which functions stay in the code ("module:qualified.name"); others go to `cold`.
    """

    def __init__(self, name: str, file: Path, hot: Collection[str] = (), cold: Cold | None = None) -> None:
        self.name = name
        self.package = file.name == "__init__.py"
        self.hot = hot
        self.cold = cold
        tree = ast.parse(file.read_bytes(), str(file))
        self.imports = list(imported(tree.body))
        strip_docstrings(tree)
        code = compile(tree, name.replace(".", "/") + ".py", "exec", dont_inherit=True)
        if cold is not None and name in {line.partition(":")[0] for line in hot}:
            code = self.split(code)
        self.data = marshal.dumps(code)

    def split(self, code: CodeType) -> CodeType:
        """The code without the functions in it that the usual container does not need."""
        consts = tuple(self.split_function(const) if isinstance(const, CodeType) else const for const in code.co_consts)
        return code.replace(co_consts=consts)

    def split_function(self, code: CodeType) -> CodeType:
        assert self.cold is not None
        if not code.co_flags & CO_OPTIMIZED:
            return self.split(code)  # the body of a class
        plain = not code.co_freevars and "<" not in code.co_name
        small = len(code.co_code) < SMALL
        if not plain or small or f"{self.name}:{code.co_qualname}" in self.hot:
            return self.split(code)
        return self.cold.take(code)


def imported(body: list[ast.stmt]) -> Iterator[str]:
    """Names that the statements import when they are executed; `from a import b` gives a and a.b."""
    for node in body:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from parents(alias.name)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            assert node.module
            yield from parents(node.module)
            for alias in node.names:
                yield f"{node.module}.{alias.name}"
        elif isinstance(node, ast.If):
            if not (isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"):
                yield from imported(node.body)
            yield from imported(node.orelse)
        elif isinstance(node, ast.Try | ast.ClassDef):
            yield from imported(node.body)


def parents(name: str) -> Iterator[str]:
    """Importing a module imports the packages that it is in first: pyrunc, pyrunc.plan, ..."""
    parts = name.split(".")
    for length in range(len(parts)):
        yield ".".join(parts[: length + 1])


def strip_docstrings(tree: ast.Module) -> None:
    """Take out what would only have to be read: nothing at run time looks at docstrings."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body[0] = ast.copy_location(ast.Pass(), first)


def read_package(package: Path, hot: Collection[str], cold: Cold) -> dict[str, Module]:
    """All modules of the package by name."""
    found = {}
    for file in sorted(package.rglob("*.py")):
        parts = (package.name, *file.relative_to(package).with_suffix("").parts)
        name = ".".join(parts).removesuffix(".__init__")
        found[name] = Module(name, file, hot, cold)
    return found


def order(modules: dict[str, Module], extensions: Mapping[str, str], roots: tuple[str, ...]) -> list[str]:
    """The roots and all that they import, each after what it imports itself."""
    done: list[str] = []
    pending: list[str] = []

    def visit(name: str) -> None:
        if name in done:
            return
        if name not in modules:
            if name in sys.builtin_module_names or name in extensions:
                done.append(name)
            return
        if name in pending:
            if pending[-1].startswith(name + "."):
                return  # a module in a package that imports it: the package is there, if half made
            raise ValueError(f"modules import each other: {' -> '.join((*pending, name))}")
        pending.append(name)
        for other in modules[name].imports:
            if other != name:
                visit(other)
        pending.pop()
        done.append(name)

    for root in roots:
        for name in parents(root):
            visit(name)
    return done


def standard_extensions() -> dict[str, str]:
    """Those of EXTENSIONS that are not linked into the interpreter, and their files."""
    found = {}
    for name in EXTENSIONS:
        spec = None if name in sys.builtin_module_names else find_spec(name)
        if spec is not None and spec.origin:
            found[name] = spec.origin
    return found


def hot_functions() -> set[str]:
    """What embedded/hot.txt lists: functions as "module:qualified.name"."""
    return set((EMBEDDED / "hot.txt").read_text().split())


def programs(package: Path) -> list[Path]:
    """What hot commands read and is no module: a copy of the executable needs nothing beside it for them."""
    init = package / "machine/pyrunc-init"
    return [init] if init.exists() else []


def sources(package: Path) -> list[Path]:
    """The files that the result of `freeze` is made from."""
    return [
        *(EMBEDDED / "boot.py", EMBEDDED / "hot.txt", Path(__file__).resolve()),
        *sorted(package.rglob("*.py")),
        *programs(package),
    ]


def freeze(package: Path) -> tuple[bytes, dict[str, int]]:
    """What main.c includes, and the macros that tell it where things are."""
    boot = Module("pyrunc_boot", EMBEDDED / "boot.py").data
    cold = Cold(len(boot))
    modules = read_package(package, hot_functions(), cold)
    extensions = standard_extensions()
    hot = {command: tuple(order(modules, extensions, ("pyrunc.cli", *names))) for command, names in HOT.items()}
    parts = {name: (module.data, module.package) for name, module in modules.items()}
    for file in programs(package):
        parts[str(file.relative_to(package.parent))] = (marshal.dumps(file.read_bytes()), False)
    # The offsets in the index depend on its own length.
    start = len(boot) + len(cold.data)
    size = 0
    while True:
        offset = start + size
        index = {}
        for name, (part, is_package) in parts.items():
            index[name] = (offset, len(part), is_package)
            offset += len(part)
        data = marshal.dumps((index, extensions, hot))
        if len(data) == size:
            break
        size = len(data)
    frozen = b"".join((boot, cold.data, data, *(part for part, _ in parts.values())))
    return frozen, {"BOOT_SIZE": len(boot), "INDEX": start, "INDEX_SIZE": size}
