"""`pyrunc doctor`: the host, engines, and containers that do not go on."""

import json
import os
import shutil
import stat
import subprocess
import time
from pathlib import Path

import pytest

from pyrunc.inspect import checks, engines, host_checks
from pyrunc.inspect.checks import Check
from support import IS_ROOT, ROOT, MakeBundle, Runtime


def told(runtime: Runtime, id: str) -> list[dict[str, str]]:
    done = runtime.call("doctor", "--format", "json", id)
    found: list[dict[str, str]] = json.loads(done.stdout)["checks"]
    assert done.returncode == int(any(it["level"] == "error" for it in found))
    return found


def of(found: list[dict[str, str]], topic: str) -> dict[str, str]:
    return next(it for it in found if it["topic"].startswith(topic))


def test_this_host(runtime: Runtime) -> None:
    done = runtime.call("doctor", check=True)
    assert f"Linux {os.uname().release}" in done.stdout
    for topic in ("kernel", "namespaces", "cgroups", "limits", "programs"):
        assert f"\n{topic}:\n" in "\n" + done.stdout
    assert "mount_setattr (for every mount" in done.stdout
    assert runtime.call("doctor", "--format", "xml").returncode == 1


def test_calls_that_are_probed_are_refused_for_their_arguments() -> None:
    for name, arguments, _ in host_checks._CALLS:
        assert host_checks.errno_of(name, arguments) not in (0, host_checks._ENOSYS, host_checks._EPERM), name


def test_a_filter_around_pyrunc_is_told(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_checks, "errno_of", lambda name, _: 38 if name == "mount_setattr" else 22)
    found = [it for it in host_checks._kernel() if it.found.startswith("no mount_setattr")]
    assert [it.level for it in found] == ["error"]
    monkeypatch.setattr(host_checks, "errno_of", lambda name, _: 1 if name == "openat2" else 22)
    found = [it for it in host_checks._kernel() if it.found.startswith("openat2 is refused")]
    assert [it.level for it in found] == ["warning"]


def test_the_worst_decides_and_control_characters_are_harmless() -> None:
    text = checks.write([Check("error", "a", "x\033[2J", "b", "do\nthat"), Check("ok", "a", "fine")], "text")
    assert text == "a:\n  error   x\\x1b[2J (for b)\n          do\n          that\n  ok      fine\n1 error, 1 ok\n"


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """The files of an engine's documentation, as pyrunc's own has them, on a machine without engines."""
    for block, place in (
        ("podman.conf", "etc/containers/containers.conf.d/pyrunc.conf"),
        ("daemon.json", "etc/docker/daemon.json"),
        ("containerd-1.toml", "etc/containerd/config.toml"),
    ):
        file = ROOT / "tests/engines/blocks" / block
        (tmp_path / place).parent.mkdir(parents=True)
        text = file.read_text().replace("/usr/local/bin/pyrunc", str(tmp_path / "bin/pyrunc"))
        (tmp_path / place).write_text(text)
    return tmp_path


def test_engines_that_know_pyrunc(machine: Path) -> None:
    program = machine / "bin/pyrunc"
    missing = [it for it in engines.engine_checks(str(machine)) if str(program) in it.found]
    assert len(missing) == 3
    assert {it.level for it in missing} == {"error"}
    program.parent.mkdir()
    program.write_text("")
    program.chmod(stat.S_IRWXU)
    there = [it for it in engines.engine_checks(str(machine)) if str(program) in it.found]
    assert [it.level for it in there] == ["ok"] * len(missing)


def test_an_engine_that_does_not_and_a_file_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/docker" if name == "docker" else None)
    (found,) = engines.engine_checks(str(tmp_path))
    assert (found.level, found.found) == ("note", "docker does not know pyrunc")
    assert "/etc/docker/daemon.json" in found.remedy
    (tmp_path / "etc/docker").mkdir(parents=True)
    (tmp_path / "etc/docker/daemon.json").write_text("{,}")
    assert [it.level for it in engines.engine_checks(str(tmp_path))] == ["error", "note"]


def test_an_unknown_container(runtime: Runtime) -> None:
    done = runtime.call("doctor", "nobody")
    assert done.returncode == 1
    assert "container does not exist" in done.stderr


@pytest.mark.skipif(not IS_ROOT, reason="needs root")
def test_a_container_that_waits_runs_and_has_ended(runtime: Runtime, bundle: MakeBundle) -> None:
    id = runtime.create(bundle().args("/bin/sleep", "1000"))
    found = told(runtime, id)
    assert of(found, "container")["found"] == f"it waits for `pyrunc start {id}`"
    runtime.call("start", id, check=True)
    found = told(runtime, id)
    assert of(found, "container")["found"] == "it is running"
    process = of(found, "processes")
    assert "first process" in process["found"]
    assert "sleep 1000" in process["found"]
    runtime.call("kill", id, "KILL", check=True)
    end = time.monotonic() + 20
    while runtime.state(id)["status"] != "stopped":
        assert time.monotonic() < end
        time.sleep(0.02)
    assert "has ended" in of(told(runtime, id), "container")["found"]


@pytest.mark.skipif(not IS_ROOT, reason="needs root")
def test_a_create_that_waits_for_its_hook(runtime: Runtime, bundle: MakeBundle) -> None:
    it = bundle({"hooks": {"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "1000"]}]}})
    with subprocess.Popen(runtime.command("create", "--bundle", str(it.path), "slow")) as creating:
        try:
            end = time.monotonic() + 30
            while not any("sleep 1000" in check["found"] for check in _tried(runtime)):
                assert time.monotonic() < end
                time.sleep(0.05)
            found = told(runtime, "slow")
            assert of(found, "container")["found"] == "it is being created"
            assert f"process {creating.pid} is changing it" in of(found, "lock")["found"]
        finally:
            creating.kill()
    runtime.call("delete", "--force", "slow", check=True)


def _tried(runtime: Runtime) -> list[dict[str, str]]:
    return told(runtime, "slow") if (runtime.root / "slow/state.json").exists() else []


@pytest.mark.skipif(not IS_ROOT, reason="needs root")
def test_who_was_creating_it_is_gone(runtime: Runtime) -> None:
    (runtime.root / "half").mkdir(parents=True)
    runtime.root.chmod(0o711)
    found = told(runtime, "half")
    check = of(found, "container")
    assert (check["level"], check["remedy"]) == ("error", "pyrunc delete --force half")


@pytest.mark.guest
def test_limits_that_were_reached(runtime: Runtime, bundle: MakeBundle) -> None:
    resources = {"pids": {"limit": 3}, "cpu": {"quota": 5000, "period": 100000}}
    it = bundle({"linux": {"resources": resources}}).shell("sleep 1000 & while :; do :; done")
    id = runtime.create(it)
    runtime.call("start", id, check=True)
    end = time.monotonic() + 60
    while True:
        found = " ".join(check["found"] for check in told(runtime, id) if check["topic"] == "limits")
        if "periods" in found:
            break
        assert time.monotonic() < end, found
        time.sleep(0.3)
    runtime.call("pause", id, check=True)
    assert of(told(runtime, id), "container")["found"] == "it is frozen"
    runtime.call("resume", id, check=True)
