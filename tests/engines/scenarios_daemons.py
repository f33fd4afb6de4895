"""docker's builders, registry and daemon; containerd's own client; Kubernetes' crictl."""

import base64
import json
import os
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from engines.scenarios import IMAGE, Engine, command, expect, scenario, until
from engines.scenarios_cri import POD, SOCKET, Cri
from engines.scenarios_more import Ctr

# --- docker ------------------------------------------------------------------------------------


def restart_docker() -> None:
    """Start the daemon anew; systemd does not count it as one that fails again and again."""
    command("systemctl", "reset-failed", "docker", status=None)
    command("systemctl", "restart", "docker", timeout=180)


@scenario("docker")
def build_with_buildkit(e: Engine) -> object:
    """BuildKit in the daemon calls what is named runc first in the daemon's PATH."""
    tag = f"localhost/kit-{e.runtime}:latest"
    first = Path("/var/tmp/engines/first")
    first.mkdir(exist_ok=True)
    (first / "runc").unlink(missing_ok=True)
    calls = first / "calls"
    calls.unlink(missing_ok=True)
    real = f"/usr/local/bin/{e.runtime}" if e.runtime != "runc" else "/usr/sbin/runc"
    (first / "runc").write_text(f'#!/bin/sh\necho "$@" >>{calls}\nexec {real} "$@"\n')
    (first / "runc").chmod(0o755)
    place = Path("/etc/systemd/system/docker.service.d")
    place.mkdir(exist_ok=True)
    (place / "path.conf").write_text(f"[Service]\nEnvironment=PATH={first}:/usr/sbin:/usr/bin:/sbin:/bin\n")
    command("systemctl", "daemon-reload")
    restart_docker()
    lines = (
        f"FROM {IMAGE} AS one\nRUN --network=none id -u >/one; ls /proc/self/fd | wc -l >>/one\n"
        "RUN --network=none --mount=type=cache,target=/c --mount=type=tmpfs,target=/t --mount=type=secret,id=s "
        "cat /run/secrets/s >/secret; touch /c/x; grep -c ' /t tmpfs' /proc/mounts >/mounts\n"
        f"FROM {IMAGE}\nCOPY --from=one /one /secret /mounts /\nUSER 1000:50\nWORKDIR /tmp\n"
        "RUN --network=none id -u >/tmp/two; pwd >>/tmp/two; "
        "grep -E 'Cap|NoNew|Seccomp:' /proc/self/status >/tmp/status\n"
    )
    try:
        with tempfile.TemporaryDirectory() as where:
            Path(where, "Dockerfile").write_text(lines)
            Path(where, "s").write_text("hidden\n")
            words = [
                "docker",
                "buildx",
                "build",
                "--load",
                "--no-cache",
                "-t",
                tag,
                "--secret",
                f"id=s,src={where}/s",
                where,
            ]
            command(*words, timeout=300)
            Path(where, "Dockerfile").write_text(f"FROM {IMAGE}\nRUN --network=none exit 7\n")
            answer = command("docker", "buildx", "build", "--no-cache", where, timeout=300, status=None)
            expect(answer.status != 0 and "exit code: 7" in answer.err, answer)
            Path(where, "Dockerfile").write_text(f'FROM {IMAGE}\nRUN --network=none ["no-such-command"]\n')
            answer = command("docker", "buildx", "build", "--no-cache", where, timeout=300, status=None)
            expect(answer.status != 0 and "executable file not found in $PATH" in answer.err, answer)
        expect("run" in calls.read_text(), "BuildKit did not call the runtime")
        return e.shell("cat /one /secret /mounts /tmp/two /tmp/status", image=tag)
    finally:
        (place / "path.conf").unlink()
        command("systemctl", "daemon-reload")
        restart_docker()
        e.call("rmi", "-f", tag, status=None)


