"""`exec` and cgroups: where the process is born, --cgroup, paused containers."""

import json
import re
import subprocess
import time
from pathlib import Path

import pytest

from pyrunc.errors import Error
from pyrunc.setup.exec_cgroup import sub_cgroup
from support import IS_ROOT, MakeBundle, Runtime

root_only = pytest.mark.skipif(not IS_ROOT, reason="needs root")


def test_arguments() -> None:
    assert sub_cgroup([]) is None
    assert sub_cgroup(["/"]) == "/"
    assert sub_cgroup(["a/b"]) == "a/b"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [(["cpu,memory:x"], 'unknown controller "cpu,memory"'), ([":x"], "unknown controller"), (["a", "b"], "only one")],
)
def test_bad_arguments(arguments: list[str], text: str) -> None:
    with pytest.raises(Error, match=text):
        sub_cgroup(arguments)


@pytest.fixture
def container(runtime: Runtime, bundle: MakeBundle) -> tuple[str, Path]:
    """A running container and its cgroup."""
    if not IS_ROOT:
        pytest.skip("needs root")
    id = runtime.create(bundle().args("/bin/sleep", "100"))
    runtime.call("start", id, check=True)
    state = json.loads((runtime.root / id / "state.json").read_text())
    path = state["cgroup"].get("path")
    if not path:
        pytest.skip("no usable cgroup v2: containers have no cgroup of their own")
    return id, Path(path)


def where(runtime: Runtime, *words: str) -> str:
    """The v2 cgroup that `exec WORDS cat /proc/self/cgroup` runs in."""
    done = runtime.call("exec", *words, "cat", "/proc/self/cgroup", check=True)
    return next(line for line in done.stdout.splitlines() if line.startswith("0::"))[3:]


def test_default_is_the_containers(runtime: Runtime, container: tuple[str, Path]) -> None:
    id, path = container
    assert str(path).endswith(where(runtime, id))
    assert where(runtime, "--cgroup", "/", id) == where(runtime, id)


@pytest.mark.usefixtures("needs_v2")  # of v1: limits/test_limit_v1.py
def test_sub_cgroup(runtime: Runtime, container: tuple[str, Path]) -> None:
    id, path = container
    (path / "sub" / "deeper").mkdir(parents=True)
    base = where(runtime, id)
    assert where(runtime, "--cgroup", "sub", id) == base + "/sub"
    assert where(runtime, "--cgroup", "/sub/deeper", id) == base + "/sub/deeper"


@pytest.mark.parametrize(
    ("sub", "text"),
    [
        ("../x", "bad sub cgroup path"),
        ("sub/../../x", "bad sub cgroup path"),
        ("missing", "error adding pid to cgroups: "),
        ("missing", "no such file or directory"),
    ],
)
def test_bad_sub_cgroups(runtime: Runtime, container: tuple[str, Path], sub: str, text: str) -> None:
    done = runtime.call("exec", "--cgroup", sub, container[0], "true")
    assert done.returncode == 255
    assert "cgroup" in done.stderr
    assert text in done.stderr


@pytest.mark.usefixtures("needs_v2")
def test_init_that_moved_and_cgroup_that_is_gone(runtime: Runtime, container: tuple[str, Path]) -> None:
    """exec follows the init; with --cgroup / it does not."""
    id, path = container
    moved = path.parent / f"{path.name}-moved"
    moved.mkdir()
    try:
        pid = runtime.state(id)["pid"]
        (moved / "cgroup.procs").write_text(str(pid))
        path.rmdir()
        assert where(runtime, id).endswith(moved.name)
        done = runtime.call("exec", "--cgroup", "/", id, "true")
        assert done.returncode == 255
        assert re.search("error adding pid to cgroups: .*: no such file or directory", done.stderr)
    finally:
        runtime.clean()
        for _ in range(100):
            try:
                moved.rmdir()
                break
            except OSError:
                time.sleep(0.05)


@pytest.mark.usefixtures("needs_v2")
def test_processes_that_moved_to_make_room_for_controllers(runtime: Runtime, container: tuple[str, Path]) -> None:
    """A group that enables controllers for others takes no process (EBUSY): exec follows the init."""
    id, path = container
    leaf = path / "leaf"
    leaf.mkdir()
    (leaf / "cgroup.procs").write_text(str(runtime.state(id)["pid"]))
    (path / "cgroup.subtree_control").write_text("+memory")
    assert where(runtime, id).endswith("/leaf")
    done = runtime.call("exec", "--cgroup", "/", id, "true")
    assert done.returncode == 255
    assert re.search(r"error adding pid \d+ to cgroups: .*: device or resource busy", done.stderr)


def test_paused_container(runtime: Runtime, container: tuple[str, Path]) -> None:
    id, _ = container
    runtime.call("pause", id, check=True)
    done = runtime.call("exec", id, "true", timeout=20)
    assert done.returncode == 255
    assert "cannot exec in a paused container (use --ignore-paused to override)" in done.stderr
    line = runtime.command("exec", "--ignore-paused", id, "echo", "ok")
    with subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        runtime.call("resume", id, check=True)
        assert process.communicate(timeout=20)[0] == "ok\n"
        assert process.returncode == 0


def test_private_cgroup_namespace(runtime: Runtime, bundle: MakeBundle) -> None:
    if not IS_ROOT:
        pytest.skip("needs root")
    spaces = [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "cgroup")]
    id = runtime.create(bundle({"process": {"args": ["/bin/sleep", "100"]}, "linux": {"namespaces": spaces}}))
    assert where(runtime, id) == "/"


@root_only
def test_container_sees_no_descriptor_of_a_cgroup(runtime: Runtime, container: tuple[str, Path]) -> None:
    id, _ = container
    done = runtime.call("exec", id, "ls", "-l", "/proc/self/fd", check=True)
    assert "cgroup" not in done.stdout
