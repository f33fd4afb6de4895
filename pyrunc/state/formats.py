"""state.json of other versions of pyrunc: containers outlive the program that made them.

A format's number is raised when a member is added that readers need, or changes its meaning; then a step is added here.
An older pyrunc refuses what has a higher number. Members that it does not know, it does not look at.

Import cost: none. Cold.
"""

from pyrunc.config import strict
from pyrunc.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Document = dict[str, Any]


def migrated(document: "Document", wanted: int, config: "Document") -> "Document | None":
    """A document of an earlier format in format `wanted`; None if there is no way from the one to the other.

    config: the container's configuration.
    """
    number = document.get("format")
    if type(number) is not int:
        return None
    while number in STEPS and number < wanted:
        document = {**STEPS[number](document, config), "format": number + 1}
        number += 1
    return document if number == wanted else None


def configuration(id: str, data: "bytes | None") -> "Document":
    """The config.json that lies beside a state.json; Error if it does not or is damaged."""
    if data is None:
        raise Error(f"container {id} was never completely created")
    config = strict.loads(data, f"config.json of container {id}")
    if not isinstance(config, dict):
        raise Error(f"config.json of container {id} is damaged")
    return config


def _hooks_and_listener(document: "Document", config: "Document") -> "Document":
    """1 to 2: `start` does not read config.json to see if there are poststart hooks or a seccomp listener."""
    seccomp = (config.get("linux") or {}).get("seccomp") or {}
    return {
        **document,
        "poststart": bool((config.get("hooks") or {}).get("poststart")),
        "listener": bool(seccomp.get("listenerPath")),
    }


STEPS: "dict[int, Callable[[Document, Document], Document]]" = {1: _hooks_and_listener}
"""By the format that a step starts from."""
