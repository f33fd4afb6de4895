"""`pyrunc exec` on real containers. Most tests share one container that runs for the whole module."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support import IS_ROOT, MakeBundle, Runtime, make_bundle

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="needs root")

Exec = Callable[..., subprocess.CompletedProcess[str]]


class Shared:
    """A running container, and how to execute something in it."""

    def __init__(self, runtime: Runtime, id: str, rootfs: Path) -> None:
        self.runtime = runtime
        self.id = id
        self.rootfs = rootfs

    def __call__(self, *words: str, **how: Any) -> subprocess.CompletedProcess[str]:
        """`exec FLAGS... -- ID PROGRAM...`: the id goes where "ID" stands, or first."""
        line = [self.id if word == "ID" else word for word in words]
        if "ID" not in words:
            line.insert(0, self.id)
        return self.runtime.call("exec", *line, **how)

    def output(self, *words: str, **how: Any) -> str:
        """What the program prints; a failure fails the test."""
        return self(*words, check=True, **how).stdout

    def refused(self, *words: str, **how: Any) -> str:
        """What standard error says of an exec that has to fail with 255 and print nothing."""
        done = self(*words, **how)
        assert done.returncode == 255
        assert done.stdout == ""
        return done.stderr


@pytest.fixture(scope="module")
def shared(launcher: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    directory = Path(tempfile.mkdtemp(prefix="pyrunc-"))
    runtime = Runtime(launcher, directory / "pyrunc")
    path = tmp_path_factory.mktemp("exec") / "bundle"
    bundle = make_bundle(path, {"process": {"args": ["/bin/sleep", "1000"]}})
    (bundle.rootfs / "bin/bad-interpreter").write_text("#!/nonexistent\n")
    (bundle.rootfs / "bin/bad-interpreter").chmod(0o755)
    (bundle.rootfs / "private").mkdir(mode=0o700)
    os.chown(bundle.rootfs / "private", 1000, 1000)
    (bundle.rootfs / "etc/passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\n1000:x:0:0:a number:/:/bin/sh\nuser:x:1000:1001::/home/user:/bin/sh\n"
    )
    (bundle.rootfs / "etc/group").write_text("wheel:x:10:root,user\nother:x:11:user\n")
    id = runtime.create(bundle)
    runtime.call("start", id, check=True)
    yield Shared(runtime, id, bundle.rootfs)
    runtime.clean()
    shutil.rmtree(directory, ignore_errors=True)


def status_of(text: str) -> dict[str, str]:
    """The lines of a /proc/PID/status."""
    lines = (line.split(":", 1) for line in text.splitlines())
    return {name: value.strip() for name, value in lines}


# -- exit codes and errors --------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 1, 42, 255])
def test_exit_status(shared: Shared, code: int) -> None:
    assert shared("sh", "-c", f"exit {code}").returncode == code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_killed(shared: Shared, number: int) -> None:
    assert shared("sh", "-c", f"kill -{number:d} $$").returncode == 128 + number


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["nosuch"], 'exec: "nosuch": executable file not found in $PATH'),
        (["/nosuch"], 'exec: "/nosuch": stat /nosuch: no such file or directory'),
        (["/etc/passwd"], 'exec: "/etc/passwd": permission denied'),
        (["/etc"], 'exec: "/etc": is a directory'),
        (["--cwd", "relative", "ID", "true"], "Cwd must be an absolute path"),
        (["--cwd", "/nowhere", "ID", "true"], "chdir to cwd"),
        (["--pid-file", "/nowhere/pid", "ID", "true"], "no such file or directory"),
        (["--cgroup", "../x", "ID", "true"], "cgroup"),
        (["--cgroup", "swap:x", "ID", "true"], 'unknown controller "swap"'),
        (["--preserve-fds", "90", "ID", "true"], "unable to stat preserved-fd 0 (of 90), descriptor 3: bad file"),
        (["--console-socket", "/x", "ID", "true"], "cannot use console socket"),
        (["-d", "-t", "ID", "true"], "cannot allocate tty"),
        (["--user", "nobody", "ID", "true"], "unable to find user nobody"),
    ],
)
def test_errors(shared: Shared, words: list[str], text: str) -> None:
    error = shared.refused(*words)
    assert "exec failed: " in error
    assert text in error.replace('\\"', '"')
    assert error.count("level=error") == 1


def test_missing_container(runtime: Runtime) -> None:
    done = runtime.call("exec", "nope", "true")
    assert done.returncode == 255
    assert "container does not exist" in done.stderr


def test_bad_interpreter_is_told_as_by_a_shell(shared: Shared) -> None:
    error = shared.refused("/bin/bad-interpreter")
    assert error.startswith('exec /bin/bad-interpreter: no such file or directory: its interpreter "')
    assert error.endswith('" does not exist\n')
    assert error.count("\n") == 1


def test_stopped_container(runtime: Runtime, bundle: MakeBundle) -> None:
    id = runtime.create(bundle().args("/bin/true"))
    runtime.call("start", id, check=True)
    deadline = time.monotonic() + 10
    while runtime.state(id)["status"] != "stopped":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    done = runtime.call("exec", id, "true")
    assert done.returncode == 255
    assert "cannot exec in a stopped container" in done.stderr


def test_created_container_stays_created(runtime: Runtime, bundle: MakeBundle) -> None:
    id = runtime.create(bundle().args("/bin/sleep", "100"))
    assert runtime.call("exec", id, "hostname", check=True).stdout == "testhost\n"
    assert runtime.state(id)["status"] == "created"


# -- the process ------------------------------------------------------------------------------------


def test_namespaces_are_the_containers(shared: Shared) -> None:
    pid = shared.runtime.state(shared.id)["pid"]
    listed = shared.output("sh", "-c", "cd /proc/self/ns && for n in *; do readlink $n; done")
    kinds = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")
    expected = {os.readlink(f"/proc/{pid}/ns/{kind}") for kind in kinds}
    assert expected <= set(listed.split())


def test_standard_streams(shared: Shared) -> None:
    done = shared("sh", "-c", "cat; echo error >&2", input="text")
    assert done.stdout == "text"
    assert done.stderr == "error\n"


def test_signals_are_neither_ignored_nor_blocked(shared: Shared) -> None:
    status = status_of(shared.output("cat", "/proc/self/status"))
    assert {status[key] for key in ("SigIgn", "SigBlk", "SigPnd", "ShdPnd")} == {"0" * 16}


def test_session_of_its_own_and_no_signal_at_the_parents_death(shared: Shared) -> None:
    # Fields of stat after the name: state, ppid, pgrp, session.
    text = shared.output("sh", "-c", "cat /proc/$$/stat; exit 0")
    fields = text.rpartition(")")[2].split()
    assert fields[3] == text.split()[0]


def test_no_descriptors_but_three(shared: Shared) -> None:
    assert sorted(shared.output("ls", "/proc/self/fd").split()) == ["0", "1", "2", "3"]


def test_inherited_descriptors_do_not_leak(shared: Shared, tmp_path: Path) -> None:
    """CVE-2024-21626: 40 directories of the host are open in pyrunc's caller."""
    fds = [os.open("/", os.O_RDONLY | os.O_DIRECTORY) for _ in range(40)]
    try:
        listed = shared.output("ls", "/proc/self/fd", pass_fds=fds)
        assert sorted(listed.split()) == ["0", "1", "2", "3"]
        for number in (*range(3, 21), fds[0], fds[-1]):
            for cwd in (f"/proc/self/fd/{number}", f"/proc/self/fd/{number}/../.."):
                done = shared("--cwd", cwd, "ID", "/bin/sh", "-c", "pwd; ls", pass_fds=fds)
                if done.returncode == 0:
                    # ".." of the text alone leads to a directory of the container.
                    assert "private" in done.stdout or done.stdout.startswith("/proc"), cwd
                else:
                    assert done.returncode == 255
                    assert done.stdout == ""
    finally:
        for fd in fds:
            os.close(fd)


