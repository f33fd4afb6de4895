"""The state directory: what is written, who may write, and what a killed pyrunc leaves."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pyrunc import cli
from pyrunc.errors import Error, NotFound
from pyrunc.state.state import State, now, process_start
from pyrunc.state.store import Store
from support import ROOT

Spawn = Callable[..., "subprocess.Popen[bytes]"]

CONFIG: dict[str, Any] = {
    "ociVersion": "1.3.0",
    "annotations": {"a.b": "c"},
    "linux": {"namespaces": [{"type": "pid"}]},
}


@pytest.fixture
def store(root_dir: Path) -> Store:
    return Store(str(root_dir / "state"))


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    """Start processes that are ended with the test; by default one that sleeps."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*args: str) -> "subprocess.Popen[bytes]":
        started.append(subprocess.Popen(args or ("sleep", "100"), stdout=subprocess.PIPE))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def put(store: Store, id: str, hint: str, pid: int = 0, **fields: Any) -> State:
    """A container in the store, as create and start leave it."""
    config = fields.pop("config", CONFIG)
    with store.create(id):
        state = State(id, bundle="/b", rootfs="/b/rootfs", config=config, **fields)
        state.status_hint = hint
        if pid:
            state.set_process(pid)
        store.save(state)
    return state


# -- what is written ---------------------------------------------------------------------------


def test_round_trip(store: Store, spawn: Spawn) -> None:
    pid = spawn().pid
    cgroup = {"driver": "cgroupfs", "path": "/x", "mount": "/m", "mode": "unified", "rootless": False}
    put(store, "a", "created", pid, cgroup=cgroup, extra={"k": [1]})
    state = store.load("a")
    assert (state.id, state.pid, state.bundle, state.rootfs) == ("a", pid, "/b", "/b/rootfs")
    assert (state.oci_version, state.annotations) == ("1.3.0", {"a.b": "c"})
    assert (state.status_hint, state.owner) == ("created", os.geteuid())
    assert (state.cgroup, state.extra) == (cgroup, {"k": [1]})
    assert state.pid_start == process_start(pid)
    assert state.config == CONFIG
    assert state.private_pid
    assert not state.poststop


@pytest.mark.parametrize(
    ("config", "follows"),
    [
        ({}, ""),
        ({"linux": {"namespaces": [{"type": "pid", "path": "/proc/1/ns/pid"}]}}, ""),
        ({"linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}]}}, "private_pid"),
        ({"hooks": {"poststart": [{"path": "/x"}]}}, "poststart"),
        ({"hooks": {"poststop": [{"path": "/x"}]}}, "poststop"),
        ({"hooks": {"poststart": [], "poststop": []}}, ""),
        ({"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/s"}}}, "listener"),
        ({"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": ""}}}, ""),
    ],
)
def test_what_follows_from_the_configuration(config: dict[str, Any], follows: str, store: Store) -> None:
    put(store, "a", "created", config=config)
    state = store.load("a")
    names = ("private_pid", "listener", "poststart", "poststop")
    assert " ".join(name for name in names if getattr(state, name)) == follows


def test_configuration_is_written_when_it_was_set(store: Store) -> None:
    put(store, "a", "created")
    file = Path(store.path("a", "config.json"))
    before = file.stat().st_ino
    with store.lock("a"):
        state = store.load("a")
        state.status_hint = "started"
        store.save(state)
        assert file.stat().st_ino == before
        state.config = {**state.config, "hostname": "new"}
        store.save(state)
    assert store.load("a").config["hostname"] == "new"
    assert store.load("a").status_hint == "started"


def test_modes(store: Store) -> None:
    old = os.umask(0o077)
    try:
        put(store, "a", "created")
    finally:
        os.umask(old)
    expected = 0o711 if os.geteuid() == 0 else 0o700
    for path in (store.root, store.path("a")):
        assert stat.S_IMODE(os.stat(path).st_mode) == expected
    for name in ("state.json", "config.json"):
        assert stat.S_IMODE(os.stat(store.path("a", name)).st_mode) == 0o600
    assert sorted(os.listdir(store.path("a"))) == ["config.json", "state.json"]


