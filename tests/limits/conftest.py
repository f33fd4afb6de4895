"""Fixtures of the tests of limits."""

from collections.abc import Iterator

import pytest

from limits.limit_base import Driver
from limits.v1_place import Place
from support import MakeBundle, Runtime


@pytest.fixture(params=["cgroupfs", "systemd"])
def driver(request: pytest.FixtureRequest, runtime: Runtime, bundle: MakeBundle) -> Driver:
    """Containers by the cgroupfs driver, and then by the systemd driver."""
    return Driver(request.param, runtime, bundle)


@pytest.fixture
def cgroupfs(runtime: Runtime, bundle: MakeBundle) -> Driver:
    """For what does not depend on the driver."""
    return Driver("cgroupfs", runtime, bundle)


@pytest.fixture
def place(cgroupfs: Driver) -> Iterator[Place]:
    """Groups in each v1 hierarchy; nothing may be left below them."""
    it = Place(cgroupfs)
    yield it
    it.end()
