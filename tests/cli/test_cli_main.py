"""The program as its callers see it: help, versions, exit statuses, texts, the log."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrunc import SPEC_VERSION, __version__, cli
from pyrunc.arguments import Options
from pyrunc.errors import Error
from pyrunc.log import log
from pyrunc.options import DEFAULT_ROOT, Globals, absolute, default_root
from support import ROOT

PROGRAM = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from pyrunc.cli import main
sys.exit(main())
"""


def call(*words: str, **settings: object) -> subprocess.CompletedProcess[str]:
    """Call pyrunc in a process of its own, as the launcher does."""
    done = subprocess.run(  # type: ignore[call-overload]
        [sys.executable, "-I", "-S", "-c", PROGRAM, *words],
        **{"check": False, "text": True, "capture_output": True, "timeout": 30, **settings},
    )
    result: subprocess.CompletedProcess[str] = done
    return result


@pytest.fixture(autouse=True)
def _the_log_as_it_was() -> Iterator[None]:
    before = (log.fd, log.json, log.debug_on, log.warning_on, log.service)
    yield
    if log.fd != before[0] and log.service is None:
        os.close(log.fd)
    log.fd, log.json, log.debug_on, log.warning_on, log.service = before


@pytest.fixture
def root(root_dir: Path) -> str:
    """An empty state directory."""
    return str(root_dir)


# -- help and version --------------------------------------------------------------------------


