"""Build steps that pyproject.toml cannot say: the C programs, the validator, the launcher."""

import platform
import sys
from pathlib import Path

from setuptools import Command, Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "tools"))

import build_embedded  # noqa: E402
import build_parts  # noqa: E402
import executable  # noqa: E402
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
        build_embedded.build_or_script(self.program(), package)
        if not self.is_executable():
            self.program().write_text(build_parts.wheel_launcher())

    def program(self) -> Path:
        return Path(str(self.build_dir)) / "pyrunc"

    def is_executable(self) -> bool:
        """Whether what was built is the executable."""
        return self.program().read_bytes()[:4] == b"\x7fELF"


class Wheel(bdist_wheel):
    """A wheel whose tag says what is in it: the executable, for one version of Python and what C library it needs, or
    the script, for any version. So pip takes the executable only where it runs."""

    def get_tag(self) -> tuple[str, str, str]:
        scripts = self.get_finalized_command("build_scripts")
        machine = platform.machine()
        if not scripts.is_executable():
            return "py3", "none", f"linux_{machine}"
        python = "cp{}{}".format(*sys.version_info)
        library = executable.glibc(scripts.program().read_bytes()).replace(".", "_")
        return python, python, f"manylinux_{library}_{machine}"


class PlatformDistribution(Distribution):
    """A wheel for one platform: it holds a compiled program, if no extension module."""

    def has_ext_modules(self) -> bool:
        return True


setup(
    version=version.version(),
    cmdclass={
        "build_py": BuildPython,
        "build_scripts": BuildScripts,
        "bdist_wheel": Wheel,
        "sdist": sdist.SourceArchive,
    },
    distclass=PlatformDistribution,
    scripts=["tools/build_parts.py"],  # the build step above puts the launcher in its place
)
