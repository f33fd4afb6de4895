"""SCMP_ACT_NOTIFY: the listener gets to the agent, which decides what the container's calls do."""

import fcntl
import json
import os
import select
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rootless import made
from support import IS_ROOT, Bundle, Json, MakeBundle, Runtime

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="needs root")

RECEIVE, SEND = 0xC0502100, 0xC0182101  # SECCOMP_IOCTL_NOTIF_RECV and _SEND
CONTINUE = 1  # SECCOMP_USER_NOTIF_FLAG_CONTINUE
ENOMEDIUM = 123


class Agent(threading.Thread):
    """An agent on a socket: calls of mkdir get "No medium found", all others go on."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self.path = path
        self.states: list[Json] = []
        self.calls: list[int] = []
        self.more_than_one_message = False
        self.deaf = False  # closes listeners at once
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.bind(str(path))
        self.sock.listen()
        self.stop_at, self.stopper = os.pipe()
        self.start()

    def run(self) -> None:
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        poll.register(self.stop_at, select.POLLHUP)
        while True:
            for fd, event in poll.poll():
                if fd == self.stop_at:
                    return
                if fd == self.sock.fileno():
                    for listener in self.accept():
                        poll.register(listener, select.POLLIN)
                elif event & select.POLLIN:
                    self.answer(fd)
                else:
                    poll.unregister(fd)
                    os.close(fd)

    def accept(self) -> list[int]:
        connection, _ = self.sock.accept()
        with connection:
            data, fds, _, _ = socket.recv_fds(connection, 65536, 4)
            while part := connection.recv(65536):
                data += part
        self.states.append(json.loads(data))
        if self.deaf:
            for fd in fds:
                os.close(fd)
            return []
        return fds

    def answer(self, listener: int) -> None:
        request = bytearray(80)
        try:
            fcntl.ioctl(listener, RECEIVE, request)
        except OSError:  # who called has gone
            return
        id, _, _, number = struct.unpack_from("<QIIi", request)
        self.calls.append(number)
        refused = number in MKDIR
        error, flags = (-ENOMEDIUM, 0) if refused else (0, CONTINUE)
        try:
            fcntl.ioctl(listener, SEND, struct.pack("<QqiI", id, 0, error, flags))
        except OSError:
            return

    def end(self) -> None:
        os.close(self.stopper)
        self.join()
        os.close(self.stop_at)
        self.sock.close()


MKDIR = {"x86_64": (83, 258), "aarch64": (34,)}[os.uname().machine]


@pytest.fixture
def agent(root_dir: Path) -> Iterator[Agent]:
    it = Agent(root_dir / "agent.sock")
    yield it
    it.end()


def profile(path: object, *names: str, **members: object) -> Json:
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": str(path),
        "listenerMetadata": "some metadata",
        "syscalls": [{"names": list(names or ("mkdir", "mkdirat")), "action": "SCMP_ACT_NOTIFY"}],
        **members,
    }


def notifying(bundle: MakeBundle, seccomp: Json, **process: object) -> Bundle:
    return bundle({"linux": {"seccomp": seccomp}, "process": process})


SCRIPT = "mkdir /tmp/x 2>&1; echo done"
REFUSED = "mkdir: can't create directory '/tmp/x': No medium found\ndone\n"


@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_run(runtime: Runtime, bundle: MakeBundle, agent: Agent, no_new_privileges: bool) -> None:
    it = notifying(bundle, profile(agent.path), noNewPrivileges=no_new_privileges)
    it.update({"annotations": {"a": "b"}}).shell(SCRIPT)
    assert runtime.run(it, check=True).stdout == REFUSED
    (state,) = agent.states
    pid = state["pid"]
    assert state == {
        "ociVersion": state["ociVersion"],
        "fds": ["seccompFd"],
        "pid": pid,
        "metadata": "some metadata",
        "state": {
            "ociVersion": state["ociVersion"],
            "id": runtime.ids[0],
            "status": "creating",
            "pid": pid,
            "bundle": str(it.path),
            "annotations": {"a": "b"},
        },
    }


def test_create_start_and_exec(runtime: Runtime, bundle: MakeBundle, agent: Agent) -> None:
    it = notifying(bundle, profile(agent.path, listenerMetadata="")).shell(SCRIPT + "; sleep 100")
    output = it.path / "printed"
    id = runtime.create(it, output=output)
    # config-linux.md, "Seccomp": applied by `create`; who waits for the descriptor before he starts has it.
    pid = runtime.state(id)["pid"]
    (state,) = agent.states
    assert (state["pid"], state["state"]["status"]) == (pid, "creating")
    runtime.call("start", id, check=True)
    assert "metadata" not in state
    printed = runtime.call("exec", id, "sh", "-c", SCRIPT, check=True).stdout
    assert printed == REFUSED
    assert agent.states[1]["state"]["status"] == "running"
    assert agent.states[1]["pid"] != pid
    assert output.read_text() == REFUSED
    # The listener is nobody's but the agent's.
    assert sorted(os.listdir(f"/proc/{pid}/fd")) == ["0", "1", "2"]


@pytest.mark.parametrize("no_new_privileges", [True, False])
@pytest.mark.parametrize("forbidden", ["SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS"])
def test_a_profile_that_forbids_sending(
    runtime: Runtime, bundle: MakeBundle, agent: Agent, forbidden: str, no_new_privileges: bool
) -> None:
    seccomp = profile(agent.path)
    names = ["sendmsg", "sendto", "connect", "socket", "recvmsg"]
    seccomp["syscalls"].append({"names": names, "action": forbidden})
    it = notifying(bundle, seccomp, noNewPrivileges=no_new_privileges).shell(SCRIPT)
    assert runtime.run(it, check=True).stdout == REFUSED


def test_calls_of_the_init_itself(runtime: Runtime, bundle: MakeBundle, agent: Agent) -> None:
    """The agent has the listener before the init does anything else, even reads an answer."""
    names = ("read", "execve", "prctl", "capset", "sendmsg")
    it = notifying(bundle, profile(agent.path, *names), noNewPrivileges=False)
    assert runtime.run(it.args("/bin/echo", "hello"), check=True).stdout == "hello\n"
    assert len(set(agent.calls)) >= 4


@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_calls_of_a_users_init(launcher: str, no_new_privileges: bool) -> None:
    """A user's pyrunc may not take the listener out of the init, which sends it before it has to read anything."""
    with made(launcher) as rootless:
        agent = Agent(rootless.directory / "agent.sock")
        os.chmod(agent.path, 0o666)
        it = rootless.bundle
        process = {"noNewPrivileges": no_new_privileges, "args": ["/bin/echo", "hello"]}
        seccomp = profile(agent.path, "read", "openat", "open", "close", "execve")
        it.update({"linux": {"seccomp": seccomp}, "process": process})
        done = rootless("run", "--bundle", str(it.path), "a")
        assert (done.stdout, done.stderr) == ("hello\n", "")
        assert len(set(agent.calls)) >= 2
        agent.end()


