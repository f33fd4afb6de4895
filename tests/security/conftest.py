"""Tests of paths run again where openat2(2) is refused: pyrunc walks by descriptors there."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import Runtime

FORBID = Path(__file__).parent / "forbid.py"
OPENAT2, CLONE3 = 437, 435  # on every architecture
ENOSYS, EPERM = 38, 1
OF_PATHS = ("test_hostile_paths.py", "test_path_races.py", "test_without_openat2.py")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "runtime" in metafunc.fixturenames and metafunc.definition.path.name in OF_PATHS:
        errnos = [0, ENOSYS]
        if metafunc.definition.path.name == "test_without_openat2.py":
            errnos.append(EPERM)
        names = {0: "openat2", ENOSYS: "old-kernel", EPERM: "filtered"}
        without = [(OPENAT2, errno) for errno in errnos]
        metafunc.parametrize("runtime", without, ids=[names[errno] for errno in errnos], indirect=True)


@pytest.fixture
def runtime(request: pytest.FixtureRequest, launcher: str, root_dir: Path) -> Iterator[Runtime]:
    """pyrunc; with a parameter, where the system call of this number gives this errno, unless that is 0."""
    number, errno = getattr(request, "param", (0, 0))
    program = launcher
    if errno:
        wrapper = root_dir / "pyrunc-without"
        wrapper.write_text(f'#!/bin/sh\nexec {sys.executable} -IS {FORBID} {number} {errno} {launcher} "$@"\n')
        wrapper.chmod(0o755)
        program = str(wrapper)
    it = Runtime(program, root_dir / "pyrunc")
    yield it
    it.clean()
