"""The documents that the tests of pyrunc.config read.

Besides those in data/ there is a collection of what the specification and the engines give, which
is not part of this repository: the directory PYRUNC_SPEC_DATA, or ../shared/spec beside it.
"""

import os
from pathlib import Path

import pytest

DATA = Path(__file__).parent / "data"
CHECKOUT = Path(__file__).resolve().parents[2]
SPEC = Path(os.environ.get("PYRUNC_SPEC_DATA") or CHECKOUT.parent / "shared/spec")

needs_spec = pytest.mark.skipif(not SPEC.is_dir(), reason="needs the specification's examples: set PYRUNC_SPEC_DATA")


def own(kind: str) -> list[Path]:
    """The documents of this repository: kind is "good" or "bad"."""
    return sorted((DATA / kind).glob("*.json"))


def given(pattern: str) -> list[Path]:
    """The documents of the collection that match; none where there is no collection."""
    return sorted(SPEC.glob(pattern))


def name(path: Path) -> str:
    """A test's id."""
    return path.name
