"""Versions come from git, and `make release` makes a release of what may be released."""

import datetime
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

import release
import version
from pyrunc import __version__
from support import ROOT

pytestmark = pytest.mark.host

TODAY = datetime.date(2030, 1, 2)
IDENTITY = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")


def git(root: Path, *words: str) -> str:
    done = subprocess.run(["git", *IDENTITY, "-C", root, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A source tree of the version 0.3.0 without git."""
    (tmp_path / "pyrunc").mkdir()
    (tmp_path / "pyrunc/__init__.py").write_text('"""A."""\n\n__version__ = "0.3.0"\n')
    return tmp_path


def committed(tree: Path, text: str) -> str:
    (tree / "file").write_text(text)
    git(tree, "add", "-A")
    git(tree, "commit", "-q", "-m", text)
    return git(tree, "rev-parse", "--short=12", "HEAD")


def test_version_without_git(tree: Path) -> None:
    assert version.version(tree) == "0.3.0"
    assert version.epoch(tree) == int(os.environ.get("SOURCE_DATE_EPOCH", "0"))


def test_version_from_git(tree: Path) -> None:
    git(tree, "init", "-q")
    commit = committed(tree, "one")
    assert version.version(tree) == f"0.3.0.dev1+g{commit}"
    git(tree, "tag", "v0.3.0")
    assert version.version(tree) == "0.3.0"
    (tree / "file").write_text("changed")
    assert version.version(tree) == f"0.3.1.dev0+g{commit}.dirty"
    commit = committed(tree, "two")
    assert version.version(tree) == f"0.3.1.dev1+g{commit}", "after a release comes what is higher than it"
    (tree / "pyrunc/__init__.py").write_text('__version__ = "0.4.0"\n')
    commit = committed(tree, "three")
    assert version.version(tree) == f"0.4.0.dev2+g{commit}"


def test_version_is_written(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Into the copy, not through a hard link into what it is a copy of."""
    monkeypatch.setenv("PYRUNC_COMMIT", "0123")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    (tree / "pyrunc/made_of.py").write_text((ROOT / "pyrunc/made_of.py").read_text())
    before = tree / "before"
    before.hardlink_to(tree / "pyrunc/__init__.py")
    version.write(tree / "pyrunc", built=True)
    assert before.read_text().endswith('"0.3.0"\n')
    assert version.declared(tree) == version.version()
    members: dict[str, str] = {}
    exec((tree / "pyrunc/made_of.py").read_text(), members)
    assert members["COMMIT"] == "0123"
    assert members["BUILD"].startswith("1970-01-02, ")


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ("## Unreleased\n\n## 0.1.0 (2030-01-02)\n\n- A.\n", ""),
        ("## 0.1.0 (2029-12-31)\n\n- A.\n\n## 0.0.9 (2028-01-01)\n", ""),
        ("## Unreleased\n\n- B.\n\n## 0.1.0 (2030-01-02)\n\n- A.\n", "Unreleased"),
        ("## 0.1.0 (2030-01-03)\n\n- A.\n", "in the future"),
        ("## 0.1.0 (2030-01-02)\n\n## 0.0.9 (2028-01-01)\n\n- A.\n", "nothing is under"),
        ("## 0.1.0\n\n- A.\n", "no chapter"),
        ("## 0x1.0 (2030-01-02)\n\n- A.\n", "no chapter"),
    ],
)
def test_changelog_is_checked(text: str, refusal: str) -> None:
    if not refusal:
        release.check_changelog(text, "0.1.0", TODAY)
        return
    with pytest.raises(release.Refused, match=refusal):
        release.check_changelog(text, "0.1.0", TODAY)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of the repository, ready for the release of `__version__`."""
    if not (ROOT / ".git").exists():
        pytest.skip("needs the repository")
    clone = tmp_path_factory.mktemp("release") / "clone"
    git(ROOT, "-c", f"safe.directory={ROOT}", "clone", "-q", str(ROOT), str(clone))
    lines = (ROOT / "CHANGELOG.md").read_text()
    (clone / "CHANGELOG.md").write_text(lines.replace("## Unreleased", f"## {__version__} (2026-01-01)"))
    git(clone, "commit", "-q", "-a", "-m", "Release")
    return clone


def make_release(clone: Path, *words: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "tools/release.py", *words],
        cwd=clone,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "EMAIL": "a@example.org", "GIT_COMMITTER_NAME": "A", "PYTHONDONTWRITEBYTECODE": "1"},
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_dry_run_of_a_release(clone: Path) -> None:
    """Both archives are built twice, equal, checked, and nothing stays."""
    status, said = make_release(clone, __version__, "--dry-run", "--no-tests")
    assert status == 0, said
    assert f"pyrunc-{__version__}.tar.gz" in said
    assert "dry run" in said
    assert not git(clone, "tag", "--list", f"v{__version__}")
    assert not (clone / "dist").exists()
    assert not git(clone, "status", "--porcelain")


def test_no_release_of_what_is_not_ready(clone: Path) -> None:
    assert "__init__.py says" in make_release(clone, "9.9.9", "--dry-run")[1]
    (clone / "left").touch()
    assert "not clean" in make_release(clone, __version__, "--dry-run")[1]
    (clone / "left").unlink()
    git(clone, "tag", f"v{__version__}")
    status, said = make_release(clone, __version__, "--dry-run")
    git(clone, "tag", "-d", f"v{__version__}")
    assert (status, "exists" in said) == (1, True)


@pytest.mark.slow
def test_source_archive_is_complete(clone: Path, tmp_path: Path) -> None:
    """It has whatever the repository has, and its version without git."""
    subprocess.run(
        [sys.executable, "-c", "import setuptools.build_meta as it, sys; it.build_sdist(sys.argv[1])", tmp_path],
        cwd=clone,
        capture_output=True,
        check=True,
    )
    archive = next(tmp_path.glob("*.tar.gz"))
    with tarfile.open(archive) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
        file.extractall(tmp_path)
    missing = set(git(clone, "ls-files").splitlines()) - names
    assert {name for name in missing if not name.startswith(".ci/")} == set()
    unpacked = tmp_path / archive.name.removesuffix(".tar.gz")
    shown = subprocess.run(
        [sys.executable, "tools/version.py"], cwd=unpacked, capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == version.version(clone)
    code = "import json; from pyrunc import made_of; print(json.dumps(made_of.COMMIT))"
    shown = subprocess.run([sys.executable, "-c", code], cwd=unpacked, capture_output=True, text=True, check=True)
    assert json.loads(shown.stdout) == git(clone, "rev-parse", "HEAD")
