"""The semantic checks: each refusal with its pointer and, where runc has one, its text."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from config.config_data import CHECKOUT, DATA, given, needs_spec
from pyrunc.config.default import default_config, make_rootless
from pyrunc.config.load import load_process, load_resources, parse_config
from pyrunc.config.rules import names
from pyrunc.config.rules.check import check
from pyrunc.config.rules.check_process import check_process
from pyrunc.config.rules.check_resources import check_resources
from pyrunc.errors import ConfigError

Change = Callable[[dict[str, Any]], Any]


def document() -> dict[str, Any]:
    """A valid configuration in which most things are there to be changed."""
    config = default_config(cgroup2=True)
    config["domainname"] = "example"
    config["mounts"].append({"destination": "/data", "type": "bind", "source": "data", "options": ["rbind", "ro"]})
    return config


def refused(change: Change, bundle: Path, euid: int = 0) -> ConfigError:
    """The error after a change to the valid configuration: of the schema or of the checks."""
    config = document()
    change(config)
    with pytest.raises(ConfigError) as caught:
        check(parse_config(json.dumps(config).encode()), str(bundle), euid=euid)
    assert str(caught.value).endswith(f"({caught.value.pointer[1:]})")
    return caught.value


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle's directory with an empty root file system."""
    (tmp_path / "rootfs").mkdir()
    return tmp_path


def put(pointer: str, value: Any) -> Change:
    """A change: the value at a JSON pointer, whose parents are made; "-" appends to a list."""

    def change(config: dict[str, Any]) -> None:
        *parents, last = pointer[1:].split("/")
        node: Any = config
        for part in parents:
            node = node[int(part)] if isinstance(node, list) else node.setdefault(part, {})
        if last == "-":
            node.append(value)
        elif isinstance(node, list):
            node[int(last)] = value
        else:
            node[last.replace("~1", "/")] = value

    return change


def drop(pointer: str) -> Change:
    """A change: the member at a JSON pointer goes."""

    def change(config: dict[str, Any]) -> None:
        *parents, last = pointer[1:].split("/")
        node = config
        for part in parents:
            node = node[part]
        del node[last]

    return change


def without_namespace(kind: str) -> Change:
    """A change: the namespace of this type goes."""

    def change(config: dict[str, Any]) -> None:
        linux = config["linux"]
        linux["namespaces"] = [entry for entry in linux["namespaces"] if entry["type"] != kind]

    return change


def both(*changes: Change) -> Change:
    """Several changes as one."""

    def change(config: dict[str, Any]) -> None:
        for one in changes:
            one(config)

    return change


def deadline(**times: int) -> Change:
    """A SCHED_DEADLINE with these times."""
    return put("/process/scheduler", {"policy": "SCHED_DEADLINE", **times})


def user_namespace(**linux: Any) -> Change:
    """A change: a new user namespace with maps, or other members of the Linux section."""
    maps = [{"containerID": 0, "hostID": 100000, "size": 65536}]

    def change(config: dict[str, Any]) -> None:
        config["linux"]["namespaces"].append({"type": "user"})
        config["linux"].update({"uidMappings": maps, "gidMappings": maps, **linux})

    return change


def id_map(*ranges: tuple[int, int, int]) -> list[dict[str, int]]:
    """Id mappings from triples."""
    return [{"containerID": a, "hostID": b, "size": c} for a, b, c in ranges]


def seccomp(**members: Any) -> Change:
    """A change: a seccomp section."""
    return put("/linux/seccomp", {"defaultAction": "SCMP_ACT_ALLOW", **members})


def rule(action: str, *calls: str, **members: Any) -> list[dict[str, Any]]:
    """The rules of a seccomp section: just one."""
    return [{"names": list(calls), "action": action, **members}]


