"""The list of weakenings (weakenings.toml) as data.

Each entry takes one security check out of pyrunc:

    check    what is weakened, in one line
    file     where, from the root of the checkout
    text     what stands there, exactly once in the file
    weak     what is put in its place
    tests    the tests that have to notice: pytest's node ids, from `tests/` on; the first that fails is enough
    only     "v1" where the code is used on hosts with hierarchies of cgroup v1 alone; absent for all others
"""

import tomllib
from pathlib import Path
from typing import NamedTuple

LIST = Path(__file__).with_name("weakenings.toml")


class Weakening(NamedTuple):
    """One entry of the list."""

    check: str
    file: str
    text: str
    weak: str
    tests: tuple[str, ...]
    only: str = ""

    def fault(self, root: Path) -> str:
        """Why it cannot be applied to the checkout `root`; "" where it can."""
        path = root / self.file
        if not path.is_file():
            return f"there is no file {self.file}"
        count = path.read_text().count(self.text)
        if count != 1:
            return f"its text occurs {count} times in {self.file}"
        if self.weak == self.text:
            return "it changes nothing"
        if not self.tests:
            return "it names no test"
        if self.only not in ("", "v1"):
            return f"there is no kind of host {self.only}"
        for node in self.tests:
            file, _, name = node.partition("::")
            if not (root / "tests" / file).is_file():
                return f"there is no test file {file}"
            function = name.partition("[")[0]
            if function and f"def {function}(" not in (root / "tests" / file).read_text():
                return f"there is no test {node}"
        return ""


def load() -> list[Weakening]:
    """The whole list, in its order."""
    entries = tomllib.loads(LIST.read_text())["weakening"]
    return [Weakening(**{**entry, "tests": tuple(entry["tests"])}) for entry in entries]
