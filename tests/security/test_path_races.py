"""Paths that change while a container is set up: another process exchanges a directory and a link all the time.

How long each race takes is bounded: a second or two, or PYRUNC_RACE_SECONDS.
"""

import os
import stat
from pathlib import Path

import pytest

from security.canary import Canary, rounds, swapping
from support import IS_ROOT, Bundle, Json, MakeBundle, Runtime

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="needs root")

SECONDS, MOST = 0.8, 60


@pytest.fixture
def canary(tmp_path: Path) -> Canary:
    return Canary(tmp_path / "canary")


@pytest.fixture
def volume(tmp_path: Path, canary: Canary) -> Path:
    """A directory that containers share. An attacker in one of them exchanges its `a` and `b`: a directory, and a
    link to the canary."""
    path = tmp_path / "volume"
    (path / "a").mkdir(parents=True)
    (path / "b").symlink_to(canary.path)
    return path


def _with(bundle: MakeBundle, volume: Path, *mounts: Json) -> Bundle:
    shared = {"destination": "/vol", "type": "bind", "source": str(volume), "options": ["rbind"]}
    return bundle({"mounts": [*bundle().config["mounts"], shared, *mounts]})


def _race(runtime: Runtime, it: Bundle, volume: Path, canary: Canary) -> list[str]:
    """What the failed runs said; not all fail. Checks the canary after each."""
    said = []
    well = 0
    with swapping(volume / "a", volume / "b"):
        for _ in rounds(SECONDS, MOST):
            done = runtime.run(it)
            if done.stderr:
                said.append(done.stderr)
            well += not done.stderr
            assert "LEAKED" not in done.stdout
            canary.check()
    assert well, said
    return said


@pytest.mark.contains(
    "CVE-2024-45310: directories made through a link",
    "each component is opened, or made in its parent's descriptor",
)
def test_mount_points_that_are_made(runtime: Runtime, bundle: MakeBundle, volume: Path, canary: Canary) -> None:
    """CVE-2024-45310: no directory and no file is made outside."""
    file = volume.parent / "source"
    file.write_text("mine")
    it = _with(
        bundle,
        volume,
        {"destination": "/vol/a/one/two/three", "type": "tmpfs", "source": "tmpfs"},
        {"destination": "/vol/a/file", "type": "bind", "source": str(file), "options": ["bind"]},
        {"destination": "/vol/a/down/file", "type": "bind", "source": str(file), "options": ["bind"]},
    )
    said = _race(runtime, it, volume, canary)
    # The kernel tells that a path changed while it was walked (EAGAIN); that is tried again.
    assert not [text for text in said if "temporarily unavailable" in text]


@pytest.mark.contains("CVE-2021-30465: mount target exchanged", "2 and 3 above")
def test_nested_mounts(runtime: Runtime, bundle: MakeBundle, volume: Path, canary: Canary) -> None:
    """CVE-2021-30465: a mount meant for the volume never covers, or shows, anything of the host."""
    inner = volume.parent / "inner-source"
    inner.mkdir()
    (inner / "mark").write_text("mine")
    it = _with(
        bundle,
        volume,
        {"destination": "/vol/a", "type": "bind", "source": str(inner), "options": ["rbind"]},
        {"destination": "/vol/a/below", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]},
    ).shell("for f in /vol/*/inner /vol/*/*/inner /vol/*/ptmx /vol/*/*/ptmx; do test -e $f && echo LEAKED; done")
    _race(runtime, it, volume, canary)


@pytest.mark.contains("CVE-2021-30465: mount target exchanged")
def test_link_to_the_hosts_root(runtime: Runtime, bundle: MakeBundle, volume: Path, canary: Canary) -> None:
    """The same with a link to "/": what is mounted there would hide the host, or bring its root in."""
    (volume / "b").unlink()
    (volume / "b").symlink_to("/")
    it = _with(
        bundle,
        volume,
        {"destination": "/vol/a", "type": "bind", "source": str(volume), "options": ["rbind"]},
        {"destination": "/vol/a/a", "type": "tmpfs", "source": "tmpfs"},
    ).shell(f"test -e {canary.path}/ptmx && echo LEAKED")
    _race(runtime, it, volume, canary)


