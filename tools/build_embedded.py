"""Build the embedded form of pyrunc: one executable with CPython and pyrunc's modules in it.

    python tools/build_embedded.py OUTPUT [--site DIRECTORY] [--package DIRECTORY]

The interpreter is the static libpython of the Python that runs this script, which Debian's
python3-dev has. Where it or a compiler is missing, OUTPUT becomes the script that does the same,
only slower, and a note says so. Nothing is built while nothing that goes into it has changed.

--site: the directory that holds the package, absolute, or relative to the parent of the directory
that the executable will be in (default: lib/pythonX.Y/site-packages). --package: freeze this copy
of the package in place of the checkout's. The environment's PYRUNC_HOME is the directory that the
executable will be installed below, for copies of it that are put elsewhere.
"""

import argparse
import hashlib
import os
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import build_parts
import freeze

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "embedded/main.c"

CFLAGS = "-std=gnu11 -O2 -fno-pie -fno-stack-protector -Wall -Wextra -Werror".split()

# At a fixed address nothing has to be relocated at the start. Extension modules of cold code find
# the interpreter's symbols in the executable. For --wrap see main.c.
LDFLAGS = """
    -no-pie -Wl,--export-dynamic -Wl,-z,norelro -Wl,--build-id=none -s
    -Wl,--wrap=_Py_Deepfreeze_Init -Wl,--wrap=PyInit__sha2
""".split()


class Unavailable(Exception):
    """This Python cannot be embedded here."""


def define(name: str, value: object) -> str:
    """A macro: numbers as they are, all else as a C string."""
    text = str(value)
    return f"-D{name}={text}" if text.isdigit() else f'-D{name}="{text}"'


def libraries(variables: dict[str, str]) -> list[str]:
    """What libpython needs; zlib and expat from their static libraries, so that they load at once."""
    words = f"{variables.get('MODLIBS', '')} {variables['LIBS']} {variables['SYSLIBS']}".split()
    found = []
    for word in dict.fromkeys(words):
        if word in ("-lz", "-lexpat"):
            found += ["-Wl,-Bstatic", word, "-Wl,-Bdynamic"]
        elif word.startswith("-l"):
            found.append(word)
    return found


def build(output: Path, package: Path = ROOT / "pyrunc", site: str = "") -> None:
    """Freeze, compile and link; raises Unavailable where this Python has no static library."""
    variables = sysconfig.get_config_vars()
    library = Path(variables["LIBPL"]) / f"libpython{variables['LDVERSION']}.a"
    include = Path(sysconfig.get_path("include"))
    for needed in (library, include / "Python.h"):
        if not needed.exists():
            raise Unavailable(f"{needed} is not there (Debian: python3-dev)")
    relative = "lib/python{}.{}/site-packages".format(*sys.version_info)
    home = os.environ.get("PYRUNC_HOME", "")
    with tempfile.TemporaryDirectory() as directory:
        command = [
            *(os.environ.get("CC", "cc"), *CFLAGS, f"-I{include}"),
            define("EXECUTABLE", build_parts.base_interpreter()),
            define("PREFIX", sys.base_prefix),
            define("EXEC_PREFIX", sys.base_exec_prefix),
            define("STDLIB", sysconfig.get_path("stdlib")),
            define("DYNLOAD", variables["DESTSHARED"]),
            define("SITE", site or relative),
            define("INSTALLED", f"{home}/{relative}" if home else ""),
            *(str(SOURCE), str(library), *LDFLAGS, *libraries(variables)),
        ]
        identity = identify(command, library, [SOURCE, *freeze.sources(package)])
        stamp = output.with_name(f".{output.name}.made-from")
        if output.exists() and stamp.exists() and stamp.read_text() == identity:
            return
        output.parent.mkdir(parents=True, exist_ok=True)
        stamp.unlink(missing_ok=True)
        temporary = output.with_name(f".{output.name}.{os.getpid()}")
        file = Path(directory) / "frozen"
        frozen, places = freeze.freeze(package)
        file.write_bytes(frozen)
        command += [define(name, number) for name, number in places.items()]
        linked = Path(directory) / "pyrunc"
        command += [define("FROZEN", file), "-o", str(linked)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError as error:
            raise Unavailable(f"no compiler: {error}") from None
        if done.returncode:
            raise Unavailable(f"the compiler says: {done.stderr.strip()}")
        # Written at once, a file lies in the page cache in large pieces, which makes fewer page faults; the linker
        # leaves single pages.
        temporary.write_bytes(linked.read_bytes())
        temporary.chmod(0o755)
        temporary.replace(output)
        stamp.write_text(identity)


def identify(command: list[str], library: Path, sources: list[Path]) -> str:
    """A text that is another one when the result would be."""
    status = library.stat()
    digest = hashlib.sha256("\0".join(command).encode())
    for file in sources:
        digest.update(str(file).encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return f"{digest.hexdigest()} {status.st_size} {status.st_mtime_ns}\n"


def build_or_script(output: Path, package: Path = ROOT / "pyrunc", site: str = "", parent: Path | None = None) -> bool:
    """The executable where it can be had, else the script; whether it is the executable.

    parent: as for build_parts.launcher_text, if it becomes the script.
    """
    try:
        build(output, package, site)
    except Unavailable as error:
        print(f"note: pyrunc is not embedded but a script, which is slower: {error}", file=sys.stderr)
        output.with_name(f".{output.name}.made-from").unlink(missing_ok=True)
        build_parts.write_launcher(output, parent)
        return False
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description="Build pyrunc with CPython embedded.")
    parser.add_argument("output", type=Path)
    parser.add_argument("--site", default="")
    parser.add_argument("--package", type=Path, default=ROOT / "pyrunc")
    arguments = parser.parse_args()
    parent = Path(arguments.site) if arguments.site.startswith("/") else None
    build_or_script(arguments.output, arguments.package, arguments.site, parent)
    return 0


if __name__ == "__main__":
    sys.exit(main())
