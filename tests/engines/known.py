"""Differences from the control that are known and wanted, and what fails with every runtime.

Each has its reason; a difference that is not listed here is a failure.
"""

from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True)
class Known:
    """Something known about scenarios.

    engines, scenarios   globs
    reason               why pyrunc differs from runc, or why neither passes
    only                 for a difference: globs of the lines that may differ; all others have to be the same
    """

    engines: str
    scenarios: str
    reason: str
    only: tuple[str, ...] = ("*",)

    def covers(self, engine: str, scenario: str) -> bool:
        return fnmatchcase(engine, self.engines) and fnmatchcase(scenario, self.scenarios)


# pyrunc's answer is another one than runc 1.1.15's, for a reason.
WANTED: list[Known] = []

# Fails with runc as well: the engine or the guest cannot do it.
BOTH: list[Known] = []


def unexplained(engine: str, scenario: str, differences: list[str]) -> list[str]:
    """Those lines of a difference ("-of the control", "+of the subject") that nothing explains."""
    globs = [glob for known in WANTED if known.covers(engine, scenario) for glob in known.only]
    return [line for line in differences if not any(fnmatchcase(line[1:], glob) for glob in globs)]


def reason(listed: list[Known], engine: str, scenario: str) -> str:
    """Why a scenario is in a list, or ""."""
    return next((known.reason for known in listed if known.covers(engine, scenario)), "")
