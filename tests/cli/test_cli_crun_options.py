"""Options that crun has and runc has not: podman and scripts pass them."""

import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrunc import cli, logservice
from pyrunc.config.load import load_config
from pyrunc.errors import ConfigError
from pyrunc.log import log
from support import Bundle, MakeBundle, Runtime, unique_id


@pytest.fixture(autouse=True)
def _the_log_as_it_was() -> Iterator[None]:
    before = (log.fd, log.json, log.debug_on, log.warning_on, log.service)
    yield
    log.fd, log.json, log.debug_on, log.warning_on, log.service = before


# -- --config ---------------------------------------------------------------------------------


def elsewhere(bundle: MakeBundle) -> tuple[Bundle, Path]:
    """A bundle whose config.json is another's, and a file with its own; only that one writes "hello"."""
    it = bundle({"process": {"args": ["/bin/echo", "hello"]}})
    file = it.path / "sub" / "other.json"
    file.parent.mkdir()
    (it.path / "config.json").rename(file)
    (it.path / "config.json").write_text("{}")
    return it, file


@pytest.mark.usefixtures("needs_root")
def test_a_configuration_beside_the_bundles(runtime: Runtime, bundle: MakeBundle) -> None:
    it, file = elsewhere(bundle)
    for flags in (["--config", "sub/other.json"], ["-f", str(file)], [f"--config={file}"]):
        done = runtime.call("run", *flags, "with-config", cwd=it.path)
        assert (done.returncode, done.stdout) == (0, "hello\n"), done.stderr


@pytest.mark.usefixtures("needs_root")
def test_the_configurations_name_counts_from_where_one_is(runtime: Runtime, bundle: MakeBundle) -> None:
    it, file = elsewhere(bundle)
    done = runtime.call("run", "-b", str(it.path), "-f", "other.json", "with-config", cwd=file.parent)
    assert (done.returncode, done.stdout) == (0, "hello\n"), done.stderr


@pytest.mark.usefixtures("needs_root")
def test_what_comes_later_needs_the_file_no_more(runtime: Runtime, bundle: MakeBundle) -> None:
    it, file = elsewhere(bundle)
    (it.path / "config.json").unlink()
    text = file.read_text().replace("/bin/echo", "/bin/sleep").replace('"hello"', '"100"')
    file.write_text(text)
    id = runtime.create(it, "--no-subreaper", "-f", str(file))
    file.unlink()
    runtime.call("start", id, check=True)
    done = runtime.call("exec", id, "/bin/echo", "there", check=True)
    assert done.stdout == "there\n"


def test_a_configuration_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(str(tmp_path), f"{tmp_path}/nope.json")
    assert str(caught.value) == f"JSON specification file {tmp_path}/nope.json not found"


# -- --regex ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("needs_root")
def test_kill_and_delete_by_expression(runtime: Runtime, bundle: MakeBundle) -> None:
    it = bundle({"process": {"args": ["/bin/sleep", "100"]}})
    # The runtime's state directory is the test's own, cgroups are not.
    tag = unique_id()
    one, two, lonely = ids = [f"group-{tag}-1", f"group-{tag}-2", f"lonely-{tag}"]
    for id in ids:
        runtime.create(it, id=id)
        runtime.call("start", id, check=True)
    refused = runtime.call("delete", "--regex", "^group-")
    assert refused.returncode == 1
    assert f"{one}: cannot delete container" in refused.stderr
    assert f"{two}: cannot delete container" in refused.stderr
    runtime.call("kill", "-r", "^gr.*-[12]$", "KILL", check=True)
    runtime.call("delete", "-f", "-r", "group", check=True)
    assert runtime.call("list", "-q", check=True).stdout == f"{lonely}\n"
    assert '"status": "running"' in runtime.call("state", lonely, check=True).stdout
    runtime.call("delete", "--regex", "nothing-like-this", check=True)


