"""The file that `--trace` writes."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from machine.harness import running
from pyrunc.machine.ops import Program
from pyrunc.machine.session import Trace
from pyrunc.setup.trace import document, write


def complete(value: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [e for e in value["traceEvents"] if e["ph"] == "X" and e["cat"] == kind]


def names(value: dict[str, Any]) -> dict[int, str]:
    return {e["tid"]: e["args"]["name"] for e in value["traceEvents"] if e["ph"] == "M"}


def test_steps_follow_each_other() -> None:
    trace = Trace()
    trace.events += [
        ("agent", 1_000, "", "", ""),
        ("agent", 3_500, "fsopen", "mount /proc", "/mounts/0"),
        ("agent", 4_000, "fsmount", "mount /proc", "/mounts/0"),
        ("init", 4_100, "clone3", "clone", ""),
        ("agent", 9_000, "", "", ""),
        ("agent", 9_250, "close", "", ""),
        ("init", 10_000, "setsid", "", ""),
    ]
    trace.spans.append(("hooks", 4_000, 8_999))
    value: dict[str, Any] = document(trace)
    lines = names(value)
    steps = [(lines[e["tid"]], e["name"], e["ts"], e["dur"]) for e in complete(value, "step")]
    assert steps == [
        ("agent", "fsopen", 1.0, 2.5),
        ("agent", "fsmount", 3.5, 0.5),
        ("init", "clone3", 4.1, 0.0),
        ("agent", "close", 9.0, 0.25),
        ("init", "setsid", 4.1, 5.9),
    ]
    assert complete(value, "step")[0]["args"] == {"why": "mount /proc", "pointer": "/mounts/0"}
    (span,) = complete(value, "host")
    assert (span["name"], span["ts"], span["dur"], lines[span["tid"]]) == (
        "hooks",
        4.0,
        4.999,
        "pyrunc",
    )


def test_file_is_what_the_format_asks_for(tmp_path: Path) -> None:
    begin = time.monotonic_ns()
    trace = Trace()
    with running(trace=trace) as agent:
        p = Program()
        p.about('odd "reason"\n', "/a~1b/ü")
        p.call("getpid")
        p.call("nanosleep", (0).to_bytes(8, "little") + (2_000_000).to_bytes(8, "little"), None)
        p.sync("done")
        assert agent.session.run(p).errno == 0
    trace.span("all")
    end = time.monotonic_ns()
    path = tmp_path / "trace.json"
    path.write_text("x" * 100_000)  # is replaced
    write(str(path), trace)
    value = json.loads(path.read_text())
    assert value["displayTimeUnit"] in ("ms", "ns")
    for event in value["traceEvents"]:
        assert event["ph"] in "XM"
        assert isinstance(event["name"], str)
        assert isinstance(event["args"], dict)
        assert event["pid"] == os.getpid()
        assert isinstance(event["tid"], int)
        if event["ph"] == "X":
            assert event["ts"] > 0
            assert event["dur"] >= 0
            assert begin / 1000 <= event["ts"] <= event["ts"] + event["dur"] <= end / 1000 + 0.001
    steps = {e["name"]: e for e in complete(value, "step")}
    assert list(steps) == ["getpid", "nanosleep", "reply"]
    assert steps["nanosleep"]["dur"] >= 2000
    assert steps["getpid"]["dur"] < 1000
    assert steps["getpid"]["args"] == {"why": 'odd "reason"\n', "pointer": "/a~1b/ü"}


def test_empty_trace(tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    write(str(path), Trace())
    value = json.loads(path.read_text())
    assert [e["ph"] for e in value["traceEvents"]] == ["M"]


def test_where_it_cannot_be_written(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The container is there by then: a warning."""
    path = tmp_path / "missing" / "trace.json"
    write(str(path), Trace())
    assert f"the trace is not written to {path}: no such file or directory" in capfd.readouterr().err
