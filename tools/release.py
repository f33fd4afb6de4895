"""Make a release: check, build twice, sign, tag.

    python tools/release.py VERSION [--dry-run] [--no-tests]

1. The tree is clean, `__version__` and debian/changelog say VERSION, CHANGELOG.md has a chapter for it with today's or
   an earlier date, nothing is left under "Unreleased", and the tag vVERSION does not exist.
2. In a clone with the tag, signed by git's configuration: `make test`, unless --no-tests; source archive and wheel,
   twice, with equal bytes; both say VERSION, and the wheel, installed, says it too.
3. dist/ gets the artefacts, SHA256SUMS, and its signature by the key of the tag; the tag comes into the repository.

With --dry-run the tag is not signed and stays in the clone, dist/ is not touched, and so no signature is made.
It pushes and uploads nothing: it says what is left to do.
"""

import argparse
import datetime
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import version

ROOT = Path(__file__).resolve().parent.parent
BACKEND = "import sys; import setuptools.build_meta as it; to = sys.argv[1]; it.build_sdist(to); it.build_wheel(to)"


class Refused(Exception):
    """Why there is no release."""


def call(*words: str | Path, cwd: Path = ROOT, **environment: str) -> str:
    """Run a program, return what it prints; its standard error is the caller's."""
    command = [os.fspath(word) for word in words]
    done = subprocess.run(
        command, cwd=cwd, stdout=subprocess.PIPE, text=True, check=False, env={**os.environ, **environment}
    )
    if done.returncode:
        raise Refused(f"{' '.join(command)}: exit status {done.returncode}\n{done.stdout[-2000:]}")
    return done.stdout.strip()


def check_changelog(text: str, wanted: str, today: datetime.date) -> None:
    """The version's chapter is there, is dated and says something; nothing waits for the next one. Raises Refused."""
    chapters = re.split(r"^## +", text, flags=re.MULTILINE)[1:]
    found = {chapter.partition("\n")[0].strip(): chapter.partition("\n")[2].strip() for chapter in chapters}
    if found.get("Unreleased"):
        raise Refused("CHANGELOG.md: there are lines under Unreleased; they belong to this release or to none")
    for title, lines in found.items():
        match = re.fullmatch(rf"{re.escape(wanted)} \((\d{{4}}-\d\d-\d\d)\)", title)
        if match:
            if datetime.date.fromisoformat(match[1]) > today:
                raise Refused(f"CHANGELOG.md: {title} is in the future")
            if not lines:
                raise Refused(f"CHANGELOG.md: nothing is under {title}")
            return
    raise Refused(f"CHANGELOG.md: no chapter `## {wanted} (YYYY-MM-DD)`")


def check_sources(root: Path, wanted: str) -> None:
    """Everything that names the version names this one, and the tree is what will be tagged. Raises Refused."""
    if not re.fullmatch(r"\d+\.\d+\.\d+", wanted):
        raise Refused(f"{wanted} is not of the form 1.2.3")
    if changed := call("git", "status", "--porcelain", cwd=root):
        raise Refused(f"the tree is not clean:\n{changed}")
    if call("git", "tag", "--list", f"v{wanted}", cwd=root):
        raise Refused(f"the tag v{wanted} exists")
    if version.declared(root) != wanted:
        raise Refused(f"pyrunc/__init__.py says {version.declared(root)}")
    package = root / "debian/changelog"
    if package.exists() and not package.read_text().startswith(f"pyrunc ({wanted}-"):
        raise Refused(f"debian/changelog does not begin with pyrunc ({wanted}-1)")
    check_changelog((root / "CHANGELOG.md").read_text(), wanted, datetime.datetime.now(datetime.UTC).date())


def build(clone: Path, output: Path) -> dict[str, str]:
    """Source archive and wheel of a clone; name -> SHA-256."""
    output.mkdir(parents=True)
    seconds = call("git", "log", "-1", "--format=%ct", cwd=clone)
    shutil.rmtree(clone / "build", ignore_errors=True)
    call(sys.executable, "-c", BACKEND, output, cwd=clone, SOURCE_DATE_EPOCH=seconds)
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(output.iterdir())}


def check_artefacts(output: Path, wanted: str, scratch: Path) -> None:
    """They name the version, do not name where they were built, and the wheel works. Raises Refused."""
    names = sorted(file.name for file in output.iterdir())
    if len(names) != 2 or not all(name.startswith(f"pyrunc-{wanted}") for name in names):
        raise Refused(f"not a source archive and a wheel of {wanted}: {names}")
    wheel = next(output.glob("*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        named = [name for name in archive.namelist() if os.fsencode(scratch) in archive.read(name)]
    if named:
        raise Refused(f"{wheel.name} names the builder's directory in {named}")
    environment = scratch / "environment"
    call(sys.executable, "-m", "venv", "--without-pip", environment)
    place = environment / "bin/python"
    call(sys.executable, "-m", "pip", "--python", place, "install", "-q", "--no-deps", "--no-index", wheel)
    said = call(environment / "bin/pyrunc", "--version", cwd=Path("/")).splitlines()[0]
    if said != f"pyrunc version {wanted}":
        raise Refused(f"{wheel.name}, installed, says: {said}")


def release(wanted: str, dry: bool, tests: bool, root: Path = ROOT) -> None:
    check_sources(root, wanted)
    with tempfile.TemporaryDirectory(prefix="release-") as name:
        scratch = Path(name)
        clone = scratch / "pyrunc"
        call("git", "clone", "-q", "--no-local", root, clone)
        call("git", "config", "--local", "user.signingkey", signing_key(root), cwd=clone)
        call("git", "tag", "-a" if dry else "-s", f"v{wanted}", "-m", f"pyrunc {wanted}", cwd=clone)
        if tests:
            call("make", "test", cwd=clone)
        first, second = (build(clone, scratch / directory) for directory in ("first", "second"))
        if first != second:
            raise Refused(f"two builds differ: {first} {second}")
        check_artefacts(scratch / "first", wanted, scratch)
        sums = "".join(f"{digest}  {file}\n" for file, digest in first.items())
        print(sums, end="")
        if dry:
            print(f"dry run: {wanted} can be released; nothing was changed")
            return
        (scratch / "first/SHA256SUMS").write_text(sums)
        key = signing_key(root)
        signer = ["--local-user", key] if key else []
        call("gpg", "--batch", *signer, "--armor", "--detach-sign", scratch / "first/SHA256SUMS")
        shutil.copytree(scratch / "first", root / "dist", dirs_exist_ok=True)
        call("git", "fetch", "-q", clone, f"refs/tags/v{wanted}:refs/tags/v{wanted}", cwd=root)
    print(f"dist/ has the artefacts of {wanted}. Left to do:")
    print(
        f"    git push origin v{wanted}, upload dist/*, raise __version__, and debian/changelog with the next release"
    )


def signing_key(root: Path) -> str:
    """git's user.signingkey, "" for the one of the committer."""
    done = subprocess.run(["git", "config", "user.signingkey"], cwd=root, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def main() -> int:
    parser = argparse.ArgumentParser(description="Make a release of pyrunc.")
    parser.add_argument("version")
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--no-tests", action="store_true")
    arguments = parser.parse_args()
    try:
        release(arguments.version, arguments.dry_run, not arguments.no_tests)
    except Refused as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
