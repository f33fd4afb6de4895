"""The table of docs/security.md, made from the tests: what pyrunc contains, by which rule, and which tests show it.

    python tools/security_table.py            write it
    python tools/security_table.py --check    only say whether it is up to date

A test claims a row by a marker: `@pytest.mark.contains(WHAT, RULE)`, or without the rule where another test of the same
row has it. So no row is without a test, and who removes the last one removes the row.
"""

import argparse
import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/security.md"
BEGIN = "<!-- made by tools/security_table.py: begin -->\n"
END = "<!-- made by tools/security_table.py: end -->\n"


class Claim(NamedTuple):
    """One marker. file: of the test, from `tests/` on. rule: "" where it has none."""

    what: str
    rule: str
    file: str
    test: str


class Contradiction(Exception):
    """What the markers say does not fit together."""


def claims(tests: Path) -> Iterator[Claim]:
    """All markers below a directory. Raises Contradiction for one that is not just texts."""
    for path in sorted(tests.rglob("test_*.py")):
        text = path.read_text()
        if "mark.contains(" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.FunctionDef):
                continue
            for decorator in node.decorator_list:
                if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.contains":
                    words = [word.value for word in decorator.args if isinstance(word, ast.Constant)]
                    if len(words) not in (1, 2) or len(words) != len(decorator.args):
                        raise Contradiction(f"{path}: {node.name}: want contains(WHAT) or contains(WHAT, RULE)")
                    what, rule = str(words[0]), str(words[1]) if len(words) == 2 else ""
                    yield Claim(what, rule, str(path.relative_to(tests)), node.name)


def order(what: str) -> tuple[int, int, int, str]:
    """Published vulnerabilities first, by their numbers."""
    cve = re.match(r"CVE-(\d+)-(\d+)", what)
    if cve:
        return 0, int(cve[1]), int(cve[2]), what
    return (1 if what.startswith("GHSA-") else 2), 0, 0, what.strip("`")


def table(found: "list[Claim]") -> str:
    """The rows. Raises Contradiction for a row without a rule, or with two."""
    lines = ["| what | what makes pyrunc immune | tests |", "|---|---|---|"]
    for what in sorted({claim.what for claim in found}, key=order):
        mine = [claim for claim in found if claim.what == what]
        rules = {claim.rule for claim in mine} - {""}
        if len(rules) != 1:
            raise Contradiction(f'"{what}" has {len(rules)} rules: one of its tests has to say it')
        files: dict[str, list[str]] = {}
        for claim in mine:
            files.setdefault(claim.file, []).append(claim.test)
        tests = "; ".join(f"{file}: {', '.join(names)}" for file, names in files.items())
        lines.append(f"| {what} | {rules.pop()} | {tests} |")
    return "\n".join(lines) + "\n"


def page(tests: Path, text: str) -> str:
    """The page with the table of the tests below a directory in place of the one that it has."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise Contradiction(f"{PAGE.name} does not say where the table is")
    return before + begin + "\n" + table(list(claims(tests))) + "\n" + end + after


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    old = PAGE.read_text()
    try:
        new = page(ROOT / "tests", old)
    except Contradiction as error:
        print(error, file=sys.stderr)
        return 1
    if check:
        return int(old != new)
    PAGE.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
