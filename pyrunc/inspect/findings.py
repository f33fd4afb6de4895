"""Findings, and the forms in which they are written: text, JSON, and SARIF 2.1.0 (OASIS), which code hosts read."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pyrunc import __version__
from pyrunc.errors import Error
from pyrunc.people import harmless

LEVELS = ("error", "warning", "note")
FORMATS = ("text", "json", "sarif")
SPECIFICATION = "https://github.com/opencontainers/runtime-spec/blob/main/"


@dataclass
class Finding:
    """One thing that is wrong, or worth knowing.

    level: "error": the container cannot be made, or is open to its host; "warning": it is not what was meant;
        "note": worth knowing.
    rule: its name in this program, for filters. pointer: JSON pointer, "" where none applies.
    reference: section of the specification ("config.md#mounts"), or a page.
    line, column: in the text, from 1 on; 0: unknown.
    """

    level: str
    rule: str
    message: str
    pointer: str = ""
    hint: str = ""
    reference: str = ""
    line: int = 0
    column: int = 0
    more: dict[str, object] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        fields: dict[str, object] = {"level": self.level, "rule": self.rule, "message": self.message}
        for name in ("pointer", "hint", "reference", "line", "column"):
            value = getattr(self, name)
            if value:
                fields[name] = value
        return {**fields, **self.more}


def check_format(form: str) -> str:
    """The form, or an Error for one that there is not."""
    if form not in FORMATS:
        raise Error(f"invalid format option: {form}: want {', '.join(FORMATS)}")
    return form


def ordered(findings: Iterable[Finding]) -> list[Finding]:
    """The worst first, then as they stand in the text."""
    return sorted(findings, key=lambda it: (LEVELS.index(it.level), it.line, it.column, it.pointer))


def write(findings: Sequence[Finding], form: str, name: str, tool: str) -> str:
    """The findings about the file or container `name` in one of FORMATS. tool: the command."""
    if form == "json":
        return json.dumps({"name": name, "findings": [it.as_json() for it in findings]}, indent=2) + "\n"
    if form == "sarif":
        return json.dumps(_sarif(findings, name, tool), indent=2) + "\n"
    return "".join(_line(it, name) for it in findings) + _count(findings)


def _line(it: Finding, name: str) -> str:
    place = f"{name}:{it.line}:{it.column}" if it.line else name
    where = f" ({it.pointer[1:]})" if it.pointer and it.pointer[1:] not in it.message else ""
    text = f"{place}: {it.level}: {it.message}{where} [{it.rule}]\n"
    if it.hint:
        text += f"    {it.hint}\n"
    if it.reference:
        text += f"    see {it.reference}\n"
    return harmless(text)


def _count(findings: Sequence[Finding]) -> str:
    counts = [(sum(it.level == level for it in findings), level) for level in LEVELS]
    told = [f"{count} {level}{'s' if count > 1 else ''}" for count, level in counts if count]
    return ", ".join(told) + "\n" if told else "nothing found\n"


def _sarif(findings: Sequence[Finding], name: str, tool: str) -> dict[str, object]:
    rules = {it.rule: it for it in findings}
    results = []
    for it in findings:
        place: dict[str, object] = {"artifactLocation": {"uri": name}}
        if it.line:
            place["region"] = {"startLine": it.line, "startColumn": it.column}
        location: dict[str, object] = {"physicalLocation": place}
        if it.pointer:
            location["logicalLocations"] = [{"fullyQualifiedName": it.pointer, "kind": "member"}]
        results.append(
            {
                "ruleId": it.rule,
                "level": it.level,
                "message": {"text": it.message + (f"; {it.hint}" if it.hint else "")},
                "locations": [location],
            }
        )
    driver = {
        "name": f"pyrunc {tool}",
        "version": __version__,
        "rules": [{"id": rule, **_help(it)} for rule, it in sorted(rules.items())],
    }
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": results}],
    }


def _help(it: Finding) -> dict[str, str]:
    if not it.reference:
        return {}
    return {"helpUri": it.reference if "://" in it.reference else SPECIFICATION + it.reference}
