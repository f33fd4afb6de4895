"""Read what a test of the validation suite prints.

It is the Test Anything Protocol, version 13, with liberties that strict readers refuse: several
plans, plans of zero tests, numbers that start again, and diagnostics that are not comments.
"""

import re
from dataclasses import dataclass, field

_LINE = re.compile(r"^(?P<no>not )?ok\b *(?P<number>\d+)? *-? *(?P<text>.*)$")
_DIRECTIVE = re.compile(r"#\s*(?P<kind>skip|todo)\b", re.IGNORECASE)
_COMPLAINT = re.compile(r'^\s*"error": "(.+)",?$')


@dataclass
class Report:
    """The lines of one test: how many passed, were skipped, and the texts of those that failed."""

    passed: int = 0
    skipped: int = 0
    failed: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    bailed: bool = False

    @property
    def verdict(self) -> str:
        """ "pass", "fail", "skip" (nothing but skips), or "quiet".

        Quiet is a test without a result line; some know no other way to be content. If it wrote an
        error as a diagnostic all the same, it failed.
        """
        if self.failed or self.bailed:
            return "fail"
        if self.passed:
            return "pass"
        if self.skipped:
            return "skip"
        return "fail" if self.complaints else "quiet"


def read(output: str) -> Report:
    """Collect the result lines of `output`."""
    report = Report()
    for line in output.splitlines():
        if line.startswith("Bail out!"):
            report.bailed = True
        if complaint := _COMPLAINT.match(line):
            report.complaints.append(complaint[1])
        match = _LINE.match(line)
        if not match:
            continue
        directive = _DIRECTIVE.search(match["text"])
        if directive:
            # A test that is to do does not count when it fails.
            report.skipped += 1
        elif match["no"]:
            report.failed.append(match["text"] or "(without a description)")
        else:
            report.passed += 1
    return report
