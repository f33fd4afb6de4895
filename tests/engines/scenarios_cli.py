"""Scenarios of the docker-like engines: podman as root, podman without, and docker."""

import os
import tempfile
import threading

from engines.scenarios import IMAGE, Engine, Failed, command, expect, scenario, until

ROOTFUL = ("podman", "docker")
EVERY = ("podman", "podman-rootless", "docker")


# --- running ---------------------------------------------------------------------------------


@scenario(*EVERY)
def run_output(e: Engine) -> None:
    answer = e.run("/bin/sh", "-c", "echo out; echo err >&2")
    expect(answer.out == "out\n" and "err\n" in answer.err, answer)


@scenario(*EVERY)
def run_status(e: Engine) -> None:
    for status in (0, 1, 42, 126, 127, 255):
        e.run("/bin/sh", "-c", f"exit {status}", status=status)


@scenario(*EVERY)
def run_killed_by_signal(e: Engine) -> None:
    e.run("/bin/sh", "-c", "/bin/sh -c 'kill -9 $$'; exit $?", status=137)


@scenario(*EVERY)
def run_stdin(e: Engine) -> None:
    answer = e.run("/bin/cat", flags=["-i"], input="through standard input\n")
    expect(answer.out == "through standard input\n", answer)


@scenario(*EVERY)
def run_large_output(e: Engine) -> None:
    expect(len(e.shell("head -c 1000000 /dev/zero | tr '\\0' x")) == 1000000, "bytes are missing")


@scenario(*EVERY)
def run_tty(e: Engine) -> None:
    script = "test -t 0 && test -t 1 && echo is-a-terminal; tty"
    answer = e.terminal("run", "--rm", "-t", *e.run_flags, IMAGE, "/bin/sh", "-c", script)
    expect("is-a-terminal" in answer.out and "/dev/pts/0" in answer.out, answer)


@scenario(*EVERY)
def logs(e: Engine) -> None:
    name = e.start("/bin/sh", "-c", "echo one; echo two >&2; sleep 60")
    until(lambda: "one" in e.call("logs", name).out, "the log has the line")
    answer = e.call("logs", name)
    expect("two" in answer.out + answer.err, answer)


@scenario(*EVERY)
def wait_for_status(e: Engine) -> None:
    name = e.start("/bin/sh", "-c", "sleep 1; exit 7")
    expect(e.call("wait", name).out.strip() == "7", "wait gives the status")
    expect(e.inspect(name)["State"]["ExitCode"] == 7, "inspect gives the status")


@scenario(*EVERY)
def create_start_attach(e: Engine) -> None:
    name = e.call("create", *e.run_flags, IMAGE, "/bin/echo", "attached").out.strip()
    e.kept.append(name)
    expect(e.call("start", "-a", name).out == "attached\n", "start -a shows the output")
    expect(e.call("start", "-a", name).out == "attached\n", "a stopped container starts again")


@scenario(*EVERY)
def restart(e: Engine) -> None:
    name = e.start("/bin/sh", "-c", "echo started; sleep 60")
    first = e.inspect(name)["State"]["Pid"]
    e.call("restart", "-t", "0", name)
    state = e.inspect(name)["State"]
    expect(state["Running"] and state["Pid"] not in (0, first), state)
    until(lambda: e.call("logs", name).out.count("started") == 2, "the log has both starts")


@scenario(*EVERY)
def copy_and_diff(e: Engine) -> None:
    name = e.start("/bin/sh", "-c", "echo content > /new; sleep 60")
    until(lambda: e.exec(name, "cat /new", status=None).status == 0, "the file is there")
    expect("/new" in e.call("diff", name).out, "diff shows the file")
    with tempfile.TemporaryDirectory() as where:
        os.chmod(where, 0o777)
        e.call("cp", f"{name}:/new", f"{where}/copy")
        with open(f"{where}/copy") as file:
            expect(file.read() == "content\n", "cp brings the content")


