"""Mount options that crun has: copy-symlink, src-nofollow, dest-nofollow, idmap=... (crun(1))."""

import os
from pathlib import Path
from typing import Any

import pytest

from pyrunc.config.idmapoption import expand
from pyrunc.errors import ConfigError
from support import DEFAULT_CONFIG, MakeBundle, Runtime

OWN = {"containerID": 0, "hostID": os.geteuid(), "size": 1}
USERNS = {
    "namespaces": [*DEFAULT_CONFIG["linux"]["namespaces"], {"type": "user"}],
    "uidMappings": [OWN],
    "gidMappings": [{**OWN, "hostID": os.getegid()}],
}


def bind(destination: str, source: Path | str, *options: str) -> dict[str, Any]:
    return {"destination": destination, "source": str(source), "options": ["rbind", *options]}


def mounts(*more: dict[str, Any]) -> dict[str, Any]:
    return {"mounts": [*DEFAULT_CONFIG["mounts"], *more]}


@pytest.fixture(params=["host's ids", "user namespace"])
def linux(request: pytest.FixtureRequest) -> dict[str, Any]:
    return USERNS if request.param == "user namespace" else {}


@pytest.mark.usefixtures("needs_root")
@pytest.mark.parametrize("destination", ["/link", "/not/there/yet", "/etc/new"])
def test_copy_symlink(
    destination: str, linux: dict[str, Any], runtime: Runtime, bundle: MakeBundle, tmp_path: Path
) -> None:
    link = tmp_path / "source"
    link.symlink_to("nowhere/at/all")
    it = bundle({"linux": linux, **mounts(bind(destination, link, "copy-symlink"))})
    it.args("/bin/readlink", destination)
    for _ in range(2):  # the second time it is there already
        assert runtime.run(it, check=True).stdout == "nowhere/at/all\n"
    assert os.readlink(it.rootfs / destination.lstrip("/")) == "nowhere/at/all"


@pytest.mark.usefixtures("needs_root")
def test_copy_symlink_of_what_is_none(runtime: Runtime, bundle: MakeBundle, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("content\n")
    it = bundle(mounts(bind("/here", file, "copy-symlink"))).args("/bin/cat", "/here")
    assert runtime.run(it, check=True).stdout == "content\n"


@pytest.mark.usefixtures("needs_root")
def test_copy_symlink_stays_inside_the_root(runtime: Runtime, bundle: MakeBundle, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    link = tmp_path / "source"
    link.symlink_to("text")
    it = bundle(mounts(bind("/escape/made", link, "copy-symlink")))
    (it.rootfs / "escape").symlink_to(outside)
    runtime.run(it)
    assert os.listdir(outside) == []


@pytest.mark.usefixtures("needs_root")
def test_links_as_mount_points_and_as_sources(
    linux: dict[str, Any], runtime: Runtime, bundle: MakeBundle, tmp_path: Path
) -> None:
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_text("content\n")
    link.symlink_to(file)
    it = bundle({"linux": linux})
    for name in ("both", "mine"):
        (it.rootfs / name).symlink_to("point-to-nowhere")
    it.update(
        mounts(
            bind("/both", link, "dest-nofollow", "src-nofollow"),
            bind("/mine", link, "dest-nofollow"),
            bind("/new", link, "src-nofollow"),
            bind("/deep/new", link, "src-nofollow", "dest-nofollow"),
        )
    )
    it.shell("readlink /both; cat /mine; readlink /new; readlink /deep/new")
    expected = [str(file), "content", str(file), str(file)]
    assert runtime.run(it, check=True).stdout.splitlines() == expected
    # Nothing was made where the link in the root leads to.
    assert not (it.rootfs / "point-to-nowhere").exists()


@pytest.mark.usefixtures("needs_root")
def test_a_link_in_proc_is_no_mount_point(runtime: Runtime, bundle: MakeBundle, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("text")
    done = runtime.run(bundle(mounts(bind("/proc/self", link, "dest-nofollow", "src-nofollow"))))
    assert done.returncode
    assert "it is inside /proc" in done.stderr


# -- idmap=... --------------------------------------------------------------------------------


def expanded(option: str) -> tuple[list[str], Any, Any]:
    mount: dict[str, Any] = {"destination": "/x", "options": ["bind", option]}
    space = [
        {"containerID": 0, "hostID": 0, "size": 1},
        {"containerID": 1, "hostID": 2, "size": 1000},
    ]
    config: Any = {"mounts": [mount], "linux": {"uidMappings": space, "gidMappings": space}}
    expand(config)
    numbers = [
        [(m["containerID"], m["hostID"], m["size"]) for m in mount.get(kind, ())]
        for kind in ("uidMappings", "gidMappings")
    ]
    return mount["options"], *numbers


def test_ranges_become_maps() -> None:
    assert expanded("idmap=uids=0-1-10#10-11-10;gids=0-100-10") == (
        ["bind", "idmap"],
        [(0, 1, 10), (10, 11, 10)],
        [(0, 100, 10)],
    )
    assert expanded("ridmap=uids=5-6-7")[0] == ["bind", "ridmap"]


def test_relative_to_the_user_namespace() -> None:
    assert expanded("idmap=uids=@1-3-10;gids=@0-0-1#1-1-1")[1:] == (
        [(1, 4, 10)],
        [(0, 0, 1), (1, 1, 1)],
    )


@pytest.mark.parametrize(
    "option",
    [
        "idmap=",
        "idmap=uids",
        "idmap=uids=1-2",
        "idmap=uids=1-2-x",
        "idmap=uids=1-2--3",
        "idmap=uids=1-2-0",
        "idmap=uids=4294967295-0-1",
        "idmap=users=0-0-1",
        "idmap=uids=@0-5000-1",
    ],
)
def test_what_is_no_range(option: str) -> None:
    with pytest.raises(ConfigError) as caught:
        expanded(option)
    assert caught.value.pointer == "/mounts/0/options/1"
    assert str(caught.value).startswith(f'"{option}": ')


@pytest.mark.usefixtures("needs_root")
def test_files_have_the_owner_that_the_option_says(runtime: Runtime, bundle: MakeBundle, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    it = bundle(mounts(bind("/data", tmp_path, "ro", "idmap=uids=0-1000-5;gids=0-50-5")))
    it.args("/bin/stat", "-c", "%u %g", "/data/file")
    assert runtime.run(it, check=True).stdout == "1000 50\n"
