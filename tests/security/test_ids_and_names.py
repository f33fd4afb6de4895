"""Ids, names and numbers that mean something else than they seem to."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from security.canary import Canary
from support import DEFAULT_CONFIG, IS_ROOT, Json, Runtime, make_bundle, merge

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="needs root")


Refused = Callable[[Json], str]


@pytest.fixture(scope="module")
def refused(launcher: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Refused]:
    """What standard error says of a configuration that has to be refused; all share a root file system."""
    runtime = Runtime(launcher, tmp_path_factory.mktemp("state") / "pyrunc")
    it = make_bundle(tmp_path_factory.mktemp("bundle") / "b", {"process": {"args": ["/bin/id"]}})
    base = it.config

    def refuse(changes: Json) -> str:
        it.config = merge(base, changes)
        it.save()
        done = runtime.run(it, timeout=20)
        assert done.returncode != 0
        assert done.stdout == ""
        assert done.stderr.count("level=error") == 1
        assert "Traceback" not in done.stderr
        return done.stderr

    yield refuse
    runtime.clean()


@pytest.fixture(scope="module")
def running(launcher: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Runtime, str, Path]]:
    """A container that runs for all tests of this file, with an /etc/passwd full of traps."""
    runtime = Runtime(launcher, tmp_path_factory.mktemp("state") / "pyrunc")
    it = make_bundle(tmp_path_factory.mktemp("bundle") / "b", {"process": {"args": ["/bin/sleep", "1000"]}})
    traps = ("1000", "1", "01", "4294967295", "4294967296", "-1", "0x1", " 1", "1:2", "", "+1", "1e0", "\uff11")
    entries = "".join(f"{name}:x:0:0::/:/bin/sh\n" for name in traps)
    (it.rootfs / "etc/passwd").write_text(
        entries + "minus:x:-1:-1::/:\nhuge:x:4294967295:0::/:\nwrap:x:4294967296:0::/:\nhex:x:0x1:0::/:\n"
        "empty:x::::/:\nspace:x: 1:0::/:\ngood:x:7:8::/:\n"
    )
    id = runtime.create(it)
    runtime.call("start", id, check=True)
    yield runtime, id, it.rootfs
    runtime.clean()


@pytest.mark.contains("container ids that are paths", "ASCII letters, digits and `_+-.`, but not `.` or `..`")
@pytest.mark.parametrize(
    "id",
    ["..", ".", "", "keep/x", "a/b", "/a", "../a", "a\n", "\na", "a b", "é", "a\\b", "x" * 1025, "a:b", "%2e%2e",
     "\uff11"],
)  # fmt: skip
def test_container_ids(runtime: Runtime, tmp_path: Path, id: str) -> None:
    canary = Canary(tmp_path / "canary")
    runtime.root.mkdir(mode=0o700)
    (runtime.root / "keep").mkdir()
    (tmp_path / "config.json").write_text(json.dumps(DEFAULT_CONFIG))
    (tmp_path / "rootfs").mkdir()
    for words in (["create", "--bundle", str(tmp_path)], ["delete", "--force"], ["state"]):
        done = runtime.call(*words, id)
        assert "invalid container ID format" in done.stderr or "container id cannot be empty" in done.stderr
        assert (done.returncode != 0) == (words != ["delete", "--force"]) or "id" in done.stderr.lower()
    assert [path.name for path in runtime.root.rglob("*")] == ["keep"]
    canary.check()


@pytest.mark.contains("CVE-2024-40635, CVE-2026-46680: id 4294967295", "refused everywhere")
@pytest.mark.parametrize("key", ["uid", "gid", "additionalGids"])
@pytest.mark.parametrize("value", [4294967295, 4294967296, -1, 0.5])
def test_ids_of_the_configuration(refused: Refused, key: str, value: object) -> None:
    """CVE-2024-40635: 4294967295 means "unchanged" to setresuid(2), and so root."""
    user: Json = {"uid": 1000, "gid": 1000}
    user[key] = [value] if key == "additionalGids" else value
    assert key in refused({"process": {"user": user}})


@pytest.mark.contains(
    "CVE-2016-3697, CVE-2026-30892: users of exec",
    "digits are an id and never a name; anything else but a name is refused",
)
@pytest.mark.parametrize(
    ("user", "shown"), [("1000", "1000 0"), ("1", "1 0"), ("1:2", "1 2"), ("good", "7 8"), ("0:5", "0 5")]
)
def test_users_of_exec(running: tuple[Runtime, str, Path], user: str, shown: str) -> None:
    """CVE-2016-3697, CVE-2026-30892: a number is never a name, though /etc/passwd has it as root's."""
    runtime, id, _ = running
    done = runtime.call("exec", "--user", user, id, "sh", "-c", "echo $(id -u) $(id -g)", check=True)
    assert done.stdout == shown + "\n"


