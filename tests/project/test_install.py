"""`make install` gives a pyrunc that needs neither the checkout nor an environment."""

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

from support import ROOT

pytestmark = [pytest.mark.host, pytest.mark.slow]

variables = sysconfig.get_config_vars()
STATIC_LIBRARY = Path(variables["LIBPL"]) / f"libpython{variables['LDVERSION']}.a"

# Imported by an installed pyrunc's own interpreter, as cold code does it.
IMPORTS = """\
import sys
sys.path.insert(0, sys.argv[1])
from pyrunc import thirdparty
thirdparty.enable()
import jeepney, jsonschema, prctl, pyroute2, pyseccomp
for module in jeepney, jsonschema, prctl, pyroute2, pyseccomp:
    print(module.__file__)
"""


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prefix that pyrunc has been installed to, twice, from a copy that is gone since."""
    if not (ROOT / ".venv/made-for-run").exists():
        pytest.skip("needs the environment that `make setup` makes")
    directory = tmp_path_factory.mktemp("install")
    source = directory / "source"
    ignored = shutil.ignore_patterns(
        ".git", ".venv", "rootfs", "__pycache__", "build", "pyrunc-init", "_validator.py", ".*_cache"
    )
    shutil.copytree(ROOT, source, ignore=ignored, symlinks=True)
    (source / ".venv").symlink_to(ROOT / ".venv")
    prefix = directory / "prefix"
    for _ in range(2):
        make(source, "install", prefix)
    shutil.rmtree(source)
    return prefix


def make(source: Path, target: str, prefix: Path) -> None:
    done = subprocess.run(
        ["tools/install", target, "", str(prefix)],
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_runs_with_an_empty_environment(prefix: Path) -> None:
    for program in (prefix / "bin/pyrunc", prefix / "lib/pyrunc/bin/pyrunc"):
        done = subprocess.run([program, "--version"], env={}, cwd="/", capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "spec: 1.3" in done.stdout


def test_is_the_embedded_form(prefix: Path) -> None:
    """Where this Python has its static library; a script's first line names an interpreter."""
    program = prefix / "bin/pyrunc"
    if not STATIC_LIBRARY.exists():
        first = program.read_text().splitlines()[0]
        interpreter, flags = first.removeprefix("#!").split()
        assert flags == "-IS"
        assert os.path.isabs(interpreter)
        assert os.path.realpath(interpreter) == interpreter
        assert not Path(interpreter).is_relative_to(prefix)
        return
    data = program.read_bytes()
    assert data.startswith(b"\x7fELF")
    assert str(ROOT).encode() not in data, "the checkout is named in what is installed"


def test_cold_modules_are_found(prefix: Path) -> None:
    """jsonschema, from the installation's own packages, explains what is wrong."""
    bundle = prefix / "bundle"
    (bundle / "rootfs").mkdir(parents=True)
    (bundle / "config.json").write_text('{"ociVersion": "1.3.0", "root": {"path": 7}}')
    done = subprocess.run(
        [prefix / "bin/pyrunc", "plan", bundle],
        env={},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "root/path" in done.stderr
    assert "internal error" not in done.stderr
    shutil.rmtree(bundle)


def test_a_copy_elsewhere_works(prefix: Path, tmp_path: Path) -> None:
    """podman's tests copy the runtime and call the copy: it finds what it needs where the original is installed."""
    if not STATIC_LIBRARY.exists():
        pytest.skip(f"no embedded form: {STATIC_LIBRARY} is not there")
    program = tmp_path / "runtime-of-another-name"
    shutil.copy2(os.path.realpath(prefix / "bin/pyrunc"), program)
    bundle = tmp_path / "bundle"
    (bundle / "rootfs").mkdir(parents=True)
    (bundle / "config.json").write_text('{"ociVersion": "1.3.0", "root": {"path": 7}}')
    done = subprocess.run([program, "plan", bundle], env={}, cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "root/path" in done.stderr
    assert "internal error" not in done.stderr


def test_everything_is_in_place(prefix: Path) -> None:
    site = next((prefix / "lib/pyrunc/lib").glob("python3.*/site-packages"))
    package = site / "pyrunc"
    assert os.access(package / "machine/pyrunc-init", os.X_OK)
    assert (package / "config/schema/_validator.py").exists()
    assert {file.name for file in (package / "schemas").glob("*.json")} == {
        file.name for file in (ROOT / "schemas").glob("*.json")
    }
    for module in package.rglob("*.py"):
        compiled = list((module.parent / "__pycache__").glob(f"{module.stem}.cpython-3*.pyc"))
        assert compiled, f"{module} is not compiled"
    assert not list(site.glob("pytest*")), "the tests' packages stay behind"


def test_dependencies_come_along(prefix: Path) -> None:
    lines = (prefix / "lib/pyrunc/pyvenv.cfg").read_text().splitlines()
    interpreter = next(line.partition("=")[2].strip() for line in lines if line.startswith("executable"))
    site = next((prefix / "lib/pyrunc/lib").glob("python3.*/site-packages"))
    done = subprocess.run(
        [interpreter, "-IS", "-c", IMPORTS, str(site)],
        env={},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert all(line.startswith(str(site)) for line in done.stdout.split())


def test_uninstall_removes_it(prefix: Path) -> None:
    """Runs last: what is left is empty directories, and files of others."""
    other = prefix / "bin/other"
    other.touch()
    make(ROOT, "uninstall", prefix)
    left = [path for path in prefix.rglob("*") if not path.is_dir()]
    assert left == [other]
