"""`pyrunc audit`: what gives a container power over its host, and nothing else."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pyrunc.inspect.audit import audit
from pyrunc.inspect.findings import Finding
from pyrunc.inspect.risks import is_credential, is_latest, size_of
from pyrunc.inspect.seccomp_reach import reached
from support import DEFAULT_CONFIG, ROOT, MakeBundle, Runtime, merge

PYRUNC = str(ROOT / ".venv/bin/pyrunc")
TIGHT = {
    "root": {"readonly": True},
    "process": {"user": {"uid": 1000, "gid": 1000}, "capabilities": None},
    "linux": {
        "namespaces": [{"type": it} for it in ("pid", "network", "ipc", "uts", "mount", "cgroup")],
        "resources": {"memory": {"limit": 1 << 28}, "pids": {"limit": 100}},
        "seccomp": {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]},
    },
}


def found(changes: dict[str, Any], tmp_path: Path) -> dict[str, Finding]:
    """Findings by rule, beyond those of a container that is as tight as can be."""
    config = merge(merge(DEFAULT_CONFIG, TIGHT), changes)
    return {it.rule: it for it in audit(config, str(tmp_path))}


def test_a_tight_container_has_no_findings(tmp_path: Path) -> None:
    assert found({}, tmp_path) == {}


def mounts(*more: dict[str, Any]) -> dict[str, Any]:
    return {"mounts": [*DEFAULT_CONFIG["mounts"], *more]}


def bind(source: str, *options: str) -> dict[str, Any]:
    return mounts({"destination": "/m", "source": source, "type": "bind", "options": ["rbind", *options]})


@pytest.mark.parametrize(
    ("changes", "level", "rule", "said"),
    [
        ({"linux": {"namespaces": [{"type": it} for it in ("pid", "ipc", "uts", "mount", "cgroup")]}}, "warning",
         "host-namespace", "shares the host's network namespace"),
        ({"process": {"user": {"uid": 0}}}, "warning", "root", "without a user namespace"),
        ({"process": {"capabilities": {"effective": ["CAP_SYS_ADMIN"]}, "user": {"uid": 0}}}, "error", "capability",
         "CAP_SYS_ADMIN: mounts"),
        ({"process": {"noNewPrivileges": False}}, "note", "new-privileges", "set-user-ID"),
        ({"linux": {"seccomp": None}}, "warning", "no-seccomp", "every system call"),
        ({"linux": {"seccomp": {"syscalls": [{"names": ["bpf"], "action": "SCMP_ACT_ALLOW"}]}}}, "warning",
         "weak-seccomp", "bpf"),
        ({"linux": {"readonlyPaths": []}}, "warning", "writable-proc", "/proc/sys"),
        ({"linux": {"maskedPaths": []}}, "warning", "readable-proc", "/proc/kcore"),
        (mounts({"destination": "/sys", "type": "sysfs"}), "warning", "writable-sys", "/sys may be written"),
        (bind("/var/run/docker.sock"), "error", "engine-socket", "root on the host"),
        (bind("/"), "error", "host-path", "read and written"),
        (bind("/etc", "ro"), "warning", "host-path", "of the host may be read:"),
        (bind("/srv", "rshared"), "warning", "shared-mount", "appear on the host"),
        ({"linux": {"devices": [{"path": "/dev/sda", "type": "b", "major": 8, "minor": 0}]}}, "error", "device",
         "a disk of the host"),
        ({"linux": {"resources": {"devices": [{"allow": True, "access": "rwm"}]}}}, "error", "device", "every device"),
        ({"linux": {"resources": {"memory": None}}}, "note", "no-limit", "no limit of memory:"),
        ({"process": {"env": ["DB_PASSWORD=hunter2"]}}, "warning", "credential", "DB_PASSWORD"),
        ({"process": {"args": ["/usr/bin/supervisord"]}}, "note", "several-processes", "supervisord"),
        ({"root": {"readonly": False}}, "note", "writable-root", "may be written"),
        ({"annotations": {"io.kubernetes.cri.image-name": "nginx:latest"}}, "note", "latest-tag", "nginx:latest"),
    ],
)  # fmt: skip
def test_each_finding(changes: dict[str, Any], level: str, rule: str, said: str, tmp_path: Path) -> None:
    it = found(changes, tmp_path)[rule]
    assert it.level == level
    assert said in it.message
    assert it.pointer.startswith("/")


def test_a_secret_is_not_printed(tmp_path: Path) -> None:
    assert "hunter2" not in str(found({"process": {"env": ["DB_PASSWORD=hunter2"]}}, tmp_path))


@pytest.mark.parametrize(
    ("name", "value", "is_one"),
    [
        ("MYSQL_ROOT_PASSWORD", "x", True), ("AWS_SECRET_ACCESS_KEY", "x", True), ("GITHUB_TOKEN", "x", True),
        ("DATABASE_URL", "postgres://me:secret@db/x", True), ("PASSWORD_FILE", "/run/secrets/p", False),
        ("DATABASE_URL", "postgres://db/x", False), ("SSH_AUTH_SOCK", "/run/agent", False), ("PATH", "/bin", False),
        ("KEYBOARD", "us", False), ("MYSQL_ALLOW_EMPTY_PASSWORD", "yes", False), ("TOKEN", "", False),
        ("AUTHOR", "me", False),
    ],
)  # fmt: skip
def test_credentials(name: str, value: str, is_one: bool) -> None:
    assert is_credential(name, value) == is_one


def test_tags() -> None:
    digest = "x@sha256:" + "0" * 64
    assert [is_latest(it) for it in ("a", "a:latest", "h:5000/a", "a:1.2", digest)] == [True, True, True, False, False]


def test_engines_files_are_no_risk(tmp_path: Path) -> None:
    engine = "/var/lib/docker/containers/0/resolv.conf"
    assert found(mounts({"destination": "/etc/resolv.conf", "source": engine, "type": "bind", "options": ["rbind"]}),
                 tmp_path) == {}  # fmt: skip


def test_the_filter_itself_is_asked() -> None:
    # ret ALLOW; ret ERRNO(1)
    allow, deny = (b"\x06\0\0\0" + it.to_bytes(4, "little") for it in (0x7FFF0000, 0x00050001))
    assert "bpf" in reached(allow)
    assert reached(deny) == []


def test_size(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/a").write_bytes(b"x" * 1000)
    os.link(tmp_path / "d/a", tmp_path / "b")
    (tmp_path / "c").symlink_to("/")
    assert size_of(str(tmp_path)) == (1000, True)


@pytest.mark.usefixtures("needs_root")
def test_a_running_container_and_its_drift(runtime: Runtime, bundle: MakeBundle) -> None:
    made = bundle().args("/bin/sleep", "100")
    id = runtime.create(made)
    runtime.call("start", id, check=True)
    done = runtime.call("audit", "--format", "json", id)
    assert [it for it in json.loads(done.stdout)["findings"] if it["rule"] == "drift"] == []
    pid = json.loads(runtime.call("state", id, check=True).stdout)["pid"]
    enter = ["nsenter", "-t", str(pid), "-m", "/bin/busybox", "mount", "-t", "tmpfs", "x", "/tmp"]
    if subprocess.run(enter, capture_output=True, check=False, timeout=60).returncode:
        pytest.skip("nsenter cannot mount in the container")
    findings = json.loads(runtime.call("audit", "--format", "json", id).stdout)["findings"]
    assert [it["message"] for it in findings if it["rule"] == "drift"] == [
        "/tmp is mounted, and is not in the configuration"
    ]
