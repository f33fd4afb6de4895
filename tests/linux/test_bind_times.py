"""The flags that a bind mount ends up with: those of its source, those named, and what a user namespace keeps.

config.md, "Linux mount options". Access times behave as under mount(8): they stay unless the options set one.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import MakeBundle, Runtime

pytestmark = pytest.mark.usefixtures("needs_root")

FLAGS = {"ro", "rw", "nosuid", "nodev", "noexec", "noatime", "nodiratime", "relatime", "nosymfollow"}
MAPS = [{"containerID": 0, "hostID": 100000, "size": 65534}]
USER = {
    "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "user")],
    "uidMappings": MAPS,
    "gidMappings": MAPS,
}
USER_CONFIG = {"linux": USER}


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs without any flag that a bind mount could inherit."""
    path = tmp_path / "source"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "strictatime", "tmpfs", path], check=True)
    yield path
    subprocess.run(["umount", "-l", path], check=True)


def result(
    runtime: Runtime, bundle: MakeBundle, source: Path, flags: str, options: str, user: bool
) -> "set[str] | str":
    """The flags of the mount in the container, or the error."""
    if flags:
        subprocess.run(["mount", "-o", f"remount,bind,{flags}", source], check=True)
    for parent in source.parents[:3]:
        parent.chmod(parent.stat().st_mode | 0o111)
    it = bundle(USER_CONFIG if user else {}).args("awk", '$2 == "/mnt" {print $4}', "/proc/self/mounts")
    it.config["mounts"].append(
        {"destination": "/mnt", "type": "bind", "source": str(source), "options": ["bind", *options.split(",")]}
    )
    it.save()
    done = runtime.run(it)
    if done.returncode:
        return done.stderr
    return set(done.stdout.strip().split(",")) & FLAGS


PRIVILEGED = [
    ("noatime", "rprivate", "rw noatime"),
    ("noatime", "atime", "rw noatime"),
    ("noatime", "norelatime", "rw noatime"),
    ("noatime", "relatime", "rw relatime"),
    ("noatime", "nodiratime", "rw nodiratime relatime"),
    ("noatime", "nodiratime,norelatime", "rw nodiratime relatime"),
    ("noatime", "nodiratime,strictatime", "rw nodiratime"),
    ("nodiratime", "strictatime", "rw"),
    ("nodiratime,strictatime,noexec", "dev", "rw nodiratime"),
    ("ro,noexec,nosymfollow,nodiratime,strictatime", "dev", "rw nodiratime"),
    ("nosuid,nodev,noexec,noatime", "dev,suid,exec,atime", "rw noatime"),
]
LOCKED = [
    ("ro,noexec,nosymfollow,nodiratime,strictatime", "dev", "ro noexec nodiratime"),
    ("nodev,nosymfollow", "rw", "rw nodev"),
    ("noatime,nodiratime", "norelatime", "rw noatime nodiratime"),
    ("nodev,nosuid,noatime", "ro,exec", "ro nodev nosuid noatime"),
    ("", "rprivate", "rw"),
]


@pytest.mark.parametrize(
    ("flags", "options", "want", "user"),
    [*((*case, False) for case in PRIVILEGED), *((*case, True) for case in LOCKED)],
)
def test_flags_of_a_bind_mount(
    runtime: Runtime, bundle: MakeBundle, source: Path, flags: str, options: str, want: str, user: bool
) -> None:
    """With the host's privileges, and in a user namespace, where what is locked stays."""
    assert result(runtime, bundle, source, flags, options, user) == set(want.split())


@pytest.mark.parametrize(
    ("flags", "options"),
    [
        ("ro", "rw"),
        ("nodiratime", "strictatime"),
        ("noatime", "strictatime"),
        ("nodiratime", "noatime"),
        ("nodev", "dev"),
    ],
)
def test_in_a_user_namespace_what_is_locked_cannot_be_asked_away(
    runtime: Runtime, bundle: MakeBundle, source: Path, flags: str, options: str
) -> None:
    error = result(runtime, bundle, source, flags, options, True)
    assert isinstance(error, str)
    assert "error during container init: error mounting" in error
    assert "operation not permitted" in error