NS = "/linux/namespaces"
RUNC_TEXTS: list[tuple[Change, str, str]] = [
    (put("/process/args", []), "args must not be empty", "/process/args"),
    (drop("/process/args"), "args must not be empty", "/process/args"),
    (drop("/process"), "process property must not be empty", "/process"),
    (drop("/root"), "root must be specified", "/root"),
    (put("/root/path", "none"), "invalid rootfs: stat ", "/root/path"),
    (put("/root/path", "none"), "/none: no such file or directory", "/root/path"),
    (put("/process/cwd", "tmp"), "Cwd must be an absolute path", "/process/cwd"),
    (put("/process/cwd", ""), "Cwd property must not be empty", "/process/cwd"),
    (
        without_namespace("uts"),
        "unable to set hostname without a private UTS namespace",
        "/hostname",
    ),
    (
        both(without_namespace("uts"), drop("/hostname")),
        "unable to set domainname without a private UTS namespace",
        "/domainname",
    ),
    (
        put(NS + "/-", {"type": "bogus"}),
        'namespace {"bogus" ""} does not exist',
        NS + "/6/type",
    ),
    (
        put(NS + "/-", {"type": "bogus", "path": "/x"}),
        'namespace {"bogus" "/x"} does not exist',
        NS + "/6/type",
    ),
    (put(NS + "/-", {}), 'namespace {"" ""} does not exist', NS + "/6/type"),
    (
        put(NS + "/-", {"type": "pid", "path": "/x"}),
        'malformed spec file: duplicated ns {"pid" "/x"}',
        NS + "/6",
    ),
    (
        put("/process/rlimits/0/type", "FOO"),
        "wrong rlimit value: FOO",
        "/process/rlimits/0/type",
    ),
    (
        seccomp(defaultAction="FOO"),
        "string FOO is not a valid action for seccomp",
        "/linux/seccomp/defaultAction",
    ),
    (
        seccomp(syscalls=rule("FOO", "read")),
        "string FOO is not a valid action for seccomp",
        "/linux/seccomp/syscalls/0/action",
    ),
    (
        seccomp(architectures=["FOO"]),
        "string FOO is not a valid arch for seccomp",
        "/linux/seccomp/architectures/0",
    ),
    (
        seccomp(syscalls=rule("SCMP_ACT_ALLOW", "read", args=[{"index": 0, "value": 1, "op": "FOO"}])),
        "string FOO is not a valid operator for seccomp",
        "/linux/seccomp/syscalls/0/args/0/op",
    ),
    (
        put("/linux/rootfsPropagation", "bogus"),
        "rootfsPropagation=bogus is not supported",
        "/linux/rootfsPropagation",
    ),
    (
        put("/linux/devices", [{"type": "z", "path": "/dev/z"}]),
        'invalid device type "z"',
        "/linux/devices/0/type",
    ),
    (
        put("/linux/personality", {"domain": "FOO"}),
        "invalid personality domain FOO",
        "/linux/personality/domain",
    ),
    (
        put("/process/ioPriority", {"class": "FOO", "priority": 1}),
        'invalid ioPriority.Class: "FOO"',
        "/process/ioPriority/class",
    ),
    (
        put("/process/scheduler", {"policy": "FOO"}),
        "invalid scheduler policy: FOO",
        "/process/scheduler/policy",
    ),
    (
        put("/linux/timeOffsets", {"boottime": {"secs": 1}}),
        "time namespace offsets specified, but time namespace isn't enabled in the config",
        "/linux/timeOffsets",
    ),
    (
        user_namespace(uidMappings=[]),
        "user namespaces enabled, but no uid mappings found",
        "/linux/uidMappings",
    ),
    (
        user_namespace(gidMappings=[]),
        "user namespaces enabled, but no gid mappings found",
        "/linux/gidMappings",
    ),
    (
        put("/linux/sysctl", {"kernel.foo": "1"}),
        'sysctl "kernel.foo" is not in a separate kernel namespace',
        "/linux/sysctl/kernel.foo",
    ),
    (
        both(without_namespace("network"), put("/linux/sysctl", {"net.core.somaxconn": "1"})),
        'sysctl "net.core.somaxconn" not allowed in host network namespace',
        "/linux/sysctl/net.core.somaxconn",
    ),
    (
        both(without_namespace("ipc"), put("/linux/sysctl", {"kernel.sem": "1"})),
        'sysctl "kernel.sem" is not allowed in the hosts ipc namespace',
        "/linux/sysctl/kernel.sem",
    ),
    (
        put("/linux/sysctl", {"kernel.hostname": "x"}),
        'sysctl "kernel.hostname" is not allowed as it conflicts with the OCI "hostname" field',
        "/linux/sysctl/kernel.hostname",
    ),
    (
        seccomp(syscalls=rule("SCMP_ACT_NOTIFY", "mknod", "write"), listenerPath="/x"),
        "SCMP_ACT_NOTIFY cannot be used for the write syscall",
        "/linux/seccomp/syscalls/0/names",
    ),
    (
        seccomp(defaultAction="SCMP_ACT_NOTIFY", listenerPath="/x"),
        "SCMP_ACT_NOTIFY cannot be used as default action",
        "/linux/seccomp/defaultAction",
    ),
    (
        put("/linux/memoryPolicy", {}),
        "invalid memory policy mode",
        "/linux/memoryPolicy/mode",
    ),
    (
        put("/linux/memoryPolicy", {"mode": "INTERLEAVE", "nodes": "0"}),
        'invalid memory policy mode "INTERLEAVE"',
        "/linux/memoryPolicy/mode",
    ),
    (
        put("/linux/memoryPolicy", {"mode": "MPOL_BIND", "nodes": "0", "flags": ["badflag"]}),
        'invalid memory policy flag "badflag"',
        "/linux/memoryPolicy/flags/0",
    ),
    (
        put("/linux/memoryPolicy", {"mode": "MPOL_DEFAULT", "nodes": "0-7"}),
        "mode requires 0 nodes but got 8",
        "/linux/memoryPolicy/nodes",
    ),
    (
        put("/linux/memoryPolicy", {"mode": "MPOL_BIND", "nodes": "20-10"}),
        "invalid memory policy node",
        "/linux/memoryPolicy/nodes",
    ),
    (
        put("/process/scheduler", {"policy": "SCHED_OTHER", "priority": 1}),
        "scheduler.priority can only be specified for SchedFIFO or SchedRR policy",
        "/process/scheduler/priority",
    ),
    (
        put("/process/scheduler", {"policy": "SCHED_OTHER", "runtime": 1}),
        "scheduler runtime/deadline/period can only be specified for SchedDeadline policy",
        "/process/scheduler",
    ),
    (
        put("/process/scheduler", {"policy": "SCHED_OTHER", "nice": 20}),
        "invalid scheduler.nice: 20",
        "/process/scheduler/nice",
    ),
    (
        put("/linux/intelRdt", {"closID": "a/b"}),
        'invalid intelRdt.ClosID "a/b"',
        "/linux/intelRdt/closID",
    ),
    (
        put("/linux/devices", [{"path": "//.", "type": "c", "major": 1, "minor": 3}]),
        "a device cannot take the place of the root",
        "/linux/devices/0/path",
    ),
    (
        both(put("/linux/namespaces/5", {"type": "time"}), put("/linux/timeOffsets", {"real/time": {"secs": 1}})),
        'time namespaces have no clock "real/time"',
        "/linux/timeOffsets/real~1time",
    ),
    (
        put("/mounts/7/options", ["bind", "ro", "size=1", "noexce"]),
        "bind mounts cannot have any filesystem-specific options applied: size=1,noexce",
        "/mounts/7/options/3",
    ),
    (
        put("/linux/resources/devices/0/access", ""),
        "device access at 0 field cannot be empty",
        "/linux/resources/devices/0/access",
    ),
    (
        both(without_namespace("mount"), put("/linux/maskedPaths", [])),
        "unable to restrict sys entries without a private MNT namespace",
        "/linux/readonlyPaths",
    ),
    (
        put("/linux/maskedPaths", ["etc/x"]),
        'path "etc/x" must be absolute',
        "/linux/maskedPaths/0",
    ),
]

