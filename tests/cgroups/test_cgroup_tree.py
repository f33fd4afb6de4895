"""The cgroupfs driver on a real cgroup v2; that of a hybrid host, without controllers, will do."""

import os
import resource
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyrunc import cgroups
from pyrunc.cgroups import Manager, detect, files, oom, tree
from pyrunc.cgroups.v1 import hierarchies
from pyrunc.errors import Error

HOST = detect.detect()
NAME = f"pyrunc-test-{os.getpid()}"


@pytest.fixture
def place(needs_root: None) -> Iterator[str]:
    """A cgroupsPath for the test's own use, gone afterwards."""
    if not HOST.mount:
        pytest.skip("no cgroup v2 is mounted")
    if not os.access(HOST.mount, os.W_OK):
        pytest.skip("cgroup v2 is mounted read-only")
    yield f"/{NAME}/c"
    root = Path(HOST.mount, NAME)
    if root.exists():
        parent = files.open_dir(HOST.mount)
        tree.remove(parent, NAME)
        os.close(parent)


@pytest.fixture(autouse=True)
def v2_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver of v2 is what is tested here, also where v1 hierarchies are mounted beside it."""
    monkeypatch.setattr(hierarchies, "mounted", list)


def make(place: str, resources: dict[str, Any] | None = None, **more: Any) -> Manager:
    linux: dict[str, Any] = {"cgroupsPath": place, "resources": resources or {}}
    return cgroups.manager(linux, "id", driver="cgroupfs", rootless=False, **more)


def sleeper(path: str) -> subprocess.Popen[bytes]:
    """A process in the group at `path`."""
    child = subprocess.Popen(["sleep", "1000"])
    Path(path, "cgroup.procs").write_text(str(child.pid))
    return child


def ended(*children: subprocess.Popen[bytes]) -> list[int]:
    return [child.wait(timeout=10) for child in children]


def test_life(place: str) -> None:
    manager = make(place)
    fd = manager.create()
    assert fd is not None
    assert os.path.samestat(os.fstat(fd), os.stat(HOST.mount + place))
    manager.apply()
    assert (manager.procs(), manager.populated()) == ([], False)
    children = [subprocess.Popen(["sleep", "1000"]) for _ in range(2)]
    for child in children:
        manager.add(child.pid)
    os.mkdir(manager.path + "/below")
    deep = sleeper(manager.path + "/below")
    again = Manager.from_state(manager.to_state())
    everyone = sorted(child.pid for child in (*children, deep))
    assert again.procs() == everyone
    assert again.procs(recursive=False) == sorted(child.pid for child in children)
    assert again.populated()
    again.remove()
    assert ended(*children, deep) == [-9, -9, -9]
    assert not os.path.exists(manager.path)
    assert os.path.exists(os.path.dirname(manager.path)), "parents stay"
    again.remove()
    manager.close()


def test_discard_takes_back_the_parents_it_made(place: str) -> None:
    manager = make(place)
    manager.create()
    manager.discard()
    assert not os.path.exists(HOST.mount + "/" + NAME)


def test_descriptors_are_closed(place: str) -> None:
    before = len(os.listdir("/proc/self/fd"))
    manager = make(place)
    manager.create()
    manager.freeze()
    manager.thaw()
    manager.kill()
    manager.procs()
    manager.remove()
    assert len(os.listdir("/proc/self/fd")) == before


def test_freeze_and_kill(place: str) -> None:
    manager = make(place)
    manager.create()
    child = sleeper(manager.path)
    assert not manager.frozen()
    manager.freeze()
    assert manager.frozen()
    assert "frozen 1" in Path(manager.path, "cgroup.events").read_text()
    manager.thaw()
    assert not manager.frozen()
    manager.freeze()
    assert manager.kill()
    assert ended(child) == [-9]
    manager.remove()


def test_a_group_in_use_is_refused(place: str) -> None:
    first = make(place)
    first.create()
    os.mkdir(first.path + "/below")
    child = sleeper(first.path + "/below")
    with pytest.raises(Error, match=r"container's cgroup is not empty: 1 process") as info:
        make(place).create()
    assert info.value.pointer == "/linux/cgroupsPath"
    assert child.poll() is None
    first.kill()
    ended(child)


def test_a_parent_that_vanishes_is_made_again(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another create that failed takes back the directories that it made."""
    parent = HOST.mount + "/" + NAME
    opened = files.open_dir
    taken: list[str] = []

    def open_dir(path: str, dir_fd: int | None = None) -> int:
        fd = opened(path, dir_fd)
        if path == NAME and not taken:
            os.rmdir(parent)
            taken.append(path)
        return fd

    monkeypatch.setattr(files, "open_dir", open_dir)
    manager = make(place)
    fd = manager.create()
    assert fd is not None
    assert os.path.samestat(os.fstat(fd), os.stat(HOST.mount + place))
    assert taken
    manager.discard()
    assert not os.path.exists(parent)


