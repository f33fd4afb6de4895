"""Members of a configuration that nothing reads: misspelt, in the wrong place, or unknown; and their sections in the
specification. By the schemas."""

import re
from collections.abc import Iterator
from typing import Any

from pyrunc.config.locate import pointer_of
from pyrunc.config.reference import FOREIGN, members
from pyrunc.config.schema.schemas import load_all, resolve, schema_dir
from pyrunc.didyoumean import nearest
from pyrunc.inspect.findings import Finding


class Members:
    """The members that the schemas know."""

    def __init__(self) -> None:
        self.schemas = load_all(schema_dir())
        self.known = members()
        self.sections = {it.path: it.section for it in self.known if it.section}
        self.homes: dict[str, list[str]] = {}
        for it in self.known:
            self.homes.setdefault(it.path.rpartition(".")[2], []).append(it.path)

    def section(self, pointer: str) -> str:
        """Where the specification tells of an element, or of the one around it ("config.md#mounts")."""
        path = re.sub(r"/\d+(?=/|$)", "[]", pointer).replace("/", ".").removeprefix(".")
        while path:
            if path in self.sections:
                return self.sections[path]
            path = path.removesuffix("[]") if path.endswith("[]") else path.rpartition(".")[0]
        return ""

    def unread(self, value: object) -> Iterator[Finding]:
        """Findings for the members of a configuration that nothing reads."""
        yield from self._walk(self.schemas["config.json"], value, [])

    def _whole(self, node: Any) -> Any:
        while "$ref" in node:
            target = resolve(self.schemas, node["$ref"])
            node = {**target, **{key: value for key, value in node.items() if key != "$ref"}}
        return node

    def _walk(self, node: Any, value: object, path: list[str | int]) -> Iterator[Finding]:
        node = self._whole(node)
        if isinstance(value, list):
            if isinstance(node.get("items"), dict):
                for index, item in enumerate(value):
                    yield from self._walk(node["items"], item, [*path, index])
            return
        if not isinstance(value, dict):
            return
        known = node.get("properties", {})
        more = node.get("additionalProperties")
        for name, item in value.items():
            here = [*path, name]
            if not path and name in FOREIGN:
                yield Finding("note", "no-effect", f'"{name}" is about other systems than Linux', pointer_of(here))
            elif name in known:
                yield from self._walk(known[name], item, here)
            elif isinstance(more, dict):
                yield from self._walk(more, item, here)
            elif known:
                yield self._unknown(name, known, here)

    def _unknown(self, name: str, known: "dict[str, Any]", path: list[str | int]) -> Finding:
        pointer = pointer_of(path)
        meant = nearest(name, known)
        if meant:
            hint = f'did you mean "{meant}"?'
        elif name in self.homes:
            hint = "it belongs to " + " or ".join(self.homes[name][:3])
        else:
            return Finding("note", "unknown-member", f'nothing reads "{name}"', pointer)
        return Finding("warning", "misspelt-member", f'nothing reads "{name}"', pointer, hint)
