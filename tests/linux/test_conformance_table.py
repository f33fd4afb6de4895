"""docs/spec-conformance.md: every property of the schemas has a row, every test that it names exists."""

import json
import re
from fnmatch import fnmatchcase
from typing import Any

import pytest

from differential import cases_errors, cases_hooks, cases_limits, cases_mounts, cases_namespaces, cases_process
from support import ROOT

TABLE = ROOT / "docs/spec-conformance.md"
SCHEMAS = {path.name: json.loads(path.read_text()) for path in (ROOT / "schemas").glob("*.json")}
OTHER_PLATFORMS = {"solaris", "windows", "vm", "zos", "freebsd"}
MODULES = (cases_errors, cases_hooks, cases_limits, cases_mounts, cases_namespaces, cases_process)
CASES = [case.name for module in MODULES for case in module.CASES]
FILES = {path.name: path.read_text() for path in (ROOT / "tests").rglob("test_*.py")}
FUNCTIONS = {name for text in FILES.values() for name in re.findall(r"^def (test_\w+)", text, re.M)}


def properties(schema: Any, document: str, path: str) -> list[str]:
    """The paths of all properties of a schema, by depth first."""
    while "$ref" in schema:
        name, _, place = schema["$ref"].partition("#")
        document = name or document
        target = SCHEMAS[document]
        for part in place.strip("/").split("/") if place else ():
            target = target[part]
        schema = {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
    found = []
    for name, member in schema.get("properties", {}).items():
        here = f"{path}.{name}" if path else name
        found.append(here)
        if here not in OTHER_PLATFORMS:
            found += properties(member, document, here)
    for key, suffix in (("items", "[]"), ("additionalProperties", ".*")):
        if isinstance(schema.get(key), dict):
            found += properties(schema[key], document, path + suffix)
    return found


def rows() -> list[tuple[str, str, str]]:
    """The cells of all rows with three of them, without the heads."""
    found = []
    for line in TABLE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| ") and len(cells) == 3 and cells[2] != "tests":
            found.append((cells[0], cells[1], cells[2].removesuffix(" |")))
    return found


def patterns() -> list[str]:
    """The properties that the table names; `*` in them stands for what it does there."""
    found = []
    for first, _, _ in rows():
        names = re.findall(r"`([^`]+)`", first)
        for name in names:
            found.append(names[0] + name if name.startswith(".") else name)
    return found


def matches(path: str, pattern: str) -> bool:
    return fnmatchcase(path.replace("[]", "@"), pattern.replace("[]", "@"))


@pytest.mark.parametrize("path", properties(SCHEMAS["config.json"], "config.json", ""))
def test_every_property_has_a_row(path: str) -> None:
    assert any(matches(path, pattern) for pattern in patterns())


def test_every_row_has_a_test() -> None:
    for first, status, tests in rows():
        assert status, first
        assert tests == "see below" or re.search(r"`[^`]+`", tests), first


@pytest.mark.parametrize("name", sorted({n for _, _, tests in rows() for n in re.findall(r"`([^`]+)`", tests)}))
def test_every_test_exists(name: str) -> None:
    if name.startswith("case:"):
        assert any(fnmatchcase(case, name[5:]) for case in CASES)
        return
    file, _, function = name.partition("::")
    if file.endswith(".py"):
        assert file in FILES
        assert f"def {function}(" in FILES[file] or not function
    else:
        assert file in FUNCTIONS
