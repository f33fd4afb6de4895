"""intelRdt on a tree of files that looks like resctrl; and without one."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from pyrunc.errors import Error
from pyrunc.setup import resctrl as rdt
from pyrunc.state.state import State
from support import IS_ROOT, MakeBundle, Runtime

ID = "ctr1"
L3, MB = "L3:0=7f0;1=1f", "MB:0=20;1=70"


class Resctrl:
    """Directories made below `root` get the files that the kernel puts there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.fill(root)
        (root / "mon_groups").mkdir()
        (root / "info").mkdir()
        (root / "info/last_cmd_status").write_text("ok\n")

    @staticmethod
    def fill(path: Path) -> None:
        (path / "tasks").touch()
        if path.parent.name != "mon_groups":
            (path / "schemata").write_text("    MB:0=100;1=100\n    L3:0=7ff;1=7ff\n")

    def mkdir(self, path: str, mode: int = 0o777) -> None:
        os.mkdir(path, mode)
        self.fill(Path(path))
        if Path(path).parent.name != "mon_groups":
            os.mkdir(f"{path}/mon_groups")

    @staticmethod
    def rmdir(path: str) -> None:
        os.stat(path)
        shutil.rmtree(path)

    def read(self, name: str) -> str:
        return (self.root / name).read_text()

    def group(self, name: str, schemata: str = "") -> Path:
        """A group that somebody made before."""
        path = self.root / name
        self.mkdir(str(path))
        if schemata:
            (path / "schemata").write_text(schemata)
        return path


class Posix:
    """The module posix, but for what a tree of plain files does otherwise."""

    def __init__(self, resctrl: Resctrl) -> None:
        self.mkdir, self.rmdir = resctrl.mkdir, resctrl.rmdir

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)


@pytest.fixture
def resctrl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Resctrl:
    (tmp_path / "resctrl").mkdir()
    it = Resctrl(tmp_path / "resctrl")
    monkeypatch.setattr(rdt, "posix", Posix(it))
    return it


def create(resctrl: Resctrl, config: Any, pid: int = 77) -> State:
    """What create does; returns the state as delete will find it."""
    group = rdt.group_of(config, ID, str(resctrl.root))
    state = State(ID, extra={"intelRdt": group.to_state()})
    rdt.apply(group, config, pid)
    return state


def test_a_group_of_the_containers_own(resctrl: Resctrl) -> None:
    state = create(resctrl, {"l3CacheSchema": L3, "memBwSchema": MB})
    assert resctrl.read(f"{ID}/schemata") == f"{L3}\n{MB}\n"
    assert resctrl.read(f"{ID}/tasks") == "77"
    rdt.remove(state)
    assert not (resctrl.root / ID).exists()
    rdt.remove(state)  # as often as one likes


def test_without_limits_none_are_written(resctrl: Resctrl) -> None:
    create(resctrl, {})
    assert resctrl.read(f"{ID}/schemata").startswith("    MB:0=100")
    assert resctrl.read(f"{ID}/tasks") == "77"


def test_bandwidth_in_both_members(resctrl: Resctrl) -> None:
    """That of memBwSchema holds."""
    create(resctrl, {"l3CacheSchema": f"MB:0=10\n{L3}", "memBwSchema": MB})
    assert resctrl.read(f"{ID}/schemata") == f"{L3}\n{MB}\n"


