"""What an image makes pyrunc do is charged to the container: tmpcopyup."""

import contextlib
import os
import signal
import subprocess
from pathlib import Path

import pytest

from limits.limit_base import MIB, Driver, wait_until
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
    # The child is what the kernel kills, not the init: who says what was too large.
    assert r"at \"/data\" (mounts/" in done.stderr
    assert (
        f"tmpcopyup: copy big/file ({120 * MIB} bytes): killed by signal 9 "
        f"(the memory limit was reached during set-up: {30 * MIB} bytes)" in done.stderr
    )
    assert "hint: raise the memory limit (linux/resources/memory/limit)" in done.stderr
    assert left(id) == []
    assert not (driver.runtime.root / id).exists()
    done = driver.runtime.run(with_copy(driver, 300 * MIB, 120 * MIB), id=id)
    assert (done.returncode, done.stdout.strip()) == (0, str(120 * MIB)), done.stderr


def copier(pyrunc: int) -> int:
    """The number of the child that copies, once it has nothing of pyrunc's open; 0 before that."""
    for child in map(int, Path(f"/proc/{pyrunc}/task/{pyrunc}/children").read_text().split()):
        try:
            alone = len(os.listdir(f"/proc/{child}/fd")) <= 10
            if alone and Path(f"/proc/{child}/oom_score_adj").read_text() == "1000\n":
                return child
        except FileNotFoundError:
            continue
    return 0


def test_what_a_killed_pyrunc_leaves_can_be_deleted(cgroupfs: Driver, tmp_path: Path) -> None:
    """A child that is stopped holds no lock, and goes with the cgroup."""
    bundle = with_copy(cgroupfs, 300 * MIB, 64 * MIB)
    # Copied before that file: many, so that it takes its time.
    runtime, id = cgroupfs.runtime, cgroupfs.runtime.new_id()
    for number in range(20_000):
        (bundle.rootfs / "data" / f"empty{number}").touch()
    command = runtime.command("create", "--bundle", str(bundle.path), id)
    with open(tmp_path / "out", "wb") as out, subprocess.Popen(command, stdout=out, stderr=out) as pyrunc:
        child = wait_until(lambda: copier(pyrunc.pid), "a child copies")
        os.kill(child, signal.SIGSTOP)
        locks = Path("/proc/locks").read_text()
        pyrunc.kill()
    try:
        assert f" {pyrunc.pid} " in locks
        runtime.call("delete", "--force", id, check=True, timeout=30)
        wait_until(lambda: not Path(f"/proc/{child}").exists(), "the child is gone")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    assert left(id) == []


@pytest.mark.guest
def test_the_container_is_charged(driver: Driver) -> None:
    bundle = with_copy(driver, 400 * MIB, 120 * MIB).args("/bin/sleep", "1000")
    id, group = driver.create(bundle)
    assert group.table("memory.stat")["shmem"] >= 120 * MIB
    assert int(group["memory.peak"]) >= 120 * MIB
    assert group["cgroup.procs"].split() == [str(driver.runtime.state(id)["pid"])]


@pytest.mark.guest
def test_a_small_tree_fits_into_a_small_limit(driver: Driver) -> None:
    """What the child itself takes: it is a copy of pyrunc, whose pages are pyrunc's."""
    _, group = driver.start(with_copy(driver, 3 * MIB, 0).args("/bin/sleep", "1000"))
    print(f"memory.peak {int(group['memory.peak']) >> 10} KiB")
    assert group.table("memory.events")["oom_kill"] == 0


@pytest.mark.contains(
    "host memory by `tmpcopyup` from a large image (found here)",
    "who copies is in the container's cgroup: pages, inodes and what is read are charged to it",
)
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
