"""Scenarios that only one engine has: pods, buildah, docker's daemon, ctr."""

import json
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count

from engines.scenarios import IMAGE, Engine, command, expect, scenario, until

_numbers = count(1)


# --- podman: pods ----------------------------------------------------------------------------


@scenario("podman", "podman-rootless")
def pod(e: Engine) -> None:
    name = f"pod{next(_numbers)}{e.runtime}"
    e.call("pod", "create", "--name", name, "--network", "none", timeout=300)
    try:
        words = ["run", "-d", "--pod", name, IMAGE, "/bin/sleep", "60"]
        first = e.call(*words).out.strip()
        second = e.call(*words).out.strip()
        script = "for n in ipc net uts; do readlink /proc/self/ns/$n; done"
        expect(e.exec(first, script).out == e.exec(second, script).out, "shared namespaces")
        e.call("pod", "pause", name)
        e.call("pod", "unpause", name)
        e.call("pod", "stop", "-t", "0", name)
    finally:
        e.call("pod", "rm", "-f", "-t", "0", name, status=None)


@scenario("podman", "podman-rootless")
def pod_of_kubernetes(e: Engine) -> None:
    name = f"kube{next(_numbers)}{e.runtime}"
    manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "hostNetwork": True,
            "containers": [
                {
                    "name": "c",
                    "image": IMAGE,
                    "command": ["/bin/sleep", "60"],
                    "resources": {"limits": {"memory": "64Mi"}},
                    "securityContext": {"runAsUser": 1000, "readOnlyRootFilesystem": True},
                }
            ],
        },
    }
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        os.chmod(file.name, 0o644)
        json.dump(manifest, file)
        file.flush()
        e.call("kube", "play", file.name, timeout=300)
        try:
            out = e.exec(f"{name}-c", "id -u; touch /x; echo $?; cat /sys/fs/cgroup/memory.max").out
            expect(out == "1000\n1\n67108864\n", out)
        finally:
            e.call("kube", "down", file.name, timeout=300, status=None)


@scenario("podman")
def exec_session_after_crash(e: Engine) -> None:
    """The container dies under a running exec: its status and podman's state are right."""
    name = e.start("/bin/sleep", "60")
    e.call("exec", "-d", name, "/bin/sleep", "50")
    pid = e.inspect(name)["State"]["Pid"]
    os.kill(pid, 9)
    until(lambda: not e.inspect(name)["State"]["Running"], "stopped")
    expect(e.inspect(name)["State"]["ExitCode"] == 137, "killed")


@scenario("podman")
def without_cgroups(e: Engine) -> None:
    answer = e.run("/bin/true", flags=["--cgroups", "disabled"], status=None)
    text = answer.err.lower()
    expect(answer.status == 0 or "not compatible with nocgroups" in text, answer)


@scenario("podman")
def cgroup_parent(e: Engine) -> None:
    name = e.start("/bin/sleep", "60")
    pid = e.inspect(name)["State"]["Pid"]
    with open(f"/proc/{pid}/cgroup") as file:
        path = file.read().strip().removeprefix("0::")
    expect("libpod" in path, path)
    expect(os.path.isdir(f"/sys/fs/cgroup{path}"), path)
    e.call("rm", "-f", "-t", "0", name)
    until(lambda: not os.path.isdir(f"/sys/fs/cgroup{path}"), f"{path} is removed")


# --- buildah ---------------------------------------------------------------------------------


class Buildah(Engine):
    """buildah, which has no `run` of images: working containers in its place."""

    def work(self) -> str:
        name = self.call("from", IMAGE).out.strip()
        self.kept.append(name)
        return name

    def inside(self, name: str, *words: str, status: int | None = 0) -> str:
        return self.call(
            "run", "--network", "none", "--isolation", "oci", "--runtime", self.runtime_path, name, "--", *words,
            status=status,
        ).out  # fmt: skip

    runtime_path = ""


@scenario("buildah")
def buildah_run(e: Buildah) -> None:
    name = e.work()
    expect(e.inside(name, "/bin/echo", "built") == "built\n", "output")
    e.inside(name, "/bin/sh", "-c", "echo kept > /kept")
    expect(e.inside(name, "/bin/cat", "/kept") == "kept\n", "what a run wrote")


