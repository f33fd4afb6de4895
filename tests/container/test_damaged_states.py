"""`delete --force` removes a container whose state cannot be read, says what it did, and kills nobody else."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pyrunc.errors import Error
from pyrunc.state.state import State, process_start
from pyrunc.state.store import Store
from support import IS_ROOT, MakeBundle, Runtime

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="needs root")


@pytest.fixture
def running(runtime: Runtime, bundle: MakeBundle) -> Iterator[str]:
    """The id of a container that sleeps; its process is killed at the end, whatever became of its state."""
    id = runtime.create(bundle().args("/bin/sleep", "1000"))
    runtime.call("start", id, check=True)
    pid = runtime.state(id)["pid"]
    fd = os.pidfd_open(pid)
    yield id
    try:
        signal.pidfd_send_signal(fd, signal.SIGKILL)
    except ProcessLookupError:
        pass
    os.close(fd)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:100])


def without(name: str) -> Callable[[Path], None]:
    def change(file: Path) -> None:
        document = json.loads(file.read_text())
        del document[name]
        file.write_text(json.dumps(document))

    return change


def directory(file: Path) -> None:
    file.unlink()
    (file / "below").mkdir(parents=True)
    (file / "below" / "file").write_text("x")


def link(file: Path) -> None:
    file.unlink()
    file.symlink_to("/etc/passwd")


UNREADABLE = {
    "empty": lambda file: file.write_text(""),
    "cut": cut,
    "a list": lambda file: file.write_text("[]"),
    "zeros": lambda file: file.write_bytes(bytes(4096)),
    "a directory": directory,
    "a link": link,
    "another format": lambda file: file.write_text('{"format": 99, "pid": "x"}'),
    "youki's": lambda file: file.write_text('{"ociVersion": "1.0.2", "id": "a", "status": "running", "pid": 1}'),
}


@pytest.mark.parametrize("damage", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_a_state_that_says_nothing(damage: Callable[[Path], None], runtime: Runtime, bundle: MakeBundle) -> None:
    id = runtime.create(bundle().args("/bin/true"))
    runtime.call("start", id, check=True)
    place = runtime.root / id
    damage(place / "state.json")
    for words in (["state", id], ["delete", id]):
        done = runtime.call(*words)
        assert done.returncode == 1
        assert "state.json of container " + id in done.stderr
        assert f'"pyrunc delete --force {id}" removes what can be found of it' in done.stderr
        assert place.exists()
    done = runtime.call("delete", "--force", id)
    assert done.returncode == 0
    assert "internal error" not in done.stderr
    assert f"{place} is removed, with " in done.stderr
    assert not place.exists()
    assert Path("/etc/passwd").exists()
    assert runtime.create(bundle().args("/bin/true"), id=id) == id


@pytest.mark.parametrize("name", ["status", "bundle", "cgroup", "extra", "format"])
def test_the_process_that_a_damaged_state_names_is_killed(name: str, running: str, runtime: Runtime) -> None:
    pid = runtime.state(running)["pid"]
    without(name)(runtime.root / running / "state.json")
    done = runtime.call("delete", "--force", running)
    assert done.returncode == 0
    assert f"process {pid} is killed" in done.stderr
    assert process_start(pid) == 0
    assert not (runtime.root / running).exists()


def test_runcs_container(runtime: Runtime) -> None:
    """Its state.json has names of its own."""
    process = subprocess.Popen(["sleep", "1000"])
    place = runtime.root / "of-runc"
    place.mkdir(parents=True)
    document = {"id": "of-runc", "init_process_pid": process.pid, "init_process_start": process_start(process.pid)}
    (place / "state.json").write_text(json.dumps({**document, "cgroup_paths": {"": "/sys/fs/cgroup"}}))
    done = runtime.call("delete", "--force", "of-runc")
    assert done.returncode == 0
    assert process.wait(10) == -9
    assert not place.exists()


def test_cruns_container(runtime: Runtime) -> None:
    """It has no state.json; a half-made container's directory has none either, and is removed without a word."""
    process = subprocess.Popen(["sleep", "1000"])
    place = runtime.root / "of-crun"
    place.mkdir(parents=True)
    document = {"pid": process.pid, "process-start-time": process_start(process.pid), "cgroup-path": "/../.."}
    (place / "status").write_text(json.dumps(document))
    done = runtime.call("delete", "--force", "of-crun")
    assert done.returncode == 0
    assert "another runtime's" in done.stderr
    assert process.wait(10) == -9
    assert not place.exists()


def test_a_process_with_the_number_is_not_killed(runtime: Runtime) -> None:
    """One that started at another time is not the container's."""
    process = subprocess.Popen(["sleep", "1000"])
    place = runtime.root / "a"
    place.mkdir(parents=True)
    (place / "state.json").write_text(json.dumps({"pid": process.pid, "pidStart": 1}))
    done = runtime.call("delete", "--force", "a")
    assert done.returncode == 0
    assert f"process {process.pid} is left alone" in done.stderr
    assert process.poll() is None
    process.kill()
    process.wait()
    assert not place.exists()


def test_a_cgroup_of_others_is_not_removed(runtime: Runtime, running: str) -> None:
    """A damaged state may name any: this one has a process, and nothing says that it is the container's."""
    document = json.loads((runtime.root / running / "state.json").read_text())
    group = document["cgroup"].get("path") if document["cgroup"] else ""
    if not group:
        pytest.skip("containers have no cgroup here")
    place = runtime.root / "a"
    place.mkdir()
    (place / "state.json").write_text(json.dumps({"cgroup": {"path": group}}))
    done = runtime.call("delete", "--force", "a")
    assert done.returncode == 0
    assert f"cgroup {group} is left alone" in done.stderr
    assert runtime.state(running)["status"] == "running"


