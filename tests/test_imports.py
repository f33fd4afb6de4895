"""The import budget of the hot commands (docs/design.md, "The import budget").

Each command runs in an interpreter as the launcher starts it, and reports what it has imported.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from support import ROOT, make_bundle, unique_id

# Where pyrunc is installed python-prctl lies beside it.
PRCTL = find_spec("_prctl")
BESIDE = str(Path(PRCTL.origin).parent) if PRCTL and PRCTL.origin else ""

PROGRAM = f"""
import sys
sys.path[:0] = [{str(ROOT)!r}, {BESIDE!r}]
from pyrunc.cli import main
status = main(sys.argv[2:])
with open(sys.argv[1], "w") as file:
    print(*sorted(sys.modules), sep="\\n", file=file)
sys.exit(status)
"""

#: Modules written in C that any hot command may use. The interpreter has most of them built in.
ALLOWED = {
    *("_json", "_signal", "_socket", "_struct", "errno", "fcntl", "posix", "select"),
    *("sys", "time", "math", "_prctl"),
}

#: What every command needs of pyrunc itself, and what the light ones add to that.
CORE = {
    *("pyrunc", "pyrunc.arguments", "pyrunc.cli", "pyrunc.commands", "pyrunc.errors"),
    *("pyrunc.options", "pyrunc.log"),
}
STATE = CORE | {
    *("pyrunc.config", "pyrunc.config.strict", "pyrunc.state"),
    *("pyrunc.state.directory", "pyrunc.state.ids", "pyrunc.state.state", "pyrunc.state.store"),
}
SIGNALS = STATE | {"pyrunc.state.processes", "pyrunc.kernel", "pyrunc.kernel.signals", "pyrunc.container"}
OWN = {
    "state": STATE | {"pyrunc.commands.state"},
    "kill": SIGNALS | {"pyrunc.commands.kill", "pyrunc.container.kill"},
    "delete": SIGNALS | {"pyrunc.commands.delete", "pyrunc.container.delete"},
}


@pytest.fixture(scope="module")
def at_start() -> set[str]:
    """What `python3 -I -S` has loaded before it does anything."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", "import sys; print(*sys.modules)"],
        check=True,
        text=True,
        capture_output=True,
    )
    return set(done.stdout.split())


class Calls:
    """Calls of pyrunc that tell what they imported."""

    def __init__(self, directory: Path, at_start: set[str]) -> None:
        self.directory = directory
        self.root = str(directory / "root")
        self.at_start = at_start

    def __call__(self, *words: str, status: int = 0, root: str = "") -> set[str]:
        """The modules that the command with these words imports; it has to end with `status`."""
        listing = self.directory / "modules"
        with open(self.directory / "output", "w+") as output:
            launch = [sys.executable, "-I", "-S", "-c", PROGRAM, str(listing)]
            done = subprocess.run(
                [*launch, "--root", root or self.root, *words],
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                timeout=30,
            )
            output.seek(0)
            assert done.returncode == status, output.read()
        return set(listing.read_text().split()) - self.at_start


@pytest.fixture
def call(root_dir: Path, at_start: set[str]) -> Calls:
    return Calls(root_dir, at_start)


def beyond(modules: set[str]) -> set[str]:
    """The modules that are outside the budget."""
    return {name for name in modules if name.partition(".")[0] != "pyrunc"} - ALLOWED


def own(modules: set[str]) -> set[str]:
    """The modules that are pyrunc's."""
    return {name for name in modules if name.partition(".")[0] == "pyrunc"}


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["create", "nope"], 1),
        (["run", "nope"], 1),
        (["start", "nope"], 1),
        (["state", "nope"], 1),
        (["kill", "nope"], 1),
        (["delete", "nope"], 1),
        (["delete", "--force", "nope"], 0),
        (["exec", "nope", "true"], 255),
    ],
)
def test_failing_commands(words: list[str], status: int, call: Calls) -> None:
    modules = call(*words, status=status)
    assert not beyond(modules)
    if words[0] in OWN:
        assert own(modules) <= OWN[words[0]]


class Life:
    """What each command imported in the life of one container."""

    def __init__(self) -> None:
        self.imported: dict[str, set[str]] = {}


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory, at_start: set[str]) -> Iterator[Life]:
    """A container made, looked at, used and deleted."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    directory = Path(tempfile.mkdtemp(prefix="pyrunc-"))
    it = Life()
    a, b = unique_id("imports"), unique_id("imports")
    call = Calls(directory, at_start)
    bundle = make_bundle(tmp_path_factory.mktemp("imports") / "bundle").args("/bin/sleep", "100")
    path = str(bundle.path)
    try:
        it.imported["create"] = call("create", "--bundle", path, a)
        it.imported["start"] = call("start", a)
        it.imported["state"] = call("state", a)
        it.imported["exec"] = call("exec", a, "/bin/true")
        it.imported["kill"] = call("kill", a, "KILL")
        it.imported["delete"] = call("delete", "--force", a)
        bundle.args("/bin/true")
        it.imported["run"] = call("run", "--bundle", path, b)
        yield it
    finally:
        for id in (a, b):
            call("delete", "--force", id)
        shutil.rmtree(directory)


HOT = ("create", "start", "state", "exec", "kill", "delete", "run")


@pytest.mark.parametrize("command", HOT)
def test_life_of_a_container(command: str, life: Life) -> None:
    extra = set()
    if command == "run" and not PRCTL:
        # Not beside pyrunc, python-prctl is looked for in the environment: thirdparty.enable().
        code = "import sys, os, site; print(*sys.modules)"
        extra = set(subprocess.check_output([sys.executable, "-ISc", code], text=True).split())
    assert beyond(life.imported[command]) <= extra


def test_looking_and_killing_load_next_to_nothing(life: Life) -> None:
    for command in ("state", "kill"):
        assert own(life.imported[command]) <= OWN[command]


@pytest.mark.parametrize(
    ("command", "packages"),
    [
        ("start", ("pyrunc.plan.create", "pyrunc.plan.filesystem.mounts", "pyrunc.config.load")),
        ("start", ("pyrunc.cgroups", "pyrunc.seccomp", "pyrunc.commands.create")),
        ("delete", ("pyrunc.plan", "pyrunc.machine", "pyrunc.seccomp")),
    ],
)
def test_packages_that_are_not_needed(command: str, packages: tuple[str, ...], life: Life) -> None:
    for name in life.imported[command]:
        assert not name.startswith(packages)


def test_commands_do_not_load_each_other(life: Life) -> None:
    for command in HOT:
        found = {name for name in life.imported[command] if name.startswith("pyrunc.commands.")}
        shared = {"pyrunc.commands.create"} if command == "run" else set()
        assert found == {f"pyrunc.commands.{command}"} | shared


def test_a_container_directory_without_state(call: Calls) -> None:
    """The way that is taken after a killed create is as light."""
    Path(call.root, "a").mkdir(parents=True, mode=0o700)
    Path(call.root).chmod(0o700)
    assert own(call("state", "a")) <= OWN["state"]
    assert own(call("delete", "--force", "a")) <= OWN["delete"]
