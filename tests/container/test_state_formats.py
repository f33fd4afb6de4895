"""Containers outlive the program that made them: state.json of earlier formats, and of later ones."""

import json
from pathlib import Path
from typing import Any

import pytest

from pyrunc.errors import Error
from pyrunc.state import formats
from pyrunc.state.state import FORMAT, State
from pyrunc.state.store import Store
from support import MakeBundle, Runtime

WRITTEN = {
    1: {
        *("format", "ociVersion", "id", "pid", "pidStart", "status", "bundle", "rootfs", "created", "annotations"),
        *("owner", "privatePid", "poststop", "cgroup", "extra"),
    },
}
WRITTEN[2] = WRITTEN[1] | {"listener", "poststart"}
"""The members that each format has: whoever writes others raises FORMAT, adds a step, and a line here."""


def test_this_format_is_what_is_written(root_dir: Path) -> None:
    store = Store(str(root_dir))
    with store.create("a"):
        store.save(State("a", config={"ociVersion": "1.3.0"}))
    assert set(json.loads(Path(store.path("a", "state.json")).read_text())) == WRITTEN[FORMAT]
    assert set(formats.STEPS) == set(range(1, FORMAT))


def rewrite(runtime: Runtime, id: str, number: int, **members: object) -> None:
    """state.json as a pyrunc of that format wrote it."""
    file = runtime.root / id / "state.json"
    document: dict[str, Any] = {**json.loads(file.read_text()), **members, "format": number}
    file.write_text(json.dumps({name: document[name] for name in (*WRITTEN[min(number, FORMAT)], *members)}))


@pytest.mark.parametrize("number", range(1, FORMAT))
def test_life_of_a_container_that_an_earlier_pyrunc_created(
    number: int, runtime: Runtime, bundle: MakeBundle, tmp_path: Path, needs_root: None
) -> None:
    """Its poststart and poststop hooks run, too."""
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f'cat >/dev/null; echo "$0" >>{tmp_path}/hooks']}
    hooks = {kind: [{**hook, "args": [*hook["args"], kind]}] for kind in ("poststart", "poststop")}
    id = runtime.create(bundle({"process": {"args": ["/bin/sleep", "600"]}, "hooks": hooks}))
    for words in (("start", id), ("exec", id, "/bin/true"), ("kill", id, "KILL"), ("delete", "--force", id)):
        rewrite(runtime, id, number)
        assert runtime.state(id)["id"] == id
        runtime.call(*words, check=True)
    assert (tmp_path / "hooks").read_text().split() == ["poststart", "poststop"]


def test_a_later_pyrunc_may_say_more(runtime: Runtime, bundle: MakeBundle, needs_root: None) -> None:
    """Without raising the number it has said nothing that is needed."""
    id = runtime.create(bundle({"process": {"args": ["/bin/sleep", "600"]}}))
    rewrite(runtime, id, FORMAT, more={"a": 1})
    runtime.call("start", id, check=True)
    runtime.call("kill", id, "KILL", check=True)
    rewrite(runtime, id, FORMAT + 1)
    refused = runtime.call("state", id)
    assert refused.returncode == 1
    assert f"it has format {FORMAT + 1}, which a newer one wrote" in refused.stderr
    rewrite(runtime, id, FORMAT)


def test_what_has_no_way_is_refused(root_dir: Path) -> None:
    store = Store(str(root_dir))
    with store.create("a"):
        store.save(State("a", config={"ociVersion": "1.3.0"}))
    for number in (0, -1, True, "1", None):
        Path(store.path("a", "state.json")).write_text(json.dumps({"format": number}))
        with pytest.raises(Error, match="not one that this pyrunc can read"):
            store.load("a")
