"""The layout of help texts: NAME, USAGE, prose, OPTIONS, as urfave/cli prints them.

Not on the hot path.
"""

from collections.abc import Iterable, Sequence

from pyrunc import SPEC_VERSION, __version__
from pyrunc.arguments import HELP, NUMBER, SWITCH, Command, Flag
from pyrunc.topics import TOPICS

OVERVIEW = """\
pyrunc creates and runs containers as the Open Container Initiative specifies
them. Container engines call it; by hand it serves to look at a container, to try
a configuration, or to see what a configuration comes down to ("pyrunc plan").

A container is described by a bundle: a directory with a "config.json" and,
usually beside it, a root file system. To run one:

    # pyrunc run BUNDLE
    # pyrunc run [ -b BUNDLE ] <container-id>
"""


def command(it: Command) -> str:
    """The help of one command."""
    options = " [command options]" if it.flags else ""
    parts = [
        f"NAME:\n   pyrunc {it.name} - {it.summary}\n",
        f"USAGE:\n   pyrunc {it.name}{options} {it.usage}".rstrip() + "\n",
    ]
    if it.text:
        parts.append(it.text.strip("\n") + "\n")
    parts.append("OPTIONS:\n" + flags([*it.flags, HELP]))
    return "\n".join(parts)


def overview(global_flags: Sequence[Flag], commands: Sequence[Command]) -> str:
    """The help of pyrunc itself."""
    return "\n".join(
        [
            "NAME:\n   pyrunc - Open Container Initiative runtime\n",
            OVERVIEW,
            "USAGE:\n   pyrunc [global options] command [command options] [arguments...]\n",
            f"VERSION:\n   {__version__}\n   spec: {SPEC_VERSION}\n",
            "COMMANDS:\n" + columns((it.name, it.summary) for it in commands),
            "TOPICS (pyrunc help TOPIC):\n" + columns((name, about) for name, (about, _) in TOPICS.items()),
            "GLOBAL OPTIONS:\n" + flags([*global_flags, HELP]),
        ]
    )


def flags(them: Iterable[Flag]) -> str:
    """One line a flag."""
    return columns((names(flag), described(flag)) for flag in them if flag.help)


def names(flag: Flag) -> str:
    """`--bundle value, -b value`."""
    value = "" if flag.kind == SWITCH else " " + flag.value
    return ", ".join(("--" if len(name) > 1 else "-") + name + value for name in flag.names)


def described(flag: Flag) -> str:
    """What the flag does, with its default."""
    if flag.default == "" or flag.kind == SWITCH or (flag.kind == NUMBER and not flag.default):
        return flag.help
    shown = f'"{flag.default}"' if isinstance(flag.default, str) else str(flag.default)
    return f"{flag.help} (default: {shown})"


def columns(rows: Iterable[tuple[str, str]]) -> str:
    """Two columns, indented by three."""
    listed = list(rows)
    width = max((len(left) for left, _ in listed), default=0)
    return "".join(f"   {left:{width}}  {right}\n" for left, right in listed)
