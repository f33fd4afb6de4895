"""Names and properties of systemd units, and the text format of GVariant."""

from typing import Any

import pytest

from pyrunc.cgroups import gvariant, unit
from pyrunc.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("true", ("b", True)),
        ("5", ("i", 5)),
        ("-5", ("i", -5)),
        ("0x10", ("i", 16)),
        ("uint64 5", ("t", 5)),
        ("@t 5", ("t", 5)),
        ("@u uint32 5", ("u", 5)),
        ("1.5", ("d", 1.5)),
        ("double 1", ("d", 1.0)),
        ("'a b'", ("s", "a b")),
        ('"a\\"b\\n\\u00e9"', ("s", 'a"b\né')),
        ("objectpath '/a'", ("o", "/a")),
        ("['a', 'b']", ("as", ["a", "b"])),
        ("@as []", ("as", [])),
        ("[uint32 1, 2]", ("au", [1, 2])),
        ("[byte 1, 255]", ("ay", b"\x01\xff")),
        ("[('CPU', uint64 5), ('x', 6)]", ("a(st)", [("CPU", 5), ("x", 6)])),
        ("(1,)", ("(i)", (1,))),
        ("@a(ss) [('a', 'b')]", ("a(ss)", [("a", "b")])),
    ],
)
def test_gvariant(text: str, expected: tuple[Any, ...]) -> None:
    assert gvariant.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "x", "uint64 -1", "byte 256", "uint64 'a'", "'a", "[1, 'a']", "1 2", "@", "@z 1",
        "@as ['a', 1]", "(1", "[1 2]", "uint64", "@u uint64 5", "'\\uzzzz'", "boolean 1",
        "[" * 40, "@ (", "nan-", "@() ()",
    ],
)  # fmt: skip
def test_bad_gvariant(text: str) -> None:
    with pytest.raises(ConfigError, match="bad GVariant"):
        gvariant.parse(text)


@pytest.mark.parametrize(
    ("path", "user", "slice", "name"),
    [
        ("", False, "system.slice", "pyrunc-id.scope"),
        ("", True, "user.slice", "pyrunc-id.scope"),
        ("machine.slice:libpod:abc", False, "machine.slice", "libpod-abc.scope"),
        (":docker:abc", False, "system.slice", "docker-abc.scope"),
        ("a.slice::abc", False, "a.slice", "-abc.scope"),
        ("-:x:y", False, "-.slice", "x-y.scope"),
        ("a.slice:p:b.slice", False, "a.slice", "b.slice"),
    ],
)
def test_names(path: str, user: bool, slice: str, name: str) -> None:
    found = unit.name(path, "id", user)
    assert (found.slice, found.unit) == (slice, name)


@pytest.mark.parametrize("path", ["/a/b", "a:b", "a:b:c:d", "a.slice:b:", "a:b:c", "a--b.slice:x:y", "a.slice:x:../y"])
def test_bad_names(path: str) -> None:
    with pytest.raises(ConfigError, match="linux/cgroupsPath"):
        unit.name(path, "id", False)


def test_slices_nest_by_name() -> None:
    assert unit.expand("a-b-c.slice") == "/a.slice/a-b.slice/a-b-c.slice"
    assert unit.expand("-.slice") == ""


def test_properties_from_annotations() -> None:
    found = unit.annotated(
        {
            "org.systemd.property.TimeoutStopSec": "5",
            "org.systemd.property.RuntimeMaxUSec": "uint64 7",
            "org.systemd.property.CollectMode": "'inactive-or-failed'",
            "other": "1",
        }
    )
    assert found == [
        ("TimeoutStopUSec", ("t", 5000000)),
        ("RuntimeMaxUSec", ("t", 7)),
        ("CollectMode", ("s", "inactive-or-failed")),
    ]


@pytest.mark.parametrize(
    ("key", "value"),
    [("A", "1"), ("Foo.Bar", "1"), ("Foo", "zzz"), ("StopSec", "'x'"), ("StopSec", "-1")],
)
def test_bad_annotations(key: str, value: str) -> None:
    with pytest.raises(ConfigError) as info:
        unit.annotated({"org.systemd.property." + key: value})
    assert info.value.pointer == f"/annotations/org.systemd.property.{key}"


def test_resources_as_properties() -> None:
    resources = {
        "memory": {"limit": 100, "swap": 150, "reservation": 50},
        "cpu": {"shares": 1024, "quota": 50500, "period": 100000, "cpus": "0-2,9", "mems": "0"},
        "pids": {"limit": -1},
        "blockIO": {"weight": 500},
        "unified": {"memory.high": "80", "hugetlb.2MB.max": "1"},
    }
    assert dict(unit.resources(resources, 257)) == {
        "TasksMax": ("t", unit.INFINITY),
        "MemorySwapMax": ("t", 50),
        "MemoryMax": ("t", 100),
        "MemoryLow": ("t", 50),
        "IOWeight": ("t", 4950),
        "CPUWeight": ("t", 100),
        "CPUQuotaPeriodUSec": ("t", 100000),
        "CPUQuotaPerSecUSec": ("t", 510000),
        "AllowedCPUs": ("ay", b"\x07\x02"),
        "AllowedMemoryNodes": ("ay", b"\x01"),
        "MemoryHigh": ("t", 80),
    }


def test_properties_depend_on_the_version() -> None:
    resources = {"cpu": {"quota": -1, "period": 1000, "cpus": "0", "idle": 1}}
    assert unit.resources(resources, 240) == [("CPUQuotaPerSecUSec", ("t", unit.INFINITY))]
    assert dict(unit.resources(resources, 257))["CPUWeight"] == ("t", 0)


@pytest.mark.parametrize("cpus", ["a", "3-1", "-", "70000"])
def test_bad_cpu_lists(cpus: str) -> None:
    with pytest.raises(ConfigError, match=r"cpuset\.cpus"):
        unit.resources({"cpu": {"cpus": cpus}}, 257)


def test_a_scope_is_delegated_and_annotations_override() -> None:
    name = unit.name("a.slice:b:c", "id", False)
    extra = {"org.systemd.property.TasksAccounting": "false"}
    found = unit.creation(name, 42, extra, {"pids": {"limit": 5}}, 257)
    assert ("Slice", ("s", "a.slice")) in found
    assert ("Delegate", ("b", True)) in found
    assert ("PIDs", ("au", [42])) in found
    assert ("TasksMax", ("t", 5)) in found
    assert [value for key, value in found if key == "TasksAccounting"] == [("b", False)]
    assert len({key for key, _ in found}) == len(found)


@pytest.mark.parametrize(
    ("quota", "period", "becomes"),
    [(500000, 900000, 504000), (600000, 900000, 603000), (5000, None, 5000), (500000, 1000000, 500000), (1, 1000, 10)],
)
def test_a_quota_is_rounded_as_systemd_does(quota: int, period: int | None, becomes: int) -> None:
    cpu = {"quota": quota} if period is None else {"quota": quota, "period": period}
    assert unit.rounded({"cpu": cpu, "pids": {"limit": 3}}) == {"cpu": {**cpu, "quota": becomes}, "pids": {"limit": 3}}
    unchanged: tuple[dict[str, Any], ...] = ({}, {"cpu": {}}, {"cpu": {"quota": -1, "period": 3000}})
    for same in unchanged:
        assert unit.rounded(same) is same
