"""Build the embedded form of pyrunc: one executable, a CPython that has already started, with pyrunc's modules in it.

    python tools/build_embedded.py OUTPUT [--site DIRECTORY] [--package DIRECTORY]

The interpreter is the static libpython of the Python that runs this script, which Debian's
python3-dev has. Where it or a compiler is missing, or what was built does not run here, OUTPUT becomes the script that
does the same, only slower, and a note says so. Nothing is built while nothing that goes into it has changed.

--site: the directory that holds the package, absolute, or relative to the parent of the directory
that the executable will be in (default: lib/pythonX.Y/site-packages). --package: take this copy
of the package in place of the checkout's.

Environment: PYRUNC_HOME is the directory that the executable will be installed below, for copies of it that are put
elsewhere. PYRUNC_FORM=embedded makes it an error where the executable cannot be had, PYRUNC_FORM=script asks for the
script. PYRUNC_HASH_SEED is the seed of the hashes of strings; without it, it is drawn, or, where SOURCE_DATE_EPOCH is
set, taken from what the executable is made of.
"""

import argparse
import hashlib
import os
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

import build_parts
import executable
import image_modules
import image_trial

ROOT = Path(__file__).resolve().parent.parent
EMBEDDED = ROOT / "embedded"
SOURCES = [EMBEDDED / name for name in ("main.c", "heap.c", "heap.h")]

CFLAGS = "-std=gnu11 -O2 -fno-builtin -fno-pie -fno-stack-protector -Wall -Wextra -Werror".split()

# A fixed address: what is saved are addresses. Extension modules of cold code find the interpreter's symbols in the
# executable. For --wrap see main.c. The two heaps have places of their own, so that what is unused behind each is
# not in the file; a gap between them costs nothing.
LDFLAGS = """
    -no-pie -Wl,--export-dynamic -Wl,-z,norelro -Wl,--build-id=none -Wl,--wrap=PyInit__sha2
    -Wl,--section-start=.image_hot=0x10000000 -Wl,--section-start=.image_warm=0x11000000
    -Wl,--section-start=.image_cold=0x12000000
""".split()
EXTENSIONS_BASE = 0x14000000


class Unavailable(Exception):
    """This Python cannot be embedded here."""


def define(name: str, value: object) -> str:
    """A macro, a C string."""
    return f'-D{name}="{value}"'


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


def call(*command: str | Path, **options: Any) -> None:
    """Run a program of the build; raises Unavailable with what it says."""
    try:
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, **options)
    except FileNotFoundError as error:
        raise Unavailable(f"no compiler: {error}") from None
    if done.returncode:
        raise Unavailable(f"{Path(command[0]).name} says: {done.stderr.strip() or f'status {done.returncode}'}")


def shared_objects() -> dict[str, Path]:
    """Those of image_modules.EXTENSIONS that are not in libpython, and their files."""
    wanted = [name for name in image_modules.EXTENSIONS if name not in sys.builtin_module_names]
    code = "import sys, importlib.util as u; print(*(u.find_spec(name).origin for name in sys.argv[1:]), sep='\\n')"
    listed = subprocess.run(
        [build_parts.base_interpreter(), "-ISc", code, *wanted], capture_output=True, text=True, check=True
    )
    return dict(zip(wanted, map(Path, listed.stdout.split()), strict=True))


