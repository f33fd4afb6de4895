"""What is said, and what is left, when the host fails pyrunc: one system call that fails, one signal, odd callers.

strace(1) makes the calls fail (--inject). Without the mends each of these was a false success, a hang or an
internal error.
"""

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from support import IS_ROOT, Bundle, MakeBundle, Runtime

pytestmark = [
    pytest.mark.skipif(not IS_ROOT, reason="needs root"),
    pytest.mark.skipif(not shutil.which("strace"), reason="needs strace"),
]


def injected(
    runtime: Runtime, injection: str, *words: str, timeout: float = 120, options: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """Call the runtime while strace makes a system call of its own process, not of its children, fail."""
    strace = ["strace", "-q", "-o", "/dev/null", "-e", "signal=none", "-e", f"inject={injection}", *options]
    # A file: a container that is made all the same would hold a pipe open.
    with tempfile.TemporaryFile("w+") as output:
        done = subprocess.run(
            [*strace, *runtime.command(*words)],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            timeout=timeout,
        )
        output.seek(0)
        return subprocess.CompletedProcess(done.args, done.returncode, "", output.read())


@pytest.fixture
def running(runtime: Runtime, bundle: MakeBundle) -> str:
    """The id of a container that sleeps."""
    id = runtime.create(bundle().args("/bin/sleep", "1000"))
    runtime.call("start", id, check=True)
    return id


@pytest.mark.parametrize("errno", ["EMFILE", "ENOMEM", "EPERM"])
@pytest.mark.parametrize("words", [["delete", "--force"], ["kill"]])
def test_a_process_that_cannot_be_asked_is_not_gone(
    errno: str, words: list[str], running: str, runtime: Runtime
) -> None:
    extra = ["KILL"] if words[0] == "kill" else []
    done = injected(runtime, f"pidfd_open:error={errno}", words[0], *words[1:], running, *extra)
    assert done.returncode == 1
    assert "pidfd_open" in done.stderr
    for word in ("not running", "does not exist", "internal error"):
        assert word not in done.stderr
    assert runtime.state(running)["status"] == "running"


@pytest.mark.parametrize("call", ["openat", "renameat,renameat2,rename"])
def test_a_start_that_does_not_reach_the_init(call: str, runtime: Runtime, bundle: MakeBundle) -> None:
    id = runtime.create(bundle().args("/bin/sleep", "1000"))
    # Of the openat only those of the fifos: the last ones.
    path = ["-P", f"{runtime.root}/{id}/start.fifo"] if call == "openat" else []
    done = injected(runtime, f"{call}:error=EMFILE", "start", id, options=path)
    assert done.returncode == 1
    assert "too many open files" in done.stderr
    assert "internal error" not in done.stderr
    assert runtime.state(id)["status"] == "created"
    runtime.call("start", id, check=True)
    assert runtime.state(id)["status"] == "running"


@pytest.mark.parametrize("call", ["memfd_create", "socketpair", "flock", "fchmod", "renameat,renameat2,rename"])
@pytest.mark.parametrize("errno", ["EMFILE", "ENOMEM", "EIO"])
def test_create_says_what_failed_and_leaves_nothing(
    call: str, errno: str, runtime: Runtime, bundle: MakeBundle
) -> None:
    made = bundle().args("/bin/sleep", "1000")
    id = runtime.new_id()
    done = injected(runtime, f"{call}:error={errno}", "create", "--bundle", str(made.path), id)
    assert done.returncode == 1
    assert "internal error" not in done.stderr
    assert os.strerror(getattr(__import__("errno"), errno)).lower() in done.stderr
    left = runtime.root / id
    assert not left.exists()
    assert runtime.create(made, id=id) == id


@pytest.mark.parametrize("errno", ["EACCES", "EPERM", "EMFILE"])
def test_a_session_with_pyrunc_init_is_refused(errno: str, runtime: Runtime, bundle: MakeBundle) -> None:
    """A filter around pyrunc: the error names the call, and what to look at."""
    made = bundle()
    done = injected(runtime, f"socketpair:error={errno}", "create", "--bundle", str(made.path), runtime.new_id())
    assert done.returncode == 1
    assert "::" not in done.stderr
    if errno != "EMFILE":
        assert "pyrunc-init: socketpair: " in done.stderr


PLACES = ["socketpair", "memfd_create", "clone3,clone,vfork", "recvmsg", "write", "flock"]


@pytest.mark.parametrize("when", [1, 2])
@pytest.mark.parametrize("call", PLACES)
def test_an_interrupt_anywhere_in_create(call: str, when: int, runtime: Runtime, bundle: MakeBundle) -> None:
    made = bundle().args("/bin/sleep", "1000")
    id = runtime.new_id()
    done = injected(runtime, f"{call}:signal=SIGINT:when={when}", "create", "--bundle", str(made.path), id)
    if done.returncode == 0:  # it came too late, or never
        assert runtime.state(id)["status"] == "created"
        return
    assert done.returncode in (130, 1), done.stderr
    assert "internal error" not in done.stderr
    assert not (runtime.root / id).exists()


def ignore_children() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)


