"""Containers in a user namespace that someone else has made."""

import os
import subprocess
from collections.abc import Iterator

import pytest

from support import IS_ROOT, Json, MakeBundle, Runtime

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="needs root")


@pytest.fixture
def holder() -> Iterator[str]:
    """The path of a user namespace as those without privileges make them: one id, setgroups(2) denied."""
    words = ["unshare", "--user", "--map-root-user", "sh", "-c", "echo made; exec sleep 100"]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"made\n"
        try:
            yield f"/proc/{process.pid}/ns/user"
        finally:
            process.kill()


def joining(path: str) -> Json:
    spaces: list[Json] = [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")]
    return {"linux": {"namespaces": [*spaces, {"type": "user", "path": path}]}}


def test_groups_cannot_be_set(runtime: Runtime, bundle: MakeBundle, holder: str) -> None:
    """Without groups of its own the container starts all the same, and is the namespace's."""
    it = bundle(joining(holder)).shell("cat /proc/self/setgroups; readlink /proc/self/ns/user")
    seen = runtime.run(it, check=True).stdout.split()
    assert seen == ["deny", os.readlink(holder)]


def test_groups_that_are_asked_for_are_refused(runtime: Runtime, bundle: MakeBundle, holder: str) -> None:
    it = bundle(joining(holder)).update({"process": {"user": {"additionalGids": [0]}}})
    done = runtime.run(it)
    assert done.returncode == 1
    assert "(process/user/additionalGids)" in done.stderr


@pytest.mark.contains(
    "supplementary groups of the caller, lock-out, and programs in place of the container's, by a first "
    "process that unshares namespaces (found here)",
)
def test_the_callers_groups_do_not_come_along(runtime: Runtime, bundle: MakeBundle, holder: str) -> None:
    """Though setgroups(2) is denied once the namespace is joined: they are given up before."""
    it = bundle(joining(holder)).args("grep", "Groups:", "/proc/self/status")
    command = ["setpriv", "--groups", "4,6", *runtime.command("run", "--bundle", str(it.path), runtime.new_id())]
    done = subprocess.run(command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
    assert done.stdout.split() == ["Groups:"], done.stderr