def test_directory_of_a_user_is_sticky(root_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import posix

    monkeypatch.setitem(posix.environ, b"XDG_RUNTIME_DIR", str(root_dir).encode())
    store = Store(f"{root_dir}/pyrunc")
    store.create("a").release()
    assert os.stat(store.root).st_mode & stat.S_ISVTX


def test_list_is_sorted_and_skips_what_cannot_be_read(store: Store, capfd: pytest.CaptureFixture[str]) -> None:
    assert store.list() == []
    for id in ("b", "c", "a"):
        put(store, id, "created")
    Path(store.path("b", "state.json")).write_text("{")
    Path(store.root, "a file").touch()
    assert [state.id for state in store.list()] == ["a", "c"]
    assert "b is left out: state.json" in capfd.readouterr().err


def test_damaged_and_foreign_state(store: Store) -> None:
    put(store, "a", "created")
    file = Path(store.path("a", "state.json"))
    file.write_text("{")
    with pytest.raises(Error, match=r"state\.json"):
        store.load("a")
    file.write_text('{"format": 99}')
    with pytest.raises(Error, match="not one that this pyrunc can read"):
        store.load("a")


def test_reader_never_sees_half_a_state(store: Store) -> None:
    put(store, "a", "created")
    writer = os.fork()
    if writer == 0:
        own = Store(store.root)
        state = own.load("a")
        number = 0
        while True:
            number += 1
            state.extra = {"text": "x" * (number % 7) * 9000, "number": number}
            own.save(state)
    try:
        seen = set()
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            seen.add(store.load("a").extra.get("number"))
    finally:
        os.kill(writer, signal.SIGKILL)
        os.waitpid(writer, 0)
    assert len(seen) > 2


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1_000_000_001, "1970-01-01T00:00:01.000000001Z"),
        (1_700_000_000_120_000_000, "2023-11-14T22:13:20.12Z"),
    ],
)
def test_times_as_go_prints_them(nanoseconds: int, text: str) -> None:
    assert now(nanoseconds) == text


# -- the state directory itself ----------------------------------------------------------------


def test_directory_of_someone_else(store: Store, needs_root: None) -> None:
    os.mkdir(store.root, 0o700)
    os.chown(store.root, 12345, -1)
    with pytest.raises(Error, match="belongs to uid 12345, not to 0"):
        store.load("a")


@pytest.mark.parametrize(("mode", "empty"), [(0o702, True), (0o777, True), (0o720, False), (0o775, False)])
def test_directory_that_others_can_write(mode: int, empty: bool, store: Store) -> None:
    os.mkdir(store.root)
    if not empty:
        os.mkdir(store.path("b"))
    os.chmod(store.root, mode)
    with pytest.raises(Error, match=f"can be written by others .mode {mode:04o}"):
        store.create("a")
    assert os.stat(store.root).st_mode & 0o7777 == mode


def test_empty_directory_of_a_group_is_taken_from_it(store: Store) -> None:
    """What mkdir makes under a umask of 002."""
    os.mkdir(store.root)
    os.chmod(store.root, 0o775)
    put(store, "a", "created")
    assert os.stat(store.root).st_mode & 0o7777 == 0o755
    assert Store(store.root).load("a").id == "a"


def test_container_directory_that_is_a_link(store: Store, tmp_path: Path) -> None:
    put(store, "a", "created")
    os.symlink(store.path("a"), store.path("b"))
    with pytest.raises(NotFound):
        store.lock("b")
    store.remove("a")
    (tmp_path / "kept").touch()
    os.symlink(tmp_path, store.path("c"))
    with pytest.raises(Error, match="remove state directory"):
        store.remove("c")
    assert (tmp_path / "kept").exists()