def test_an_empty_group_is_used(place: str) -> None:
    os.makedirs(HOST.mount + place)
    manager = make(place)
    assert manager.create() is not None
    manager.remove()


@pytest.mark.parametrize("where", ["", "/.."])
def test_a_frozen_group_is_refused(place: str, where: str) -> None:
    os.makedirs(HOST.mount + place)
    knob = Path(os.path.normpath(HOST.mount + place + where), "cgroup.freeze")
    knob.write_text("1")
    with pytest.raises(Error, match="container's cgroup unexpectedly frozen"):
        make(place).create()
    knob.write_text("0")


def test_a_failed_create_leaves_nothing(place: str) -> None:
    os.makedirs(f"{HOST.mount}/{NAME}")
    Path(HOST.mount, NAME, "cgroup.freeze").write_text("1")
    with pytest.raises(Error, match="frozen"):
        make(f"/{NAME}/a/b/c").create()
    Path(HOST.mount, NAME, "cgroup.freeze").write_text("0")
    assert not os.path.exists(f"{HOST.mount}/{NAME}/a")


def test_threaded_groups_are_removed(place: str) -> None:
    manager = make(place)
    manager.create()
    child = sleeper(manager.path)
    below = Path(manager.path, "threads")
    below.mkdir()
    (below / "cgroup.type").write_text("threaded")
    (below / "cgroup.threads").write_text(str(child.pid))
    assert manager.procs() == [child.pid]
    manager.remove()
    assert ended(child) == [-9]
    assert not os.path.exists(manager.path)


