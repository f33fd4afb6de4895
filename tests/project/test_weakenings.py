"""The list of `make mutate` fits the sources: every weakening can still be applied, and its tests exist."""

import pytest

from mutate.weakenings import Weakening, load
from support import ROOT

LIST = load()


@pytest.mark.parametrize("weakening", LIST, ids=[it.check for it in LIST])
def test_it_can_be_applied(weakening: Weakening) -> None:
    assert weakening.fault(ROOT) == "", "the entry in tests/mutate/weakenings.toml has to go along with the source"


def test_no_check_is_listed_twice() -> None:
    assert len({it.check for it in LIST}) == len(LIST)
    assert len({(it.file, it.text, it.weak) for it in LIST}) == len(LIST)
    assert len(LIST) >= 40
