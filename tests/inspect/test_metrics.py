"""`pyrunc metrics`: OpenMetrics text of all containers."""

import re
from typing import Any

import pytest

from pyrunc.cgroups.stats import NO_LIMIT
from pyrunc.inspect import metrics
from support import IS_ROOT, MakeBundle, Runtime

_LABEL = r'[a-z_]+="(?:[^"\\\n]|\\["\\n])*"'
SAMPLE = re.compile(rf"(?P<name>[a-z_]+)\{{(?P<labels>{_LABEL}(?:,{_LABEL})*)\}} (?P<value>\S+)")
LABEL = re.compile(r'([a-z_]+)="((?:[^"\\\n]|\\["\\n])*)"')


def parsed(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """The samples of a text, as the format's grammar has it: families do not mix, metadata come first."""
    assert text.endswith("# EOF\n")
    kinds: dict[str, str] = {}
    found: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    family = ""
    for line in text.removesuffix("# EOF\n").splitlines():
        if line.startswith("# TYPE "):
            _, _, family, kind = line.split(" ")
            assert family not in kinds, "a family in two places"
            kinds[family] = kind
            continue
        if line.startswith("# "):
            assert line.split(" ")[2] == family
            if line.startswith("# UNIT "):
                assert family.endswith("_" + line.split(" ")[3])
            continue
        match = SAMPLE.fullmatch(line)
        assert match, line
        assert match["name"] == family + ("_total" if kinds[family] == "counter" else "")
        key = (match["name"], tuple(LABEL.findall(match["labels"])))
        assert key not in found, "a sample twice"
        found[key] = float(match["value"])
    return found


def value(found: dict[Any, float], name: str, **labels: str) -> float:
    wanted = labels.items()
    values = [it for (key, has), it in found.items() if key == "pyrunc_container_" + name and wanted <= set(has)]
    assert len(values) == 1, (name, labels, values)
    return values[0]


def test_without_containers(runtime: Runtime) -> None:
    assert runtime.call("metrics", check=True).stdout == "# EOF\n"


@pytest.mark.skipif(not IS_ROOT, reason="needs root")
def test_states_and_times(runtime: Runtime, bundle: MakeBundle) -> None:
    runtime.create(bundle().args("/bin/true"), id="one")
    runtime.create(bundle().args("/bin/sleep", "1000"), id="two")
    runtime.call("start", "two", check=True)
    found = parsed(runtime.call("metrics", check=True).stdout)
    for id, status in (("one", "created"), ("two", "running")):
        for name in metrics.STATUSES:
            labels = {"id": id, "pyrunc_container_status": name}
            assert value(found, "status", **labels) == (name == status)
    created = value(found, "created_time_seconds", id="one"), value(found, "created_time_seconds", id="two")
    assert 1.7e9 < created[0] <= created[1]


@pytest.mark.guest
def test_figures_are_the_kernels(runtime: Runtime, bundle: MakeBundle) -> None:
    resources = {"memory": {"limit": 64 << 20}, "pids": {"limit": 30}, "cpu": {"quota": 50000, "period": 100000}}
    it = bundle({"linux": {"resources": resources}})
    it.shell("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo ready; exec sleep 1000")
    id = runtime.create(it)
    runtime.call("start", id, check=True)
    found = parsed(runtime.call("metrics", check=True).stdout)
    assert value(found, "memory_limit_bytes", id=id) == 64 << 20
    assert value(found, "pids_limit", id=id) == 30
    assert value(found, "pids", id=id) >= 1
    assert 0 < value(found, "memory_usage_bytes", id=id) < 64 << 20
    assert value(found, "cpu_seconds_total", id=id, mode="user") > 0
    runtime.call("pause", id, check=True)
    found = parsed(runtime.call("metrics", check=True).stdout)
    assert value(found, "status", id=id, pyrunc_container_status="paused") == 1


def test_a_limit_that_there_is_not_has_no_sample() -> None:
    memory = {"usage": {"limit": NO_LIMIT, "usage": 5}, "kernel": {}, "swap": {"usage": 7}}
    names = {name: it for name, _, it in metrics._memory(memory)}
    assert "memory_limit_bytes" not in names
    assert (names["memory_usage_bytes"], names["swap_usage_bytes"]) == (5, 2)


def test_labels_are_escaped() -> None:
    line = metrics._line("pids", {"id": 'a"b\\c\nd'}, 3)
    assert line == 'pyrunc_container_pids{id="a\\"b\\\\c\\nd"} 3'
    assert SAMPLE.fullmatch(line)


def test_every_sample_belongs_to_a_family() -> None:
    data: dict[str, Any] = {
        "usage": {"user": 1, "kernel": 2},
        "throttling": {"periods": 3, "throttledPeriods": 1, "throttledTime": 5},
    }
    names = {name for name, _, _ in metrics._cpu(data)}
    names |= {name for name, _, _ in metrics._io({"ioServicedRecursive": [{"op": "Read", "major": 8, "value": 1}]})}
    assert names <= {name for name, _, _, _ in metrics.FAMILIES}
