"""Write the manual pages: the parts that the program itself declares, and the prose from man/text.

    python man/generate.py [--check]

For each command the declaration in pyrunc/commands gives synopsis, description and options; a file
man/text/COMMAND.8, if there is one, follows, then the examples of man/examples/COMMAND.txt, which a test runs.
Pages of other sections are prose alone: man/text/NAME.5. The pages are kept in the repository,
so that an installation needs no generator; --check fails where they are not up to date.
"""

import argparse
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from pyrunc import SPEC_VERSION, cli  # noqa: E402
from pyrunc.arguments import HELP, NUMBER, SWITCH, Command, Flag  # noqa: E402
from pyrunc.config.reference import members  # noqa: E402

DOT = (".", "'")


def escaped(text: str) -> str:
    """Text as roff takes it literally."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + text if text.startswith(DOT) else text


def paragraphs(text: str) -> str:
    """A description: indented by three is prose, indented further or with "#" is an example."""
    out: list[str] = []
    literal = False
    for line in text.split("\n"):
        body = line.removeprefix("   ")
        example = body.startswith((" ", "#"))
        if example != literal and body:
            out.append(".PP\n.RS 4\n.nf" if example else ".fi\n.RE\n.PP")
            literal = example
        if not body:
            out.append("" if literal else ".PP")
        else:
            out.append(escaped(body.strip() if literal else body))
    if literal:
        out.append(".fi\n.RE")
    lines = "\n".join(out).split("\n")
    following = [*lines[1:], ""]
    tidy = [it for it, then in zip(lines, following, strict=True) if (it, then) != (".PP", ".PP")]
    while tidy and tidy[-1] in ("", ".PP"):
        tidy.pop()
    return "\n".join(tidy) + "\n"


def sections(text: str) -> str:
    """The prose of a command's help: headings at the margin, what belongs to them below."""
    out, heading = "", ""
    body: list[str] = []
    for line in [*text.strip("\n").split("\n"), "END:"]:
        if line.endswith(":") and line[:1].isupper() and line.upper() == line:
            if heading:
                out += f".SH {heading}\n" + paragraphs("\n".join(body).strip("\n"))
            heading, body = line[:-1], []
        else:
            body.append(line)
    return out


def option(flag: Flag) -> str:
    """The entry of one flag."""
    names = []
    for name in flag.names:
        dashes = "\\-\\-" if len(name) > 1 else "\\-"
        value = "" if flag.kind == SWITCH else f" \\fI{escaped(flag.value)}\\fR"
        names.append(f"\\fB{dashes}{escaped(name)}\\fR{value}")
    text = flag.help[0].upper() + flag.help[1:] + "."
    if flag.default != "" and flag.kind != SWITCH and (flag.kind != NUMBER or flag.default):
        text += f" Default: {flag.default}."
    return ".TP\n" + ", ".join(names) + f"\n{escaped(text)}\n"


def options(flags: list[Flag]) -> str:
    """The entries of all flags that are not hidden."""
    return "".join(option(flag) for flag in flags if flag.help)


def top(name: str, section: int = 8) -> str:
    """The first line of a page."""
    about = "System Administration" if section == 8 else "File Formats"
    return f'.TH {name.upper()} {section} "" "pyrunc" "{about}"\n'


def see_also(names: list[str]) -> str:
    """The last section."""
    listed = " ,\n".join(f".BR {escaped(name)} (8)" for name in names)
    return f".SH SEE ALSO\n{listed}\n"


def prose(name: str) -> str:
    """What man/text has for a page."""
    file = HERE / "text" / (name if name.endswith(".5") else f"{name}.8")
    return file.read_text() if file.exists() else ""


def examples(name: str) -> str:
    """The section EXAMPLES: lines of prose, and below each, indented, what is typed after the prompt "# "."""
    file = HERE / "examples" / f"{name}.txt"
    if not file.exists():
        return ""
    out, literal = ".SH EXAMPLES\n", False
    for line in file.read_text().splitlines():
        typed = line.startswith("    ")
        if typed and not literal:
            out += ".PP\n.RS 4\n.nf\n"
        elif literal and not typed:
            out += ".fi\n.RE\n"
        if not typed:
            out += ".PP\n"
        out += escaped(line.strip()) + "\n"
        literal = typed
    return out + (".fi\n.RE\n" if literal else "")


