"""linux.resources -> files, against the table of the specification's v1 terms."""

from typing import Any

import pytest

from pyrunc.cgroups import conversions
from pyrunc.errors import ConfigError


def files(resources: dict[str, Any], bfq: bool = False) -> list[tuple[str, str]]:
    return [(w.file, w.value) for w in conversions.writes(resources, bfq)]


@pytest.mark.parametrize(
    ("shares", "weight"),
    [
        (0, 0), (1, 1), (2, 1), (3, 2), (10, 4), (100, 17), (512, 59), (1024, 100), (2048, 174),
        (262143, 10000), (262144, 10000), (1 << 40, 10000),
    ],
)  # fmt: skip
def test_cpu_weight(shares: int, weight: int) -> None:
    assert conversions.cpu_weight(shares) == weight


def test_cpu_weight_never_falls() -> None:
    weights = [conversions.cpu_weight(shares) for shares in range(2, 262145, 97)]
    assert weights == sorted(weights)
    assert weights[0] == 1
    assert weights[-1] <= 10000


@pytest.mark.parametrize(
    ("weight", "converted"), [(0, 0), (10, 1), (100, 910), (500, 4950), (750, 7475), (1000, 10000)]
)
def test_io_weight(weight: int, converted: int) -> None:
    assert conversions.io_weight(weight) == converted


@pytest.mark.parametrize(
    ("memory", "expected"),
    [
        ({}, []),
        ({"limit": 0, "swap": 0, "reservation": 0}, []),
        ({"limit": 100}, [("memory.max", "100")]),
        ({"limit": 100, "swap": 150}, [("memory.swap.max", "50"), ("memory.max", "100")]),
        ({"limit": 100, "swap": 100}, [("memory.swap.max", "0"), ("memory.max", "100")]),
        ({"limit": 100, "swap": -1}, [("memory.swap.max", "max"), ("memory.max", "100")]),
        ({"limit": -1}, [("memory.swap.max", "max"), ("memory.max", "max")]),
        ({"swap": -1}, [("memory.swap.max", "max")]),
        ({"reservation": 7}, [("memory.low", "7")]),
        ({"reservation": -1}, [("memory.low", "max")]),
        ({"kernel": 5, "swappiness": 10, "disableOOMKiller": True}, []),
    ],
)
def test_memory(memory: dict[str, Any], expected: list[Any]) -> None:
    assert files({"memory": memory}) == expected


def test_swap_with_unlimited_memory() -> None:
    """What is counted together is without a limit, so the swap's stands for itself: as runc since 1.2, and crun."""
    assert files({"memory": {"limit": -1, "swap": 5}}) == [("memory.swap.max", "5"), ("memory.max", "max")]


@pytest.mark.parametrize("memory", [{"swap": 5}, {"limit": 0, "swap": 5}])
def test_swap_without_a_memory_limit(memory: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="without a memory limit") as info:
        files({"memory": memory})
    assert info.value.pointer == "/linux/resources/memory/swap"


def test_swap_below_memory() -> None:
    with pytest.raises(ConfigError, match=r"memory\+swap limit 5 .* at least the memory limit 6"):
        files({"memory": {"limit": 6, "swap": 5}})


@pytest.mark.parametrize(
    ("cpu", "expected"),
    [
        ({"shares": 0}, []),
        ({"shares": 1024}, [("cpu.weight", "100")]),
        ({"quota": 50000, "period": 25000}, [("cpu.max", "50000 25000")]),
        ({"quota": 50000}, [("cpu.max", "50000 100000")]),
        ({"period": 25000}, [("cpu.max", "max 25000")]),
        ({"quota": -1, "period": 25000}, [("cpu.max", "max 25000")]),
        ({"quota": -1}, [("cpu.max", "max 100000")]),
        ({"quota": -5000}, [("cpu.max", "max 100000")]),
        ({"quota": 0, "period": 0}, []),
        ({"burst": 10}, [("cpu.max.burst", "10")]),
        (
            {"quota": 50, "burst": 10},
            [("cpu.max.burst", "0"), ("cpu.max", "50 100000"), ("cpu.max.burst", "10")],
        ),
        ({"idle": 0, "shares": 2}, [("cpu.idle", "0"), ("cpu.weight", "1")]),
        ({"idle": 1, "shares": 2}, [("cpu.idle", "1")]),
        ({"cpus": "0-1", "mems": "0"}, [("cpuset.cpus", "0-1"), ("cpuset.mems", "0")]),
        ({"cpus": "", "mems": ""}, []),
        ({"realtimeRuntime": 5, "realtimePeriod": 6}, []),
    ],
)
def test_cpu(cpu: dict[str, Any], expected: list[Any]) -> None:
    assert files({"cpu": cpu}) == expected


@pytest.mark.parametrize(("limit", "value"), [(0, "1"), (1, "1"), (-1, "max"), (-7, "max"), (42, "42")])
def test_pids(limit: int, value: str) -> None:
    assert files({"pids": {"limit": limit}}) == [("pids.max", value)]


def test_io() -> None:
    block = {
        "weight": 500,
        "weightDevice": [{"major": 8, "minor": 0, "weight": 10}, {"major": 8, "minor": 16}],
        "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 5}],
        "throttleWriteBpsDevice": [{"major": 8, "minor": 0, "rate": 6}],
        "throttleReadIOPSDevice": [{"major": 8, "minor": 0, "rate": 7}],
        "throttleWriteIOPSDevice": [{"major": 8, "minor": 0, "rate": 0}],
    }
    limits = [
        ("io.max", "8:0 rbps=5"),
        ("io.max", "8:0 wbps=6"),
        ("io.max", "8:0 riops=7"),
        ("io.max", "8:0 wiops=max"),
    ]
    linear = [("io.weight", "4950"), ("io.weight", "8:0 1"), *limits]
    bfq = [("io.bfq.weight", "500"), ("io.bfq.weight", "8:0 10"), *limits]
    assert files({"blockIO": block}) == linear
    assert files({"blockIO": block}, bfq=True) == bfq
    assert files({"blockIO": {"weight": 0, "leafWeight": 0}}) == []


