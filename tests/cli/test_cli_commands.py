"""What each command makes of its command line; the work itself is replaced by a recorder."""

import json
import os
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyrunc import cli
from pyrunc.errors import Error
from pyrunc.options import Globals
from pyrunc.setup.request import CreateRequest, ExecRequest

Recorded = list[tuple[Any, ...]]
Replace = Callable[..., Recorded]


@pytest.fixture
def replace(monkeypatch: pytest.MonkeyPatch) -> Replace:
    """Put a recorder in the place of a function of pyrunc.container, or of a module in another package."""

    def do(module: str, function: str, result: object = 0) -> Recorded:
        calls: Recorded = []

        def record(globals_: Globals, *args: Any) -> object:
            calls.append(args)
            if isinstance(result, Exception):
                raise result
            return result

        fake = types.ModuleType(module)
        setattr(fake, function, record)
        name = module if "." in module else f"container.{module}"
        monkeypatch.setitem(sys.modules, f"pyrunc.{name}", fake)
        return calls

    return do


def fields(request: CreateRequest | ExecRequest) -> dict[str, Any]:
    """What a request asks for beyond the defaults."""
    if isinstance(request, CreateRequest):
        plain: CreateRequest | ExecRequest = CreateRequest(request.id, request.bundle)
    else:
        plain = ExecRequest(request.id, request.args)
    return {
        name: getattr(request, name) for name in request.__slots__ if getattr(request, name) != getattr(plain, name)
    }


