"""Options longer than the 255 bytes that fsconfig(2) takes: an overlay of directories with long names, as rootless
podman's image mounts are."""

from pathlib import Path

import pytest

from support import Bundle, Json, MakeBundle, Runtime

pytestmark = pytest.mark.usefixtures("needs_root")


def layers(where: Path, count: int, length: int = 60) -> list[Path]:
    made = []
    for number in range(count):
        layer = where / f"{number}{'x' * length}"
        layer.mkdir()
        (layer / f"file{number}").write_text(f"of layer {number}\n")
        made.append(layer)
    return made


def overlay(where: Path, count: int, *options: str) -> Json:
    lower = "lowerdir=" + ":".join(str(layer) for layer in layers(where, count))
    return {"destination": "/deep/v", "type": "overlay", "source": "overlay", "options": [lower, *options]}


def add(bundle: Bundle, *mounts: Json) -> Bundle:
    bundle.config["mounts"] += mounts
    bundle.save()
    return bundle


@pytest.mark.parametrize("count", [2, 6])
@pytest.mark.parametrize("options", [("private",), ("ro", "nosuid", "noexec"), ("noatime", "rslave")])
def test_an_overlay(runtime: Runtime, bundle: MakeBundle, tmp_path: Path, count: int, options: tuple[str, ...]) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    it = add(bundle(), overlay(tmp_path, count, *options))
    it.shell("cd /deep/v; ls; cat *; grep ' /deep/v ' /proc/self/mountinfo")
    done = runtime.run(it, check=True)
    lines = done.stdout.splitlines()
    assert lines[:count] == [f"file{n}" for n in range(count)]
    assert lines[count:-1] == [f"of layer {n}" for n in range(count)]
    fields = lines[-1].split()
    wanted = {*options, "rw" if "ro" not in options else "ro"} - {"private", "rslave"}
    if "noatime" not in options:
        wanted.add("relatime")
    assert set(fields[5].split(",")) == wanted
    assert fields[fields.index("-") + 1] == "overlay"
    assert Path("/proc/self/mountinfo").read_text() == before


def test_upper_directory_and_an_empty_mount_point_with_a_mount_on_it(
    runtime: Runtime, bundle: MakeBundle, tmp_path: Path
) -> None:
    upper, work = tmp_path / "upper", tmp_path / "work"
    upper.mkdir()
    work.mkdir()
    mount = overlay(tmp_path, 5, f"upperdir={upper}", f"workdir={work}")
    below = {"destination": "/deep/v", "type": "tmpfs", "source": "tmpfs"}
    it = add(bundle(), below, mount)
    it.shell("echo new >/deep/v/new; cat /deep/v/file4; grep -c ' /deep/v ' /proc/self/mountinfo")
    assert runtime.run(it, check=True).stdout == "of layer 4\n2\n"
    assert (upper / "new").read_text() == "new\n"


def test_more_than_a_page_is_refused(runtime: Runtime, bundle: MakeBundle, tmp_path: Path) -> None:
    mount = overlay(tmp_path, 2, "x" * 4095)
    it = add(bundle(), mount).args("true")
    done = runtime.run(it)
    assert done.returncode != 0
    assert "the kernel takes 4095 (mounts/" in done.stderr


@pytest.mark.parametrize("long", [False, True])
def test_commas_that_are_escaped(runtime: Runtime, bundle: MakeBundle, tmp_path: Path, long: bool) -> None:
    """overlayfs.rst: a backslash before a comma in a path; the option is the same whichever call takes it."""
    lower, upper, work = tmp_path / ("a,b" + "x" * 250 * long), tmp_path / "u,p", tmp_path / "w"
    for path in (lower, upper, work):
        path.mkdir()
    (lower / "file").write_text("below\n")
    paths = [str(path).replace(",", "\\,") for path in (lower, upper, work)]
    options = [f"{name}={path}" for name, path in zip(("lowerdir", "upperdir", "workdir"), paths, strict=True)]
    for given in (options, [",".join(options)]):
        it = bundle().shell("cat /deep/v/file; echo new >/deep/v/new")
        add(it, {"destination": "/deep/v", "type": "overlay", "source": "overlay", "options": given})
        assert runtime.run(it, check=True).stdout == "below\n"
        assert (upper / "new").read_text() == "new\n"
        (upper / "new").unlink()


@pytest.mark.parametrize("length", [10, 300])
def test_a_tmpfs_with_a_long_option_has_the_mode_of_what_it_covers(
    runtime: Runtime, bundle: MakeBundle, length: int
) -> None:
    it = bundle().shell("stat -c %a /covered; df -k /covered | tail -n 1 | awk '{print $2}'")
    (it.rootfs / "covered").mkdir()
    (it.rootfs / "covered").chmod(0o1713)
    size = "size=" + "0" * length + "1m"
    add(it, {"destination": "/covered", "type": "tmpfs", "source": "tmpfs", "options": [size]})
    assert runtime.run(it, check=True).stdout.split() == ["1713", "1024"]
