"""Annotations of crun's for what the specification has a member for by now, as those members: offsets of clocks, and
the seccomp agent's socket (crun(1)).

Not on the hot path, unless a configuration has annotations of crun's.
"""

from pyrunc.config.annotation_names import SECCOMP_RECEIVER as RECEIVER
from pyrunc.config.annotation_names import TIME_OFFSETS as OFFSETS
from pyrunc.config.rules.refusal import refuse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.config.types import Config

LARGEST = 1 << 63


def apply(config: "Config") -> None:
    """Put what the annotations say where the configuration says nothing. Raises ConfigError."""
    annotations = config.get("annotations", {})
    linux: Any = config.get("linux", {})
    if annotations.get(OFFSETS) and "timeOffsets" not in linux:
        linux["timeOffsets"] = _offsets(annotations[OFFSETS])
    if annotations.get(RECEIVER) and "seccomp" in linux:
        linux["seccomp"].setdefault("listenerPath", annotations[RECEIVER])


def _offsets(text: str) -> "dict[str, Any]":
    """timeOffsets from lines as the kernel takes them: CLOCK SECONDS NANOSECONDS (time_namespaces(7))."""
    offsets = {}
    for line in text.strip().split("\n"):
        clock, seconds, nanoseconds = [*line.split(), "", "", ""][:3]
        if (
            clock not in ("monotonic", "boottime")
            or len(line.split()) != 3
            or not _is_number(seconds.removeprefix("-"), LARGEST)
            or not _is_number(nanoseconds, 1_000_000_000)
        ):
            refuse(
                f'{OFFSETS} "{line}": want "monotonic" or "boottime", seconds and nanoseconds',
                f"/annotations/{OFFSETS}",
            )
        offsets[clock] = {"secs": int(seconds), "nanosecs": int(nanoseconds)}
    return offsets


def _is_number(text: str, limit: int) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 20 and int(text) < limit
