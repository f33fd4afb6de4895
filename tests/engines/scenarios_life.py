"""Behaviour that an option alone does not show: events, states, updates, exec, pods, signals."""

import json
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from engines.scenarios import EVERY, IMAGE, PODMEN, Engine, command, expect, playing, scenario, until


@scenario(*EVERY)
def events_died(e: Engine) -> object:
    """The events of a container's life, with the status it died with."""
    begin = str(int(time.time()))
    name = e.start("/bin/sh", "-c", "exit 7")
    e.call("wait", name)
    time.sleep(1)
    e.call(*e.remove, name)
    end = str(int(time.time()) + 1)
    answer = e.call("events", "--since", begin, "--until", end, "--filter", f"container={name}", "--format", "json")
    events = [json.loads(line) for line in answer.out.splitlines()]
    if e.name == "docker":
        codes = [i["Actor"]["Attributes"].get("exitCode") for i in events if i["Action"] == "die"]
        return [codes, [i["Action"] for i in events]]
    codes = [i.get("ContainerExitCode") for i in events if i["Status"] == "died"]
    return [codes, sorted(i["Status"] for i in events)]


@scenario(*EVERY)
def states(e: Engine) -> object:
    """What the engine refuses in each state of a container, and with which status."""
    found = []

    def say(*words: str) -> None:
        answer = e.call(*words, status=None)
        found.append(f"{words[0]} {answer.status}")

    name = e.call("create", *e.run_flags, IMAGE, "/bin/sleep", "60").out.strip()
    e.kept.append(name)
    commands: tuple[tuple[str, ...], ...] = (("exec", name, "/bin/true"), ("pause", name), ("unpause", name),
        ("kill", "-s", "USR1", name), ("top", name), ("start", name))  # fmt: skip
    for state in "created", "paused", "killed":
        if state == "paused":
            say("pause", name)
            commands = commands[:-1]
        elif state == "killed":
            say("unpause", name)
            say("kill", name)
            say("wait", name)
        found.append(state)
        for words in commands if state != "paused" else (commands[0], commands[1], commands[4]):
            say(*words)
    say(*e.remove, name)
    return "\n".join(found)


@scenario(*EVERY)
def kill_paused(e: Engine) -> object:
    """A signal to a paused container takes effect when it goes on, or at once."""
    name = e.start("/bin/sleep", "60")
    e.call("pause", name)
    first = e.call("kill", name, status=None).status
    e.call("unpause", name, status=None)
    until(lambda: not e.inspect(name)["State"]["Running"], "killed")
    return [first, e.inspect(name)["State"]["ExitCode"]]


@scenario(*EVERY)
def stop_paused(e: Engine) -> object:
    name = e.start("/bin/sh", "-c", "trap 'exit 4' TERM; while :; do sleep 0.1; done")
    e.call("pause", name)
    status = e.call("stop", "-t", "2", name, status=None).status
    return [status, e.inspect(name)["State"]["Status"]]


@scenario(*EVERY)
def copy_both_ways(e: Engine) -> None:
    """cp into a running, a paused and a stopped container; symbolic links stay inside."""
    name = e.start("/bin/sh", "-c", "ln -s /etc /link; sleep 60", flags=["--tmpfs", "/t"])
    until(lambda: e.exec(name, "readlink /link", status=None).status == 0, "the link is there")
    with tempfile.TemporaryDirectory() as where:
        os.chmod(where, 0o777)
        Path(where, "file").write_text("copied\n")
        Path(where, "file").chmod(0o644)
        e.call("cp", f"{where}/file", f"{name}:/tmp/one")
        e.call("cp", f"{where}/file", f"{name}:/link/two")
        expect(e.exec(name, "cat /tmp/one /etc/two").out == "copied\n" * 2, "running")
        expect(not os.path.exists("/etc/two"), "a link left the container")
        if e.name != "docker":  # docker copies below a tmpfs only since 27
            e.call("cp", f"{where}/file", f"{name}:/t/three")
            expect(e.exec(name, "cat /t/three").out == "copied\n", "in a tmpfs")
        e.call("kill", name)
        e.call("wait", name)
        e.call("cp", f"{where}/file", f"{name}:/tmp/four")
        e.call("cp", f"{name}:/tmp/four", f"{where}/back")
        expect(Path(where, "back").read_text() == "copied\n", "stopped")


