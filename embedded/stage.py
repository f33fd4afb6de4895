"""What the image consists of, and how the rest is found: run by the stage (main.c) when pyrunc is built.

Every module of pyrunc whose imports are C modules of the interpreter's or pyrunc's own becomes part of the image; what
needs more is cold. In the executable, Finder answers the import of what is not in the image: cold modules come from
the installation's files. Only then the interpreter learns its search path, and only files that nobody else may write
are taken.

    given   modules: name -> (whether it is a package, code); files: path -> bytes, what pyrunc reads of its own files;
            first: names of modules to import before the others, so that what is used together lies together;
            rehearsal, used: code of rehearsal.py and used.py;
            site: the directory that holds the package, absolute, or relative to the parent of the executable's
            directory;
            installed: where it is if not there, or ""; path: the standard library's directories
"""

import gc
import posix
import sys
import time
from _frozen_importlib import BuiltinImporter, FrozenImporter, ModuleSpec
from _frozen_importlib_external import PathFinder
from _io import open as open_

from _embedded import immortal  # type: ignore[import-not-found]

#: Often enough for all that CPython does by counting.
TIMES = 20

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import CodeType, ModuleType
    from typing import Any, TypedDict

    class Given(TypedDict):
        modules: dict[str, tuple[bool, CodeType]]
        files: dict[str, bytes]
        first: tuple[str, ...]
        rehearsal: CodeType
        used: CodeType
        site: str
        installed: str
        path: tuple[str, ...]

    given: Given
else:
    CodeType = type((lambda: None).__code__)


class Damaged(ImportError):
    """A file that belongs to the installation is not there, or is not to be trusted."""


class Finder:
    """Finder of all modules; loader of those of the image (importlib.abc.MetaPathFinder, ResourceLoader)."""

    def __init__(self, given: "Given") -> None:
        self.modules = given["modules"]
        self.files = given["files"]
        self.site, self.installed = given["site"], given["installed"]
        self.path = given["path"]
        self.staging = True
        self.complete = False
        self.owners: set[int] = set()
        self.trusted: set[str] = set()

    def find_spec(self, name: str, path: "Sequence[str] | None" = None, target: object = None) -> "ModuleSpec | None":
        spec: ModuleSpec | None
        if self.staging and name in self.modules:
            package = self.modules[name][0]
            spec = ModuleSpec(name, self, origin=self.file(name), is_package=package)  # type: ignore[arg-type]
            spec.has_location = True
            if package:
                spec.submodule_search_locations = [name.replace(".", "/")]
            return spec
        spec = BuiltinImporter.find_spec(name)
        if spec is not None:
            return spec
        if self.staging:
            raise Damaged(f"{name} is no part of the image")
        if not self.complete:
            self.complete = True
            self.bring_up()
            if path is not None:
                # The package's own, which only now says where it is.
                path = getattr(sys.modules[name.rpartition(".")[0]], "__path__", path)
        spec = FrozenImporter.find_spec(name) or PathFinder.find_spec(name, path)
        if spec is not None:
            self.check(spec)
        elif name in sys.stdlib_module_names or name.startswith("pyrunc."):
            self.missing(name)
        return spec

    def file(self, name: str) -> str:
        """The source of a module, relative to `site`."""
        return name.replace(".", "/") + ("/__init__.py" if self.modules[name][0] else ".py")

    @staticmethod
    def create_module(spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: "ModuleType") -> None:
        exec(self.modules[module.__name__][1], module.__dict__)

    def get_data(self, path: str) -> bytes:
        """A file of the package; those that hot commands read are in the image."""
        known = self.files.get(path.removeprefix(self.site + "/"))
        if known is not None:
            return known
        with open_(path, "rb") as file:
            data: bytes = file.read()
        return data

    def bring_up(self) -> None:
        """Complete the interpreter, once: what cold code may ask for and hot code does not."""
        gc.enable()
        time.tzset()
        try:
            program = posix.readlink("/proc/self/exe")
            # Who owns the program may exchange it, and the caller may do what pyrunc could do for him.
            self.owners |= {0, posix.geteuid(), posix.stat("/proc/self/exe").st_uid}
        except FileNotFoundError:
            raise Damaged("cannot tell where pyrunc is installed: is /proc mounted?") from None
        prefix = program.rpartition("/")[0].rpartition("/")[0]
        if self.site[0] != "/":
            beside = prefix + "/" + self.site
            # Debian's pip puts packages of the system's Python into the other.
            for site in (beside, beside.replace("/site-packages", "/dist-packages"), self.installed):
                if site and self.is_there(site):
                    self.site = site
                    break
            else:
                self.site = beside
        if not self.is_there(self.path[0], "/os.py"):
            self.path = self.library_of(prefix) or self.path
        sys.path[:] = [self.site, *self.path]
        for name, module in sys.modules.items():
            if name in self.modules:
                module.__file__ = f"{self.site}/{self.file(name)}"
                if self.modules[name][0]:
                    module.__path__[:] = [module.__file__.rpartition("/")[0]]
        if not self.is_there(self.path[0], "/os.py"):
            version = f"Python {sys.version_info[0]}.{sys.version_info[1]}"
            raise Damaged(f"{self.path[0]} is not there: install {version}, or build pyrunc anew for another")

    def library_of(self, prefix: str) -> "tuple[str, ...]":
        """The standard library of the environment that the executable was installed into, as a wheel; () if none is
        there. It is of the same version: a wheel is of one (pyvenv.cfg: Python's documentation of venv).
        """
        homes = [prefix]
        try:
            with open_(f"{prefix}/pyvenv.cfg", encoding="utf-8") as lines:
                values = dict(line.replace(" ", "").strip().split("=", 1) for line in lines if "=" in line)
            homes.insert(0, values["home"].rpartition("/")[0])
        except (FileNotFoundError, KeyError):
            pass
        for home in homes:
            library = f"{home}/lib/python{sys.version_info[0]}.{sys.version_info[1]}"
            if self.is_there(library, "/os.py"):
                return library, f"{library}/lib-dynload"
        return ()

    @staticmethod
    def is_there(directory: str, file: str = "/pyrunc") -> bool:
        try:
            posix.stat(directory + file)
        except OSError:
            return False
        return True

    def missing(self, name: str) -> None:
        """For --debug: `except ImportError` may be the end of it."""
        log = sys.modules.get("pyrunc.log")
        if log is not None:
            log.log.debug(f"no module {name} in {':'.join(sys.path)}")

    def check(self, spec: ModuleSpec) -> None:
        """Raise Damaged where others than root, the caller and the program's owner may write what would be
        executed."""
        for path in (spec.origin, spec.cached):
            if path and spec.has_location and path[0] == "/":
                self.check_path(path)

    def check_path(self, path: str) -> None:
        while path and path not in self.trusted:
            try:
                status = posix.stat(path)
            except FileNotFoundError:
                pass  # `cached` that is not there; whoever could make it can write its directory
            else:
                others = 0o002 if status.st_gid in (0, status.st_uid) else 0o022
                if status.st_mode & 0o1000 and any(place.startswith(path + "/") for place in sys.path):
                    others = 0  # such as /tmp: what is below it stays its owner's
                if status.st_uid not in self.owners or status.st_mode & others:
                    raise Damaged(f"no code is loaded from {path}: others may write it")
            self.trusted.add(path)
            path = path.rpartition("/")[0]