MAPS = id_map((0, 1000, 1))
OTHERS: list[tuple[Change, str, str]] = [
    (put("/root/path", "file"), "file: not a directory", "/root/path"),
    (put("/root/path", "link"), "not an absolute path, or a symlink", "/root/path"),
    (put("/root/path", "link/"), "not an absolute path, or a symlink", "/root/path"),
    (put("/hostname", "é" * 33), "the hostname is longer than 64 bytes", "/hostname"),
    (put("/process/env", ["A=1", "B"]), '"B": a missing "="', "/process/env/1"),
    (put("/process/env", ["=1"]), '"=": an empty name', "/process/env/0"),
    (put("/process/user/uid", 2**32 - 1), "4294967295 is more than", "/process/user/uid"),
    (put("/process/user/uid", -1), "-1 is less than 0", "/process/user/uid"),
    (put("/process/user/additionalGids", [2**32 - 1]), "more", "/process/user/additionalGids/0"),
    (put("/process/user/additionalGids", [1] * 65537), "65537", "/process/user/additionalGids"),
    (put("/process/oomScoreAdj", 1001), "1001 is more than 1000", "/process/oomScoreAdj"),
    (
        put("/process/consoleSize", {"height": 65536, "width": 1}),
        "65535",
        "/process/consoleSize/height",
    ),
    (put("/process/rlimits/0/soft", 1025), "above the hard limit", "/process/rlimits/0/soft"),
    (
        put("/process/rlimits/-", {"type": "RLIMIT_NOFILE", "soft": 1, "hard": 1}),
        "RLIMIT_NOFILE is limited twice",
        "/process/rlimits/1/type",
    ),
    (
        put("/process/scheduler", {"policy": "SCHED_FIFO"}),
        "SCHED_FIFO has 1 to 99",
        "/process/scheduler/priority",
    ),
    (
        deadline(deadline=20000000, period=20000000),
        "sched_setattr: `SCHED_DEADLINE` requires `runtime`",
        "/process/scheduler",
    ),
    (
        deadline(runtime=10000000, period=20000000),
        "sched_setattr: `SCHED_DEADLINE` requires `deadline`",
        "/process/scheduler",
    ),
    (
        deadline(runtime=0, deadline=2000),
        "sched_setattr: `SCHED_DEADLINE` runtime must be greater than 0",
        "/process/scheduler/runtime",
    ),
    (
        deadline(runtime=5000, deadline=4000),
        "sched_setattr: `SCHED_DEADLINE` runtime (5000) must be <= deadline (4000)",
        "/process/scheduler/runtime",
    ),
    (
        deadline(runtime=5000, deadline=6000, period=5500),
        "sched_setattr: `SCHED_DEADLINE` deadline (6000) must be <= period (5500)",
        "/process/scheduler/deadline",
    ),
    (
        deadline(runtime=1023, deadline=6000),
        "sched_setattr: `SCHED_DEADLINE` runtime (1023) must be between 1024 and 9223372036854775807",
        "/process/scheduler/runtime",
    ),
    (
        deadline(runtime=2000, deadline=2000, period=1 << 63),
        "sched_setattr: `SCHED_DEADLINE` period (9223372036854775808) must be between 0 and",
        "/process/scheduler/period",
    ),
    (
        put("/process/execCPUAffinity", {"final": "3-1"}),
        "runs backwards",
        "/process/execCPUAffinity/final",
    ),
    (
        put("/process/execCPUAffinity", {"initial": "0-99999999999"}),
        "more than",
        "/process/execCPUAffinity/initial",
    ),
    (
        put("/process/ioPriority", {"class": "IOPRIO_CLASS_RT", "priority": 8}),
        "invalid ioPriority.Priority: 8",
        "/process/ioPriority/priority",
    ),
    (put("/linux/uidMappings", MAPS), "user namespace isn't enabled", "/linux/uidMappings"),
    (
        user_namespace(uidMappings=id_map((0, 0, 10), (5, 100, 10))),
        "overlaps with another one",
        "/linux/uidMappings/1/containerID",
    ),
    (
        user_namespace(gidMappings=id_map((0, 200, 10), (10, 191, 10))),
        "overlaps with another one",
        "/linux/gidMappings/0/hostID",
    ),
    (
        user_namespace(uidMappings=id_map((0, 4294967200, 100))),
        "beyond the largest id",
        "/linux/uidMappings/0/size",
    ),
    (
        user_namespace(uidMappings=id_map(*((n, n, 1) for n in range(341)))),
        "341 mappings, of which the kernel allows 340",
        "/linux/uidMappings",
    ),
    (
        both(user_namespace(), put("/process/user/uid", 70000)),
        "no mapping found for uid 70000",
        "/process/user/uid",
    ),
    (
        both(user_namespace(), put("/process/user/additionalGids", [5, 65536])),
        "no mapping found for gid 65536",
        "/process/user/additionalGids/1",
    ),
    (put(NS + "/0", {"type": "pid", "path": "x"}), "must be absolute", NS + "/0/path"),
    (
        both(
            put(NS + "/-", {"type": "time", "path": "/proc/self/ns/time"}),
            put("/linux/timeOffsets", {"boottime": {"secs": 1}}),
        ),
        "the time namespace is joined",
        "/linux/timeOffsets",
    ),
    (
        both(
            put(NS + "/1", {"type": "network", "path": "/proc/self/ns/net"}),
            put("/linux/sysctl", {"net.a": "1"}),
        ),
        "not allowed in host network namespace",
        "/linux/sysctl/net.a",
    ),
    (
        both(
            put(NS + "/1", {"type": "network", "path": "/none"}),
            put("/linux/sysctl", {"net.a": "1"}),
        ),
        "invalid netns path: stat /none: no such file or directory",
        "/linux/sysctl/net.a",
    ),
    (
        put("/linux/sysctl", {"net/../kernel/core_pattern": "x"}),
        'sysctl "net/../kernel/core_pattern" contains an invalid path: it is not a name of a kernel parameter',
        "/linux/sysctl/net~1..~1kernel~1core_pattern",
    ),
    (
        put("/linux/sysctl", {"net./../kernel": "x"}),
        "is not a name of a kernel parameter",
        "/linux/sysctl/net.~1..~1kernel",
    ),
    (
        put("/linux/sysctl", {"user.max_user_namespaces": "1"}),
        "is not in a separate kernel namespace",
        "/linux/sysctl/user.max_user_namespaces",
    ),
    (
        put("/linux/devices", [{"type": "c", "path": "/dev/x", "major": 1}]),
        "minor is missing",
        "/linux/devices/0/minor",
    ),
    (put("/linux/cgroupsPath", "/a/../b"), 'must not have ".."', "/linux/cgroupsPath"),
    (
        put("/linux/resources/unified", {"../x": "1"}),
        "must be a file name (no slashes)",
        "/linux/resources/unified/..~1x",
    ),
    (
        put("/linux/resources/hugepageLimits", [{"pageSize": "3mB", "limit": 1}]),
        'invalid huge page size "3mB"',
        "/linux/resources/hugepageLimits/0/pageSize",
    ),
    (
        put("/linux/resources/cpu", {"quota": 5, "burst": 6}),
        "larger than the quota",
        "/linux/resources/cpu/burst",
    ),
    (
        put("/linux/resources/cpu", {"idle": 2}),
        "2 is more than 1",
        "/linux/resources/cpu/idle",
    ),
    (
        put("/linux/resources/rdma", {"mlx": {}}),
        "hcaHandles or hcaObjects is missing",
        "/linux/resources/rdma/mlx",
    ),
    (
        put("/linux/netDevices", {"eth0": {"name": "a/b"}}),
        'invalid network device name "a/b"',
        "/linux/netDevices/eth0/name",
    ),
    (
        put("/linux/netDevices", {"a" * 16: {}}),
        "invalid network device name",
        "/linux/netDevices/" + "a" * 16,
    ),
    (
        put("/linux/netDevices", {"eth0": {"name": "x%d%d"}}),
        "invalid network device name",
        "/linux/netDevices/eth0/name",
    ),
    (
        put("/linux/netDevices", {"eth0": {"name": "x"}, "eth1": {"name": "x"}}),
        'two network devices get the name "x"',
        "/linux/netDevices/eth1/name",
    ),
    (
        both(without_namespace("network"), put("/linux/netDevices", {"eth0": {}})),
        "without a private NET namespace",
        "/linux/netDevices",
    ),
    (
        seccomp(syscalls=rule("SCMP_ACT_NOTIFY", "mknod")),
        "needs a listenerPath",
        "/linux/seccomp/syscalls/0/action",
    ),
    (
        seccomp(listenerMetadata="x"),
        "listenerPath is not",
        "/linux/seccomp/listenerMetadata",
    ),
    (
        seccomp(syscalls=rule("SCMP_ACT_KILL", "read", errnoRet=1)),
        "SCMP_ACT_KILL has no errno",
        "/linux/seccomp/syscalls/0/errnoRet",
    ),
    (
        seccomp(defaultErrnoRet=1),
        "SCMP_ACT_ALLOW has no errno",
        "/linux/seccomp/defaultErrnoRet",
    ),
    (
        seccomp(syscalls=rule("SCMP_ACT_ALLOW")),
        "the list is empty",
        "/linux/seccomp/syscalls/0/names",
    ),
    (
        put("/linux/memoryPolicy", {"mode": "MPOL_BIND"}),
        "at least 1 node but got 0",
        "/linux/memoryPolicy/nodes",
    ),
    (
        put(
            "/linux/memoryPolicy",
            {
                "mode": "MPOL_BIND",
                "nodes": "0",
                "flags": ["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"],
            },
        ),
        "exclude each other",
        "/linux/memoryPolicy/flags",
    ),
    (put("/mounts/7/source", ""), "a bind mount needs a source", "/mounts/7/source"),
    (put("/mounts/0/type", ""), "needs a type", "/mounts/0/type"),
    (put("/mounts/7/uidMappings", MAPS), "go together", "/mounts/7/gidMappings"),
    (
        both(put("/mounts/7/gidMappings", MAPS), put("/mounts/7/uidMappings", [])),
        "go together",
        "/mounts/7/uidMappings",
    ),
    (put("/mounts/7/options", ["rbind", "idmap"]), "needs uidMappings and", "/mounts/7"),
    (
        put("/hooks/poststop", [{"path": "bin/x"}]),
        "the path of a hook must be absolute",
        "/hooks/poststop/0/path",
    ),
    (
        put("/hooks/prestart", [{"path": "/x", "timeout": 0}]),
        "0 is less than 1",
        "/hooks/prestart/0/timeout",
    ),
    (put("/annotations", {"": "x"}), "the name of a member is empty", "/annotations"),
    (put("/ociVersion", "2.0.0"), 'unsupported ociVersion "2.0.0"', "/ociVersion"),
    (drop("/ociVersion"), '"ociVersion" is missing', "/ociVersion"),
]


