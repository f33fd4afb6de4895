"""Packages and installations on clean machines: root file systems of Debian 12 and 13, which have nothing of pyrunc's.

    python tests/packaging/run.py [--only NAME]... [--rounds N] [bookworm] [trixie]

In each: the Debian package is built, checked by lintian, installed, upgraded and removed; a checkout says `make run`
and `make install`; pip installs the wheel (on_root.py has what is looked at); docs/tutorial.md is typed. Figures come
as a table at the end.

Needs root, mmdebstrap, and an archive of Debian's; a suite that cannot be had is told with the reason, and fails.
The roots are kept in build/packaging. Exit status: 0 if all went well.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import version  # noqa: E402

HERE = ROOT / "tests/packaging"
WORK = ROOT / "build/packaging"
SUITES = ("bookworm", "trixie")
MIRROR = os.environ.get("DEBIAN_MIRROR", "http://deb.debian.org/debian")


class Failed(Exception):
    """What went wrong, with the end of what was said."""


class Figures:
    """Lines of the table: what, in which suite, how much."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, str]] = []

    def add(self, suite: str, what: str, much: str) -> None:
        self.lines.append((suite, what, much))
        print(f"{suite}: {what}: {much}", flush=True)

    def show(self) -> None:
        print("\n| suite | what | |\n|---|---|---|")
        for line in self.lines:
            print(f"| {' | '.join(line)} |")


def call(*words: str | Path, log: Path) -> None:
    """Run a command; its output goes to a file."""
    with log.open("ab") as file:
        done = subprocess.run(
            [os.fspath(word) for word in words], stdin=subprocess.DEVNULL, stdout=file, stderr=file, check=False
        )
    if done.returncode:
        lines = log.read_text(errors="replace").splitlines()[-25:]
        raise Failed(f"{' '.join(map(str, words))}: exit status {done.returncode}\n" + "\n".join(lines))


class Machine:
    """A root file system that is gone afterwards."""

    def __init__(self, suite: str, name: str) -> None:
        self.suite = suite
        self.directory = WORK / f"{suite}-{name}"
        self.log = WORK / f"{suite}-{name}.log"
        self.log.unlink(missing_ok=True)

    def __enter__(self) -> "Machine":
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)
        # What Debian's tools make of device nodes is not needed: /dev is this machine's.
        call("tar", "-C", self.directory, "--exclude=./dev/*", "-xf", WORK / f"{self.suite}.tar", log=self.log)
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)

    def run(self, *words: str) -> float:
        """Run a command in it; the seconds that it took."""
        before = time.monotonic()
        call(HERE / "in-root", self.directory, *words, log=self.log)
        return time.monotonic() - before

    def look(self, *words: str) -> list[str]:
        """Run on_root.py in it; its figures, a line each."""
        target = self.directory / "look"
        target.mkdir(exist_ok=True)
        shutil.copy2(HERE / "on_root.py", target)
        start = self.log.stat().st_size
        self.run("python3", "/look/on_root.py", *words)
        with self.log.open("rb") as file:
            file.seek(start)
            said = file.read().decode(errors="replace").splitlines()
        return [line.removeprefix("figure: ") for line in said if line.startswith("figure: ")]


def make_root(suite: str) -> None:
    """The clean root of a suite, as an archive, unless it is there."""
    archive = WORK / f"{suite}.tar"
    if archive.exists():
        return
    if not shutil.which("mmdebstrap"):
        raise Failed("mmdebstrap is not installed")
    temporary = WORK / f".{suite}.tar"
    log = WORK / f"{suite}.log"
    try:
        packages = "--include=ca-certificates,make,mount,busybox-static"
        call("mmdebstrap", "--variant=apt", packages, suite, temporary, MIRROR, log=log)
        temporary.replace(archive)
    finally:
        temporary.unlink(missing_ok=True)