@scenario(*EVERY)
def commit(e: Engine) -> None:
    name = e.start("/bin/sh", "-c", "echo kept > /kept; sleep 60")
    until(lambda: e.exec(name, "cat /kept", status=None).status == 0, "the file is there")
    tag = f"localhost/{name}:latest"
    e.call("commit", name, tag)
    try:
        expect(e.run("/bin/cat", "/kept", image=tag).out == "kept\n", "the image has the file")
    finally:
        e.call("rmi", "-f", tag)


# --- exec ------------------------------------------------------------------------------------


@scenario(*EVERY)
def exec_plain(e: Engine) -> None:
    name = e.start("/bin/sleep", "60")
    expect(e.exec(name, "hostname; cat /proc/1/comm").out.endswith("sleep\n"), "inside")


@scenario(*EVERY)
def exec_status(e: Engine) -> None:
    name = e.start("/bin/sleep", "60")
    for status in (0, 1, 42, 255):
        e.exec(name, f"exit {status}", status=status)
    e.exec(name, "kill -9 $$", status=137)


@scenario(*EVERY)
def exec_user_cwd_env(e: Engine) -> None:
    name = e.start("/bin/sleep", "60")
    answer = e.exec(name, "id -u; id -g; pwd; echo $COLOUR", "-u", "1000:50", "-w", "/tmp", "-e", "COLOUR=red")
    expect(answer.out == "1000\n50\n/tmp\nred\n", answer)
    expect(e.exec(name, "id -u", "-u", "alice").out == "1000\n", "a user by name")


@scenario(*EVERY)
def exec_stdin(e: Engine) -> None:
    name = e.start("/bin/sleep", "60")
    answer = e.call("exec", "-i", name, "/bin/cat", input="to exec\n")
    expect(answer.out == "to exec\n", answer)


@scenario(*EVERY)
def exec_tty(e: Engine) -> None:
    name = e.start("/bin/sleep", "60")
    answer = e.terminal("exec", "-t", name, "/bin/sh", "-c", "test -t 0 && echo is-a-terminal")
    expect("is-a-terminal" in answer.out, answer)


@scenario(*EVERY)
def exec_detached(e: Engine) -> None:
    name = e.start("/bin/sleep", "60")
    e.call("exec", "-d", name, "/bin/sh", "-c", "echo done > /marker")
    until(lambda: e.exec(name, "cat /marker", status=None).out == "done\n", "the marker is there")


@scenario(*EVERY)
def exec_privileged(e: Engine) -> None:
    name = e.start("/bin/sleep", "60")
    plain = e.exec(name, "grep CapEff /proc/self/status").out
    privileged = e.exec(name, "grep CapEff /proc/self/status", "--privileged").out
    expect(int(privileged.split()[1], 16) > int(plain.split()[1], 16), privileged)


@scenario(*EVERY)
def exec_errors(e: Engine) -> None:
    name = e.start("/bin/sleep", "60")
    answer = e.call("exec", name, "no-such-command", status=None)
    # docker gives 126 for every error of exec.
    expect(answer.status == 127 or (e.name == "docker" and answer.status == 126), answer)
    expect("executable file not found in $path" in (answer.out + answer.err).lower(), answer)
    answer = e.call("exec", name, "/etc/passwd", status=126)
    expect("permission denied" in (answer.out + answer.err).lower(), answer)
    expect(e.call("exec", "-u", "nobody-here", name, "id", status=None).status != 0, "no such user")


# --- signals, stop and pause -----------------------------------------------------------------


@scenario(*EVERY)
def stop_gently(e: Engine) -> None:
    name = e.start("/bin/sh", "-c", "trap 'exit 3' TERM; echo ready; while :; do sleep 0.1; done")
    until(lambda: "ready" in e.call("logs", name).out, "the handler is there")
    e.call("stop", "-t", "20", name)
    expect(e.inspect(name)["State"]["ExitCode"] == 3, "the handler's status")


@scenario(*EVERY)
def stop_by_force(e: Engine) -> None:
    name = e.start("/bin/sh", "-c", "trap '' TERM; while :; do sleep 0.1; done")
    e.call("stop", "-t", "1", name)
    expect(e.inspect(name)["State"]["ExitCode"] == 137, "killed")


