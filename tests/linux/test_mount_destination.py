"""Where a mount goes (config.md, "Mounts"): into the root file system, also where its place on the host names it."""

import pytest

from support import MakeBundle, Runtime

pytestmark = pytest.mark.usefixtures("needs_root")


def test_named_by_its_place_on_the_host(runtime: Runtime, bundle: MakeBundle) -> None:
    """A source inside of the container's root shows what was mounted there before."""
    it = bundle({})
    inside = it.rootfs / "data"
    inside.mkdir()
    source = it.path / "source"
    (source / "below").mkdir(parents=True)
    (source / "below/file").write_text("found")
    for origin, destination in (
        (source, "/data"),
        (inside, f"{it.rootfs}/copy"),
        (it.rootfs / "copy/below", f"{it.rootfs}//other/place"),
    ):
        it.config["mounts"].append(
            {"destination": destination, "type": "bind", "source": str(origin), "options": ["rbind", "rprivate"]}
        )
    it.args("cat", "/copy/below/file", "/other/place/file")
    assert runtime.run(it, check=True).stdout == "foundfound"


def test_a_destination_that_only_begins_alike(runtime: Runtime, bundle: MakeBundle) -> None:
    it = bundle({})
    destination = f"{it.rootfs}-not"
    it.config["mounts"].append({"destination": destination, "type": "tmpfs", "source": "tmpfs"})
    it.args("grep", "-c", f" {destination} ", "/proc/self/mounts")
    assert runtime.run(it, check=True).stdout == "1\n"


def test_the_root_itself_is_no_destination(runtime: Runtime, bundle: MakeBundle) -> None:
    it = bundle({})
    it.config["mounts"].append({"destination": f"{it.rootfs}/", "type": "tmpfs", "source": "tmpfs"})
    it.save()
    done = runtime.run(it)
    assert done.returncode != 0
    assert "cannot mount over the root file system" in done.stderr
