"""`exec` into a container whose unprivileged first process has made a user namespace for itself.

It may: unshare(2) asks for no privilege. In it, it maps itself alone and denies setgroups(2). exec joins the namespaces
that the configuration has, not those: otherwise `exec --user 0` would fail, and what is executed would come with the
supplementary groups of who called pyrunc, before a process that may trace it.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rootless import made
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
    it = bundle({"process": {"user": {"uid": 1000, "gid": 1000}}}).shell(LEAVE)
    (it.rootfs / "tmp").mkdir(exist_ok=True)
    (it.rootfs / "tmp").chmod(0o1777)
    change: Callable[[Bundle], None] = request.param
    change(it)
    return started(runtime, it)


def execute(runtime: Runtime, *words: str) -> subprocess.CompletedProcess[str]:
    """Called with supplementary groups."""
    command = ["setpriv", "--groups", GROUPS, *runtime.command("exec", *words)]
    return subprocess.run(command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)


@pytest.mark.contains(
    "supplementary groups of the caller, lock-out, and programs in place of the container's, by a first "
    "process that unshares namespaces (found here)",
    '"What exec takes from the container"',
)
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


FAKE = """
/bin/busybox cp /bin/busybox /tmp/busybox
exec unshare -Urm /bin/sh -c '
    mount -t tmpfs none /bin
    cp /tmp/busybox /bin/sh
    cp /tmp/busybox /bin/hostile
    : >/tmp/left
    exec /bin/sh -c "while :; do read x </tmp/pipe; done"'
"""


def with_mounts(bundle: Bundle, *, another: bool) -> Bundle:
    """Its first process, uid 1000, goes to a mount namespace in which /bin is its own. another: a second one stays."""
    (bundle.rootfs / "tmp").mkdir(exist_ok=True)
    (bundle.rootfs / "tmp").chmod(0o1777)
    os.mkfifo(bundle.rootfs / "tmp/pipe")
    stays = "(exec sleep 1000 >/dev/null 2>&1) &\n" if another else ""
    return bundle.update({"process": {"user": {"uid": 1000, "gid": 1000}}}).shell(stays + FAKE)


def started(runtime: Runtime, bundle: Bundle) -> str:
    id = runtime.create(bundle)
    runtime.call("start", id, check=True)
    until = time.monotonic() + 30
    while not (bundle.rootfs / "tmp/left").exists():
        assert time.monotonic() < until, (bundle.path / "output").read_text()
        time.sleep(0.01)
    return id


@pytest.mark.contains(
    "supplementary groups of the caller, lock-out, and programs in place of the container's, by a first "
    "process that unshares namespaces (found here)",
)
@pytest.mark.usefixtures("needs_root")
@pytest.mark.parametrize("change", [plain, user_namespace])
def test_programs_are_the_containers(runtime: Runtime, bundle: MakeBundle, change: Callable[[Bundle], None]) -> None:
    """Not those of a mount namespace that an unprivileged process has made: another one is still in the container's."""
    it = bundle()
    change(it)
    id = started(runtime, with_mounts(it, another=True))
    done = execute(runtime, "--user", "0:0", id, "/bin/ls", "/bin/hostile", "/bin/cat")
    assert "/bin/cat" in done.stdout, done.stderr
    assert "/bin/hostile" not in done.stdout


@pytest.mark.contains(
    "supplementary groups of the caller, lock-out, and programs in place of the container's, by a first "
    "process that unshares namespaces (found here)",
)
@pytest.mark.usefixtures("needs_root")
@pytest.mark.parametrize("change", [plain, user_namespace])
def test_nothing_is_executed_of_another_root(
    runtime: Runtime, bundle: MakeBundle, change: Callable[[Bundle], None]
) -> None:
    """Where no process is left in the container's mount namespace, it is gone: root must not execute what is in the
    other."""
    it = bundle()
    change(it)
    id = started(runtime, with_mounts(it, another=False))
    done = execute(runtime, "--user", "0:0", id, "/bin/hostile", "true")
    assert done.returncode == 255
    assert "has left the mount namespace that it was started in" in done.stderr
    runtime.call("delete", "--force", id, check=True)


@pytest.mark.usefixtures("needs_root")
def test_a_joined_user_namespace(runtime: Runtime, bundle: MakeBundle) -> None:
    """Its maps are not in the configuration; they are asked of the namespace."""
    holder = bundle()
    user_namespace(holder)
    holder_id = runtime.create(holder.args("sleep", "1000"))
    it = bundle()
    user_namespace(it)
    path = f"/proc/{runtime.state(holder_id)['pid']}/ns/user"
    spaces = [entry for entry in it.config["linux"]["namespaces"] if entry["type"] != "user"]
    linux = {"namespaces": [*spaces, {"type": "user", "path": path}], "uidMappings": None, "gidMappings": None}
    (it.rootfs / "tmp").mkdir(exist_ok=True)
    (it.rootfs / "tmp").chmod(0o1777)
    it.update({"process": {"user": {"uid": 1000, "gid": 1000}}, "linux": linux}).shell(LEAVE)
    id = started(runtime, it)
    show = "id -u; cat /proc/self/uid_map; grep Groups: /proc/self/status"
    done = execute(runtime, "--user", "0:0", id, "/bin/sh", "-c", show)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["0", "0", "100000", "65536", "Groups:"]