@pytest.mark.contains("CVE-2026-41579, CVE-2026-47766: `/dev` is a link")
def test_devices(runtime: Runtime, bundle: MakeBundle, volume: Path, canary: Canary) -> None:
    """CVE-2026-47766, and the owner and mode of a node that was exchanged right after mknod(2)."""
    nodes = [
        {"path": f"/vol/a/{name}", "type": kind, "major": 1, "minor": 3, "fileMode": 0o641, "uid": 3}
        for name, kind in (("file", "c"), ("fifo", "p"), ("new/null", "c"))
    ]
    it = _with(bundle, volume).update({"linux": {"devices": nodes}})
    _race(runtime, it, volume, canary)


@pytest.mark.contains("CVE-2025-31133, CVE-2025-62161: `/dev/null` is not one")
def test_masks(runtime: Runtime, bundle: MakeBundle, volume: Path, canary: Canary) -> None:
    """CVE-2023-27561, CVE-2025-31133: masks and read-only paths in the volume cover nothing of the host."""
    it = _with(bundle, volume).update(
        {
            "linux": {
                "maskedPaths": ["/vol/a/file", "/vol/a", "/vol/a/directory"],
                "readonlyPaths": ["/vol/a/directory", "/vol/b", "/vol/a"],
            }
        }
    )
    # Where the link leads inside the root: masks of a dangling link are refused.
    (it.rootfs / str(canary.path)[1:]).mkdir(parents=True)
    _race(runtime, it, volume, canary)


def test_working_directory(runtime: Runtime, bundle: MakeBundle, volume: Path, canary: Canary) -> None:
    """process.cwd, for the container and for exec: never outside, and nothing is made there."""
    it = _with(bundle, volume).update({"process": {"cwd": "/vol/a/made"}})
    it.shell("pwd; test -e ptmx && echo LEAKED; test -e ../ptmx && echo LEAKED")
    _race(runtime, it, volume, canary)


@pytest.mark.contains("CVE-2025-31133, CVE-2025-62161: `/dev/null` is not one")
def test_null_is_exchanged(runtime: Runtime, bundle: MakeBundle, tmp_path: Path, canary: Canary) -> None:
    """CVE-2025-31133 as a race: /dev/null and a link to a file of the kernel change places while paths are masked."""
    dev = tmp_path / "dev"
    dev.mkdir()
    for name in ("null", "zero"):
        os.mknod(dev / name, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    (dev / "other").symlink_to("/proc/sys/kernel/core_pattern")
    keep = [mount for mount in bundle().config["mounts"] if not mount["destination"].startswith("/dev")]
    bound = {"destination": "/dev", "type": "bind", "source": str(dev), "options": ["rbind"]}
    it = bundle({"mounts": [*keep, bound], "linux": {"maskedPaths": ["/secret"]}}).shell(
        "cat /secret; true 2>/dev/null >>/proc/sys/kernel/core_pattern && echo LEAKED; "
        "grep -q ' /secret ' /proc/mounts || echo LEAKED"
    )
    (it.rootfs / "secret").write_text("LEAKED")
    with swapping(dev / "null", dev / "other"):
        for _ in rounds(SECONDS, MOST):
            assert "LEAKED" not in runtime.run(it).stdout


@pytest.mark.contains("CVE-2025-52881, CVE-2025-62596: labels and sysctls written elsewhere")
def test_sysctls_are_not_written_to_the_container(
    runtime: Runtime, bundle: MakeBundle, volume: Path, canary: Canary
) -> None:
    """CVE-2025-52881: sysctls go to a procfs of pyrunc's own, whatever becomes of the container's /proc."""
    net = volume / "a/sys/net/ipv4"
    net.mkdir(parents=True)
    (net / "ip_default_ttl").write_text("64")
    (canary.path / "sys").symlink_to(net.parent.parent)
    canary.before = canary.picture()
    covered = {"destination": "/proc/../vol/../proc", "type": "tmpfs", "source": "tmpfs"}
    it = _with(bundle, volume).update({"linux": {"sysctl": {"net.ipv4.ip_default_ttl": "77"}}})
    it.shell("cat /proc/sys/net/ipv4/ip_default_ttl")
    with swapping(volume / "a", volume / "b"):
        for _ in rounds(0.5, 10):
            assert runtime.run(it, check=True).stdout == "77\n"
            canary.check()
    it.config["mounts"].append(covered)
    it.save()
    runtime.run(it)
    fakes = [path for path in volume.iterdir() if not path.is_symlink()]
    assert [(path / "sys/net/ipv4/ip_default_ttl").read_text() for path in fakes] == ["64"]
    canary.check()
