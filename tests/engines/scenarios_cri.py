"""Scenarios through the Container Runtime Interface, as Kubernetes uses containerd.

The calls are made by the small client in cri/, which the host builds.
"""

import base64
import json
import os
from itertools import count
from pathlib import Path
from typing import Any

from engines.scenarios import IMAGE, Engine, command, expect, scenario, until

SOCKET = "/run/containerd/containerd.sock"
_numbers = count(1)
POD = {"network": "NODE", "pid": "CONTAINER"}


class Cri(Engine):
    """containerd's CRI plugin; a pod's runtime is chosen by its handler."""

    client = ""
    parent = ""  # the control group of the pods, as the kubelet gives one

    def method(self, name: str, request: Any, status: int = 0) -> Any:
        """Call one method; the answer's JSON, or with another status the error's text."""
        answer = command(self.client, SOCKET, name, input=json.dumps(request), status=status)
        return json.loads(answer.out) if status == 0 else answer.err

    def pod(self, **linux: Any) -> tuple[str, dict[str, Any]]:
        """A pod in the host's network; stopped and removed after the scenario."""
        name = f"pod{next(_numbers)}"
        config = {
            "metadata": {"name": name, "uid": name, "namespace": "default"},
            "logDirectory": f"/var/log/pods/{name}",
            "linux": {"cgroupParent": self.parent, "securityContext": {"namespaceOptions": POD}, **linux},
        }
        request = {"config": config, "runtimeHandler": self.runtime}
        pod = str(self.method("RunPodSandbox", request)["podSandboxId"])
        self.kept.append(pod)
        return pod, config

    def container(
        self,
        pod: tuple[str, dict[str, Any]],
        *words: str,
        linux: dict[str, Any] | None = None,
        **more: Any,
    ) -> str:
        """Create and start a container."""
        return self.begin(self.create(pod, *words, linux=linux, **more))

    def create(
        self,
        pod: tuple[str, dict[str, Any]],
        *words: str,
        linux: dict[str, Any] | None = None,
        **more: Any,
    ) -> str:
        """Create a container."""
        name = f"c{next(_numbers)}"
        # The default of the interface is a pid namespace for the whole pod; Kubernetes' is not.
        linux = dict(linux or {})
        linux["securityContext"] = {"namespaceOptions": POD} | linux.get("securityContext", {})
        config = {
            "metadata": {"name": name},
            "image": {"image": IMAGE},
            "command": list(words),
            "logPath": f"{name}.log",
            "linux": linux,
            **more,
        }
        request = {"podSandboxId": pod[0], "config": config, "sandboxConfig": pod[1]}
        return str(self.method("CreateContainer", request)["containerId"])

    def begin(self, container: str) -> str:
        """Start a created container."""
        self.method("StartContainer", {"containerId": container})
        return container

    def sh(self, container: str, script: str, status: int = 0) -> str:
        """What a script prints inside."""
        request = {"containerId": container, "cmd": ["/bin/sh", "-c", script], "timeout": 30}
        answer = self.method("ExecSync", request)
        expect(int(answer.get("exitCode", 0)) == status, answer)
        return base64.b64decode(answer.get("stdout", "")).decode()

    def status(self, container: str) -> Any:
        """The container's status."""
        return self.method("ContainerStatus", {"containerId": container})["status"]

    def clean(self) -> None:
        for pod in self.kept:
            self.method("StopPodSandbox", {"podSandboxId": pod})
            self.method("RemovePodSandbox", {"podSandboxId": pod})
        self.kept.clear()


@scenario("cri")
def cri_exec(e: Cri) -> None:
    container = e.container(e.pod(), "/bin/sleep", "60")
    expect(e.sh(container, "cat /proc/1/comm") == "sleep\n", "inside")
    e.sh(container, "exit 42", status=42)


