"""The differences that are known and wanted, each with its reason."""

from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True)
class Known:
    """A difference from a reference.

    cases      glob of the cases' names
    key        glob of the fact's key
    reference  "runc", "crun" or "*", followed by the versions it was seen with
    reason     why pyrunc differs, or why the difference says nothing about it
    """

    cases: str
    key: str
    reference: str
    reason: str

    def explains(self, case: str, key: str, reference: str) -> bool:
        name = self.reference.split(" ")[0]
        return (
            fnmatchcase(case, self.cases)
            and fnmatchcase(key, self.key)
            and name in ("*", reference)
        )


KNOWN: list[Known] = []