def package(suite: str, rounds: int, figures: Figures) -> None:
    """Build the package in one machine, use it in another."""
    keep = WORK / f"{suite}-packages"
    shutil.rmtree(keep, ignore_errors=True)
    keep.mkdir()
    with Machine(suite, "build") as machine:
        call(sys.executable, ROOT / "tools/deb.py", "source", machine.directory / "src/pyrunc", log=machine.log)
        machine.run("sh", "-c", "apt-get update -q && apt-get install -y -q --no-install-recommends lintian dpkg-dev")
        machine.run("sh", "-c", "cd /src/pyrunc && apt-get build-dep -y -q --no-install-recommends ./")
        seconds = machine.run("unshare", "-n", "python3", "/src/pyrunc/tools/deb.py", "build", "/src/pyrunc")
        figures.add(suite, "package: build without a network, and lintian", f"{seconds:.0f} s")
        for file in (machine.directory / "src").glob("*.deb"):
            shutil.copy2(file, keep)
    deb = next(keep.glob("*.deb"))
    figures.add(suite, "package: size", f"{deb.stat().st_size / 1e6:.1f} MB")
    with Machine(suite, "use") as machine:
        place = machine.directory / "packages"
        place.mkdir()
        shutil.copy2(deb, place / "first.deb")
        # The same with a higher version.
        call("dpkg-deb", "-R", deb, place / "tree", log=machine.log)
        control = place / "tree/DEBIAN/control"
        text = control.read_text()
        version = next(line for line in text.splitlines() if line.startswith("Version: "))
        control.write_text(text.replace(version, f"{version}+next"))
        call("dpkg-deb", "-b", place / "tree", place / "second.deb", log=machine.log)
        shutil.rmtree(place / "tree")
        machine.run("apt-get", "update", "-q")
        seconds = machine.run("apt-get", "install", "-y", "-q", "--no-install-recommends", "/packages/first.deb")
        figures.add(suite, "package: installed in", f"{seconds:.0f} s")
        for line in machine.look("package", str(rounds)):
            figures.add(suite, *line.split(" = "))


def checkout(suite: str, rounds: int, figures: Figures) -> None:
    """What the README says, in a copy of this tree."""
    with Machine(suite, "checkout") as machine:
        copy_tree(machine.directory / "src/pyrunc")
        seconds = machine.run("make", "-C", "/src/pyrunc", "run")
        figures.add(suite, "checkout: make run on a clean machine", f"{seconds:.0f} s")
        seconds = machine.run("unshare", "-n", "make", "-C", "/src/pyrunc", "run")
        figures.add(suite, "checkout: make run once more, without a network", f"{seconds:.0f} s")
        for line in machine.look("checkout", str(rounds)):
            figures.add(suite, *line.split(" = "))


def copy_tree(target: Path) -> None:
    """What git has, as it is now."""
    for name in filter(None, version.git(ROOT, "ls-files", "-z").split("\0")):
        if (ROOT / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name, follow_symlinks=False)


def wheel(suite: str, rounds: int, figures: Figures) -> None:
    """This machine's wheels, by pip."""
    code = "import sys; import setuptools.build_meta as it; to = sys.argv[1]; it.build_wheel(to)"
    with Machine(suite, "wheel") as machine:
        source, wheels = machine.directory / "src", machine.directory / "wheels"
        copy_tree(source)
        wheels.mkdir()
        for form in ("", "script"):
            words: list[str | Path] = [
                "sh",
                "-c",
                'cd "$1" && PYRUNC_FORM=$2 exec "$3" -c "$4" "$5"',
                "sh",
                source,
                form,
            ]
            call(*words, sys.executable, code, wheels, log=machine.log)
            shutil.rmtree(source / "build")
        for file in sorted(wheels.iterdir()):
            figures.add(suite, f"wheel: {file.name.split('-', 2)[2]}", f"{file.stat().st_size / 1e6:.1f} MB")
        machine.run("sh", "-c", "apt-get update -q && apt-get install -y -q --no-install-recommends python3-venv")
        for line in machine.look("wheel", str(rounds)):
            figures.add(suite, *line.split(" = "))


def tutorial(suite: str, rounds: int, figures: Figures) -> None:
    """docs/tutorial.md, typed."""
    with Machine(suite, "tutorial") as machine:
        copy_tree(machine.directory / "src/pyrunc")
        # For who types.
        machine.run("sh", "-c", "apt-get update -q && apt-get install -y -q --no-install-recommends python3")
        page = "python3 tests/packaging/tutorial.py docs/tutorial.md"
        seconds = machine.run("sh", "-c", f"cd /src/pyrunc && {page}")
        figures.add(suite, "tutorial: typed in", f"{seconds:.0f} s")


PARTS = {"package": package, "checkout": checkout, "wheel": wheel, "tutorial": tutorial}


def main() -> int:
    parser = argparse.ArgumentParser(description="Try packages and installations on clean roots.")
    parser.add_argument("suites", nargs="*", default=SUITES)
    parser.add_argument("--only", action="append", choices=PARTS)
    parser.add_argument("--rounds", type=int, default=20, help="installations under a running engine")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        print("packaging: needs root", file=sys.stderr)
        return 1
    WORK.mkdir(parents=True, exist_ok=True)
    figures = Figures()
    failed = 0
    for suite in arguments.suites:
        try:
            make_root(suite)
        except Failed as error:
            print(f"packaging: no clean root of {suite}: {error}", file=sys.stderr)
            failed += 1
            continue
        for name in arguments.only or PARTS:
            try:
                PARTS[name](suite, arguments.rounds, figures)
            except Failed as error:
                print(f"packaging: {suite}: {name}: {error}", file=sys.stderr)
                failed += 1
    figures.show()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