@scenario("cri")
def cri_cgroups(e: Cri) -> None:
    """Pod and container are below the kubelet's group, and as the driver names them."""
    pod = e.pod()
    container = e.container(pod, "/bin/sleep", "60")
    for name in (pod[0], container):
        info = json.loads(e.method("ContainerStatus" if name == container else "PodSandboxStatus",
                                   {"containerId" if name == container else "podSandboxId": name,
                                    "verbose": True})["info"]["info"])  # fmt: skip
        group = Path(f"/proc/{info['pid']}/cgroup").read_text().strip().removeprefix("0::")
        systemd = e.parent.endswith(".slice")
        expect(group == (f"/kubepods.slice/{e.parent}/cri-containerd-{name}.scope" if systemd else
                         f"{e.parent}/{name}"), group)  # fmt: skip


@scenario("cri")
def cri_status_and_log(e: Cri) -> None:
    pod = e.pod()
    container = e.container(pod, "/bin/sh", "-c", "echo to the log; exit 7")
    until(lambda: e.status(container)["state"] == "CONTAINER_EXITED", "exited")
    status = e.status(container)
    expect(status["exitCode"] == 7 and status["reason"] == "Error", status)
    with open(status["logPath"]) as file:
        expect("to the log" in file.read(), "the log has the line")


@scenario("cri")
def cri_stop(e: Cri) -> None:
    container = e.container(e.pod(), "/bin/sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.1; done")
    e.sh(container, "sleep 0.3")
    e.method("StopContainer", {"containerId": container, "timeout": 20})
    expect(e.status(container)["exitCode"] == 3, "the handler's status")


@scenario("cri")
def cri_stop_by_force(e: Cri) -> None:
    container = e.container(e.pod(), "/bin/sh", "-c", "trap '' TERM; while :; do sleep 0.1; done")
    e.method("StopContainer", {"containerId": container, "timeout": 1})
    expect(e.status(container)["exitCode"] == 137, "killed")


@scenario("cri")
def cri_shared_pid_namespace(e: Cri) -> None:
    pod = e.pod(securityContext={"namespaceOptions": {"network": "NODE", "pid": "POD"}})
    options = {"securityContext": {"namespaceOptions": {"network": "NODE", "pid": "POD"}}}
    first = e.container(pod, "/bin/sleep", "60", linux=options)
    second = e.container(pod, "/bin/sleep", "61", linux=options)
    ns = "readlink /proc/self/ns/pid"
    expect(e.sh(first, ns) == e.sh(second, ns), "one pid namespace")
    e.method("StopContainer", {"containerId": first, "timeout": 0})
    expect(e.status(second)["state"] == "CONTAINER_RUNNING", "the other runs on")


@scenario("cri")
def cri_limits_and_update(e: Cri) -> None:
    resources = {"memoryLimitInBytes": 33554432, "cpuQuota": 20000, "cpuPeriod": 100000}
    container = e.container(e.pod(), "/bin/sleep", "60", linux={"resources": resources})
    read = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu.max"
    expect(e.sh(container, read) == "33554432\n20000 100000\n", "limits")
    more = {"memoryLimitInBytes": 67108864, "cpuQuota": 30000, "cpuPeriod": 100000}
    e.method("UpdateContainerResources", {"containerId": container, "linux": more})
    expect(e.sh(container, read) == "67108864\n30000 100000\n", "updated limits")


@scenario("cri")
def cri_security(e: Cri) -> None:
    security = {
        "runAsUser": {"value": 1000},
        "runAsGroup": {"value": 50},
        "supplementalGroups": [7],
        "readonlyRootfs": True,
        "noNewPrivs": True,
        "capabilities": {"dropCapabilities": ["ALL"]},
        "seccomp": {"profileType": "RuntimeDefault"},
        "maskedPaths": ["/proc/kcore"],
        "readonlyPaths": ["/proc/sys"],
    }
    container = e.container(e.pod(), "/bin/sleep", "60", linux={"securityContext": security})
    script = "id -u; id -g; touch /x 2>/dev/null; echo $?; grep -E 'NoNewPrivs|Seccomp:|CapBnd' /proc/1/status"
    words = e.sh(container, script).split()
    expect(words[:3] == ["1000", "50", "1"], words)
    expect(words[3:] == ["CapBnd:", "0" * 16, "NoNewPrivs:", "1", "Seccomp:", "2"], words)