def test_cwd_that_links_to_a_descriptor(shared: Shared) -> None:
    for number in range(3, 21):
        link = shared.rootfs / f"link{number}"
        link.symlink_to(f"/proc/self/fd/{number}")
        assert "chdir to cwd" in shared.refused("--cwd", f"/link{number}", "ID", "pwd")
        link.unlink()


def test_preserved_descriptors(shared: Shared, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("preserved")
    line = shared.runtime.command("exec", "--preserve-fds", "1", shared.id, "cat", "/proc/self/fd/3")
    command = ["/bin/sh", "-c", 'exec "$@" 3<"$0"', str(tmp_path / "file"), *line]
    done = subprocess.run(command, check=True, capture_output=True)
    assert done.stdout == b"preserved"


def test_cwd(shared: Shared) -> None:
    assert shared.output("--cwd", "/usr/bin", "ID", "pwd") == "/usr/bin\n"


def test_cwd_that_only_some_may_enter(shared: Shared) -> None:
    """Root enters for the user where it can, as in runc."""
    for user in ("1000", "1001"):
        assert shared.output("--user", user, "--cwd", "/private", "ID", "pwd") == "/private\n"


def test_environment(shared: Shared) -> None:
    listed = shared.output("-e", "A=1", "--env", "B=x y", "-e", "A=2", "ID", "env").splitlines()
    assert sorted(listed) == [
        "A=2",
        "B=x y",
        "HOME=/root",
        "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
    ]


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("1000", "1000 0 0 /home/user"),
        ("1", "1 0 0 /"),
        ("1:2", "1 2 2 /"),
        ("user", "1000 1001 1001 10 11 /home/user"),
        ("user:wheel", "1000 10 10 /home/user"),
        ("user:7", "1000 7 7 /home/user"),
        ("1000:wheel", "1000 10 10 /home/user"),
    ],
)
def test_user(shared: Shared, user: str, expected: str) -> None:
    """CVE-2016-3697: 1000 is a number, though /etc/passwd has root under that name."""
    script = "echo $(id -u) $(id -g) $(id -G) $HOME"
    assert shared.output("--user", user, "ID", "sh", "-c", script) == expected + "\n"