@pytest.mark.parametrize("damage", ["", "{}", "[]", '{"hooks": 5}', "{"])
@pytest.mark.parametrize("force", [[], ["--force"]])
def test_a_damaged_configuration_beside_a_good_state(
    damage: str, force: list[str], runtime: Runtime, bundle: MakeBundle
) -> None:
    """Only poststop hooks are missed."""
    id = runtime.create(bundle({"hooks": {"poststop": [{"path": "/bin/true"}]}}).args("/bin/sleep", "1000"))
    runtime.call("kill", id, "KILL", check=True)
    while runtime.state(id)["status"] != "stopped":
        pass
    (runtime.root / id / "config.json").write_text(damage)
    done = runtime.call("delete", *force, id)
    assert done.returncode == 0, done.stderr
    assert f"the poststop hooks of container {id} are not run" in done.stderr
    assert not (runtime.root / id).exists()


@pytest.mark.parametrize("make", [lambda path: path.write_text("x"), lambda path: path.symlink_to("/etc")])
def test_what_is_no_directory_has_the_name(make: Callable[[Path], None], runtime: Runtime, bundle: MakeBundle) -> None:
    runtime.root.mkdir(exist_ok=True)
    place = runtime.root / "taken"
    make(place)
    for words in (["create", "--bundle", str(bundle().path), "taken"], ["delete", "--force", "taken"]):
        done = runtime.call(*words)
        assert done.returncode == 1
        assert f"{place} is no directory, so no container of pyrunc's" in done.stderr
    assert runtime.call("state", "taken").stderr.count("does not exist") == 1
    assert place.is_symlink() or place.exists()
    place.unlink()


# -- what a failure leaves ---------------------------------------------------------------------------


def test_the_first_error_counts(runtime: Runtime, bundle: MakeBundle) -> None:
    """The state directory cannot be removed (a mount point is in it): that is a warning, not the error."""
    made = bundle()
    id = runtime.new_id()
    script = f"mkdir -p {runtime.root}/{id}/x && mount -t tmpfs none {runtime.root}/{id}/x; exit 1"
    made.update({"hooks": {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]}})
    done = runtime.call("create", "--bundle", str(made.path), id)
    subprocess.run(["umount", f"{runtime.root}/{id}/x"], check=True)
    assert done.returncode == 1
    assert "the state directory is left behind" in done.stderr
    assert "hooks/createRuntime/0" in done.stderr.splitlines()[-1] or "createRuntime" in done.stderr
    assert runtime.call("delete", "--force", id).returncode == 0
    assert not (runtime.root / id).exists()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=755", "none", str(place)], check=True)
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(place: Path) -> None:
    with (place / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass


def test_a_full_disk_keeps_the_old_state(small: Path) -> None:
    store = Store(str(small))
    with store.create("a"):
        state = State("a", bundle="/b")
        state.config = {}
        store.save(state)
        fill(small)
        state.config = {"hostname": "x" * 60000}
        with pytest.raises(Error, match="no space left on device"):
            store.save(state)
    assert sorted(path.name for path in (small / "a").iterdir()) == ["config.json", "state.json"]
    assert store.load("a").config == {}


def test_a_full_disk_has_no_half_of_a_file(small: Path, runtime: Runtime, bundle: MakeBundle) -> None:
    fill(small)
    made = bundle()
    done = runtime.call("create", "--bundle", str(made.path), "--pid-file", str(small / "pid"), runtime.new_id())
    assert done.returncode == 1
    assert "write pid file" in done.stderr
    assert "no space left on device" in done.stderr
    done = runtime.call("spec", "--bundle", str(small))
    assert done.returncode == 1
    assert "no space left on device" in done.stderr
    assert [path.name for path in small.iterdir()] == ["filler"]


def test_a_temporary_pid_file_of_a_killed_process(tmp_path: Path) -> None:
    """Its pid has come round: the file was "file exists" for ever."""
    from pyrunc.kernel.files import write_pid_file

    (tmp_path / f".pid.{os.getpid()}").write_text("half")
    write_pid_file(str(tmp_path / "pid"), 4711)
    assert (tmp_path / "pid").read_text() == "4711"
    assert [path.name for path in tmp_path.iterdir()] == ["pid"]


def test_runc_keeps_what_it_made(runtime: Runtime, bundle: MakeBundle) -> None:
    """A real container of runc's, in its own directory: pyrunc ends it when told to, and says whose it was."""
    runc = shutil.which("runc")
    if not runc:
        pytest.skip("needs runc")
    made = bundle({"ociVersion": "1.0.2"}).args("/bin/sleep", "1000")
    id = runtime.new_id()
    with open(made.path / "output", "wb") as output:
        words = [runc, "--root", str(runtime.root), "run", "--detach", "--bundle", str(made.path), id]
        subprocess.run(words, check=True, stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=60)
    state = json.loads((runtime.root / id / "state.json").read_text())
    pid = state["init_process_pid"]
    done = runtime.call("delete", "--force", id)
    assert done.returncode == 0
    assert f"process {pid} is killed" in done.stderr
    assert process_start(pid) == 0
    assert not (runtime.root / id).exists()
    for group in state["cgroup_paths"].values():  # those of version 1 pyrunc leaves alone
        if os.path.isdir(group):
            os.rmdir(group)
