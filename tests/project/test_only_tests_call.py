"""What only tests call is no part of the product: what stands in pyrunc/ is named somewhere in pyrunc/.

Named: a function, class or constant of a module by its name, there or where it is imported (the import alone does not
count, nor an `except`, which catches only what something raises); a method by an attribute of that name, anywhere. What
a definition says of itself does not count. Annotations in quotes do.
"""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from support import ROOT

#: module.name → who else calls it.
CALLED_FROM_OUTSIDE: dict[str, str] = {}

Definition = ast.FunctionDef | ast.ClassDef


class Uses(ast.NodeVisitor):
    """Who names what. names: by module and name; attributes: by name. Each use is the definitions around it."""

    def __init__(self) -> None:
        self.module = ""
        self.around: list[ast.AST] = []
        self.names: dict[tuple[str, str], list[tuple[ast.AST, ...]]] = defaultdict(list)
        self.attributes: dict[str, list[tuple[ast.AST, ...]]] = defaultdict(list)
        self.imported: dict[tuple[str, str], tuple[str, str]] = {}

    def read(self, module: str, tree: ast.AST) -> None:
        self.module = module
        self.visit(tree)

    def of(self, module: str, name: str) -> list[tuple[ast.AST, ...]]:
        """The uses of what a module calls `name`, there and under the names that imports give it."""
        found = self.names[module, name] + self.attributes[name]
        for (here, local), origin in self.imported.items():
            if origin == (module, name):
                found = found + self.of(here, local)
        return found

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._within(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._within(node)

    def _within(self, node: ast.AST) -> None:
        self.around.append(node)
        self.generic_visit(node)
        self.around.pop()

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        for child in node.body:
            self.visit(child)

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self.names[self.module, node.id].append(tuple(self.around))

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if isinstance(node.ctx, ast.Load):
            self.attributes[node.attr].append(tuple(self.around))
        self.visit(node.value)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            self.imported[self.module, alias.asname or alias.name] = (node.module or "", alias.name)

    def visit_Constant(self, node: ast.Constant) -> None:
        """A text may be an annotation, or a name for getattr."""
        if not isinstance(node.value, str) or len(node.value) > 200 or "\n" in node.value:
            return
        try:
            inner = ast.parse(node.value, mode="eval").body
        except (SyntaxError, ValueError):
            return
        if not isinstance(inner, ast.Constant):
            self.visit(inner)
        if node.value.isidentifier():
            self.attributes[node.value].append(tuple(self.around))


def parsed(root: Path) -> dict[str, ast.Module]:
    """The modules below a package's folder by their names. What is generated is left out."""
    files = [file for file in sorted(root.rglob("*.py")) if file.name != "_validator.py"]
    parts = {file: file.relative_to(root.parent).with_suffix("").parts for file in files}
    return {".".join(parts[file]).removesuffix(".__init__"): ast.parse(file.read_text()) for file in files}


def defined(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    """The names that a module defines, and where."""
    for node in tree.body:
        if isinstance(node, Definition):
            yield node.name, node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                yield from ((it.id, node) for it in ast.walk(target) if isinstance(it, ast.Name))


def unnamed(root: Path) -> list[str]:
    """The definitions below a package's folder that nothing there names."""
    trees = parsed(root)
    uses = Uses()
    for module, tree in trees.items():
        uses.read(module, tree)
    found = []
    for module, tree in trees.items():
        for name, node in defined(tree):
            if not name.startswith("__") and all(node in around for around in uses.of(module, name)):
                found.append(f"{module}.{name}")
        for klass in (node for node in tree.body if isinstance(node, ast.ClassDef)):
            for method in (node for node in klass.body if isinstance(node, ast.FunctionDef)):
                name = method.name
                # Those that a class of the library calls, as here ast's visit_...
                if name.startswith("__") or any("." in ast.unparse(base) for base in klass.bases):
                    continue
                if all(method in around for around in uses.attributes[name]):
                    found.append(f"{module}.{klass.name}.{name}")
    return found


def test_nothing_is_there_for_tests_alone() -> None:
    assert set(unnamed(ROOT / "pyrunc")) == set(CALLED_FROM_OUTSIDE)


def test_what_the_search_finds(tmp_path: Path) -> None:
    package = tmp_path / "some"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "one.py").write_text(
        "class Caught(Exception): ...\n"
        "class Raised(Exception): ...\n"
        "class Box:\n"
        "    def used(self): return self.used()\n"
        "    def only_itself(self): return self.only_itself()\n"
        "def imported_only(): return 1\n"
        "def called(): return imported\n"
        "LIMIT, OTHER = 1, 2\n"
    )
    (package / "two.py").write_text(
        "from some.one import Box, Caught, LIMIT as most, Raised, called as other, imported_only\n"
        "def _main(box: 'Box'):\n"
        "    try: other(box.used(), most)\n"
        "    except Caught: raise Raised\n"
        "_main(1)\n"
    )
    found = ["one.Caught", "one.imported_only", "one.OTHER", "one.Box.only_itself"]
    assert unnamed(package) == [f"some.{name}" for name in found]