@scenario("buildah")
def buildah_status(e: Buildah) -> None:
    name = e.work()
    e.inside(name, "/bin/sh", "-c", "exit 42", status=42)
    expect(e.call("run", "--network", "none", "--isolation", "oci", "--runtime", e.runtime_path, name, "--",
                  "no-such-command", status=None).status != 0, "a missing command")  # fmt: skip


@scenario("buildah")
def buildah_build(e: Buildah) -> None:
    tag = f"localhost/buildah-{e.runtime}"
    with tempfile.TemporaryDirectory() as where:
        with open(f"{where}/Containerfile", "w") as file:
            file.write(f"FROM {IMAGE}\nRUN id -u > /built\nUSER 1000\nRUN id -u > /tmp/second\n")
        e.call("build", "--network", "none", "--isolation", "oci", "--runtime", e.runtime_path, "-t", tag, where,
               timeout=300)  # fmt: skip
    e.call("rmi", "-f", tag)


@scenario("buildah")
def buildah_many(e: Buildah) -> None:
    name = e.work()
    many(lambda: e.inside(name, "/bin/true"))


# --- docker's daemon -------------------------------------------------------------------------


@scenario("docker")
def daemon_restart(e: Engine) -> None:
    """With live-restore containers go on while the daemon is away."""
    name = e.start("/bin/sh", "-c", "while :; do echo x >> /count; sleep 0.1; done")
    pid = e.inspect(name)["State"]["Pid"]
    command("systemctl", "reset-failed", "docker", status=None)
    command("systemctl", "restart", "docker", timeout=180)
    state = e.inspect(name)["State"]
    expect(state["Running"] and state["Pid"] == pid, state)
    before = int(e.exec(name, "wc -l < /count").out)
    until(lambda: int(e.exec(name, "wc -l < /count").out) > before, "it goes on")
    e.call("stop", "-t", "0", name)


@scenario("docker")
def info_knows_runtime(e: Engine) -> None:
    answer = e.call("info", "--format", "{{.DefaultRuntime}} {{.RuncCommit.ID}}")
    expect(answer.out.split()[0] == e.runtime, answer)


# --- ctr -------------------------------------------------------------------------------------


class Ctr(Engine):
    """containerd's own client."""

    runtime_path = ""

    def ctr_run(self, *words: str, flags: tuple[str, ...] = (), status: int | None = 0) -> str:
        name = f"ctr{next(_numbers)}"
        return self.call(
            "run", "--rm", "--runc-binary", self.runtime_path, *flags, IMAGE, name, *words,
            status=status,
        ).out  # fmt: skip

    def task(self, *words: str, flags: tuple[str, ...] = ()) -> str:
        name = f"ctr{next(_numbers)}"
        self.kept.append(name)
        self.call("run", "-d", "--runc-binary", self.runtime_path, *flags, IMAGE, name, *words)
        return name

    def clean(self) -> None:
        for name in self.kept:
            self.call("task", "rm", "-f", name, status=None)
            self.call("container", "rm", name, status=None)
        self.kept.clear()


@scenario("ctr")
def ctr_output(e: Ctr) -> None:
    expect(e.ctr_run("/bin/echo", "hello") == "hello\n", "output")


@scenario("ctr")
def ctr_status(e: Ctr) -> None:
    for status in (0, 1, 42):
        e.ctr_run("/bin/sh", "-c", f"exit {status}", status=status)


@scenario("ctr")
def ctr_exec(e: Ctr) -> None:
    name = e.task("/bin/sleep", "60")
    answer = e.call("task", "exec", "--exec-id", "x1", name, "/bin/sh", "-c", "cat /proc/1/comm")
    expect(answer.out == "sleep\n", answer)
    e.call("task", "exec", "--exec-id", "x2", name, "/bin/sh", "-c", "exit 42", status=42)
    answer = e.call("task", "exec", "--exec-id", "x3", name, "no-such-command", status=None)
    expect(answer.status != 0 and "executable file not found" in answer.err, answer)


@scenario("ctr")
def ctr_signals(e: Ctr) -> None:
    name = e.task("/bin/sh", "-c", "trap 'exit 5' TERM; while :; do sleep 0.1; done")
    e.call("task", "kill", "-s", "SIGTERM", name)
    until(lambda: "STOPPED" in e.call("task", "ls").out, "stopped")
    expect(e.call("task", "rm", name, status=None).status in (0, 5), "removed")


