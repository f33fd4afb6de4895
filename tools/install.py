"""Install pyrunc, or remove it.

    python tools/install.py install DESTDIR PREFIX
    python tools/install.py uninstall DESTDIR PREFIX

PREFIX/lib/pyrunc/N is an installation, the N-th, with all that it needs; PREFIX/bin/pyrunc is a link into the newest.
An installation is built beside those that are there, and becomes the one that is used by the exchange of that link, so
that there is a runtime at any moment, and the old one where this fails or is interrupted. The one before stays: it may
have been started just now. Older ones go, unless a process uses them.

DESTDIR, empty or a staging directory, goes before PREFIX and is nowhere in what is installed. The libraries of others
are those of this interpreter's environment: nothing is fetched.

Environment: LIBRARIES=system leaves them out, and takes those that the distribution has for its Python.
PYRUNC_INSTALLATION is a name in place of the number, for packages, whose files are to keep their paths, and which
compile modules when they are installed.
PYRUNC_FORM and the others of tools/build_embedded.py.
"""

import argparse
import compileall
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import build_embedded
import build_parts
import copy_dependencies

ROOT = Path(__file__).resolve().parent.parent
VERSION = "python{}.{}".format(*sys.version_info)

#: What an installation of before they had numbers consists of.
UNNUMBERED = ("bin", "include", "lib", "lib64", "pyvenv.cfg", "man-pages")

COMPLETIONS = {
    "pyrunc.bash": "share/bash-completion/completions/pyrunc",
    "_pyrunc": "share/zsh/site-functions/_pyrunc",
    "pyrunc.fish": "share/fish/vendor_completions.d/pyrunc.fish",
}


class Installation:
    """What is installed below a prefix. `record` in each numbered directory lists what lies outside of it, a line each,
    relative to the prefix; names of directories that were made for it end in a slash."""

    def __init__(self, destdir: str, prefix: str) -> None:
        self.home = f"{prefix}/lib/pyrunc"
        self.prefix = Path(destdir + prefix)
        self.directory = Path(destdir + self.home)
        self.link = self.prefix / "bin/pyrunc"

    def numbers(self) -> list[str]:
        """The names of all installations, the newest last."""
        found = [file.parent.name for file in self.directory.glob("[!.]*/record")]
        return sorted(found, key=lambda name: (name.isdecimal(), int(name) if name.isdecimal() else 0))

    def current(self) -> str:
        """The name of the one that the link leads to, "" if to none."""
        try:
            return os.readlink(self.link).rpartition("lib/pyrunc/")[2].partition("/")[0]
        except OSError:
            return ""

    def recorded(self) -> set[str]:
        """What all installations have put outside of their directories."""
        lines: set[str] = set()
        for name in self.numbers():
            lines |= set((self.directory / name / "record").read_text().splitlines())
        if (self.directory / "man-pages").exists():
            lines |= {f"share/man/{page}" for page in (self.directory / "man-pages").read_text().splitlines()}
        return lines

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else installs or removes. The lock's file goes with the directory."""
        while True:
            with (self.directory / ".lock").open("w") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                try:
                    same = os.stat(file.name).st_ino == os.fstat(file.fileno()).st_ino
                except FileNotFoundError:
                    same = False
                if not same:  # removed while this waited
                    make_directories(self.directory)
                    continue
                for left in self.directory.glob(".new-*"):  # by a kill
                    shutil.rmtree(left)
                yield
                return

    def install(self) -> None:
        made = make_directories(self.directory)
        with self.locked():
            numbers = [int(name) for name in self.numbers() if name.isdecimal()]
            name = os.environ.get("PYRUNC_INSTALLATION") or str(max(numbers, default=0) + 1)
            new = self.directory / f".new-{os.getpid()}"
            try:
                new.mkdir()
                form = build(new, f"{self.home}/{name}")
                before = self.current()
                outside, directories = self.put_outside()
                made += directories
                old = self.recorded()
                lines = outside + [f"{path.relative_to(self.prefix)}/" for path in made if self.inside(path)]
                lines += [line for line in old if line.endswith("/")]
                (new / "record").write_text("".join(f"{line}\n" for line in sorted(set(lines))))
                if os.environ.get("PYRUNC_INSTALLATION"):
                    shutil.rmtree(self.directory / name, ignore_errors=True)
                new.rename(self.directory / name)
            finally:
                shutil.rmtree(new, ignore_errors=True)
            replace_link(self.link, f"../lib/pyrunc/{name}/bin/pyrunc")
            for line in old.difference(lines):
                (self.prefix / line).unlink(missing_ok=True)
            self.remove_old({name, before})
        print(f"installed {self.link} ({form})")

    def inside(self, path: Path) -> bool:
        return path.is_relative_to(self.prefix) and path != self.prefix

    def put_outside(self) -> tuple[list[str], list[Path]]:
        """Manual pages and completions, each exchanged whole; their names, and the directories made for them."""
        files = {f"share/man/man{page.suffix[1:]}/{page.name}": page for page in (ROOT / "man").glob("*.[1-9]")}
        files |= {target: ROOT / "completions" / name for name, target in COMPLETIONS.items()}
        made = make_directories(self.link.parent)
        for name, source in files.items():
            target = self.prefix / name
            made += make_directories(target.parent)
            temporary = target.with_name(f".{target.name}.{os.getpid()}")
            shutil.copyfile(source, temporary)
            temporary.chmod(0o644)
            temporary.replace(target)
        return [*files, "bin/pyrunc"], made

    def remove_old(self, keep: set[str]) -> None:
        """Remove installations that nobody uses, but for those to keep."""
        for name in self.numbers():
            if name not in keep and not in_use(self.directory / name, self.link):
                shutil.rmtree(self.directory / name)
        if "bin" not in keep and not in_use(self.directory / "bin", self.link):
            for name in UNNUMBERED:
                remove(self.directory / name)

    def uninstall(self) -> None:
        """Remove everything that an installation made, and nothing else."""
        if not self.directory.is_dir():
            return
        with self.locked():
            lines = self.recorded()
            ours = os.path.realpath(self.link).startswith(f"{self.directory.resolve()}/")
            for line in sorted(lines):
                if not line.endswith("/") and (line != "bin/pyrunc" or ours):
                    (self.prefix / line).unlink(missing_ok=True)
            if ours:
                self.link.unlink(missing_ok=True)
            shutil.rmtree(self.directory)
        for line in sorted(lines, reverse=True):
            if line.endswith("/"):
                try:
                    (self.prefix / line).rmdir()
                except OSError as error:
                    if not (self.prefix / line).is_dir() or any((self.prefix / line).iterdir()):
                        continue  # somebody else's
                    raise error from None


