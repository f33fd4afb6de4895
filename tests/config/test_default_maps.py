"""User namespaces without id maps: the caller's ids, as crun maps them; runc refuses them."""

import os
from pathlib import Path

import pytest

from pyrunc.config import defaultmaps
from pyrunc.config.defaultmaps import around, subordinate
from pyrunc.config.load import load_config
from support import DEFAULT_CONFIG, MakeBundle, Runtime, make_bundle, merge

USER = [*DEFAULT_CONFIG["linux"]["namespaces"], {"type": "user"}]


@pytest.mark.parametrize(
    ("inside", "more", "expected"),
    [
        (0, (0, 0), [(0, 7, 1)]),
        (5, (0, 0), [(5, 7, 1)]),
        (0, (100000, 10), [(0, 7, 1), (1, 100000, 10)]),
        (3, (100000, 10), [(0, 100000, 3), (3, 7, 1), (4, 100003, 7)]),
        (10, (100000, 10), [(0, 100000, 10), (10, 7, 1)]),
        (20, (100000, 10), [(0, 100000, 10), (20, 7, 1)]),
    ],
)
def test_the_callers_id_and_those_around_it(
    inside: int, more: tuple[int, int], expected: list[tuple[int, int, int]]
) -> None:
    maps = around(inside, 7, more)
    assert [(m["containerID"], m["hostID"], m["size"]) for m in maps] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", (0, 0)),
        ("# nothing\nother:1:2\n", (0, 0)),
        ("me:100000:65536\n", (100000, 65536)),
        ("1000:200:3\nme:1:1", (200, 3)),
        ("me:x:1\nme:5:6", (5, 6)),
        ("me:5\nme::6\n:1:2", (0, 0)),
    ],
)
def test_ids_that_a_user_was_given(text: str, expected: tuple[int, int]) -> None:
    assert subordinate(text, 1000, "me") == expected


def test_an_unknown_user_owns_no_line_without_a_name() -> None:
    assert subordinate(":1:2\n", 1000, "") == (0, 0)


def test_maps_are_made_only_where_there_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaultmaps, "read", lambda path: "")
    it = make_bundle(tmp_path, {"linux": {"namespaces": USER}})
    own = {"containerID": 0, "hostID": os.geteuid(), "size": 1}
    assert load_config(str(tmp_path))["linux"]["uidMappings"] == [own]
    given = [{"containerID": 0, "hostID": 5, "size": 6}]
    it.update({"linux": {"uidMappings": given}})
    linux = load_config(str(tmp_path))["linux"]
    assert (linux["uidMappings"], linux.get("gidMappings")) == (given, None)
    joined = merge(it.config, {"linux": {"uidMappings": None}})
    joined["linux"]["namespaces"][-1]["path"] = "/proc/self/ns/user"
    it.config = joined
    it.save()
    assert "uidMappings" not in load_config(str(tmp_path))["linux"]


@pytest.mark.usefixtures("needs_root")
def test_root_inside_is_the_caller(runtime: Runtime, bundle: MakeBundle) -> None:
    it = bundle({"linux": {"namespaces": USER}}).shell("id -u; head -n1 /proc/self/uid_map")
    done = runtime.run(it, check=True)
    assert done.stdout.split() == ["0", "0", "0", "1"]