@pytest.mark.parametrize(
    "user", [":2", "1:", "0x1", " 1", "-1", "4294967295", "4294967296", "0:4294967295", "1:2:3", "+0"]
)
def test_what_is_no_user(shared: Shared, user: str) -> None:
    """CVE-2026-30892, CVE-2024-40635."""
    assert "--user" in shared.refused("--user", user, "ID", "id")


def test_additional_groups_keep_their_order(shared: Shared) -> None:
    line = ["--user", "1000:1000", "-g", "100", "-g", "65534", "ID", "id", "-G"]
    assert shared.output(*line) == "1000 100 65534\n"


def test_hostile_account_files(runtime: Runtime, bundle: MakeBundle, tmp_path: Path) -> None:
    """Neither a FIFO nor a link out of the container nor 1 GiB keeps or misleads exec."""
    secret = tmp_path / "passwd"
    secret.write_text("user:x:4711:4711::/:/bin/sh\n")
    it = bundle().args("/bin/sleep", "100")
    id = runtime.create(it)
    passwd = it.rootfs / "etc/passwd"

    def enormous() -> None:
        with open(passwd, "wb") as file:
            file.truncate(1 << 30)

    makers: list[Callable[[], object]] = [
        lambda: os.mkfifo(passwd),
        lambda: passwd.symlink_to(secret),
        lambda: passwd.symlink_to("/proc/self/environ"),
        lambda: passwd.symlink_to(passwd.name),
        passwd.mkdir,
        lambda: None,
        enormous,
    ]
    for make in makers:
        if passwd.is_dir() and not passwd.is_symlink():
            passwd.rmdir()
        else:
            passwd.unlink(missing_ok=True)
        make()
        done = runtime.call("exec", "--user", "user", id, "id", timeout=20)
        assert done.returncode == 255
        assert "unable to find user user" in done.stderr
        assert runtime.call("exec", id, "sh", "-c", "echo $HOME", timeout=20).stdout == "/\n"


