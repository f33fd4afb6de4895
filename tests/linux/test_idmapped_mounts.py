"""Id-mapped mounts, and sources that only the host's root can reach."""

import os
import subprocess
from pathlib import Path

import pytest

from pyrunc.cgroups.v1 import hierarchies
from support import IS_ROOT, Bundle, Json, MakeBundle, Runtime

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="needs root")

MAPS = [{"containerID": 0, "hostID": 100000, "size": 65536}]


def maps(container: int, host: int, size: int = 65536) -> Json:
    """The members of a mount, or of `linux`, that map uids and gids alike."""
    entries = [{"containerID": container, "hostID": host, "size": size}]
    return {"uidMappings": entries, "gidMappings": entries}


def mount(source: Path, destination: str, *options: str, **members: object) -> Json:
    return {
        "source": str(source),
        "destination": destination,
        "options": ["bind", *options],
        **members,
    }


def add(bundle: Bundle, *mounts: Json, userns: bool = False) -> Bundle:
    """Add mounts; the container's root may not make mount points where it is not the host's."""
    bundle.config["mounts"] += mounts
    for entry in mounts:
        target = bundle.rootfs / entry["destination"][1:]
        if Path(entry["source"]).is_file():
            target.touch()
        else:
            target.mkdir()
    if userns:
        bundle.config["linux"]["namespaces"].append({"type": "user"})
        bundle.config["linux"].update(uidMappings=MAPS, gidMappings=MAPS)
    bundle.save()
    return bundle


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A directory with files of root and of 1:2."""
    path = tmp_path / "source"
    path.mkdir()
    (path / "root").touch()
    (path / "other").touch()
    os.chown(path / "other", 1, 2)
    return path


def owners(runtime: Runtime, bundle: Bundle, *paths: str) -> list[str]:
    words = " ".join(paths)
    return runtime.run(bundle.shell(f"stat -c %u:%g {words}"), check=True).stdout.split()


@pytest.mark.parametrize("option", [[], ["idmap"], ["ridmap"]])
def test_maps_of_the_mount(runtime: Runtime, bundle: MakeBundle, source: Path, option: list[str]) -> None:
    """Without a user namespace: what is N on disk is N + 1000. The maps alone ask for it too."""
    it = add(bundle(), mount(source, "/data", *option, **maps(0, 1000)))
    assert owners(runtime, it, "/data/root", "/data/other") == ["1000:1000", "1001:1002"]


def test_in_a_user_namespace(runtime: Runtime, bundle: MakeBundle, source: Path) -> None:
    """Mapped to where the container's ids are, they look as they are on disk."""
    it = add(bundle(), mount(source, "/data", "idmap", **maps(0, 100000)), userns=True)
    assert owners(runtime, it, "/data/root", "/data/other") == ["0:0", "1:2"]
    it.update({"process": {"user": {"uid": 7, "gid": 8}}})
    source.chmod(0o777)
    runtime.run(it.shell("touch /data/new"), check=True)
    made = (source / "new").stat()
    assert (made.st_uid, made.st_gid) == (7, 8)


def test_the_maps_of_the_container(runtime: Runtime, bundle: MakeBundle, source: Path) -> None:
    """Without maps of its own a mount has the container's."""
    it = add(bundle(), mount(source, "/data", "idmap"), mount(source, "/plain"), userns=True)
    seen = owners(runtime, it, "/data/root", "/data/other", "/plain/root")
    assert seen == ["0:0", "1:2", "65534:65534"]


def test_the_maps_of_a_joined_user_namespace(runtime: Runtime, bundle: MakeBundle, source: Path) -> None:
    """The configuration need not repeat them."""
    words = ["unshare", "--user", "sleep", "60"]
    holder = subprocess.Popen(words)
    try:
        here = os.readlink("/proc/self/ns/user")
        while os.readlink(f"/proc/{holder.pid}/ns/user") == here:
            pass
        for name in ("uid", "gid"):
            Path(f"/proc/{holder.pid}/{name}_map").write_text("0 200000 1000\n")
        it = add(bundle(), mount(source, "/data", "idmap"))
        path = f"/proc/{holder.pid}/ns/user"
        it.config["linux"]["namespaces"].append({"type": "user", "path": path})
        it.save()
        assert owners(runtime, it, "/data/root", "/data/other") == ["0:0", "1:2"]
    finally:
        holder.kill()
        holder.wait()


