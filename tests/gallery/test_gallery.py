"""docs/errors.md says what pyrunc says."""

from pathlib import Path

import pytest

from gallery.mistakes import MISTAKES, Mistake
from gallery.show import PAGE, ask, cell
from support import IS_ROOT, ROOT


def part(mistake: Mistake) -> str:
    """A mistake's part of the page."""
    number = MISTAKES.index(mistake) + 1
    return PAGE.read_text().partition(f"\n## {number}. {mistake.title}\n")[2].partition("\n## ")[0]


def test_there_are_a_hundred() -> None:
    assert len({it.title for it in MISTAKES}) == len(MISTAKES) >= 100
    assert all("| runc |" in part(it) and "| crun |" in part(it) for it in MISTAKES)


@pytest.mark.skipif(not IS_ROOT, reason="needs root")
@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda it: it.name)
def test_a_mistake_gets_one_clear_error(mistake: Mistake, tmp_path: Path) -> None:
    said = ask(mistake, str(ROOT / ".venv/bin/pyrunc"), tmp_path)
    assert said.status in (1, 3, 255)
    assert said.message
    assert "internal error" not in said.message
    assert not list((tmp_path / "state").glob("*"))
    for pointer in [said.pointer] if said.pointer else []:
        assert pointer[1:].split("/")[0] in ("ociVersion", "root", "process", "hostname", "mounts", "hooks", "linux")
    if not mistake.host:
        assert f"| pyrunc | {cell(said.message)} |" in part(mistake)
        assert (f"| hint | {cell(said.hint)} |" in part(mistake)) == bool(said.hint)