@pytest.mark.contains("a state directory that others own or may write to, links in it")
@pytest.mark.contains("a state directory that others own or may write to, links in it")
def test_an_entry_of_another_user_that_appears_meanwhile(
    store: Store, monkeypatch: pytest.MonkeyPatch, needs_root: None
) -> None:
    """In a shared state directory, after a look at the name: what is opened then is asked whose it is."""
    put(store, "a", "created")
    os.chmod(store.root, 0o1777)
    shutil.copytree(store.path("a"), store.path("foreign"))
    for path in (store.path("foreign"), store.path("foreign", "state.json")):
        os.chown(path, 1000, 1000)
    # As the name was when it was looked at.
    monkeypatch.setattr(Store, "_stranger", lambda store, id: None)
    shared = Store(store.root)
    assert shared.load("a").id == "a"
    with pytest.raises(NotFound):
        shared.load("foreign")
    with pytest.raises(NotFound):
        shared.lock("foreign")
    assert shared.read("foreign", "config.json") is None
    assert [state.id for state in shared.list()] == ["a"]
    with shared.lock("a"):
        assert shared.locked("a")


def test_files_that_are_links(store: Store, tmp_path: Path) -> None:
    """Neither read nor written through."""
    state = put(store, "a", "created")
    other = tmp_path / "other"
    os.rename(store.path("a", "state.json"), other)
    os.symlink(other, store.path("a", "state.json"))
    with pytest.raises(Error, match=r"cannot read state\.json of container a"):
        store.load("a")
    kept = other.read_bytes()
    os.symlink(other, store.path("a", "state.json.new"))
    state.status_hint = "started"
    with pytest.raises(Error, match="write "):
        store.save(state)
    assert other.read_bytes() == kept


def test_remove_takes_everything_and_follows_nothing(store: Store, tmp_path: Path) -> None:
    (tmp_path / "kept").touch()
    with store.create("a"):
        directory = Path(store.path("a"))
        (directory / "sub/sub").mkdir(parents=True)
        (directory / "sub/file").touch()
        (directory / "sub/link").symlink_to(tmp_path)
        os.mkfifo(directory / "start.sock")
        store.remove("a")
    assert os.listdir(store.root) == []
    assert (tmp_path / "kept").exists()
    store.remove("a")


# -- locks -------------------------------------------------------------------------------------


def test_second_create_fails(store: Store) -> None:
    with store.create("a"), pytest.raises(Error, match="container with given ID already exists"):
        store.create("a")
    with pytest.raises(Error, match="container with given ID already exists"):
        Store(store.root).create("a")


def test_of_concurrent_creates_one_wins(store: Store) -> None:
    os.mkdir(store.root, 0o700)
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from pyrunc.state.store import Store\n"
        "from pyrunc.errors import Error\n"
        "sys.stdin.read()\n"
        "for number in range(50):\n"
        "    try:\n"
        "        Store(sys.argv[1]).create(f'c{number}').release()\n"
        "        print(number)\n"
        "    except Error as error:\n"
        "        assert str(error) == 'container with given ID already exists', error\n"
    )
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", code, store.root],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    won = []
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.close()
        racer.stdin = None
    for racer in racers:
        out, _ = racer.communicate()
        assert racer.returncode == 0
        won += out.split()
    assert sorted(won, key=int) == [str(number) for number in range(50)]


def test_lock_excludes_and_ends(store: Store) -> None:
    lock = store.create("a")
    with pytest.raises(Error, match="being changed by another process"):
        Store(store.root).lock("a", timeout=0.02)
    lock.release()
    Store(store.root).lock("a", timeout=0).release()
    with pytest.raises(NotFound, match="container does not exist"):
        store.lock("nope")


def test_lock_dies_with_its_holder(store: Store) -> None:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        Store(store.root).create("a")
        os.write(write, b"x")
        time.sleep(100)
    os.read(read, 1)
    assert store.locked("a")
    assert store.load("a").status() == "creating"
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(read)
    os.close(write)
    assert not store.locked("a")
    assert store.load("a").status() == "stopped"
    store.lock("a", timeout=0).release()