@pytest.mark.parametrize("hooks", [{}, {"createRuntime": [{"path": "/bin/true"}]}])
def test_a_caller_that_ignores_the_end_of_children(
    hooks: dict[str, object], runtime: Runtime, bundle: MakeBundle
) -> None:
    made = bundle({"hooks": hooks}).shell("exit 7")
    done = subprocess.run(
        runtime.command("run", "--bundle", str(made.path), runtime.new_id()),
        check=False,
        stdin=subprocess.DEVNULL,
        preexec_fn=ignore_children,
        timeout=60,
    )
    assert done.returncode == 7


BROKEN = [
    '{"a": 1,}', '{"a" 1}', '{"a": ', '{"a": "\\x"}', '{"a": "\t"}', "[1, 2", '{"a": tru}', '{"a": 01}', "{a: 1}",
    "'a'", '{"a": "b', '{"a": 1 "b": 2}', "{]", "", " ", "nul", '{"a": -}', '{"a": 1e}', '{"a": "\\u12"}', "{}x",
]  # fmt: skip


@pytest.mark.parametrize("text", BROKEN)
def test_a_document_that_is_no_json(text: str, runtime: Runtime, bundle: MakeBundle, tmp_path: Path) -> None:
    """In a process of its own: where `json` is imported Python 3.11's scanner raises what it should."""
    made = bundle()
    (made.path / "config.json").write_text(text)
    document = tmp_path / "document.json"
    document.write_text(text)
    for words in (
        ("run", "--bundle", str(made.path), "nope"),
        ("update", "--resources", str(document), "nope"),
    ):
        done = runtime.call(*words)
        assert done.returncode == 1
        assert "internal error" not in done.stderr
        assert "line 1, column " in done.stderr or "does not exist" in done.stderr


@pytest.mark.parametrize("text", BROKEN)
def test_documents_for_a_container_that_are_no_json(text: str, running: str, runtime: Runtime, tmp_path: Path) -> None:
    """The container exists, so that each document is really read: exec -p, update -r and state.json say one place."""
    document = tmp_path / "document.json"
    document.write_text(text)
    state = runtime.root / running / "state.json"
    good = state.read_text()
    told = [
        runtime.call("exec", "--process", str(document), running),
        runtime.call("update", "--resources", str(document), running),
    ]
    state.write_text(text)
    told.append(runtime.call("state", running))
    state.write_text(good)
    places = set()
    for done, status in zip(told, (255, 1, 1), strict=True):
        assert done.returncode == status
        assert "internal error" not in done.stderr
        found = re.search(r"line 1, column \d+: [^\"]+", done.stderr)
        assert found, done.stderr
        places.add(found[0].partition(":")[0])
    assert len(places) == 1
    assert runtime.state(running)["status"] == "running"


