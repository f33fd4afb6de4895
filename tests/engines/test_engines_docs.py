"""docs/engines.md shows the configuration that the scenarios use, and the scenarios are sound."""

import json
import re
import tomllib
from pathlib import Path

import pytest

import engines.compare  # noqa: F401, all scenarios
from engines.known import BOTH, WANTED, Known, explain
from engines.scenarios import ALL
from engines.setups import MAKERS

HERE = Path(__file__).resolve().parent
PAGE = (HERE.parent.parent / "docs/engines.md").read_text()
BLOCKS = sorted(path.name for path in (HERE / "blocks").iterdir())


@pytest.mark.parametrize("name", BLOCKS)
def test_block_is_shown(name: str) -> None:
    shown = re.findall(rf"<!-- block: {re.escape(name)} -->\n```\w+\n(.*?)```", PAGE, re.DOTALL)
    assert shown == [(HERE / "blocks" / name).read_text()]


@pytest.mark.parametrize("name", BLOCKS)
def test_block_is_well_formed(name: str) -> None:
    text = (HERE / "blocks" / name).read_text()
    if name.endswith(".json"):
        assert json.loads(text)["runtimes"]["pyrunc"]["path"] == "/usr/local/bin/pyrunc"
    else:
        assert "pyrunc" in str(tomllib.loads(text))


def test_scenarios_have_names_and_engines() -> None:
    for engine in MAKERS:
        names = [s.name for s in ALL if engine in s.engines]
        assert names, engine
        assert len(names) == len(set(names)), engine
    assert {e for s in ALL for e in s.engines} == set(MAKERS)


@pytest.mark.parametrize("entry", [*WANTED, *BOTH], ids=lambda entry: f"{entry.engines} {entry.scenarios}")
def test_what_is_known_is_about_a_scenario(entry: Known) -> None:
    assert any(entry.covers(engine, s.name) for s in ALL for engine in s.engines)


def test_a_difference_has_the_reasons_of_its_lines() -> None:
    masked, weight = "-/proc/acpi tmpfs tmpfs relatime,ro  masked", "+cpu.weight 59"
    assert explain("docker", "same-cpu-shares", [weight, "+x"]) == (["+x"], [WANTED_WEIGHT])
    left, reasons = explain("docker", "same-cpu-shares", [masked, weight, weight])
    assert left == []
    assert len(reasons) == 2
    assert WANTED_WEIGHT in reasons
    assert explain("docker", "same-default", [weight]) == ([weight], [])


WANTED_WEIGHT = "the conversion of cpu.shares to cpu.weight is that of runc since 1.3.2"


def test_what_only_moved_is_explained_apart() -> None:
    device = "/dev/zero devtmpfs devtmpfs noexec,rw master"
    left, reasons = explain("podman", "same-privileged", ["+" + device, "-" + device])
    assert not left
    assert len(reasons) == 1
    assert explain("podman", "same-privileged", ["+" + device]) == (["+" + device], [])
