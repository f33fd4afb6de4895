"""The manual pages: complete, up to date, and free of mistakes in their markup."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pyrunc import cli
from pyrunc.arguments import HELP, SWITCH, Flag
from support import ROOT

MAN = ROOT / "man"
PAGES = {name: MAN / f"pyrunc-{name}.8" for name in cli.COMMANDS}


def flags(name: str) -> list[Flag]:
    """The flags of a command that users are to know of."""
    return [HELP, *(flag for flag in cli.load(name).COMMAND.flags if flag.help)]


def documented(text: str) -> set[str]:
    """The options that a page has an entry for."""
    entries = re.findall(r"^\.TP\n(\\fB.*)$", text, re.MULTILINE)
    return {name.replace("\\-", "-") for entry in entries for name in re.findall(r"\\fB(.*?)\\fR", entry)}


def expected(them: list[Flag]) -> set[str]:
    return {("--" if len(name) > 1 else "-") + name for flag in them for name in flag.names}


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_flag_is_documented_and_no_other(name: str) -> None:
    assert documented(PAGES[name].read_text()) == expected(flags(name))


def test_every_global_flag_and_command_is_documented() -> None:
    text = (MAN / "pyrunc.8").read_text()
    assert documented(text) == expected([HELP, *cli.GLOBAL_FLAGS])
    for name in cli.COMMANDS:
        assert f".BR pyrunc\\-{name} (8)\n" in text


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_values_are_named_as_in_the_help(name: str) -> None:
    text = PAGES[name].read_text().replace("\\-", "-")
    for flag in flags(name):
        value = "" if flag.kind == SWITCH else f" \\fI{flag.value}\\fR"
        assert f"\\fB--{flag.names[0]}\\fR{value}" in text


def test_pages_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, str(MAN / "generate.py"), "--check"],
        check=False,
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.host
@pytest.mark.parametrize("page", sorted(MAN.glob("*.[58]")), ids=lambda page: str(page.name))
def test_markup(page: Path) -> None:
    groff = shutil.which("groff")
    if not groff:
        pytest.skip("groff is not installed")
    command = [groff, "-ww", "-man", "-Tutf8", "-z", str(page)]
    done = subprocess.run(command, check=False, text=True, capture_output=True)
    assert (done.returncode, done.stderr) == (0, "")