def ids(cases: list[tuple[Change, str, str]]) -> list[str]:
    return [f"{pointer}-{text[:24]}" for _, text, pointer in cases]


@pytest.mark.parametrize(("change", "text", "pointer"), RUNC_TEXTS, ids=ids(RUNC_TEXTS))
def test_runc_texts(bundle: Path, change: Change, text: str, pointer: str) -> None:
    error = refused(change, bundle)
    assert text in str(error)
    assert error.pointer == pointer


@pytest.mark.parametrize(("change", "text", "pointer"), OTHERS, ids=ids(OTHERS))
def test_other_refusals(bundle: Path, change: Change, text: str, pointer: str) -> None:
    (bundle / "file").touch()
    (bundle / "link").symlink_to("rootfs")
    error = refused(change, bundle)
    assert text in str(error)
    assert error.pointer == pointer


UNPRIVILEGED: list[tuple[Change, str, str]] = [
    (lambda config: None, "rootless container requires user namespaces", NS),
    (
        user_namespace(gidMappings=id_map((0, 1000, 1))),
        "cannot specify gid= mount options for unmapped gid in rootless containers: gid=5",
        "/mounts/2/options/5",
    ),
    (
        both(user_namespace(), put("/mounts/7/options/-", "idmap")),
        "needs CAP_SYS_ADMIN",
        "/mounts/7",
    ),
    (
        both(user_namespace(), put("/linux/netDevices", {"eth0": {}})),
        "not supported for rootless containers",
        "/linux/netDevices",
    ),
]


