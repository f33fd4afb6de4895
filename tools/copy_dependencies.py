"""pyrunc's dependencies, for another environment's site-packages.

`copy_all` copies each distribution that pyproject.toml's run-time extras lead to, file by file as
recorded at its installation (by pip, or by dpkg where it is Debian's package). No network, and no tools for tests or
builds.
"""

import re
import shutil
import subprocess
import tomllib
from importlib.metadata import Distribution, PackageNotFoundError, PathDistribution, distribution
from pathlib import Path, PurePath

import requirements

ROOT = Path(__file__).resolve().parent.parent
NAME = re.compile(r"[A-Za-z0-9._-]+")


def closure(wanted: list[str]) -> dict[str, Distribution]:
    """The installed distributions that requirements need, by normalised name.

    Requirements of extras are not followed; those that environment markers exclude are not
    installed here, and so not found, which is their purpose.
    """
    found: dict[str, Distribution] = {}
    pending = list(wanted)
    direct = len(pending)
    while pending:
        requirement = pending.pop(0)
        direct -= 1
        match = NAME.match(requirement)
        if match is None or re.search(r"\bextra\s*==", requirement):
            continue
        name = re.sub(r"[-_.]+", "-", match[0]).lower()
        if name in found:
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            if direct >= 0:
                raise
            continue
        pending += found[name].requires or []
    return found


def copy(source: Distribution, target: Path) -> None:
    """Copy a distribution's modules and metadata, but no scripts, into `target`."""
    place = Path(str(source.locate_file("")))
    for file in source.files or packaged(source, place):
        if ".." in file.parts or "__pycache__" in file.parts:
            continue
        destination = target / file
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(place / file, destination)


def packaged(source: Distribution, place: Path) -> list[PurePath]:
    """The files in `place` of the Debian package that a distribution without a record is from."""
    assert isinstance(source, PathDistribution)
    metadata = str(source._path)  # no other way to ask where it was found
    owner = subprocess.run(["dpkg", "-S", metadata], capture_output=True, text=True, check=True).stdout
    names = subprocess.run(["dpkg", "-L", owner.split(":")[0]], capture_output=True, text=True, check=True)
    paths = [Path(name) for name in names.stdout.splitlines()]
    return [path.relative_to(place) for path in paths if path.is_relative_to(place) and path.is_file()]


def copy_all(target: Path, without: tuple[str, ...] = ()) -> None:
    """Copy what this environment has of them. Errors: PackageNotFoundError, if one is missing."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for name, found in closure(requirements.optional(project, requirements.RUNTIME)).items():
        if name not in without:
            copy(found, target)
