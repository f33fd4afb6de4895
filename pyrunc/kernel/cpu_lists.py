"""The kernel's list format: numbers and ranges, 0-3,7 (cpuset(7), "List format").

Import cost: none.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def parse(text: str, most: int) -> "list[tuple[int, int]]":
    """The ranges (first, last) of a list, in its order; [] for an empty text.

    most: the largest number that makes sense. Spaces around numbers are allowed, as in Go's
    runtimes. Raises ValueError with the reason.
    """
    ranges = []
    for part in text.split(",") if text.strip() else ():
        first, dash, last = part.partition("-")
        try:
            low = int(first)
            high = int(last) if dash else low
        except ValueError:
            raise ValueError(f'"{part.strip()}" is neither a number nor a range') from None
        if low > high:
            raise ValueError(f'the range "{part.strip()}" runs backwards')
        if high > most:
            raise ValueError(f"{high} is more than {most}")
        ranges.append((low, high))
    return ranges


def count(ranges: "list[tuple[int, int]]") -> int:
    """How many different numbers the ranges hold."""
    total, end = 0, -1
    for low, high in sorted(ranges):
        if high > end:
            total += high - max(low, end + 1) + 1
            end = high
    return total


def text(numbers: "Iterable[int]") -> str:
    """The list of these numbers, in order: "0-3,7"; "" for none."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(f"{low}-{high}" if high > low else str(low) for low, high in parts)