def test_capabilities(shared: Shared) -> None:
    plain = status_of(shared.output("cat", "/proc/self/status"))
    line = ["--cap", "CAP_CHOWN", "ID", "cat", "/proc/self/status"]
    added = status_of(shared.output(*line))
    for key in ("CapBnd", "CapEff", "CapPrm"):
        assert int(added[key], 16) == int(plain[key], 16) | 1
    for key in ("CapInh", "CapAmb"):
        assert int(added[key], 16) == 0


def test_unknown_capability_is_a_warning(shared: Shared) -> None:
    done = shared("--cap", "CAP_NONSENSE", "ID", "true")
    assert done.returncode == 0
    assert "ignoring unknown or unavailable capabilities: [CAP_NONSENSE]" in done.stderr


def test_no_new_privileges(shared: Shared) -> None:
    def is_set(*flags: str) -> str:
        return status_of(shared.output(*flags, "ID", "cat", "/proc/self/status"))["NoNewPrivs"]

    assert is_set() == "1"  # as the container's own process
    assert is_set("--no-new-privs=false") == "0"
    assert is_set("--no-new-privs") == "1"


def test_process_file(shared: Shared, tmp_path: Path) -> None:
    file = tmp_path / "process.json"
    document = {
        "args": ["/bin/sh", "-c", "id -u; ulimit -n; umask; pwd; echo $X; cat /proc/self/oom_score_adj"],
        "cwd": "/tmp",
        "env": ["PATH=/bin:/usr/bin", "X=\u00e4\n"],
        "user": {"uid": 1, "gid": 2, "umask": 0o27},
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 78}],
        "oomScoreAdj": 500,
    }
    file.write_text(json.dumps(document))
    expected = ["1", "77", "0027", "/tmp", "\u00e4", "500"]
    assert shared.output("--process", str(file), "ID").split() == expected
    with open(file) as stream:
        fd = stream.fileno()
        from_pipe = shared.output("-p", f"/dev/fd/{fd}", "ID", pass_fds=[fd])
    assert from_pipe.split() == expected


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ('{"args": ["a"], "cwd": "x"}', "Cwd must be an absolute path"),
        ('{"args": [], "cwd": "/"}', "args"),
        ('{"args": ["a"], "cwd": "/", "cwd": "/x"}', "cwd"),
        ('{"args": ["a"], "cwd": "/", "user": {"uid": 4294967295}}', "4294967295"),
        ("", "process.json"),
    ],
)
def test_bad_process_files(shared: Shared, tmp_path: Path, document: str, text: str) -> None:
    file = tmp_path / "process.json"
    file.write_text(document)
    assert text in shared.refused("--process", str(file), "ID")


def test_missing_process_file(shared: Shared) -> None:
    error = shared.refused("--process", "/nowhere/process.json", "ID")
    assert "no such file or directory" in error


@pytest.mark.host  # the guest has one processor
def test_affinity_of_the_caller_does_not_matter(shared: Shared) -> None:
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        pytest.skip("needs two CPUs")
    line = shared.runtime.command("exec", shared.id, "grep", "Cpus_allowed_list", "/proc/self/status")
    pinned = subprocess.run(["taskset", "-c", str(cpus[0]), *line], check=True, text=True, capture_output=True)
    assert pinned.stdout == shared.output("grep", "Cpus_allowed_list", "/proc/self/status")


def test_limits_of_the_container_hold(runtime: Runtime, bundle: MakeBundle) -> None:
    limit = {"type": "RLIMIT_NOFILE", "soft": 50, "hard": 60}
    changes = {"process": {"args": ["/bin/sleep", "100"], "rlimits": [limit], "user": {"umask": 0o77}}}
    id = runtime.create(bundle(changes))
    done = runtime.call("exec", id, "sh", "-c", "ulimit -n; ulimit -Hn; umask", check=True)
    assert done.stdout.split() == ["50", "60", "0077"]