def test_hugetlb_counts_reservations_too() -> None:
    found = conversions.writes({"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]})
    assert [(w.file, w.value, w.optional) for w in found] == [
        ("hugetlb.2MB.max", "0", False),
        ("hugetlb.2MB.rsvd.max", "0", True),
    ]


@pytest.mark.parametrize("size", ["../../x", "2MB/..", "", "MB", "2M", "2.MB", "²MB"])
def test_bad_page_sizes(size: str) -> None:
    with pytest.raises(ConfigError, match="bad huge page size") as info:
        files({"hugepageLimits": [{"pageSize": size, "limit": 1}]})
    assert info.value.pointer == "/linux/resources/hugepageLimits/0/pageSize"


def test_rdma() -> None:
    rdma = {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}, "mlx4_0": {"hcaObjects": 0}, "x": {}}
    assert files({"rdma": rdma}) == [
        ("rdma.max", "mlx5_1 hca_handle=3 hca_object=10000"),
        ("rdma.max", "mlx4_0 hca_object=0"),
    ]


def test_unified_comes_last_line_by_line() -> None:
    resources = {
        "unified": {"io.max": "8:0 rbps=1\n8:16 rbps=2\n", "pids.max": "7", "misc.max": "a 1"},
        "pids": {"limit": 5},
    }
    assert files(resources) == [
        ("pids.max", "5"),
        ("io.max", "8:0 rbps=1"),
        ("io.max", "8:16 rbps=2"),
        ("pids.max", "7"),
        ("misc.max", "a 1"),
    ]


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("a/b.c", "no slashes"),
        ("../x.y", "no slashes"),
        ("memory", "must be in the form CONTROLLER.PARAMETER"),
        (".max", "must be in the form CONTROLLER.PARAMETER"),
        ("memory.", "must be in the form CONTROLLER.PARAMETER"),
        ("cgroup.procs", "is no limit"),
        ("cgroup.kill", "is no limit"),
        ("cgroup.freeze", "is no limit"),
        ("cgroup.subtree_control", "is no limit"),
    ],
)
def test_bad_unified_keys(key: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        files({"unified": {key: "1"}})


def test_limits_of_cgroup_itself() -> None:
    written = conversions.writes({"unified": {"cgroup.max.depth": "3", "cgroup.max.descendants": "5"}})
    assert [(it.file, it.value) for it in written] == [("cgroup.max.depth", "3"), ("cgroup.max.descendants", "5")]


def test_pointers_name_the_property() -> None:
    resources = {
        "pids": {"limit": 1},
        "memory": {"limit": 5, "swap": 6},
        "cpu": {"shares": 5, "quota": 5, "cpus": "0"},
        "blockIO": {"throttleReadBpsDevice": [{"major": 1, "minor": 2, "rate": 3}]},
        "unified": {"a~b.c": "1"},
    }
    assert [w.pointer.removeprefix("/linux/resources") for w in conversions.writes(resources)] == [
        "/pids/limit",
        "/memory/swap",
        "/memory/limit",
        "/blockIO/throttleReadBpsDevice/0",
        "/cpu/shares",
        "/cpu/quota",
        "/cpu/cpus",
        "/unified/a~0b.c",
    ]


def test_order_of_controllers() -> None:
    resources = {
        "unified": {"cpu.weight": "1"},
        "rdma": {"d": {"hcaHandles": 1}},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 1}],
        "cpu": {"cpus": "0", "shares": 2},
        "blockIO": {"weight": 10},
        "memory": {"limit": 1},
        "pids": {"limit": 1},
    }
    controllers = [w.controller for w in conversions.writes(resources)]
    assert list(dict.fromkeys(controllers)) == [
        "pids", "memory", "io", "cpu", "cpuset", "hugetlb", "rdma",
    ]  # fmt: skip
    assert controllers[-1] == "cpu"


@pytest.mark.parametrize(
    "resources",
    [
        {},
        {"cpu": {"shares": 0}, "blockIO": {"weight": 0}, "memory": {"disableOOMKiller": False}},
        {"cpu": {"shares": 1024}},
        {"pids": {"limit": -1}},
        {"memory": {"limit": -1, "swap": -1}},
        {"cpu": {"quota": -1, "period": 100000}},
        {"devices": [{"allow": False, "access": "rwm"}]},
    ],
)
def test_defaults_of_engines_need_no_controller(resources: dict[str, Any]) -> None:
    assert [w for w in conversions.writes(resources) if not w.optional] == []


def test_what_v2_cannot_do_is_listed() -> None:
    resources = {
        "memory": {"kernel": 1, "swappiness": 1, "disableOOMKiller": True, "kernelTCP": 0},
        "cpu": {"realtimeRuntime": 1},
        "network": {"classID": 1, "priorities": []},
        "blockIO": {"leafWeight": 10, "weightDevice": [{"weight": 10}, {"leafWeight": 10}]},
    }
    pointers = [pointer for pointer, _ in conversions.ignored(resources)]
    assert pointers == [
        "/linux/resources/memory/kernel",
        "/linux/resources/memory/swappiness",
        "/linux/resources/memory/disableOOMKiller",
        "/linux/resources/cpu/realtimeRuntime",
        "/linux/resources/blockIO/leafWeight",
        "/linux/resources/blockIO/weightDevice/1/leafWeight",
        "/linux/resources/network/classID",
    ]
