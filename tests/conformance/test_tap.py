"""The reader of the validation suite's output, and the file of expectations."""

import re
import tomllib
from pathlib import Path

import pytest

from conformance import tap

HERE = Path(__file__).resolve().parent


@pytest.mark.parametrize(
    ("output", "verdict"),
    [
        ("TAP version 13\nok 1 - fine\n1..1\n", "pass"),
        ("ok 1 - fine\nnot ok 2 - broken\n1..2\n", "fail"),
        ("not ok 1 - later # TODO some day\nok 2 - fine\n", "pass"),
        ("ok 1 # SKIP not here\n1..1\n", "skip"),
        ("1..0\n", "quiet"),
        ("", "quiet"),
        ('  ---\n  {\n    "error": "hooks in the wrong order"\n  }\n  ...\n1..0\n', "fail"),
        ('ok 1 - fails as it has to\n    "error": "exit status 1",\n', "pass"),
        ("Bail out! no runtime\n", "fail"),
        ("okay, this is no result\nnot okay either\n", "quiet"),
        ('    "stdout": "not ok 1 - inside a diagnostic"\n', "quiet"),
    ],
)
def test_verdict(output: str, verdict: str) -> None:
    assert tap.read(output).verdict == verdict


VERDICTS = {"pass", "fail", "quiet", "skip"}


def test_failures_are_told() -> None:
    report = tap.read("ok 1\nnot ok 2 - the one\nnot ok\n")
    assert report.passed == 1
    assert report.failed == ["the one", "(without a description)"]


def test_expectations_have_reasons() -> None:
    text = (Path(__file__).parent / "expected.toml").read_text()
    for name, entry in tomllib.loads(text).items():
        assert set(entry) <= {"host", "guest", "reason", "baseline"}, name
        verdicts = [entry[place] for place in ("host", "guest") if place in entry]
        assert verdicts, name
        for verdict in verdicts:
            assert set(verdict if isinstance(verdict, list) else [verdict]) <= VERDICTS, name
        assert entry["reason"], name
        assert entry["baseline"], name


def test_the_documentation_says_the_same() -> None:
    """docs/spec-conformance.md has each test that does not pass, with the reason of expected.toml."""
    with open(HERE / "expected.toml", "rb") as file:
        expected = tomllib.load(file)
    told = {}
    for line in (HERE.parent.parent / "docs/spec-conformance.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if len(cells) == 4:
            told.update(dict.fromkeys(re.findall(r"`(\w+)`", cells[0]), cells[1:]))
    assert set(told) == set(expected)
    for name, (here, guest, why) in told.items():
        entry = expected[name]
        for column, verdicts in (("host", here), ("guest", guest)):
            allowed = entry.get(column, "pass")
            assert verdicts.split(" or ") == (allowed if isinstance(allowed, list) else [allowed]), name
        assert why.removesuffix(" |") == entry["reason"]
