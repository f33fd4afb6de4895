"""Names and numbers of signals (signal(7)), the same on x86_64 and aarch64.

Import cost: none.
"""

from pyrunc.errors import Error

SIGHUP, SIGINT, SIGQUIT, SIGILL, SIGKILL, SIGTERM, SIGCHLD, SIGCONT, SIGSTOP = 1, 2, 3, 4, 9, 15, 17, 18, 19
SIGURG, SIGWINCH = 23, 28

_NAMES = (
    *("HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV"),
    *("USR2", "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN"),
    *("TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS"),
)
_SYNONYMS = {"IOT": 6, "CLD": 17, "POLL": 29}
_RTMIN, _RTMAX = 34, 64  # as the C library counts: it keeps 32 and 33 for its threads


def parse_signal(text: str) -> int:
    """The number for a number (0 to 64) or a name, with or without "SIG", in any case.

    Real-time signals are RTMIN, RTMIN+n, RTMAX-n and RTMAX. Errors: `unknown signal "FOO"`.
    """
    if text.isascii() and text.isdecimal() and len(text) < 4:
        number = int(text)
        if number <= _RTMAX:
            return number
    name = text.upper()
    if name.startswith("SIG"):
        name = name[3:]
    if name in _NAMES:
        return _NAMES.index(name) + 1
    if name in _SYNONYMS:
        return _SYNONYMS[name]
    real_time = _real_time(name)
    if real_time:
        return real_time
    raise Error(f'unknown signal "{text}"')


def _real_time(name: str) -> int:
    """The number of a real-time signal, or 0."""
    base = {"RTMIN": _RTMIN, "RTMAX": _RTMAX}.get(name[:5])
    offset = name[6:] if len(name) > 6 else "0" if len(name) == 5 else ""
    if base is None or not (offset.isascii() and offset.isdecimal() and len(offset) < 3):
        return 0
    if len(name) > 5 and name[5] != ("+" if base == _RTMIN else "-"):
        return 0
    number = base + int(offset) if base == _RTMIN else base - int(offset)
    return number if _RTMIN <= number <= _RTMAX else 0