@scenario("cri")
def cri_privileged(e: Cri) -> None:
    privileged = {"securityContext": {"privileged": True, "namespaceOptions": {"network": "NODE"}}}
    pod = e.pod(**privileged)
    container = e.container(pod, "/bin/sleep", "60", linux=privileged)
    expect("mounted" in e.sh(container, "mount -t tmpfs t /tmp && echo mounted"), "it may mount")


@scenario("cri")
def cri_mounts(e: Cri) -> None:
    where = f"/var/tmp/cri-mount-{next(_numbers)}"
    os.makedirs(where)
    with open(f"{where}/file", "w") as file:
        file.write("from the host\n")
    mounts = [
        {"containerPath": "/rw", "hostPath": where},
        {"containerPath": "/ro", "hostPath": where, "readonly": True},
        {"containerPath": "/slave", "hostPath": where, "propagation": "PROPAGATION_HOST_TO_CONTAINER"},
    ]
    container = e.container(e.pod(), "/bin/sleep", "60", mounts=mounts)
    expect(e.sh(container, "cat /rw/file /slave/file; touch /ro/x; echo $?").endswith("\n1\n"), "ro")


@scenario("cri")
def cri_stats(e: Cri) -> None:
    container = e.container(e.pod(), "/bin/sleep", "60")
    answer = e.method("ContainerStats", {"containerId": container})
    expect(int(answer["stats"]["memory"]["workingSetBytes"]["value"]) >= 0, answer)


@scenario("cri")
def cri_missing_command(e: Cri) -> None:
    pod = e.pod()
    container = e.create(pod, "no-such-command")
    text = e.method("StartContainer", {"containerId": container}, status=1)
    expect("executable file not found in $PATH" in text, text)
    status = e.status(container)
    expect(status["reason"] == "StartError" and status["exitCode"] == 128, status)


@scenario("cri")
def cri_out_of_memory(e: Cri) -> None:
    resources = {"memoryLimitInBytes": 16 << 20}
    # containerd 1.7 looks for the kernel's kills from when `start` has returned to when the cgroup is gone: what
    # happens at either end it may miss, with any runtime.
    script = "sleep 1; /bin/sh -c 'x=a; while :; do x=$x$x; done'; status=$?; sleep 1; exit $status"
    container = e.container(e.pod(), "/bin/sh", "-c", script, linux={"resources": resources})
    until(lambda: e.status(container)["state"] == "CONTAINER_EXITED", "exited")
    status = e.status(container)
    expect((status["reason"], status["exitCode"]) == ("OOMKilled", 137), status)


@scenario("cri")
def cri_user_namespace(e: Cri) -> None:
    maps = [{"hostId": 200000, "containerId": 0, "length": 65536}]
    mapped = {"mode": "POD", "uids": maps, "gids": maps}
    # The host's network namespace would belong to another user namespace: no sysfs could be made.
    options = {"network": "POD", "pid": "CONTAINER", "usernsOptions": mapped}
    pod = e.pod(securityContext={"namespaceOptions": options})
    container = e.container(pod, "/bin/sleep", "60", linux={"securityContext": {"namespaceOptions": options}})
    expect(e.sh(container, "cat /proc/self/uid_map").split() == ["0", "200000", "65536"], "map")


@scenario("cri")
def cri_pod_network(e: Cri) -> None:
    options = {"network": "POD", "pid": "CONTAINER"}
    pod = e.pod(securityContext={"namespaceOptions": options})
    container = e.container(pod, "/bin/sleep", "60", linux={"securityContext": {"namespaceOptions": options}})
    expect("eth0" in e.sh(container, "ls /sys/class/net"), "the pod's interface")
    address = e.method("PodSandboxStatus", {"podSandboxId": pod[0]})["status"]["network"]["ip"]
    expect(address.startswith("10.99.0."), address)


@scenario("cri")
def cri_daemon_restart(e: Cri) -> None:
    container = e.container(e.pod(), "/bin/sleep", "60")
    command("systemctl", "restart", "containerd")
    until(lambda: command(e.client, SOCKET, "Version", input="{}", status=None).status == 0, "answers")
    until(lambda: e.status(container)["state"] == "CONTAINER_RUNNING", "running")
    expect(e.sh(container, "echo still") == "still\n", "exec")