@scenario(*EVERY)
def logs_follow(e: Engine) -> None:
    name = e.start("/bin/sh", "-c", "for i in 1 2 3; do echo line $i; sleep 0.3; done; printf last")
    expect(e.call("logs", "-f", name).out.split() == "line 1 line 2 line 3 last".split(), "all lines")


@scenario(*EVERY)
def update_many(e: Engine) -> object:
    """update: every limit that it knows, in a running container."""
    name = e.start("/bin/sleep", "60", flags=["-m", "64m"])
    flags: list[list[str]] = [
        ["--cpu-shares", "512"], ["--cpu-quota", "20000", "--cpu-period", "40000"], ["--pids-limit", "33"],
        ["--memory-reservation", "16m"], ["-m", "48m", "--memory-swap", "96m"], ["--memory-swap", "-1"],
        ["-m", "1m"], ["--cpuset-cpus", "99"], ["--blkio-weight", "200"],
    ]  # fmt: skip
    found = []
    for words in flags:
        status = e.call("update", *words, name, status=None).status
        script = "cd /sys/fs/cgroup; cat cpu.weight cpu.max pids.max memory.max memory.low memory.swap.max"
        found.append(f"{words} {status != 0} " + " ".join(e.exec(name, script, status=None).out.split()))
    return "\n".join(found)


@scenario(*EVERY)
def exec_ways(e: Engine) -> object:
    """exec as another user, privileged, with a terminal, in a folder that is not there."""
    name = e.start("/bin/sleep", "60", flags=["--cap-drop", "all", "--user", "1000"])
    script = (
        "id -u; id -g; id -G; grep -E 'Cap|NoNew|Seccomp:' /proc/self/status; cat /proc/self/oom_score_adj; umask; pwd"
    )
    found = []
    for flags in ([], ["-u", "0"], ["-u", "alice"], ["-u", "1000:0"], ["-u", "4321"], ["--privileged"],
                  ["--privileged", "-u", "0"], ["-w", "/no/such"], ["-w", "/tmp"], ["-t"]):  # fmt: skip
        answer = e.exec(name, script, *flags, status=None)
        found.append(f"{flags} {answer.status}\n{answer.out}")
    return "\n".join(found)


@scenario(*EVERY)
def exec_ends_with_container(e: Engine) -> None:
    """What exec started ends with the container, and says so."""
    name = e.start("/bin/sleep", "60")
    with subprocess.Popen([*e.prefix, *e.base, "exec", name, "/bin/sleep", "50"]) as process:
        until(lambda: "sleep 50" in e.call("top", name).out, "the second process is there")
        e.call("kill", name)
        expect(process.wait(30) != 0, "exec's status")


@scenario(*EVERY)
def many_execs(e: Engine) -> None:
    name = e.start("/bin/sleep", "100")
    running = [subprocess.Popen([*e.prefix, *e.base, "exec", name, "/bin/sh", "-c", f"exit {n}"]) for n in range(1, 9)]
    expect([process.wait(60) for process in running] == list(range(1, 9)), "each its status")


@scenario(*PODMEN)
def shares_namespaces(e: Engine) -> None:
    name = e.start("/bin/sleep", "60")
    for kind in "net", "ipc", "uts", "pid", "cgroup", "user":
        flag = {"net": "--network", "cgroup": "--cgroupns", "user": "--userns"}.get(kind, f"--{kind}")
        first = e.exec(name, f"readlink /proc/self/ns/{kind}").out
        line = ["run", "--rm", *(e.run_flags if kind != "net" else ()), flag, f"container:{name}", IMAGE]
        answer = e.call(*line, "/bin/readlink", f"/proc/self/ns/{kind}", status=None)
        if kind == "user" and answer.status:
            continue  # without a user namespace of its own there is none to join
        expect(answer.out == first, f"{kind}: {answer}")


