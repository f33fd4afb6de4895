"""Members of a resources object that mean nothing: `update` is told of them, as it would change less than was asked.

Cold: for the file of `update --resources` alone. In config.json the specification wants them ignored (config.md,
"Extensibility").
"""

from pyrunc.config.rules.refusal import escaped, refuse
from pyrunc.config.schema import _validator
from pyrunc.didyoumean import hint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.config.types import Resources


def check_known(resources: "Resources", what: str) -> None:
    """Raise ConfigError for the first member that the specification does not have.

    resources: valid by the schema, with the specification's spelling. what: the document, with which the text begins.
    """
    _check(resources, _validator.RESOURCES, what, "")


def _check(value: "Any", names: "dict[str, Any]", what: str, pointer: str) -> None:
    if type(value) is list:
        for index, item in enumerate(value):
            _check(item, names, what, f"{pointer}/{index}")
    elif type(value) is dict and names:
        spellings = [spelling for spelling, _ in names.values()]
        for name, item in value.items():
            here = f"{pointer}/{escaped(name)}"
            if "*" not in names and name not in spellings:
                refuse(f'{what}: there is no "{name}"', here, hint(name, spellings))
            _check(item, (names.get("*") or names[name.lower()])[1], what, here)