@pytest.mark.parametrize(("change", "text", "pointer"), UNPRIVILEGED, ids=ids(UNPRIVILEGED))
def test_without_privileges(bundle: Path, change: Change, text: str, pointer: str) -> None:
    error = refused(change, bundle, euid=1000)
    assert text in str(error)
    assert error.pointer == pointer


ACCEPTED: list[Change] = [
    lambda config: None,
    user_namespace(),
    user_namespace(uidMappings=id_map((0, 1000, 1), (1, 0, 1000), (1001, 1001, 4294966294))),
    both(user_namespace(), put("/mounts/7/options/-", "idmap")),
    both(put("/mounts/7/uidMappings", MAPS), put("/mounts/7/gidMappings", MAPS)),
    both(put(NS + "/-", {"type": "time"}), put("/linux/timeOffsets", {"boottime": {"secs": -1}})),
    both(put(NS + "/-", {"type": "user", "path": "/proc/1/ns/user"})),
    both(
        put(NS + "/-", {"type": "user", "path": "/proc/1/ns/user"}),
        put("/linux/uidMappings", MAPS),
        put("/linux/gidMappings", MAPS),
    ),
    both(without_namespace("uts"), drop("/hostname"), put("/domainname", "")),
    both(drop("/linux"), drop("/hostname"), drop("/domainname")),
    both(
        put(NS, []),
        put("/linux/maskedPaths", []),
        put("/linux/readonlyPaths", []),
        drop("/hostname"),
        drop("/domainname"),
    ),
    put("/linux/sysctl", {"net/ipv4/conf/eth0.1/forwarding": "1", "fs.mqueue.msg_max": "1"}),
    put("/linux/sysctl", {"kernel.domainname": "x", "kernel/shm_rmid_forced": "1"}),
    put("/linux/intelRdt", {"closID": "/"}),
    put("/linux/netDevices", {"eth0": {"name": "x%d"}, "eth1": {"name": "x%d"}}),
    put("/linux/memoryPolicy", {"mode": "MPOL_PREFERRED", "nodes": ""}),
    put("/linux/memoryPolicy", {"mode": "MPOL_INTERLEAVE", "nodes": "0-3, 2,7"}),
    put("/process/scheduler", {"policy": "SCHED_RR", "priority": 99}),
    put("/process/scheduler", {"policy": "SCHED_DEADLINE", "runtime": 1024, "deadline": 1024}),
    put("/process/env", ["A=", "A=b=c", "B=\n"]),
    put("/mounts/7", {"destination": "/x", "source": ".", "options": ["bind", "tmpcopyup"]}),
    put("/mounts/7", {"destination": "/", "options": ["remount", "ro"]}),
    put("/linux/resources/unified", {"io.max": "259:0 rbps=1\n8:0 rbps=2"}),
    put("/linux/devices", [{"type": "p", "path": "/dev/pipe"}]),
    seccomp(listenerPath="/unused"),
    seccomp(syscalls=rule("SCMP_ACT_TRACE", "read", errnoRet=5)),
]


