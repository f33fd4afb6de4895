"""What is set up beside a hostile container is out of its reach, at every step."""

import fcntl
import os
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support import IS_ROOT, ROOT, Json, MakeBundle, Runtime

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="needs root")

SECONDS = "10"
NS_GET_OWNER_UID = 0xB704
SPACES = [{"type": kind} for kind in ("network", "ipc", "uts", "mount", "user")]
# As the attackers have it: root without CAP_SYS_PTRACE.
CONTAINED = ["setpriv", "--bounding-set", "-sys_ptrace", "--"]


def maps(container: int, host: int, size: int = 65536) -> Json:
    entries = [{"containerID": container, "hostID": host, "size": size}]
    return {"uidMappings": entries, "gidMappings": entries}


@pytest.mark.contains("CVE-2016-9962: exec'ed process can be traced before it drops")
@pytest.mark.contains(
    "root of the host through an init that waits for its id maps in a joined pid namespace (found here)",
    "the same, and a user namespace that is not root's",
)
@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")
def test_attackers_get_nothing(launcher: str) -> None:
    """A short `make attack`: every kind of container at least once beside the attackers."""
    command = [sys.executable, "-m", "security.attack.attack", "--runtime", launcher, "--seconds", SECONDS]
    done = subprocess.run(command, check=False, cwd=ROOT / "tests", capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    tries = [int(line.split()[-2]) for line in done.stdout.splitlines() if line.startswith("attacker ")]
    assert len(tries) == 3, done.stdout
    assert min(tries) > 100, done.stdout


def owner(runtime: Runtime, id: str) -> int:
    """The uid that owns the user namespace of a container's init."""
    file = os.open(f"/proc/{runtime.state(id)['pid']}/ns/user", os.O_RDONLY)
    try:
        return int(struct.unpack("=I", fcntl.ioctl(file, NS_GET_OWNER_UID, bytes(4)))[0])
    finally:
        os.close(file)


@pytest.mark.contains(
    "root of the host through an init that waits for its id maps in a joined pid namespace (found here)",
)
@pytest.mark.parametrize(
    ("mapped", "uid"),
    [(maps(0, 300000), 300000), (maps(1000, 200000, 1), 200000), (maps(0, 0), 65535), (maps(0, 0, 1), 0)],
    ids=["root", "without root", "root is root", "root alone"],
)
def test_owner_of_a_user_namespace(runtime: Runtime, bundle: MakeBundle, mapped: Json, uid: int) -> None:
    """Not root, where something else is mapped: every container without a user namespace runs as root."""
    entry = mapped["uidMappings"][0]
    user = {"uid": entry["containerID"], "gid": entry["containerID"]}
    mounts = [{"destination": "/proc", "type": "bind", "source": "/proc", "options": ["rbind"]}]
    it = bundle({"process": {"user": user}, "mounts": mounts, "linux": {"namespaces": SPACES, **mapped}})
    it.give(entry["hostID"])
    id = runtime.create(it.args("sleep", "60"))
    assert owner(runtime, id) == uid


def test_owner_without_the_capabilities(runtime: Runtime, bundle: MakeBundle) -> None:
    """A root that has less than a container's may be has it as the namespace's owner alone, and stays that."""
    it = bundle({"mounts": [], "linux": {"namespaces": SPACES, **maps(0, 300000)}}).give(300000)
    weak = Runtime("setpriv", runtime.root)
    weak.ids = runtime.ids
    weak.command = lambda *args: [  # type: ignore[method-assign]
        "setpriv", "--bounding-set", "-net_admin", "--", *runtime.command(*args)
    ]  # fmt: skip
    id = weak.create(it.args("sleep", "60"))
    assert owner(runtime, id) == 0
    weak.call("start", id, check=True)
    weak.call("exec", id, "true", check=True)


def test_owner_beside_an_unprivileged_engine(runtime: Runtime, bundle: MakeBundle) -> None:
    """Root of a user namespace, as podman without privileges starts pyrunc, gives its containers' away as well."""
    it = bundle({"mounts": [], "linux": {"namespaces": SPACES, **maps(0, 1000, 5000)}}).give(401000).args("sleep", "60")
    with subprocess.Popen(["unshare", "--user", "--mount", "--propagation", "private", "sleep", "100"]) as engine:
        try:
            end = time.monotonic() + 30
            while os.readlink(f"/proc/{engine.pid}/ns/user") == os.readlink("/proc/self/ns/user"):
                assert time.monotonic() < end
            for kind in ("uid", "gid"):
                Path(f"/proc/{engine.pid}/{kind}_map").write_text("0 400000 65536")
            runtime.root.mkdir()
            os.chown(runtime.root, 400000, 400000)
            runtime.root.parent.chmod(0o755)
            it.path.chmod(0o755)
            inner = Runtime("nsenter", runtime.root)
            inner.command = lambda *args: [  # type: ignore[method-assign]
                "nsenter", "-t", str(engine.pid), "-U", "-m", "--setuid", "0", "--setgid", "0", *runtime.command(*args)
            ]  # fmt: skip
            id = inner.create(it)
            try:
                assert owner(inner, id) == 401000
                inner.call("start", id, check=True)
                inner.call("exec", id, "true", check=True)
            finally:
                inner.call("delete", "--force", id, check=True)
        finally:
            engine.kill()


@pytest.mark.contains(
    "root of the host through a createContainer hook in a user namespace (found here)",
    "the user namespace is not root's",
)
@pytest.mark.parametrize("kind", ["new", "joined"])
def test_hooks_in_the_container(runtime: Runtime, bundle: MakeBundle, tmp_path: Path, kind: str) -> None:
    """createContainer hooks have the host's root directory, and are dumpable, as any program is."""
    linux: Json = {"namespaces": SPACES, **maps(0, 300000)}
    mounts = [{"destination": "/proc", "type": "bind", "source": "/proc", "options": ["rbind"]}]
    if kind == "joined":
        holder = runtime.create(bundle({"mounts": mounts, "linux": linux}).give(300000).args("sleep", "60"))
        path = f"/proc/{runtime.state(holder)['pid']}/ns/user"
        linux = {"namespaces": [*SPACES[:-1], {"type": "user", "path": path}]}
    said = tmp_path / "hook"
    said.touch()
    os.chown(said, 300000, 300000)
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"echo $$ > {said}; exec sleep 3"]}
    it = bundle({"mounts": mounts, "linux": linux, "hooks": {"createContainer": [hook]}}).give(300000)
    command = runtime.command("run", "--bundle", str(it.path), runtime.new_id())
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as running:
        while not said.read_text().strip():
            assert running.poll() is None
            time.sleep(0.01)
        time.sleep(0.3)  # until it is sleep
        for what in ("root", "cwd"):
            path = f"/proc/{int(said.read_text())}/{what}/."
            assert os.path.isdir(path)
            done = subprocess.run([*CONTAINED, "ls", "-d", path], check=False, capture_output=True, text=True)
            assert "ermission denied" in done.stderr, done
        assert running.wait() == 0