def test_one_source_with_different_maps(runtime: Runtime, bundle: MakeBundle, source: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(source)
    it = add(
        bundle(),
        mount(source, "/a", "idmap", **maps(0, 1000)),
        mount(source, "/b", "idmap", **maps(0, 2000)),
        mount(link, "/c", "idmap", **maps(0, 3000)),
        mount(source, "/d"),
    )
    seen = owners(runtime, it, *(f"/{name}/other" for name in "abcd"))
    assert seen == ["1001:1002", "2001:2002", "3001:3002", "1:2"]


@pytest.mark.parametrize("userns", [False, True])
def test_many_with_few_descriptors(runtime: Runtime, bundle: MakeBundle, source: Path, userns: bool) -> None:
    """Each is closed before the next is made."""
    few = 20 + len(hierarchies.mounted())  # the container's group in each is open
    it = bundle({"process": {"rlimits": [{"type": "RLIMIT_NOFILE", "soft": few, "hard": few}]}})
    add(
        it,
        *(mount(source, f"/m{number}", "idmap", **maps(0, 100000 + number % 2, 1000)) for number in range(20)),
        userns=userns,
    )
    limited = Runtime("sh", runtime.root)
    limited.ids = runtime.ids
    limited.command = lambda *args: [  # type: ignore[method-assign]
        "sh", "-c", f'ulimit -n {few}; exec "$@"', "-", *runtime.command(*args)
    ]  # fmt: skip
    seen = owners(limited, it, "/m18/root", "/m19/root")
    assert seen == (["0:0", "1:1"] if userns else ["100000:100000", "100001:100001"])


def test_only_the_top_or_all_below(runtime: Runtime, bundle: MakeBundle, source: Path) -> None:
    """idmap is about one mount, ridmap about those below it as well."""
    below = source / "below"
    below.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", below], check=True)
    try:
        (below / "file").touch()
        it = add(
            bundle(),
            mount(source, "/one", "rbind", "idmap", **maps(0, 1000)),
            mount(source, "/all", "rbind", "ridmap", **maps(0, 1000)),
        )
        seen = owners(runtime, it, "/one/root", "/one/below/file", "/all/below/file")
        assert seen == ["1000:1000", "0:0", "1000:1000"]
    finally:
        subprocess.run(["umount", below], check=True)


@pytest.mark.parametrize("userns", [False, True])
def test_a_new_file_system(runtime: Runtime, bundle: MakeBundle, userns: bool) -> None:
    """Not only bind mounts: what a process of the container writes is stored with other ids."""
    host = 100005 if userns else 5
    tmpfs = {
        "source": "tmpfs",
        "destination": "/data",
        "type": "tmpfs",
        "options": ["mode=777", "idmap"],
        **maps(0, host, 1000),
    }
    it = add(bundle(), tmpfs, userns=userns)
    assert owners(runtime, it, "/data") == ["5:5"]


def test_a_new_file_system_of_the_container(runtime: Runtime, bundle: MakeBundle) -> None:
    """Its ids are the container's already; the kernel would refuse to map them onto themselves."""
    tmpfs = {
        "source": "tmpfs",
        "destination": "/data",
        "type": "tmpfs",
        "options": ["idmap"],
    }
    assert owners(runtime, add(bundle(), tmpfs, userns=True), "/data") == ["0:0"]


def test_propagation_of_a_mapped_mount(runtime: Runtime, bundle: MakeBundle, source: Path) -> None:
    it = add(bundle(), mount(source, "/data", "idmap", "ro", "shared", **maps(0, 1000)))
    line = runtime.run(it.shell("grep ' /data ' /proc/self/mountinfo"), check=True).stdout
    assert "shared:" in line
    assert "idmapped" in line
    assert " ro," in line


def refusal(runtime: Runtime, bundle: Bundle) -> str:
    done = runtime.run(bundle)
    assert done.returncode == 1
    assert not runtime.root.exists() or not list(runtime.root.iterdir())
    return done.stderr


def test_a_file_system_that_has_no_maps(runtime: Runtime, bundle: MakeBundle) -> None:
    it = bundle()
    it.config["mounts"][0].update(maps(0, 1000))
    it.save()
    error = refusal(runtime, it)
    assert "(mounts/0): mount_setattr" in error
    assert "may not support id-mapped mounts" in error


def test_more_maps_than_the_kernel_takes(runtime: Runtime, bundle: MakeBundle, source: Path) -> None:
    it = add(bundle(), mount(source, "/data", **maps(0, 1000)))
    it.config["mounts"][-1]["gidMappings"] = [
        {"containerID": number, "hostID": number, "size": 1} for number in range(340)
    ] + [{"containerID": 1000, "hostID": 1000, "size": 1}]
    it.save()
    assert "gidMappings" in refusal(runtime, it)


def test_one_kind_of_maps_only(runtime: Runtime, bundle: MakeBundle, source: Path) -> None:
    it = add(bundle(), mount(source, "/data", uidMappings=MAPS))
    assert "uidMappings and gidMappings go together" in refusal(runtime, it)


def test_the_option_without_any_maps(runtime: Runtime, bundle: MakeBundle, source: Path) -> None:
    it = add(bundle(), mount(source, "/data", "idmap"))
    assert "an id-mapped mount needs uidMappings and gidMappings" in refusal(runtime, it)


# -- sources below directories that the container's root may not enter -----------------------------


@pytest.fixture
def hidden(source: Path) -> Path:
    """The source below a directory of which only its owner may do anything."""
    closed = source.parent / "closed"
    closed.mkdir(mode=0o700)
    path = closed / "source"
    source.rename(path)
    path.chmod(0o755)
    return path


def test_a_source_behind_a_closed_door(runtime: Runtime, bundle: MakeBundle, hidden: Path) -> None:
    it = add(
        bundle(),
        mount(hidden, "/data"),
        mount(hidden / "other", "/file"),
        mount(hidden, "/mapped", "idmap"),
        userns=True,
    )
    assert owners(runtime, it, "/data/root", "/mapped/root") == ["65534:65534", "0:0"]
    assert runtime.run(it.shell("test -f /file"), check=True).stdout == ""


def test_a_root_behind_a_closed_door(runtime: Runtime, bundle: MakeBundle, tmp_path: Path, hidden: Path) -> None:
    it = add(bundle(), mount(hidden, "/data", "idmap"), userns=True)
    moved = hidden.parent / "bundle"
    it.path.rename(moved)
    done = runtime.call("run", "--bundle", str(moved), runtime.new_id())
    assert (done.returncode, done.stderr) == (0, "")


def test_what_is_locked_stays_locked(runtime: Runtime, bundle: MakeBundle, hidden: Path) -> None:
    """The container's root may not take away what the host has mounted read-only."""
    subprocess.run(["mount", "--bind", hidden, hidden], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro,nodev", hidden], check=True)
        capabilities = {kind: ["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"] for kind in ("bounding", "effective", "permitted")}
        it = add(
            bundle({"process": {"capabilities": capabilities}}),
            mount(hidden, "/data"),
            mount(hidden, "/mapped", "idmap"),
            userns=True,
        )
        for path in ("/data", "/mapped"):
            done = runtime.run(it.shell(f"mount -o remount,bind,rw {path} || touch {path}/x"))
            assert done.returncode
            assert "Permission denied" in done.stderr or "permission denied" in done.stderr
            assert "Read-only file system" in done.stderr
    finally:
        subprocess.run(["umount", hidden], check=True)


def test_a_source_that_nobody_has(runtime: Runtime, bundle: MakeBundle, hidden: Path) -> None:
    it = add(bundle(), mount(hidden / "missing", "/data"), userns=True)
    error = refusal(runtime, it)
    assert "no such file or directory" in error
    assert "permission denied" not in error