@pytest.mark.parametrize(
    ("text", "column"), [('{"a": 1,}', 9), ('{"a" 1}', 6), ('{"a": "\t"}', 8), ("{}x", 3), ("{a: 1}", 2)]
)
def test_the_place_in_a_document_that_is_no_json(text: str, column: int, runtime: Runtime, bundle: MakeBundle) -> None:
    made = bundle()
    (made.path / "config.json").write_text("\n" + text)
    done = runtime.call("run", "--bundle", str(made.path), runtime.new_id())
    assert done.returncode == 1
    assert f"config.json: line 2, column {column}:" in done.stderr


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 2}', "null", "\udcff"])
def test_a_damaged_state_is_told(text: str, running: str, runtime: Runtime) -> None:
    file = runtime.root / running / "state.json"
    good = file.read_text()
    file.write_bytes(text.encode(errors="surrogateescape"))
    done = runtime.call("state", running)
    listed = runtime.call("list", "--quiet")
    file.write_text(good)
    assert done.returncode == 1
    assert f"state.json of container {running}" in done.stderr
    assert (listed.returncode, listed.stdout) == (0, "")
    assert runtime.state(running)["status"] == "running"


def test_a_pid_file_that_is_a_device(
    runtime: Runtime, bundle: MakeBundle, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """As root, `--pid-file /dev/null` would break the host."""
    if os.statvfs(tmp_path).f_flag & os.ST_NODEV:  # systemd's /tmp: devices there cannot be opened
        subprocess.run(["mount", "-t", "tmpfs", "-o", "dev", "tmpfs", tmp_path], check=True)
        request.addfinalizer(lambda: subprocess.run(["umount", "-l", tmp_path], check=True))
    node = tmp_path / "null"
    os.mknod(node, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    runtime.create(bundle().args("/bin/sleep", "1000"), "--pid-file", str(node))
    assert stat.S_ISCHR(node.stat().st_mode)
    assert [it.name for it in tmp_path.iterdir() if it.name.startswith(".null")] == []


def hook(runtime: Runtime, output: Path, *words: str) -> dict[str, object]:
    """A hook that calls the runtime for its own container, and says how that ended."""
    call = " ".join(runtime.command(*words))
    return {"path": "/bin/sh", "args": ["sh", "-c", f"{call} >{output} 2>&1; echo status $? >>{output}"], "timeout": 30}


def with_hook(made: Bundle, kind: str, it: dict[str, object]) -> Bundle:
    return made.update({"hooks": {kind: [it]}})


@pytest.mark.parametrize(
    ("words", "status"), [(["state"], 0), (["kill"], 0), (["delete", "--force"], 0), (["start"], 1), (["delete"], 1)]
)
def test_a_poststart_hook_calls_for_its_container(
    words: list[str], status: int, runtime: Runtime, bundle: MakeBundle, tmp_path: Path
) -> None:
    id, output = runtime.new_id(), tmp_path / "output"
    made = with_hook(bundle().args("/bin/sleep", "1000"), "poststart", hook(runtime, output, *words, id))
    runtime.create(made, id=id)
    runtime.call("start", id, timeout=40)
    assert output.read_text().endswith(f"status {status}\n"), output.read_text()


@pytest.mark.parametrize("kind", ["createRuntime", "createContainer"])
@pytest.mark.parametrize(
    ("words", "status"), [(["delete", "--force"], 0), (["start"], 1), (["update", "--pids-limit", "5"], 1)]
)
def test_a_hook_calls_for_a_container_that_is_being_created(
    kind: str, words: list[str], status: int, runtime: Runtime, bundle: MakeBundle, tmp_path: Path
) -> None:
    """It does not exist yet, and nobody waits for ever."""
    id, output = runtime.new_id(), tmp_path / "output"
    made = with_hook(bundle().args("/bin/sleep", "1000"), kind, hook(runtime, output, *words, id))
    runtime.create(made, id=id)
    text = output.read_text()
    assert text.endswith(f"status {status}\n")
    assert status == 0 or "container does not exist" in text
    assert runtime.state(id)["status"] == "created"


def test_standard_output_is_full(running: str, runtime: Runtime) -> None:
    for words in (["state", running], ["list"], ["features"], ["--version"]):
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                runtime.command(*words), check=False, stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE
            )
        assert done.returncode == 1
        assert b"write to standard output: no space left on device" in done.stderr


def test_running_out_of_descriptors_is_no_internal_error(runtime: Runtime, bundle: MakeBundle) -> None:
    made = bundle()
    for limit in range(4, 24, 2):
        script = f"import os, resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, {limit})); "
        script += "os.execv(sys.argv[1], sys.argv[1:])"
        words = runtime.command("create", "--bundle", str(made.path), runtime.new_id())
        with tempfile.TemporaryFile("w+") as output:
            again = [sys.executable, "-c", script, *words]
            subprocess.run(again, check=False, stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=120)
            output.seek(0)
            text = output.read()
        assert "Traceback" not in text, limit
        assert "internal error" not in text, (limit, text)


def test_an_error_in_json_has_its_errno(running: str, runtime: Runtime, tmp_path: Path) -> None:
    log = tmp_path / "log"
    words = ("--log", str(log), "--log-format", "json", "kill", running)
    done = injected(runtime, "pidfd_open:error=EMFILE", *words)
    assert done.returncode == 1
    entry = json.loads(log.read_text().splitlines()[-1])
    assert (entry["level"], entry["errno"]) == ("error", 24)


@pytest.mark.parametrize("file", ["/sys/fs/cgroup/cgroup.controllers", "/proc/self/uid_map"])
def test_what_cannot_be_looked_at_is_not_missing(file: str, runtime: Runtime, bundle: MakeBundle) -> None:
    """Without descriptors the container ran without a cgroup, and without what depends on a user namespace."""
    made = bundle()
    words = ("run", "--bundle", str(made.path), runtime.new_id())
    done = injected(runtime, "openat,open:error=EMFILE", *words, options=["-P", file])
    assert done.returncode == 1
    assert f"{file}: too many open files" in done.stderr
    assert "internal error" not in done.stderr


def test_a_cgroup_that_cannot_be_opened_is_not_gone(running: str, runtime: Runtime) -> None:
    """`ps` said that the container had no processes."""
    group = (json.loads((runtime.root / running / "state.json").read_text())["cgroup"] or {}).get("path")
    if not group:
        pytest.skip("the container has no cgroup here")
    done = injected(runtime, "openat,open:error=EMFILE", "ps", running, options=["-P", group])
    assert done.returncode == 1
    assert f"{group}: too many open files" in done.stderr


def test_a_trace_that_cannot_be_written_is_a_warning(runtime: Runtime, bundle: MakeBundle) -> None:
    """The program runs by then: it is waited for, and its exit status is that of `run`."""
    done = runtime.call("run", "-b", str(bundle().shell("sleep 0.3; exit 7").path), "--trace", "/dev/full", "traced")
    assert done.returncode == 7, done.stderr
    assert "the trace is not written to /dev/full: no space left on device" in done.stderr
    assert "container does not exist" in runtime.call("state", "traced").stderr


KILLED = pytest.mark.parametrize(
    ("words", "status"),
    [(["run"], 1), (["run", "--detach"], 1), (["exec"], 255), (["exec", "--detach"], 255), (["start"], 1)],
)


@KILLED
def test_a_process_that_is_killed_before_its_program(
    words: list[str], status: int, runtime: Runtime, bundle: MakeBundle
) -> None:
    """By the OOM killer, say: nothing ran, and `run --detach` and `exec --detach` called it a success."""
    made = bundle().args("/bin/sh", "-c", "exec /bin/sleep 1000")
    id = runtime.new_id()
    if words[0] == "run":
        rest = ["--bundle", str(made.path), id]
    else:
        runtime.create(made, id=id)
        rest = [id]
        if words[0] == "exec":
            runtime.call("start", id, check=True)
            rest += ["/bin/sh", "-c", "true"]
    where = ["-f", "-P", "/bin/sh"]
    if words[0] == "start":
        pid = runtime.state(id)["pid"]
        with tempfile.TemporaryFile("w+") as output:
            strace = subprocess.Popen(
                ["strace", "-o", "/dev/null", "-e", "inject=write:signal=SIGKILL", "-p", str(pid)], stderr=output
            )
            while strace.poll() is None and b"TracerPid:\t0\n" in Path(f"/proc/{pid}/status").read_bytes():
                time.sleep(0.02)
            done = runtime.call("start", id)
            strace.wait(60)
    else:
        done = injected(runtime, "execve:signal=SIGKILL", *words, *rest, options=where)
    assert done.returncode == status, done.stderr
    killed = "ended before it could execute its program" if words[0] == "start" else "ended: killed by signal 9"
    assert killed in done.stderr
    if words[0] == "run":
        assert not (runtime.root / id).exists()
    elif words[0] == "start":
        assert runtime.state(id)["status"] == "stopped"


@pytest.mark.parametrize("errno", ["EACCES", "EPERM", "ENOSYS"])
def test_memfds_are_refused(errno: str, runtime: Runtime, bundle: MakeBundle) -> None:
    """vm.memfd_noexec=2, or a filter around pyrunc: files without names take their place, in hooks and filters too."""
    large = {"annotations": {"a": "x" * 100_000}, "hooks": {"createRuntime": [{"path": "/bin/cat"}]}}
    log = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["getpid"], "action": "SCMP_ACT_LOG"}]}
    made = bundle({**large, "linux": {"seccomp": log}}).args("/bin/sleep", "1000")
    id = runtime.new_id()
    done = injected(runtime, f"memfd_create:error={errno}", "create", "--bundle", str(made.path), id)
    assert done.returncode == 0, done.stderr
    pid = runtime.state(id)["pid"]
    exe = f"/proc/{pid}/exe"
    assert os.readlink(exe).endswith(" (deleted)")
    assert os.stat(exe).st_nlink == 0
    assert stat.S_IMODE(os.stat(exe).st_mode) == 0o500
    with pytest.raises(OSError, match="Text file busy"):
        os.close(os.open(exe, os.O_WRONLY))
    runtime.call("start", id, check=True)
    done = injected(runtime, f"memfd_create:error={errno}", "ps", id)
    assert "sleep" in done.stdout + done.stderr
    done = injected(runtime, f"memfd_create:error={errno}", "exec", id, "/bin/echo", "hello")
    assert (done.returncode, done.stderr) == (0, "hello\n")


