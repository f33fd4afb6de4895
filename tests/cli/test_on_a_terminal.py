"""Errors on a terminal are for people; everywhere else they are what engines read."""

import json
import os
import pty
import subprocess
from pathlib import Path

import pytest

from pyrunc.didyoumean import distance, nearest
from pyrunc.people import harmless, plain
from support import ROOT

PYRUNC = str(ROOT / ".venv/bin/pyrunc")


def on_terminal(*words: str, cwd: Path | None = None, **environment: str) -> tuple[int, str]:
    """Exit status, and what stands on a terminal that is pyrunc's standard error."""
    master, slave = pty.openpty()
    kept = {"PATH": os.environ["PATH"], "TERM": "xterm", **environment}
    with subprocess.Popen([PYRUNC, *words], stdout=subprocess.DEVNULL, stderr=slave, cwd=cwd, env=kept) as process:
        os.close(slave)
        seen = b""
        while True:
            try:
                part = os.read(master, 4096)
            except OSError:
                break
            if not part:
                break
            seen += part
        status = process.wait(60)
    os.close(master)
    return status, seen.decode().replace("\r\n", "\n")


def piped(*words: str, cwd: Path | None = None) -> tuple[int, str]:
    done = subprocess.run([PYRUNC, *words], capture_output=True, text=True, cwd=cwd, timeout=60, check=False)
    return done.returncode, done.stderr


def test_plain_words_and_the_hint_on_its_own_line(tmp_path: Path) -> None:
    (tmp_path / "mybundle").mkdir()
    words = ("--root", str(tmp_path / "state"), "run", "--bundle", str(tmp_path / "mybundel"), "x")
    status, text = on_terminal(*words, NO_COLOR="1")
    assert status == 1
    assert text == (
        "pyrunc run: JSON specification file config.json not found\n"
        f'hint: the bundle "{tmp_path}/mybundel" does not exist: "mybundel" is not in "{tmp_path}", '
        'did you mean "mybundle"?\n'
    )
    assert (
        piped(*words)[1]
        .splitlines()[0]
        .endswith('level=error msg="pyrunc run failed: JSON specification file config.json not found"')
    )


def test_colour_only_where_it_is_wanted() -> None:
    assert on_terminal("state", "no-such")[1].startswith("\033[31mpyrunc:\033[0m ")
    assert on_terminal("state", "no-such", NO_COLOR="1")[1].startswith("pyrunc: ")
    assert on_terminal("state", "no-such", TERM="dumb")[1].startswith("pyrunc: ")


def test_who_asks_for_a_format_gets_it(tmp_path: Path) -> None:
    assert "level=error" in on_terminal("--log-format", "text", "state", "no-such")[1]
    assert '"level":"error"' in on_terminal("--log-format", "json", "state", "no-such")[1]
    log = tmp_path / "log"
    assert on_terminal("--log", str(log), "state", "no-such")[1] == "container does not exist\n"
    assert "level=error" in log.read_text()


def test_a_bundle_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    status, text = piped("run", "--bundle", str(tmp_path / "config.json"), "x")
    assert status == 1
    assert f'hint: "{tmp_path}/config.json" is a file: the bundle is the directory, --bundle {tmp_path};' in text


def test_a_bundle_without_configuration(tmp_path: Path) -> None:
    (tmp_path / "confg.json").write_text("{}")
    text = piped("run", "--bundle", str(tmp_path), "x")[1]
    assert 'has no config.json: "pyrunc spec" writes one, did you mean "confg.json"?' in text
    text = piped("run", "--config", str(tmp_path / "config.json"), "x")[1]
    assert 'has no such file, did you mean "confg.json"?' in text


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("strat", "x"), 'did you mean "start"?'),
        (("lst",), 'did you mean "list"?'),
        (("run", "--bundel", ".", "x"), 'did you mean "--bundle"?'),
        (("--rot", "/x", "list"), 'did you mean "--root"?'),
        (("state", "--root", "/x", "y"), '"--root" stands before the command: pyrunc --root ... state'),
    ],
)
def test_near_misses_of_commands_and_flags(words: tuple[str, ...], hint: str) -> None:
    status, text = piped(*words)
    assert status == (3 if words[0] in ("strat", "lst") else 1)
    assert text.splitlines()[-1] == f"hint: {hint}"


def test_a_log_in_json_has_the_hint_too() -> None:
    for words in (("strat",), ("run", "--bundel", ".", "x")):
        (line,) = piped("--log-format", "json", *words)[1].splitlines()
        assert "did you mean" in json.loads(line)["hint"]


def test_a_wrong_flag_on_a_terminal_does_not_scroll_away(tmp_path: Path) -> None:
    text = on_terminal("run", "--bundel", ".", "x", NO_COLOR="1")[1]
    assert text == (
        "pyrunc: flag provided but not defined: -bundel\n"
        'hint: did you mean "--bundle"? "pyrunc run --help" tells them all\n'
    )


def test_distance() -> None:
    assert distance("bundel", "bundle") == 1
    assert distance("", "abc") == 3
    assert distance("kitten", "sitting") == 3
    assert nearest("noNewPrivilege", ["noNewPrivileges", "rlimits"]) == "noNewPrivileges"
    assert nearest("capabilites", ["capabilities", "user"]) == "capabilities"
    assert nearest("zebra", ["capabilities", "user"]) == ""
    assert nearest("uid", ["gid", "env"]) == "gid"
    assert nearest("id", ["ip", "in"]) == ""


def test_text_of_others_cannot_drive_the_terminal() -> None:
    assert harmless("a\x1b[2Jb\x9bc\x7f\u202ed\n") == "a\\x1b[2Jb\\x9bc\\x7f\\u202ed\n"
    assert plain("error", "pyrunc exec failed: \x07", False) == "pyrunc exec: \\x07\n"
    assert plain("error", "pyrunc is not what failed: x", False) == "pyrunc: pyrunc is not what failed: x\n"


@pytest.mark.parametrize("text", ['{"ociVersion": "1.0.0",}', "{'a': 1}", '{"a": 1', '{"a" 1}', "[1 2]"])
def test_a_text_that_is_no_json_is_no_internal_error(text: str, tmp_path: Path) -> None:
    """Without `json` imported, Python 3.11's scanner fails in a way of its own."""
    (tmp_path / "config.json").write_text(text)
    status, told = piped("run", "--bundle", str(tmp_path), "x")
    assert status == 1
    assert "config.json: line 1, column " in told
    assert "internal error" not in told
