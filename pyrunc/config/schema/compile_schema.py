"""Compile the schemas to pyrunc/config/schema/_validator.py, a module of plain ifs.

    python -m pyrunc.config.schema.compile_schema SCHEMA_DIRECTORY OUTPUT_FILE

Run when the package is built. The module has one function for each root document and answers
only whether a value is valid; pyrunc.config.explain says why one is not. A keyword that is not
compiled stops the build, so that nothing in a schema can be without effect.
"""

import os
import sys
from typing import Any

from pyrunc.config.schema.patterns import MATCHERS
from pyrunc.config.schema.schemas import Schema, load_all, resolve

ROOTS = {
    "resources": "#/$defs/linux.json/$defs/resources",
    "process": "#/$defs/process.json",
    "config": "#/$defs/config.json",
}
"""Name of the generated function, and what it validates; what another contains comes first."""

MEMBERS = {
    "": "#/$defs/config.json",
    "process": "#/$defs/process.json",
    "linux": "#/$defs/linux.json",
}
"""Objects whose members' names the module lists: a name in other letter case is warned about."""

ANNOTATIONS = {"description", "title", "x-section", "x-error", "x-missing", "$defs"}

HEADER = '''\
"""Generated from schemas/*.json by pyrunc.config.schema.compile_schema; do not edit.

Each function says whether a value is valid. `A` stands for an absent member: its type is none
of those that JSON has, so a required member needs no test of its own.
"""

from pyrunc.config.schema.patterns import {patterns}

A = object()


'''