@scenario(*EVERY)
def kill_with_signal(e: Engine) -> None:
    name = e.start("/bin/sh", "-c", "trap 'echo got-usr1' USR1; echo ready; while :; do sleep 0.1; done")
    until(lambda: "ready" in e.call("logs", name).out, "the handler is there")
    e.call("kill", "-s", "USR1", name)
    until(lambda: "got-usr1" in e.call("logs", name).out, "the handler ran")
    e.call("kill", name)
    until(lambda: not e.inspect(name)["State"]["Running"], "killed")


@scenario(*EVERY)
def pause(e: Engine) -> None:
    name = e.start("/bin/sh", "-c", "while :; do echo x >> /count; sleep 0.05; done")
    e.call("pause", name)
    expect(e.inspect(name)["State"]["Status"] == "paused", "inspect says paused")
    e.call("unpause", name)
    before = int(e.exec(name, "wc -l < /count").out)
    until(lambda: int(e.exec(name, "wc -l < /count").out) > before, "it goes on")


@scenario(*EVERY)
def remove_by_force(e: Engine) -> None:
    name = e.start("/bin/sleep", "60")
    e.call(*e.remove, name)
    expect(e.call("container", "inspect", name, status=None).status != 0, "gone")


@scenario(*EVERY)
def remove_paused(e: Engine) -> None:
    name = e.start("/bin/sleep", "60")
    e.call("pause", name)
    e.call(*e.remove, name)


@scenario(*EVERY)
def init_reaps(e: Engine) -> None:
    name = e.start("/bin/sleep", "60", flags=["--init"])
    comm = e.exec(name, "cat /proc/1/comm").out.strip()
    expect(comm != "sleep", f"the first process is {comm}")
    e.call("stop", "-t", "10", name)
    expect(e.inspect(name)["State"]["ExitCode"] == 143, "the signal reached the program")


# --- what it tells ---------------------------------------------------------------------------


@scenario(*EVERY)
def top(e: Engine) -> None:
    name = e.start("/bin/sleep", "61")
    expect("sleep" in e.call("top", name).out, "top shows the process")


@scenario(*EVERY)
def stats(e: Engine) -> None:
    name = e.start("/bin/sleep", "60")
    answer = e.call("stats", "--no-stream", "--no-trunc", name)
    expect(name in answer.out or "%" in answer.out, answer)


@scenario(*EVERY)
def inspect_pid(e: Engine) -> None:
    name = e.start("/bin/sleep", "60")
    pid = e.inspect(name)["State"]["Pid"]
    with open(f"/proc/{pid}/comm") as file:
        expect(file.read() == "sleep\n", "the pid is the process's")


# --- files -----------------------------------------------------------------------------------


@scenario(*EVERY)
def bind_mounts(e: Engine) -> None:
    with tempfile.TemporaryDirectory() as where:
        os.chmod(where, 0o777)
        with open(f"{where}/file", "w") as file:
            file.write("from the host\n")
        out = e.shell("cat /v/file; echo x > /v/new && echo written", flags=["-v", f"{where}:/v"])
        expect(out == "from the host\nwritten\n", out)
        out = e.shell("cat /v/file; touch /v/more; echo $?", flags=["-v", f"{where}:/v:ro"])
        expect(out == "from the host\n1\n", out)
        e.shell("test -f /one/file", flags=["-v", f"{where}/file:/one/file:ro"])
        command("sh", "-c", f"rm -f {where}/new")


@scenario(*EVERY)
def named_volume(e: Engine) -> None:
    volume = f"v{os.getpid()}{e.runtime}"
    e.call("volume", "create", volume)
    try:
        e.shell("echo kept > /v/file", flags=["-v", f"{volume}:/v"])
        expect(e.shell("cat /v/file", flags=["-v", f"{volume}:/v"]) == "kept\n", "content")
        # A new volume takes over what the image has at that place.
        expect("alice" in e.shell("ls /home", flags=["-v", f"{volume}x:/home"]), "copied up")
    finally:
        e.call("volume", "rm", "-f", volume, status=None)
        e.call("volume", "rm", "-f", f"{volume}x", status=None)


