"""A configuration as a text: where each element stands, and members that are there twice."""

from pyrunc.config.locate import _Fault, _Parser, pointer_of
from pyrunc.config.strict import MAX_SIZE


class Located(_Parser):
    """The strict parser, which notes where each value begins and goes on after a member that is there twice.

    places: offset of each value by its JSON pointer. twice: offset and pointer of each second one.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.places: dict[str, int] = {}
        self.twice: list[tuple[int, str]] = []

    def value(self, depth: int) -> None:
        self.peek()
        self.places[pointer_of(self.path)] = self.at
        super().value(depth)

    def occurs_twice(self, name: str, start: int) -> None:
        self.twice.append((start, pointer_of(self.path)))


class Document:
    """The text of a configuration. fault: (line, column, reason, pointer) of what is no JSON at all, or None."""

    def __init__(self, data: bytes) -> None:
        self.text = ""
        self.twice: list[str] = []
        self.fault: tuple[int, int, str, str] | None = None
        self._places: dict[str, int] = {}
        self._lines: list[int] = []
        if len(data) > MAX_SIZE:
            self.fault = (1, 1, f"larger than {MAX_SIZE >> 20} MiB", "")
            return
        try:
            self.text = data.decode()
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            self.fault = (line, error.start - data.rfind(b"\n", 0, error.start), "invalid UTF-8", "")
            return
        parser = Located(self.text)
        try:
            parser.document()
        except _Fault as found:
            self.fault = (*self._at(found.position), found.reason, found.pointer)
        self._places = parser.places
        self.twice = [pointer for _, pointer in parser.twice]

    def _at(self, offset: int) -> tuple[int, int]:
        """Line and column, from 1 on."""
        return self.text.count("\n", 0, offset) + 1, offset - self.text.rfind("\n", 0, offset)

    def place(self, pointer: str) -> tuple[int, int]:
        """Line and column of an element; of the nearest one around it where it is not there; (0, 0) for none."""
        while pointer not in self._places:
            if not pointer:
                return 0, 0
            pointer = pointer.rpartition("/")[0]
        return self._at(self._places[pointer])