class Compiler:
    """Turns schemas into functions, each once."""

    def __init__(self, schemas: dict[str, Schema]) -> None:
        self.schemas = schemas
        self.functions: dict[str, str] = {}
        self.names: dict[int, str] = {}
        self.patterns: set[str] = set()

    def target(self, schema: Schema) -> Schema:
        """The schema itself or what it refers to."""
        while "$ref" in schema:
            extra = set(schema) - ANNOTATIONS - {"$ref"}
            if extra:
                raise SystemExit(f"{sorted(extra)} beside $ref {schema['$ref']}: not supported")
            schema = resolve(self.schemas, schema["$ref"])
        return schema

    def known(self, schema: Schema, *keywords: str) -> None:
        extra = set(schema) - ANNOTATIONS - {"type", *keywords}
        if extra:
            raise SystemExit(f"{sorted(extra)} with type {schema.get('type')}: not supported")

    def function(self, schema: Schema, name: str) -> str:
        """The name of the function for an object's schema, which is made if need be."""
        schema = self.target(schema)
        if id(schema) in self.names:
            return self.names[id(schema)]
        base, number = name, 1
        while name in self.functions:
            number += 1
            name = f"{base}_{number}"
        self.names[id(schema)] = name
        self.functions[name] = ""  # keep the name while its members are compiled
        self.functions[name] = "\n".join([f"def {name}(x: object) -> bool:", *self.object(schema, name)])
        return name

    def object(self, schema: Schema, name: str) -> list[str]:
        self.known(schema, "properties", "required", "additionalProperties", "propertyNames", "anyOf")
        lines = ["    if type(x) is not dict:", "        return False"]
        if "propertyNames" in schema:
            if schema["propertyNames"] != {"minLength": 1}:
                raise SystemExit("propertyNames: only minLength 1 is supported")
            lines += ['    if "" in x:', "        return False"]
        for branch in schema.get("anyOf", ()):
            if set(branch) != {"required"}:
                raise SystemExit("anyOf: only required is supported")
        if "anyOf" in schema:
            branches = [" and ".join(f'"{member}" in x' for member in branch["required"]) for branch in schema["anyOf"]]
            lines += [f"    if not ({' or '.join(branches)}):", "        return False"]
        properties = schema.get("properties", {})
        required = set(schema.get("required", ()))
        if required - set(properties):
            raise SystemExit(f"required but no property: {required - set(properties)}")
        if properties:
            lines.append("    get = x.get")
        for member, value in properties.items():
            lines.append(f'    v = get("{member}", A)')
            lines += self.statements(value, "v", 1, f"{name}_{member}", member not in required)
        if "additionalProperties" in schema:
            if properties:
                raise SystemExit("additionalProperties beside properties: not supported")
            lines.append("    for v in x.values():")
            lines += self.statements(schema["additionalProperties"], "v", 2, f"{name}_value")
        lines.append("    return True")
        return lines

    def statements(self, schema: Schema, variable: str, level: int, name: str, optional: bool = False) -> list[str]:
        """Statements that return False where the variable's value is invalid."""
        schema = self.target(schema)
        space = "    " * level
        guard = f"{variable} is not A and " if optional else ""
        if schema.get("type") != "array":
            test = self.test(schema, variable, name)
            if optional and " or " in test:
                test = f"({test})"
            return [f"{space}if {guard}{test}:", f"{space}    return False"]
        self.known(schema, "items", "minItems")
        lines = []
        if optional:
            lines.append(f"{space}if {variable} is not A:")
            level, space = level + 1, space + "    "
        test = f"type({variable}) is not list"
        if "minItems" in schema:
            test += f" or len({variable}) < {schema['minItems']}"
        item = variable + "i"
        return [
            *lines,
            f"{space}if {test}:",
            f"{space}    return False",
            f"{space}for {item} in {variable}:",
            *self.statements(schema["items"], item, level + 1, f"{name}_item"),
        ]

    def test(self, schema: Schema, variable: str, name: str) -> str:
        """An expression that is true where the variable's value is invalid."""
        kind = schema.get("type")
        if kind == "object":
            if set(schema) - ANNOTATIONS == {"type"}:
                return f"type({variable}) is not dict"
            return f"not {self.function(schema, name)}({variable})"
        if kind == "boolean":
            self.known(schema)
            return f"type({variable}) is not bool"
        if kind == "integer":
            self.known(schema, "minimum", "maximum")
            low, high = schema["minimum"], schema["maximum"]
            return f"type({variable}) is not int or not {low} <= {variable} <= {high}"
        if kind != "string":
            raise SystemExit(f"type {kind}: not supported")
        self.known(schema, "enum", "pattern", "minLength")
        tests = [f"type({variable}) is not str"]
        if "enum" in schema:
            tests.append(f"{variable} not in {{{', '.join(map(repr, schema['enum']))}}}")
        if "minLength" in schema:
            if schema["minLength"] != 1:
                raise SystemExit("minLength: only 1 is supported")
            tests.append(f"not {variable}")
        if "pattern" in schema:
            if schema["pattern"] not in MATCHERS:
                raise SystemExit(f"pattern {schema['pattern']}: not in pyrunc.config.schema.patterns")
            matcher = MATCHERS[schema["pattern"]].__name__
            self.patterns.add(matcher)
            tests.append(f"not {matcher}({variable})")
        return " or ".join(tests)

    def spellings(self, schema: Schema) -> dict[str, Any]:
        """Names in lower case, each with its spelling and the names within: (name, names).

        An array's items and a map's values stand for themselves: a map has the one name "*".
        """
        schema = self.target(schema)
        if schema.get("type") == "array":
            return self.spellings(schema["items"])
        if "additionalProperties" in schema:
            within = self.spellings(schema["additionalProperties"])
            return {"*": ("*", within)} if within else {}
        return {name.lower(): (name, self.spellings(value)) for name, value in schema.get("properties", {}).items()}


def compile_schemas(schemas: dict[str, Schema]) -> str:
    """The text of the module for schemas as pyrunc.config.schema.schemas.load_all returns them."""
    compiler = Compiler(schemas)
    for name, reference in ROOTS.items():
        compiler.function({"$ref": reference}, name)
    members = {
        name: {member.lower(): member for member in resolve(schemas, reference)["properties"]}
        for name, reference in MEMBERS.items()
    }
    resources = compiler.spellings({"$ref": ROOTS["resources"]})
    parts = [
        HEADER.format(patterns=", ".join(sorted(compiler.patterns))),
        "\n\n\n".join(text for text in compiler.functions.values()),
        f"\n\n\nMEMBERS = {members!r}\n\nRESOURCES = {resources!r}\n",
    ]
    return "".join(parts)


def main(arguments: list[str]) -> int:
    if len(arguments) != 2:
        print("usage: compile_schema SCHEMA_DIRECTORY OUTPUT_FILE", file=sys.stderr)
        return 2
    directory, output = arguments
    text = compile_schemas(load_all(directory))
    temporary = f"{output}.{os.getpid()}"
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(temporary, output)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
