"""`pyrunc validate`: everything that is wrong, at once, each at its place."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pyrunc.cgroups.v1 import hierarchies
from pyrunc.inspect.document import Document
from pyrunc.inspect.findings import Finding, ordered, write
from pyrunc.inspect.validate import validate
from support import DEFAULT_CONFIG, PURE_V2, ROOT, MakeBundle, merge

PYRUNC = str(ROOT / ".venv/bin/pyrunc")

#: A hundred faults that do not hide each other, by the element at which each is to be found.
MISSPELT = {
    "/hostnam": "x", "/proces": {}, "/mount": [], "/annotatons": {}, "/process/noNewPrivilege": True,
    "/process/capabilites": {}, "/process/enviro": [], "/process/oomScoreAdjust": 1, "/process/rlimit": [],
    "/process/apparmorprofil": "x", "/process/selinuxLable": "x", "/process/user/additionalGid": [1],
    "/process/user/umsk": 7, "/process/capabilities/boundng": [], "/process/capabilities/efective": [],
    "/root/readOnly": True, "/linux/maskedPath": [], "/linux/readonlyPath": [], "/linux/secomp": {},
    "/linux/cgroupPath": "x", "/linux/sysctls": {}, "/linux/resource": {}, "/linux/namespace": [],
    "/linux/rootfsPropagaton": "x", "/linux/uidMapping": [], "/linux/gidMapping": [], "/linux/device": [],
    "/linux/resources/memry": {}, "/linux/resources/pid": {}, "/linux/resources/blockIo": {},
    "/linux/resources/memory/limits": 1, "/linux/resources/memory/reservaton": 1,
    "/linux/resources/cpu/share": 1, "/linux/resources/cpu/quotas": 1, "/linux/resources/cpu/preiod": 1,
    "/linux/resources/pids/limits": 1, "/hooks/prestrat": [], "/hooks/createRuntimes": [], "/hooks/poststoop": [],
    "/linux/seccomp/defaultActon": "x", "/linux/seccomp/architecture": [], "/linux/seccomp/syscals": [],
    "/linux/noNewPrivileges": True, "/process/maskedPaths": [], "/linux/timeOffset": {}, "/linux/personalty": {},
}  # fmt: skip
WRONG_TYPE = {
    "/process/terminal": "yes", "/process/oomScoreAdj": "1", "/process/user/umask": "022", "/domainname": 1,
    "/root/readonly": "true", "/linux/cgroupsPath": 1, "/linux/mountLabel": 2, "/process/apparmorProfile": 7,
    "/process/selinuxLabel": [], "/annotations": [], "/linux/rootfsPropagation": "sharred",
    "/linux/resources/memory/limit": "1g", "/linux/resources/memory/swap": "2g", "/linux/resources/cpu/shares": -1,
    "/linux/resources/cpu/period": "1", "/linux/resources/pids/limit": "many", "/linux/intelRdt": "x",
    "/process/consoleSize": 80, "/linux/resources/unified": [], "/linux/resources/rdma": 5,
    "/linux/resources/hugepageLimits": {}, "/linux/resources/network": 1, "/process/ioPriority": "best",
}  # fmt: skip
#: Entries that are added to lists of a configuration, with the part of the entry that is wrong.
ENTRIES: list[tuple[str, Any, str]] = [
    ("/mounts", {"destination": "/m1", "type": "tmpfs", "options": ["noexe"]}, "/options/0"),
    ("/mounts", {"destination": "/m2", "type": "bind", "source": "/no/such", "options": ["bind"]}, "/source"),
    ("/mounts", {"destination": "/m3", "type": "tmpsf", "source": "x"}, "/type"),
    ("/mounts", {"type": "tmpfs"}, "/destination"),
    ("/mounts", {"destination": "/m5", "type": "tmpfs", "option": []}, "/option"),
    ("/mounts", {"destination": "/m6", "type": "tmpfs", "options": ["ro", "rw"]}, "/options"),
    ("/mounts", {"destination": "/m7", "type": "tmpfs", "options": "ro"}, "/options"),
    ("/linux/namespaces", {"type": "usr"}, "/type"),
    ("/linux/namespaces", {"type": "cgroup", "path": "/no/such/ns"}, "/path"),
    ("/linux/maskedPaths", "/opt/not/there", ""),
    ("/linux/readonlyPaths", "/opt/neither", ""),
    ("/process/env", "NO_VALUE", ""),
    ("/process/capabilities/ambient", "CAP_CHOWN", ""),
    ("/process/rlimits", {"type": "RLIMIT_NOFILES", "soft": 1, "hard": 1}, "/type"),
    ("/process/rlimits", {"type": "RLIMIT_CORE", "soft": 2, "hard": "1"}, "/hard"),
    ("/linux/devices", {"path": "/dev/x", "type": "q"}, "/type"),
    ("/linux/devices", {"type": "c", "major": 1, "minor": 3}, "/path"),
    ("/linux/seccomp/syscalls", {"names": ["read"], "action": "SCMP_ACT_ALOW"}, "/action"),
    ("/linux/seccomp/syscalls", {"names": [], "action": "SCMP_ACT_ALLOW"}, "/names"),
    ("/linux/seccomp/syscalls", {"names": ["read"], "action": "SCMP_ACT_ERRNO"}, ""),
    ("/hooks/createRuntime", {"path": "/no/such/hook"}, "/path"),
    ("/hooks/createRuntime", {"path": "relative"}, "/path"),
    ("/hooks/prestart", {"args": ["x"]}, "/path"),
    ("/hooks/poststop", {"path": "/bin/true", "timeout": "1"}, "/timeout"),
    ("/linux/resources/devices", {"access": "rw"}, "/allow"),
]
SAID = {
    "/linux/sysctl/net.ipv4.ip_foward": "1",
    "/linux/sysctl/kernel.no_such_thing": "1",
    "/linux/resources/cpu/burst": 100,
    "/linux/resources/memory/kernel": 100,
    "/linux/resources/memory/swappiness": 10,
    "/solaris": {},
}


def put(config: Any, pointer: str, value: Any) -> None:
    *path, last = pointer.split("/")[1:]
    for name in path:
        config = config.setdefault(name, {})
    config[last] = value


def seeded() -> tuple[Any, set[str]]:
    """A configuration with the faults of the tables, and the pointers at which they are to be found."""
    config = merge(DEFAULT_CONFIG, {"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ERRNO"}}})
    wanted = set()
    for pointer, value in {**MISSPELT, **WRONG_TYPE, **SAID}.items():
        put(config, pointer, value)
        wanted.add(pointer)
    for where, entry, part in ENTRIES:
        here: Any = config
        for name in where.split("/")[1:]:
            here = here.setdefault(name, [] if name == where.rpartition("/")[2] else {})
        here.append(entry)
        wanted.add(f"{where}/{len(here) - 1}{part}")
    return config, wanted


def test_a_hundred_faults_in_one_call(tmp_path: Path) -> None:
    config, wanted = seeded()
    assert len(wanted) >= 100
    (tmp_path / "config.json").write_text(json.dumps(config, indent=1))
    words = [PYRUNC, "validate", "--format", "json", str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)["findings"]
    missed = wanted - {it.get("pointer") for it in found}
    assert not missed
    assert all(it["line"] for it in found)


def told(config: Any, bundle: Path, **settings: Any) -> dict[str, Finding]:
    return {it.pointer: it for it in validate(json.dumps(config, indent=1).encode(), str(bundle))}


def test_a_right_one_has_no_faults(bundle: MakeBundle) -> None:
    made = bundle()
    found = validate((made.path / "config.json").read_bytes(), str(made.path))
    assert [it for it in found if it.level != "note"] == []


def test_each_fault_has_place_section_and_near_miss(bundle: MakeBundle) -> None:
    made = bundle({"process": {"noNewPrivilege": True}})
    text = (made.path / "config.json").read_text()
    found = {it.pointer: it for it in validate(text.encode(), str(made.path))}
    it = found["/process/noNewPrivilege"]
    assert (it.level, it.rule, it.hint) == ("warning", "misspelt-member", 'did you mean "noNewPrivileges"?')
    line = text.splitlines()[it.line - 1]
    assert line[it.column - 1 :].startswith("true")
    assert it.reference == "config.md#configProcess"


def test_members_in_the_wrong_place(bundle: MakeBundle) -> None:
    found = told(merge(DEFAULT_CONFIG, {"linux": {"noNewPrivileges": True}}), bundle().path)
    assert found["/linux/noNewPrivileges"].hint == "it belongs to process.noNewPrivileges"


def test_faults_of_the_text() -> None:
    (only,) = validate(b'{"ociVersion": "1.0.0",\n "root": }', "/")
    assert (only.rule, only.line, only.column) == ("json", 2, 10)
    (only,) = validate(b"\xff", "/")
    assert only.message == "invalid UTF-8"
    found = validate(b'{"hostname": "a", "hostname": "b"}', "/")
    assert ("duplicate-member", "/hostname") in {(it.rule, it.pointer) for it in found}


def test_every_duplicate_is_found() -> None:
    document = Document(b'{"a": 1, "a": 2, "b": {"c": 1, "c": [], "c": 3}}')
    assert document.twice == ["/a", "/b/c", "/b/c"]
    assert document.fault is None
    assert document.place("/b/c") == (1, 46)
    assert document.place("/b/d/e") == (1, 23)


def test_strict_makes_errors_of_warnings(bundle: MakeBundle) -> None:
    made = bundle({"process": {"noNewPrivilege": True}})
    calls = [[PYRUNC, "validate", str(made.path)], [PYRUNC, "validate", "--strict", str(made.path)]]
    done = [subprocess.run(it, capture_output=True, text=True, check=False, timeout=60) for it in calls]
    assert [it.returncode for it in done] == [0, 1]
    assert ": warning: nothing reads" in done[0].stdout
    assert ": error: nothing reads" in done[1].stdout


def test_a_bundle_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "mybundle").mkdir()
    done = subprocess.run(
        [PYRUNC, "validate", str(tmp_path / "mybundel")], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert 'did you mean "mybundle"?' in done.stderr


def test_sarif_has_what_code_hosts_ask_for() -> None:
    found = [Finding("warning", "a-rule", "it is so", "/x", "do it", "config.md#mounts", 3, 5)]
    (run,) = json.loads(write(found, "sarif", "config.json", "validate"))["runs"]
    assert run["tool"]["driver"]["rules"] == [
        {"id": "a-rule", "helpUri": "https://github.com/opencontainers/runtime-spec/blob/main/config.md#mounts"}
    ]
    (result,) = run["results"]
    assert (result["ruleId"], result["level"]) == ("a-rule", "warning")
    (location,) = result["locations"]
    assert location["physicalLocation"]["region"] == {"startLine": 3, "startColumn": 5}


def test_the_worst_comes_first() -> None:
    found = ordered([Finding("note", "n", ""), Finding("error", "e", "", line=2), Finding("error", "d", "", line=1)])
    assert [it.rule for it in found] == ["d", "e", "n"]


@pytest.mark.skipif(PURE_V2, reason="needs a host without pure cgroup v2")
def test_limits_that_this_host_cannot_hold(bundle: MakeBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hierarchies, "mounted", lambda: [hierarchies.Hierarchy(("cpu", "blkio"), "/m", "")])
    made = bundle().path
    limits = {"memory": {"limit": 1 << 30}, "cpu": {"shares": 0}, "blockIO": {"weight": 100}}
    found = told(merge(DEFAULT_CONFIG, {"linux": {"resources": limits}}), made)
    assert found["/linux/resources/memory"].message == 'this host has no cgroup controller "memory"'
    assert "/linux/resources/cpu" not in found
    assert "/linux/resources/blockIO" not in found
