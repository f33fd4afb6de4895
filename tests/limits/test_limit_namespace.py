"""cgroup2 with nsdelegate, as systemd mounts it: mounts that must not take that away, and joined cgroup namespaces."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from limits.limit_base import CGROUPS, Driver, wait_until
from pyrunc.cgroups import detect

pytestmark = pytest.mark.guest

WANTED = ["nsdelegate", "memory_recursiveprot"]


def options() -> list[str]:
    mounted = {"mounts": [{"type": "cgroup"}]}
    return list(detect.mount_flags(mounted, str(CGROUPS)))


@pytest.fixture(autouse=True)
def nsdelegate() -> None:
    """Other runtimes, in tests before these, clear what systemd has set."""
    subprocess.run(["mount", "-o", "remount," + ",".join(WANTED), str(CGROUPS)], check=True)
    assert options() == WANTED


@pytest.fixture
def elsewhere() -> Iterator[int]:
    """A process in a cgroup namespace, the root of which is not above any container's group."""
    with subprocess.Popen(["unshare", "--cgroup", "sleep", "1000"]) as holder:
        comm = Path(f"/proc/{holder.pid}/comm")
        wait_until(lambda: comm.read_text() == "sleep\n", "it has its namespace")
        yield holder.pid
        holder.kill()


@pytest.mark.parametrize("private", [False, True])
def test_a_mount_leaves_the_hosts_options(cgroupfs: Driver, private: bool) -> None:
    """They are those of the file system: whoever mounts it from the first namespace sets or clears them for all."""
    bundle = cgroupfs.bundle({})
    if private:
        bundle.config["linux"]["namespaces"].append({"type": "cgroup"})
    mount = {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]}
    bundle.update({"mounts": [*bundle.config["mounts"], mount]})
    done = cgroupfs.runtime.run(bundle.shell("grep cgroup2 /proc/mounts; ls -d /sys/fs/cgroup/*.slice"))
    assert done.stdout.startswith("cgroup /sys/fs/cgroup cgroup2 ro,")
    assert ("/sys/fs/cgroup/system.slice\n" in done.stdout) == (not private)
    assert options() == WANTED


def test_a_joined_namespace(driver: Driver, elsewhere: int) -> None:
    """The init cannot be born in its group, which lies outside of the namespace, and is moved there."""
    rules = [{"allow": False, "access": "rwm"}]
    path = f"/proc/{elsewhere}/ns/cgroup"
    bundle = driver.bundle(
        {"pids": {"limit": 30}, "devices": rules},
        *("/bin/sh", "-c", "head -c 1 /dev/kmsg; echo alive; exec sleep 1000"),
        devices=[{"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11}],
    )
    bundle.config["linux"]["namespaces"].append({"type": "cgroup", "path": path})
    bundle.save()
    output = bundle.path / "output"
    id = driver.runtime.create(bundle, output=output)
    driver.runtime.call("start", id, check=True)
    wait_until(lambda: "alive" in output.read_text(), "the container runs")
    assert "Operation not permitted" in output.read_text()
    group = driver.group(id)
    assert group["pids.max"] == "30"
    pid = driver.runtime.state(id)["pid"]
    assert group["cgroup.procs"] == str(pid)
    namespace = Path(path).readlink()
    assert Path(f"/proc/{pid}/ns/cgroup").readlink() == namespace
    done = driver.runtime.call("exec", id, "/bin/readlink", "/proc/self/ns/cgroup", check=True)
    assert done.stdout.strip() == str(namespace)