@scenario(*EVERY)
def tmpfs_mount(e: Engine) -> None:
    out = e.shell("grep ' /t ' /proc/mounts", flags=["--tmpfs", "/t:size=1m,mode=700,noexec"])
    expect("size=1024k" in out and "noexec" in out and "mode=700" in out, out)


@scenario(*EVERY)
def read_only(e: Engine) -> None:
    out = e.shell("touch /x; echo $?; touch /t/x; echo $?", flags=["--read-only", "--tmpfs", "/t"])
    expect(out == "1\n0\n", out)


@scenario(*EVERY)
def shm_size(e: Engine) -> None:
    out = e.shell("grep ' /dev/shm ' /proc/mounts", flags=["--shm-size", "2m"])
    expect("size=2048k" in out, out)


@scenario(*EVERY)
def etc_files(e: Engine) -> None:
    out = e.shell("cat /etc/hostname /etc/hosts; hostname", flags=["--hostname", "given"])
    expect(out.count("given") >= 2, out)


# --- process ---------------------------------------------------------------------------------


@scenario(*EVERY)
def user_and_groups(e: Engine) -> None:
    out = e.shell("id -u; id -g; id -G", flags=["--user", "1000:50", "--group-add", "7"])
    uid, gid, groups = out.splitlines()
    expect((uid, gid) == ("1000", "50") and "7" in groups.split(), out)
    out = e.shell("id -u; echo $HOME", flags=["--user", "alice"])
    expect(out == "1000\n/home/alice\n", out)


@scenario(*EVERY)
def environment(e: Engine) -> None:
    out = e.shell("echo $A; echo $HOME; pwd", flags=["-e", "A=b c", "-w", "/home/alice"])
    expect(out == "b c\n/root\n/home/alice\n", out)


@scenario(*EVERY)
def ulimit(e: Engine) -> None:
    flags = ["--ulimit", "nofile=100:200", "--ulimit", "core=0"]
    out = e.shell("ulimit -Sn; ulimit -Hn; ulimit -c", flags=flags)
    expect(out == "100\n200\n0\n", out)


@scenario(*EVERY)
def sysctl(e: Engine) -> None:
    flags = ["--sysctl", "net.ipv4.ip_forward=1", "--sysctl", "kernel.shmmax=12345678"]
    out = e.shell("cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmax", flags=flags)
    expect(out == "1\n12345678\n", out)


@scenario(*EVERY)
def oom_score(e: Engine) -> None:
    out = e.shell("cat /proc/self/oom_score_adj", flags=["--oom-score-adj", "500"])
    expect(out == "500\n", out)


# --- confinement -----------------------------------------------------------------------------


@scenario(*EVERY)
def cap_drop(e: Engine) -> None:
    out = e.shell("grep Cap /proc/self/status", flags=["--cap-drop", "all"])
    expect(all(line.split()[1].strip("0") == "" for line in out.splitlines()), out)


@scenario(*EVERY)
def cap_add(e: Engine) -> None:
    flags = ["--cap-drop", "all", "--cap-add", "NET_ADMIN"]
    out = e.shell("grep CapEff /proc/self/status", flags=flags)
    expect(int(out.split()[1], 16) == 1 << 12, out)


@scenario(*EVERY)
def privileged(e: Engine) -> None:
    out = e.shell("mount -t tmpfs t /tmp && echo mounted; ls /dev | wc -l", flags=["--privileged"])
    lines = out.splitlines()
    expect(lines[0] == "mounted" and int(lines[1]) > 15, out)


@scenario(*EVERY)
def no_new_privileges(e: Engine) -> None:
    flags = ["--security-opt", "no-new-privileges"]
    out = e.shell("grep NoNewPrivs /proc/self/status", flags=flags)
    expect(out.split() == ["NoNewPrivs:", "1"], out)