@scenario("docker")
def registry(e: Engine) -> None:
    """Push to a registry, remove, pull, run."""
    with tempfile.TemporaryDirectory() as where:
        config = Path(where, "config.yml")
        config.write_text(
            "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: "
            + where
            + "/data\nhttp:\n  addr: 127.0.0.1:5055\n"
        )
        with subprocess.Popen(
            ["docker-registry", "serve", str(config)], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        ) as server:
            try:
                tag = f"127.0.0.1:5055/pushed-{e.runtime}:1"
                e.call("tag", IMAGE, tag)
                until(lambda: answers(5055), "the registry answers")
                e.call("push", "-q", tag)
                e.call("rmi", tag)
                e.call("pull", "-q", tag)
                expect(e.run("/bin/echo", "pulled", image=tag).out == "pulled\n", "runs")
                e.call("rmi", tag)
            finally:
                server.kill()


def answers(port: int) -> bool:
    """Whether something listens there."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@scenario("docker")
def daemon_stops_with_containers(e: Engine) -> object:
    """Containers with a restart policy end with a daemon without live-restore, and come again with it."""
    place = Path("/etc/docker/daemon.json")
    config = json.loads(place.read_text())
    place.write_text(json.dumps({**config, "live-restore": False}))
    restart_docker()
    try:
        name = e.start("/bin/sleep", "60", flags=["--restart", "always"])
        other = e.start("/bin/sleep", "60")
        pid = e.inspect(name)["State"]["Pid"]
        restart_docker()
        until(lambda: e.inspect(name)["State"]["Running"], "runs again")
        expect(e.inspect(name)["State"]["Pid"] != pid, "another process")
        state = e.inspect(other)["State"]
        return [state["Status"], state["ExitCode"]]
    finally:
        place.write_text(json.dumps(config))
        restart_docker()


@scenario("docker")
def daemon_killed(e: Engine) -> None:
    """kill -9 of the daemon: its containers go on, and end while it is away."""
    name = e.start("/bin/sh", "-c", "while :; do sleep 0.1; done")
    other = e.start("/bin/sh", "-c", "sleep 1; exit 6")
    command("systemctl", "reset-failed", "docker", status=None)
    command("systemctl", "kill", "-s", "KILL", "docker")
    until(lambda: e.call("version", status=None).status == 0, "the daemon is back", 90)
    expect(e.inspect(name)["State"]["Running"], "runs on")
    until(lambda: not e.inspect(other)["State"]["Running"], "the other has ended")
    e.exec(name, "true")


@scenario("docker")
def user_namespace_remap(e: Engine) -> object:
    """A daemon whose containers have a user namespace, and one of the host's among them."""
    place = Path("/etc/docker/daemon.json")
    config = json.loads(place.read_text())
    place.write_text(json.dumps({**config, "userns-remap": "user"}))
    restart_docker()
    try:
        e.call("load", "-q", "-i", "/var/tmp/engines/image.docker.tar")
        script = (
            "id -u; cut -c 1-11,23- /proc/self/uid_map; touch /x; stat -c %u /x; ls -ln /dev | cut -c1-40;"
            "grep -E 'Cap|Seccomp:' /proc/self/status"
        )
        found = [
            e.shell(script),
            e.shell(script, flags=["--user", "1000"]),
            e.shell(script, flags=["--userns", "host"]),
        ]
        name = e.start("/bin/sleep", "60", flags=["-m", "32m", "--read-only", "--tmpfs", "/t"])
        found.append(e.exec(name, script + "; cat /sys/fs/cgroup/memory.max", status=None).out)
        found.append(str(e.exec(name, "id -u", "-u", "1000", status=None).out))
        e.call(*e.remove, name)
        return "\n".join(found)
    finally:
        place.write_text(json.dumps(config))
        restart_docker()


