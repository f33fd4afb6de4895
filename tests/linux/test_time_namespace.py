"""A time namespace with offsets, beside a user namespace or without (config-linux.md, "Offset for Time Namespace")."""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rootless import Rootless, made
from support import DEFAULT_CONFIG, IS_ROOT, Bundle, MakeBundle, Runtime

pytestmark = [
    pytest.mark.skipif(not IS_ROOT, reason="needs root"),
    pytest.mark.skipif(not Path("/proc/self/ns/time").exists(), reason="the kernel has no time namespaces"),
]

NS_GET_USERNS = 0xB701
OFFSETS = {"monotonic": {"secs": 172800, "nanosecs": 5}, "boottime": {"secs": 604800}}
SHOW = ("sh", "-c", "cat /proc/self/timens_offsets /proc/uptime; readlink /proc/self/ns/time")
MAPS = [{"containerID": 0, "hostID": 100000, "size": 65536}]


def owner(pid: int) -> int:
    """The inode of the user namespace to which a process's time namespace belongs."""
    file = os.open(f"/proc/{pid}/ns/time", os.O_RDONLY)
    user = fcntl.ioctl(file, NS_GET_USERNS)
    try:
        return os.fstat(user).st_ino
    finally:
        os.close(user)
        os.close(file)


def check(shown: str) -> None:
    monotonic, m_secs, m_nanos, boottime, b_secs, b_nanos, uptime, _, link = shown.split()
    assert (monotonic, m_secs, m_nanos) == ("monotonic", "172800", "5")
    assert (boottime, b_secs, b_nanos) == ("boottime", "604800", "0")
    assert float(uptime) == pytest.approx(time.clock_gettime(time.CLOCK_BOOTTIME) + 604800, abs=30)
    assert link != os.readlink("/proc/self/ns/time")


def check_links(pid: int, *, own_user: bool) -> None:
    here, later = (os.readlink(f"/proc/{pid}/ns/{name}") for name in ("time", "time_for_children"))
    assert here == later
    assert (os.readlink(f"/proc/{pid}/ns/user") != os.readlink("/proc/self/ns/user")) == own_user
    assert owner(pid) == os.stat(f"/proc/{pid}/ns/user").st_ino


def with_spaces(bundle: Bundle, *more: dict[str, Any], maps: object = None) -> Bundle:
    spaces = [*DEFAULT_CONFIG["linux"]["namespaces"], *more]
    return bundle.update({"linux": {"namespaces": spaces, "uidMappings": maps, "gidMappings": maps}})


def pid_of(runtime: Runtime, id: str) -> int:
    return int(json.loads(runtime.call("state", id, check=True).stdout)["pid"])


@pytest.mark.parametrize("user", [False, True])
def test_root(runtime: Runtime, bundle: MakeBundle, user: bool) -> None:
    it = bundle({"linux": {"timeOffsets": OFFSETS}})
    if user:
        with_spaces(it, {"type": "user"}, {"type": "time"}, maps=MAPS)
        it.give(100000)
    else:
        with_spaces(it, {"type": "time"})
    check(runtime.run(it.args(*SHOW), check=True).stdout)
    first = runtime.create(it.args("sleep", "60"))
    check_links(pid_of(runtime, first), own_user=user)
    runtime.call("start", first, check=True)
    check(runtime.call("exec", first, *SHOW, check=True).stdout)
    pid = pid_of(runtime, first)
    check_links(pid, own_user=user)
    joined: list[dict[str, Any]] = [{"type": "time", "path": f"/proc/{pid}/ns/time"}]
    if user:
        joined.append({"type": "user", "path": f"/proc/{pid}/ns/user"})
    with_spaces(it, *joined).update({"linux": {"timeOffsets": None}})
    check(runtime.run(it.args(*SHOW), check=True).stdout)
    if user:
        with_spaces(it, {"type": "time"}, joined[1]).update({"linux": {"timeOffsets": OFFSETS}})
        check(runtime.run(it.args(*SHOW), check=True).stdout)
        second = runtime.create(it)
        check_links(pid_of(runtime, second), own_user=True)


def test_new_user_namespace_and_joined_time(runtime: Runtime, bundle: MakeBundle) -> None:
    """Root has the rights for the other one before the clone."""
    it = with_spaces(bundle({"linux": {"timeOffsets": OFFSETS}}), {"type": "time"})
    first = pid_of(runtime, runtime.create(it))
    joined = {"type": "time", "path": f"/proc/{first}/ns/time"}
    with_spaces(it, {"type": "user"}, joined, maps=MAPS).update({"linux": {"timeOffsets": None}})
    it.give(100000)
    check(runtime.run(it.args(*SHOW), check=True).stdout)


@pytest.fixture
def rootless(launcher: str) -> Iterator[Rootless]:
    with made(launcher) as it:
        it.bundle.update({"linux": {"timeOffsets": OFFSETS, "namespaces": it.namespaces({"type": "time"})}})
        yield it


def test_unprivileged(rootless: Rootless) -> None:
    rootless.create("a")
    check_links(rootless.pid("a"), own_user=True)
    assert rootless("start", "a").returncode == 0
    check_links(rootless.pid("a"), own_user=True)
    check(rootless("exec", "a", *SHOW).stdout)


@pytest.mark.parametrize("kinds", [["user"], ["user", "time"]])
def test_unprivileged_and_joined(rootless: Rootless, kinds: list[str]) -> None:
    """A user namespace of the user's own, with a new time namespace in it, or the one that is there."""
    rootless.create("a")
    pid = rootless.pid("a")
    joined = [{"type": kind, "path": f"/proc/{pid}/ns/{kind}"} for kind in kinds]
    offsets = None if "time" in kinds else OFFSETS
    spaces = rootless.namespaces(*joined)
    maps = {"uidMappings": None, "gidMappings": None}
    rootless.bundle.args(*SHOW).update({"linux": {"namespaces": spaces, "timeOffsets": offsets, **maps}})
    done = rootless("run", "--bundle", str(rootless.bundle.path), "b")
    assert done.returncode == 0, done.stderr
    check(done.stdout)