def test_create(replace: Replace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    calls = replace("create", "create")
    words = [
        "create",
        "--bundle",
        "b",
        "--pid-file",
        "p",
        "--console-socket",
        "c.sock",
        "--no-pivot",
    ]
    words += ["--no-new-keyring", "--preserve-fds", "2", "--pidfd-socket=d.sock", "id"]
    assert cli.main([*words, "--trace", "t"]) == 0
    ((request,),) = calls
    assert (request.id, request.bundle) == ("id", f"{tmp_path}/b")
    assert fields(request) == {
        "console_socket": "c.sock",
        "pidfd_socket": "d.sock",
        "pid_file": f"{tmp_path}/p",
        "no_pivot": True,
        "no_new_keyring": True,
        "preserve_fds": 2,
        "trace": f"{tmp_path}/t",
        "detach": True,
    }


def test_create_takes_the_current_directory(replace: Replace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    calls = replace("create", "create")
    assert cli.main(["create", "id"]) == 0
    assert calls[0][0].bundle == str(tmp_path)


def test_run(replace: Replace) -> None:
    calls = replace("run", "run", 42)
    assert cli.main(["run", "-b", "/b", "id", "-d", "--keep", "--no-subreaper"]) == 42
    ((request,),) = calls
    assert (request.id, request.bundle) == ("id", "/b")
    assert fields(request) == {"detach": True, "keep": True, "no_subreaper": True}


@pytest.mark.parametrize("spelling", ["box", "./box/", "../here/box", "ABSOLUTE"])
def test_run_of_a_bundle(spelling: str, replace: Replace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "here"
    (here / "box").mkdir(parents=True)
    (here / "box/config.json").touch()
    monkeypatch.chdir(here)
    calls = replace("run", "run")
    assert cli.main(["run", spelling.replace("ABSOLUTE", f"{here}/box")]) == 0
    assert (calls[0][0].id, calls[0][0].bundle) == ("box", f"{here}/box")


@pytest.mark.parametrize("why", ["bundle given", "config.json here", "no config.json there"])
def test_run_of_an_id_that_is_also_a_directory(
    why: str, replace: Replace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "box").mkdir()
    if why != "no config.json there":
        (tmp_path / "box/config.json").touch()
    if why == "config.json here":
        (tmp_path / "config.json").touch()
    monkeypatch.chdir(tmp_path)
    calls = replace("run", "run")
    flags = ["-b", "/b"] if why == "bundle given" else []
    assert cli.main(["run", *flags, "box"]) == 0
    bundle = "/b" if why == "bundle given" else str(tmp_path)
    assert (calls[0][0].id, calls[0][0].bundle) == ("box", bundle)


def test_start(replace: Replace) -> None:
    calls = replace("start", "start")
    assert cli.main(["start", "a"]) == 0
    assert cli.main(["start", "--trace", "/t", "b"]) == 0
    assert calls == [("a", ""), ("b", "/t")]


def test_exec(replace: Replace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    calls = replace("exec", "exec_", 7)
    words = ["exec", "--cwd", "/w", "-e", "A=1", "--env", "B=2", "-t", "-u", "1:2", "-g", "3"]
    words += ["-g", "4", "-d", "--pid-file", "p", "--process-label", "l", "--apparmor", "a"]
    words += ["--no-new-privs", "-c", "CAP_KILL", "--preserve-fds", "1", "--cgroup", "x"]
    words += ["--ignore-paused", "--console-socket", "c", "--pidfd-socket", "d"]
    assert cli.main([*words, "id", "ls", "-t", "--", "-x"]) == 7
    ((request,),) = calls
    assert (request.id, request.args) == ("id", ["ls", "-t", "--", "-x"])
    assert fields(request) == {
        "cwd": "/w",
        "env": ["A=1", "B=2"],
        "tty": True,
        "user": "1:2",
        "additional_gids": [3, 4],
        "detach": True,
        "pid_file": f"{tmp_path}/p",
        "process_label": "l",
        "apparmor": "a",
        "no_new_privs": True,
        "caps": ["CAP_KILL"],
        "preserve_fds": 1,
        "cgroup": ["x"],
        "ignore_paused": True,
        "console_socket": "c",
        "pidfd_socket": "d",
    }


def test_exec_of_a_process_file(replace: Replace) -> None:
    calls = replace("exec", "exec_")
    words = ["exec", "--process", "/dev/fd/5", "--detach", "--pid-file", "/p", "--tty=false", "id"]
    assert cli.main(words) == 0
    assert fields(calls[0][0]) == {
        "process": "/dev/fd/5",
        "detach": True,
        "pid_file": "/p",
        "tty": False,
    }


@pytest.mark.parametrize(
    ("command", "module", "function", "status", "prefix"),
    [
        ("create", "create", "create", 1, "pyrunc create failed: "),
        ("run", "run", "run", 1, "pyrunc run failed: "),
        ("exec", "exec", "exec_", 255, "exec failed: "),
        ("start", "start", "start", 1, ""),
    ],
)
def test_errors_say_which_command(
    command: str,
    module: str,
    function: str,
    status: int,
    prefix: str,
    replace: Replace,
    capfd: pytest.CaptureFixture[str],
) -> None:
    replace(module, function, Error("it is so", hint="do this"))
    words = ["id", "true"] if command == "exec" else ["id"]
    assert cli.main([command, *words]) == status
    log, hint = capfd.readouterr().err.splitlines()
    assert log.endswith(f'level=error msg="{prefix}it is so"')
    assert hint == "hint: do this"


def test_plan(replace: Replace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    calls = replace("container.show_plan", "show")
    assert cli.main(["plan", "b"]) == 0
    assert cli.main(["plan", "/b", "--format", "json"]) == 0
    assert calls == [(f"{tmp_path}/b", "text"), ("/b", "json")]


@pytest.mark.parametrize("command", ["checkpoint", "restore"])
def test_checkpoint_and_restore(command: str, replace: Replace) -> None:
    calls = replace(f"checkpoint.{command}", command)
    assert cli.main([command, "--image-path", "/i", "--empty-ns", "network", "id"]) == 0
    assert calls == [("id", {"image-path": "/i", "empty-ns": ["network"]})]


# -- spec --------------------------------------------------------------------------------------


def test_spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    from pyrunc.config.load import load_config

    monkeypatch.chdir(tmp_path)
    (tmp_path / "rootfs").mkdir()
    assert cli.main(["spec"]) == 0
    assert capfd.readouterr() == ("", "")
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["process"]["args"] == ["sh"]
    assert "gid=5" in json.dumps(config["mounts"])
    assert load_config(str(tmp_path))["process"]["terminal"] is True
    before = (tmp_path / "config.json").read_bytes()
    assert cli.main(["spec"]) == 1
    assert "File config.json exists. Remove it first" in capfd.readouterr().err
    assert (tmp_path / "config.json").read_bytes() == before


def test_spec_for_a_user(tmp_path: Path) -> None:
    from pyrunc.config.load import load_config

    (tmp_path / "rootfs").mkdir()
    assert cli.main(["spec", "--rootless", "-b", str(tmp_path)]) == 0
    load_config(str(tmp_path))
    config = json.loads((tmp_path / "config.json").read_text())
    linux = config["linux"]
    kinds = [entry["type"] for entry in linux["namespaces"]]
    assert "user" in kinds
    assert "network" not in kinds
    assert linux["uidMappings"] == [{"containerID": 0, "hostID": os.geteuid(), "size": 1}]
    assert linux["gidMappings"] == [{"containerID": 0, "hostID": os.getegid(), "size": 1}]
    assert "resources" not in linux
    mounts = {entry["destination"]: entry for entry in config["mounts"]}
    assert mounts["/sys"]["type"] == "none"
    assert "rbind" in mounts["/sys"]["options"]
    assert "gid=5" not in mounts["/dev/pts"]["options"]
    assert "/sys/fs/cgroup" in mounts


def test_spec_where_it_cannot_be_written(tmp_path: Path, capfd: Any) -> None:
    assert cli.main(["spec", "-b", str(tmp_path / "none")]) == 1
    assert "none/config.json: no such file or directory" in capfd.readouterr().err


def test_features_is_json(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["features"]) == 0
    features = json.loads(capfd.readouterr().out)
    assert {"ociVersionMin", "ociVersionMax", "hooks", "mountOptions", "linux"} <= features.keys()
