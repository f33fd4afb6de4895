"""The schemas: complete, described, and at least as strict as they have to be."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from config.config_data import CHECKOUT, DATA, given, name, needs_spec, own
from pyrunc.config import load
from pyrunc.config.explain import ROOTS, explain, validator
from pyrunc.config.schema import _validator
from pyrunc.config.schema.compile_schema import compile_schemas
from pyrunc.config.schema.schemas import Schema, load_all, resolve, schema_dir
from pyrunc.errors import ConfigError

SCHEMAS = load_all(schema_dir())


def properties(node: Any, where: str) -> Iterator[tuple[str, Schema]]:
    """Every property of a schema, with a readable place."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "properties":
                for member, schema in value.items():
                    yield f"{where}.{member}", schema
                    yield from properties(schema, f"{where}.{member}")
            else:
                yield from properties(value, where)
    elif isinstance(node, list):
        for value in node:
            yield from properties(value, where)


PROPERTIES = [pair for file, schema in SCHEMAS.items() for pair in properties(schema, file)]


def test_every_property_is_described_with_its_section() -> None:
    assert len(PROPERTIES) > 250
    for where, schema in PROPERTIES:
        text = schema["description"]
        assert text.endswith((".", "!")), where
        assert text[0].isupper() or text[0].isdigit() or text.split()[0] in ("a", "c"), where
        file, _, anchor = schema["x-section"].partition("#")
        assert file.endswith(".md"), where
        assert anchor, where


@pytest.mark.parametrize("root", ROOTS)
def test_the_schemas_are_json_schema(root: str) -> None:
    checker: Any = validator(root)
    checker.check_schema(checker.schema)


def test_the_full_example_has_every_property() -> None:
    full = json.loads((DATA / "good/full.json").read_text())
    unseen: dict[tuple[int, str], str] = {}
    seen: set[tuple[int, str]] = set()

    def compare(schema: Schema, values: list[Any], where: str) -> None:
        while "$ref" in schema:
            schema = resolve(SCHEMAS, schema["$ref"])
        if schema.get("type") == "array":
            compare(schema["items"], [item for value in values for item in value], where)
        elif "additionalProperties" in schema:
            inner = [item for value in values for item in value.values()]
            compare(schema["additionalProperties"], inner, where)
        for member, inner_schema in schema.get("properties", {}).items():
            found = [value[member] for value in values if member in value]
            if found:
                seen.add((id(schema), member))
                compare(inner_schema, found, f"{where}/{member}")
            else:
                unseen[id(schema), member] = f"{where}/{member}"

    compare(SCHEMAS["config.json"], [full], "")
    assert [where for key, where in unseen.items() if key not in seen] == []


@pytest.mark.parametrize("path", own("good"), ids=name)
def test_own_good_documents_are_accepted(path: Path) -> None:
    value = json.loads(path.read_bytes())
    assert _validator.config(value)
    assert explain(value, "config", "x") is None
    assert load.parse_config(path.read_bytes()) == value


@pytest.mark.parametrize("path", own("bad"), ids=name)
def test_own_bad_documents_are_refused(path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load.parse_config(path.read_bytes())
    assert caught.value.pointer
    assert f"({caught.value.pointer[1:]})" in str(caught.value)


@pytest.mark.host
@needs_spec
def test_the_specifications_good_documents_are_accepted() -> None:
    for kind in ("config", "state", "features"):
        found = given(f"cases/{kind}/good/*.json")
        assert found
        for path in found:
            error = explain(json.loads(path.read_bytes()), kind, path.name)
            assert error is None, error
            if kind == "config":
                load.parse_config(path.read_bytes(), path.name)


@pytest.mark.host
@needs_spec
def test_the_specifications_bad_documents_are_refused() -> None:
    assert given("cases/*/bad/*.json")
    for path in given("cases/*/bad/*.json"):
        kind = path.parent.parent.name
        if kind == "config":
            with pytest.raises(ConfigError):
                load.parse_config(path.read_bytes())
            continue
        try:
            value = json.loads(path.read_bytes())
        except json.JSONDecodeError:
            continue
        assert explain(value, kind, path.name) is not None, path


@pytest.mark.host
@needs_spec
def test_what_engines_write_is_accepted() -> None:
    configs, processes = given("configs/*config*.json"), given("configs/*process*.json")
    assert configs
    assert processes
    for path in configs:
        value = json.loads(path.read_bytes())
        assert load.parse_config(path.read_bytes(), path.name) == value
        assert _validator.config(value), path  # and jsonschema was not even asked
        assert explain(value, "config", path.name) is None
    for path in processes:
        value = json.loads(path.read_bytes())
        assert load.load_process(path.read_bytes(), path.name) == value
        assert _validator.process(value), path
        assert explain(value, "process", path.name) is None


def test_the_generated_module_is_up_to_date() -> None:
    path = CHECKOUT / "pyrunc/config/schema/_validator.py"
    assert path.read_text() == compile_schemas(SCHEMAS), "run make build"


def test_the_compiler_writes_a_module(tmp_path: Path) -> None:
    output = tmp_path / "made.py"
    command = [sys.executable, "-m", "pyrunc.config.schema.compile_schema", schema_dir(), str(output)]
    subprocess.run(command, check=True, cwd=CHECKOUT)
    assert output.read_text() == compile_schemas(SCHEMAS)
    assert list(tmp_path.iterdir()) == [output]
    assert subprocess.run(command[:3], cwd=CHECKOUT, capture_output=True).returncode == 2


def test_the_compiler_refuses_what_it_cannot_compile() -> None:
    for change in (
        {"type": "number"},
        {"type": "string", "format": "uri"},
        {"type": "string", "pattern": "^unknown$"},
        {"type": "string", "minLength": 2},
        {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
        {"type": "object", "minProperties": 1, "properties": {}},
        {"$ref": "#/$defs/defs.json/$defs/id", "maximum": 5},
    ):
        schemas = {**SCHEMAS, "process.json": {**SCHEMAS["process.json"]}}
        schemas["process.json"]["properties"] = {"cwd": change}
        with pytest.raises(SystemExit, match=r"supported|pattern"):
            compile_schemas(schemas)
