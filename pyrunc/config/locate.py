r"""Where a JSON text is at fault: the cold half of pyrunc.config.strict.

A plain parser that keeps the position and the JSON pointer. It decides by the same rules as the
scanner does, and is asked only about a text that the scanner refused, or that holds an escape
(\u0000, a surrogate) whose meaning depends on what stands around it.
"""

import re

from pyrunc.config.strict import MAX_DEPTH, MAX_SIZE
from pyrunc.errors import ConfigError

_SPACE = re.compile(r"[ \t\r\n]*")
_NUMBER = re.compile(r"(-?(?:0|[1-9][0-9]*))((?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)")
_PLAIN = re.compile(r'[^"\\\x00-\x1f]*')
_HEX = re.compile(r"[0-9a-fA-F]{4}")
_ESCAPES = {c: c for c in '"\\/'} | {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_WORDS = ("true", "false", "null")


class _Fault(Exception):
    def __init__(self, position: int, reason: str, path: list[str | int]) -> None:
        super().__init__(reason)
        self.position = position
        self.reason = reason
        self.pointer = pointer_of(path)


def pointer_of(path: "list[str | int]") -> str:
    """The JSON pointer (RFC 6901) of a list of names and indices."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def fault(data: bytes, what: str) -> ConfigError:
    """The error for a text that the scanner refused."""
    return find_fault(data, what) or ConfigError(f"{what}: not a JSON document")


def find_fault(data: bytes, what: str) -> ConfigError | None:
    """The first fault of a JSON text as an error, or None if it has none.

    what: the document's name, with which the error's text begins.
    """
    if len(data) > MAX_SIZE:
        return ConfigError(f"{what}: larger than {MAX_SIZE >> 20} MiB")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        return ConfigError(f"{what}: line {line}, byte {column}: invalid UTF-8")
    try:
        _Parser(text).document()
    except _Fault as found:
        line = text.count("\n", 0, found.position) + 1
        column = found.position - text.rfind("\n", 0, found.position)
        shown = found.pointer[1:]
        where = f" ({shown if len(shown) < 100 else shown[:96] + '...'})" if shown else ""
        message = f"{what}: line {line}, column {column}: {found.reason}{where}"
        return ConfigError(message, pointer=found.pointer)
    return None


class _Parser:
    """A recursive descent that builds nothing; MAX_DEPTH bounds the recursion."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.path: list[str | int] = []

    def refuse(self, reason: str, at: int | None = None) -> _Fault:
        return _Fault(self.at if at is None else at, reason, self.path)

    def peek(self) -> str:
        """The next character after white space; "" at the end."""
        found = _SPACE.match(self.text, self.at)
        assert found
        self.at = found.end()
        return self.text[self.at : self.at + 1]

    def document(self) -> None:
        if self.text.startswith("\ufeff"):
            raise self.refuse("a byte order mark")
        self.value(0)
        if self.peek():
            raise self.refuse("more text after the end of the document")

    def value(self, depth: int) -> None:
        first = self.peek()
        if first == '"':
            self.string()
        elif first in ("{", "["):
            if depth >= MAX_DEPTH:
                raise self.refuse(f"nested more than {MAX_DEPTH} levels deep")
            self.at += 1
            (self.members if first == "{" else self.items)(depth + 1)
        elif first == "":
            raise self.refuse("the document ends too early")
        else:
            self.scalar()

    def scalar(self) -> None:
        start = self.at
        for word in _WORDS:
            if self.text.startswith(word, start):
                self.at += len(word)
                return
        for word in ("NaN", "Infinity", "-Infinity"):
            if self.text.startswith(word, start):
                raise self.refuse(f"{word} is not a JSON number")
        number = _NUMBER.match(self.text, start)
        if not number:
            raise self.refuse("a value was expected")
        self.at = number.end()
        if number[2]:
            if abs(float(number[0])) == float("inf"):
                raise self.refuse("the number is too large", start)
        elif len(number[1]) > 20 or not -(1 << 63) <= int(number[1]) < 1 << 64:
            raise self.refuse("the number does not fit into 64 bits", start)

    def members(self, depth: int) -> None:
        seen: set[str] = set()
        if self.peek() == "}":
            self.at += 1
            return
        while True:
            if self.peek() != '"':
                raise self.refuse("the name of a member, in quotes, was expected")
            start = self.at
            name = self.string()
            self.path.append(name)
            if name in seen:
                self.occurs_twice(name, start)
            seen.add(name)
            if self.peek() != ":":
                raise self.refuse("a colon was expected")
            self.at += 1
            self.value(depth)
            self.path.pop()
            if not self.goes_on("}"):
                return

    def occurs_twice(self, name: str, start: int) -> None:
        """A member of an object that has one of this name already: an error."""
        raise self.refuse(f'"{name}" occurs twice in one object', start)

    def items(self, depth: int) -> None:
        index = 0
        if self.peek() == "]":
            self.at += 1
            return
        while True:
            self.path.append(index)
            self.value(depth)
            self.path.pop()
            index += 1
            if not self.goes_on("]"):
                return

    def goes_on(self, closing: str) -> bool:
        """Take the comma (True) or the closing bracket (False) after a member or an item."""
        found = self.peek()
        if found not in (",", closing):
            raise self.refuse(f'"," or "{closing}" was expected')
        self.at += 1
        return found == ","

    def string(self) -> str:
        text = self.text
        parts: list[str] = []
        self.at += 1
        while True:
            plain = _PLAIN.match(text, self.at)
            assert plain
            parts.append(plain[0])
            self.at = plain.end()
            end = text[self.at : self.at + 1]
            if end == '"':
                self.at += 1
                return "".join(parts)
            if end == "":
                raise self.refuse("a string is not closed")
            if end != "\\":
                raise self.refuse("a control character in a string")
            parts.append(self.escape())

    def escape(self) -> str:
        start = self.at
        letter = self.text[start + 1 : start + 2]
        if letter in _ESCAPES:
            self.at += 2
            return _ESCAPES[letter]
        code = self.unit(start)
        self.at += 6
        if code == 0:
            raise self.refuse("a NUL character in a string", start)
        if not 0xD800 <= code <= 0xDFFF:
            return chr(code)
        if code <= 0xDBFF and self.text.startswith("\\u", self.at):
            low = self.unit(self.at)
            if 0xDC00 <= low <= 0xDFFF:
                self.at += 6
                return chr(0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00))
        raise self.refuse("a lone surrogate in a string", start)

    def unit(self, start: int) -> int:
        r"""The number of the \uXXXX at `start`."""
        digits = _HEX.match(self.text, start + 2)
        if self.text[start + 1 : start + 2] != "u" or not digits:
            raise self.refuse("an invalid escape in a string", start)
        return int(digits[0], 16)
