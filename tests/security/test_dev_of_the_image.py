"""An image with links in its /dev, where nothing is mounted on that: CVE-2026-88264, CVE-2026-88265."""

import os
import subprocess
from pathlib import Path

import pytest

from onlookers import on_a_terminal
from security.canary import Canary
from support import IS_ROOT, Bundle, MakeBundle, Runtime

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="needs root")


@pytest.fixture
def canary(tmp_path: Path) -> Canary:
    return Canary(tmp_path / "canary")


@pytest.fixture
def uncovered(bundle: MakeBundle) -> Bundle:
    """A bundle whose image has its own /dev, with a devpts in it for terminals."""
    it = bundle()
    mounts = [it for it in it.config["mounts"] if it["destination"] not in ("/dev", "/dev/shm", "/dev/mqueue")]
    return it.update({"mounts": mounts})


def mounted(text: str, place: object) -> bool:
    """Whether a /proc/self/mountinfo has a mount at a place."""
    return any(line.split()[4:5] == [str(place)] for line in text.splitlines())


@pytest.mark.contains(
    "CVE-2026-88264: `/dev/console` is a link, and nothing is mounted on `/dev`",
    "2 above: the terminal is mounted on what the link leads to inside",
)
@pytest.mark.parametrize("climb", [False, True], ids=["absolute", "climbing"])
@pytest.mark.parametrize("name", ["file", "missing"])
def test_console_is_a_link(runtime: Runtime, uncovered: Bundle, canary: Canary, name: str, climb: bool) -> None:
    """CVE-2026-88264: the terminal is mounted on what the link leads to inside; nothing of the host is touched."""
    target = canary.path / name
    place = uncovered.rootfs / "dev/console"
    place.symlink_to("../" * 30 + str(target)[1:] if climb else target)
    it = uncovered.update({"process": {"terminal": True}}).args("cat", "/proc/self/mountinfo")
    said = on_a_terminal(runtime.command("run", "--bundle", str(it.path), runtime.new_id()))
    assert mounted(said, target), said
    assert (uncovered.rootfs / str(target)[1:]).is_file()
    canary.check()


@pytest.mark.contains(
    "CVE-2026-88265: `/dev/null` is a link, and standard streams are opened again",
    "2 above; what is opened again has to be the device",
)
@pytest.mark.parametrize("uid", [0, 1000])
@pytest.mark.parametrize("climb", [False, True], ids=["absolute", "climbing"])
@pytest.mark.parametrize("name", ["file", "missing"])
def test_null_is_a_link(runtime: Runtime, uncovered: Bundle, canary: Canary, name: str, climb: bool, uid: int) -> None:
    """CVE-2026-88265: the device is bound over what the link leads to inside; standard streams that are /dev/null are
    opened again, and that is the device all the same."""
    target = canary.path / name
    place = uncovered.rootfs / "dev/null"
    place.unlink(missing_ok=True)
    place.symlink_to("../" * 30 + str(target)[1:] if climb else target)
    (uncovered.rootfs / "out").mkdir()
    (uncovered.rootfs / "out").chmod(0o777)
    script = "cat /proc/self/mountinfo >/out/mounts; (stat -L -c '%F %t:%T' /proc/1/fd/[012] >/out/streams); exit 0"
    it = uncovered.update({"process": {"user": {"uid": uid}}}).shell(script)
    done = runtime.run(it)
    assert done.returncode == 1
    assert "error masking paths: open /dev/null" in done.stderr
    it.update({"linux": {"maskedPaths": []}})
    before = os.stat("/dev/null")
    with open("/dev/null", "r+b") as null:
        command = runtime.command("run", "--bundle", str(it.path), runtime.new_id())
        assert subprocess.run(command, check=False, stdin=null, stdout=null, stderr=null, timeout=60).returncode == 0
    assert mounted((it.rootfs / "out/mounts").read_text(), target)
    assert (it.rootfs / "out/streams").read_text() == "character special file 1:3\n" * 3
    after = os.stat("/dev/null")
    assert (after.st_mode, after.st_uid) == (before.st_mode, before.st_uid)
    canary.check()
