"""Messages for a person at a terminal: plain words in place of logrus lines. Cold.

Engines, scripts and logs never see this form: it stands only on a terminal, without --log and without --log-format.
"""

import posix

from pyrunc.errors import INIT, SETUP

# What runc puts before an error so that engines can tell its class, and what tells a person nothing.
_FOR_ENGINES = (SETUP, INIT.removeprefix(SETUP))
_COLORS = {"error": "31", "warning": "33", "debug": "2", "hint": "36"}


def harmless(text: str) -> str:
    r"""The text with control characters as \xNN, so that names from a configuration, an image or the kernel cannot
    move the cursor or change the terminal; newlines and tabs stay."""
    if text.isprintable():
        return text
    return "".join(_escaped(char) if char not in "\n\t" and _controls(char) else char for char in text)


def _escaped(char: str) -> str:
    return f"\\x{ord(char):02x}" if ord(char) < 256 else f"\\u{ord(char):04x}"


def _controls(char: str) -> bool:
    """C0, DEL and C1, and what turns the direction of writing."""
    code = ord(char)
    return code < 32 or 127 <= code < 160 or 0x202A <= code <= 0x202E or 0x2066 <= code <= 0x2069


def plain(level: str, message: str, color: bool) -> str:
    """One message with its newline. level: error, warning, info, debug or hint."""
    if level == "error":
        label = "pyrunc"
        if message.startswith("pyrunc "):
            # "pyrunc run failed: " is the label of this line already.
            before, found, after = message.partition(" failed: ")
            if found and before.count(" ") == 1:
                label, message = before, after
        for phrase in _FOR_ENGINES:
            message = message.removeprefix(phrase)
    else:
        label = level if level == "hint" else f"pyrunc: {level}"
    text = harmless(message.rstrip("\n"))
    code = _COLORS.get(level, "")
    if color and code:
        return f"\033[{code}m{label}:\033[0m {text}\n"
    return f"{label}: {text}\n"


def color_wanted() -> bool:
    """Whether colour helps: not with $NO_COLOR (https://no-color.org), nor on a dumb terminal."""
    return not posix.environ.get(b"NO_COLOR") and posix.environ.get(b"TERM", b"dumb") != b"dumb"