@pytest.mark.parametrize("change", ACCEPTED, ids=range(len(ACCEPTED)))
def test_what_is_right_is_accepted(bundle: Path, change: Change) -> None:
    config = document()
    change(config)
    assert check(parse_config(json.dumps(config).encode()), str(bundle), euid=0) == []


def test_null_is_absent(bundle: Path) -> None:
    """What Go programs write for an empty slice, map or pointer."""
    config = document()
    full = json.loads((DATA / "good/full.json").read_text())
    for section in ("process", "linux"):
        for name in full[section]:
            config[section].setdefault(name, None)
    config["linux"]["resources"] = dict.fromkeys(full["linux"]["resources"])
    config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": None,
        "flags": None,
        "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": None}],
    }
    config["hooks"] = {"prestart": None}
    loaded = parse_config(json.dumps(config).encode())
    assert "null" not in json.dumps(loaded)
    assert check(loaded, str(bundle), euid=0) == []


def warned(change: Change, bundle: Path) -> list[str]:
    config = document()
    change(config)
    return check(parse_config(json.dumps(config).encode()), str(bundle), euid=0)


def test_warnings(bundle: Path) -> None:
    caps = "/process/capabilities/"
    assert warned(put(caps + "bounding", ["UNKNOWN_CAP", "CAP_UNKNOWN", "cap_kill"]), bundle) == [
        "ignoring unknown or unavailable capabilities: [CAP_UNKNOWN UNKNOWN_CAP]"
    ]
    (ambient,) = warned(put(caps + "ambient", ["CAP_KILL"]), bundle)
    assert ambient.startswith("can't raise ambient capability CAP_KILL: ")
    change = both(put(caps + "ambient", ["CAP_KILL"]), put(caps + "inheritable", ["CAP_KILL"]))
    assert warned(change, bundle) == []
    change = put("/linux/personality", {"domain": "LINUX", "flags": ["A", "B"]})
    assert warned(change, bundle) == ["ignoring unsupported personality flags: [A B]"]
    assert warned(put("/mounts/7/options", ["bind", "mode=755", "ro", "size=1k"]), bundle) == [
        "mode=755,size=1k is ignored: bind mounts cannot have any filesystem-specific options applied"
        " (mounts/7/options/1)"
    ]
    # As of `buildah run -v A:B`, `-v A:B:z,U` and `podman run -v A:B:nocopy`.
    assert warned(put("/mounts/7/options", ["", "rbind", "z", "Z", "U", "copy", "nocopy"]), bundle) == []
    (relative,) = warned(put("/mounts/7/destination", "data"), bundle)
    assert relative.startswith("mount destination data is not absolute")
    change = both(put("/Hostname", "x"), put("/linux/cgroupspath", "x"), put("/other", 1))
    assert warned(change, bundle) == [
        'Hostname is ignored: the name of this property is "hostname"',
        'linux/cgroupspath is ignored: the name of this property is "cgroupsPath"',
    ]