@pytest.mark.parametrize("flag", ["-h", "--help"])
@pytest.mark.parametrize("name", cli.COMMANDS)
def test_help_of_a_command(name: str, flag: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main([name, flag]) == 0
    out, err = capfd.readouterr()
    lines = out.splitlines()
    assert lines[0] == "NAME:"
    assert re.match(rf"   pyrunc {name} - \w", lines[1])
    assert "USAGE:" in lines
    assert err == ""
    for flag_ in cli.load(name).COMMAND.flags:
        assert not flag_.help or f"--{flag_.names[0]}" in out


@pytest.mark.parametrize("words", [["-h"], ["--help"], ["help"], ["h"], []])
def test_help_of_the_program(words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 0
    out = capfd.readouterr().out
    lines = out.splitlines()
    assert lines[0] == "NAME:"
    assert "pyrunc - Open Container Initiative runtime" in lines[1]
    for name in cli.COMMANDS:
        assert f"\n   {name} " in out


def test_help_command(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["help", "create"]) == 0
    assert "   pyrunc create - " in capfd.readouterr().out


@pytest.mark.parametrize("flag", ["-v", "--version"])
def test_version(flag: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main([flag]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0] == f"pyrunc version {__version__}"
    assert lines[1].startswith("commit: ")
    assert lines[2] == f"spec: {SPEC_VERSION}"
    assert lines[3] == "build: none, from the sources"


# -- errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["foo"], ["foo", "-h"], ["help", "foo"], ["__init__"]])
def test_unknown_command(words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 3
    out, err = capfd.readouterr()
    assert out == ""
    asked = next(word for word in words if word != "help")
    assert f"No help topic for '{asked}'" in err


@pytest.mark.parametrize(
    ("words", "banner", "message"),
    [
        (["run"], "Incorrect Usage.", '"run" requires exactly 1 argument(s)'),
        (["run", "a", "b"], "Incorrect Usage.", '"run" requires exactly 1 argument(s)'),
        (["kill"], "Incorrect Usage.", '"kill" requires a minimum of 1 argument(s)'),
        (["exec"], "Incorrect Usage.", '"exec" requires a minimum of 1 argument(s)'),
        (["create", "-foo", "x"], "Incorrect Usage: flag", "flag provided but not defined: -foo"),
        (
            ["restore", "--lsm-mount-context"],
            "Incorrect Usage: flag",
            "flag needs an argument: -lsm-mount-context",
        ),
        (["--bar"], "Incorrect Usage: flag", "flag provided but not defined: -bar"),
    ],
)
def test_wrong_usage(words: list[str], banner: str, message: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 1
    out, err = capfd.readouterr()
    assert out.startswith(banner)
    assert "\nNAME:\n   pyrunc" in out
    assert message in err.replace('\\"', '"')
    assert "level=error" in err


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["state", "nope"], 1),
        (["kill", "nope"], 1),
        (["delete", "nope"], 1),
        (["exec", "nope"], 255),
        (["pause", "nope"], 1),
        (["resume", "nope"], 1),
        (["ps", "nope"], 1),
        (["update", "--memory", "1m", "nope"], 1),
    ],
)
def test_missing_container(words: list[str], status: int, root: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--root", root, *words]) == status
    out, err = capfd.readouterr()
    assert out == ""
    assert "container does not exist" in err


def test_forced_delete_of_a_missing_container(root: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--root", root, "delete", "--force", "nope"]) == 0
    assert cli.main(["--root", root + "/none", "delete", "-f", "nope"]) == 0
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("id", "message"),
    [
        ("", "container id cannot be empty"),
        (".", "invalid container ID format"),
        ("..", "invalid container ID format"),
        ("a b", "invalid container ID format"),
        ("this/is/invalid", "invalid character"),
        ("a\n", "invalid container ID format"),
        ("\u00e4", "invalid container ID format"),
        ("x" * 256, "invalid container ID format"),
    ],
)
@pytest.mark.parametrize("command", ["state", "kill"])
def test_bad_id(command: str, id: str, message: str, root: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--root", root, command, id]) == 1
    assert message in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--log-format", "xml", "state", "x"], "invalid log-format: xml"),
        (["--rootless", "perhaps", "state", "x"], "--rootless"),
        (["list", "-f", "xx"], "invalid format option"),
        (["ps", "-f", "xx", "x"], "invalid format option"),
        (["plan", "--format", "xx", "x"], "invalid format option"),
        (["exec", "-g", "x", "id", "true"], "--additional-gids"),
        (["exec", "-g", "4294967295", "id", "true"], "--additional-gids"),
        (["--root", "/nonexistent/x", "list"], "/nonexistent/x does not exist"),
        (["--log", "/nonexistent/x", "state", "x"], "/nonexistent/x: no such file or directory"),
    ],
)
def test_bad_values(words: list[str], message: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) in (1, 255)
    assert message in capfd.readouterr().err


def test_create_and_exec_say_what_failed(root: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--root", root, "exec", "nope"]) == 255
    assert 'msg="exec failed: container does not exist"' in capfd.readouterr().err
    assert cli.main(["--root", root, "create", "--preserve-fds", "-1", "x"]) == 1
    assert 'msg="pyrunc create failed: --preserve-fds -1: ' in capfd.readouterr().err
    assert os.listdir(root) == []


class Fails:
    """A command that fails as it is told."""

    COMMAND = cli.load("state").COMMAND

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def main(self, globals_: Globals, options: Options, arguments: object) -> int:
        raise self.error


def fail_with(error: BaseException, monkeypatch: pytest.MonkeyPatch, *words: str, command: str = "state") -> int:
    monkeypatch.setattr(cli, "load", lambda name: Fails(error))
    return cli.main([*words, command, "x"])


def test_unexpected_exception_is_one_line(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    assert fail_with(KeyError("oops"), monkeypatch) == 1
    err = capfd.readouterr().err
    assert err.count("\n") == 1
    assert "internal error: KeyError: 'oops'; please report this" in err
    assert fail_with(PermissionError(13, "x", "/f"), monkeypatch, command="exec") == 255
    err = capfd.readouterr().err
    assert 'msg="pyrunc exec failed: /f: permission denied"' in err


def test_debug_tells_where(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    assert fail_with(KeyError("oops"), monkeypatch, "--debug") == 1
    assert "Traceback" in capfd.readouterr().err


def test_interrupt(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    assert fail_with(KeyboardInterrupt(), monkeypatch) == 130
    assert capfd.readouterr() == ("", "")


def test_json_log_is_one_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    error = Error('it "failed"', pointer="/a/b", syscall="mount", errno=13, hint="try harder")
    file = tmp_path / "log.json"
    assert fail_with(error, monkeypatch, "--log", str(file), "--log-format=json") == 1
    entry = json.loads(file.read_text())
    assert (entry["level"], entry["msg"]) == ("error", 'it "failed"')
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", entry["time"])
    assert (entry["pointer"], entry["syscall"], entry["errno"]) == ("/a/b", "mount", 13)
    assert entry["hint"] == "try harder"
    assert capfd.readouterr().err == 'it "failed"\nhint: try harder\n'


def test_json_on_standard_error_is_nothing_but_an_object(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    error = Error("it failed", pointer="/a/b", hint="try harder")
    assert fail_with(error, monkeypatch, "--log-format=json", command="run") == 1
    entry = json.loads(capfd.readouterr().err)
    assert (entry["msg"], entry["pointer"], entry["hint"]) == ("it failed", "/a/b", "try harder")


def test_debug_stays_out_of_standard_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "log"
    monkeypatch.setattr(cli, "load", lambda name: Fails(KeyError("x")))
    assert cli.main(["--debug", "--log", str(file), "--log-format", "json", "state", "x"]) == 1
    report = "please report this, with the output of the same command under --debug"
    assert capfd.readouterr().err == f"internal error: KeyError: 'x'; {report}\n"
    levels = [json.loads(line)["level"] for line in file.read_text().splitlines()]
    assert levels == ["debug", "error"]


# -- the process -------------------------------------------------------------------------------


def test_closed_standard_descriptors(root: str) -> None:
    """What pyrunc opens must not get the number of a closed 0, 1 or 2."""
    script = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "import posix\n"
        "for fd in (0, 1, 2): posix.close(fd)\n"
        "from pyrunc import cli\n"
        "status = cli.main(['--root', sys.argv[1], 'state', 'x'])\n"
        "names = [posix.readlink(f'/proc/self/fd/{fd}') for fd in (0, 1, 2)]\n"
        "kept = [posix.get_inheritable(fd) for fd in (0, 1, 2)]\n"
        "posix._exit(status if names == ['/dev/null'] * 3 and all(kept) else 99)\n"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", script, root], check=False, capture_output=True)
    assert done.returncode == 1


def test_without_any_environment(root: str) -> None:
    done = call("--root", root, "state", "x", env={})
    assert (done.returncode, done.stdout) == (1, "")
    assert "container does not exist" in done.stderr


def test_output_that_nobody_reads(root: str) -> None:
    read, write = os.pipe()
    os.close(read)
    done = call("--root", root, "--help", stdout=write, stderr=subprocess.PIPE, capture_output=False)
    os.close(write)
    assert done.returncode == 1
    assert "broken pipe" in done.stderr
    assert "Traceback" not in done.stderr


def test_module_entry() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pyrunc", "--version"],
        check=False,
        text=True,
        capture_output=True,
        cwd=ROOT,
    )
    assert done.returncode == 0
    assert done.stdout.startswith("pyrunc version ")


# -- global options ----------------------------------------------------------------------------


def test_paths_are_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute("a/./b//c/../d") == f"{tmp_path}/a/b/d"
    assert absolute(".") == str(tmp_path)
    assert absolute("/../x/") == "/x"
    assert absolute("/") == "/"
    assert Globals(root="x").root == f"{tmp_path}/x"


def test_default_root(monkeypatch: pytest.MonkeyPatch) -> None:
    import posix

    monkeypatch.setitem(posix.environ, b"XDG_RUNTIME_DIR", b"/run/user/7/")
    users = "/run/user/7/pyrunc"
    monkeypatch.setattr("pyrunc.options.in_user_namespace", lambda: False)
    monkeypatch.setattr(posix, "geteuid", lambda: 0)
    assert default_root() == DEFAULT_ROOT
    monkeypatch.setattr(posix, "geteuid", lambda: 7)
    assert default_root() == users
    # podman calls a rootless runtime as root of a user namespace
    monkeypatch.setattr(posix, "geteuid", lambda: 0)
    monkeypatch.setattr("pyrunc.options.in_user_namespace", lambda: True)
    monkeypatch.delitem(posix.environ, b"USER", raising=False)
    assert default_root() == users
    monkeypatch.setitem(posix.environ, b"USER", b"podman")
    assert default_root() == users
    monkeypatch.setitem(posix.environ, b"USER", b"root")
    assert default_root() == DEFAULT_ROOT
    monkeypatch.delitem(posix.environ, b"XDG_RUNTIME_DIR")
    assert default_root() == DEFAULT_ROOT


@pytest.mark.parametrize(
    ("rootless", "driver", "uid", "in_namespace", "expected"),
    [
        ("true", "cgroupfs", 0, False, True),
        ("false", "cgroupfs", 7, True, False),
        ("auto", "cgroupfs", 0, False, False),
        ("auto", "cgroupfs", 7, False, True),
        ("auto", "cgroupfs", 0, True, True),
        ("auto", "systemd", 0, False, False),
        ("auto", "systemd", 7, False, True),
        ("auto", "systemd", 0, True, True),
    ],
)
def test_rootless(
    rootless: str,
    driver: str,
    uid: int,
    in_namespace: bool,
    expected: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import posix

    monkeypatch.delitem(posix.environ, b"USER", raising=False)
    monkeypatch.setattr(posix, "geteuid", lambda: uid)
    monkeypatch.setattr("pyrunc.options.in_user_namespace", lambda: in_namespace)
    assert Globals(rootless=rootless, cgroups=driver).is_rootless() is expected


def test_root_of_a_user_namespace_with_a_systemd_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import posix

    monkeypatch.setattr(posix, "geteuid", lambda: 0)
    monkeypatch.setattr("pyrunc.options.in_user_namespace", lambda: True)
    monkeypatch.setitem(posix.environ, b"USER", b"root")
    assert not Globals(cgroups="systemd").is_rootless()
    assert Globals(cgroups="cgroupfs").is_rootless()


def test_criu_is_accepted(root: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--criu", "/usr/sbin/criu", "--root", root, "state", "x"]) == 1
    assert "container does not exist" in capfd.readouterr().err
