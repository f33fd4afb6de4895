"""Make the engines ready in the guest: the image, their configuration, the daemons.

The configuration is that of blocks/, which docs/engines.md shows.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from engines.scenarios import IMAGE, Engine, command, until
from engines.scenarios_cri import Cri
from engines.scenarios_ctr import Ctr
from engines.scenarios_pods import Buildah

BLOCKS = Path(__file__).resolve().parent / "blocks"
WORK = Path("/var/tmp/engines")
APPLETS = (
    "sh cat echo ls id hostname mount umount grep head wc tr touch rm mkdir mknod stat sleep true "
    "false readlink tty stty kill pwd env cut seq dd sort sed uname ps sync date"
).split()


def make_image() -> None:
    """The root file system's tarball, and the image as docker and containerd load it."""
    root = WORK / "image"
    for name in "bin dev proc sys tmp etc root home/alice v".split():
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "tmp").chmod(0o1777)
    os.chown(root / "home/alice", 1000, 50)
    shutil.copy("/usr/bin/busybox", root / "bin/busybox")
    for name in APPLETS:
        (root / "bin" / name).symlink_to("busybox")
    script = root / "bin/bad-interpreter"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nalice:x:1000:50:Alice:/home/alice:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\nstaff:x:50:\n")
    command("tar", "-C", str(root), "-cf", str(WORK / "image.tar"), ".")
    command("podman", "import", "-q", "-c", "ENV PATH=/usr/bin:/bin", str(WORK / "image.tar"), IMAGE)
    command(
        "podman", "save", "-q", "--format", "docker-archive", "-o", str(WORK / "image.docker.tar"), IMAGE
    )  # fmt: skip
    for name in ("image.tar", "image.docker.tar"):
        (WORK / name).chmod(0o644)
    WORK.chmod(0o755)


def prepare() -> None:
    """What all engines share."""
    WORK.mkdir(parents=True, exist_ok=True)
    place = Path("/etc/containers/containers.conf.d")
    place.mkdir(parents=True, exist_ok=True)
    shutil.copy(BLOCKS / "podman.conf", place / "pyrunc.conf")
    for name in ("/etc/subuid", "/etc/subgid"):  # for podman's --userns auto
        with open(name, "a") as file:
            file.write("containers:1000000:65536\n")
    make_image()


def podman(runtime: str, path: str, machine: str, manager: str) -> Engine:
    base = ["podman", "--cgroup-manager", manager, "--runtime", runtime]
    return Engine("podman", runtime, base, machine=machine)


# A command of the unprivileged user, below that user's service manager. It ends when its own process
# ends, and leaves conmon running; without a change of its words ("$$" is systemd's otherwise).
USER = (
    "systemd-run --user --machine=user@.host --quiet --wait --collect --pipe "
    "--expand-environment=no --property=KillMode=process --property=Delegate=yes "
    "--working-directory=/home/user --"
).split()


def podman_rootless(runtime: str, path: str, machine: str, manager: str) -> Engine:
    base = ["podman", "--cgroup-manager", manager, "--runtime", runtime]
    engine = Engine("podman-rootless", runtime, base, machine=machine, prefix=USER)
    if engine.call("image", "exists", IMAGE, status=None).status:
        tarball = str(WORK / "image.tar")
        engine.call("import", "-q", "-c", "ENV PATH=/usr/bin:/bin", tarball, IMAGE)
    return engine


def docker(runtime: str, path: str, machine: str, manager: str) -> Engine:
    """Docker with the runtime as its default, so that it also builds with it."""
    config = json.loads((BLOCKS / "daemon.json").read_text())
    config["default-runtime"] = runtime
    config["live-restore"] = True
    config["exec-opts"] = [f"native.cgroupdriver={manager}"]
    if machine == "uml":
        config |= {"iptables": False, "ip6tables": False, "bridge": "none"}
    place = Path("/etc/docker")
    place.mkdir(exist_ok=True)
    (place / "daemon.json").write_text(json.dumps(config))
    command("systemctl", "reset-failed", "docker", status=None)
    command("systemctl", "restart", "docker", timeout=180)
    if command("docker", "image", "inspect", IMAGE, status=None).status:
        command("docker", "load", "-q", "-i", str(WORK / "image.docker.tar"))
    return Engine("docker", runtime, ["docker"], machine=machine)


