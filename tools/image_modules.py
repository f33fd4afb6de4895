"""What goes into the image of pyrunc (tools/build_embedded.py): its modules, compiled here, and what it reads of its
own files.

The stage unmarshals code and never compiles any: a compiler leaves holes all over the heap.
"""

import ast
import marshal
import platform
from pathlib import Path
from types import CodeType

STAGE = Path(__file__).resolve().parent.parent / "embedded/stage.py"
REHEARSAL, USED = STAGE.with_name("rehearsal.py"), STAGE.with_name("used.py")

#: Commands that need no file of Python's at run time, in the order in which their modules lie in memory.
HOT = ("state", "kill", "delete", "start", "create", "run", "exec", "pause", "resume", "list", "ps", "update")

#: Modules written in C that hot commands use and that some distributions have as shared objects. They are linked in.
EXTENSIONS = ("_blake2", "_json", "_socket", "_struct", "fcntl", "math", "resource", "select", "termios")


def strip_docstrings(tree: ast.Module) -> None:
    """Take out what would only take up memory: nothing at run time looks at docstrings."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body[0] = ast.copy_location(ast.Pass(), first)


def strip_annotations(tree: ast.Module) -> None:
    """Take out the types of functions, and imports of nothing but types."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
            for argument in (
                *node.args.posonlyargs,
                *node.args.args,
                *node.args.kwonlyargs,
                node.args.vararg,
                node.args.kwarg,
            ):
                if argument is not None:
                    argument.annotation = None
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    for statement in tree.body:
        if isinstance(statement, ast.ImportFrom) and statement.module in ("collections.abc", "typing"):
            statement.names = [alias for alias in statement.names if (alias.asname or alias.name) in used]
    tree.body = [node for node in tree.body if not isinstance(node, ast.ImportFrom) or node.names]


def compile_module(file: Path, shown: str) -> CodeType:
    """A module's code; `shown` is the name of its file in tracebacks."""
    tree = ast.parse(file.read_bytes(), str(file))
    strip_docstrings(tree)
    strip_annotations(tree)
    return compile(tree, shown, "exec", dont_inherit=True)


def modules(package: Path) -> dict[str, tuple[bool, CodeType]]:
    """All modules of the package: name -> (whether it is a package, code)."""
    found = {}
    for file in sorted(package.rglob("*.py")):
        relative = file.relative_to(package.parent)
        name = ".".join(relative.with_suffix("").parts).removesuffix(".__init__")
        if file.name != "__main__.py":
            found[name] = (file.name == "__init__.py", compile_module(file, str(relative)))
    return found


def files(package: Path) -> list[Path]:
    """What hot commands read and is no module: a copy of the executable needs nothing beside it for them."""
    init = package / "machine/pyrunc-init"
    return [init] if init.exists() else []


def sources(package: Path) -> list[Path]:
    """The files that the result of `gather` is made from."""
    return [STAGE, REHEARSAL, USED, Path(__file__).resolve(), *sorted(package.rglob("*.py")), *files(package)]


def gather(package: Path, site: str, installed: str, path: list[str], made_of: dict[str, object]) -> bytes:
    """What the stage reads: stage.py's code and what it is given (see there), marshalled.

    made_of: what the module `made_of` says in place of what the package's own does.
    """
    found = modules(package)
    name = f"{package.name}.made_of"
    if name in found:
        text = (package / "made_of.py").read_text() + "".join(
            f"{member} = {value!r}\n" for member, value in made_of.items()
        )
        found[name] = (False, compile(text, "pyrunc/made_of.py", "exec", dont_inherit=True, optimize=2))
    hot = [f"{package.name}.commands.{command}" for command in HOT]
    first = (
        f"{package.name}.cli",
        *hot,
        f"{package.name}.machine.{platform.machine()}",
        f"{package.name}.config._validator",
    )
    given = {
        "modules": found,
        "files": {str(file.relative_to(package.parent)): file.read_bytes() for file in files(package)},
        "first": tuple(word for word in first if word in found),
        "rehearsal": compile_module(REHEARSAL, "pyrunc/rehearsal.py"),
        "used": compile_module(USED, "pyrunc/used.py"),
        "site": site,
        "installed": installed,
        "path": tuple(path),
    }
    return marshal.dumps((compile_module(STAGE, "pyrunc/stage.py"), given))