@scenario(*EVERY)
def seccomp_default(e: Engine) -> None:
    out = e.shell("grep Seccomp: /proc/self/status")
    expect(out.split() == ["Seccomp:", "2"], out)


@scenario(*EVERY)
def seccomp_unconfined(e: Engine) -> None:
    flags = ["--security-opt", "seccomp=unconfined"]
    out = e.shell("grep Seccomp: /proc/self/status", flags=flags)
    expect(out.split() == ["Seccomp:", "0"], out)


@scenario(*EVERY)
def seccomp_own(e: Engine) -> None:
    profile = (
        '{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64"],'
        '"syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"}]}'
    )
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        os.chmod(file.name, 0o644)
        file.write(profile)
        file.flush()
        flags = ["--security-opt", f"seccomp={file.name}"]
        expect(e.shell("mkdir /x; echo $?", flags=flags) == "1\n", "mkdir is refused")


@scenario(*EVERY)
def masked_paths(e: Engine) -> None:
    out = e.shell("head -c 1 /proc/kcore | wc -c; ls /sys/firmware | wc -l; touch /proc/sys/x; echo $?")
    expect(out == "0\n0\n1\n", out)


@scenario(*EVERY)
def namespaces_of_the_host(e: Engine) -> None:
    flags = ["--pid", "host", "--ipc", "host", "--uts", "host"]
    out = e.shell("for n in pid ipc uts; do readlink /proc/self/ns/$n; done", flags=flags)
    host = [os.readlink(f"/proc/self/ns/{n}") for n in ("pid", "ipc", "uts")]
    expect(out.split() == host, out)


@scenario(*EVERY)
def network_of_the_host(e: Engine) -> None:
    answer = e.call("run", "--rm", "--network", "host", IMAGE, "/bin/readlink", "/proc/self/ns/net")
    expect(answer.out.strip() == os.readlink("/proc/self/ns/net"), answer)


@scenario(*EVERY)
def namespaces_of_another(e: Engine) -> None:
    name = e.start("/bin/sleep", "60")
    script = "for n in pid ipc; do readlink /proc/self/ns/$n; done"
    first = e.exec(name, script).out
    flags = ["--pid", f"container:{name}"]
    expect(e.shell("readlink /proc/self/ns/pid", flags=flags) == first.splitlines()[0] + "\n", first)


# --- limits ----------------------------------------------------------------------------------


@scenario(*EVERY)
def memory_limit(e: Engine) -> None:
    name = e.start("/bin/sleep", "60", flags=["-m", "32m"])
    expect(e.exec(name, "cat /sys/fs/cgroup/memory.max").out == "33554432\n", "memory.max")


@scenario(*EVERY)
def memory_small(e: Engine) -> None:
    e.run("/bin/true", flags=["-m", "6m"])


@scenario(*ROOTFUL)
def memory_exceeded(e: Engine) -> None:
    name = e.start("/bin/sh", "-c", "x=a; while :; do x=$x$x; done", flags=["-m", "16m"])
    e.call("wait", name)
    state = e.inspect(name)["State"]
    expect(state["ExitCode"] == 137, state)
    # podman's conmon sees why only if it looks in time; User-mode Linux tells docker nothing.
    expect(state["OOMKilled"] or e.name == "podman" or e.machine == "uml", state)


@scenario(*EVERY)
def cpu_limit(e: Engine) -> None:
    out = e.shell("cat /sys/fs/cgroup/cpu.max /sys/fs/cgroup/cpu.weight", flags=["--cpus", "0.5"])
    expect(out.startswith("50000 100000\n"), out)


@scenario(*EVERY)
def pids_limit(e: Engine) -> None:
    out = e.shell("cat /sys/fs/cgroup/pids.max", flags=["--pids-limit", "20"])
    expect(out == "20\n", out)


@scenario(*ROOTFUL, machine="qemu")
def cpuset(e: Engine) -> None:
    out = e.shell("grep Cpus_allowed_list /proc/self/status", flags=["--cpuset-cpus", "1"])
    expect(out.split()[1] == "1", out)


