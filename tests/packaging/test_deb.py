"""The Debian package: what can be said of it without building it; tests/packaging builds and uses it."""

import shutil
import subprocess
from pathlib import Path

import pytest

import deb
import executable
import version
from support import ROOT

pytestmark = pytest.mark.host


@pytest.mark.parametrize(
    ("before", "after"),
    [("0.1.0.dev3+gabc", "0.1.0"), ("0.1.0.dev3+gabc", "0.1.0.dev12+gabc"), ("0.1.0", "0.1.1.dev1+gabc")],
)
def test_versions_sort_as_they_do_elsewhere(before: str, after: str) -> None:
    if not shutil.which("dpkg"):
        pytest.skip("needs dpkg")
    words = [deb.debian_version(before) + "-1~deb12", "lt", deb.debian_version(after) + "-1~deb12"]
    assert subprocess.run(["dpkg", "--compare-versions", *words], check=False).returncode == 0


def test_the_tree_needs_neither_git_nor_a_network(tmp_path: Path) -> None:
    pytest.importorskip("pyseccomp")
    tree = tmp_path / "pyrunc"
    deb.source(tree)
    assert version.declared(tree) == version.version()
    assert (tree / "debian/vendor/pyseccomp.py").exists()
    assert not (tree / ".git").exists()
    deb.name_distribution(tree)
    first = (tree / "debian/changelog").read_text().splitlines()[0]
    assert first.startswith(f"pyrunc ({deb.debian_version(version.version())}-1~deb")


def test_needed_c_library() -> None:
    assert executable.glibc(b"\0GLIBC_2.2.5\0GLIBC_2.17\0GLIBC_2.4\0") == "2.17"


def test_what_is_optional_is_said() -> None:
    """Each package that is asked for only when it is needed is recommended or suggested."""
    control = (ROOT / "debian/control").read_text()
    for name in ("python3-jsonschema", "python3-jeepney", "python3-pyroute2", "libseccomp2", "criu", "uidmap"):
        assert name in control
