"""`exec` into a container whose unprivileged first process has made a user namespace for itself.

It may: unshare(2) asks for no privilege. In it, it maps itself alone and denies setgroups(2). exec joins the namespaces
that the configuration has, not those: otherwise `exec --user 0` would fail, and what is executed would come with the
supplementary groups of who called pyrunc, before a process that may trace it.
"""

import shutil
import subprocess
import time
from collections.abc import Callable

import pytest

from support import IS_ROOT, Bundle, MakeBundle, Runtime

LEAVE = """
exec unshare -U /bin/sh -c '
    echo deny >/proc/self/setgroups
    echo "1000 1000 1" >/proc/self/uid_map
    echo "1000 1000 1" >/proc/self/gid_map
    : >/tmp/left
    exec sleep 1000'
"""
MAPS = [{"containerID": 0, "hostID": 100000, "size": 65536}]
GROUPS = "4,6"  # adm and disk, of who calls pyrunc


def plain(bundle: Bundle) -> None:
    pass


def user_namespace(bundle: Bundle) -> None:
    bundle.give(100000)
    namespaces = [*bundle.config["linux"]["namespaces"], {"type": "user"}]
    bundle.update({"linux": {"namespaces": namespaces, "uidMappings": MAPS, "gidMappings": MAPS}})


@pytest.fixture(params=[plain, user_namespace])
def container(request: pytest.FixtureRequest, runtime: Runtime, bundle: MakeBundle) -> str:
    """The id of a container whose first process has left."""
    if not IS_ROOT:
        pytest.skip("needs root")
    if not shutil.which("setpriv"):
        pytest.skip("needs setpriv")
    made = bundle({"process": {"user": {"uid": 1000, "gid": 1000}}}).shell(LEAVE)
    (made.rootfs / "tmp").mkdir(exist_ok=True)
    (made.rootfs / "tmp").chmod(0o1777)
    change: Callable[[Bundle], None] = request.param
    change(made)
    id = runtime.create(made)
    runtime.call("start", id, check=True)
    until = time.monotonic() + 30
    while not (made.rootfs / "tmp/left").exists():
        assert time.monotonic() < until
        time.sleep(0.01)
    return id


def execute(runtime: Runtime, *words: str) -> subprocess.CompletedProcess[str]:
    """Called with supplementary groups."""
    command = ["setpriv", "--groups", GROUPS, *runtime.command("exec", *words)]
    return subprocess.run(command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)


@pytest.mark.parametrize("user", ["1000:1000", "0:0"])
def test_nobody_is_kept_out_and_no_groups_come_along(user: str, container: str, runtime: Runtime) -> None:
    words = ("--user", user, container, "/bin/grep", "-E", "^(Uid|Groups):", "/proc/self/status")
    done = execute(runtime, *words)
    assert done.returncode == 0, done.stderr
    uid = user.partition(":")[0]
    fields = dict(line.split(":", 1) for line in done.stdout.splitlines())
    assert fields["Uid"].split() == [uid] * 4
    assert fields["Groups"].split() == []


def test_it_is_in_the_containers_user_namespace(container: str, runtime: Runtime) -> None:
    done = execute(runtime, "--user", "0:0", container, "/bin/cat", "/proc/self/uid_map", "/proc/self/setgroups")
    assert done.returncode == 0, done.stderr
    assert "4294967295\nallow" in done.stdout or "65536\nallow" in done.stdout
