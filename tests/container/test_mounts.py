"""`mounts add` and `mounts remove`: what a running container sees afterwards, and what is refused."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from support import IS_ROOT, Json, MakeBundle, Runtime

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="needs root")


class Container:
    """One that runs, and what it says."""

    def __init__(self, runtime: Runtime, bundle: MakeBundle, where: Path, changes: Json | None = None) -> None:
        self.runtime = runtime
        self.where = where
        self.bundle = bundle(changes or {}).args("/bin/sleep", "1000")
        self.id = runtime.create(self.bundle)
        runtime.call("start", self.id, check=True)

    def sh(self, script: str) -> str:
        return self.runtime.call("exec", self.id, "/bin/sh", "-c", script, check=True).stdout

    def mounted(self) -> list[str]:
        return self.sh("cat /proc/self/mounts").splitlines()

    def mounts(self, action: str, *mounts: Json) -> str:
        """Standard error of the command."""
        done = self.runtime.call("mounts", action, self.id, "-", input=json.dumps(list(mounts)))
        assert bool(done.returncode) == bool(done.stderr), done
        assert done.stdout == ""
        return done.stderr


@pytest.fixture
def container(runtime: Runtime, bundle: MakeBundle, tmp_path: Path) -> Container:
    return Container(runtime, bundle, tmp_path)


def bind(source: Path, destination: str, *options: str) -> dict[str, Any]:
    return {"destination": destination, "source": str(source), "options": ["rbind", *options]}


def test_a_directory_a_file_and_a_tmpfs(container: Container, tmp_path: Path) -> None:
    before = container.mounted()
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_text("of the host\n")
    tmpfs = {"destination": "/t/u", "type": "tmpfs", "source": "tmpfs", "options": ["size=64k", "noexec", "mode=0711"]}
    mounts = [bind(source, "/new/deep/place", "ro"), bind(source / "file", "/etc/extra"), tmpfs]
    assert container.mounts("add", *mounts) == ""
    assert container.sh("cat /new/deep/place/file /etc/extra; stat -c %a /t/u") == "of the host\n" * 2 + "711\n"
    assert (
        container.sh("touch /new/deep/place/x 2>/dev/null || echo read-only; touch /t/u/x; ls /t/u") == "read-only\nx\n"
    )
    assert "/t/u tmpfs rw,noexec,relatime,size=64k,mode=711" in "\n".join(container.mounted())
    # Other namespaces see nothing of it, and the source is writable where it came from.
    assert "/t/u" not in Path("/proc/self/mounts").read_text()
    (source / "file").write_text("changed\n")
    assert container.sh("cat /new/deep/place/file") == "changed\n"
    assert container.mounts("remove", *({"destination": mount["destination"]} for mount in mounts)) == ""
    assert container.mounted() == before
    assert container.sh("ls /new/deep/place; cat /etc/extra") == ""


def test_an_object_in_a_file(container: Container, tmp_path: Path) -> None:
    file = tmp_path / "mounts.json"
    file.write_text(json.dumps({"mounts": [bind(tmp_path, "/mnt")]}))
    container.runtime.call("mounts", "add", container.id, str(file), check=True)
    assert container.sh("ls /mnt/mounts.json") == "/mnt/mounts.json\n"


def test_one_that_fails_takes_the_others_with_it(container: Container, tmp_path: Path) -> None:
    before = container.mounted()
    said = container.mounts("add", bind(tmp_path, "/one"), bind(tmp_path, "/two"), bind(tmp_path / "missing", "/three"))
    assert "mounts/2" in said
    assert "no such file or directory" in said
    assert container.mounted() == before


BAD: list[tuple[str, Json, str]] = [
    ("add", {"destination": "/x", "type": "proc", "source": "proc"}, "bind mounts and tmpfs, not proc (mounts/0/type)"),
    ("add", {"destination": "/", "source": "/tmp", "options": ["bind"]}, "cannot mount over the root file system"),
    ("add", {"destination": "/proc/sys", "source": "/tmp", "options": ["bind"]}, "because it is inside /proc"),
    ("add", {"destination": "/x", "type": "tmpfs", "options": ["tmpcopyup"]}, "at creation only (mounts/0/options)"),
    ("add", {"source": "/tmp"}, "is missing (mounts/0/destination)"),
    ("add", {"destination": "/x", "type": "tmpfs", "source": "t", "options": ["size=much"]}, "invalid argument"),
    ("remove", {"destination": "/proc/kcore"}, "cannot be taken away (mounts/0/destination)"),
    ("remove", {"destination": "/"}, "cannot be taken away (mounts/0/destination)"),
    ("remove", {"destination": "/etc"}, "there is no mount"),
    ("remove", {"destination": "/missing"}, "no such file or directory"),
]


@pytest.mark.parametrize(("action", "mount", "says"), BAD)
def test_what_is_refused(container: Container, action: str, mount: Json, says: str) -> None:
    before = container.mounted()
    said = container.mounts(action, mount)
    assert says in said
    assert "internal error" not in said
    assert container.mounted() == before


def test_links_of_the_container_lead_nowhere_else(container: Container, tmp_path: Path) -> None:
    """A link to the root, to the host's path or into /proc is one inside the container."""
    source = tmp_path / "source"
    source.mkdir()
    outside = tmp_path / "outside"
    outside.mkdir()
    container.sh(f"ln -s ../../../../..{outside} /led; ln -s /proc/self /self; ln -s /proc/self/cwd /magic")
    assert container.mounts("add", bind(source, "/led")) == ""
    assert str(outside) not in Path("/proc/self/mounts").read_text()
    assert container.sh(f"grep -c ' {outside} ' /proc/self/mounts") == "1\n"
    assert "symbolic link in the root file system leads it inside /proc" in container.mounts(
        "add", bind(source, "/self")
    )
    assert container.mounts("add", bind(source, "/magic/x")) != ""
    # The link itself is no mount, and what it leads to is named by its own path.
    assert "there is no mount" in container.mounts("remove", {"destination": "/led"})
    assert container.mounts("remove", {"destination": str(outside)}) == ""


def test_with_a_user_namespace(runtime: Runtime, bundle: MakeBundle, tmp_path: Path) -> None:
    maps = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    it = bundle()
    spaces = [*it.config["linux"]["namespaces"], {"type": "user"}]
    changes = {"linux": {"namespaces": spaces, "uidMappings": maps, "gidMappings": maps}}
    tmp_path.chmod(0o755)
    for above in tmp_path.parents:
        if above != Path("/tmp") and str(above).startswith("/tmp"):
            above.chmod(0o755)

    def make(more: Json) -> Any:
        made = bundle(more)
        return made.give(100000)

    container = Container(runtime, make, tmp_path, changes)
    (tmp_path / "file").write_text("x\n")
    assert container.mounts("add", bind(tmp_path / "file", "/f", "ro")) == ""
    assert container.sh("cat /f") == "x\n"
    assert "user namespace" in container.mounts("add", {"destination": "/t", "type": "tmpfs", "source": "t"})
    assert container.mounts("remove", {"destination": "/f"}) == ""


def test_of_whom(runtime: Runtime, bundle: MakeBundle) -> None:
    assert "container does not exist" in runtime.call("mounts", "add", "nobody", "-", input="[]").stderr
    id = runtime.create(bundle().args("/bin/true"))
    runtime.call("kill", id, "KILL", check=True)
    while runtime.state(id)["status"] != "stopped":
        os.sched_yield()
    assert "container not running" in runtime.call("mounts", "add", id, "-", input="[]").stderr
    assert "neither add nor remove" in runtime.call("mounts", "list", id, "-", input="[]").stderr