def test_seccomp_filter_holds(runtime: Runtime, bundle: MakeBundle) -> None:
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}
    profile = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    changes = {"process": {"args": ["/bin/sleep", "100"]}, "linux": {"seccomp": profile}}
    id = runtime.create(bundle(changes))
    for flag in ("--no-new-privs=true", "--no-new-privs=false"):
        done = runtime.call("exec", flag, id, "mkdir", "/tmp/x")
        assert done.returncode == 1
        assert "Operation not permitted" in done.stderr


def test_null_device_of_the_host_keeps_its_owner(shared: Shared) -> None:
    before = os.stat("/dev/null")
    shared("--user", "1000", "ID", "true")
    assert os.stat("/dev/null").st_uid == before.st_uid


def test_other_standard_streams_are_the_users(shared: Shared, tmp_path: Path) -> None:
    with open(tmp_path / "output", "w") as file:
        line = shared.runtime.command("exec", "--user", "1000", shared.id, "sh", "-c", "echo x >/dev/stdout")
        subprocess.run(line, check=True, stdin=subprocess.DEVNULL, stdout=file)
    assert (tmp_path / "output").read_text() == "x\n"
    assert (tmp_path / "output").stat().st_uid == 1000


# -- user namespaces and others ---------------------------------------------------------------------


def test_user_namespace(runtime: Runtime, bundle: MakeBundle) -> None:
    mapping = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    spaces = [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "user", "cgroup")]
    linux = {"namespaces": spaces, "uidMappings": mapping, "gidMappings": mapping}
    it = bundle({"process": {"args": ["/bin/sleep", "100"]}, "linux": linux})
    it.give(100000)
    id = runtime.create(it)
    for step in ("created", "running"):
        done = runtime.call("exec", "-g", "5", id, "sh", "-c", "id -u; id -G; cat /proc/self/uid_map")
        assert done.stdout.split() == ["0", "0", "5", "0", "100000", "65536"], step
        done = runtime.call("exec", "--user", "1000:1000", id, "sh", "-c", "touch /tmp/file$$; id")
        assert done.stdout.startswith("uid=1000"), done.stderr
        runtime.call("start", id)
    owners = {path.stat().st_uid for path in (it.rootfs / "tmp").iterdir()}
    assert owners == {101000}


def test_without_namespaces(runtime: Runtime, bundle: MakeBundle) -> None:
    it = bundle({"process": {"args": ["/bin/sleep", "100"]}, "hostname": None, "mounts": []})
    it.update({"linux": {"namespaces": [], "maskedPaths": [], "readonlyPaths": []}})
    (it.rootfs / "canary").touch()
    id = runtime.create(it)
    assert "canary" in runtime.call("exec", id, "ls", "/", check=True).stdout


def test_time_namespace(runtime: Runtime, bundle: MakeBundle) -> None:
    spaces = [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "time")]
    linux = {"namespaces": spaces, "timeOffsets": {"boottime": {"secs": 5_000_000, "nanosecs": 0}}}
    id = runtime.create(bundle({"process": {"args": ["/bin/sleep", "100"]}, "linux": linux}))
    seconds = float(runtime.call("exec", id, "cat", "/proc/uptime", check=True).stdout.split()[0])
    assert seconds > 5_000_000


# -- in the background, terminals, engines ----------------------------------------------------------


