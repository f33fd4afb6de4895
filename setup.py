"""Build steps that pyproject.toml cannot say: the C programs, the validator, the launcher."""

import sys
from pathlib import Path

from setuptools import Command, Distribution, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "tools"))

import build_embedded  # noqa: E402
import build_parts  # noqa: E402
import sdist  # noqa: E402
import version  # noqa: E402


class BuildPython(build_py):
    """Add pyrunc-init, the compiled validator and the schemas to the package."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            build_parts.build_in_place()
            return
        build_parts.complete_package(Path(self.build_lib) / "pyrunc")


class BuildScripts(Command):
    """Put the executable in place, or the script where there is none, as it is.

    The usual step of this name would rewrite the script's first line.
    """

    user_options = [("build-dir=", "d", "directory to build to")]

    def initialize_options(self) -> None:
        self.build_dir: str | None = None
        self.build_lib: str | None = None

    def finalize_options(self) -> None:
        self.set_undefined_options("build", ("build_scripts", "build_dir"), ("build_lib", "build_lib"))

    def get_source_files(self) -> list[str]:
        return list(self.distribution.scripts)

    def get_outputs(self) -> list[str]:
        return [f"{self.build_dir}/pyrunc"]

    def run(self) -> None:
        package = Path(str(self.build_lib)) / "pyrunc"
        if not (package / "config/schema/_validator.py").exists():
            package = ROOT / "pyrunc"  # an editable installation
        build_embedded.build_or_script(Path(str(self.build_dir)) / "pyrunc", package)


class PlatformDistribution(Distribution):
    """A wheel for one platform: it holds a compiled program, if no extension module."""

    def has_ext_modules(self) -> bool:
        return True


setup(
    version=version.version(),
    cmdclass={"build_py": BuildPython, "build_scripts": BuildScripts, "sdist": sdist.SourceArchive},
    distclass=PlatformDistribution,
    scripts=["tools/build_parts.py"],  # the build step above puts the launcher in its place
)