def containerd(manager: str, machine: str) -> None:
    """Configure and start containerd; both runtimes are known to its CRI plugin, with this driver of cgroups."""
    version = command("containerd", "--version").out.split()[2].lstrip("v")
    block = "containerd-2.toml" if version.startswith("2") else "containerd-1.toml"
    place = Path("/etc/containerd")
    place.mkdir(exist_ok=True)
    text = (BLOCKS / block).read_text()
    if manager == "systemd":
        text = "\n".join(
            [line + ("\n    SystemdCgroup = true" if "BinaryName" in line else "") for line in text.splitlines()]
            + [line.replace(".pyrunc.", ".runc.") for line in text.splitlines() if line.endswith(".pyrunc.options]")]
            + ["    SystemdCgroup = true", ""]
        )
    # The pod's own container is made from an image that the guest has.
    if version.startswith("2"):
        text += f"\n[plugins.'io.containerd.cri.v1.images'.pinned_images]\n  sandbox = '{PAUSE}'\n"
        text += "\n[plugins.'io.containerd.cri.v1.runtime'.cni]\n  bin_dirs = ['/usr/lib/cni']\n"
    else:
        text += f'\n[plugins."io.containerd.grpc.v1.cri"]\n  sandbox_image = "{PAUSE}"\n'
        text += '\n[plugins."io.containerd.grpc.v1.cri".cni]\n  bin_dir = "/usr/lib/cni"\n'
    (place / "config.toml").write_text(text)
    networks = Path("/etc/cni/net.d")
    networks.mkdir(parents=True, exist_ok=True)
    plugins = [*PODS["plugins"], *([PORTS] if machine == "qemu" else [])]
    (networks / "10-pods.conflist").write_text(json.dumps({**PODS, "plugins": plugins}))
    command("systemctl", "restart", "containerd")
    until(lambda: command("ctr", "version", status=None).status == 0, "containerd answers")
    for space in ("default", "k8s.io"):
        command("ctr", "-n", space, "images", "import", str(WORK / "image.docker.tar"))
    command("ctr", "-n", "k8s.io", "images", "import", str(WORK / "pause.docker.tar"))


PAUSE = "localhost/pause:latest"

# A network of pods without rules of a packet filter, which User-mode Linux does not have in full.
PORTS = {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True}
PODS: dict[str, Any] = {
    "cniVersion": "1.0.0",
    "name": "pods",
    "plugins": [{"type": "ptp", "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.99.0.0/24"}]]}}],
}


def pause_image() -> None:
    """An image whose program waits for ever, for the pods of CRI."""
    command(
        "podman", "import", "-q", "-c", 'ENTRYPOINT ["/bin/sleep","100000"]',
        str(WORK / "image.tar"), PAUSE,
    )  # fmt: skip
    where = str(WORK / "pause.docker.tar")
    command("podman", "save", "-q", "--format", "docker-archive", "-o", where, PAUSE)


def ctr(runtime: str, path: str, machine: str, manager: str) -> Engine:
    if not (WORK / "pause.docker.tar").exists():
        pause_image()
        containerd(manager, machine)
    engine = Ctr("ctr", runtime, ["ctr"], machine=machine)
    engine.runtime_path = path
    return engine


def cri(runtime: str, path: str, machine: str, manager: str) -> Engine:
    if not (WORK / "pause.docker.tar").exists():
        pause_image()
        containerd(manager, machine)
    engine = Cri("cri", runtime, [], machine=machine)
    engine.client = "/usr/local/bin/cri"
    engine.parent = "kubepods-besteffort.slice" if manager == "systemd" else "/kubepods/besteffort"
    return engine


def buildah(runtime: str, path: str, machine: str, manager: str) -> Engine:
    engine = Buildah("buildah", runtime, ["buildah"], machine=machine)
    engine.runtime_path = path
    return engine


MAKERS = {
    "podman": podman,
    "podman-rootless": podman_rootless,
    "docker": docker,
    "ctr": ctr,
    "cri": cri,
    "buildah": buildah,
}
