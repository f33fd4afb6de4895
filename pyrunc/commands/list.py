"""`pyrunc list`: the containers of a state directory.

Not on the hot path.
"""

import pwd
from collections.abc import Sequence

from pyrunc.arguments import SWITCH, Command, Flag, Options, write
from pyrunc.config import strict
from pyrunc.errors import Error
from pyrunc.options import Globals
from pyrunc.state.store import Store

COMMAND = Command(
    "list",
    "list containers",
    usage="",
    least=0,
    most=0,
    flags=(
        Flag("format, f", '"table" or "json"', value="FORMAT", default="table"),
        Flag("quiet, q", "print ids only", SWITCH),
    ),
    text="""
DESCRIPTION:
   Lists the containers whose state is in the directory that the global option --root
   names, sorted by id. Containers made with another --root are not seen.
""",
)

# As Go's tabwriter does it for runc: a cell is at least 12 wide, and 3 wider than its longest text.
MINIMUM, PADDING = 12, 3


def main(globals_: Globals, options: Options, arguments: Sequence[str]) -> int:
    form = options.text("format", "table")
    if form not in ("table", "json"):
        raise Error("invalid format option")
    store = Store(globals_.root)
    if globals_.root_given and not store.directory.exists():
        raise Error(f"state directory {globals_.root} does not exist")
    states = store.list()
    if options.on("quiet"):
        write("".join(state.id + "\n" for state in states))
        return 0
    documents = [state.document(user(state.owner)) for state in states]
    if form == "json":
        # No containers are "null": what a list without elements is in Go, and what runc's users test for.
        write(strict.dumps(documents or None) + "\n")
    else:
        names = ("id", "pid", "status", "bundle", "created", "owner")
        rows = [[str(document[name]) for name in names] for document in documents]
        write(table([[name.upper() for name in names], *rows]))
    return 0


def user(uid: int) -> str:
    """The name of a user, or `#uid` for one without."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns; the last one is not padded."""
    widths = [max(MINIMUM, PADDING + max(len(cell) for cell in column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [f"{cell:{width}}" for cell, width in zip(row[:-1], widths, strict=False)]
        lines.append("".join(cells) + row[-1] + "\n")
    return "".join(lines)
