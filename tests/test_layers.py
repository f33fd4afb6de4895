"""Dependencies between the parts of pyrunc point downward only (docs/design.md, "Layers")."""

import ast
from pathlib import Path

import pytest

from support import ROOT

PACKAGE = ROOT / "pyrunc"

BASE = {"", "errors", "log", "thirdparty", "kernel", "didyoumean", "people"}
BELOW: dict[str, set[str]] = {
    "errors": set(),
    "log": {"", "errors", "logservice", "people"},
    "people": {"errors"},
    "didyoumean": set(),
    "logservice": set(),
    "made_of": set(),
    "thirdparty": {"", "errors"},
    "kernel": {"", "errors"},
    "options": BASE,
    "config": BASE,
    "machine": BASE,
    "seccomp": BASE | {"config", "machine"},
    "cgroups": BASE | {"config", "machine"},
    "plan": BASE | {"config", "machine", "seccomp"},
}
BELOW["state"] = BASE | {"options", "config", "machine", "seccomp", "cgroups", "plan"}
BELOW["foreground"] = BELOW["state"] | {"state"}
BELOW["setup"] = BELOW["foreground"] | {"foreground"}
BELOW["container"] = BELOW["setup"] | {"setup"}
BELOW["checkpoint"] = BELOW["container"] | {"container"}
BELOW["inspect"] = BELOW["checkpoint"] | {"checkpoint"}
# These may import everything below them, but nothing below may import them.
TOP = {"cli", "arguments", "exhaustion", "topics", "usage", "commands", "__main__"}

FILES = sorted(PACKAGE.rglob("*.py"))


def part(file: Path) -> str:
    """The layer that a file belongs to: a folder, or a module beside the folders."""
    name = file.relative_to(PACKAGE).parts[0]
    return "" if name == "__init__.py" else name.removesuffix(".py")


def imported(tree: ast.AST) -> set[str]:
    """The parts of pyrunc that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            module = node.module or ""
            names = [module]
            if module == "pyrunc":
                names = [f"pyrunc.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            package, _, rest = name.partition(".")
            if package == "pyrunc":
                here = rest.split(".")[0]
                known = (PACKAGE / here).is_dir() or (PACKAGE / f"{here}.py").exists()
                found.add(here if known else "")  # a name that pyrunc/__init__.py defines
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_dependencies_point_downward(file: Path) -> None:
    here = part(file)
    if here in TOP or here == "":
        return
    assert here in BELOW, f"{here} is in no layer: say in docs/design.md and here where it belongs"
    upward = imported(ast.parse(file.read_text())) - BELOW[here] - {here}
    assert not upward


def test_the_top_is_imported_by_nobody_below() -> None:
    for layer, below in BELOW.items():
        assert not below & TOP, layer


def test_the_order_has_no_circles() -> None:
    done: set[str] = {""}
    waiting = dict(BELOW)
    while waiting:
        free = [layer for layer, below in waiting.items() if below - {layer} <= done]
        assert free, f"a circle among {sorted(waiting)}"
        for layer in free:
            done.add(layer)
            del waiting[layer]


def test_plan_does_no_input_or_output() -> None:
    """plan/ is pure: no module of it opens, reads or writes anything."""
    for file in sorted((PACKAGE / "plan").glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                owner = node.func.value
                if isinstance(owner, ast.Name) and owner.id in ("posix", "os"):
                    assert node.func.attr in ("fsencode", "fsdecode", "strerror"), (
                        f"{file.name}:{node.lineno} calls {owner.id}.{node.func.attr}"
                    )
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id != "open", f"{file.name}:{node.lineno} calls open"