@scenario("docker")
def daemon_descriptors(e: Engine) -> None:
    """Containers leave no descriptors in the daemons, and no shims."""

    def count() -> tuple[int, ...]:
        names = ("dockerd", "containerd")
        pids = [p.name for p in Path("/proc").glob("[0-9]*") if command_name(p) in names]
        return (*(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids), shims())

    for _ in range(3):
        e.run("/bin/true")
    until(lambda: count()[-1] == 0, "the shims have ended")
    before = count()
    for _ in range(10):
        e.run("/bin/true")
        e.run("no-such-command", status=127)
    until(lambda: sum(count()) <= sum(before) + 2, f"descriptors: {before} before, {count()} after")


def command_name(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return ""


def shims() -> int:
    return sum(command_name(p).startswith("containerd-shim") for p in Path("/proc").glob("[0-9]*"))


@scenario("docker", machine="qemu")
def docker_bridge(e: Engine) -> None:
    """Networks: a bridge, published ports, another container by name."""
    e.call("network", "create", "n1")
    try:
        e.call("run", "-d", "--name", "web", "--network", "n1", "-p", "8080:80", IMAGE, "/bin/sh", "-c", "sleep 60")
        e.kept.append("web")
        answer = e.call("run", "--rm", "--network", "container:web", IMAGE, "/bin/readlink", "/proc/self/ns/net")
        expect(answer.out == e.exec("web", "readlink /proc/self/ns/net").out, "one namespace")
        expect("eth0" in e.exec("web", "ls /sys/class/net").out, "an interface")
        e.call("network", "disconnect", "n1", "web")
        expect("eth0" not in e.exec("web", "ls /sys/class/net").out, "taken away")
    finally:
        e.clean()
        e.call("network", "rm", "n1")


# --- ctr ---------------------------------------------------------------------------------------

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
    e.call("container", "checkpoint", "--rw", "--image", "--task", name, "localhost/checked:latest", timeout=600)
    e.call("task", "rm", "-f", name)
    e.call("container", "rm", name)
    e.call("container", "restore", "--rw", "--live", name, "localhost/checked:latest", timeout=600)
    expect("RUNNING" in e.call("task", "ls").out, "restored")


# --- CRI ---------------------------------------------------------------------------------------


def crictl(*words: str, status: int | None = 0, input: str | None = None) -> Any:
    """Kubernetes' own client."""
    return command("crictl", "-r", f"unix://{SOCKET}", *words, status=status, input=input)


@scenario("cri")
def crictl_life(e: Cri) -> None:
    """A pod and a container through crictl, as people look into a node."""
    with tempfile.TemporaryDirectory() as where:
        pod = {"metadata": {"name": f"cli{e.runtime}", "uid": "u1", "namespace": "default"}, "log_directory": where,
               "linux": {"security_context": {"namespace_options": {"network": 2}}}}  # fmt: skip
        container = {"metadata": {"name": "c"}, "image": {"image": IMAGE}, "log_path": "c.log",
                     "command": ["/bin/sh", "-c", "echo to the log; sleep 60"], "linux": {}}  # fmt: skip
        Path(where, "pod.json").write_text(json.dumps(pod))
        Path(where, "container.json").write_text(json.dumps(container))
        sandbox = crictl("runp", "--runtime", e.runtime, f"{where}/pod.json").out.strip()
        e.kept.append(sandbox)
        name = crictl("create", sandbox, f"{where}/container.json", f"{where}/pod.json").out.strip()
        crictl("start", name)
        expect(crictl("exec", "-s", name, "echo", "at once").out == "at once\n", "exec -s")
        expect(crictl("exec", name, "echo", "streamed").out == "streamed\n", "exec")
        until(lambda: "to the log" in crictl("logs", name).out, "logs")
        crictl("update", "--memory", "33554432", "--cpu-quota", "30000", "--cpu-period", "100000", name)
        out = crictl("exec", "-s", name, "cat", "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/cpu.max").out
        expect(out == "33554432\n30000 100000\n", out)
        expect(json.loads(crictl("inspect", name).out)["info"]["pid"] > 1, "inspect")
        crictl("stats", name)
        crictl("statsp", sandbox, status=None)
        crictl("stop", "-t", "0", name)
        expect(json.loads(crictl("inspect", name).out)["status"]["exitCode"] == 137, "stopped")
        crictl("rm", name)
        crictl("stopp", sandbox)
        crictl("rmp", sandbox)
        e.kept.remove(sandbox)


SEE_CRI = SEE.replace("ls /dev;", "ls /dev | sort;")


@scenario("cri")
def cri_security_contexts(e: Cri) -> object:
    """Security contexts, one container each."""
    contexts: dict[str, dict[str, Any]] = {
        "plain": {},
        "user": {"runAsUser": {"value": 1000}, "runAsGroup": {"value": 50}, "supplementalGroups": [7, 8]},
        "user-name": {"runAsUsername": "alice"},
        "add-all": {"capabilities": {"addCapabilities": ["ALL"]}},
        "drop-all-add": {
            "capabilities": {"dropCapabilities": ["ALL"], "addCapabilities": ["CHOWN", "NET_BIND_SERVICE"]}
        },
        "ambient": {
            "runAsUser": {"value": 1000},
            "capabilities": {"addCapabilities": ["NET_RAW"], "addAmbientCapabilities": ["NET_RAW"]},
        },
        "seccomp-default": {"seccomp": {"profileType": "RuntimeDefault"}},
        "seccomp-none": {"seccomp": {"profileType": "Unconfined"}},
        "masked": {
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/sys/firmware", "/no/such"],
            "readonlyPaths": ["/proc/sys", "/proc/irq"],
        },
        "read-only": {"readonlyRootfs": True},
        "no-new-privs": {"noNewPrivs": True},
    }
    pod = e.pod()
    found = []
    for name, context in contexts.items():
        container = e.container(pod, "/bin/sleep", "60", linux={"securityContext": context})
        found += [f"## {name}", *(f"{name}: {line}" for line in e.sh(container, SEE_CRI).splitlines())]
    return "\n".join(found)


@scenario("cri")
def cri_recursive_read_only(e: Cri) -> object:
    """Mounts of every propagation, and those that are read-only with all below them."""
    where = Path("/var/tmp/engines/rro")
    (where / "below").mkdir(parents=True, exist_ok=True)
    if not os.path.ismount(where / "below"):
        command("mount", "-t", "tmpfs", "tmpfs", str(where / "below"))
    command("mount", "--bind", str(where), str(where))
    command("mount", "--make-rshared", str(where))
    try:
        found = []
        for more in (
            {}, {"readonly": True}, {"readonly": True, "recursiveReadOnly": True},
            {"propagation": "PROPAGATION_BIDIRECTIONAL"}, {"propagation": "PROPAGATION_HOST_TO_CONTAINER"},
        ):  # fmt: skip
            context = {"privileged": "BIDIR" in str(more)}
            security = {"securityContext": {**context, "namespaceOptions": POD}}
            pod = e.pod(**security)
            mounts = [{"containerPath": "/v", "hostPath": str(where), **more}]
            container = e.container(pod, "/bin/sleep", "60", linux=security, mounts=mounts)
            out = e.sh(
                container,
                "touch /v/x; echo $?; touch /v/below/x; echo $?; "
                "grep -E ' /v(/below)? ' /proc/self/mountinfo | cut -d' ' -f5,6,7 | sed 's/:[0-9]*//g'",
            )
            found.append(f"{more}\n{out}")
        return "\n".join(found)
    finally:
        command("umount", "-R", str(where), status=None)
        command("umount", "-R", str(where), status=None)


@scenario("cri")
def cri_host_namespaces(e: Cri) -> object:
    options = {"network": "NODE", "pid": "NODE", "ipc": "NODE"}
    pod = e.pod(securityContext={"namespaceOptions": options})
    container = e.container(pod, "/bin/sleep", "60", linux={"securityContext": {"namespaceOptions": options}})
    script = "for n in net pid ipc uts; do readlink /proc/self/ns/$n; done"
    found = e.sh(container, script).split()
    expect(found == [os.readlink(f"/proc/self/ns/{n}") for n in ("net", "pid", "ipc", "uts")], found)
    e.method("StopContainer", {"containerId": container, "timeout": 0})
    return e.status(container)["exitCode"]


@scenario("cri")
def cri_target_pid(e: Cri) -> None:
    """A debugging container in the process namespace of another one."""
    pod = e.pod()
    target = e.container(pod, "/bin/sleep", "60")
    options = {"network": "NODE", "pid": "TARGET", "targetId": target}
    debugger = e.container(pod, "/bin/sleep", "61", linux={"securityContext": {"namespaceOptions": options}})
    expect(e.sh(debugger, "cat /proc/1/cmdline | tr '\\0' ' '") == "/bin/sleep 60 ", "the target is its first process")


@scenario("cri")
def cri_sysctls_and_devices(e: Cri) -> object:
    pod = e.pod(sysctls={"kernel.shmmax": "12345678", "net.ipv4.ip_forward": "1"},
                securityContext={"namespaceOptions": {"network": "POD", "pid": "CONTAINER"}})  # fmt: skip
    devices = [{"containerPath": "/dev/f", "hostPath": "/dev/fuse", "permissions": "rw"}]
    options = {"securityContext": {"namespaceOptions": {"network": "POD", "pid": "CONTAINER"}}}
    container = e.container(pod, "/bin/sleep", "60", linux=options, devices=devices)
    return e.sh(
        container,
        "cat /proc/sys/kernel/shmmax /proc/sys/net/ipv4/ip_forward; ls -ln /dev/f | cut -c1-40",
    )


@scenario("cri")
def cri_exec_timeout(e: Cri) -> None:
    """exec with a time limit kills what it started, and the container goes on."""
    container = e.container(e.pod(), "/bin/sleep", "60")
    request = {"containerId": container, "cmd": ["/bin/sleep", "4747"], "timeout": 1}
    text = e.method("ExecSync", request, status=1)
    expect("timeout" in text.lower() or "deadline" in text.lower(), text)
    until(lambda: "4747" not in e.sh(container, "ps"), "the command is gone")
    answer = e.method("ExecSync", {"containerId": container, "cmd": ["/bin/sh", "-c", "head -c 100000 /dev/zero"]})
    expect(len(base64.b64decode(answer["stdout"])) == 100000, "a large output")


@scenario("cri")
def cri_errors(e: Cri) -> object:
    """Starts that fail, with the status and reason of the container."""
    pod = e.pod()
    found = []
    for words in (["no-such-command"], ["/no/such/file"], ["/etc/passwd"], ["/tmp"]):
        container = e.create(pod, *words)
        text = e.method("StartContainer", {"containerId": container}, status=1)
        status = e.status(container)
        found.append([status["exitCode"], status["reason"], "permission denied" in text, "no such file" in text])
        e.method("RemoveContainer", {"containerId": container})
    container = e.container(pod, "/bin/sleep", "60")
    for words in (["no-such-command"], ["/etc/passwd"]):
        text = e.method("ExecSync", {"containerId": container, "cmd": words, "timeout": 5}, status=1)
        found.append(["executable file not found in $PATH" in text, "permission denied" in text])
    return found


@scenario("cri")
def cri_many(e: Cri) -> None:
    """Containers in a row in one pod, and some at once."""
    from concurrent.futures import ThreadPoolExecutor

    from engines.scenarios_cli import Counts

    pod = e.pod()

    def one(_: int) -> str:
        container = e.container(pod, "/bin/sleep", "600")
        out = e.sh(container, "cat /proc/1/comm")
        e.method("StopContainer", {"containerId": container, "timeout": 0})
        e.method("RemoveContainer", {"containerId": container})
        return out

    for number in range(Counts.serial):
        expect(one(number) == "sleep\n", f"container {number}")
    with ThreadPoolExecutor(Counts.parallel) as pool:
        expect(list(pool.map(one, range(Counts.parallel))) == ["sleep\n"] * Counts.parallel, "at once")
