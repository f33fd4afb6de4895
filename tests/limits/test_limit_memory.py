"""Small memory limits: what pyrunc-init itself takes, and what is said where it is too much."""

import pytest

from limits.limit_base import KIB, Driver

pytestmark = pytest.mark.guest


@pytest.mark.parametrize("limit", [512, 384])
def test_a_static_program_starts(driver: Driver, limit: int) -> None:
    bundle = driver.bundle({"memory": {"limit": limit * KIB}})
    id, group = driver.start(bundle)
    assert driver.status(id) == "running"
    assert group["memory.max"] == str(limit * KIB)
    assert group.table("memory.events")["oom_kill"] == 0


def test_what_pyrunc_init_is_charged(driver: Driver) -> None:
    """The kernel charges in batches of 64 pages unless the limit is nearer."""
    bundle = driver.bundle({"memory": {"limit": 512 * KIB}})
    _, group = driver.create(bundle)
    charged = int(group["memory.current"])
    peak = int(group["memory.peak"])
    print(f"created container: memory.current {charged >> 10} KiB, memory.peak {peak >> 10} KiB")
    assert 0 < charged <= 320 * KIB
    assert peak <= 320 * KIB
    _, group = driver.create(driver.bundle({"memory": {"limit": 128 * KIB}}))
    charged = int(group["memory.current"])
    print(f"with a limit of 128 KiB: memory.current {charged >> 10} KiB")
    assert charged <= 128 * KIB


@pytest.mark.parametrize("command", ["create", "run"])
def test_too_little_for_the_set_up(driver: Driver, command: str) -> None:
    bundle = driver.bundle({"memory": {"limit": 16 * KIB, "swap": 16 * KIB}})
    id = driver.runtime.new_id()
    output = bundle.path / "errors"
    said = driver.fails("--log", str(output), command, "--bundle", str(bundle.path), id)
    text = output.read_text() + said
    assert "the memory limit was reached during set-up)" in text
    assert "linux/resources/memory/limit" in text
    assert "does not exist" in driver.fails("state", id)
