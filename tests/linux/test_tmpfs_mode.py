"""A tmpfs without `mode` takes over the mode of the directory that it covers, as runc and crun have it."""

import os

import pytest

from support import Bundle, Json, MakeBundle, Runtime

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def tmpfs(destination: str, *options: str) -> Json:
    return {"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": list(options)}


def with_mounts(it: Bundle, *mounts: Json) -> Bundle:
    it.config["mounts"] += mounts
    return it


@pytest.mark.parametrize("options", [(), ("size=64k",), ("ro",), ("nosuid", "noexec", "ro")], ids=" ".join)
@pytest.mark.parametrize("mode", [0o711, 0o1770, 0o4755])
def test_the_mode_of_what_is_covered(mode: int, options: tuple[str, ...], runtime: Runtime, bundle: MakeBundle) -> None:
    it = bundle().shell("stat -c %a /covered; touch /covered/file && echo written")
    with_mounts(it, tmpfs("/covered", *options))
    (it.rootfs / "covered").mkdir()
    (it.rootfs / "covered").chmod(mode)
    it.save()
    done = runtime.run(it)
    written = [] if "ro" in options else ["written"]
    assert done.stdout.split() == [f"{mode:o}", *written], done.stderr


def test_a_directory_that_was_made_for_it_has_none(runtime: Runtime, bundle: MakeBundle) -> None:
    it = bundle().shell("stat -c %a /missing /missing/too/deep")
    with_mounts(it, tmpfs("/missing"), tmpfs("/missing/too/deep"))
    it.save()
    done = runtime.run(it)
    assert done.stdout.split() == ["1777", "1777"], done.stderr


def test_no_question_for_each(runtime: Runtime, bundle: MakeBundle) -> None:
    """A thousand tmpfs mounts were a thousand turns of two processes: ten seconds on a busy machine."""
    it = bundle()
    counts = []
    for number in (1, 20):
        it.config["mounts"] = [tmpfs(f"/mnt/{index}") for index in range(number)]
        it.save()
        plan = runtime.call("plan", "--format", "json", str(it.path), check=True).stdout
        counts.append(plan.count('"reply"'))
    assert counts[0] == counts[1]
