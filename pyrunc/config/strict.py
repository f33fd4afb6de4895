"""JSON as RFC 8259 has it and nothing else, read by the scanner that `json` itself uses.

What Python's `json` accepts and this module refuses: a name that occurs twice in an object, NaN
and Infinity, numbers beyond 64 bits, lone surrogates and NUL characters in strings (neither can
become an argument of a system call), more than MAX_DEPTH levels, more than MAX_SIZE bytes.
Where in the text the fault lies is found by pyrunc.config.locate, imported only then.

Import cost: `_json` (a C module); neither `json` nor `re`.
"""

import _json
import posix

from pyrunc.errors import ConfigError, strerror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

MAX_SIZE = 16 << 20
"""Bytes; the largest config.json seen in the field has some hundred kilobytes."""

MAX_DEPTH = 64
"""Levels of arrays and objects; the specification's deepest property has nine."""

_LOWEST, _HIGHEST = -(1 << 63), (1 << 64) - 1


class _Refused(ValueError):
    """Well-formed for Python's scanner, not for us; pyrunc.config.locate says what it is."""


def _object(pairs: "list[tuple[str, object]]") -> "dict[str, object]":
    result = dict(pairs)
    if len(result) != len(pairs):
        raise _Refused
    return result


def _object_without_null(pairs: "list[tuple[str, object]]") -> "dict[str, object]":
    result = dict(pairs)
    if len(result) != len(pairs):
        raise _Refused
    for value in result.values():
        if value is None:
            return {name: value for name, value in pairs if value is not None}
    return result


def _integer(text: str) -> int:
    if len(text) > 20:
        raise _Refused
    value = int(text)
    if not _LOWEST <= value <= _HIGHEST:
        raise _Refused
    return value


def _float(text: str) -> float:
    value = float(text)
    if value - value != 0.0:  # 1e999
        raise _Refused
    return value


def _constant(text: str) -> object:
    raise _Refused


class _Context:
    """What the scanner reads its settings from; the names are those of json.JSONDecoder."""

    __slots__ = ("object_pairs_hook",)

    def __init__(self, object_pairs_hook: "Callable[[list[tuple[str, object]]], dict[str, object]]") -> None:
        self.object_pairs_hook = object_pairs_hook

    strict = True  # no control characters in strings
    object_hook = None
    parse_float = staticmethod(_float)
    parse_int = staticmethod(_integer)
    parse_constant = staticmethod(_constant)


_make_scanner: "Any" = _json.make_scanner  # typeshed wants a json.JSONDecoder
_scan = _make_scanner(_Context(_object))
_scan_without_null = _make_scanner(_Context(_object_without_null))


def _deeper_than(value: object, limit: int) -> bool:
    """Whether arrays and objects lie in each other on more than `limit` levels."""
    level: list[Any] = [value]
    for _ in range(limit + 1):
        level = [
            item
            for container in level
            if (kind := type(container)) is dict or kind is list
            for item in (container.values() if kind is dict else container)
        ]
        if not level:
            return False
    return True


def loads(data: bytes, what: str, *, drop_null: bool = False) -> object:
    """The value of the JSON text `data`.

    what: the document's name for errors ("config.json").
    drop_null: leave out every member of an object whose value is null. Go programs write null
        for an absent list or object, and mean "absent".
    Raises ConfigError with line, column and JSON pointer of the fault.
    """
    if len(data) > MAX_SIZE:
        raise ConfigError(f"{what}: larger than {MAX_SIZE >> 20} MiB")
    try:
        text = data.decode().rstrip(" \t\r\n")
        value, end = (_scan_without_null if drop_null else _scan)(text, len(text) - len(text.lstrip(" \t\r\n")))
    # SystemError: Python 3.11's scanner takes the exception to raise from json.decoder, which is not imported here.
    except (ValueError, StopIteration, RecursionError, SystemError):
        from pyrunc.config.locate import fault

        raise fault(data, what) from None
    if end != len(text) or _deeper_than(value, MAX_DEPTH) or _has_bad_escape(text):
        from pyrunc.config.locate import find_fault

        error = find_fault(data, what)
        if error is not None:
            raise error
    return value


def _has_bad_escape(text: str) -> bool:
    r"""Whether \u0000 or a surrogate may be in a string; locate.py knows if it really is."""
    return "\\u" in text and ("\\u0000" in text or "\\ud" in text or "\\uD" in text)


def read_file(path: str, what: str) -> bytes:
    """The bytes of a file of at most MAX_SIZE; FileNotFoundError passes, others are ConfigError.

    path may be /dev/fd/N or a fifo. what: the document's name for errors.
    """
    try:
        descriptor = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
        try:
            return read_descriptor(descriptor, what)
        finally:
            posix.close(descriptor)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ConfigError(f"{what}: {strerror(error.errno or 0)}", errno=error.errno or 0) from None


def read_descriptor(descriptor: int, what: str) -> bytes:
    """All bytes up to the end of a file or pipe; ConfigError beyond MAX_SIZE, OSError as it is."""
    parts: list[bytes] = []
    size = 0
    while True:
        part = posix.read(descriptor, 1 << 18)
        if not part:
            return parts[0] if len(parts) == 1 else b"".join(parts)
        size += len(part)
        if size > MAX_SIZE:
            raise ConfigError(f"{what}: larger than {MAX_SIZE >> 20} MiB")
        parts.append(part)


def _default(value: object) -> object:
    raise TypeError(f"{type(value).__name__} has no JSON form")


_encode = _json.make_encoder(  # the last three: sort_keys, skipkeys, allow_nan
    None, _default, _json.encode_basestring, None, ":", ",", False, False, False
)


def dumps(value: object, indent: "int | str | None" = None) -> str:
    """The JSON text of a value of dicts (with str keys), lists, str, int, float, bool and None.

    indent: None for one line without spaces, as Go's json.Marshal; a number of spaces, or the
        string itself ("\\t"), for one member a line, as Go's json.MarshalIndent.
    The result always encodes to UTF-8: bytes of a file name that are no UTF-8 become U+FFFD.
    Raises TypeError for other types and ValueError for NaN and infinities.
    """
    if indent is None:
        text = "".join(_encode(value, 0))
    else:
        parts: list[str] = []
        _indented(value, "\n", " " * indent if isinstance(indent, int) else indent, parts)
        text = "".join(parts)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            text = text.encode(errors="surrogateescape").decode(errors="replace")
    return text


def _indented(value: object, newline: str, indent: str, parts: "list[str]") -> None:
    if isinstance(value, dict):
        opening, closing = "{", "}"
    elif isinstance(value, (list, tuple)):
        opening, closing = "[", "]"
    else:
        parts.extend(_encode(value, 0))
        return
    if not value:
        parts.append(opening + closing)
        return
    inner = newline + indent
    separator = opening + inner
    if isinstance(value, dict):
        for name, item in value.items():
            if not isinstance(name, str):
                raise TypeError(f"{type(name).__name__} is no name of a JSON member")
            parts.append(f"{separator}{_json.encode_basestring(name)}: ")
            _indented(item, inner, indent, parts)
            separator = "," + inner
    else:
        for item in value:
            parts.append(separator)
            _indented(item, inner, indent, parts)
            separator = "," + inner
    parts.append(newline + closing)
