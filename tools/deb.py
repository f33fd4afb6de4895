"""Make the Debian package of this checkout, for the distribution that this machine has.

    python tools/deb.py source DIRECTORY     the tree to build it from, which needs neither git nor a network
    python tools/deb.py build [DIRECTORY]    that, dpkg-buildpackage, and lintian where it is installed; the package
                                             comes into build/deb, or, built of the tree DIRECTORY, beside that

The version is git's (tools/version.py) and has a word for the distribution, so that an upgrade from Debian 12 to 13 is
one of pyrunc too.
"""

import argparse
import datetime
import os
import platform
import shutil
import subprocess
import sys
from email.utils import format_datetime, parsedate_to_datetime
from importlib.metadata import distribution
from pathlib import Path

import version

ROOT = Path(__file__).resolve().parent.parent
LEFT_OUT = (
    "build",
    "dist",
    ".venv",
    ".git",
    "rootfs",
    "__pycache__",
    "*.egg-info",
    ".*_cache",
    "pyrunc-init",
    "_validator.py",
)


def debian_version(text: str) -> str:
    """PEP 440's version as Debian writes it: what comes before a release sorts before it."""
    return text.replace(".dev", "~dev")


def source(target: Path) -> None:
    """A copy of the tree that says its version, with pyseccomp, which Debian does not have."""
    shutil.copytree(ROOT, target, ignore=shutil.ignore_patterns(*LEFT_OUT), symlinks=True)
    version.write(target / "pyrunc", built=False)
    vendor = target / "debian/vendor"
    vendor.mkdir()
    shutil.copy2(str(distribution("pyseccomp").locate_file("pyseccomp.py")), vendor)


def name_distribution(tree: Path) -> None:
    """Begin the package's list of changes with this build, unless it is the release that stands there."""
    changes = tree / "debian/changelog"
    text = changes.read_text()
    said = version.declared(tree)
    word = f"~deb{platform.freedesktop_os_release().get('VERSION_ID', '')}"
    if text.startswith(f"pyrunc ({said}-1)"):
        changes.write_text(text.replace(f"({said}-1)", f"({said}-1{word})", 1))
        return
    signer, _, before = next(line for line in text.splitlines() if line.startswith(" -- ")).partition(">")
    # Without git, the time is the least that lintian takes.
    time = max(version.epoch(), int(parsedate_to_datetime(before).timestamp()) + 1)
    date = format_datetime(datetime.datetime.fromtimestamp(time, datetime.UTC))
    title = f"pyrunc ({debian_version(said)}-1{word}) unstable; urgency=medium"
    changes.write_text(f"{title}\n\n  * A build of {said}.\n\n{signer}>  {date}\n\n{text}")


def build(tree: Path) -> Path:
    """The package, beside the tree."""
    name_distribution(tree)
    environment = {
        **os.environ,
        "PATH": f"/usr/bin:/usr/sbin:{os.environ.get('PATH', '')}",
        "PYTHON": "/usr/bin/python3",
    }
    subprocess.run(["dpkg-buildpackage", "-b", "-us", "-uc"], cwd=tree, check=True, env=environment)
    found = sorted(tree.parent.glob("pyrunc_*.deb"), key=lambda file: file.stat().st_mtime)
    if shutil.which("lintian"):
        subprocess.run(
            ["lintian", "--fail-on", "error,warning", "--tag-display-limit", "0", "--allow-root", found[-1]], check=True
        )
    return found[-1]


def main() -> int:
    parser = argparse.ArgumentParser(description="Make the Debian package of pyrunc.")
    parser.add_argument("action", choices=("source", "build"))
    parser.add_argument("directory", type=Path, nargs="?")
    arguments = parser.parse_args()
    os.umask(0o022)
    try:
        if arguments.action == "source":
            source(arguments.directory)
            return 0
        tree = arguments.directory
        if tree is None:
            tree = ROOT / "build/deb/pyrunc"
            shutil.rmtree(tree.parent, ignore_errors=True)
            source(tree)
        print(build(tree))
    except subprocess.CalledProcessError as error:
        print(f"deb: {error}", file=sys.stderr)
        return 1
    except FileNotFoundError as error:
        print(f"deb: {error.filename} is not there (apt-get build-dep ./ or, for the tools, dpkg-dev)", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