@pytest.mark.usefixtures("needs_root")
def test_an_unprivileged_users_own(launcher: str) -> None:
    """The same without privileges: its namespaces are found, with the rights that the user has in them."""
    with made(launcher) as rootless:
        (rootless.bundle.rootfs / "tmp").mkdir(exist_ok=True)
        (rootless.bundle.rootfs / "tmp").chmod(0o1777)
        leave = "(exec sleep 1000 >/dev/null 2>&1) &\nexec unshare -Um /bin/sh -c ': >/tmp/left; exec sleep 1000'"
        rootless.bundle.shell(leave)
        rootless.create("a")
        assert rootless("start", "a").returncode == 0
        until = time.monotonic() + 30
        while not (rootless.bundle.rootfs / "tmp/left").exists():
            assert time.monotonic() < until
            time.sleep(0.01)
        done = rootless("exec", "a", "/bin/sh", "-c", "id -u; cat /proc/self/uid_map")
        assert done.stdout.split() == ["0", "0", "1000", "1"], done.stderr


@pytest.mark.usefixtures("needs_root")
def test_an_unprivileged_callers_groups(launcher: str) -> None:
    """They cannot be given up in a user namespace of one id: more than the container has must not get into it."""
    with made(launcher) as rootless:
        rootless.create("a")
        who = ["--reuid", "1000", "--regid", "1000", "--groups", GROUPS]
        command = ["setpriv", *who, launcher, "--root", f"{rootless.directory}/state", "exec", "a", "/bin/true"]
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd="/", timeout=60)
        assert done.returncode == 255
        assert "supplementary groups of pyrunc's caller (4, 6) cannot be given up" in done.stderr


@pytest.mark.usefixtures("needs_root")
def test_namespaces_that_the_configuration_has_not(runtime: Runtime, bundle: MakeBundle) -> None:
    """A first process that may make some: they are its own affair."""
    everything = {kind: ["CAP_SYS_ADMIN"] for kind in ("bounding", "effective", "permitted")}
    it = bundle({"hostname": None, "process": {"capabilities": everything}})
    spaces = [entry for entry in it.config["linux"]["namespaces"] if entry["type"] != "uts"]
    (it.rootfs / "tmp").mkdir(exist_ok=True)
    it.update({"linux": {"namespaces": spaces}}).shell("exec unshare -u sh -c ': >/tmp/left; exec sleep 1000'")
    id = started(runtime, it)
    done = runtime.call("exec", id, "sh", "-c", "readlink /proc/self/ns/uts; readlink /proc/1/ns/uts", check=True)
    own, first = done.stdout.split()
    assert own == os.readlink("/proc/self/ns/uts") != first


def descendants(pid: int) -> set[str]:
    """The names of all processes below one."""
    parents, names = {}, {}
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            try:
                text = Path(f"/proc/{entry}/stat").read_text()
            except OSError:
                continue
            parents[int(entry)] = int(text.rpartition(")")[2].split()[1])
            names[int(entry)] = text.partition("(")[2].rpartition(")")[0]
    found, below = set(), [pid]
    for parent in below:
        children = [child for child, of in parents.items() if of == parent]
        below += children
        found |= {names[child] for child in children}
    return found


@pytest.mark.contains(
    "supplementary groups of the caller, lock-out, and programs in place of the container's, by a first "
    "process that unshares namespaces (found here)",
)
@pytest.mark.usefixtures("needs_root")
@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")
def test_one_that_leaves_meanwhile(runtime: Runtime, bundle: MakeBundle) -> None:
    """Between the look at its namespaces and their joining, which strace holds up: what was joined is not used."""
    it = bundle({"process": {"user": {"uid": 1000, "gid": 1000}}})
    (it.rootfs / "tmp").mkdir(exist_ok=True)
    (it.rootfs / "tmp").chmod(0o1777)
    leave = "exec unshare -Urm sh -c ': >/tmp/left; exec sleep 1000'"
    id = runtime.create(it.shell(f"while [ ! -e /tmp/go ]; do sleep 0.1; done; {leave}"))
    runtime.call("start", id, check=True)
    slow = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=setns"]
    slow += ["-e", "inject=setns:delay_enter=8000000:when=1"]
    command = [*slow, *runtime.command("exec", id, "true")]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as running:
        until = time.monotonic() + 60
        while "pyrunc-init" not in descendants(running.pid):
            assert running.poll() is None
            assert time.monotonic() < until
            time.sleep(0.01)
        (it.rootfs / "tmp/go").touch()
        said = running.communicate(timeout=60)[1]
    assert (it.rootfs / "tmp/left").exists()
    assert running.returncode == 255
    assert "the container's first process has left its user namespace meanwhile" in said
