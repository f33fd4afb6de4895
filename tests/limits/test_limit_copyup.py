"""What an image makes pyrunc do is charged to the container: tmpcopyup."""

import os
from pathlib import Path

import pytest

from limits.limit_base import MIB, Driver
from pyrunc.cgroups.v1 import hierarchies
from support import Bundle, unique_id


def with_copy(driver: Driver, limit: int, size: int) -> Bundle:
    """A bundle whose root has `size` bytes at /data, which is covered by a tmpfs with a copy of them."""
    mount = {"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", "mode=755"]}
    bundle = driver.bundle({"memory": {"limit": limit}}, "/bin/sh", "-c", "wc -c < /data/big/file")
    bundle.config["mounts"].append(mount)
    bundle.save()
    folder = bundle.rootfs / "data" / "big"
    folder.mkdir(parents=True)
    with open(folder / "file", "wb") as file:
        for _ in range(size // MIB):
            file.write(os.urandom(MIB))
    return bundle


def left(id: str) -> list[str]:
    return [str(path) for path in Path("/sys/fs/cgroup").glob(f"*/*{id}*")]


def check(driver: Driver) -> None:
    id = unique_id("copyup")
    done = driver.runtime.run(with_copy(driver, 30 * MIB, 120 * MIB), id=id)
    assert done.returncode == 1
    assert "memory limit" in done.stderr
    assert "tmpcopyup" in done.stderr or "container's init ended" in done.stderr
    assert "hint" in done.stderr
    assert left(id) == []
    assert not (driver.runtime.root / id).exists()
    done = driver.runtime.run(with_copy(driver, 300 * MIB, 120 * MIB), id=id)
    assert (done.returncode, done.stdout.strip()) == (0, str(120 * MIB)), done.stderr


@pytest.mark.guest
def test_the_copy_counts(driver: Driver) -> None:
    """It was made by pyrunc in its own cgroup: 120 MiB fitted into a container of 30."""
    check(driver)


@pytest.mark.host
@pytest.mark.skipif(
    "memory" not in {name for it in hierarchies.mounted() for name in it.names}, reason="needs memory in version 1"
)
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_the_copy_counts_in_version_1(cgroupfs: Driver) -> None:
    check(cgroupfs)