def build(output: Path, package: Path = ROOT / "pyrunc", site: str = "") -> None:
    """Compile, start and save; raises Unavailable where that cannot be done, or its result does not run."""
    variables = sysconfig.get_config_vars()
    library = Path(variables["LIBPL"]) / f"libpython{variables['LDVERSION']}.a"
    include = Path(sysconfig.get_path("include"))
    for needed in (library, include / "Python.h"):
        if not needed.exists():
            raise Unavailable(f"{needed} is not there (Debian: python3-dev)")
    relative = "lib/python{}.{}/site-packages".format(*sys.version_info)
    home = os.environ.get("PYRUNC_HOME", "")
    path = [sysconfig.get_path("stdlib"), variables["DESTSHARED"]]
    compiler = [
        *(os.environ.get("CC", "cc"), *CFLAGS, f"-I{include}", f"-I{EMBEDDED}"),
        define("EXECUTABLE", build_parts.base_interpreter()),
        define("PREFIX", sys.base_prefix),
        define("EXEC_PREFIX", sys.base_exec_prefix),
        define("STDLIB", path[0]),
        define("DYNLOAD", path[1]),
    ]
    linker = [str(library), *LDFLAGS, *libraries(variables)]
    objects = shared_objects()
    made_of = image_trial.made_of(library, objects)
    found = image_modules.gather(package, site or relative, f"{home}/{relative}" if home else "", path, made_of)
    seed = os.environ.get("PYRUNC_HASH_SEED", "")
    tools = [Path(__file__).resolve(), Path(executable.__file__), Path(image_trial.__file__)]
    identity = identify([*compiler, *linker, seed], library, found, [*SOURCES, *tools, *objects.values()])
    stamp = output.with_name(f".{output.name}.made-from")
    if output.exists() and stamp.exists() and stamp.read_text() == identity:
        return
    if not seed:
        drawn = hashlib.sha256(identity.encode()).digest() if "SOURCE_DATE_EPOCH" in os.environ else os.urandom(4)
        seed = str(int.from_bytes(drawn[:4], "little"))
    output.parent.mkdir(parents=True, exist_ok=True)
    stamp.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        stage = compile_stage(directory, compiler, linker, objects)
        (directory / "modules").write_bytes(found)
        run_stage(directory, stage, seed, "noted", "hot")
        memory, differing = executable.same(*(run_stage(directory, stage, seed, "hot", "noted") for _ in range(2)))
        if differing > 2000:
            raise Unavailable(f"two starts of the interpreter differ in {differing} places: it cannot be saved")
        # In the directory of the result: another may not allow programs.
        temporary = output.with_name(f".{output.name}.{os.getpid()}")
        try:
            # Written at once, a file lies in the page cache in large pieces, which makes fewer page faults.
            temporary.write_bytes(executable.save(stage.read_bytes(), executable.pieces(memory)))
            temporary.chmod(0o755)
            if package.name == "pyrunc" and (package / "commands").is_dir():
                image_trial.run(temporary, directory / "trial", package)
            temporary.replace(output)
        except image_trial.Failed as error:
            raise Unavailable(f"it was built, but does not run here: {error}") from None
        finally:
            temporary.unlink(missing_ok=True)
    stamp.write_text(identity)


def compile_stage(directory: Path, compiler: list[str], linker: list[str], objects: dict[str, Path]) -> Path:
    """Link the first program, with extension modules that are shared objects in it."""
    assembler, sections, table, base = "", [], "", EXTENSIONS_BASE
    for name, file in objects.items():
        try:
            linked = executable.link(file, name, base)
        except executable.Unfit as error:
            raise Unavailable(str(error)) from None
        assembler += linked.text
        sections += linked.sections
        table += f"extern PyObject *PyInit_{name}(void);\n"
        base = linked.end
    entries = "".join(f'{{"{name}", PyInit_{name}}}, ' for name in objects)
    (directory / "extensions.c").write_text(
        f"#include <Python.h>\n{table}extern struct _inittab extensions[];\n"
        f"struct _inittab extensions[] = {{{entries}{{0, 0}}}};\n"
    )
    head = '.section .image_pieces,"a",@progbits\n.balign 8\n.globl image_pieces\nimage_pieces:\n'
    tail = '.section .image_pieces,"a",@progbits\n.quad 0\n.section .note.GNU-stack,"",@progbits\n'
    (directory / "objects.s").write_text(head + assembler + tail)
    stage = directory / "stage"
    places = [f"-Wl,--section-start={section}={address:#x}" for section, address in sections]
    sources = [EMBEDDED / "main.c", EMBEDDED / "heap.c", directory / "extensions.c", directory / "objects.s"]
    call(*compiler, *sources, *linker, *places, "-o", stage)
    return stage


def run_stage(directory: Path, stage: Path, seed: str, hot: str, noted: str) -> bytes:
    """The memory of the interpreter when it has started; nothing of the environment is in it.

    hot: file with the numbers of allocations that are to lie together, maybe not there. noted: becomes such a file.
    """
    dump = directory / "memory"
    call(stage, "modules", seed, "memory", hot, noted, cwd=directory, env={}, stdin=subprocess.DEVNULL)
    return dump.read_bytes()


def identify(command: list[str], library: Path, found: bytes, sources: list[Path]) -> str:
    """A text that is another one when the result would be."""
    # Where the sources lie is of no consequence.
    digest = hashlib.sha256("\0".join(command).replace(str(ROOT), "").encode())
    digest.update(hashlib.sha256(found).digest())
    for file in (*sources, library):
        digest.update(file.name.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return f"{digest.hexdigest()}\n"


def build_or_script(output: Path, package: Path = ROOT / "pyrunc", site: str = "", parent: Path | None = None) -> bool:
    """The executable where it can be had, else the script; whether it is the executable.

    parent: as for build_parts.launcher_text, if it becomes the script. Raises Unavailable under PYRUNC_FORM=embedded.
    """
    form = os.environ.get("PYRUNC_FORM", "")
    try:
        if form == "script":
            raise Unavailable("PYRUNC_FORM=script asks for it")
        build(output, package, site)
    except Unavailable as error:
        if form == "embedded":
            raise
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
    try:
        build_or_script(arguments.output, arguments.package, arguments.site, parent)
    except Unavailable as error:
        print(f"build_embedded: PYRUNC_FORM=embedded, but it cannot be had: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
