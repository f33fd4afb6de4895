"""What the package needs beside its Python sources; used by setup.py and by the Makefile.

    python tools/build_parts.py [--launcher FILE [--launcher-only]]

In a checkout this makes pyrunc/machine/pyrunc-init and pyrunc/config/schema/_validator.py, each only
when a source is newer, and the launcher, a script that starts pyrunc from this checkout.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

import version

ROOT = Path(__file__).resolve().parent.parent

# No libc, no relocation, no section that is not needed at run time: see init.c.
INIT_FLAGS = """
    -std=gnu11 -Os -static -nostdlib -ffreestanding -fno-builtin -fno-stack-protector
    -no-pie -fno-pie -fno-asynchronous-unwind-tables -fno-unwind-tables
    -Wall -Wextra -Werror
    -Wl,--build-id=none -Wl,-z,noseparate-code -Wl,-z,noexecstack -s
""".split()

LAUNCHER = """\
#!{interpreter} -IS
import sys
{locate}
try:
    from pyrunc.cli import main
except ImportError as error:
    sys.exit(f"pyrunc: the installation is damaged: {{error}}")
sys.exit(main())
"""

# Installed, the script lies in PREFIX/bin and the package in PREFIX/lib/pythonX.Y/site-packages.
# A symbolic link to the script is followed; `os` stays outside the import budget.
LOCATE_INSTALLED = """\
import posix
path = __file__
while True:
    try:
        link = posix.readlink(path)
    except OSError:
        break
    path = link if link[0] == "/" else path.rpartition("/")[0] + "/" + link
site = path.rpartition("/")[0].rpartition("/")[0] + "/lib/python%d.%d/site-packages" % sys.version_info[:2]
# Debian's pip puts packages of the system's Python into the other.
sys.path[:0] = [site, site.replace("/site-packages", "/dist-packages")]"""

# pip writes the interpreter of the environment, without its options, into the first line.
WHEEL = """\
#!python
import sys
import posix
if not sys.flags.isolated or not sys.flags.no_site:
    posix.execv(sys.executable, [sys.executable, "-IS", __file__, *sys.argv[1:]])
{locate}
from pyrunc.cli import main
sys.exit(main())
"""

# In a script of `make install`: code comes only from files that nobody else may write, as in the executable
# (embedded/stage.py). A checkout's launcher does not ask: it lies in the checkout, so whoever could change the
# code could change the launcher. An environment's (a wheel's) belongs to whoever has made that.
TRUSTED = """\
class Trusted:
    # Finds modules where root, the caller and the owner of this script alone may write.
    finder = sys.meta_path[-1]
    owners = 0, posix.geteuid(), posix.stat(path).st_uid
    known = set()
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        spec = cls.finder.find_spec(name, path, target)
        for file in (spec.origin, spec.cached) if spec and spec.has_location else ():
            while file and file not in cls.known:
                try:
                    status = posix.stat(file)
                except FileNotFoundError:
                    pass  # what is compiled, and is not there; who could make it can write its directory
                else:
                    others = 0o002 if status.st_gid in (0, status.st_uid) else 0o022
                    if status.st_mode & 0o1000 and any(place.startswith(file + "/") for place in sys.path):
                        others = 0  # such as /tmp: what is below it stays its owner's
                    if status.st_uid not in cls.owners or status.st_mode & others:
                        raise ImportError(f"no code is loaded from {file}: others may write it")
                cls.known.add(file)
                file = file.rpartition("/")[0]
        return spec
sys.meta_path[-1] = Trusted"""


def base_interpreter() -> str:
    """The absolute path of the interpreter below any virtual environment, with its version.

    `python3` may come to mean another version, whose site-packages are elsewhere.
    """
    base = getattr(sys, "_base_executable", None) or sys.executable
    return os.path.realpath(base)


def launcher_text(package_parent: Path | None = None) -> str:
    """The text of the script `pyrunc`.

    package_parent: the directory that holds the package; None for an installed script, which
    finds the package beside itself. The first line names the interpreter itself, since engines
    call runtimes with an empty environment and the kernel passes just one argument.
    """
    if package_parent is None:
        locate = f"{LOCATE_INSTALLED}\n{TRUSTED}"
    else:
        locate = f"sys.path.insert(0, {str(package_parent)!r})"
    return LAUNCHER.format(interpreter=base_interpreter(), locate=locate)


def wheel_launcher() -> str:
    """The text of the script in a wheel: the environment's interpreter is not known yet."""
    return WHEEL.format(locate=LOCATE_INSTALLED)


def write_launcher(target: Path, package_parent: Path | None = None) -> None:
    """Write the script to `target`, unless it is there as it should be."""
    text = launcher_text(package_parent)
    # The embedded form may have been there before.
    if target.exists() and target.read_bytes() == text.encode():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    temporary.write_text(text)
    temporary.chmod(0o755)
    temporary.replace(target)


def build_init(target: Path, source: Path = ROOT / "pyrunc/machine/init.c") -> None:
    """Compile pyrunc-init. CC names another compiler, for instance a cross compiler."""
    command = [os.environ.get("CC", "cc"), *INIT_FLAGS, "-o", str(target), str(source)]
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(command, check=True)


def build_validator(target: Path, schemas: Path = ROOT / "schemas") -> None:
    """Compile the schemas into a Python module that accepts or refuses a configuration."""
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [sys.executable, "-m", "pyrunc.config.schema.compile_schema", str(schemas), str(target)],
        check=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def build_package(target: Path) -> None:
    """All of the package pyrunc, as it is installed: sources, pyrunc-init, the validator, the schemas."""
    built = ("__pycache__", "pyrunc-init", "_validator.py")
    shutil.copytree(ROOT / "pyrunc", target, ignore=shutil.ignore_patterns(*built), dirs_exist_ok=True)
    complete_package(target)


def complete_package(target: Path) -> None:
    """What the package has beside the sources, which are there; and the version, in them."""
    version.write(target, built=True)
    build_init(target / "machine/pyrunc-init")
    build_validator(target / "config/schema/_validator.py")
    shutil.copytree(ROOT / "schemas", target / "schemas", dirs_exist_ok=True)


def newer(target: Path, *sources: Path) -> bool:
    """Whether `target` exists and no source was changed after it."""
    if not target.exists():
        return False
    made = target.stat().st_mtime_ns
    return all(source.stat().st_mtime_ns <= made for source in sources)


def build_in_place(root: Path = ROOT) -> None:
    """Bring what is built into the checkout itself up to date."""
    init, source = root / "pyrunc/machine/pyrunc-init", root / "pyrunc/machine/init.c"
    if not newer(init, source, Path(__file__)):
        build_init(init, source)
    compiler = root / "pyrunc/config/schema/compile_schema.py"
    validator = root / "pyrunc/config/schema/_validator.py"
    if not newer(validator, compiler, *sorted((root / "schemas").glob("*.json"))):
        build_validator(validator)


def main() -> int:
    parser = argparse.ArgumentParser(description="Build what a checkout of pyrunc needs.")
    parser.add_argument("--launcher", type=Path, help="write a launcher for this checkout here")
    parser.add_argument("--launcher-only", action="store_true", help="build nothing else")
    arguments = parser.parse_args()
    if arguments.launcher:
        write_launcher(arguments.launcher, ROOT)
    if not arguments.launcher_only:
        build_in_place()
    return 0


if __name__ == "__main__":
    sys.exit(main())