@scenario("podman")
def pod_with_user_namespace(e: Engine) -> object:
    name = f"podu{e.runtime}"
    e.call(
        "pod", "create", "--name", name, "--network", "none", "--userns", "auto:size=3000", "--share", "pid,ipc,net,uts"
    )
    try:
        first = e.call("run", "-d", "--pod", name, "-m", "32m", IMAGE, "/bin/sleep", "60").out.strip()
        second = e.call("run", "-d", "--pod", name, "--user", "1000", IMAGE, "/bin/sleep", "60").out.strip()
        script = "for n in ipc net uts pid user; do readlink /proc/self/ns/$n; done"
        expect(e.exec(first, script).out == e.exec(second, script).out, "shared namespaces")
        out = e.exec(second, "id -u; cut -c1-11,23- /proc/self/uid_map").out
        e.call("pod", "top", name)
        e.call("pod", "stats", "--no-stream", name)
        e.call("pod", "restart", name)
        expect(e.inspect(first)["State"]["Running"] and e.inspect(second)["State"]["Running"], "again")
        e.call("pod", "kill", name)
        return out
    finally:
        e.call("pod", "rm", "-f", "-t", "0", name, status=None)


@scenario(*PODMEN)
def pod_limits(e: Engine) -> object:
    name = f"podl{e.runtime}"
    e.call("pod", "create", "--name", name, "--network", "none", "--cpus", "0.5", "--memory", "128m")
    try:
        container = e.call("run", "-d", "--pod", name, IMAGE, "/bin/sleep", "60").out.strip()
        pid = e.inspect(container)["State"]["Pid"]
        group = Path("/sys/fs/cgroup" + Path(f"/proc/{pid}/cgroup").read_text().strip().removeprefix("0::"))
        above = [g for g in group.parents if "libpod" in g.name and "pod" in g.name and (g / "memory.max").exists()]
        return [[(g / f).read_text() for f in ("memory.max", "cpu.max")] for g in above]
    finally:
        e.call("pod", "rm", "-f", "-t", "0", name, status=None)


@scenario(*PODMEN)
def kube_play_more(e: Engine) -> object:
    """Init containers, volumes, probes, capabilities and a shared process namespace from a manifest."""
    name = f"kubem{e.runtime}"
    mount = [{"name": "data", "mountPath": "/data"}]
    manifest = {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {
            "hostNetwork": True, "shareProcessNamespace": True, "restartPolicy": "Never",
            "volumes": [{"name": "data", "emptyDir": {}}, {"name": "mem", "emptyDir": {"medium": "Memory"}}],
            "initContainers": [{"name": "first", "image": IMAGE, "command": ["/bin/sh", "-c", "echo made >/data/file"],
                                "volumeMounts": mount}],
            "containers": [
                {"name": "c", "image": IMAGE, "command": ["/bin/sleep", "60"],
                 "volumeMounts": [*mount, {"name": "mem", "mountPath": "/mem"}],
                 "env": [{"name": "A", "value": "b"}],
                 "resources": {"limits": {"memory": "64Mi", "cpu": "500m"}, "requests": {"memory": "32Mi"}},
                 "livenessProbe": {"exec": {"command": ["/bin/true"]}, "periodSeconds": 1},
                 "securityContext": {"capabilities": {"drop": ["ALL"], "add": ["CHOWN"]}, "procMount": "Unmasked",
                                     "allowPrivilegeEscalation": False, "seccompProfile": {"type": "Unconfined"}}},
                {"name": "d", "image": IMAGE, "command": ["/bin/sleep", "61"],
                 "volumeMounts": [{**mount[0], "readOnly": True}]},
            ],
        },
    }  # fmt: skip
    with playing(e, manifest):
        script = ("cat /data/file; grep -c ' /mem ' /proc/mounts; echo $A;"
                  "grep -E 'Cap|NoNew|Seccomp:' /proc/self/status;"
                  "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu.max; head -c 1 /proc/kcore|wc -c")  # fmt: skip
        found = e.exec(f"{name}-c", script, status=None).out
        found += e.exec(f"{name}-d", "touch /data/x; echo $?; ps | grep -c 'sleep 6[01]'").out
        return found


