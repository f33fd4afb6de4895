"""containerd's own client."""

import os
from itertools import count

from engines.scenarios import IMAGE, Engine, command, expect, many, scenario, until

_numbers = count(1)


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


SEE = (
    "id -u; id -G; grep -E '^(Cap|NoNew|Seccomp:)' /proc/self/status; cat /proc/self/uid_map /proc/self/oom_score_adj;"
    "pwd; env | sort | grep -v HOSTNAME; ls /dev; cat /proc/self/limits; cut -d' ' -f5,6 /proc/self/mountinfo;"
    "touch /x; echo $?; cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu.max /sys/fs/cgroup/cpu.weight; sleep 0.2"
)
CTR_FLAGS: dict[str, tuple[str, ...]] = {
    "plain": (),
    "privileged": ("--privileged",),
    "privileged-without-host-devices": ("--privileged", "--privileged-without-host-devices"),
    "no-cgroup": ("--cgroup", ""),
    "cgroup-path": ("--cgroup", "/ctr-own/group"),
    "seccomp": ("--seccomp",),
    "allow-new-privs": ("--allow-new-privs",),
    "capabilities": ("--cap-add", "CAP_SYS_ADMIN", "--cap-drop", "CAP_CHOWN"),
    "net-host": ("--net-host",),
    "mount": ("--mount", "type=bind,src=/etc,dst=/v,options=rbind:ro"),
    "mount-tmpfs": ("--mount", "type=tmpfs,src=tmpfs,dst=/v,options=size=1m:mode=700"),
    "mount-missing": ("--mount", "type=bind,src=/no/such,dst=/v,options=rbind:ro"),
    "device": ("--device", "/dev/fuse"),
    "cpus": ("--cpus", "0.5", "--cpu-shares", "2048", "--memory-limit", "67108864"),
    "user-name": ("--user", "alice"),
    "user-missing": ("--user", "nobody-here"),
    "hostname": ("--hostname", "given"),
    "annotation": ("--annotation", "a=b"),
    "uidmap": ("--uidmap", "0:200000:5000", "--gidmap", "0:200000:5000", "--remap-labels"),
    "uidmap-user": ("--uidmap", "0:200000:5000", "--gidmap", "0:200000:5000", "--remap-labels", "--user", "1000:50"),
    "read-only": ("--read-only",),
    "no-pivot": ("--no-pivot",),
    "with-pid": ("--with-ns", "pid:/proc/1/ns/pid"),
    "with-uts-ipc": ("--with-ns", "uts:/proc/1/ns/uts", "--with-ns", "ipc:/proc/1/ns/ipc"),
    "with-mount-missing": ("--with-ns", "network:/no/such/ns"),
    "null-io": ("--null-io",),
    "rdt-missing": ("--rdt-class", "no-such-class"),
    "cwd-missing": ("--cwd", "/no/such"),
    "snapshotter-native": ("--snapshotter", "native"),
}


@scenario("ctr")
def ctr_options(e: Ctr) -> object:
    """Many flags of `ctr run`: what the container sees."""
    found = []
    for number, (name, flags) in enumerate(CTR_FLAGS.items()):
        words = ["run", "--rm", "--runc-binary", e.runtime_path, *flags, IMAGE, f"opt{number}", "/bin/sh", "-c", SEE]
        answer = e.call(*words, status=None)
        if answer.status:
            e.call("container", "rm", f"opt{number}", status=None)
        found += [f"## {name} {answer.status}", *(f"{name}: {line}" for line in answer.out.splitlines())]
    if os.path.isdir("/sys/fs/cgroup/ctr-own"):  # a parent that was made stays, as with runc
        os.rmdir("/sys/fs/cgroup/ctr-own")
    return "\n".join(found)


@scenario("ctr")
def ctr_namespaces_of_another(e: Ctr) -> None:
    name = e.task("/bin/sleep", "60")
    pid = next(line.split()[1] for line in e.call("task", "ls").out.splitlines() if line.startswith(name + " "))
    kinds = {"pid": "pid", "network": "net", "ipc": "ipc", "uts": "uts", "cgroup": "cgroup"}
    flags = tuple(w for kind, file in kinds.items() for w in ("--with-ns", f"{kind}:/proc/{pid}/ns/{file}"))
    out = e.ctr_run("/bin/sh", "-c", "for n in pid net ipc uts; do readlink /proc/self/ns/$n; done", flags=flags)
    expect(out.split() == [os.readlink(f"/proc/{pid}/ns/{n}") for n in ("pid", "net", "ipc", "uts")], out)


@scenario("ctr")
def ctr_exec_ways(e: Ctr) -> object:
    name = e.task("/bin/sleep", "60", flags=("--cap-drop", "CAP_CHOWN", "--memory-limit", "33554432"))
    found = []
    script = "id -u; id -G; pwd; grep -E 'Cap|NoNew' /proc/self/status; grep -c ctr /proc/self/cgroup"
    for number, flags in enumerate(
        ([], ["--user", "1000:50"], ["--user", "alice"], ["--cwd", "/tmp"], ["--cwd", "/no/such"])
    ):
        answer = e.call("task", "exec", "--exec-id", f"w{number}", *flags, name, "/bin/sh", "-c", script, status=None)
        found.append(f"{flags} {answer.status}\n{answer.out}")
    terminal = e.terminal(
        "task", "exec", "-t", "--exec-id", "tty", name, "/bin/sh", "-c", "test -t 0 && echo is-a-terminal"
    )
    expect("is-a-terminal" in terminal.out, terminal)
    return "\n".join(found)


@scenario("ctr", machine="qemu")
def ctr_checkpoint(e: Ctr) -> None:
    name = e.task("/bin/sh", "-c", "i=0; while :; do i=$((i+1)); echo $i >/n; sleep 0.2; done")
    image = f"localhost/checked-{e.runtime}:latest"
    e.call("container", "checkpoint", "--rw", "--image", "--task", name, image, timeout=600)
    e.call("task", "rm", "-f", name)
    e.call("container", "rm", name)
    e.call("container", "restore", "--rw", "--live", name, image, timeout=600)
    expect("RUNNING" in e.call("task", "ls").out, "restored")
