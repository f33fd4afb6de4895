"""What pyrunc puts into /dev of its own accord."""

from pathlib import Path

import pytest

from support import IS_ROOT, MakeBundle, Runtime

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="needs root")

LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}


def test_links(runtime: Runtime, bundle: MakeBundle) -> None:
    """As runc and crun do: /dev/core only where the kernel has a /proc/kcore to link to."""
    script = "cd /dev; for f in *; do test -L $f && echo $f $(readlink $f); done; true"
    done = runtime.run(bundle().shell(script), check=True)
    wanted = {**LINKS, "core": "/proc/kcore"} if Path("/proc/kcore").exists() else LINKS
    assert dict(line.split() for line in done.stdout.splitlines()) == wanted


def test_link_that_the_image_has(runtime: Runtime, bundle: MakeBundle) -> None:
    """Without a /dev of its own, what the image has there stays as it is."""
    it = bundle()
    mounts = [mount for mount in it.config["mounts"] if not mount["destination"].startswith("/dev")]
    it.update({"mounts": mounts})
    (it.rootfs / "dev").mkdir(exist_ok=True)
    (it.rootfs / "dev/core").symlink_to("elsewhere")
    (it.rootfs / "dev/fd").symlink_to("elsewhere")
    done = runtime.run(it.shell("readlink /dev/core; readlink /dev/fd"), check=True)
    assert done.stdout.split() == ["elsewhere", "elsewhere"]
