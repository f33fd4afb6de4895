"""Build the embedded form of pyrunc: one executable with CPython and pyrunc's modules in it.

    python tools/build_embedded.py OUTPUT [--site DIRECTORY] [--package DIRECTORY]

The interpreter is the static libpython of the Python that runs this script, which Debian's
python3-dev has. Exit status 3, with a note, where it or the compiler is missing: the script form
does the same, only slower.

--site: the directory that holds the package, absolute, or relative to the parent of the directory
that the executable will be in (default: lib/pythonX.Y/site-packages). --package: freeze this copy
of the package in place of the checkout's.
"""

import argparse
import ast
import marshal
import os
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EMBEDDED = ROOT / "embedded"

#: What the hot commands import, beyond what these import at their top level. A module that is
#: missing here is still found, by a longer way; tests/embedded holds this list to the truth.
CREATE = (
    *("machine.x86_64", "config._validator", "cgroups.make", "cgroups.conversions"),
    *("cgroups.devices", "cgroups.bpf"),
)
LIVING = ("cgroups", "cgroups.fs")
HOT = {
    "create": ("commands.create", "container.create", *CREATE),
    "start": ("commands.start", "container.start", *LIVING),
    "run": ("commands.run", "container.run", "container.delete", *CREATE, *LIVING),
    "state": ("commands.state",),
    "kill": ("commands.kill", "container.kill", *LIVING),
    "delete": ("commands.delete", "container.delete", *LIVING),
    "exec": ("commands.exec", "container.exec", "machine.x86_64", *LIVING),
}

#: Modules of the standard library that the hot commands may use, and that may be files.
EXTENSIONS = ("_json", "termios", "_struct", "_socket", "fcntl", "select", "_blake2", "resource")

CFLAGS = "-std=gnu11 -O2 -fno-pie -fno-stack-protector -Wall -Wextra -Werror".split()
# No address in it has to be relocated at the start; extension modules of cold code find the
# interpreter's symbols in it.
LDFLAGS = "-no-pie -Wl,--export-dynamic -Wl,-z,norelro -Wl,--build-id=none -s".split()


class Unavailable(Exception):
    """This Python cannot be embedded here."""


class Module:
    """A module to freeze: its code, and the names of what it imports at its top level."""

    def __init__(self, name: str, file: Path) -> None:
        self.name = name
        self.package = file.name == "__init__.py"
        tree = ast.parse(file.read_bytes(), str(file))
        self.imports = list(imported(tree.body))
        strip_docstrings(tree)
        code = compile(tree, name.replace(".", "/") + ".py", "exec", dont_inherit=True)
        self.data = marshal.dumps(code)


def imported(body: list[ast.stmt]) -> Iterator[str]:
    """Names that the statements import when they are executed; `from a import b` gives a and a.b."""
    for node in body:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from parents(alias.name)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module
            yield from parents(node.module)
            for alias in node.names:
                yield f"{node.module}.{alias.name}"
        elif isinstance(node, ast.If):
            if not (isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"):
                yield from imported(node.body)
            yield from imported(node.orelse)
        elif isinstance(node, ast.Try) or isinstance(node, ast.ClassDef):
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


def read_package(package: Path) -> dict[str, Module]:
    """All modules of the package by name."""
    found = {}
    for file in sorted(package.rglob("*.py")):
        parts = (package.name, *file.relative_to(package).with_suffix("").parts)
        name = ".".join(parts).removesuffix(".__init__")
        found[name] = Module(name, file)
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


def freeze(package: Path, target: Path) -> tuple[int, int]:
    """Write the file that main.c includes; the lengths of boot.py's code and of the index."""
    modules = read_package(package)
    extensions = standard_extensions()
    hot = {
        command: tuple(order(modules, extensions, tuple(f"pyrunc.{name}" for name in ("cli", *names))))
        for command, names in HOT.items()
    }
    boot = Module("pyrunc_boot", EMBEDDED / "boot.py").data
    # The offsets in the index depend on its own length.
    size = 0
    while True:
        offset = len(boot) + size
        index = {}
        for name, module in modules.items():
            index[name] = (offset, len(module.data), module.package)
            offset += len(module.data)
        data = marshal.dumps((index, extensions, hot))
        if len(data) == size:
            break
        size = len(data)
    target.write_bytes(boot + data + b"".join(module.data for module in modules.values()))
    return len(boot), len(data)


def define(name: str, value: object) -> str:
    text = str(value)
    return f"-D{name}={text}" if text.isdigit() else f'-D{name}="{text}"'


def build(output: Path, package: Path, site: str = "") -> None:
    """Compile and link. Raises Unavailable where this Python has no static library."""
    version = "%d.%d" % sys.version_info[:2]
    variables = sysconfig.get_config_vars()
    library = Path(variables["LIBPL"]) / f"libpython{variables['LDVERSION']}.a"
    include = Path(sysconfig.get_path("include"))
    for needed in (library, include / "Python.h"):
        if not needed.exists():
            raise Unavailable(f"{needed} is not there (Debian: python3-dev)")
    executable = os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        frozen = Path(directory) / "frozen"
        boot_size, index_size = freeze(package, frozen)
        temporary = output.with_name(f".{output.name}.{os.getpid()}")
        command = [
            *(os.environ.get("CC", "cc"), *CFLAGS, f"-I{include}"),
            define("FROZEN", frozen),
            define("BOOT_SIZE", boot_size),
            define("INDEX_SIZE", index_size),
            define("EXECUTABLE", executable),
            define("PREFIX", sys.base_prefix),
            define("EXEC_PREFIX", sys.base_exec_prefix),
            define("STDLIB", sysconfig.get_path("stdlib")),
            define("DYNLOAD", variables["DESTSHARED"]),
            define("SITE", site or f"lib/python{version}/site-packages"),
            *("-o", str(temporary), str(EMBEDDED / "main.c"), str(library), *LDFLAGS),
            *libraries(variables),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Unavailable(f"the compiler says: {done.stderr.strip()}")
        temporary.replace(output)


def libraries(variables: dict[str, str]) -> list[str]:
    """What libpython needs: zlib and expat from their static libraries, so that they cost nothing."""
    words = f"{variables.get('MODLIBS', '')} {variables['LIBS']} {variables['SYSLIBS']}".split()
    found = []
    for word in dict.fromkeys(words):
        if word in ("-lz", "-lexpat"):
            found += ["-Wl,-Bstatic", word, "-Wl,-Bdynamic"]
        elif word.startswith("-l"):
            found.append(word)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="Build pyrunc with CPython embedded.")
    parser.add_argument("output", type=Path)
    parser.add_argument("--site", default="")
    parser.add_argument("--package", type=Path, default=ROOT / "pyrunc")
    arguments = parser.parse_args()
    try:
        build(arguments.output, arguments.package, arguments.site)
    except (Unavailable, OSError) as error:
        print(f"pyrunc is not embedded: {error}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