def nest(path: str, count: int) -> None:
    """Make cgroups in each other."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(count):
        os.mkdir("d", dir_fd=fd)
        os.mkdir("e", dir_fd=fd)
        below = os.open("d", os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)


def test_a_container_nests_cgroups_deeply(place: str) -> None:
    """More than Python recurses, and more than there are descriptors: 1,200 made `delete` a RecursionError for ever."""
    manager = make(place)
    manager.create()
    nest(manager.path, 2500)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    open_here = max(int(name) for name in os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_here + 32, hard))
    try:
        assert manager.procs() == []
        manager.remove()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert not os.path.exists(manager.path)


def test_kill_without_cgroup_kill(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write = files.write

    def old_kernel(dir_fd: int, name: str, data: bytes) -> None:
        if name == "cgroup.kill":
            raise FileNotFoundError(2, "no such file", name)
        write(dir_fd, name, data)

    monkeypatch.setattr(files, "write", old_kernel)
    manager = make(place)
    manager.create()
    children = [sleeper(manager.path) for _ in range(5)]
    assert manager.kill()
    assert ended(*children) == [-9] * 5
    assert not manager.frozen()
    manager.remove()


def test_kill_a_fork_bomb(place: str) -> None:
    manager = make(place)
    manager.create()
    bomb = "import os,sys\nfor i in range(400):\n if os.fork()==0: os.execvp('sleep',['sleep','9'])"
    # the process moves itself, so that all it forks are inside
    code = f"open('{manager.path}/cgroup.procs','w').write('0')\n{bomb}"
    child = subprocess.Popen(["python3", "-c", code])
    time.sleep(0.1)
    manager.remove()
    child.wait(timeout=10)
    assert not os.path.exists(manager.path)


def test_a_group_that_is_gone(place: str) -> None:
    manager = make(place)
    manager.create()
    state = manager.to_state()
    manager.remove()
    gone = Manager.from_state(state)
    assert (gone.procs(), gone.frozen(), gone.populated(), gone.kill()) == ([], False, False, False)
    with pytest.raises(Error, match="freeze cgroup"):
        gone.freeze()


def test_sub_groups(place: str) -> None:
    manager = make(place, annotations={"run.oci.delegate-cgroup": "inner"})
    fd = manager.create()
    assert fd is not None
    assert os.readlink(f"/proc/self/fd/{fd}").endswith("/inner")
    manager.apply()
    child = subprocess.Popen(["sleep", "1000"])
    manager.add(child.pid)
    assert detect.of_process(child.pid).endswith("/inner")
    again = Manager.from_state(manager.to_state())
    assert os.path.samestat(os.fstat(again.leaf()), os.fstat(fd))
    os.mkdir(f"{manager.path}/inner/x")
    sub = again.open_sub("/x")
    assert os.readlink(f"/proc/self/fd/{sub}").endswith("/inner/x")
    os.close(sub)
    with pytest.raises(Error, match="bad sub cgroup path"):
        again.open_sub("../x")
    with pytest.raises(Error, match="open sub cgroup y"):
        again.open_sub("y")
    again.remove()
    assert ended(child) == [-9]
    again.close()
    manager.close()


def test_delegation_chowns(place: str) -> None:
    manager = make(place, owner=12345)
    manager.create()
    assert os.stat(manager.path).st_uid == 12345
    assert os.stat(manager.path + "/cgroup.procs").st_uid == 12345
    assert os.stat(manager.path + "/cgroup.freeze").st_uid == 0
    assert os.stat(os.path.dirname(manager.path)).st_uid == 0
    manager.remove()


def test_watch_ends_with_the_last_process(place: str) -> None:
    manager = make(place)
    manager.create()
    child = sleeper(manager.path)
    with oom.Watch(manager.dir()) as watch:
        start = time.monotonic()
        assert watch.wait(0.1) == 0
        assert time.monotonic() - start >= 0.09
        ours, theirs = os.pipe()
        os.write(theirs, b"x")
        assert watch.wait(None, [ours]) == 0
        os.close(ours)
        os.close(theirs)
        manager.kill()
        ended(child)
        assert watch.wait(10) is None
    manager.remove()


@pytest.mark.parametrize(
    ("path", "own", "expected"),
    [
        ("/a/b", "/user/x", "/m/a/b"),
        ("a/b", "/user/x", "/m/user/a/b"),
        ("", "/user/x", "/m/user/id"),
        ("", "/", "/m/id"),
        ("a", "/x", "/m/a"),
        ("/", "/x/y", "/m/id"),
        ("//a/./b/", "/x/y", "/m/a/b"),
    ],
)
def test_where_a_cgroup_lies(path: str, own: str, expected: str) -> None:
    from pyrunc.cgroups.make import locate

    assert locate(path, "id", "/m", own) == expected


@pytest.mark.parametrize("path", ["/a/../b", "..", "a/.."])
def test_dots_are_refused(path: str) -> None:
    with pytest.raises(Error, match=r'must not contain "\.\."') as info:
        make(path)
    assert info.value.pointer == "/linux/cgroupsPath"


@pytest.mark.host
@pytest.mark.skipif(HOST.mode != "hybrid", reason="needs a hybrid host")
@pytest.mark.parametrize(
    ("resources", "controller", "pointer"),
    [
        ({"memory": {"limit": 1 << 20}}, "memory", "memory/limit"),
        ({"pids": {"limit": 5}}, "pids", "pids/limit"),
        ({"cpu": {"shares": 2}}, "cpu", "cpu/shares"),
        ({"cpu": {"cpus": "0"}}, "cpuset", "cpu/cpus"),
        ({"blockIO": {"weight": 100}}, "io", "blockIO/weight"),
    ],
)
def test_limits_on_a_hybrid_host(place: str, resources: dict[str, Any], controller: str, pointer: str) -> None:
    with pytest.raises(Error) as info:
        make(place, resources).create()
    text = info.value.message
    assert f'controller "{controller}" not available' in text
    assert f"(linux/resources/{pointer})" in text
    assert "hybrid of cgroup v1 and v2" in text
    assert "cgroup v2" in info.value.hint
    assert not os.path.exists(HOST.mount + "/" + NAME)


def test_what_engines_always_send(place: str) -> None:
    resources = {
        "devices": [{"allow": False, "access": "rwm"}],
        "memory": {"disableOOMKiller": False, "kernel": 0},
        "cpu": {"shares": 0},
        "blockIO": {"weight": 0},
    }
    manager = make(place, resources)
    assert manager.create() is not None
    manager.apply()
    assert manager.device_program()
    manager.remove()


def test_imports_stay_within_the_budget() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); before = set(sys.modules)\n"
        "from pyrunc import cgroups\n"
        "m = cgroups.manager({'resources': {'cpu': {'shares': 0}}}, 'x', driver='cgroupfs',"
        " rootless=False)\n"
        "m.device_program()\n"
        "print(sorted(n for n in set(sys.modules) - before if not n.startswith('pyrunc')))"
    )
    root = str(Path(cgroups.__file__).parents[2])
    out = subprocess.run(["python3", "-I", "-S", "-c", code, root], capture_output=True, text=True, check=True)
    assert set(eval(out.stdout)) <= {"_struct", "errno", "select", "time", "fcntl"}
