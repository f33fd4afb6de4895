"""Why a document is invalid: jsonschema's judgement as one error with a JSON pointer.

Cold: called with what the compiled validator refused. Two words of JSON Schema are read as the
specification's own programs read them: an integer is written without a fraction (1.0 is none),
and a pattern's $ is the end of the text, not the newline before it.
"""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pyrunc import thirdparty
from pyrunc.config import strict
from pyrunc.config.locate import pointer_of
from pyrunc.config.schema.schemas import bundle, load_all, schema_dir
from pyrunc.errors import ConfigError

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError
    from jsonschema.protocols import Validator

ROOTS = {
    "config": "config.json",
    "process": "process.json",
    "resources": "linux.json#/$defs/resources",
    "state": "state.json",
    "features": "features.json",
}
"""What can be explained, and the schema that says how it has to be."""

_KINDS = {
    "object": "an object",
    "array": "a list",
    "string": "a string",
    "integer": "an integer",
    "boolean": "true or false",
}


def validator(root: str) -> "Validator":
    """jsonschema's validator for one of ROOTS. Raises ImportError without jsonschema."""
    thirdparty.enable()
    from jsonschema import Draft202012Validator, validators
    from jsonschema.exceptions import ValidationError

    def pattern(_: object, expression: str, value: object, __: object) -> "Iterator[Any]":
        if isinstance(value, str) and not re.search(re.sub(r"\$$", r"\\Z", expression), value):
            yield ValidationError(f"{value!r} does not match {expression!r}")

    def is_integer(_: object, value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool)

    extend: Any = validators.extend
    strict_class = extend(
        Draft202012Validator,
        validators={"pattern": pattern},
        type_checker=Draft202012Validator.TYPE_CHECKER.redefine("integer", is_integer),
    )
    made: Validator = strict_class(bundle(load_all(schema_dir()), ROOTS[root]))
    return made


def explain(value: object, root: str, what: str) -> ConfigError | None:
    """The error for a document that is invalid, or None if jsonschema finds nothing wrong.

    root: one of ROOTS. what: the document's name, with which the text begins.
    Of several faults the deepest is told: the more of the document is right around it, the
    likelier it is the one that was meant otherwise.
    """
    try:
        checker: Any = validator(root)
    except ImportError as absent:
        return ConfigError(
            f"{what}: does not follow the runtime specification",
            hint=f"to be told where, {thirdparty.install('jsonschema')}"
            if absent.name == "jsonschema"
            else f"{absent.name} would tell where, if it were installed",
        )
    found: ValidationError | None = None
    for error in checker.iter_errors(value):
        if found is None or len(error.absolute_path) > len(found.absolute_path):
            found = error
    if found is None:
        return None
    path = list(found.absolute_path)
    text = _text(found, value, path)
    pointer = pointer_of(path)
    where = f" ({pointer[1:]})" if pointer else ""
    return ConfigError(f"{what}: {text}{where}", pointer=pointer)


def faults(value: object, root: str) -> "list[tuple[str, list[str | int]]]":
    """All that jsonschema finds: each text, and the path of the element. Raises ImportError without jsonschema."""
    checker: Any = validator(root)
    found = []
    for error in checker.iter_errors(value):
        path = list(error.absolute_path)
        found.append((_text(error, value, path), path))
    return found


def _text(error: "ValidationError", document: object, path: list[str | int]) -> str:
    """What is wrong, in runc's words where the schema has them; may lengthen the path."""
    schema: Any = error.schema
    wanted: Any = error.validator_value
    instance: Any = error.instance
    if "propertyNames" in error.absolute_schema_path:
        return "the name of a member is empty"
    match error.validator:
        case "type":
            # Values of the environment are nobody's business, also where they are misplaced.
            shown = "an entry" if "env" in path else show(instance)
            return f"{shown} is not {_KINDS.get(wanted, wanted)}"
        case "required":
            missing = next(name for name in wanted if name not in instance)
            path.append(missing)
            template = schema.get("x-missing", {}).get(missing, f'"{missing}" is missing')
            return _fill(template, "", instance)
        case "anyOf":
            names = [name for branch in wanted for name in branch["required"]]
            return f"{' or '.join(names)} is missing"
    if "x-error" in schema:
        parent = document
        for part in path[:-1]:
            parent = parent[part]  # type: ignore[index]
        return _fill(schema["x-error"], instance, parent)
    value = show(instance)
    match error.validator:
        case "enum":
            return f"{value} is not one of {', '.join(wanted)}"
        case "minimum":
            return f"{value} is less than {wanted}"
        case "maximum":
            return f"{value} is more than {wanted}"
        case "pattern":
            return f"{value} does not match {wanted}"
        case "minItems":
            return "the list is empty"
        case "minLength":
            return "the text is empty"
    return error.message


def _fill(template: str, value: object, parent: object) -> str:
    """A text of the schema with {value}, and {path} of the object that the value lies in."""
    path = parent.get("path", "") if isinstance(parent, dict) else ""
    return template.format(value=value, path=path)


def show(value: object) -> str:
    """A value for an error's text, cut to a readable length."""
    text = strict.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."
