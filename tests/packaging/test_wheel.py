"""The wheel: its tag says what is in it, it works where it was not built, and it asks for what is missing by name."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from support import ROOT

pytestmark = [pytest.mark.host, pytest.mark.slow]

BUILD = "import sys; import setuptools.build_meta as it; to = sys.argv[1]; it.build_wheel(to)"
VERSION = "python{}.{}".format(*sys.version_info)
variables = sysconfig.get_config_vars()
STATIC_LIBRARY = Path(variables["LIBPL"]) / f"libpython{variables['LDVERSION']}.a"

#: sh -c: with the standard library where the executable does not expect it.
ELSEWHERE = """\
set -e
library=/usr/lib/$1 elsewhere=$2/lib/$1
mkdir -p "$elsewhere"
mount --bind "$library" "$elsewhere"
mount -t tmpfs tmpfs "$library"
shift 2
exec "$@"
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("wheel-source") / "source"
    ignored = shutil.ignore_patterns(
        ".git", ".venv", "rootfs", "__pycache__", "build", "pyrunc-init", "_validator.py", ".*_cache", "tests"
    )
    shutil.copytree(ROOT, source, ignore=ignored, symlinks=True)
    return source


def build(source: Path, target: Path, **environment: str) -> Path:
    """The wheel of a source tree, with nothing left of an earlier build."""
    pytest.importorskip("setuptools", "77")
    target.mkdir()
    shutil.rmtree(source / "build", ignore_errors=True)
    done = subprocess.run(
        [sys.executable, "-c", BUILD, target],
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000", **environment},
    )
    assert done.returncode == 0, done.stderr
    return next(target.glob("*.whl"))


@pytest.fixture(scope="module")
def executable(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not STATIC_LIBRARY.exists():
        pytest.skip(f"no embedded form: {STATIC_LIBRARY} is not there")
    return build(source, tmp_path_factory.mktemp("wheels") / "executable")


@pytest.fixture(scope="module")
def script(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(source, tmp_path_factory.mktemp("wheels") / "script", PYRUNC_FORM="script")


def installed(wheel: Path, place: Path) -> Path:
    """The program of a wheel in an environment with nothing else."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
    words = ["-m", "pip", "--python", str(place / "bin/python"), "install", "-q", "--no-index", str(wheel)]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return place / "bin/pyrunc"


def call(*words: str | Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(words, env=environment, cwd="/", capture_output=True, text=True, check=False)


def bad_bundle(directory: Path) -> Path:
    (directory / "rootfs").mkdir(parents=True)
    (directory / "config.json").write_text('{"ociVersion": "1.3.0", "root": {"path": 7}}')
    return directory


def test_the_tag_says_what_is_in_it(executable: Path, script: Path) -> None:
    python = "cp{}{}".format(*sys.version_info)
    assert f"-{python}-{python}-manylinux_2_" in executable.name
    assert "-py3-none-linux_" in script.name
    for wheel, magic in ((executable, b"\x7fELF"), (script, b"#!python\n")):
        with zipfile.ZipFile(wheel) as archive:
            program = next(name for name in archive.namelist() if name.endswith("/scripts/pyrunc"))
            assert archive.read(program).startswith(magic)


def test_nothing_of_the_builder_is_in_it(executable: Path, script: Path, source: Path) -> None:
    """None of its directories."""
    for wheel in (executable, script):
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                data = archive.read(name)
                for path in (ROOT, source, Path(sys.prefix)):
                    assert os.fsencode(path) not in data, f"{path} in {name}"


def test_two_builds_are_the_same(executable: Path, source: Path, tmp_path: Path) -> None:
    elsewhere = source.with_name("another-directory")
    source.rename(elsewhere)
    try:
        again = build(elsewhere, tmp_path / "again")
    finally:
        elsewhere.rename(source)
    assert again.name == executable.name
    assert again.read_bytes() == executable.read_bytes()


def test_nothing_of_others_is_demanded(executable: Path) -> None:
    with zipfile.ZipFile(executable) as archive:
        text = archive.read(next(name for name in archive.namelist() if name.endswith("/METADATA"))).decode()
    needed = [line for line in text.splitlines() if line.startswith("Requires-Dist: ")]
    assert needed
    assert all("; extra == " in line for line in needed)


@pytest.mark.parametrize("form", ["executable", "script"])
def test_it_works_and_says_what_is_missing(form: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    program = installed(request.getfixturevalue(form), tmp_path / "environment")
    said = call(program, "--version").stdout
    assert f"form: {'image' if form == 'executable' else 'script'}" in said
    bundle = bad_bundle(tmp_path / "bundle")
    # Nobody's variables choose what Python imports.
    (tmp_path / "pyrunc.py").write_text("raise SystemExit(7)")
    done = call(program, "plan", bundle, PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert "does not follow the runtime specification" in done.stderr
    assert "apt install python3-jsonschema" in done.stderr
    assert "pip install 'pyrunc[explain]'" in done.stderr


def test_the_executable_finds_the_environments_library(executable: Path, tmp_path: Path, needs_root: None) -> None:
    """Python may be elsewhere than where the wheel was built; the environment says where."""
    if not Path(f"/usr/lib/{VERSION}/os.py").exists():
        pytest.skip("needs the distribution's Python")
    place = tmp_path / "environment"
    program = installed(executable, place)
    elsewhere = tmp_path / "elsewhere"
    (place / "pyvenv.cfg").write_text(f"home = {elsewhere}/bin\ninclude-system-site-packages = false\n")
    done = call(
        *("unshare", "--mount", "--propagation", "private", "sh", "-c", ELSEWHERE, "sh", VERSION, elsewhere),
        *(program, "plan", bad_bundle(tmp_path / "bundle")),
        PATH="/usr/bin:/usr/sbin:/bin:/sbin",
    )
    assert "does not follow the runtime specification" in done.stderr
    assert "damaged" not in done.stderr
