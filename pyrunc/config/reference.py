"""Every member of config.json as the schemas describe it: for `pyrunc help config` and pyrunc-config(5).

Cold: reads the schemas.
"""

from collections.abc import Iterator
from typing import Any

from pyrunc.config.schema.schemas import load_all, resolve, schema_dir

#: Sections about other systems: accepted, and without effect.
FOREIGN = ("solaris", "windows", "vm", "zos", "freebsd")


class Member:
    """A member: path with "[]" for each entry of an array and ".*" for each name, type in words, description, section
    of the specification ("config.md#configRoot"), and whether its object must have it."""

    __slots__ = ("description", "path", "required", "section", "type")

    def __init__(self, path: str, type: str, description: str, section: str, required: bool) -> None:
        self.path = path
        self.type = type
        self.description = description
        self.section = section
        self.required = required


def members(prefix: str = "") -> list[Member]:
    """The members in the schemas' order whose path is `prefix`, or below it; "" is all.

    A path may be written as a JSON pointer, and with numbers in place of "[]": /mounts/3/options.
    """
    wanted = _normal(prefix)
    schemas = load_all(schema_dir())
    found = list(_walk(schemas, schemas["config.json"], "", ()))
    if not wanted:
        return found
    return [it for it in found if it.path == wanted or it.path.startswith((wanted + ".", wanted + "["))]


def _normal(path: str) -> str:
    out = ""
    for part in path.replace("/", ".").replace("[]", ".0").strip(".").split("."):
        out += "[]" if part.isdigit() else "." + part
    return out.removeprefix(".")


def _whole(schemas: Any, node: Any) -> Any:
    """The schema with its references followed; what stands beside a reference wins."""
    while "$ref" in node:
        target = resolve(schemas, node["$ref"])
        node = {**target, **{key: value for key, value in node.items() if key != "$ref"}}
    return node


def _walk(schemas: Any, node: Any, path: str, above: tuple[str, ...]) -> Iterator[Member]:
    node = _whole(schemas, node)
    required = node.get("required", ())
    for name, value in node.get("properties", {}).items():
        here = f"{path}.{name}" if path else name
        if here in FOREIGN:
            continue
        whole = _whole(schemas, value)
        text = value.get("description") or whole.get("description", "")
        section = value.get("x-section") or whole.get("x-section", "")
        yield Member(here, _kind(schemas, whole), text, section, name in required)
        yield from _below(schemas, whole, here, above)


def _below(schemas: Any, node: Any, path: str, above: tuple[str, ...]) -> Iterator[Member]:
    reference = str(node.get("title", "")) + path.rpartition(".")[2]
    if above.count(reference) > 1:
        return
    if "properties" in node:
        yield from _walk(schemas, node, path, (*above, reference))
    elif isinstance(node.get("items"), dict):
        yield from _below(schemas, _whole(schemas, node["items"]), path + "[]", (*above, reference))
    elif isinstance(node.get("additionalProperties"), dict):
        yield from _below(schemas, _whole(schemas, node["additionalProperties"]), path + ".*", (*above, reference))


def _kind(schemas: Any, node: Any) -> str:
    """The type in words: "string", "integer from 0 to 4095", "array of string", "one of a, b"."""
    if "enum" in node and len(node["enum"]) <= 12:
        return "one of " + ", ".join(str(it) for it in node["enum"])
    kind = node.get("type", "")
    if isinstance(kind, list):
        kind = " or ".join(it for it in kind if it != "null")
    if kind == "array" and isinstance(node.get("items"), dict):
        return "array of " + _kind(schemas, _whole(schemas, node["items"]))
    if kind == "integer":
        low, high = node.get("minimum"), node.get("maximum")
        if low is not None and high is not None and high < 1 << 31:
            return f"integer from {low} to {high}"
    return str(kind) or "value"