def test_waiting_for_a_lock_whose_container_goes(store: Store) -> None:
    put(store, "a", "created")
    lock = store.lock("a")
    pid = os.fork()
    if pid == 0:
        try:
            Store(store.root).lock("a")
        except NotFound:
            os._exit(7)
        os._exit(1)
    time.sleep(0.05)
    store.remove("a")
    lock.release()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def test_two_who_look_do_not_take_each_other_for_holders(store: Store) -> None:
    import fcntl

    put(store, "a", "creating")
    fd = os.open(store.path("a"), os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_SH)
    assert not store.locked("a")
    fcntl.flock(fd, fcntl.LOCK_EX)
    assert store.locked("a")
    os.close(fd)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_others_cannot_take_the_lock(store: Store) -> None:
    put(store, "a", "created")
    pid = os.fork()
    if pid == 0:
        os.setuid(65534)
        try:
            os.open(store.path("a"), os.O_RDONLY)
        except PermissionError:
            os._exit(7)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def test_a_new_container_is_never_one_that_is_gone(store: Store) -> None:
    """A `delete --force` may find the directory between mkdir(2) and flock(2)."""
    store.create("first").release()
    pid = os.fork()
    if pid == 0:
        other = Store(store.root)
        while True:
            try:
                with other.lock("a"):
                    other.remove("a")
            except NotFound:
                pass
    try:
        for _ in range(2000):
            try:
                lock = store.create("a")
            except Error:
                continue  # the one before is not removed yet
            assert os.path.samestat(os.stat(store.path("a")), os.fstat(lock.fd))
            lock.release()
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_directory_without_state(store: Store) -> None:
    """What a create leaves that is killed right after mkdir(2)."""
    put(store, "other", "created")
    os.mkdir(store.path("a"))
    state = store.load("a")
    assert (state.status(), state.pid) == ("stopped", 0)
    assert [state.id for state in store.list()] == ["a", "other"]
    with store.lock("a"):
        store.remove("a")
    with pytest.raises(NotFound):
        store.load("a")


# -- status ------------------------------------------------------------------------------------


def test_status_follows_the_process(store: Store, spawn: Spawn) -> None:
    process = spawn()
    state = put(store, "a", "creating", process.pid)
    assert state.status() == "creating"
    state.status_hint = "created"
    assert state.status() == "created"
    state.status_hint = "started"
    assert state.status() == "running"
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # a zombie now
    assert state.status() == "stopped"
    process.wait()
    assert state.status() == "stopped"


def test_another_process_with_the_same_number(store: Store, spawn: Spawn) -> None:
    state = put(store, "a", "started", spawn().pid)
    state.pid_start -= 1
    assert not state.alive()
    assert state.status() == "stopped"
    assert state.document()["pid"] == 0


def test_frozen_cgroup_is_paused(store: Store, spawn: Spawn, tmp_path: Path) -> None:
    state = put(store, "a", "started", spawn().pid, cgroup={"path": str(tmp_path)})
    assert state.status() == "running"
    freeze = tmp_path / "cgroup.freeze"
    freeze.write_text("0\n")
    assert state.status() == "running"
    freeze.write_text("1\n")
    assert state.status() == "paused"
    state.status_hint = "created"
    assert state.status() == "paused"


def test_start_time_of_a_process_with_an_odd_name(spawn: Spawn, tmp_path: Path) -> None:
    odd = tmp_path / "a) Z 1 (b"
    odd.symlink_to("/bin/sleep")
    process = spawn(str(odd), "100")
    while b"a) Z" not in Path(f"/proc/{process.pid}/stat").read_bytes():
        time.sleep(0.001)
    assert process_start(process.pid) > 0
    process.kill()
    process.wait()
    assert process_start(process.pid) == 0
    assert process_start(process.pid, zombie=True) == 0


# -- state and list ----------------------------------------------------------------------------


