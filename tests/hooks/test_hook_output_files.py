"""run.oci.hooks.stdout and run.oci.hooks.stderr: files that hooks write to (crun(1))."""

import json
from pathlib import Path
from typing import Any

import pytest

from support import MakeBundle, Runtime

pytestmark = pytest.mark.usefixtures("needs_root")

SAY = {"path": "/bin/sh", "args": ["sh", "-c", "echo out; echo err >&2"]}
FAIL = {"path": "/bin/sh", "args": ["sh", "-c", "echo out; echo err >&2; exit 3"]}
KINDS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


def annotations(directory: Path) -> dict[str, str]:
    return {f"run.oci.hooks.{name}": f"{directory}/{name}" for name in ("stdout", "stderr")}


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_hook_writes_is_added_to_the_files(
    kind: str, runtime: Runtime, bundle: MakeBundle, tmp_path: Path
) -> None:
    (tmp_path / "stdout").write_text("before\n")
    it = bundle({"hooks": {kind: [SAY, SAY]}, "annotations": annotations(tmp_path)})
    assert runtime.run(it, check=True).stdout == ""
    assert (tmp_path / "stdout").read_text() == "before\nout\nout\n"
    assert (tmp_path / "stderr").read_text() == "err\nerr\n"


def test_one_file_only(runtime: Runtime, bundle: MakeBundle, tmp_path: Path) -> None:
    names = {"run.oci.hooks.stdout": f"{tmp_path}/stdout"}
    for kind in ("prestart", "startContainer"):
        it = bundle({"hooks": {kind: [FAIL]}, "annotations": names})
        done = runtime.run(it)
        assert done.returncode
        assert "error running" in done.stderr
        assert "err" in done.stderr.split("exit status 3")[1]
    assert (tmp_path / "stdout").read_text() == "out\nout\n"


def test_the_waiting_init_keeps_the_files(runtime: Runtime, bundle: MakeBundle, tmp_path: Path) -> None:
    hook = {"path": "/bin/cat"}
    it = bundle(
        {
            "hooks": {"startContainer": [hook]},
            "annotations": annotations(tmp_path),
            "process": {"args": ["/bin/ls", "-1", "/proc/self/fd"]},
        }
    )
    id = runtime.create(it)
    assert (tmp_path / "stdout").read_text() == ""
    runtime.call("start", id, check=True)
    state: dict[str, Any] = json.loads((tmp_path / "stdout").read_text())
    assert (state["id"], state["status"]) == (id, "created")
    runtime.call("delete", "-f", id, check=True)
    # 3 is the directory that ls reads; the program has none of the files.
    assert (it.path / "output").read_text().split() == ["0", "1", "2", "3"]


def test_a_hook_that_is_not_there(runtime: Runtime, bundle: MakeBundle, tmp_path: Path) -> None:
    hooks = {"createContainer": [{"path": "/nope"}]}
    it = bundle({"hooks": hooks, "annotations": annotations(tmp_path)})
    done = runtime.run(it)
    assert "error running createContainer hook #0" in done.stderr
    assert "exec: no such file or directory" in done.stderr


@pytest.mark.parametrize("kind", ["prestart", "createContainer"])
def test_a_file_that_cannot_be_opened(kind: str, runtime: Runtime, bundle: MakeBundle, tmp_path: Path) -> None:
    name = "run.oci.hooks.stderr"
    it = bundle({"hooks": {kind: [SAY]}, "annotations": {name: f"{tmp_path}/no/such"}})
    done = runtime.run(it)
    assert done.returncode == 1
    assert f"(annotations/{name}): open {tmp_path}/no/such: no such file or directory" in done.stderr


def test_the_warning_of_poststop_has_the_exit_code(runtime: Runtime, bundle: MakeBundle) -> None:
    killed = {"path": "/bin/sh", "args": ["sh", "-c", "kill -9 $$"]}
    done = runtime.run(bundle({"hooks": {"poststop": [FAIL, killed]}}))
    assert done.returncode == 0
    first, second = done.stderr.splitlines()
    assert "poststop hook failed with exit code 3: error running poststop hook #0: " in first
    assert "poststop hook failed with exit code 137: error running poststop hook #1: " in second
