"""What critests.py makes of critest's reports."""

import pytest

from engines.critests import LEFT_OUT, NOT_UML, Result, judge, known_race, read_report

REPORT = """<?xml version="1.0"?>
<testsuites><testsuite name="CRI validation">
<testcase name="[BeforeSuite]" status="passed" time="0.1"></testcase>
<testcase name="[It] a" status="passed" time="1.5"></testcase>
<testcase name="[It] b" status="failed" time="2"><failure message="Expected">at line 3</failure></testcase>
<testcase name="[It] c" status="skipped" time="0"><skipped message="skipped"></skipped></testcase>
<testcase name="[It] d" status="skipped" time="0"><skipped message="skipped - no AppArmor"></skipped></testcase>
<testcase name="[AfterSuite]" status="panicked" time="0"><error message="bad"></error></testcase>
</testsuite></testsuites>"""


def test_a_report_is_read() -> None:
    assert read_report(REPORT) == {
        "a": Result("passed", "", 1.5),
        "b": Result("failed", "Expected\nat line 3", 2.0),
        "d": Result("skipped", "skipped - no AppArmor"),
        "[AfterSuite]": Result("panicked", "bad"),
    }


@pytest.mark.parametrize(
    ("control", "subject", "bad", "both"),
    [
        ("passed", "passed", False, False),
        ("passed", "failed", True, False),
        ("passed", "skipped", True, False),
        ("passed", None, True, False),
        ("failed", "failed", False, True),
        ("skipped", "skipped", False, True),
        ("failed", "passed", False, False),
        (None, "panicked", True, False),
        (None, "passed", False, False),
    ],
)
def test_the_judgement(control: str | None, subject: str | None, bad: bool, both: bool) -> None:
    def results(status: str | None) -> dict[str, Result]:
        return {} if status is None else {"a": Result(status)}

    found = judge(results(control), results(subject))
    assert found == (["a"] * bad, ["a"] * both, ["a"] * (subject == "passed"))


def test_what_is_left_out_has_a_reason() -> None:
    assert all(reason for reason in (LEFT_OUT | NOT_UML).values())
    assert not known_race("should support RunAsUser")
