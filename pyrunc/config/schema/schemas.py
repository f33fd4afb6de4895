"""The schemas as files: where they lie, and one document of them all.

Cold: used when the package is built and when a configuration was refused.
"""

import json
import os
from typing import Any

Schema = dict[str, Any]


def schema_dir() -> str:
    """The directory of the schemas, in a checkout (../schemas) as well as installed.

    Raises FileNotFoundError where neither exists.
    """
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    for directory in (os.path.join(package, "schemas"), os.path.join(package, "../schemas")):
        if os.path.isfile(os.path.join(directory, "config.json")):
            return os.path.normpath(directory)
    raise FileNotFoundError(f"no schemas beside {package}")


def load_all(directory: str) -> dict[str, Schema]:
    """Every schema of a directory by its file name; references are made absolute.

    "defs.json#/$defs/id" and, within defs.json, "#/$defs/id" become
    "#/$defs/defs.json/$defs/id", which is where `bundle` has it.
    """
    found = {}
    for name in sorted(os.listdir(directory)):
        if name.endswith(".json"):
            with open(os.path.join(directory, name), encoding="utf-8") as file:
                found[name] = _absolute(json.load(file), name)
    return found


def _absolute(node: Any, name: str) -> Any:
    if isinstance(node, list):
        return [_absolute(item, name) for item in node]
    if not isinstance(node, dict):
        return node
    result = {}
    for key, value in node.items():
        if key == "$schema":
            continue
        if key == "$ref" and isinstance(value, str):
            file, _, fragment = value.partition("#")
            result[key] = f"#/$defs/{file or name}{fragment}"
        else:
            result[key] = _absolute(value, name)
    return result


def bundle(schemas: dict[str, Schema], root: str) -> Schema:
    """One document that holds all schemas and demands the one that `root` names.

    root: a file name with an optional fragment, "linux.json#/$defs/resources".
    """
    file, _, fragment = root.partition("#")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$defs": schemas,
        "$ref": f"#/$defs/{file}{fragment}",
    }


def resolve(schemas: dict[str, Schema], reference: str) -> Schema:
    """The schema that an absolute reference means."""
    node: Any = {"$defs": schemas}
    for part in reference.removeprefix("#/").split("/"):
        node = node[part]
    assert isinstance(node, dict)
    return node