def test_an_agent_that_goes_away(runtime: Runtime, bundle: MakeBundle, agent: Agent) -> None:
    """The kernel answers ENOSYS then."""
    agent.deaf = True
    it = notifying(bundle, profile(agent.path)).shell(SCRIPT)
    assert "Function not implemented\ndone\n" in runtime.run(it, check=True).stdout


def refusal(runtime: Runtime, bundle: Bundle) -> str:
    done = runtime.run(bundle)
    assert done.returncode == 1
    assert not runtime.root.exists() or not list(runtime.root.iterdir())
    return done.stderr


def test_no_agent(runtime: Runtime, bundle: MakeBundle, root_dir: Path) -> None:
    error = refusal(runtime, notifying(bundle, profile(root_dir / "nobody")))
    assert "failed to connect with seccomp agent" in error
    assert "no such file or directory" in error


def test_a_socket_without_a_listener(runtime: Runtime, bundle: MakeBundle, root_dir: Path) -> None:
    """What is found only when the process has its filter: nothing is left behind either."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.bind(str(root_dir / "deaf"))
    error = refusal(runtime, notifying(bundle, profile(root_dir / "deaf")))
    assert "failed to connect with seccomp agent" in error
    assert "connection refused" in error


def test_create_without_its_agent(runtime: Runtime, bundle: MakeBundle, root_dir: Path) -> None:
    """Nothing is left that could be started without it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.bind(str(root_dir / "deaf"))
    it = notifying(bundle, profile(root_dir / "deaf"))
    done = runtime.call("create", "--bundle", str(it.path), runtime.new_id())
    assert done.returncode == 1
    assert "failed to connect with seccomp agent" in done.stderr
    assert not list(runtime.root.iterdir())


def test_no_socket(runtime: Runtime, bundle: MakeBundle, root_dir: Path) -> None:
    (root_dir / "file").touch()
    error = refusal(runtime, notifying(bundle, profile(root_dir / "file")))
    assert "failed to connect with seccomp agent" in error


@pytest.mark.parametrize("path", ["", "relative.sock", "@abstract"])
def test_no_absolute_path(runtime: Runtime, bundle: MakeBundle, path: str) -> None:
    assert "listenerPath" in refusal(runtime, notifying(bundle, profile(path)))


def test_notifying_of_write(runtime: Runtime, bundle: MakeBundle, agent: Agent) -> None:
    error = refusal(runtime, notifying(bundle, profile(agent.path, "write")))
    assert "SCMP_ACT_NOTIFY cannot be used for the write syscall" in error


def test_a_path_without_the_action(runtime: Runtime, bundle: MakeBundle) -> None:
    seccomp = {"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/nowhere"}
    assert runtime.run(bundle({"linux": {"seccomp": seccomp}})).returncode == 0
