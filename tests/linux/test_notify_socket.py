"""NOTIFY_SOCKET and LISTEN_FDS: what a service manager hands to pyrunc."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from support import IS_ROOT, Bundle, MakeBundle, Runtime

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="needs root")

# busybox has no program for datagrams; the test plays the container's.
SOCKET = "/run/notify/notify.sock"


class Manager:
    """A service manager's socket."""

    def __init__(self, address: str) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(address.replace("@", "\0"))
        self.sock.settimeout(20)
        self.env: Mapping[str, str] = {**os.environ, "NOTIFY_SOCKET": address}

    def next(self) -> list[str]:
        """The lines of the next message."""
        return self.sock.recv(4096).decode().split("\n")

    def quiet(self) -> bool:
        """Whether nothing has come."""
        self.sock.settimeout(0.2)
        try:
            self.sock.recv(4096)
        except TimeoutError:
            return True
        return False


@pytest.fixture(params=["file", "abstract"])
def manager(root_dir: Path, request: pytest.FixtureRequest) -> Iterator[Manager]:
    address = str(root_dir / "manager.sock")
    it = Manager("@" + address if request.param == "abstract" else address)
    yield it
    it.sock.close()


def say(runtime: Runtime, id: str, text: str) -> None:
    """Say something as the container would, through the socket that it sees."""
    path = runtime.root / id / "notify/notify.sock"
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect(str(path))
        sock.send(text.encode())


def begin(runtime: Runtime, manager: Manager, *words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        runtime.command(*words),
        env=manager.env,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


SHOW = f"echo $NOTIFY_SOCKET; test -S {SOCKET} && grep -o ' /run/notify r[ow]' /proc/self/mountinfo"


def test_what_the_container_sees(runtime: Runtime, bundle: MakeBundle, manager: Manager) -> None:
    """And a container that ends without a word does not keep anybody waiting."""
    it = bundle({"process": {"user": {"uid": 5, "gid": 5}}}).shell(f"{SHOW}; test -w {SOCKET}")
    done = runtime.call("run", "--bundle", str(it.path), runtime.new_id(), env=manager.env, timeout=20, check=True)
    assert done.stdout == f"{SOCKET}\n /run/notify ro\n"
    assert not list(runtime.root.iterdir())
    assert manager.quiet()


def test_in_the_foreground(runtime: Runtime, bundle: MakeBundle, manager: Manager) -> None:
    """That it is ready is passed on, and nothing else; the main process is pyrunc itself."""
    it = bundle().args("/bin/sleep", "1000")
    id = runtime.new_id()
    process = begin(runtime, manager, "run", "--bundle", str(it.path), id)
    say(runtime, id, "READY=1\nSTATUS=fine\nMAINPID=1")
    assert manager.next() == ["READY=1"]
    say(runtime, id, "STOPPING=1\nWATCHDOG=trigger\nMAINPIDFDID=1\nREADY=10")
    assert manager.quiet()
    process.terminate()
    runtime.call("kill", id, "KILL")
    assert process.wait(20) == 137


def test_start_waits_until_the_container_is_ready(runtime: Runtime, bundle: MakeBundle, manager: Manager) -> None:
    it = bundle().args("/bin/sleep", "1000")
    id = runtime.create(it, env=manager.env)
    process = begin(runtime, manager, "start", id)
    say(runtime, id, "STATUS=soon")
    assert manager.quiet()
    manager.sock.settimeout(20)
    assert process.poll() is None
    # Whoever waits does not hold the container.
    assert runtime.state(id)["status"] == "running"
    say(runtime, id, "READY=1")
    assert manager.next() == ["READY=1", f"MAINPID={runtime.state(id)['pid']}"]
    assert process.wait(20) == 0


def test_start_does_not_wait_for_the_dead(runtime: Runtime, bundle: MakeBundle, manager: Manager) -> None:
    id = runtime.create(bundle().args("/bin/true"), env=manager.env)
    assert begin(runtime, manager, "start", id).wait(20) == 0
    assert manager.quiet()


def test_a_start_without_the_manager(runtime: Runtime, bundle: MakeBundle, manager: Manager) -> None:
    id = runtime.create(bundle().args("/bin/sleep", "1000"), env=manager.env)
    runtime.call("start", id, check=True, timeout=20)
    assert runtime.state(id)["status"] == "running"


def test_a_manager_that_is_gone(runtime: Runtime, bundle: MakeBundle, root_dir: Path) -> None:
    """As with runc and crun the container runs; it too learns that nobody is there."""
    env = {**os.environ, "NOTIFY_SOCKET": str(root_dir / "no-such-socket")}
    it = bundle().shell(f"test -d {os.path.dirname(SOCKET)} && ! test -e {SOCKET} && echo ran")
    done = runtime.call("run", "--bundle", str(it.path), runtime.new_id(), env=env, timeout=20, check=True)
    assert done.stdout == "ran\n"
    assert "NOTIFY_SOCKET: connect: no such file or directory" in done.stderr
    id = runtime.create(bundle().args("/bin/sleep", "1000"), env=env)
    runtime.call("start", id, check=True, env=env, timeout=20)
    assert runtime.state(id)["status"] == "running"


def test_exec_has_none_of_it(runtime: Runtime, bundle: MakeBundle, manager: Manager) -> None:
    id = runtime.create(bundle().args("/bin/sleep", "1000"), env=manager.env)
    runtime.call("start", id, check=True, timeout=20)
    assert "NOTIFY" not in runtime.call("exec", id, "env", check=True, env=manager.env).stdout


def test_detached(runtime: Runtime, bundle: MakeBundle, manager: Manager) -> None:
    id = runtime.new_id()
    it = bundle().args("/bin/sleep", "1000")
    with open(it.path / "output", "w") as output:
        process = subprocess.Popen(
            runtime.command("run", "--detach", "--bundle", str(it.path), id),
            env=manager.env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    say(runtime, id, "READY=1")
    assert manager.next() == ["READY=1", f"MAINPID={runtime.state(id)['pid']}"]
    assert process.wait(20) == 0


# -- LISTEN_FDS -----------------------------------------------------------------------------------


def listening(runtime: Runtime, bundle: Bundle, pid: str) -> str:
    """Run with the variables of socket activation and an open descriptor 3."""
    words = runtime.command("run", "--bundle", str(bundle.path), runtime.new_id())
    script = f'exec 3</etc/hostname; LISTEN_FDS=1 LISTEN_PID={pid} exec "$@"'
    return subprocess.run(["bash", "-c", script, "-", *words], check=True, text=True, capture_output=True).stdout


def test_descriptors_for_pyrunc_are_the_containers(runtime: Runtime, bundle: MakeBundle) -> None:
    it = bundle().shell("env | grep LISTEN | sort; ls /proc/self/fd | wc -l; cat <&3")
    host = Path("/etc/hostname").read_text()
    assert listening(runtime, it, "$$") == f"LISTEN_FDS=1\nLISTEN_PID=1\n5\n{host}"


def test_descriptors_for_another_process_are_not(runtime: Runtime, bundle: MakeBundle) -> None:
    it = bundle().shell("env | grep LISTEN; ls /proc/self/fd | wc -l")
    assert listening(runtime, it, "1") == "4\n"