@scenario(*EVERY)
def update_limits(e: Engine) -> None:
    name = e.start("/bin/sleep", "60", flags=["-m", "32m"])
    e.call("update", "-m", "64m", "--memory-swap", "128m", "--cpus", "0.3", name)
    out = e.exec(name, "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu.max").out
    expect(out == "67108864\n30000 100000\n", out)


@scenario(*ROOTFUL)
def devices(e: Engine) -> None:
    flags = ["--device", "/dev/fuse"]
    out = e.shell("stat -c '%F %t:%T' /dev/fuse; head -c 1 /dev/kmsg; echo $?", flags=flags)
    expect(out.startswith("character special file a:e5\n") and not out.endswith("\n0\n"), out)


@scenario(*ROOTFUL)
def devices_denied(e: Engine) -> None:
    out = e.shell("mknod /tmp/kmsg c 1 11 && head -c 1 /tmp/kmsg; echo $?", flags=["--cap-add", "MKNOD"])
    expect(out.strip().endswith("1"), out)


# --- user namespaces -------------------------------------------------------------------------


@scenario("podman")
def user_namespace(e: Engine) -> None:
    out = e.shell("cat /proc/self/uid_map; id -u; touch /x && echo wrote", flags=["--uidmap", "0:200000:5000"])
    expect(out.split() == ["0", "200000", "5000", "0", "wrote"], out)


@scenario("podman")
def user_namespace_bind(e: Engine) -> None:
    with tempfile.TemporaryDirectory() as where:
        os.chown(where, 200000, 200000)
        flags = ["--uidmap", "0:200000:5000", "-v", f"{where}:/v"]
        expect(e.shell("stat -c %u /v; touch /v/x && echo wrote", flags=flags) == "0\nwrote\n", "")


@scenario("podman-rootless")
def keep_id(e: Engine) -> None:
    expect(e.shell("id -u", flags=["--userns", "keep-id"]) == "1000\n", "the caller's id")


# --- health, restart policies ----------------------------------------------------------------


@scenario("podman", "podman-rootless")
def healthcheck(e: Engine) -> None:
    flags = ["--health-cmd", "test -f /healthy", "--health-interval", "disable"]
    name = e.start("/bin/sleep", "60", flags=flags)
    expect(e.call("healthcheck", "run", name, status=None).status == 1, "not healthy yet")
    e.exec(name, "touch /healthy")
    e.call("healthcheck", "run", name)


@scenario("docker")
def healthcheck_docker(e: Engine) -> None:
    flags = ["--health-cmd", "test -f /healthy", "--health-interval", "1s"]
    name = e.start("/bin/sh", "-c", "touch /healthy; sleep 60", flags=flags)
    until(lambda: e.inspect(name)["State"]["Health"]["Status"] == "healthy", "healthy")


@scenario(*EVERY)
def restart_policy(e: Engine) -> None:
    name = e.start("/bin/sh", "-c", "exit 3", flags=["--restart", "on-failure:2"])
    until(
        lambda: e.inspect(name)["RestartCount"] == 2 and not e.inspect(name)["State"]["Running"],
        "started again twice, then given up",
    )
    expect(e.inspect(name)["State"]["ExitCode"] == 3, "the status")


# --- errors ----------------------------------------------------------------------------------


def failing(e: Engine, status: int, text: str, *words: str, flags: tuple[str, ...] = ()) -> None:
    """A run that has to fail with a status and a text."""
    answer = e.run(*words, flags=flags, status=status)
    expect(text in (answer.out + answer.err).lower(), f"without {text!r}: {answer}")


@scenario(*EVERY)
def error_missing_command(e: Engine) -> None:
    failing(e, 127, "executable file not found in $path", "no-such-command")


@scenario(*EVERY)
def error_missing_file(e: Engine) -> None:
    failing(e, 127, "no such file or directory", "/no/such/file")


@scenario(*EVERY)
def error_not_executable(e: Engine) -> None:
    failing(e, 126, "permission denied", "/etc/passwd")