def test_memfds_that_may_not_be_executed(runtime: Runtime, bundle: MakeBundle) -> None:
    """The sysctl itself, in a pid namespace of its own, whose it is."""
    if not Path("/proc/sys/vm/memfd_noexec").exists():
        pytest.skip("needs Linux 6.3")
    made = bundle().shell("echo hello")
    words = runtime.command("run", "--bundle", str(made.path), runtime.new_id())
    inner = 'echo 2 >/proc/sys/vm/memfd_noexec && exec "$@"'
    done = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-c", inner, "sh", *words],
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, "hello\n"), done.stderr


def test_a_directory_that_cannot_be_asked_for_is_no_breakout(runtime: Runtime, bundle: MakeBundle) -> None:
    made = bundle({"process": {"user": {"uid": 1000, "gid": 1000}, "cwd": "/tmp"}})
    words = ("run", "--bundle", str(made.path), runtime.new_id())
    done = injected(runtime, "getcwd:error=ENOMEM:when=2", *words, options=["-f"])
    assert done.returncode == 1
    assert "breakout" not in done.stderr
    assert "getcwd: cannot allocate memory" in done.stderr


def test_too_few_descriptors_are_told_whatever_is_missing(runtime: Runtime, bundle: MakeBundle) -> None:
    """A filter to compile, modules to load: a traceback, "cannot load libseccomp", "invalid argument" before."""
    log = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["gettid"], "action": "SCMP_ACT_LOG"}]}
    made = bundle({"linux": {"seccomp": log}}).args("/bin/true")
    commands = (
        ["create", "--bundle", str(made.path), "a"], ["features"], ["list"], ["ps", "a"], ["validate", str(made.path)],
        ["nonsense"], ["--nonsense"], ["state", "a"], ["help"],
    )  # fmt: skip
    wrong = []
    for limit in (4, 5, 7, 8, 10):
        script = f"import os, resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, {limit})); "
        script += "os.execv(sys.argv[1], sys.argv[1:])"
        for words in commands:
            with tempfile.TemporaryFile("w+") as output:
                again = [sys.executable, "-c", script, *runtime.command(*words)]
                subprocess.run(again, check=False, stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=120)
                output.seek(0)
                text = output.read()
            if re.search("Traceback|internal error|cannot load|invalid argument", text) and "run_path" not in text:
                wrong.append((limit, words[0], text[-300:]))
        runtime.call("delete", "--force", "a")
    assert wrong == []
