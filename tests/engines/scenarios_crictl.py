"""Kubernetes' crictl, and more of the Container Runtime Interface."""

import base64
import json
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from engines.scenarios import (
    IMAGE,
    Counts,
    command,
    expect,
    scenario,
    until,
)
from engines.scenarios_cri import POD, SOCKET, Cri
from engines.scenarios_ctr import SEE


def crictl(*words: str, status: int | None = 0, input: str | None = None) -> Any:
    """Kubernetes' own client."""
    return command("crictl", "-r", f"unix://{SOCKET}", *words, status=status, input=input)


@scenario("cri")
def crictl_life(e: Cri) -> None:
    """A pod and a container through crictl, as people look into a node."""
    with tempfile.TemporaryDirectory() as where:
        pod = {"metadata": {"name": f"cli{e.runtime}", "uid": "u1", "namespace": "default"}, "log_directory": where,
               "linux": {"cgroup_parent": e.parent,
                         "security_context": {"namespace_options": {"network": 2}}}}  # fmt: skip
        container = {"metadata": {"name": "c"}, "image": {"image": IMAGE}, "log_path": "c.log",
                     "command": ["/bin/sh", "-c", "echo to the log; sleep 60"], "linux": {}}  # fmt: skip
        Path(where, "pod.json").write_text(json.dumps(pod))
        Path(where, "container.json").write_text(json.dumps(container))
        sandbox = crictl("runp", "--runtime", e.runtime, f"{where}/pod.json").out.strip()
        e.kept.append(sandbox)
        name = crictl("create", sandbox, f"{where}/container.json", f"{where}/pod.json").out.strip()
        crictl("start", name)
        for flags, text in (("-s",), "at once"), ((), "streamed"):
            answer = crictl("exec", *flags, name, "echo", text)
            # Some versions of crictl end what they print with lines of their own.
            expect(answer.out.rstrip("\n") == text, answer)
        until(lambda: "to the log" in crictl("logs", name).out, "logs")
        crictl("update", "--memory", "33554432", "--cpu-quota", "30000", "--cpu-period", "100000", name)
        out = crictl("exec", "-s", name, "cat", "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/cpu.max").out
        expect(out.rstrip("\n") == "33554432\n30000 100000", out)
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
