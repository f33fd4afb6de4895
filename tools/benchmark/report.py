"""What was measured, as a text table, as JSON, and as a plot (SVG)."""

import html
import statistics
from collections.abc import Mapping
from typing import Any

from benchmark.life import OPERATIONS, Samples

Row = tuple[str, dict[str, float]]
COLOURS = ("#3465a4", "#8ae234", "#888a85", "#f57900", "#75507b", "#c17d11")


def medians(samples: Samples, part: str) -> list[Row]:
    """A row for each operation; part: a member of Sample."""
    return [
        (
            operation,
            {name: statistics.median(getattr(s, part) for s in of[operation]) for name, of in samples.items()},
        )
        for operation in (*OPERATIONS, "sequence")
    ]


def ratios(samples: Samples, part: str) -> list[Row]:
    """Medians of the first runtime's value by each other's of the same round."""
    first, *others = samples
    return [
        (
            operation,
            {
                name: statistics.median(
                    getattr(ours, part) / getattr(theirs, part)
                    for ours, theirs in zip(samples[first][operation], samples[name][operation], strict=True)
                    if getattr(theirs, part)
                )
                for name in others
            },
        )
        for operation in (*OPERATIONS, "sequence")
    ]


def table(title: str, rows: list[Row], names: list[str], quotients: "list[Row] | None" = None) -> str:
    """A column a runtime, and the first one's ratio to each other: of `quotients`, or of the values in the row."""
    first, *others = names
    width = max(22, *(len(label) for label, _ in rows), len(title)) + 1
    heads = [*names, *(f"{first}/{name}" for name in others)]
    wide = max(14, *(len(head) + 2 for head in heads))
    lines = [f"{title:<{width}}" + "".join(f"{head:>{wide}}" for head in heads)]
    for number, (label, values) in enumerate(rows):
        cells = [f"{values[name]:>{wide}.2f}" if name in values else f"{'-':>{wide}}" for name in names]
        for name in others:
            if quotients is not None:
                ratio = quotients[number][1].get(name)
            else:
                ratio = values[first] / values[name] if first in values and values.get(name) else None
            cells.append(f"{'-':>{wide}}" if ratio is None else f"{ratio:>{wide}.2f}")
        lines.append(f"{label:<{width}}" + "".join(cells))
    return "\n".join(lines) + "\n"


def document(tables: Mapping[str, list[Row]], about: Mapping[str, Any]) -> dict[str, Any]:
    """For JSON: {"about": ..., "tables": {title: {row: {runtime: value}}}}."""
    return {"about": dict(about), "tables": {title: dict(rows) for title, rows in tables.items()}}


def plot(title: str, rows: list[Row], names: list[str], unit: str) -> str:
    """Groups of horizontal bars, one a row."""
    bar, gap, left, wide = 13, 12, 90, 560
    most = max((value for _, values in rows for value in values.values()), default=1.0)
    height = 50 + len(rows) * (len(names) * bar + gap)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + wide + 80}" height="{height}"'
        ' font-family="sans-serif" font-size="11">',
        f'<rect width="100%" height="100%" fill="white"/><text x="8" y="16" font-size="13">{html.escape(title)}</text>',
    ]
    for number, name in enumerate(names):
        x = left + number * 110
        parts.append(f'<rect x="{x}" y="24" width="10" height="10" fill="{COLOURS[number % len(COLOURS)]}"/>')
        parts.append(f'<text x="{x + 14}" y="33">{html.escape(name)}</text>')
    y = 46
    for label, values in rows:
        middle = y + len(names) * bar / 2 + 4
        parts.append(f'<text x="{left - 6}" y="{middle:.0f}" text-anchor="end">{html.escape(label)}</text>')
        for number, name in enumerate(names):
            if name in values:
                length = values[name] / most * wide
                colour = COLOURS[number % len(COLOURS)]
                parts.append(f'<rect x="{left}" y="{y}" width="{length:.1f}" height="{bar - 2}" fill="{colour}"/>')
                parts.append(f'<text x="{left + length + 4:.1f}" y="{y + 9}">{values[name]:.1f} {unit}</text>')
            y += bar
        y += gap
    return "\n".join([*parts, "</svg>"]) + "\n"
