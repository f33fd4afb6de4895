"""The version of pyrunc's sources: what a release's tag says, or which commit after which release this is.

    python tools/version.py

`__version__` in pyrunc/__init__.py is the version of the release that is being prepared, or, in a source archive and
in what is installed, the whole version: `write` puts it there. A checkout adds what git knows.

    0.2.0                       the commit with the tag v0.2.0, and nothing changed
    0.2.0.dev17+g7750c6a2b0c4   17 commits after v0.1.0; `.dirty` at the end where something is changed
"""

import datetime
import os
import platform
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DECLARED = re.compile(r'^__version__ = "([^"]*)"$', re.MULTILINE)
DESCRIBED = re.compile(r"v(\d+(?:\.\d+)*)-(\d+)-g([0-9a-f]+)(-dirty)?")


def declared(root: Path = ROOT) -> str:
    """What pyrunc/__init__.py says."""
    match = DECLARED.search((root / "pyrunc/__init__.py").read_text())
    assert match, "no __version__ in pyrunc/__init__.py"
    return match[1]


def git(root: Path, *words: str) -> str:
    """What git says of the checkout; "" where there is none, or no git."""
    if not (root / ".git").exists():
        return ""
    # Root builds in the checkouts of others.
    command = ["git", "-c", f"safe.directory={root}", "-C", str(root), *words]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (FileNotFoundError, subprocess.CalledProcessError):
        return ""


def version(root: Path = ROOT) -> str:
    """The version, as PEP 440 has it."""
    base = declared(root)
    commit = git(root, "rev-parse", "--short=12", "HEAD")
    if not commit:
        return base
    match = DESCRIBED.fullmatch(git(root, "describe", "--tags", "--match=v[0-9]*", "--long", "--dirty", "--abbrev=12"))
    if match:
        tag, distance, dirty = match[1], int(match[2]), bool(match[4])
        if distance == 0 and not dirty and tag == base:
            return base
    else:
        tag, distance = "", int(git(root, "rev-list", "--count", "HEAD"))
        dirty = bool(git(root, "status", "--porcelain", "--untracked-files=no"))
    if tag == base:  # not raised yet after the release
        head, _, last = base.rpartition(".")
        base = f"{head}.{int(last) + 1}"
    return f"{base}.dev{distance}+g{commit}{'.dirty' if dirty else ''}"


def commit(root: Path = ROOT) -> str:
    """The commit of the sources; PYRUNC_COMMIT where they are no checkout; "" if nobody knows."""
    return os.environ.get("PYRUNC_COMMIT", "") or git(root, "rev-parse", "HEAD")


def epoch(root: Path = ROOT) -> int:
    """When the build says that it was, in seconds since the epoch: SOURCE_DATE_EPOCH, or the commit's time; 0: none."""
    return int(os.environ.get("SOURCE_DATE_EPOCH", "") or git(root, "log", "-1", "--format=%ct") or 0)


def build(root: Path = ROOT) -> str:
    """Of when, for what, and where a build is: what `pyrunc --version` calls so."""
    try:
        system = platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        system = platform.system()
    seconds = epoch(root)
    date = datetime.datetime.fromtimestamp(seconds, datetime.UTC).date().isoformat() if seconds else "no date"
    return f"{date}, {system}, {platform.machine()}"


def write(package: Path, *, built: bool) -> None:
    """Put version and commit, and, if it is built, of what build it is, into a copy of the package."""
    replace(package / "__init__.py", {"__version__": version()})
    members = {"COMMIT": commit()} if commit() else {}
    if built:
        members["BUILD"] = build()
    replace(package / "made_of.py", members)


def replace(file: Path, members: dict[str, str]) -> None:
    """Set variables at the top level of a module that have a text as value."""
    text = file.read_text()
    for name, value in members.items():
        found = re.search(rf'^{name} = "[^"\n]*"$', text, flags=re.MULTILINE)
        assert found, f"no {name} in {file}"
        text = f'{text[: found.start()]}{name} = "{value}"{text[found.end() :]}'
    # Another file than before, which may be one with the checkout's by a hard link.
    file.unlink()
    file.write_text(text)


if __name__ == "__main__":
    print(version())