def test_schemata_comes_last(resctrl: Resctrl, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    original = rdt._write

    def write(path: str, text: str, group: str) -> None:
        written.append((os.path.basename(path), text))
        original(path, text, group)

    monkeypatch.setattr(rdt, "_write", write)
    create(resctrl, {"l3CacheSchema": L3, "schemata": ["L2:0=f;1=f", MB]})
    assert written == [
        ("schemata", f"{L3}\n"),
        ("schemata", f"L2:0=f;1=f\n{MB}\n"),
        ("tasks", "77"),
    ]


def test_a_named_group_is_made(resctrl: Resctrl) -> None:
    state = create(resctrl, {"closID": "guaranteed", "schemata": [L3]})
    assert resctrl.read("guaranteed/schemata") == f"{L3}\n"
    assert not (resctrl.root / ID).exists()
    rdt.remove(state)
    # config-linux.md: if closID is set, the runtime MUST NOT remove the directory. Others may be in it by now.
    assert (resctrl.root / "guaranteed").exists()


def test_a_group_that_exists_stays(resctrl: Resctrl) -> None:
    text = "    L3:0=07f0;1=001f\n    MB:0= 20;1= 70\n"
    resctrl.group("guaranteed", text)
    state = create(resctrl, {"closID": "guaranteed", "l3CacheSchema": "L3:1=1F;0=7f0", "memBwSchema": MB})
    assert resctrl.read("guaranteed/schemata") == text
    assert resctrl.read("guaranteed/tasks") == "77"
    rdt.remove(state)
    assert (resctrl.root / "guaranteed").exists()


@pytest.mark.parametrize(
    "limits",
    [
        {"l3CacheSchema": "L3:0=7f0;1=3f"},
        {"memBwSchema": "MB:0=30"},
        {"schemata": ["L2:0=f"]},
        {"l3CacheSchema": L3, "schemata": ["MB:7=1"]},
    ],
)
def test_a_group_that_has_other_limits(resctrl: Resctrl, limits: Any) -> None:
    resctrl.group("guaranteed", f"{L3}\n{MB}\n")
    with pytest.raises(Error, match="the group exists and has other limits") as caught:
        create(resctrl, {"closID": "guaranteed", **limits})
    assert caught.value.pointer == "/linux/intelRdt"
    assert resctrl.read("guaranteed/tasks") == ""


def test_a_group_without_limits_has_to_exist(resctrl: Resctrl) -> None:
    with pytest.raises(Error, match="does not exist"):
        create(resctrl, {"closID": "guaranteed"})
    resctrl.group("guaranteed")
    create(resctrl, {"closID": "guaranteed"})
    assert resctrl.read("guaranteed/tasks") == "77"


def test_the_root_group(resctrl: Resctrl) -> None:
    state = create(resctrl, {"closID": "/", "enableMonitoring": True})
    assert resctrl.read("tasks") == "77"
    assert resctrl.read(f"mon_groups/{ID}/tasks") == "77"
    rdt.remove(state)
    assert not (resctrl.root / f"mon_groups/{ID}").exists()
    assert (resctrl.root / "schemata").exists()


def test_monitoring_in_a_shared_group(resctrl: Resctrl) -> None:
    """The monitoring group is the container's, whoever the group belongs to."""
    resctrl.group("shared", f"{L3}\n")
    state = create(resctrl, {"closID": "shared", "enableMonitoring": True})
    assert resctrl.read(f"shared/mon_groups/{ID}/tasks") == "77"
    rdt.join(state, 78)
    assert resctrl.read("shared/tasks") == resctrl.read(f"shared/mon_groups/{ID}/tasks") == "78"
    rdt.remove(state)
    assert (resctrl.root / "shared").exists()
    assert not list((resctrl.root / "shared/mon_groups").iterdir())


def test_the_kernels_own_words(resctrl: Resctrl) -> None:
    """What was wrong with a line stands in a file of its own."""
    (resctrl.root / "info/last_cmd_status").write_text("Mask out of range\n")
    path = resctrl.group("guaranteed")
    (path / "tasks").unlink()
    (path / "tasks").mkdir()
    with pytest.raises(Error, match=r"guaranteed/tasks .*\(Mask out of range\)"):
        create(resctrl, {"closID": "guaranteed"})


def test_other_limits(resctrl: Resctrl) -> None:
    """As update changes them; they are in the configuration then."""
    state = create(resctrl, {"l3CacheSchema": L3})
    state.config = {"linux": {"intelRdt": {"l3CacheSchema": L3}}}
    rdt.change(state, {"l3CacheSchema": "L3:0=f", "memBwSchema": MB})
    assert resctrl.read(f"{ID}/schemata") == f"L3:0=f\n{MB}\n"
    assert state.config["linux"]["intelRdt"] == {"l3CacheSchema": "L3:0=f", "memBwSchema": MB}
    (resctrl.root / "info/last_cmd_status").write_text("Invalid domain id\n")
    (resctrl.root / f"{ID}/schemata").unlink()
    (resctrl.root / f"{ID}/schemata").mkdir()
    with pytest.raises(Error, match=r"error updating the limits of Intel RDT.*Invalid domain id"):
        rdt.change(state, {"memBwSchema": "MB:9=1"})
    with pytest.raises(Error, match="it was created without Intel RDT"):
        rdt.change(State("other"), {"memBwSchema": MB})


@pytest.mark.skipif(not IS_ROOT, reason="needs root")
@pytest.mark.skipif(bool(rdt.mount_of()), reason="this machine has resctrl")
def test_without_resctrl(runtime: Runtime, bundle: MakeBundle) -> None:
    done = runtime.run(bundle({"linux": {"intelRdt": {"closID": "x"}}}))
    assert done.returncode == 1
    assert "intelRdt is specified in config, but Intel RDT is not enabled" in done.stderr
    assert not list(runtime.root.iterdir())
