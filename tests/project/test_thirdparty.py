"""pyrunc.thirdparty finds packages under `-I -S`, from a checkout and in an environment."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from pyrunc import thirdparty
from support import ROOT

SHOW = """\
import sys
sys.path.insert(0, sys.argv[1])
from pyrunc import thirdparty
before = list(sys.path)
thirdparty.enable()
thirdparty.enable()
print("\\n".join(path for path in sys.path if path not in before))
print(len(sys.path) - len(before), file=sys.stderr)
"""


def added(parent: Path, *flags: str) -> list[str]:
    """The directories that enable() adds for a package in `parent`."""
    done = subprocess.run(
        [sys.executable, *flags, "-c", SHOW, str(parent)],
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
    )
    paths = done.stdout.split()
    assert int(done.stderr) == len(paths), "nothing is added twice"
    return paths


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """An environment's directory with pyrunc in its site-packages; returns the latter."""
    (tmp_path / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n")
    site = tmp_path / "lib/python{}.{}/site-packages".format(*sys.version_info)
    (site / "pyrunc").mkdir(parents=True)
    for name in ("__init__.py", "thirdparty.py"):
        (site / "pyrunc" / name).write_text((ROOT / "pyrunc" / name).read_text())
    return site


def test_checkout(tmp_path: Path, environment: Path) -> None:
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    (checkout / "pyrunc").symlink_to(environment / "pyrunc")
    assert all(path.endswith("-packages") for path in added(checkout, "-IS")), "the system's"
    venv = checkout / ".venv"
    venv.mkdir()
    (venv / "pyvenv.cfg").write_text("home = /usr/bin\n")
    (venv / "lib").symlink_to(tmp_path / "lib")
    assert added(checkout, "-IS") == [str(venv / environment.relative_to(tmp_path))]


def test_installed(environment: Path) -> None:
    assert added(environment, "-IS") == []


def test_system_packages_where_the_environment_includes_them(tmp_path: Path, environment: Path) -> None:
    settings = tmp_path / "pyvenv.cfg"
    settings.write_text("home = /usr/bin\ninclude-system-site-packages = false\n")
    assert added(environment, "-IS") == []
    settings.write_text("home = /usr/bin\ninclude-system-site-packages = true\n")
    found = added(environment, "-IS")
    assert found
    assert all(path.endswith("-packages") for path in found)


def test_system_packages_where_there_is_no_environment(tmp_path: Path, environment: Path) -> None:
    """pip has installed pyrunc for the system's Python: the distribution's packages serve it."""
    (tmp_path / "pyvenv.cfg").unlink()
    found = added(environment, "-IS")
    assert found
    assert all(path.endswith("-packages") for path in found)


def test_each_package_is_told_with_its_names() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for module, (package, extra) in thirdparty.HOW.items():
        assert any(module in requirement for requirement in extras[extra])
        assert f"pyrunc[{extra}]" in thirdparty.install(module)
        assert package in thirdparty.install(module)


def test_nothing_changes_where_site_is_loaded(environment: Path) -> None:
    assert added(environment) == []
