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


def in_a_mount_namespace(script: str, command: list[str]) -> "subprocess.CompletedProcess[str]":
    """Run a shell script that gets the command as "$@" in a mount namespace of its own; it has to succeed."""
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", *command],
        capture_output=True, text=True, check=False, timeout=60, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done


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


@pytest.mark.parametrize("value", ["", *FIELDS, *("r" + kind for kind in FIELDS)])
def test_of_a_root_that_is_a_mount(runtime: Runtime, bundle: MakeBundle, value: str) -> None:
    """As docker's is: an overlay of its own, in the peer group of the host's, with a mount below it."""
    linux = {"rootfsPropagation": value} if value else {}
    it = bundle({"linux": linux}).shell("cat /proc/self/mountinfo")
    below = it.rootfs / "tmp"
    script = f"""
        mount --bind {it.rootfs} {it.rootfs} && mount -t tmpfs tmpfs {below}
        mount --make-rshared {it.rootfs}
        cat /proc/self/mountinfo >{it.path}/before
        "$@" && diff {it.path}/before /proc/self/mountinfo >&2
    """
    command = runtime.command("run", "-b", str(it.path), f"mount-{it.path.parent.name}")
    done = in_a_mount_namespace(script, command)
    kind = FIELDS[value.removeprefix("r") or "private"]
    assert propagation(done.stdout, "/") == kind
    # A copy of the host's mount below is never its peer, unless that was asked for.
    expected = kind if value.startswith("r") else {"": "master", "slave": "master", "shared": "shared"}.get(value, "")
    assert propagation(done.stdout, "/tmp") == expected


@pytest.mark.parametrize(("value", "below"), [("shared", "master"), ("rshared", "shared master")])
def test_shared_alone_is_not_for_the_mounts_below(runtime: Runtime, bundle: MakeBundle, value: str, below: str) -> None:
    """As for rootless podman, whose namespace has only slaves of the host's mounts."""
    it = bundle({"linux": {"rootfsPropagation": value}}).shell("cat /proc/self/mountinfo")
    script = f"""
        mount --bind {it.rootfs} {it.rootfs} && mount -t tmpfs tmpfs {it.rootfs}/tmp
        mount --make-rshared {it.rootfs} && unshare --mount --propagation slave "$@"
        exit $?  # this shell keeps its namespace, which the slaves are slaves of
    """
    command = runtime.command("run", "-b", str(it.path), f"alone-{it.path.parent.name}")
    done = in_a_mount_namespace(script, command)
    assert propagation(done.stdout, "/tmp") == below


def test_a_moved_root_does_not_cover_the_hosts(runtime: Runtime, bundle: MakeBundle, tmp_path: Path) -> None:
    """--no-pivot moves the root over a "/" that may be shared with the host's, where it would appear as well."""
    it = bundle({"linux": {"rootfsPropagation": "rshared"}}).args("true")
    script = f"""
        mount --make-rshared / && mount --bind {it.rootfs} {it.rootfs}
        cut -d' ' -f5 /proc/self/mountinfo >{tmp_path}/before
        "$@" && cut -d' ' -f5 /proc/self/mountinfo | diff {tmp_path}/before -
    """
    command = runtime.command("run", "--no-pivot", "-b", str(it.path), f"moved-{tmp_path.name}")
    in_a_mount_namespace(script, command)  # it is what would be covered


def test_binds_from_beside_the_root_are_private_as_well(runtime: Runtime, bundle: MakeBundle, tmp_path: Path) -> None:
    """As with runc, which makes the mount that holds the root private."""
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", tmp_path], check=True)
    subprocess.run(["mount", "--make-shared", tmp_path], check=True)
    try:
        (tmp_path / "data").mkdir()
        mounts = [
            {"destination": "/own", "type": "bind", "source": str(tmp_path / "data"), "options": ["bind"]},
            {"destination": "/shared", "type": "bind", "source": str(tmp_path / "data"), "options": ["bind", "shared"]},
        ]
        it = bundle()
        it.config["mounts"] += mounts
        done = runtime.run(it.shell("cat /proc/self/mountinfo"), check=True)
        assert propagation(done.stdout, "/own") == ""
        assert propagation(done.stdout, "/shared") == "shared"
    finally:
        subprocess.run(["umount", tmp_path], check=True)