def build(target: Path, home: str) -> str:
    """Build all of an installation in `target`, which will be `home`; a word on its form.

    `home` is what copies of the executable that lie elsewhere look for.
    """
    site = target / "lib" / VERSION / "site-packages"
    package = site / "pyrunc"
    build_parts.build_package(package)
    os.environ["PYRUNC_HOME"] = home
    embedded = build_embedded.build_or_script(target / "bin/pyrunc", package)
    if embedded:
        readable_as_script(target / "bin/pyrunc")
    (target / "bin/.pyrunc.made-from").unlink(missing_ok=True)
    shared = os.environ.get("LIBRARIES") == "system"
    if not shared:
        copy_dependencies.copy_all(site, without=("python-prctl",) if embedded else ())
    (target / "pyvenv.cfg").write_text(
        f"home = {Path(build_parts.base_interpreter()).parent}\ninclude-system-site-packages = {str(shared).lower()}\n"
    )
    # Their names in tracebacks are those of where they will be. Packages compile when they are installed.
    final = f"{home}/lib/{VERSION}/site-packages"
    if not os.environ.get("PYRUNC_INSTALLATION") and not compileall.compile_dir(site, ddir=final, quiet=2):
        raise SystemExit("install: a module cannot be compiled")
    subprocess.run([target / "bin/pyrunc", "--version"], env={}, stdout=subprocess.DEVNULL, check=True)
    return "with CPython embedded" if embedded else 'a script: see docs/design.md, "The two forms"'


def readable_as_script(program: Path) -> None:
    """Append to an executable, as a zip archive, what Python executes where it is given that file.

    The kernel reads a script's first line and starts Python, which opens the script by its name. In between, the link
    may have come to lead to an executable.
    """
    text = build_parts.launcher_text().partition("\n")[2].replace("= __file__", '= __file__.rpartition("/")[0]')
    with zipfile.ZipFile(program, "a") as archive:
        archive.writestr(zipfile.ZipInfo("__main__.py"), text)


def make_directories(path: Path) -> list[Path]:
    """As mkdir -p; those that it made."""
    made: list[Path] = []
    while not path.is_dir():
        made.append(path)
        path = path.parent
    for each in reversed(made):
        each.mkdir(exist_ok=True)
    return made


def replace_link(link: Path, target: str) -> None:
    """Let a symbolic link lead to `target`; at any moment it leads somewhere."""
    temporary = link.with_name(f".{link.name}.{os.getpid()}")
    temporary.symlink_to(target)
    try:
        temporary.replace(link)
    except OSError:
        temporary.unlink()
        raise


def remove(path: Path) -> None:
    """A file, a link, or a directory with what is in it, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def in_use(directory: Path, link: Path) -> bool:
    """Whether a process executes a program below a directory. A script's process shows only the link's name, so it
    counts for all directories."""
    below = f"{directory.resolve()}/"
    names = {os.fsencode(link), os.fsencode(link.resolve())}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            program = os.readlink(process / "exe")
            words = (process / "cmdline").read_bytes().split(b"\0")[1:3]
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # gone, a thread of the kernel's, or somebody else's
        if program.startswith(below) or any(word in names or word.startswith(below.encode()) for word in words):
            return True
    return False


def main() -> int:
    parser = argparse.ArgumentParser(description="Install or remove pyrunc.")
    parser.add_argument("action", choices=("install", "uninstall"))
    parser.add_argument("destdir")
    parser.add_argument("prefix", type=lambda word: word.rstrip("/"))
    arguments = parser.parse_args()
    if not arguments.prefix.startswith("/"):
        print("install: PREFIX must be absolute, and not the root directory", file=sys.stderr)
        return 1
    os.umask(0o022)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    installation = Installation(arguments.destdir.rstrip("/"), arguments.prefix)
    try:
        if arguments.action == "install":
            installation.install()
        else:
            installation.uninstall()
    except KeyboardInterrupt:
        print("install: interrupted; what was installed is whole", file=sys.stderr)
        return 130
    except build_embedded.Unavailable as error:
        print(f"install: PYRUNC_FORM=embedded, but it cannot be had: {error}", file=sys.stderr)
        return 1
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"install: {error}; what was installed is whole", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
