"""`pyrunc validate`: everything that is wrong with a configuration, at once."""

from collections.abc import Sequence

from pyrunc.arguments import SWITCH, Command, Flag, Options, write
from pyrunc.options import Globals

COMMAND = Command(
    "validate",
    "tell everything that is wrong with a configuration",
    usage="<bundle> | <file>",
    flags=(
        Flag("strict", "warnings are errors as well", SWITCH),
        Flag("format", '"text", "json" or "sarif"', value="FORMAT", default="text"),
    ),
    text="""
DESCRIPTION:
   Reads a bundle's "config.json" and tells all that is wrong with it, each with its line
   and column, the element as a JSON pointer, and the section of the specification: what
   "pyrunc create" would refuse, members that nothing reads since they are misspelt or in
   the wrong place, what this kernel, this host and the image do not have, and what has
   no effect. Nothing is changed; root is not needed, and checks are made as for root.

EXIT STATUS:
   0 where there are no errors, with --strict no warnings either; else 1.
""",
)


def main(globals_: Globals, options: Options, arguments: Sequence[str]) -> int:
    from pyrunc.inspect import findings
    from pyrunc.inspect.validate import read, validate

    form = findings.check_format(options.text("format", "text"))
    data, file, bundle = read(arguments[0])
    found = validate(data, bundle)
    if options.on("strict"):
        for finding in found:
            finding.level = "error" if finding.level == "warning" else finding.level
    write(findings.write(found, form, file, "validate"))
    return int(any(it.level == "error" for it in found))
