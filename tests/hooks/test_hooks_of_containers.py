"""Hooks in the life of a container (runtime.md, "Lifecycle"): failures and timeouts of every kind, and what follows."""

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from support import IS_ROOT, Bundle, MakeBundle, Runtime

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="needs root")

IN_CREATE = ("prestart", "createRuntime", "createContainer")
KINDS = (*IN_CREATE, "startContainer", "poststart")
MESSAGE = "hook ran past specified timeout of 1.0s"


def sh(script: str, **more: Any) -> dict[str, Any]:
    return {"path": "/bin/sh", "args": ["sh", "-c", script], **more}


def with_hooks(bundle: MakeBundle, kind: str, *hooks: dict[str, Any]) -> Bundle:
    """A container that sleeps, with hooks of a kind and one that writes its state when all is over."""
    it = bundle().args("/bin/sleep", "100")
    return it.update({"hooks": {kind: list(hooks), "poststop": [sh(f"cat > {it.path}/poststop")]}})


def live(runtime: Runtime, it: Bundle, whole: bool) -> tuple[int, str]:
    """`run`, or `create` and `start`: the exit status of what failed, and its message."""
    id = runtime.new_id()
    for command in (["run"],) if whole else (["create"], ["start"]):
        words = command if command == ["start"] else [*command, "--bundle", str(it.path)]
        # A file: the container would hold a pipe open.
        with open(it.path / "errors", "w+") as file:
            done = subprocess.run(
                runtime.command(*words, id), check=False, stdin=subprocess.DEVNULL, stdout=file, stderr=file, timeout=60
            )
            file.seek(0)
            text = file.read()
        if done.returncode:
            break
    return done.returncode, text


def is_gone(runtime: Runtime, it: Bundle) -> None:
    """Nothing is left of the container, and its poststop hook has run."""
    done = runtime.call("state", runtime.ids[-1])
    assert "container does not exist" in done.stderr
    state = json.loads((it.path / "poststop").read_text())
    assert (state["id"], state["status"]) == (runtime.ids[-1], "stopped")
    assert "pid" not in state


@pytest.mark.parametrize("whole", [True, False], ids=["run", "create-start"])
@pytest.mark.parametrize("kind", KINDS)
def test_one_that_fails(runtime: Runtime, bundle: MakeBundle, kind: str, whole: bool) -> None:
    """An error with its output; no later hook runs; the container is stopped and its end follows."""
    second = "/second" if kind == "startContainer" else "@/second"
    it = with_hooks(bundle, kind)
    it.config["hooks"][kind] = [sh("echo why; exit 3"), sh("touch " + second.replace("@", str(it.path)))]
    it.save()
    status, text = live(runtime, it, whole)
    assert status == 1
    assert f"error running {kind} hook #0: exit status 3" in text
    assert "why" in text
    is_gone(runtime, it)
    assert not (it.path / "second").exists()
    assert not (it.rootfs / "second").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_a_timeout_ends_the_whole_group(runtime: Runtime, bundle: MakeBundle, kind: str) -> None:
    # By their arguments the hook's processes are known from all others.
    sleep = f"sleep 100.{time.monotonic_ns()}"
    it = with_hooks(bundle, kind, sh(f"{sleep} & {sleep}", timeout=1))
    begun = time.monotonic()
    status, text = live(runtime, it, False)
    assert status == 1
    assert f"error running {kind} hook #0: {MESSAGE}" in text
    assert time.monotonic() - begun < 30
    is_gone(runtime, it)
    assert sleep.replace(" ", "\0") not in commands()


def commands() -> str:
    """The command lines of all processes."""
    texts = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            texts.append(file.read_text(errors="replace"))
        except OSError:
            continue
    return "\n".join(texts)


def test_places_and_states(runtime: Runtime, bundle: MakeBundle) -> None:
    """The order of the kinds, whatever that of the document, and the state that each is told."""
    it = bundle().args("/bin/sleep", "100")
    log = it.path / "log"
    (it.rootfs / "log").touch()
    hooks = {}
    for kind in ("poststop", *reversed(KINDS)):
        target = "/log" if kind == "startContainer" else log
        hooks[kind] = [sh(f"(echo {kind}.{number}; cat; echo) >> {target}") for number in (1, 2)]
    it.update({"hooks": hooks, "annotations": {"a": "b"}})
    id = runtime.create(it)
    pid = runtime.state(id)["pid"]
    assert "poststart" not in log.read_text()
    assert (it.rootfs / "log").read_text() == ""
    runtime.call("start", id, check=True)
    runtime.call("delete", "--force", id, check=True)
    lines = log.read_text().splitlines()
    inside = (it.rootfs / "log").read_text().splitlines()
    wanted: list[tuple[str, str, int | None]] = [(kind, "creating", pid) for kind in IN_CREATE]
    wanted += [("poststart", "running", pid), ("poststop", "stopped", None)]
    assert lines[::2] == [f"{kind}.{number}" for kind, _, _ in wanted for number in (1, 2)]
    told = [(kind, status, number) for kind, status, number in wanted for _ in (1, 2)]
    for (kind, status, number), text in zip(told, lines[1::2], strict=True):
        state = json.loads(text)
        assert (state["status"], state.get("pid")) == (status, number), kind
        assert (state["id"], state["bundle"], state["annotations"]) == (id, str(it.path), {"a": "b"})
    assert inside[::2] == ["startContainer.1", "startContainer.2"]
    assert [json.loads(text)["status"] for text in inside[1::2]] == ["created", "created"]


def test_environment_inside(runtime: Runtime, bundle: MakeBundle) -> None:
    """Without `env` that of the process, with HOME; with it that alone. Nothing open but the usual three."""
    it = bundle({"process": {"env": ["PATH=/bin", "A=b"], "user": {"uid": 1000, "gid": 1000}, "args": ["/bin/true"]}})
    (it.rootfs / "log").touch()
    (it.rootfs / "log").chmod(0o666)
    script = "(tr '\\0' '\\n' < /proc/self/environ; pwd; id -u; ls /proc/self/fd | wc -l) >> /log"
    it.update({"hooks": {"startContainer": [sh(script), sh(script, env=["PATH=/usr/bin:/bin", "Z=1"])]}})
    runtime.run(it, check=True)
    lines = (it.rootfs / "log").read_text().splitlines()
    first, second = lines[: lines.index("4")], lines[lines.index("4") + 1 :]
    assert {"PATH=/bin", "A=b", "HOME=/home/user"} <= set(first)
    assert first[-2:] == ["/", "1000"]
    assert {"PATH=/usr/bin:/bin", "Z=1"} <= set(second)
    assert not {"A=b", "HOME=/home/user"} & set(second)