@scenario("ctr")
def ctr_kill_all(e: Ctr) -> None:
    name = e.task("/bin/sleep", "60")
    e.call("task", "kill", "-a", "-s", "SIGKILL", name)
    until(lambda: "STOPPED" in e.call("task", "ls").out, "stopped")


@scenario("ctr")
def ctr_pause(e: Ctr) -> None:
    name = e.task("/bin/sleep", "60")
    e.call("task", "pause", name)
    expect("PAUSED" in e.call("task", "ls").out, "paused")
    e.call("task", "resume", name)
    expect("RUNNING" in e.call("task", "ls").out, "running")


@scenario("ctr")
def ctr_processes_and_metrics(e: Ctr) -> None:
    name = e.task("/bin/sleep", "60")
    e.call("task", "exec", "-d", "--exec-id", "second", name, "/bin/sleep", "50")
    expect(len(e.call("task", "ps", name).out.splitlines()) == 3, "two processes and a heading")
    expect("memory" in e.call("task", "metrics", name).out, "metrics")


@scenario("ctr")
def ctr_flags(e: Ctr) -> None:
    flags = ("--read-only", "--user", "1000:50", "--cwd", "/tmp", "--env", "A=1", "--memory-limit",
             "33554432", "--seccomp", "--no-pivot")  # fmt: skip
    script = "id -u; pwd; echo $A; touch /x; echo $?; grep Seccomp: /proc/self/status"
    lines = e.ctr_run("/bin/sh", "-c", script, flags=flags).split()
    expect(lines == ["1000", "/tmp", "1", "1", "Seccomp:", "2"], lines)


@scenario("ctr")
def ctr_tty(e: Ctr) -> None:
    words = ["run", "--rm", "-t", "--runc-binary", e.runtime_path, IMAGE, f"tty-{e.runtime}"]
    answer = e.terminal(*words, "/bin/sh", "-c", "test -t 0 && echo is-a-terminal")
    expect("is-a-terminal" in answer.out, answer)


@scenario("ctr")
def ctr_user_namespace(e: Ctr) -> None:
    flags = ("--uidmap", "0:200000:5000", "--gidmap", "0:200000:5000", "--remap-labels")
    out = e.ctr_run("/bin/cat", "/proc/self/uid_map", flags=flags)
    expect(out.split() == ["0", "200000", "5000"], out)


@scenario("ctr")
def ctr_systemd_cgroup(e: Ctr) -> None:
    flags = ("--runc-systemd-cgroup", "--cgroup", "system.slice:ctr:unit")
    out = e.ctr_run("/bin/cat", "/proc/self/cgroup", flags=flags)
    expect("system.slice/ctr-unit.scope" in out or out == "0::/\n", out)


@scenario("ctr")
def ctr_missing_command(e: Ctr) -> None:
    answer = e.call("run", "--rm", "--runc-binary", e.runtime_path, IMAGE, "bad", "no-such-command",
                    status=None)  # fmt: skip
    expect(answer.status != 0 and "executable file not found in $PATH" in answer.err, answer)
    expect("bad" not in e.call("task", "ls").out, "no task is left")


@scenario("ctr")
def ctr_daemon_restart(e: Ctr) -> None:
    name = e.task("/bin/sleep", "60")
    command("systemctl", "restart", "containerd")
    until(lambda: e.call("version", status=None).status == 0, "containerd answers")
    until(lambda: "RUNNING" in e.call("task", "ls").out, "the task is known")
    e.call("task", "exec", "--exec-id", "after", name, "/bin/true")


@scenario("ctr")
def ctr_many(e: Ctr) -> None:
    before = containerd_descriptors()
    many(lambda: e.ctr_run("/bin/true"))
    until(lambda: containerd_descriptors() <= before + 5, f"descriptors of containerd: {before} before")


def containerd_descriptors() -> int:
    """How many containerd has open."""
    pid = command("systemctl", "show", "-P", "MainPID", "containerd").out.strip()
    return len(os.listdir(f"/proc/{pid}/fd"))


def many(act: Callable[[], object]) -> None:
    """Do something many times in a row, then many times at once."""
    from engines.scenarios_cli import Counts

    for _ in range(Counts.serial):
        act()
    with ThreadPoolExecutor(Counts.parallel) as pool:
        list(pool.map(lambda _: act(), range(Counts.parallel)))
