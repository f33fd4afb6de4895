"""docs/security.md says what the tests show, and no more."""

import re
from pathlib import Path

import pytest

import security_table
from support import ROOT

A_TEST = "@pytest.mark.contains({})\ndef test_it() -> None: ...\n"


def test_the_table_is_what_the_tests_claim() -> None:
    text = security_table.PAGE.read_text()
    assert security_table.page(ROOT / "tests", text) == text, "python tools/security_table.py"


def test_a_vulnerability_is_named_nowhere_else_on_the_page() -> None:
    """A claim of its prose has a row as well, and so a test."""
    text = security_table.PAGE.read_text()
    begin, end = text.index(security_table.BEGIN), text.index(security_table.END)
    number = re.compile(r"CVE-\d+-\d+|GHSA(?:-\w{4}){3}")
    titles = [line.split("|")[1] for line in text[begin:end].splitlines() if line.startswith("| ")]
    rows = {name for title in titles for name in number.findall(title)}
    assert len(rows) > 30
    assert set(number.findall(text[:begin] + text[end:])) <= rows


@pytest.mark.parametrize(
    ("markers", "text"),
    [
        (['"a"'], "has 0 rules"),
        (['"a", "one"', '"a", "another"'], "has 2 rules"),
        (['"a", "rule", "more"'], "want contains"),
        (["what"], "want contains"),
    ],
)
def test_markers_that_do_not_fit(tmp_path: Path, markers: list[str], text: str) -> None:
    for number, marker in enumerate(markers):
        (tmp_path / f"test_{number}.py").write_text(A_TEST.format(marker))
    with pytest.raises(security_table.Contradiction, match=text):
        security_table.table(list(security_table.claims(tmp_path)))


def test_a_row_goes_with_its_last_test(tmp_path: Path) -> None:
    both = A_TEST.format('"CVE-2030-1: x", "rule"') + A_TEST.format('"CVE-2029-1: y", "r"')
    (tmp_path / "test_a.py").write_text(both)
    lines = security_table.table(list(security_table.claims(tmp_path))).splitlines()
    assert lines[2:] == ["| CVE-2029-1: y | r | test_a.py: test_it |", "| CVE-2030-1: x | rule | test_a.py: test_it |"]
    (tmp_path / "test_a.py").write_text(A_TEST.format('"CVE-2030-1: x", "rule"'))
    assert "CVE-2029" not in security_table.table(list(security_table.claims(tmp_path)))
