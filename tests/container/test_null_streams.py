"""Standard streams that are /dev/null: the program gets its container's own, for reading and writing."""

import os
import stat
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from onlookers import nobody_opens
from support import IS_ROOT, MakeBundle, Runtime

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="needs root")

#: Writes to what was opened for reading alone, and compares standard output with the container's /dev/null.
SCRIPT = """
echo lost && echo written >&2
test "$(stat -L -c %d:%i /proc/$$/fd/1)" = "$(stat -L -c %d:%i /dev/null)" && echo own >&2
"""
NOBODY: dict[str, Any] = {"process": {"user": {"uid": 1000, "gid": 1000}}}
ROOT: dict[str, Any] = {}


def run_on_null(told: Path, *command: str) -> None:
    """Run a command with 0 and 1 on /dev/null, opened for reading, and standard error in a file."""
    with open("/dev/null", "rb") as null, told.open("wb") as file:
        subprocess.run(command, stdin=null, stdout=null, stderr=file, check=True, timeout=60)


@pytest.mark.parametrize("changes", [ROOT, NOBODY], ids=["root", "nobody"])
def test_run(runtime: Runtime, bundle: MakeBundle, tmp_path: Path, changes: dict[str, Any]) -> None:
    it = bundle(changes).shell(SCRIPT)
    run_on_null(tmp_path / "told", *runtime.command("run", "--bundle", str(it.path), runtime.new_id()))
    assert (tmp_path / "told").read_text() == "written\nown\n"


@pytest.mark.parametrize("changes", [ROOT, NOBODY], ids=["root", "nobody"])
def test_create(runtime: Runtime, bundle: MakeBundle, tmp_path: Path, changes: dict[str, Any]) -> None:
    it, id = bundle(changes).shell(SCRIPT), runtime.new_id()
    run_on_null(tmp_path / "told", *runtime.command("create", "--bundle", str(it.path), id))
    runtime.call("start", id, check=True)
    end = time.monotonic() + 60
    while runtime.state(id)["status"] != "stopped" and time.monotonic() < end:
        time.sleep(0.05)
    assert (tmp_path / "told").read_text() == "written\nown\n"


@pytest.mark.parametrize("user", ["0", "1000"])
def test_exec(runtime: Runtime, bundle: MakeBundle, tmp_path: Path, user: str) -> None:
    id = runtime.create(bundle().args("/bin/sleep", "100"))
    command = runtime.command("exec", "--user", user, id, "/bin/sh", "-c", SCRIPT)
    run_on_null(tmp_path / "told", *command)
    assert (tmp_path / "told").read_text() == "written\nown\n"


def test_the_hosts_keeps_its_owner(runtime: Runtime, bundle: MakeBundle, tmp_path: Path) -> None:
    before = os.stat("/dev/null")
    it = bundle(NOBODY).args("/bin/true")
    run_on_null(tmp_path / "told", *runtime.command("run", "--bundle", str(it.path), runtime.new_id()))
    after = os.stat("/dev/null")
    assert (after.st_uid, after.st_gid, after.st_mode) == (before.st_uid, before.st_gid, before.st_mode)


@pytest.mark.parametrize("kind", ["nothing", "a file", "a fifo", "a directory", "a link to nothing"])
def test_where_the_container_has_another(runtime: Runtime, bundle: MakeBundle, tmp_path: Path, kind: str) -> None:
    """Without /dev of its own: the host's stays."""
    it = bundle({"mounts": []})
    it.config["linux"]["maskedPaths"] = it.config["linux"]["readonlyPaths"] = []
    it.save()
    # What would make the default devices there is a mount namespace's: the image's file is in the way of mknod.
    it.config["linux"]["namespaces"] = [e for e in it.config["linux"]["namespaces"] if e["type"] != "mount"]
    it.save()
    place = it.rootfs / "dev" / "null"
    place.parent.mkdir(exist_ok=True)
    if place.exists():
        place.unlink()
    if kind == "a file":
        place.write_text("")
    elif kind == "a fifo":
        os.mkfifo(place)
    elif kind == "a directory":
        place.mkdir()
    elif kind == "a link to nothing":
        place.symlink_to("/nowhere")
    it.shell("readlink /proc/self/fd/0 >&2; echo done >&2")
    run_on_null(tmp_path / "told", *runtime.command("run", "--bundle", str(it.path), runtime.new_id()))
    assert (tmp_path / "told").read_text().splitlines()[-1] == "done"
    if kind == "a file":
        assert stat.S_ISREG(place.lstat().st_mode)
        assert place.read_text() == ""


@pytest.mark.contains("CVE-2026-88265: `/dev/null` is a link, and standard streams are opened again")
def test_something_else_is_not_opened(runtime: Runtime, bundle: MakeBundle, tmp_path: Path) -> None:
    """To open a device is to use it. A FIFO tells who does: it would let a writer go on."""
    it = bundle().args("/bin/sleep", "100")
    it.config["mounts"] = [mount for mount in it.config["mounts"] if not mount["destination"].startswith("/dev")]
    it.config["linux"]["maskedPaths"] = []
    it.save()
    id = runtime.create(it)
    runtime.call("start", id, check=True)
    place = it.rootfs / "dev/null"
    place.unlink()
    with nobody_opens(place):
        run_on_null(tmp_path / "told", *runtime.command("exec", id, "/bin/true"))
