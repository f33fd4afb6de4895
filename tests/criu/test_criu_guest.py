"""Containers through criu and back, in the guest machine."""

import json
import os
import shutil
import socket
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support import Bundle, MakeBundle, Runtime, unique_id

pytestmark = [
    pytest.mark.qemu,
    pytest.mark.skipif(os.environ.get("PYRUNC_GUEST") != "qemu", reason="needs a kernel for criu"),
]

COUNT = "i=0; while :; do i=$((i+1)); echo $i > /n; sleep 0.2; done"


def wait(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, f"{what}: not within a minute"
        time.sleep(0.2)


def number(path: Path) -> int:
    text = path.read_text() if path.exists() else ""
    return int(text or 0)


@pytest.fixture
def counting(bundle: MakeBundle) -> Bundle:
    """A bundle whose process counts in the file `n` of its root."""
    return bundle({"process": {"args": ["/bin/sh", "-c", COUNT]}})


def detached(runtime: Runtime, *args: str) -> None:
    """Call the runtime with nothing that the container would keep open."""
    with open(os.devnull, "r+b") as null, open(runtime.root.parent / "err", "w+") as err:
        status = subprocess.run(
            runtime.command(*args), check=False, stdin=null, stdout=null, stderr=err, timeout=120
        ).returncode
        err.seek(0)
        assert status == 0, err.read()


def run(runtime: Runtime, bundle: Bundle) -> str:
    id = runtime.new_id(unique_id("criu"))
    # Its own standard error would be a file that grows, which criu does not put up with.
    null = os.open(os.devnull, os.O_RDWR)
    try:
        status = subprocess.run(
            runtime.command("run", "-d", "--bundle", str(bundle.path), id),
            check=False,
            stdin=null,
            stdout=null,
            stderr=null,
            timeout=120,
        ).returncode
    finally:
        os.close(null)
    assert status == 0
    wait(lambda: number(bundle.rootfs / "n") > 2, "the container counts")
    return id


def restore(runtime: Runtime, bundle: Bundle, id: str, images: Path, *flags: str) -> None:
    work = images.parent / "work"
    detached(
        runtime,
        *("restore", "--detach", "--bundle", str(bundle.path), "--image-path", str(images)),
        *("--work-path", str(work), *flags, id),
    )


def goes_on(bundle: Bundle, before: int) -> None:
    wait(lambda: number(bundle.rootfs / "n") > before + 1, "the container goes on counting")


def test_there_and_back(runtime: Runtime, counting: Bundle, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    counting.config["mounts"].append({"destination": "/v", "type": "bind", "source": str(volume), "options": ["rbind"]})
    counting.save()
    id = run(runtime, counting)
    images, pid_file = tmp_path / "images", tmp_path / "pid"
    runtime.call("checkpoint", "--image-path", str(images), id, check=True, timeout=120)
    gone = runtime.call("state", id)
    assert gone.returncode == 1
    assert "container does not exist" in gone.stderr
    before = number(counting.rootfs / "n")
    time.sleep(1)
    assert number(counting.rootfs / "n") == before
    restore(runtime, counting, id, images, "--pid-file", str(pid_file))
    state = runtime.state(id)
    assert state["status"] == "running"
    assert state["pid"] == int(pid_file.read_text())
    goes_on(counting, before)
    inside = runtime.call("exec", id, "cat", "/proc/self/mounts", check=True).stdout
    assert " /v " in inside
    runtime.call("kill", id, "KILL", check=True)
    wait(lambda: runtime.state(id)["status"] == "stopped", "the end")
    runtime.call("delete", id, check=True)


def test_parents_and_a_paused_container(runtime: Runtime, counting: Bundle, tmp_path: Path) -> None:
    id = run(runtime, counting)
    first = ["checkpoint", "--pre-dump", "--image-path", str(tmp_path / "first"), id]
    runtime.call(*first, check=True, timeout=120)
    assert runtime.state(id)["status"] == "running"
    runtime.call("pause", id, check=True)
    images = tmp_path / "second"
    runtime.call(
        *("checkpoint", "--leave-running", "--parent-path", "../first"),
        *("--image-path", str(images), id),
        check=True,
        timeout=120,
    )
    assert runtime.state(id)["status"] == "paused"
    assert os.readlink(images / "parent") == "../first"
    runtime.call("resume", id, check=True)
    goes_on(counting, number(counting.rootfs / "n"))
    runtime.call("delete", "--force", id, check=True)
    restore(runtime, counting, id, images)
    goes_on(counting, number(counting.rootfs / "n"))


def test_foreground_with_hooks(runtime: Runtime, counting: Bundle, tmp_path: Path) -> None:
    def hook(name: str) -> list[dict[str, Any]]:
        return [{"path": "/bin/sh", "args": ["sh", "-c", f"cat > {tmp_path}/{name}"]}]

    counting.update({"hooks": {kind: hook(kind) for kind in ("createRuntime", "poststart", "poststop")}})
    id = run(runtime, counting)
    images = tmp_path / "images"
    runtime.call("checkpoint", "--image-path", str(images), id, check=True, timeout=120)
    assert (tmp_path / "poststop").exists()
    for name in ("createRuntime", "poststart", "poststop"):
        (tmp_path / name).unlink()
    command = runtime.command(*("restore", "--bundle", str(counting.path), "--image-path", str(images), id))
    with open(os.devnull, "r+b") as null:
        process = subprocess.Popen(command, stdin=null, stdout=null, stderr=null)
    wait((tmp_path / "poststart").exists, "the poststart hook")
    goes_on(counting, number(counting.rootfs / "n"))
    state = json.loads((tmp_path / "createRuntime").read_text())
    assert state["status"] == "creating"
    assert state["pid"] == runtime.state(id)["pid"]
    runtime.call("kill", id, "KILL", check=True)
    assert process.wait(60) == 137
    assert runtime.call("state", id).returncode == 1
    assert (tmp_path / "poststop").exists()


def test_terminal(runtime: Runtime, counting: Bundle, root_dir: Path, tmp_path: Path) -> None:
    counting.update({"process": {"terminal": True}})
    path = root_dir / "console"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(2)
        listener.settimeout(60)
        id = runtime.new_id(unique_id("criu"))
        flags = ["--console-socket", str(path)]
        detached(runtime, "run", "-d", "--bundle", str(counting.path), *flags, id)
        masters = [_receive(listener)]
        wait(lambda: number(counting.rootfs / "n") > 2, "the container counts")
        images = tmp_path / "images"
        runtime.call("checkpoint", "--image-path", str(images), id, check=True, timeout=120)
        restore(runtime, counting, id, images, *flags)
        masters.append(_receive(listener))
    goes_on(counting, number(counting.rootfs / "n"))
    os.write(masters[1], b"\x03")
    wait(lambda: runtime.state(id)["status"] in ("running", "stopped"), "an answer")
    for master in masters:
        os.close(master)


def _receive(listener: socket.socket) -> int:
    connection, _ = listener.accept()
    with connection:
        _, fds, _, _ = socket.recv_fds(connection, 100, 1)
    assert os.isatty(fds[0])
    return fds[0]


def test_user_namespace(runtime: Runtime, counting: Bundle, tmp_path: Path) -> None:
    maps = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    spaces = [*counting.config["linux"]["namespaces"], {"type": "user"}]
    counting.update({"linux": {"namespaces": spaces, "uidMappings": maps, "gidMappings": maps}})
    counter = counting.rootfs / "n"
    counter.touch()
    os.chown(counter, 100000, 100000)
    id = run(runtime, counting)
    images = tmp_path / "images"
    runtime.call("checkpoint", "--image-path", str(images), id, check=True, timeout=120)
    restore(runtime, counting, id, images)
    goes_on(counting, number(counter))
    assert images.stat().st_gid == 0
    assert images.stat().st_mode & 0o777 == 0o700


def test_a_failure_says_why(runtime: Runtime, counting: Bundle, tmp_path: Path) -> None:
    """A deleted file that is too large for criu to copy; the container goes on."""
    counting.shell(f"dd if=/dev/zero of=/big bs=1M count=2; exec 9>>/big; rm /big; {COUNT}")
    id = run(runtime, counting)
    wait(lambda: number(counting.rootfs / "n"), "it counts, so the file is deleted")
    log = tmp_path / "log.json"
    failed = subprocess.run(
        [
            *(runtime.program, "--root", str(runtime.root), "--log", str(log)),
            *("--log-format", "json", "checkpoint", "--image-path", str(tmp_path / "images"), id),
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert failed.returncode == 1
    lines = failed.stderr.splitlines()
    assert lines[0].startswith("criu failed: type DUMP errno ")
    assert "ghost file" in lines[1]
    assert lines[-1] == f"log file: {tmp_path}/images/dump.log"
    assert json.loads(log.read_text().splitlines()[-1])["msg"] == "\n".join(lines)
    goes_on(counting, number(counting.rootfs / "n"))


def test_a_restore_that_fails_leaves_nothing(runtime: Runtime, counting: Bundle, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    (images / "descriptors.json").write_text('["", "", ""]')
    id = runtime.new_id(unique_id("criu"))
    failed = runtime.call(*("restore", "--detach", "--bundle", str(counting.path)), *("--image-path", str(images), id))
    assert failed.returncode == 1
    assert "criu failed: type RESTORE errno" in failed.stderr
    assert f"log file: {images}/restore.log" in failed.stderr
    assert runtime.call("state", id).returncode == 1
    with open("/proc/self/mounts") as file:
        assert str(counting.rootfs) not in file.read()


@pytest.fixture
def image(counting: Bundle, tmp_path: Path) -> Iterator[str]:
    archive, name = tmp_path / "image.tar", f"localhost/{unique_id('criu')}"
    with tarfile.open(archive, "w") as tar:
        tar.add(counting.rootfs, ".")
    subprocess.run(["podman", "import", "-q", archive, name], check=True, timeout=120)
    yield name
    subprocess.run(["podman", "rmi", "-f", name], check=False, timeout=120, capture_output=True)


def test_podman(launcher: str, image: str) -> None:
    assert shutil.which("podman")
    name = unique_id("criu")

    def podman(*args: str) -> str:
        done = subprocess.run(
            ["podman", "--runtime", launcher, *args],
            check=False,
            timeout=200,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"podman {' '.join(args)}: {done.stdout}{done.stderr}"
        return done.stdout

    try:
        podman("run", "-d", "--name", name, "--network", "none", image, "/bin/sh", "-c", COUNT)
        podman("container", "checkpoint", name)
        assert "false" in podman("inspect", "-f", "{{.State.Running}}", name)
        podman("container", "restore", name)
        before = int(podman("exec", name, "cat", "/n") or 0)
        assert before > 0
        wait(lambda: int(podman("exec", name, "cat", "/n") or 0) > before, "it goes on counting")
    finally:
        podman("rm", "-f", "-t", "0", name)
