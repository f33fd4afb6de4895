"""Topics of `pyrunc help TOPIC` that are no commands.

Cold.
"""

import textwrap
from collections.abc import Callable, Sequence

from pyrunc import SPEC_VERSION
from pyrunc.errors import Error

WIDTH = 88


def show(name: str, words: Sequence[str]) -> str:
    """The text of a topic. words: what follows its name. Errors: the words mean nothing to it."""
    return TOPICS[name][1](words)


def _config(words: Sequence[str]) -> str:
    from pyrunc.config.reference import members

    found = members(words[0] if words else "")
    if not found:
        raise Error(f"config.json has no member {words[0]}; pyrunc help config lists them all")
    parts = [
        "Members of config.json that mean something on Linux, by version "
        f"{SPEC_VERSION} of the specification.\n"
        '"[]" stands for each entry of an array, "*" for each name. '
        "One alone, with what is below it: pyrunc help config linux.resources.memory\n"
    ]
    for it in found:
        required = ", required" if it.required else ""
        text = textwrap.fill(it.description, WIDTH, initial_indent="    ", subsequent_indent="    ")
        parts.append(f"{it.path}  ({it.type}{required})\n{text}\n    {it.section}\n")
    return "\n".join(parts)


#: name: one line about it, and what makes its text.
TOPICS: dict[str, tuple[str, Callable[[Sequence[str]], str]]] = {
    "config": ("the members of config.json; also: help config MEMBER", _config),
}
