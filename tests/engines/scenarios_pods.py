"""Pods of podman, and buildah."""

import os
import shutil
import tempfile
from itertools import count

from engines.scenarios import IMAGE, Engine, expect, many, playing, scenario, until

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
    with playing(e, manifest):
        out = e.exec(f"{name}-c", "id -u; touch /x; echo $?; cat /sys/fs/cgroup/memory.max").out
        expect(out == "1000\n1\n67108864\n", out)


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
    """Podman asks its configuration whether a runtime can do without; old runcs cannot."""
    answer = e.run("/bin/true", flags=["--cgroups", "disabled"], status=None)
    refused = e.runtime != "pyrunc" and "not compatible with nocgroups" in answer.err.lower()
    expect(answer.status == 0 or refused, answer)


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


@scenario("podman", "podman-rootless")
def runtime_by_path(e: Engine) -> None:
    """A copy of the runtime under another name, given by its path, which the container keeps."""
    copy = f"/var/tmp/engines/copy-of-{e.runtime}"
    shutil.copy(os.path.realpath(shutil.which(e.runtime) or ""), copy)
    try:
        e.call("run", "-d", "--name", "by-path", "--runtime", copy, *e.run_flags, IMAGE, "/bin/sleep", "60")
        expect(e.inspect("by-path")["OCIRuntime"] == copy, "the path is kept")
        e.exec("by-path", "true")
        e.call("kill", "by-path")
        expect(e.call("wait", "by-path").out == "137\n", "killed")
    finally:
        e.call("rm", "-f", "-t", "0", "by-path", status=None)
        os.remove(copy)


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
            status=status, timeout=600,
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
def buildah_volumes(e: Buildah) -> None:
    """buildah leaves the options that it has seen to among those of the mount, and an empty one where there is none."""
    name = e.work()

    def run(*words: str) -> str:
        line = ("run", "--network", "none", "--isolation", "oci", "--runtime", e.runtime_path, *words)
        return e.call(*line).out

    with tempfile.TemporaryDirectory() as where:
        os.chmod(where, 0o777)
        script = "touch /v/x; stat -c %u:%g /v/x; rm /v/x"
        expect(run("-v", f"{where}:/v", name, "/bin/sh", "-c", script) == "0:0\n", "no options")
        for options in "z", "rw,z", "z,U", "Z,U,rshared":
            out = run("--user", "888:888", "-v", f"{where}:/v:{options}", name, "/bin/sh", "-c", script)
            expect(out == "888:888\n", f"{options}: {out}")
        out = run("--mount", "type=cache,target=/c,z", name, "/bin/sh", "-c", "echo kept >/c/x; cat /c/x")
        expect(out == "kept\n", out)


@scenario("buildah")
def buildah_many(e: Buildah) -> None:
    name = e.work()
    many(lambda: e.inside(name, "/bin/true"))
