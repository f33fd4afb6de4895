"""linux.rootfsPropagation (config-linux.md, "Rootfs Mount Propagation") of the root; the host's stays."""

import subprocess
from pathlib import Path

import pytest

from support import IS_ROOT, MakeBundle, Runtime

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="needs root")

FIELDS = {"private": "", "slave": "master", "shared": "shared", "unbindable": "unbindable"}


def propagation(mountinfo: str, path: str) -> str:
    """The optional fields of the mount at `path` without their numbers (proc_pid_mountinfo(5))."""
    found = ""
    for line in mountinfo.splitlines():
        fields = line.split(" ")
        if fields[4] == path:
            found = " ".join(field.partition(":")[0] for field in fields[6 : fields.index("-")])
    return found


@pytest.mark.parametrize("value", ["", *FIELDS, *("r" + kind for kind in FIELDS)])
def test_of_the_containers_root(runtime: Runtime, bundle: MakeBundle, tmp_path: Path, value: str) -> None:
    # Only a mount that is shared on the host has somewhere to be a slave of.
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", tmp_path], check=True)
    subprocess.run(["mount", "--make-shared", tmp_path], check=True)
    try:
        linux = {"rootfsPropagation": value} if value else {}
        it = bundle({"linux": linux}).shell("cat /proc/self/mountinfo")
        before = Path("/proc/self/mountinfo").read_text()
        done = runtime.run(it, check=True)
        assert propagation(done.stdout, "/") == FIELDS[value.removeprefix("r") or "private"]
        assert Path("/proc/self/mountinfo").read_text() == before
        assert propagation(before, str(tmp_path)) == "shared"
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_a_moved_root_does_not_cover_the_hosts(
    runtime: Runtime, bundle: MakeBundle, tmp_path: Path
) -> None:
    """--no-pivot moves the root over a "/" that may be shared with the host's, where it would appear as well."""
    it = bundle({"linux": {"rootfsPropagation": "rshared"}}).args("true")
    script = f"""
        mount --make-rshared / && mount --bind {it.rootfs} {it.rootfs}
        cut -d' ' -f5 /proc/self/mountinfo >{tmp_path}/before
        "$@" && cut -d' ' -f5 /proc/self/mountinfo | diff {tmp_path}/before -
    """
    command = runtime.command("run", "--no-pivot", "-b", str(it.path), f"moved-{tmp_path.name}")
    # In a mount namespace of the test's own: it is what would be covered.
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", *command],
        capture_output=True, text=True, check=False, timeout=60, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