def test_detached(shared: Shared, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    with open(tmp_path / "output", "w") as output:
        line = shared.runtime.command("exec", "--detach", "--pid-file", str(pid_file), shared.id, "sleep", "1000")
        began = time.monotonic()
        subprocess.run(line, check=True, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    assert time.monotonic() - began < 20
    assert re.fullmatch(r"[1-9][0-9]*", pid_file.read_text())
    pid = int(pid_file.read_text())
    assert Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\x001000\0"
    container = shared.runtime.state(shared.id)["pid"]
    assert os.readlink(f"/proc/{pid}/ns/pid") == os.readlink(f"/proc/{container}/ns/pid")
    os.kill(pid, signal.SIGKILL)


def test_process_is_a_child_of_pyruncs(shared: Shared) -> None:
    """Signals are forwarded to it, and what it exits with is what pyrunc exits with."""
    script = "trap 'exit 33' USR1; echo ready; while :; do sleep 0.05; done"
    line = shared.runtime.command("exec", shared.id, "sh", "-c", script)
    with subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) == 1
        process.send_signal(signal.SIGUSR1)
        assert process.wait(20) == 33


def test_pidfd_socket(shared: Shared, root_dir: Path) -> None:
    path = root_dir / "pidfd.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        shared.output("--pidfd-socket", str(path), "ID", "true")
        connection, _ = listener.accept()
        with connection:
            _, fds, _, _ = socket.recv_fds(connection, 100, 1)
    with open(f"/proc/self/fdinfo/{fds[0]}") as file:
        assert "Pid:" in file.read()
    os.close(fds[0])


@pytest.mark.parametrize("long", [False, True])
def test_console_socket(shared: Shared, root_dir: Path, tmp_path: Path, long: bool) -> None:
    """As conmon and the shim call it; also by a path for which unix(7) has no room."""
    directory, pid_file = root_dir / ("x" * 200 * long), tmp_path / "pid"
    directory.mkdir(exist_ok=True)
    path = directory / f"console-{long}.sock"
    process = tmp_path / "process.json"
    document = {
        "terminal": True,
        "consoleSize": {"height": 10, "width": 110},
        "args": [
            "/bin/sh",
            "-c",
            "stty size; ls -ln $(tty); for fd in 0 1 2; do readlink /proc/$$/fd/$fd; done; read x",
        ],
        "cwd": "/",
        "env": ["PATH=/bin:/usr/bin"],
        "user": {"uid": 1000, "gid": 1000},
    }
    process.write_text(json.dumps(document))
    with socket.socket(socket.AF_UNIX) as listener:
        there = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        listener.bind(f"/proc/self/fd/{there}/{path.name}")
        os.close(there)
        listener.listen()
        flags = ["--process", str(process), "--detach", "--console-socket", str(path)]
        line = shared.runtime.command("exec", *flags, "--pid-file", str(pid_file), shared.id)
        subprocess.run(line, check=True, stdin=subprocess.DEVNULL, timeout=30)
        connection, _ = listener.accept()
        with connection:
            data, fds, _, _ = socket.recv_fds(connection, 100, 1)
    assert data
    master = fds[0]
    text = b""
    while text.count(b"\n") < 5:
        text += os.read(master, 4096)
    os.write(master, b"\n")
    os.close(master)
    lines = text.decode().split("\r\n")
    assert lines[0] == "10 110"
    assert lines[1].split()[2] == "1000"
    assert len(set(lines[2:5])) == 1
    assert lines[2].startswith("/dev/pts/")


def test_no_terminal_for_a_terminal(shared: Shared) -> None:
    line = shared.runtime.command("exec", "-t", shared.id, "true")
    done = subprocess.run(
        line,
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        start_new_session=True,
    )
    assert done.returncode == 255
    assert "open /dev/tty: no such device or address" in done.stderr


# -- what the container can see of it ---------------------------------------------------------------


def test_no_interpreter_is_ever_in_the_containers_namespaces(shared: Shared) -> None:
    """What is in one of them, while programs are executed, is pyrunc-init or the program."""
    pid = shared.runtime.state(shared.id)["pid"]
    spaces = {kind: os.readlink(f"/proc/{pid}/ns/{kind}") for kind in ("pid", "mnt", "net")}
    seen: set[str] = set()
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            for name in os.listdir("/proc"):
                if not name.isdecimal() or int(name) <= pid:
                    continue
                try:
                    inside = any(os.readlink(f"/proc/{name}/ns/{k}") == v for k, v in spaces.items())
                    if inside:
                        seen.add(os.readlink(f"/proc/{name}/exe").rpartition("/")[2])
                except OSError:
                    continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for _ in range(25):
            shared("/bin/busybox", "true")
            shared("nosuch")
    finally:
        stop.set()
        watcher.join()
    assert not {name for name in seen if "python" in name or name == "pyrunc"}
    assert seen <= {"busybox", "memfd:pyrunc-init (deleted)", "pyrunc-init (deleted)"}


@pytest.fixture
def namespace_of_roots() -> Iterator[str]:
    """The path of a user namespace that root has made, as others than pyrunc do it: an engine, or unshare(1)."""
    with subprocess.Popen(["unshare", "--user", "sleep", "1000"]) as process:
        try:
            until = time.monotonic() + 30
            while os.readlink(f"/proc/{process.pid}/ns/user") == os.readlink("/proc/self/ns/user"):
                assert time.monotonic() < until
            for kind in ("uid", "gid"):
                Path(f"/proc/{process.pid}/{kind}_map").write_text("0 300000 65536")
            yield f"/proc/{process.pid}/ns/user"
        finally:
            process.kill()


@pytest.mark.contains(
    "CVE-2016-9962: exec'ed process can be traced before it drops",
    "not dumpable from the first instruction on; no descriptor of the host is held",
)
@pytest.mark.parametrize("userns", [False, True], ids=["plain", "userns"])
def test_container_cannot_look_into_pyrunc_init(
    runtime: Runtime, bundle: MakeBundle, namespace_of_roots: str, userns: bool
) -> None:
    """CVE-2016-9962: a loop in the container tries every process that appears.

    With a user namespace it has all capabilities over whatever joins that, so nothing but not to be dumpable keeps it
    off. One that pyrunc makes is not root's, which has the kernel hide who joins; so it is one of somebody else's.
    """
    script = """
while :; do
  for p in /proc/[0-9]*; do
    case $p in /proc/1|/proc/$$) continue;; esac
    read name 2>/dev/null <$p/comm || continue
    [ "$name" = pyrunc-init ] || continue
    echo $p
    for f in exe cwd root fd/3 fd/11 fd/12 fd/13 fd/14 fd/15 fd/16; do
      link=$(readlink $p/$f) && echo "$f $link"
    done
  done
done >/out
"""
    it = bundle().shell(script)
    if userns:
        everything = {kind: ["CAP_SYS_PTRACE", "CAP_SYS_ADMIN"] for kind in ("bounding", "effective", "permitted")}
        spaces = [*it.config["linux"]["namespaces"], {"type": "user", "path": namespace_of_roots}]
        it.update({"process": {"capabilities": everything}, "linux": {"namespaces": spaces}}).give(300000)
    id = runtime.create(it)
    runtime.call("start", id, check=True)
    out = it.rootfs / "out"
    for _ in range(60):
        runtime.call("exec", id, "true", check=True)
    lines = out.read_text().splitlines()
    assert any(line.startswith("/proc/") for line in lines), "none was caught"
    # Caught too late, it was the program: readable, and of the container.
    links = {line.split(" ", 1)[1] for line in lines if not line.startswith("/proc/")}
    assert links <= {"/bin/busybox", "/"}


def test_nothing_is_left_of_a_failed_exec(shared: Shared) -> None:
    pid = shared.runtime.state(shared.id)["pid"]
    space = os.readlink(f"/proc/{pid}/ns/pid")

    def members() -> set[str]:
        found = set()
        for name in os.listdir("/proc"):
            try:
                if name.isdecimal() and os.readlink(f"/proc/{name}/ns/pid") == space:
                    found.add(name)
            except OSError:
                continue
        return found

    before = members()
    for words in (["nosuch"], ["--cwd", "/nowhere", "ID", "true"], ["--pid-file", "/no/where", "ID", "sleep", "9"]):
        shared.refused(*words)
    assert members() == before


def test_trace(shared: Shared, tmp_path: Path) -> None:
    file = tmp_path / "trace.json"
    shared.output("--trace", str(file), "ID", "true")
    names = [event["name"] for event in json.loads(file.read_text())["traceEvents"]]
    assert names.index("setns") < names.index("clone3") < names.index("setsid")


def test_mounts_are_not_made_again(shared: Shared) -> None:
    before = shared.output("cat", "/proc/1/mounts")
    shared.output("true")
    assert shared.output("cat", "/proc/1/mounts") == before
