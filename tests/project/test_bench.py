"""`make bench`: what it measures with, and what it shows."""

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from benchmark import report, runtimes
from benchmark.life import OPERATIONS, SEQUENCE, Samples
from benchmark.measure import Failed, Meter, Sample


def samples(**factors: float) -> Samples:
    """Three rounds each; all values are multiples of the runtime's factor."""
    rounds = [Sample(n * 1.0, n * 2.0, n * 100.0, n * 10.0) for n in (3, 1, 2)]
    return {
        name: {
            operation: [Sample(*(value * factor for value in sample)) for sample in rounds]
            for operation in (*OPERATIONS, "sequence")
        }
        for name, factor in factors.items()
    }


def test_a_table_has_medians_and_ratios() -> None:
    measured = samples(pyrunc=1, crun=2, runc=4)
    rows = report.medians(measured, "cpu")
    text = report.table("CPU, ms", rows, list(measured), report.ratios(measured, "cpu"))
    head, *lines = text.splitlines()
    assert head.split()[-5:] == ["pyrunc", "crun", "runc", "pyrunc/crun", "pyrunc/runc"]
    assert lines[0].split() == ["run", "2.00", "4.00", "8.00", "0.50", "0.25"]
    assert {line.split()[0] for line in lines} == {*OPERATIONS, "sequence"}
    assert set(SEQUENCE) <= set(OPERATIONS)


def test_what_was_not_measured_is_a_dash() -> None:
    text = report.table("many", [("a row", {"crun": 3.0}), ("b", {"pyrunc": 1.0, "crun": 4.0})], ["pyrunc", "crun"])
    assert text.splitlines()[1].split() == ["a", "row", "-", "3.00", "-"]
    assert text.splitlines()[2].split() == ["b", "1.00", "4.00", "0.25"]


def test_long_names_keep_their_columns_apart() -> None:
    text = report.table("a", [("b", {"pyrunc": 1.0, "runc-1.5.1": 4.0})], ["pyrunc", "runc-1.5.1"])
    assert text.splitlines()[0].split() == ["a", "pyrunc", "runc-1.5.1", "pyrunc/runc-1.5.1"]


def test_json_and_plot() -> None:
    rows = report.medians(samples(pyrunc=1, crun=2), "wall")
    document = json.loads(json.dumps(report.document({"wall": rows}, {"rounds": 3})))
    assert document["tables"]["wall"]["exec"] == {"pyrunc": 4.0, "crun": 8.0}
    plot = ElementTree.fromstring(report.plot("a < b", rows, ["pyrunc", "crun"], "ms"))
    bars = [element for element in plot.iter("{http://www.w3.org/2000/svg}rect") if element.get("height") == "11"]
    assert len(bars) == 2 * len(rows)
    assert len({bar.get("width") for bar in bars}) == 2


def test_programs_are_named_absolutely(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Engines are given them, and have other working directories."""
    monkeypatch.chdir(tmp_path)
    found = runtimes.find(["mine=build/pyrunc", "/usr/bin/other", "true"])
    assert found["mine"] == str(tmp_path / "build/pyrunc")
    assert found["other"] == "/usr/bin/other"
    assert found["true"].endswith("/bin/true")


@pytest.mark.parametrize("error", [FileNotFoundError, ProcessLookupError])
def test_a_process_that_is_gone_has_ended(error: type[OSError], monkeypatch: pytest.MonkeyPatch) -> None:
    """Before its /proc file is opened, or between that and reading it."""
    calls = []

    def read_text(path: Path) -> str:
        calls.append(path)
        if len(calls) < 3:
            return "7 (a) b) S 1"
        raise error

    monkeypatch.setattr(Path, "read_text", read_text)
    runtimes.wait_ended(7)
    assert calls == [Path("/proc/7/stat")] * 3


def test_a_call_is_measured(tmp_path: Path) -> None:
    """Without what the process has that starts it: this one has more than true."""
    try:
        meter = Meter(tmp_path)
    except Failed as error:
        pytest.skip(f"no compiler: {error}")
    sample = meter.call(["/bin/true"])
    assert sample.wall > 0
    assert sample.cpu >= 0
    assert 100 < sample.peak < 8000
    assert sample.faults > 10
    with pytest.raises(Failed, match=r"exit status \['3'\]: word"):
        meter.call(["/bin/sh", "-c", "echo word >&2; exit 3"])