@pytest.mark.contains("CVE-2016-3697, CVE-2026-30892: users of exec")
@pytest.mark.contains("CVE-2024-40635, CVE-2026-46680: id 4294967295")
@pytest.mark.parametrize(
    "user",
    [":2", "1:", "0x1", " 1", "1 ", "-1", "+1", "1e0", "4294967295", "4294967296", "1:4294967295",
     "18446744073709551616", "1:2:3", ":", "\uff11", "minus", "huge", "wrap", "hex", "space", "empty", "nosuch"],
)  # fmt: skip
def test_what_is_no_user_of_exec(running: tuple[Runtime, str, Path], user: str) -> None:
    runtime, id, _ = running
    done = runtime.call("exec", "--user", user, id, "id")
    assert done.returncode == 255
    assert done.stdout == ""


@pytest.mark.contains("CVE-2024-40635, CVE-2026-46680: id 4294967295")
@pytest.mark.parametrize(
    "document", [{"uid": 4294967295, "gid": 0}, {"uid": -1, "gid": 0}, {"uid": 1, "gid": 4294967295}]
)
def test_users_of_a_process_file(running: tuple[Runtime, str, Path], tmp_path: Path, document: Json) -> None:
    runtime, id, _ = running
    (tmp_path / "p").write_text(json.dumps({"user": document, "args": ["id"], "cwd": "/"}))
    done = runtime.call("exec", "--process", str(tmp_path / "p"), id)
    assert done.returncode != 0
    assert done.stdout == ""


@pytest.mark.contains(
    "CVE-2022-29162, CVE-2022-27650, CVE-2025-27612: inheritable capabilities",
    "`--cap` and `spec` leave the inheritable set alone",
)
def test_capabilities_of_exec_are_not_inheritable(running: tuple[Runtime, str, Path]) -> None:
    """CVE-2022-29162, CVE-2022-27650, CVE-2025-27612."""
    runtime, id, _ = running
    for user in ("0", "1000"):
        words = ["--cap", "CAP_NET_RAW", "--cap", "CAP_SYS_ADMIN", "--user", user, id]
        text = runtime.call("exec", *words, "cat", "/proc/self/status", check=True).stdout
        sets = dict(line.split(":\t") for line in text.splitlines() if line.startswith("Cap"))
        assert int(sets["CapInh"], 16) == 0
        assert int(sets["CapAmb"], 16) == 0
        assert int(sets["CapBnd"], 16) >> 13 & 1


@pytest.mark.contains("CVE-2022-29162, CVE-2022-27650, CVE-2025-27612: inheritable capabilities")
def test_capabilities_of_spec_are_not_inheritable(runtime: Runtime, tmp_path: Path) -> None:
    runtime.call("spec", cwd=str(tmp_path), check=True)
    sets = json.loads((tmp_path / "config.json").read_text())["process"]["capabilities"]
    assert not sets.get("inheritable")
    assert not sets.get("ambient")


@pytest.mark.contains(
    "escapes by `exec --cgroup`, the sub-cgroup checks of runc and crun of 2026",
    "each name is opened in the container's cgroup, links and `..` are refused",
)
@pytest.mark.parametrize("path", ["../x", "..", "/..", "a/../../x", "/sys/fs/cgroup", "link", "cpu:../x", "a\n"])
def test_cgroups_of_exec(running: tuple[Runtime, str, Path], path: str) -> None:
    """The group of exec lies below that of the container; where a path may be one's, none is there."""
    runtime, id, _ = running
    done = runtime.call("exec", "--cgroup", path, id, "cat", "/proc/self/cgroup")
    assert done.returncode != 0
    assert "cgroup" in done.stderr
    assert done.stdout == ""


@pytest.mark.contains("GHSA-5g49-rx9x-qfc6: slashes in names of cgroup files", "names are checked")
@pytest.mark.parametrize(
    "resources",
    [
        {"hugepageLimits": [{"pageSize": size, "limit": 4096}]}
        for size in ("../../x", "2MB/../../x", "/2MB", "2MB\n", "2MB/..", "", "2MB.max/../x")
    ]
    + [{"unified": {key: "1"}} for key in ("../cgroup.procs", "memory.max/../../x", "/etc/x", "..", "a/b", "memory")]
    + [{"unified": {"memory.max": "1\0"}}],
)
def test_names_of_cgroup_files(refused: Refused, resources: Json) -> None:
    """GHSA-5g49-rx9x-qfc6: what becomes part of a file's name has no slash."""
    assert "resource" in refused({"linux": {"resources": resources}})