def test_an_expression_that_is_none(root_dir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--root", str(root_dir), "delete", "--regex", "("]) == 1
    assert "invalid regular expression '('" in capfd.readouterr().err


# -- spec -------------------------------------------------------------------------------------


def test_spec_to_another_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["spec", "-f", "mine.json"]) == 0
    assert os.listdir(tmp_path) == ["mine.json"]
    assert cli.main(["spec", "--file=mine.json"]) == 1
    assert "File mine.json exists. Remove it first" in capfd.readouterr().err


# -- --cgroup-manager --------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["", "none", "Systemd"])
def test_an_unknown_cgroup_manager(value: str, root_dir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--root", str(root_dir), "--cgroup-manager", value, "list"]) == 1
    assert f"invalid cgroup-manager: {value}" in capfd.readouterr().err


@pytest.mark.usefixtures("needs_root")
def test_without_cgroups_the_container_stays_in_its_callers(runtime: Runtime, bundle: MakeBundle) -> None:
    it = bundle(
        {
            "process": {"args": ["/bin/cat", "/proc/self/cgroup"]},
            "linux": {"cgroupsPath": "/pyrunc-disabled", "resources": {"pids": {"limit": 5}}},
        }
    )
    runtime.flags = ["--cgroup-manager=disabled"]
    done = runtime.run(it, check=True)
    assert done.stdout == Path("/proc/self/cgroup").read_text()


@pytest.mark.guest
@pytest.mark.parametrize(
    ("manager", "path", "where"),
    [
        ("cgroupfs", "/pyrunc-named", "0::/pyrunc-named"),
        ("systemd", "system.slice:pyrunc:named", "0::/system.slice/pyrunc-named.scope"),
    ],
)
def test_the_manager_that_is_named_makes_the_cgroup(
    manager: str, path: str, where: str, runtime: Runtime, bundle: MakeBundle
) -> None:
    it = bundle({"process": {"args": ["/bin/cat", "/proc/self/cgroup"]}, "linux": {"cgroupsPath": path}})
    runtime.flags = ["--cgroup-manager", manager]
    assert runtime.run(it, check=True).stdout.strip() == where


# -- the log ----------------------------------------------------------------------------------


def test_levels_of_the_log(capfd: pytest.CaptureFixture[str]) -> None:
    for level, expected in (
        ("error", ["error"]),
        ("warning", ["warning", "error"]),
        ("debug", ["debug", "warning", "error"]),
    ):
        log.setup(None, "text", level)
        log.debug("d")
        log.warning("w")
        log.error("e")
        lines = capfd.readouterr().err.splitlines()
        assert [line.split("level=")[1].split()[0] for line in lines] == expected


def test_an_unknown_level(root_dir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--root", str(root_dir), "--log-level=loud", "list"]) == 1
    assert "invalid log-level: loud" in capfd.readouterr().err


def test_a_log_file_with_its_kind(tmp_path: Path, root_dir: Path) -> None:
    file = tmp_path / "log"
    assert cli.main(["--root", str(root_dir), f"--log=file:{file}", "state", "x"]) == 1
    assert 'level=error msg="container does not exist"' in file.read_text()


def test_a_kind_of_log_that_there_is_not(root_dir: Path) -> None:
    assert cli.main(["--root", str(root_dir), "--log=invalid:/path", "list"]) == 1


@pytest.mark.parametrize("kind", ["journald", "syslog"])
def test_messages_to_a_service(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    path = f"{tmp_path}/socket"
    monkeypatch.setattr(logservice, "JOURNAL" if kind == "journald" else "SYSLOG", path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(path)
        log.setup(f"{kind}:mine", "text", "warning")
        log.debug("not this")
        log.warning("two\nlines")
        server.settimeout(5)
        message = server.recv(4096)
        log.error("bad")
        last = server.recv(4096)
    if kind == "journald":
        text = b"two\nlines"
        assert message == (
            b"PRIORITY=4\nSYSLOG_IDENTIFIER=mine\nMESSAGE\n" + struct.pack("<Q", len(text)) + text + b"\n"
        )
        assert last.startswith(b"PRIORITY=3\n")
    else:
        assert message == b"<28>mine[%d]: two\nlines" % os.getpid()
        assert last.startswith(b"<27>mine[")
    assert capfd.readouterr().err == "bad\n"


def test_a_service_that_does_not_listen(
    tmp_path: Path,
    root_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(logservice, "JOURNAL", f"{tmp_path}/nobody")
    assert cli.main(["--root", str(root_dir), "--log=journald:", "list"]) == 1
    assert f"open log file {tmp_path}/nobody" in capfd.readouterr().err
