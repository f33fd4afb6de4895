"""Read config.json, a process and resources: strict JSON, then the schema.

The compiled validator (pyrunc.config.schema._validator, made by compile_schema.py) accepts the usual
document; jsonschema explains what it refuses. What the schema cannot say is in
pyrunc.config.rules.check.

A null stands for an absent member, as the Go programs that write these documents mean it, and
is dropped: no member is ever None.

Import cost: `_json` and pyrunc's own modules.
"""

from errno import ENOENT, ENOTDIR

from pyrunc.config import strict
from pyrunc.config.schema import _validator
from pyrunc.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, cast

    from pyrunc.config.types import Config, Process, Resources
else:

    def cast(_, value):
        return value


def load_config(bundle: str, path: str = "") -> "Config":
    """The configuration in a bundle's directory, or in the file `path`, valid by the schema.

    Raises ConfigError, with the pointer of what is wrong.
    """
    name = path or "config.json"
    path = path or bundle + "/config.json"
    try:
        data = strict.read_file(path, "config.json")
    except FileNotFoundError:
        raise not_found(bundle, name, path) from None
    except ConfigError as error:
        if error.errno == ENOTDIR:
            from pyrunc.config.whereabouts import not_a_directory

            error.hint = not_a_directory(bundle)
        raise
    config = parse_config(data)
    linux = config.get("linux", {})
    if b'"run.oci.' in data:
        from pyrunc.config.annotations import apply

        apply(config)
    if b"idmap=" in data:
        from pyrunc.config.idmapoption import expand

        expand(config)
    if "uidMappings" not in linux and "gidMappings" not in linux:
        for entry in linux.get("namespaces", ()):
            if entry["type"] == "user" and not entry.get("path"):
                from pyrunc.config.defaultmaps import default_maps

                default_maps(config)
                break
    return config


def not_found(bundle: str, name: str, path: str) -> ConfigError:
    """The error for a configuration that is not there. runc's words, and where it was looked for."""
    from pyrunc.config.whereabouts import advice

    return ConfigError(f"JSON specification file {name} not found", hint=advice(bundle, path), errno=ENOENT)


def parse_config(data: bytes, what: str = "config.json") -> "Config":
    """The configuration in the text of a config.json; `what` names it in errors.

    In linux.resources, which `update` takes as well, names count in any letter case there too.
    """
    value = strict.loads(data, what, drop_null=True)
    linux = value.get("linux") if type(value) is dict else None
    if type(linux) is dict and "resources" in linux:
        linux["resources"] = _resources(linux["resources"], what, "/linux/resources")
    if not _validator.config(value):
        _refuse(value, "config", what)
    return cast("Config", value)


def load_process(data: bytes, what: str = "process.json") -> "Process":
    """The process in the text of the file that `exec --process` names."""
    value = strict.loads(data, what, drop_null=True)
    if not _validator.process(value):
        _refuse(value, "process", what)
    return cast("Process", value)


def load_resources(data: bytes, what: str = "resources") -> "Resources":
    """The resources in the text of the file that `update --resources` names, checked as those of config.json are.

    Names of members count in any letter case, as in Go ({"CPU": {"Cpus": "1"}}); the result
    has the specification's spelling. Errors: ConfigError with the pointer of what is wrong, unknown members included.
    """
    from pyrunc.config.rules.check_resources import check_resources
    from pyrunc.config.rules.resource_members import check_known

    value = _resources(strict.loads(data, what, drop_null=True), what, "")
    if not _validator.resources(value):
        _refuse(value, "resources", what)
    resources = cast("Resources", value)
    check_known(resources, what)
    check_resources(resources, "")
    return resources


def _resources(value: object, what: str, pointer: str) -> object:
    """linux.resources in the specification's spelling, and without the "a" that tools for cgroup v1
    put among the rights of a device rule ("rwa"): it takes all rights away, and gives none."""
    result = _spell(value, _validator.RESOURCES, what, pointer)
    rules = result.get("devices") if type(result) is dict else None
    for rule in rules if type(rules) is list else ():
        access = rule.get("access") if type(rule) is dict else None
        if type(access) is str and "a" in access:
            rule["access"] = access.replace("a", "") if rule.get("allow") else "rwm"
    return result


def _spell(value: object, names: "dict[str, Any]", what: str, pointer: str) -> object:
    """The value with every member that `names` has in its right spelling."""
    if type(value) is list:
        return [_spell(item, names, what, f"{pointer}/{index}") for index, item in enumerate(value)]
    if type(value) is not dict or not names:
        return value
    result: dict[str, object] = {}
    for name, item in value.items():
        spelling, within = names.get("*") or names.get(name.lower()) or (name, {})
        if spelling == "*":
            spelling = name
        item = _spell(item, within, what, f"{pointer}/{spelling}")
        if spelling in result:
            before = result[spelling]
            if type(before) is dict and type(item) is dict and not before.keys() & item.keys():
                before.update(item)  # an object may be in two pieces, as Go reads them
                continue
            raise ConfigError(
                f'{what}: "{spelling}" occurs twice in one object, in different letter case'
                f" ({(pointer + '/' + spelling)[1:]})",
                pointer=f"{pointer}/{spelling}",
            )
        result[spelling] = item
    return result


def _refuse(value: object, root: str, what: str) -> None:
    """Raise the error for a document that the compiled validator refused.

    jsonschema is the judge: where it finds nothing wrong, the document is accepted.
    """
    from pyrunc.config.explain import explain

    error = explain(value, root, what)
    if error is not None:
        raise error
