"""The script that `make install` leaves where there can be no executable: whose code it loads."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import build_parts
from support import IS_ROOT, ROOT

Change = Callable[[Path], None]
SITE = "lib/python{}.{}/site-packages".format(*sys.version_info)


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prefix with the script and the package."""
    prefix = tmp_path_factory.mktemp("installed") / "prefix"
    shutil.copytree(ROOT / "pyrunc", prefix / SITE / "pyrunc", ignore=shutil.ignore_patterns("__pycache__"))
    build_parts.write_launcher(prefix / "bin/pyrunc")
    for path in (prefix, *prefix.rglob("*")):
        path.chmod(0o755)
    return prefix


def call(prefix: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([prefix / "bin/pyrunc", *words], check=False, capture_output=True, text=True, cwd="/", env={})


def test_it_runs(prefix: Path) -> None:
    done = call(prefix, "--version")
    assert done.returncode == 0, done.stderr
    assert "form: script" in done.stdout


def change_mode(mode: int) -> Change:
    return lambda path: path.chmod(mode)


def give_away(path: Path) -> None:
    if not IS_ROOT:
        pytest.skip("needs root")
    os.chown(path, 12345, 12345)


def change_group(path: Path) -> None:
    if not IS_ROOT:
        pytest.skip("needs root")
    os.chown(path, 0, 12345)
    path.chmod(0o775)


@pytest.mark.contains("code that others than root may write", "it is not loaded, from a file or a directory")
@pytest.mark.parametrize(
    ("place", "change", "words"),
    [
        (f"{SITE}/pyrunc/cli.py", change_mode(0o646), ["--version"]),
        (f"{SITE}/pyrunc/cli.py", change_mode(0o1646), ["--version"]),
        (f"{SITE}/pyrunc/cli.py", give_away, ["--version"]),
        (f"{SITE}/pyrunc/cli.py", change_group, ["--version"]),
        (f"{SITE}/pyrunc", change_mode(0o757), ["--version"]),
        (f"{SITE}/pyrunc", change_mode(0o1757), ["--version"]),
        (SITE, give_away, ["--version"]),
        ("lib", change_mode(0o777), ["--version"]),
        (f"{SITE}/pyrunc/commands/features.py", change_mode(0o646), ["features"]),
    ],
)
def test_code_of_others_is_not_loaded(prefix: Path, place: str, change: Change, words: list[str]) -> None:
    path = prefix / place
    before = path.stat()
    change(path)
    try:
        done = call(prefix, *words)
    finally:
        if IS_ROOT:
            os.chown(path, before.st_uid, before.st_gid)
        path.chmod(before.st_mode & 0o7777)
    assert done.returncode == 1
    assert done.stdout == ""
    assert f"the installation is damaged: no code is loaded from {path}: others may write it" in done.stderr
    assert "Traceback" not in done.stderr
    assert call(prefix, *words).returncode == 0
