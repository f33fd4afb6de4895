"""The regular expressions of the schemas as plain functions, so that the hot path needs no `re`.

compile_schema.py refuses a schema with a pattern that MATCHERS does not have; a test compares
each function with its expression.
"""

_DIGITS = frozenset("0123456789")
_SEMVER = frozenset("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz.-")
_CPU_LIST = frozenset("0123456789, -")
_ACCESS = frozenset("rwm")
_CAPITALS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ_")


def version(text: str) -> bool:
    """A semantic version of major 0 or 1: 1.3.0, 1.0.2-dev, 1.2.0+dev."""
    release, plus, build = text.partition("+")
    if plus and not (build and _SEMVER.issuperset(build)):
        return False
    release, dash, pre = release.partition("-")
    if dash and not (pre and _SEMVER.issuperset(pre)):
        return False
    parts = release.split(".")
    return (
        len(parts) == 3
        and parts[0] in ("0", "1")
        and all(part and _DIGITS.issuperset(part) for part in parts)
        and all(part == "0" or part[0] != "0" for part in parts)
    )


def cpu_list(text: str) -> bool:
    """Numbers, commas, dashes and spaces; whether they make sense is checked elsewhere."""
    return _CPU_LIST.issuperset(text)


def one_line(text: str) -> bool:
    """Text without a newline."""
    return "\n" not in text


def access(text: str) -> bool:
    """Access to a device: any of r, w and m."""
    return _ACCESS.issuperset(text)


def page_size(text: str) -> bool:
    """A size as in the names of the hugetlb files: 64KB, 2MB, 1GB."""
    number = text[:-2]
    return text[-2:] in ("KB", "MB", "GB") and number != "" and number[0] != "0" and _DIGITS.issuperset(number)


def bandwidth(text: str) -> bool:
    """One line of resctrl's schemata about memory bandwidth."""
    return text.startswith("MB:") and "\n" not in text


def capability(text: str) -> bool:
    """The form of a capability's name."""
    return len(text) > 4 and text.startswith("CAP_") and _CAPITALS.issuperset(text)


MATCHERS = {
    r"^[01]\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$": version,
    "^[0-9, -]*$": cpu_list,
    r"^[^\n]*$": one_line,
    "^[rwm]*$": access,
    "^[1-9][0-9]*[KMG]B$": page_size,
    r"^MB:[^\n]*$": bandwidth,
    "^CAP_[A-Z_]+$": capability,
}
"""From the expression, as it is written in the schemas, to the function for it."""
