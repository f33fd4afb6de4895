"""Completions of bash, zsh and fish: up to date, and what they offer in a shell."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support import ROOT

FOLDER = ROOT / "completions"


def test_up_to_date() -> None:
    subprocess.run([sys.executable, str(FOLDER / "generate.py"), "--check"], check=True)


@pytest.fixture
def fake(tmp_path: Path) -> str:
    """A PATH with a `pyrunc` that lists two containers, and others under --root."""
    program = tmp_path / "bin/pyrunc"
    program.parent.mkdir()
    program.write_text(
        '#!/bin/sh\n[ "$*" = "list --quiet" ] && printf "web\\nworker\\n"\n'
        '[ "$*" = "--root /elsewhere list --quiet" ] && echo other\nexit 0\n'
    )
    program.chmod(0o755)
    return f"{program.parent}:/usr/bin:/bin"


CASES = [
    ("", {"create", "run", "kill", "--root", "help"}, {"web"}),
    ("st", {"start", "state"}, {"run"}),
    ("kill ", {"web", "worker"}, {"TERM"}),
    ("kill web ", {"TERM", "KILL"}, {"web"}),
    ("--root /elsewhere state ", {"other"}, {"web"}),
    ("run --", {"--bundle", "--detach", "--pid-file"}, {"--root"}),
    ("list --format ", {"table", "json"}, {"text"}),
    ("--log-format ", {"text", "json"}, {"table"}),
    ("--log /x --debug delete ", {"web", "worker"}, set()),
    ("create ", set(), {"web"}),
]


def in_bash(line: str, path: str) -> set[str]:
    words = ["pyrunc", *line.split(" ")]
    script = f"""
    source {FOLDER}/pyrunc.bash
    compopt() {{ :; }}
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
    _pyrunc
    printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    command = ["bash", "--norc", "-c", script, "bash", *words]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env={"PATH": path})
    assert not done.stderr
    return set(done.stdout.split())


def in_fish(line: str, path: str) -> set[str]:
    script = f"source {FOLDER}/pyrunc.fish; complete -C 'pyrunc {line}'"
    environment = {"PATH": path, "HOME": path.partition(":")[0]}  # fish makes folders there
    command = ["fish", "--no-config", "-c", script]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return {row.split("\t")[0] for row in done.stdout.splitlines()}


@pytest.mark.parametrize(("line", "there", "absent"), CASES)
def test_bash(line: str, there: set[str], absent: set[str], fake: str) -> None:
    found = in_bash(line, fake)
    assert there <= found
    assert not absent & found


@pytest.mark.parametrize(("line", "there", "absent"), CASES)
def test_fish(line: str, there: set[str], absent: set[str], fake: str) -> None:
    if not shutil.which("fish"):
        pytest.skip("needs fish")
    found = in_fish(line, fake)
    # fish offers flags only where a dash has been typed.
    assert {it for it in there if "-" in line or it[0] != "-"} <= found
    assert not absent & found


def test_zsh_takes_the_file() -> None:
    if not shutil.which("zsh"):
        pytest.skip("needs zsh")
    subprocess.run(["zsh", "-n", str(FOLDER / "_pyrunc")], check=True)
    # compinit finds it, and the function is defined by its first call.
    script = f"fpath=({FOLDER} $fpath); autoload -Uz compinit; compinit -D -u; print $_comps[pyrunc]"
    done = subprocess.run(["zsh", "-fc", script], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "_pyrunc"
