"""The examples of the manual pages, typed as they stand there, on real containers."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrunc import cli
from support import IS_ROOT, PURE_V2, ROOT, MakeBundle, Runtime, unique_id

EXAMPLES = ROOT / "man/examples"
PROMPT = "    # "
#: These ask for limits, or for figures of a cgroup.
LIMITS = ("update", "events", "pause", "resume")


def typed(name: str) -> list[str]:
    """The command lines of a file; a line that follows without a prompt belongs to the one before."""
    found = []
    for line in (EXAMPLES / f"{name}.txt").read_text().splitlines():
        if line.startswith(PROMPT):
            found.append(line.removeprefix(PROMPT))
        else:
            assert not line.startswith(" "), f"{name}.txt: neither prose nor a prompt: {line!r}"
    return found


def test_every_command_has_examples() -> None:
    assert {file.stem for file in EXAMPLES.glob("*.txt")} == set(cli.COMMANDS)
    for name in cli.COMMANDS:
        assert any(f"pyrunc {name}" in line for line in typed(name)), name


class Shell:
    """A root shell in a directory with bundles, where `pyrunc` is the program under test."""

    def __init__(self, runtime: Runtime, directory: Path, tag: str) -> None:
        self.runtime, self.directory, self.tag = runtime, directory, tag
        wrapper = directory / "bin/pyrunc"
        wrapper.parent.mkdir()
        wrapper.write_text(f'#!/bin/sh\nexec {runtime.program} --root {runtime.root} "$@"\n')
        wrapper.chmod(0o755)

    def type(self, line: str) -> None:
        path = f"{self.directory}/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        with open(self.directory / "output", "w+") as output:
            done = subprocess.run(
                ["sh", "-c", line],
                check=False,
                cwd=self.directory,
                env={"PATH": path},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                timeout=60,
            )
            output.seek(0)
            assert done.returncode == 0, f"{line}\n{output.read()}"


@pytest.fixture
def shell(runtime: Runtime, bundle: MakeBundle, tmp_path: Path) -> Iterator[Shell]:
    """With bundles `mybundle` (sleeps) and `quick`, and the container `web` running."""
    if not IS_ROOT:
        pytest.skip("needs root")
    it = Shell(runtime, tmp_path, unique_id("man"))
    for name, args in (("mybundle", ("/bin/sleep", "1000")), ("quick", ("/bin/true",))):
        made = bundle().args(*args)
        made.path.rename(tmp_path / name)
    yield it
    for id in ("web", "web2", "mybundle", "timed"):
        subprocess.run([runtime.program, "--root", str(runtime.root), "delete", "--force", id], check=True)


@pytest.mark.parametrize("name", [name for name in cli.COMMANDS if name not in (*LIMITS, "checkpoint", "restore")])
def test_examples(name: str, shell: Shell) -> None:
    lines = typed(name)
    if any("jq" in line for line in lines) and not shutil.which("jq"):
        pytest.skip("needs jq")
    if name not in ("run", "create", "start", "restore", "spec", "plan", "features"):
        shell.type("pyrunc run --detach --bundle mybundle web")
    for line in lines:
        # In the foreground an example's container would sleep for long.
        if line == "pyrunc run mybundle":
            line = "pyrunc run quick"
        shell.type(line)


@pytest.mark.parametrize("name", LIMITS)
def test_examples_with_cgroups(name: str, shell: Shell) -> None:
    if not PURE_V2:
        pytest.skip("needs pure cgroup v2")
    shell.type("pyrunc run --detach --bundle mybundle web")
    for line in typed(name):
        shell.type(line)


@pytest.mark.qemu
@pytest.mark.parametrize("name", ["checkpoint", "restore"])
def test_examples_with_criu(name: str, shell: Shell) -> None:
    shell.type("pyrunc run --detach --bundle mybundle web </dev/null >/dev/null 2>&1")
    for line in typed(name):
        shell.type(line)