class Stream:
    """Stands for a standard stream, which is made when something first asks for it.

    Each stays in `made`: print() holds no reference to sys.stdout while it writes.
    """

    made: "list[Stream]" = []

    def __init__(self, name: str, fd: int, mode: str) -> None:
        self._make = name, fd, mode
        self.made.append(self)

    def __getattr__(self, attribute: str) -> object:
        name, fd, mode = self._make
        try:
            errors = "backslashreplace" if fd == 2 else "surrogateescape"
            stream = open_(fd, mode, 1 if fd == 2 or posix.isatty(fd) else -1, "utf-8", errors, closefd=False)
        except OSError:
            stream = None
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
        return getattr(stream, attribute)


def start() -> int:
    """Run pyrunc's command line; its exit status."""
    try:
        status: int = main()
    except KeyboardInterrupt:
        return 130  # before main's own answer to it, or in it
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and type(stream) is not Stream:
            try:
                stream.flush()
            except (OSError, ValueError):
                pass
    return status


def import_all(finder: Finder, first: "Sequence[str]") -> None:
    """Import what belongs to the image."""
    for name in (*first, *finder.modules):
        try:
            __import__(name)
        except Damaged:
            pass
    for name in [name for name in finder.modules if name not in sys.modules]:
        del finder.modules[name]
    missing = set(first).difference(sys.modules)
    if missing:
        raise ImportError(f"hot modules import what is not in the interpreter: {sorted(missing)}")


def warm_up(times: int) -> None:
    """Run what fails at once."""
    for _ in range(times):
        for words in (("state", "x"), ("kill", "x"), ("delete", "x"), ("start", "x"), ("exec", "x", "true")):
            sys.modules["pyrunc.cli"].main(("--root", "/nonexistent", *words))


def run(code: "CodeType") -> "dict[str, Any]":
    """Run a part of the stage that is a file of its own; what it defines."""
    members: dict[str, Any] = {"__name__": "stage"}
    exec(code, members)
    return members


def forget(finder: Finder) -> None:
    """Leave nothing behind of this process."""
    finder.modules = {name: (package, None) for name, (package, _) in finder.modules.items()}  # type: ignore[misc]
    finder.staging = False
    sys.path.clear()
    sys.path_importer_cache.clear()
    sys.argv.clear()
    sys.orig_argv.clear()
    posix.environ.clear()
    for name, fd, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        stream = Stream(name, fd, mode)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def settle() -> None:
    """Called when the stage's own things are gone: what is here now stays.

    No garbage collection until something cold is imported: hot commands do not live long enough for it to matter. The
    last one empties CPython's free lists, so that what a command makes new lies together.
    """
    todo = gc.get_objects()
    seen = {id(todo)}
    while todo:
        value = todo.pop()
        if id(value) not in seen:
            seen.add(id(value))
            todo += gc.get_referents(value)
            if isinstance(value, CodeType):
                todo += (value.co_consts, value.co_names)
            immortal(value)
    gc.collect()
    gc.disable()
    gc.freeze()


def stage(given: "Given") -> "Any":
    """Load the image; `main` of pyrunc.cli."""
    finder = Finder(given)
    sys.meta_path[:] = [finder]
    import_all(finder, given["first"])
    if "pyrunc.commands.state" in sys.modules:  # not a test's own package
        rehearse = run(given["rehearsal"])["rehearse"]
        used = run(given["used"])["Used"](finder.modules)
        sys.setprofile(used.watch)
        warm_up(1)
        rehearse(1)
        # While it is watched, CPython does not specialise it.
        sys.setprofile(None)
        warm_up(TIMES)
        rehearse(TIMES)
        used.note()
    forget(finder)
    return sys.modules["pyrunc.cli"].main


main = stage(given)  # noqa: F821 - main.c gives it
del given  # noqa: F821