def test_members_that_are_misspelt_are_told(bundle: Path) -> None:
    """Every runtime drops them in silence: a security setting that does not hold. What resembles nothing is an
    extension."""
    change = both(put("/process/noNewPrivilege", True), put("/process/capabilites", {}), put("/linux/x-vendor", 1))
    assert warned(change, bundle) == [
        'process/noNewPrivilege is ignored: did you mean "noNewPrivileges"?',
        'process/capabilites is ignored: did you mean "capabilities"?',
    ]


def test_a_process_of_exec_is_checked_with_its_own_pointers() -> None:
    process = load_process(b'{"cwd":"/","args":["a"],"capabilities":{"bounding":["X"]}}')
    assert check_process(process, "") == ["ignoring unknown or unavailable capabilities: [X]"]
    with pytest.raises(ConfigError) as caught:
        check_process(load_process(b'{"cwd":"/"}'), "")
    assert str(caught.value) == "args must not be empty (args)"
    assert caught.value.pointer == "/args"
    with pytest.raises(ConfigError, match=r'^process\.json: "cwd" is missing \(cwd\)$'):
        load_process(b"{}")


def test_resources_in_any_letter_case() -> None:
    data = b"""{"CPU": {"Cpus": "1", "SHARES": 2}, "blockio": {"WeightDevice":
        [{"Major": 8, "minor": 0, "weight": 5}]}, "Rdma": {"MLX": {"hcahandles": 1}},
        "unified": {"Memory.High": "max"}, "pids": null}"""
    assert load_resources(data) == {
        "cpu": {"cpus": "1", "shares": 2},
        "blockIO": {"weightDevice": [{"major": 8, "minor": 0, "weight": 5}]},
        "rdma": {"MLX": {"hcaHandles": 1}},
        "unified": {"Memory.High": "max"},
    }
    with pytest.raises(ConfigError, match=r'"cpus" occurs twice.*\(cpu/cpus\)$'):
        load_resources(b'{"cpu": {"cpus": "1", "Cpus": "2"}}')
    with pytest.raises(ConfigError, match=r'"x" is not an integer \(cpu/shares\)$'):
        load_resources(b'{"Cpu": {"Shares": "x"}}')
    with pytest.raises(ConfigError, match=r"not an object$"):
        load_resources(b"[]")
    with pytest.raises(ConfigError, match="ends too early"):
        load_resources(b"")
    with pytest.raises(ConfigError) as caught:
        check_resources({"unified": {"a/b": "1"}}, "")
    assert caught.value.pointer == "/unified/a~1b"


