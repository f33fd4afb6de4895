"""docker's daemon, builder, registry and networks."""

import json
import os
import socket
import subprocess
import tempfile
from pathlib import Path

from engines.scenarios import IMAGE, Engine, command, expect, scenario, until


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
        e.run("no-such-command", status=127)
    until(lambda: count()[-1] == 0, "the shims have ended")
    before = count()
    for _ in range(10):
        e.run("/bin/true")
        e.run("no-such-command", status=127)
    # The daemon keeps a few connections more or less; of twenty containers, some would leave twenty.
    until(lambda: sum(count()) <= sum(before) + 8, f"descriptors: {before} before, {count()} after")


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