@scenario(*EVERY)
def error_directory(e: Engine) -> None:
    answer = e.run("/tmp", status=126)
    text = answer.err.lower()
    expect("is a directory" in text or "permission denied" in text, answer)


@scenario(*EVERY)
def error_bad_interpreter(e: Engine) -> None:
    answer = e.run("/bin/bad-interpreter", status=None)
    expect(answer.status not in (0, 125), answer)


@scenario(*EVERY)
def error_missing_user(e: Engine) -> None:
    answer = e.run("/bin/true", flags=["--user", "nobody-here"], status=None)
    expect(answer.status in (125, 126), answer)


@scenario(*EVERY)
def error_mount_source(e: Engine) -> None:
    flags = ["--mount", "type=bind,source=/no/such/source,target=/v"]
    answer = e.run("/bin/true", flags=flags, status=None)
    expect(answer.status in (125, 126), answer)


@scenario(*EVERY)
def error_mount_target(e: Engine) -> None:
    answer = e.run("/bin/true", flags=["-v", "/tmp:/etc/passwd"], status=None)
    expect(answer.status in (125, 126, 127) and "directory" in answer.err.lower(), answer)


@scenario(*EVERY)
def error_leaves_nothing(e: Engine) -> None:
    before = set(e.call("ps", "-aq").out.split())
    e.run("no-such-command", status=127)
    expect(set(e.call("ps", "-aq").out.split()) == before, "a failed container is left")


# --- building --------------------------------------------------------------------------------


@scenario("podman", "podman-rootless")
def build(e: Engine) -> None:
    _build(e, "--isolation", "oci", "--network", "none")


@scenario("docker")
def build_docker(e: Engine) -> None:
    # The classic builder takes the default runtime; BuildKit calls runc by its name.
    os.environ["DOCKER_BUILDKIT"] = "0"
    _build(e, "--network", "none")


def _build(e: Engine, *flags: str) -> None:
    tag = f"localhost/built-{e.runtime}:latest"
    with tempfile.TemporaryDirectory() as where:
        os.chmod(where, 0o755)
        with open(f"{where}/Dockerfile", "w") as file:
            file.write(f"FROM {IMAGE}\nRUN echo built > /built && id -u >> /built\nUSER 1000\n")
        e.call("build", *flags, "-t", tag, where, timeout=300)
    try:
        expect(e.shell("cat /built; id -u", image=tag) == "built\n0\n1000\n", "what was built")
    finally:
        e.call("rmi", "-f", tag)


# --- checkpoints -----------------------------------------------------------------------------


@scenario("podman", machine="qemu")
def checkpoint(e: Engine) -> None:
    name = e.start("/bin/sh", "-c", "i=0; while :; do i=$((i+1)); echo $i > /n; sleep 0.2; done")
    until(lambda: e.exec(name, "cat /n", status=None).status == 0, "it counts")
    e.call("container", "checkpoint", name, timeout=300)
    expect(not e.inspect(name)["State"]["Running"], "stopped")
    e.call("container", "restore", name, timeout=300)
    before = int(e.exec(name, "cat /n").out or 0)
    until(lambda: int(e.exec(name, "cat /n").out or 0) > before, "it goes on counting")


# --- many ------------------------------------------------------------------------------------


class Counts:
    """How many containers the loops start."""

    serial = 10
    parallel = 5


@scenario(*EVERY)
def many_in_a_row(e: Engine) -> None:
    for number in range(Counts.serial):
        expect(e.shell(f"echo {number}") == f"{number}\n", f"container {number}")


@scenario(*EVERY)
def many_at_once(e: Engine) -> None:
    failures: list[str] = []

    def one(number: int) -> None:
        try:
            expect(e.shell(f"echo {number}") == f"{number}\n", f"container {number}")
        except Failed as error:
            failures.append(str(error))

    threads = [threading.Thread(target=one, args=(n,)) for n in range(Counts.parallel)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expect(not failures, "\n".join(failures[:3]))