@pytest.mark.parametrize("path", ["/../../x", "../x", "a/../../x", "/a/.."])
def test_paths_of_cgroups(refused: Refused, path: str) -> None:
    assert "cgroupsPath" in refused({"linux": {"cgroupsPath": path}})


@pytest.mark.contains(
    "sysctls such as `net/../kernel/core_pattern`",
    "components are checked; opened with `RESOLVE_BENEATH`",
)
@pytest.mark.parametrize(
    "name",
    ["net/../kernel/core_pattern", "net/..", "net.../kernel.core_pattern", "net//../kernel/core_pattern",
     "net.ipv4./././../kernel", "kernel.core_pattern", "kernel/core_pattern", "fs.mqueue/../../kernel/core_pattern",
     "/net/ipv4/ip_forward", "kernel.shm_rmid_forced/../core_pattern", "net", "", "..", "kernel.hostname"],
)  # fmt: skip
def test_sysctls(refused: Refused, name: str) -> None:
    """Only parameters of the container's own namespaces, and nothing that leads elsewhere from there.

    The value is what core_pattern is already: were it written after all, the machine would stay as it is.
    """
    value = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    assert "sysctl" in refused({"linux": {"sysctl": {name: value}}})


@pytest.mark.contains(
    "CVE-2021-43784: a length of 16 bits",
    "lengths have 32 bits, and a program that does not fit is refused",
)
def test_long_values(refused: Refused) -> None:
    """CVE-2021-43784: nothing is cut to 16 bits."""
    path = "/proc/self/ns/" + "./" * 40000 + "net"
    maps = [{"containerID": 2 * n, "hostID": 2 * n, "size": 1} for n in range(4000)]
    everything: tuple[Json, ...] = (
        {"linux": {"namespaces": [{"type": "mount"}, {"type": "network", "path": path}]}},
        {
            "linux": {
                "namespaces": [{"type": "mount"}, {"type": "user"}],
                "uidMappings": maps,
                "gidMappings": maps,
            }
        },
        {"hostname": "h" * 70000},
        {"process": {"cwd": "/" + "d/" * 40000}},
        {"process": {"args": ["/bin/" + "x" * 70000]}},
    )
    for changes in everything:
        refused(changes)


@pytest.mark.parametrize(
    "text",
    ['{"ociVersion": "1.0.2", "root": {"path": "rootfs"}, "root": {"path": "/"}}', "[" * 100000, '{"a": NaN}',
     '{"ociVersion": ' + "9" * 5000 + "}", '{"ociVersion": "\\ud800"}', "", "null", "\ufeff{}", "{}x"],
)  # fmt: skip
def test_bad_json(runtime: Runtime, tmp_path: Path, text: str) -> None:
    """A configuration that is not well formed is an error, in one line, at once."""
    (tmp_path / "config.json").write_text(text, encoding="utf-8")
    done = runtime.call("run", "--bundle", str(tmp_path), runtime.new_id(), timeout=20)
    assert done.returncode != 0
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    assert ("occurs twice in one object" in done.stderr) == ('"root": {"path": "/"}' in text)


@pytest.mark.contains(
    "CVE-2024-3154: annotations that become properties",
    "`features` lists them where they are honoured",
)
def test_features_name_annotations_that_are_the_callers_duty(runtime: Runtime) -> None:
    """CVE-2024-3154."""
    features = json.loads(runtime.call("features", check=True).stdout)
    unsafe = features["potentiallyUnsafeConfigAnnotations"]
    assert "org.systemd.property." in unsafe


def test_signal_of_kill_reaches_only_the_container(running: tuple[Runtime, str, Path], tmp_path: Path) -> None:
    """A pid in state.json that has been reused by another process is not signalled."""
    runtime, id, _ = running
    state = runtime.root / id / "state.json"
    before = state.read_text()
    other = subprocess.Popen(["/bin/sleep", "100"])
    try:
        document = json.loads(before)
        document["pid"] = other.pid
        state.write_text(json.dumps(document))
        runtime.call("kill", id, "KILL")
        assert runtime.call("exec", id, "true").returncode != 0
        assert other.poll() is None
    finally:
        state.write_text(before)
        other.kill()
        other.wait()
    assert runtime.call("exec", id, "true").returncode == 0