@scenario("podman")
def idmapped_root_directory(e: Engine) -> object:
    """--rootfs with an overlay above it, and with an idmapped view of it."""
    root = "/var/tmp/engines/image"
    words = ("/bin/sh", "-c", "cat /proc/self/uid_map; touch /home/alice/x && stat -c %u:%g /home/alice /home/alice/x")
    found = []
    for flags in ([f"{root}:O"], ["--uidmap", "0:200000:5000", f"{root}:idmap"], ["--read-only", root]):
        answer = e.call("run", "--rm", "--network", "none", *flags[:-1], "--rootfs", flags[-1], *words, status=None)
        found.append(f"{flags} {answer.status}\n{answer.out}")
    command("rm", "-f", f"{root}/home/alice/x")
    return "\n".join(found)


@scenario(*EVERY)
def signals_reach(e: Engine) -> None:
    """A signal to the engine's foreground client reaches the container's process."""
    script = "trap 'echo got-term; exit 9' TERM; echo ready; while :; do sleep 0.1; done"
    line = [
        *e.prefix,
        *e.base,
        "run",
        "--rm",
        "--name",
        f"sig{e.runtime}",
        *e.run_flags,
        IMAGE,
        "/bin/sh",
        "-c",
        script,
    ]
    if e.prefix:
        return  # the client is another process than the one that could be told
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        expect(process.stdout.readline() == "ready\n", "ready")
        process.send_signal(signal.SIGTERM)
        expect(process.wait(30) == 9 and process.stdout.read() == "got-term\n", "the handler's status")


@scenario(*EVERY)
def processes_without_namespace(e: Engine) -> None:
    """In the host's pid namespace what a container leaves running ends with it."""
    name = e.start("/bin/sh", "-c", "sleep 4242 & sleep 4243 & wait", flags=["--pid", "host"])
    until(lambda: len(find("sleep", "4242")) == 1 and len(find("sleep", "4243")) == 1, "both run")
    e.call("kill", name)
    e.call("wait", name)
    until(lambda: not find("sleep", "4242") and not find("sleep", "4243"), "both are gone")


def find(*words: str) -> list[str]:
    """The processes with these last words of a command line."""
    wanted = "\0".join(words).encode() + b"\0"
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().endswith(wanted):
                found.append(path.parent.name)
        except OSError:
            continue
    return found


@scenario(*PODMEN)
def secrets(e: Engine) -> None:
    name = f"secret{e.runtime}"
    e.call("secret", "create", name, "-", input="hidden")
    try:
        flags = ["--secret", f"{name},uid=1000,mode=0400", "--secret", f"{name},type=env,target=S"]
        out = e.shell(f"cat /run/secrets/{name}; echo; stat -c '%u %a' /run/secrets/{name}; echo $S", flags=flags)
        expect(out == "hidden\n1000 400\nhidden\n", out)
    finally:
        e.call("secret", "rm", name)


@scenario(*PODMEN)
def health_states(e: Engine) -> None:
    """A failing check with its action, and the log of checks."""
    flags = [
        "--health-cmd",
        "exit 3",
        "--health-interval",
        "disable",
        "--health-retries",
        "1",
        "--health-on-failure",
        "kill",
    ]
    name = e.start("/bin/sleep", "60", flags=flags)
    e.call("healthcheck", "run", name, status=1)
    until(lambda: not e.inspect(name)["State"]["Running"], "killed by its health")


@scenario("podman")
def cgroup_options_stay(e: Engine) -> None:
    """A container in the host's cgroup namespace does not reset the options of the host's cgroup file system."""
    command("mount", "-o", "remount,nsdelegate,memory_recursiveprot", "/sys/fs/cgroup")
    try:
        e.run("/bin/true", flags=["--cgroupns", "host"])
        with open("/proc/self/mountinfo") as file:
            options = next(line.split()[-1] for line in file if " - cgroup2 " in line)
        expect("nsdelegate" in options and "memory_recursiveprot" in options, options)
    finally:
        command("mount", "-o", "remount,nsdelegate,memory_recursiveprot", "/sys/fs/cgroup")