def test_state_is_printed_as_runc_does(store: Store, spawn: Spawn, capfd: pytest.CaptureFixture[str]) -> None:
    pid = spawn().pid
    put(store, "a", "started", pid, created="2026-11-23T17:47:17.003744351Z")
    assert cli.main(["--root", store.root, "state", "a"]) == 0
    assert capfd.readouterr() == (
        "{\n"
        '  "ociVersion": "1.3.0",\n'
        '  "id": "a",\n'
        f'  "pid": {pid},\n'
        '  "status": "running",\n'
        '  "bundle": "/b",\n'
        '  "rootfs": "/b/rootfs",\n'
        '  "created": "2026-11-23T17:47:17.003744351Z",\n'
        '  "annotations": {\n'
        '    "a.b": "c"\n'
        "  },\n"
        '  "owner": ""\n'
        "}",
        "",
    )


def test_state_of_a_stopped_container(store: Store, capfd: pytest.CaptureFixture[str]) -> None:
    put(store, "a", "started", config={})
    assert cli.main(["--root", store.root, "state", "a"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert (document["status"], document["pid"]) == ("stopped", 0)
    assert "annotations" not in document


@pytest.fixture
def two(store: Store, spawn: Spawn) -> tuple[Store, int]:
    pid = spawn().pid
    put(store, "bb", "started", created="2026-01-01T00:00:00Z", owner=0)
    put(store, "a-longer-name", "created", pid, created="2026-01-02T00:00:00Z", owner=65533)
    return store, pid


def test_list_as_a_table(two: tuple[Store, int], capfd: pytest.CaptureFixture[str]) -> None:
    store, pid = two
    assert cli.main(["--root", store.root, "list"]) == 0
    assert capfd.readouterr().out.splitlines() == [
        "ID              PID         STATUS      BUNDLE      CREATED                OWNER",
        f"a-longer-name   {pid:<12}created     /b          2026-01-02T00:00:00Z   #65533",
        "bb              0           stopped     /b          2026-01-01T00:00:00Z   root",
    ]


def test_list_as_json(two: tuple[Store, int], capfd: pytest.CaptureFixture[str]) -> None:
    store, pid = two
    assert cli.main(["--root", store.root, "list", "-f", "json"]) == 0
    out = capfd.readouterr().out
    assert out.count("\n") == 1
    assert out.startswith(f'[{{"ociVersion":"1.3.0","id":"a-longer-name","pid":{pid},"status":"cr')
    first, second = json.loads(out)
    assert list(second) == [
        *("ociVersion", "id", "pid", "status", "bundle"),
        *("rootfs", "created", "annotations", "owner"),
    ]
    assert (first["owner"], second["owner"]) == ("#65533", "root")


def test_list_of_ids(two: tuple[Store, int], capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--root", two[0].root, "list", "-q"]) == 0
    assert capfd.readouterr().out == "a-longer-name\nbb\n"


def test_list_of_nothing(store: Store, capfd: pytest.CaptureFixture[str]) -> None:
    os.mkdir(store.root, 0o700)
    assert cli.main(["--root", store.root, "list"]) == 0
    assert capfd.readouterr().out.startswith("ID          PID         STATUS")
    assert cli.main(["--root", store.root, "list", "-q"]) == 0
    assert cli.main(["--root", store.root, "list", "-f", "json"]) == 0
    assert capfd.readouterr().out == "null\n"  # as with runc, which writes Go's nil


def test_default_root_need_not_exist(
    store: Store, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pyrunc.options.default_root", lambda: store.root)
    assert cli.main(["list", "-q"]) == 0
    assert cli.main(["--root", store.root, "list", "-q"]) == 1
    assert "does not exist" in capfd.readouterr().err


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
def test_what_a_user_without_a_runtime_directory_is_told(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o755)
    for directory in (tmp_path, *tmp_path.parents[:3]):
        directory.chmod(directory.stat().st_mode | 0o011)
    pid = os.fork()
    if not pid:
        code = 1
        try:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            Store(str(closed / "state")).create("a")
        except Error as error:
            code = 0 if error.hint.startswith("without privileges") and "permission denied" in str(error) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
