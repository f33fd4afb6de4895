"""The document of `pyrunc features`: its form, its order, and its truth on this machine."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest

from pyrunc.config.annotation_names import TABLE
from pyrunc.config.schema import schemas
from pyrunc.config.strict import dumps
from pyrunc.container.features import features
from pyrunc.errors import Error
from pyrunc.plan.filesystem.mountoptions import known_options
from pyrunc.seccomp import cache, filter_for
from pyrunc.seccomp import compile as compiler
from pyrunc.seccomp.names import kernel_version
from support import ROOT

pytest.importorskip("pyseccomp")


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return features()


def test_it_satisfies_the_schema(document: dict[str, Any]) -> None:
    everything = schemas.bundle(schemas.load_all(schemas.schema_dir()), "features.json")
    jsonschema.Draft202012Validator(everything).validate(document)
    assert json.loads(dumps(document)) == document


def test_the_schema_would_find_a_mistake(document: dict[str, Any]) -> None:
    everything = schemas.bundle(schemas.load_all(schemas.schema_dir()), "features.json")
    wrong = {**document, "linux": {**document["linux"], "namespaces": ["mnt"]}}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(everything).validate(wrong)


def test_members_and_their_order(document: dict[str, Any]) -> None:
    assert list(document) == [
        *("ociVersionMin", "ociVersionMax", "hooks", "mountOptions", "linux"),
        *("annotations", "potentiallyUnsafeConfigAnnotations"),
    ]
    assert list(document["linux"]) == [
        *("namespaces", "capabilities", "cgroup", "seccomp", "apparmor", "selinux", "intelRdt"),
        *("memoryPolicy", "mountExtensions", "netDevices"),
    ]
    assert list(document["linux"]["cgroup"]) == ["v1", "v2", "systemd", "systemdUser", "rdma"]
    assert list(document["linux"]["seccomp"]) == [
        *("enabled", "actions", "operators", "archs", "knownFlags", "supportedFlags"),
    ]
    assert (document["ociVersionMin"], document["ociVersionMax"]) == ("1.0.0", "1.3.0")
    assert document["hooks"] == [
        *("prestart", "createRuntime", "createContainer"),
        *("startContainer", "poststart", "poststop"),
    ]


def test_lists_are_sorted_and_without_doubles(document: dict[str, Any]) -> None:
    seccomp = document["linux"]["seccomp"]
    for words in (
        document["mountOptions"],
        document["linux"]["namespaces"],
        document["linux"]["memoryPolicy"]["modes"],
        document["linux"]["memoryPolicy"]["flags"],
        *(seccomp[key] for key in seccomp if key != "enabled"),
    ):
        assert words == sorted(set(words))


def test_namespaces_are_the_kernels(document: dict[str, Any]) -> None:
    names = {"mount": "mnt", "network": "net"}
    for kind in document["linux"]["namespaces"]:
        assert os.path.exists(f"/proc/self/ns/{names.get(kind, kind)}")
    assert {"mount", "pid", "ipc", "uts"} <= set(document["linux"]["namespaces"])


def test_capabilities_end_with_the_kernels_last(document: dict[str, Any]) -> None:
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    capabilities = document["linux"]["capabilities"]
    assert capabilities[0] == "CAP_CHOWN"
    assert len(capabilities) == min(last, 40) + 1


def test_what_engines_ask_for(document: dict[str, Any]) -> None:
    """containerd: "rro", and idmap together with user namespaces."""
    assert "rro" in document["mountOptions"]
    assert document["linux"]["mountExtensions"]["idmap"]["enabled"] is True
    assert document["linux"]["cgroup"]["v2"] is True
    assert set(document["mountOptions"]) == set(known_options())


def test_seccomp_names_work(document: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every action, operator and flag that is listed compiles."""
    monkeypatch.setattr(cache, "SYSTEM", str(tmp_path))
    seccomp = document["linux"]["seccomp"]
    for action in seccomp["actions"]:
        for operator in seccomp["operators"]:
            condition = {"index": 1, "op": operator, "value": 1, "valueTwo": 2}
            rule = {"names": ["mkdir", "mkdirat"], "action": action, "args": [condition]}
            default = "SCMP_ACT_LOG" if action == "SCMP_ACT_ALLOW" else "SCMP_ACT_ALLOW"
            assert compiler.program({"defaultAction": default, "syscalls": [rule]}, "")
    assert set(seccomp["supportedFlags"]) <= set(seccomp["knownFlags"])
    for flag in seccomp["supportedFlags"]:
        filter_for({"defaultAction": "SCMP_ACT_ALLOW", "flags": [flag]})
    machine = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}[os.uname().machine]
    assert machine in seccomp["archs"]


def test_old_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a kernel does not have is not listed."""
    old_release = SimpleNamespace(release="5.10.0-26-amd64", machine=os.uname().machine)
    monkeypatch.setattr(os, "uname", lambda: old_release)
    old = features()
    assert not {"rro", "idmap", "nosymfollow"} & set(old["mountOptions"])
    assert {"ro", "rbind", "rprivate", "relatime", "remount"} <= set(old["mountOptions"])
    assert old["linux"]["mountExtensions"]["idmap"]["enabled"] is False
    assert "MPOL_WEIGHTED_INTERLEAVE" not in old["linux"]["memoryPolicy"]["modes"]
    flags = old["linux"]["seccomp"]
    assert set(flags["knownFlags"]) - set(flags["supportedFlags"]) == {"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"}


def test_without_libseccomp(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(pointer: str = "") -> None:
        raise Error("seccomp: cannot load libseccomp")

    monkeypatch.setattr(compiler, "binding", missing)
    document = features()
    assert document["linux"]["seccomp"] == {"enabled": False}
    assert "io.github.seccomp.libseccomp.version" not in document["annotations"]


@pytest.mark.parametrize(
    ("release", "version"),
    [
        ("6.18.44-fc-v657", (6, 18)),
        ("5.10.0-26-amd64", (5, 10)),
        ("6.1-rc1", (6, 1)),
        ("7", (7, 0)),
        ("6.12+deb13", (6, 12)),
    ],
)
def test_kernel_versions(release: str, version: tuple[int, int]) -> None:
    assert kernel_version(release) == version


def test_the_command_prints_it(document: dict[str, Any]) -> None:
    root = str(Path(__file__).parents[2])
    result = subprocess.run(
        [sys.executable, "-m", "pyrunc", "features"],
        check=True,
        capture_output=True,
        text=True,
        cwd=root,
    )
    assert json.loads(result.stdout) == document
    assert result.stdout.startswith('{\n    "ociVersionMin": "1.0.0",\n')


@pytest.mark.contains("CVE-2024-3154: annotations that become properties")
def test_every_unsafe_annotation_is_listed(document: dict[str, Any]) -> None:
    """An engine that filters by the list lets through what is not on it."""
    listed = document["potentiallyUnsafeConfigAnnotations"]
    assert listed == sorted(name for name, unsafe, _ in TABLE if unsafe)
    for name in ("run.oci.seccomp_bpf_data", "run.oci.hooks.stdout", "run.oci.keep_original_groups"):
        assert name in listed


def test_no_name_of_an_annotation_stands_outside_of_the_table() -> None:
    for file in (ROOT / "pyrunc").rglob("*.py"):
        if file.name == "annotation_names.py":
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " not in node.value:
                assert not node.value.startswith(("run.oci.", "org.criu", "org.systemd")), f"{file}:{node.lineno}"


def test_the_manual_names_every_annotation() -> None:
    page = (ROOT / "man/pyrunc-create.8").read_text().replace("\\-", "-")
    for name, _, _ in TABLE:
        assert name in page
