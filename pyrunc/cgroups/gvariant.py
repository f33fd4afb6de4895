"""The GVariant text format, as far as systemd's properties need it. Pure.

`parse("uint64 5")` gives ("t", 5): a D-Bus signature and the value as a D-Bus library takes it.
Known: booleans, numbers with and without a type keyword, strings, arrays, tuples and
`@SIGNATURE value`. A bare integer is int32, as in GLib.
"""

from pyrunc.errors import ConfigError

KEYWORDS = {
    "boolean": "b", "byte": "y", "int16": "n", "uint16": "q", "int32": "i", "uint32": "u",
    "int64": "x", "uint64": "t", "double": "d", "string": "s", "objectpath": "o", "signature": "g",
}  # fmt: skip
RANGES = {
    "y": (0, 0xFF), "n": (-(1 << 15), (1 << 15) - 1), "q": (0, 0xFFFF),
    "i": (-(1 << 31), (1 << 31) - 1), "u": (0, (1 << 32) - 1),
    "x": (-(1 << 63), (1 << 63) - 1), "t": (0, (1 << 64) - 1),
}  # fmt: skip
ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
DEPTH = 16


def parse(text: str) -> "tuple[str, object]":
    """(signature, value); raises ConfigError."""
    parser = _Parser(text)
    result = parser.value("", 0)
    parser.space()
    if parser.at != len(text):
        raise parser.error("something follows the value")
    return result


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def error(self, why: str) -> ConfigError:
        return ConfigError(f"bad GVariant {self.text!r} at character {self.at + 1}: {why}")

    def space(self) -> None:
        while self.at < len(self.text) and self.text[self.at] in " \t\n":
            self.at += 1

    def peek(self) -> str:
        self.space()
        return self.text[self.at : self.at + 1]

    def take(self, char: str) -> bool:
        if self.peek() == char:
            self.at += 1
            return True
        return False

    def word(self, more: str = "") -> str:
        start = self.at
        while self.at < len(self.text) and (self.text[self.at].isalnum() or self.text[self.at] in "_+-." + more):
            self.at += 1
        return self.text[start : self.at]

    def value(self, expected: str, depth: int) -> "tuple[str, object]":
        """One value. expected: its signature where one is known, else ""."""
        if depth > DEPTH:
            raise self.error("nested too deep")
        char = self.peek()
        if char == "@":
            self.at += 1
            signature = self.word("(){}")
            if not signature or single(signature) != signature:
                raise self.error("a type must follow @")
            return self.fitting(expected, self.value(signature, depth + 1))
        if char == "[":
            return self.array(expected, depth)
        if char == "(":
            return self.tuple(expected, depth)
        if char in ("'", '"'):
            kind = expected or "s"
            if kind not in ("s", "o", "g"):
                raise self.error(f"a value of type {kind} expected")
            return kind, self.string()
        start = self.at
        word = self.word()
        if word in KEYWORDS:
            return self.fitting(expected, self.value(KEYWORDS[word], depth + 1))
        if word in ("true", "false"):
            return self.fitting(expected, ("b", word == "true"))
        self.at = start
        return self.number(expected, self.word())

    def fitting(self, expected: str, found: "tuple[str, object]") -> "tuple[str, object]":
        if expected and found[0] != expected:
            raise self.error(f"type {expected} expected, not {found[0]}")
        return found

    def number(self, expected: str, word: str) -> "tuple[str, object]":
        kind = expected or ("d" if set(word) & set(".eE") and "x" not in word else "i")
        try:
            if kind == "d":
                return kind, float(word)
            value = int(word, 0)
        except ValueError:
            raise self.error("a value expected") from None
        if kind not in RANGES:
            raise self.error(f"a value of type {kind} expected")
        low, high = RANGES[kind]
        if not low <= value <= high:
            raise self.error(f"{value} does not fit the type {kind}")
        return kind, value

    def string(self) -> str:
        quote = self.text[self.at]
        self.at += 1
        out: list[str] = []
        while self.at < len(self.text):
            char = self.text[self.at]
            self.at += 1
            if char == quote:
                return "".join(out)
            if char == "\\":
                char = self.text[self.at : self.at + 1]
                self.at += 1
                if char in ("u", "U"):
                    size = 4 if char == "u" else 8
                    digits = self.text[self.at : self.at + size]
                    self.at += size
                    try:
                        char = chr(int(digits, 16))
                    except (ValueError, OverflowError):
                        raise self.error("bad escape") from None
                else:
                    char = ESCAPES.get(char, char)
            out.append(char)
        raise self.error("the string does not end")

    def array(self, expected: str, depth: int) -> "tuple[str, object]":
        if expected and (expected[0] != "a" or expected[1:2] == "{"):
            raise self.error(f"a value of type {expected} expected")
        self.at += 1
        element = expected[1:]
        values: list[object] = []
        while not self.take("]"):
            if values and not self.take(","):
                raise self.error("a comma or ] expected")
            element, value = self.value(element, depth + 1)
            values.append(value)
        if not element:
            raise self.error("an empty array needs a type (@as [])")
        if element == "y":
            return "ay", bytes(int(str(v)) for v in values)
        return "a" + element, values

    def tuple(self, expected: str, depth: int) -> "tuple[str, object]":
        if expected and expected[0] != "(":
            raise self.error(f"a value of type {expected} expected")
        self.at += 1
        rest = expected[1:-1]
        kinds: list[str] = []
        values: list[object] = []
        while not self.take(")"):
            if values and not self.take(","):
                raise self.error("a comma or ) expected")
            if self.peek() == ")":
                continue  # (1,) has one element
            kind = single(rest)
            rest = rest[len(kind) :]
            kind, value = self.value(kind, depth + 1)
            kinds.append(kind)
            values.append(value)
        return self.fitting(expected, (f"({''.join(kinds)})", tuple(values)))


def single(signature: str) -> str:
    """The first complete type of a signature, "" where there is none."""
    if not signature:
        return ""
    first = signature[0]
    if first == "a":
        inner = single(signature[1:])
        return "a" + inner if inner else ""
    if first == "(":
        at = 1
        while signature[at : at + 1] not in ("", ")"):
            part = single(signature[at:])
            if not part:
                return ""
            at += len(part)
        return signature[: at + 1] if signature[at : at + 1] == ")" and at > 1 else ""
    return first if first in "bynqiuxtdsog" else ""
