"""What `pyrunc doctor` finds, one line each, and the forms in which it is written. Cold."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from pyrunc.people import harmless

LEVELS = ("error", "warning", "note", "ok")
FORMATS = ("text", "json")


@dataclass
class Check:
    """One thing that was looked at.

    level: "ok"; "note": something can be had that is not there; "warning": some containers will fail; "error": none can
        be made, or this one is stuck. topic: what it belongs to. found: what is so. use: what it is for.
    remedy: what to do, lines to add to a file included.
    """

    level: str
    topic: str
    found: str
    use: str = ""
    remedy: str = ""


def write(checks: Sequence[Check], form: str) -> str:
    """The checks as text, topic by topic, or as JSON."""
    if form == "json":
        kept = [{key: value for key, value in asdict(it).items() if value} for it in checks]
        return json.dumps({"checks": kept}, indent=2) + "\n"
    lines: list[str] = []
    topic = ""
    for it in checks:
        if it.topic != topic:
            topic = it.topic
            lines.append(f"{topic}:")
        use = f" (for {it.use})" if it.use else ""
        lines.append(f"  {it.level:8}{it.found}{use}")
        if it.remedy:
            lines += [f"          {line}" for line in it.remedy.split("\n")]
    counts = [(sum(it.level == level for it in checks), level) for level in LEVELS]
    told = ", ".join(f"{count} {level}" for count, level in counts if count)
    return harmless("\n".join([*lines, told]) + "\n")
