"""The error of a semantic check.

Import cost: none beyond pyrunc.errors.
"""

from pyrunc.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def refuse(text: str, pointer: str, hint: str = "") -> "NoReturn":
    """Raise ConfigError: what is wrong, then where, without the pointer's leading slash."""
    where = f" ({pointer[1:]})" if pointer else ""
    raise ConfigError(text + where, pointer=pointer, hint=hint)


def escaped(name: str) -> str:
    """The name of a member as a part of a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")
