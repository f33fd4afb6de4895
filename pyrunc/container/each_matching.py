"""Commands for more than one container: `delete --regex`, `kill --regex`.

Not on the hot path.
"""

import re
from collections.abc import Callable

from pyrunc.errors import Error
from pyrunc.options import Globals
from pyrunc.state.store import Store


def each(globals_: Globals, pattern: str, act: Callable[[str], None]) -> None:
    """Do something for every container in whose id the regular expression is found.

    It is tried for all; errors are raised together at the end. Errors: the expression's, act()'s.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise Error(f"invalid regular expression {pattern!r}: {error}") from None
    failed = []
    for state in Store(globals_.root).list():
        if expression.search(state.id):
            try:
                act(state.id)
            except Error as error:
                failed.append(f"{state.id}: {error}")
    if failed:
        raise Error("; ".join(failed))
