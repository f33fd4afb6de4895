"""The first Python code in the embedded interpreter: pyrunc's own modules come out of the executable.

The interpreter stands where only C modules can be imported. Modules that the called command is known
to need are made at once, in an order in which each finds those that it imports; importlib's own way
costs several times as much. Any other frozen module goes through Finder, and what Finder does not
know completes the interpreter, so that files can be imported as usual.

    index       name -> (offset, size, whether it is a package), of pyrunc's modules; and of pyrunc-init, by its path
    extensions  name -> file, of extension modules of the standard library
    hot         command -> names of modules, in order

Import cost: none. `_embedded` is main.c.
"""

import builtins
import sys
from _frozen_importlib import BuiltinImporter, ModuleSpec
from _imp import create_builtin, create_dynamic, exec_builtin, exec_dynamic

from _embedded import complete, disable_gc, read, thaw  # type: ignore[import-not-found]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import CodeType, ModuleType
    from typing import Any

    Index = dict[str, tuple[int, int, bool]]

_new_module = type(sys)


class Extension:
    """Loader of the modules in `extensions`, which need no search (importlib.abc.Loader)."""

    @staticmethod
    def create_module(spec: ModuleSpec) -> "ModuleType":
        return create_dynamic(spec)

    @staticmethod
    def exec_module(module: "ModuleType") -> None:
        exec_dynamic(module)


class Finder:
    """Finder and loader of frozen modules (importlib.abc.MetaPathFinder, Loader)."""

    def __init__(self, index: "Index", extensions: "dict[str, str]", site: str) -> None:
        self.index = index
        self.extensions = extensions
        self.site = site

    def spec(self, name: str, package: bool) -> ModuleSpec:
        path = f"{self.site}/{name.replace('.', '/')}"
        file = f"{path}/__init__.py" if package else f"{path}.py"
        loader: Any = self
        spec = ModuleSpec(name, loader, origin=file, is_package=package)
        if package:
            # Modules of the package that are not frozen are found there.
            spec.submodule_search_locations = [path]
        return spec

    def find_spec(
        self, name: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None
    ) -> "ModuleSpec | None":
        known = self.index.get(name)
        if known is not None:
            return self.spec(name, known[2])
        file = self.extensions.get(name)
        if file is not None:
            loader: Any = Extension
            return ModuleSpec(name, loader, origin=file)
        # CPython's own frozen modules too need the complete interpreter (main.c); the finder of
        # files then comes at the end of sys.meta_path, which is walked as it grows.
        if name not in sys.builtin_module_names:
            complete()
        return None

    def create_module(self, spec: ModuleSpec) -> "ModuleType | None":
        return None

    def exec_module(self, module: "ModuleType") -> None:
        # importlib would ask for the compiled file that belongs to a spec with a location.
        module.__file__ = self.spec(module.__name__, self.index[module.__name__][2]).origin
        exec(self.get_code(module.__name__), module.__dict__)

    def get_code(self, name: str) -> "CodeType":
        offset, size, _ = self.index[name]
        code: CodeType = read(offset, size)
        return code

    def get_source(self, name: str) -> None:
        """For tracebacks (linecache): the source is not here."""

    def get_data(self, path: str) -> bytes:
        """A file of the package, which may be in the executable (importlib.abc.ResourceLoader)."""
        known = self.index.get(path.removeprefix(f"{self.site}/"))
        if known is not None:
            data: bytes = read(known[0], known[1])
            return data
        complete()
        with open(path, "rb") as file:
            return file.read()

    def module(self, name: str) -> "ModuleType":
        """A module as importlib would prepare it, in sys.modules; its code is still to be run."""
        package = self.index[name][2]
        spec = self.spec(name, package)
        module = sys.modules[name] = _new_module(name)
        names = module.__dict__
        names["__spec__"] = spec
        names["__loader__"] = self
        names["__file__"] = spec.origin
        if package:
            names["__path__"] = spec.submodule_search_locations
            names["__package__"] = name
        else:
            names["__package__"] = name.rpartition(".")[0]
        return module

    def make(self, listed: "Sequence[str]") -> None:
        """Import modules, each after those that it imports.

        A package may come after modules in it, if it imports them.
        """
        modules = sys.modules
        packages = {}
        for name in listed:
            known = self.index.get(name)
            if known is None:
                self.native(name)
                continue
            parent, _, child = name.rpartition(".")
            if parent and parent not in modules:
                packages[parent] = self.module(parent)
            module = packages.get(name) or self.module(name)
            exec(read(known[0], known[1]), module.__dict__)
            if parent:
                setattr(modules[parent], child, module)

    def native(self, name: str) -> None:
        """Import a module in C, unless the interpreter's own start has."""
        if name in sys.modules:
            return
        loader: Any
        file = self.extensions.get(name)
        if file is None:
            loader = BuiltinImporter
            spec = ModuleSpec(name, loader, origin="built-in")
            module = create_builtin(spec)
            exec_builtin(module)
        else:
            loader = Extension
            spec = ModuleSpec(name, loader, origin=file)
            module = create_dynamic(spec)
            exec_dynamic(module)
        # What importlib sets, and create_* does not.
        module.__spec__ = spec
        module.__loader__ = loader
        module.__package__ = ""
        sys.modules[name] = module


def open_(*args: "Any", **options: "Any") -> "Any":
    """Stands for `open`, which the interpreter gets when it is complete."""
    complete()
    return open(*args, **options)


def start(given: "tuple[Index, dict[str, str], dict[str, tuple[str, ...]]]", site: str) -> int:
    """Run pyrunc's command line; its exit status."""
    index, extensions, hot = given
    builtins.__thaw__ = thaw  # type: ignore[attr-defined]
    finder = Finder(index, extensions, site)
    sys.meta_path.insert(0, finder)
    for word in sys.argv[1:]:
        names = hot.get(word)
        if names is not None:
            # These commands do not live long enough for garbage to matter.
            disable_gc()
            builtins.open = open_
            finder.make(names)
            break
    else:
        complete()
    from pyrunc.cli import main

    return main()
