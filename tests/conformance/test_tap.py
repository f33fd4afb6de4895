"""The reader of the validation suite's output, and the file of expectations."""

import tomllib
from pathlib import Path

import pytest

from conformance import tap


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
