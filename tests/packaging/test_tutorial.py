"""`make test-packaging` types the tutorial into clean machines; here, that this notices what is wrong in a page."""

import subprocess
import sys
from pathlib import Path

import pytest

from support import ROOT

PROGRAM = ROOT / "tests/packaging/tutorial.py"


@pytest.mark.parametrize(
    ("page", "status"),
    [
        ("```sh\necho a; echo b\n```\nThis.\n```text\na\nb\n```\n", 0),
        ("```sh\necho b; echo a\n```\n```text\na\nb\n```\n", 1),
        ("```sh\nfalse\necho a\n```\n", 1),
        ("```sh\necho a\n```\n```sh\necho b\n```\n```text\na\n```\n", 1),
    ],
)
def test_a_page_is_typed(page: str, status: int, tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text(page)
    done = subprocess.run([sys.executable, PROGRAM, file], capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stdout


def test_the_tutorial_has_something_to_type() -> None:
    page = (ROOT / "docs/tutorial.md").read_text()
    assert page.count("```sh\n") > 5
    assert page.count("```") % 2 == 0