def page(it: Command) -> str:
    """The page of one command."""
    name = f"pyrunc-{it.name}"
    usage = escaped(it.usage).replace("<", "\\fI").replace(">", "\\fR")
    synopsis = f".B pyrunc {it.name}\n" + ("[\\fIoptions\\fR]\n" if it.flags else "") + usage
    related = sorted({"pyrunc", *(f"pyrunc-{other}" for other in RELATED.get(it.name, ()))})
    return (
        top(name)
        + f".SH NAME\n{escaped(name)} \\- {escaped(it.summary)}\n"
        + f".SH SYNOPSIS\n{synopsis.rstrip()}\n"
        + sections(it.text)
        + ".SH OPTIONS\n"
        + options([*it.flags, HELP])
        + prose(it.name)
        + examples(it.name)
        + see_also(related)
    )


def overview(commands: list[Command]) -> str:
    """pyrunc(8)."""
    listed = "".join(
        f".TP\n.BR pyrunc\\-{it.name} (8)\n{escaped(it.summary[0].upper() + it.summary[1:])}.\n" for it in commands
    )
    return (
        top("pyrunc")
        + ".SH NAME\npyrunc \\- Open Container Initiative runtime\n"
        + ".SH SYNOPSIS\n.B pyrunc\n[\\fIglobal options\\fR] \\fIcommand\\fR "
        + "[\\fIoptions\\fR] [\\fIarguments\\fR...]\n"
        + prose("pyrunc").replace("@SPEC@", SPEC_VERSION)
        + ".SH COMMANDS\n"
        + listed
        + ".SH GLOBAL OPTIONS\n"
        + options([*cli.GLOBAL_FLAGS, HELP])
        + prose("pyrunc-end")
        + see_also([f"pyrunc-{it.name}" for it in commands])
    )


def configuration() -> str:
    """pyrunc-config(5), from the schemas."""
    entries = ""
    for it in members():
        required = ", required" if it.required else ""
        entries += f'.TP\n.BR {escaped(it.path)} " ({escaped(it.type)}{required})"\n'
        entries += f"{escaped(it.description)}\n.br\n{escaped(it.section)}\n"
    return (
        top("pyrunc-config", 5)
        + ".SH NAME\npyrunc\\-config \\- the members of config.json\n"
        + prose("pyrunc-config.5").replace("@SPEC@", SPEC_VERSION)
        + ".SH MEMBERS\n"
        + entries
        + see_also(["pyrunc", "pyrunc-spec", "pyrunc-plan"])
    )


RELATED = {
    "checkpoint": ("restore",),
    "create": ("start", "run", "delete", "plan", "spec"),
    "delete": ("create", "kill", "list"),
    "events": ("ps", "update"),
    "exec": ("run", "ps"),
    "kill": ("delete", "state"),
    "list": ("state",),
    "mounts": ("create", "update"),
    "pause": ("resume",),
    "plan": ("create", "spec"),
    "ps": ("list", "events"),
    "restore": ("checkpoint",),
    "resume": ("pause",),
    "run": ("create", "start", "delete", "exec", "spec"),
    "spec": ("run", "plan"),
    "start": ("create", "state"),
    "state": ("list",),
    "update": ("events",),
}


def pages() -> dict[str, str]:
    """All pages by file name."""
    commands = [cli.load(name).COMMAND for name in cli.COMMANDS]
    made = {f"pyrunc-{it.name}.8": page(it) for it in commands}
    made["pyrunc.8"] = overview(commands)
    made["pyrunc-config.5"] = configuration()
    return made


def main() -> int:
    parser = argparse.ArgumentParser(description="Write the manual pages.")
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    check = parser.parse_args().check
    stale = []
    for name, text in pages().items():
        file = HERE / name
        if not file.exists() or file.read_text() != text:
            stale.append(name)
            if not check:
                file.write_text(text)
    print(*(f"{'out of date' if check else 'written'}: {name}" for name in stale), sep="\n")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