def test_resources_of_a_configuration_in_any_letter_case() -> None:
    """A section may even be there in two spellings, as long as they do not say two things about one member."""
    text = """{"ociVersion": "1.2.0", "root": {"path": "r"}, "process": {"cwd": "/", "args": ["a"]}, "linux":
        {"resources": {"cpu": {"shares": 2}, "CPU": {"Cpus": "0"}, "hugepageLimits": [{"pagesize": "2MB", "limit": 1}],
        "devices": %s}}}"""
    rules = '[{"allow": false, "access": "rwa"}, {"allow": true, "type": "c", "access": "ra"}]'
    assert parse_config((text % rules).encode())["linux"]["resources"] == {
        "cpu": {"shares": 2, "cpus": "0"},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 1}],
        "devices": [{"allow": False, "access": "rwm"}, {"allow": True, "type": "c", "access": "r"}],
    }
    with pytest.raises(ConfigError) as caught:
        parse_config((text.replace('"Cpus": "0"', '"SHARES": 3') % "[]").encode())
    assert caught.value.pointer == "/linux/resources/cpu"
    with pytest.raises(ConfigError) as caught:
        parse_config((text % '[{"allow": true, "access": "rx"}]').encode())
    assert caught.value.pointer == "/linux/resources/devices/0/access"


@pytest.mark.host
@needs_spec
def test_what_engines_write_passes_the_checks(tmp_path: Path) -> None:
    (tmp_path / "rootfs").mkdir()
    paths = given("configs/*config*.json")
    assert paths
    for path in paths:
        config = parse_config(path.read_bytes())
        config["root"]["path"] = "rootfs"
        for namespace in config["linux"].get("namespaces", []):
            if namespace["type"] == "network" and "path" in namespace:
                namespace["path"] = "/proc/self/ns/pid"  # one that exists and is not ours
        for warning in check(config, str(tmp_path), euid=0):
            assert warning.startswith("can't raise ambient capability "), path


def test_the_example_is_valid(tmp_path: Path) -> None:
    (tmp_path / "rootfs").mkdir()
    for cgroup2 in (False, True):
        config = default_config(cgroup2=cgroup2)
        kinds = [entry["type"] for entry in config["linux"]["namespaces"]]
        assert ("cgroup" in kinds) is cgroup2
        assert check(parse_config(json.dumps(config).encode()), str(tmp_path), euid=0) == []
        rootless = copy.deepcopy(config)
        make_rootless(rootless, 1000, 1001)
        loaded = parse_config(json.dumps(rootless).encode())
        assert check(loaded, str(tmp_path), euid=1000) == []
        assert "resources" not in loaded["linux"]
        assert loaded["linux"]["gidMappings"] == id_map((0, 1001, 1))
        assert "gid=5" not in json.dumps(loaded)
        assert [m["options"][0] for m in loaded["mounts"] if m["source"] == "/sys"] == ["rbind"]


def test_names_are_those_of_the_plan() -> None:
    from pyrunc.plan.filesystem import mountoptions
    from pyrunc.plan.process import capabilities

    assert frozenset(capabilities.NUMBERS) == names.CAPABILITIES
    assert frozenset(mountoptions.known_options()) == names.MOUNT_OPTIONS


def test_the_bundles_of_the_repository_are_valid(tmp_path: Path) -> None:
    (tmp_path / "rootfs").mkdir()
    found = sorted((CHECKOUT / "bundles").glob("*/config.json"))
    assert found
    for path in found:
        assert check(parse_config(path.read_bytes()), str(tmp_path), euid=0) == [], path


@pytest.mark.parametrize("quota", [-1, -2, -(1 << 63)])
def test_a_negative_quota_is_none(quota: int) -> None:
    """As with runc, crun and youki; what becomes of it is the cgroups' test."""
    config = parse_config(b'{"ociVersion":"1.3.0","linux":{"resources":{"cpu":{"quota":%d}}}}' % quota)
    assert config["linux"]["resources"]["cpu"] == {"quota": quota}
