"""Cases about the life cycle: the order of hooks, what each of them sees, and their failures."""

from collections.abc import Callable
from typing import Any

from differential.diff_base import Config
from differential.diff_run import AnyEdit, Bundle, Case, add_case

CASES: list[Case] = []

HOST_KINDS = ("prestart", "createRuntime", "createContainer", "poststart", "poststop")
KINDS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")

# Writes one line a hook: the kind, the state's members that are the same in every runtime, and
# where it ran. createContainer runs on the host's files in the container's mount namespace.
HOOK = r"""#!/bin/sh
state=$(cat)
status=$(printf '%s' "$state" | tr -d ' \n\t' | sed 's/.*"status":"\([a-z]*\)".*/\1/')
pid=$(printf '%s' "$state" | tr -d ' \n\t' | sed -n 's/.*"pid":\([0-9]*\).*/\1/p')
id=$(printf '%s' "$state" | tr -d ' \n\t' | sed -n 's/.*"id":"\([^"]*\)".*/\1/p')
test "${pid:-0}" -gt 0 && alive=pid || alive=no-pid
echo "$2 status=$status $alive id=$id args=$#:$3" >> "$1"
exit ${4:-0}
"""


def hook(bundle: Bundle, kind: str, word: str = "", code: int = 0, **more: Any) -> dict[str, Any]:
    """One hook's entry; a startContainer hook writes inside the container instead."""
    log = "/hooklog" if kind == "startContainer" else str(bundle.path / "log")
    path = "/hook" if kind == "startContainer" else str(bundle.path / "hook")
    if kind == "startContainer":
        target = bundle.rootfs / "hook"
        (bundle.rootfs / "hooklog").touch()
    else:
        target = bundle.path / "hook"
    target.write_text(HOOK)
    target.chmod(0o755)
    return {"path": path, "args": ["hook", log, kind + word, word, str(code)], **more}


def life(name: str, script: str = "cat /hooklog 2>/dev/null; exit 0") -> Callable[[AnyEdit], AnyEdit]:
    """A decorator that makes a function the `edit` of a life-cycle case."""
    return add_case(CASES, name, "life", script)


@life("life-plain", "echo started")
def life_plain(config: Config, bundle: Bundle) -> None:
    """Nothing but create, start and delete."""


@life("life-running", "sleep 0.3; exit 3")
def life_running(config: Config, bundle: Bundle) -> None:
    """The container outlives start."""


for _kind in KINDS:

    @life(f"hook-{_kind}")
    def one(config: Config, bundle: Bundle, kind: str = _kind) -> None:
        config["hooks"] = {kind: [hook(bundle, kind), hook(bundle, kind, "-second")]}

    @life(f"hook-{_kind}-fails")
    def one_failing(config: Config, bundle: Bundle, kind: str = _kind) -> None:
        config["hooks"] = {kind: [hook(bundle, kind), hook(bundle, kind, "-bad", 3), hook(bundle, kind, "-never")]}

    @life(f"hook-{_kind}-missing")
    def one_missing(config: Config, bundle: Bundle, kind: str = _kind) -> None:
        config["hooks"] = {kind: [{"path": "/no/such/hook"}]}


@life("hooks-all")
def hooks_all(config: Config, bundle: Bundle) -> None:
    config["hooks"] = {kind: [hook(bundle, kind, "-1"), hook(bundle, kind, "-2")] for kind in KINDS}


@life("hook-environment")
def hook_environment(config: Config, bundle: Bundle) -> None:
    log = bundle.path / "log"
    config["hooks"] = {
        "createRuntime": [
            {
                "path": "/bin/sh",
                "args": ["sh", "-c", f'echo "A=$A PWD=$PWD" >> {log}'],
                "env": ["A=one", "PATH=/usr/bin:/bin"],
            },
        ]
    }


@life("hook-ignores-input")
def hook_ignores_input(config: Config, bundle: Bundle) -> None:
    config["annotations"] = {f"key{n}": "x" * 1000 for n in range(200)}
    config["hooks"] = {"createRuntime": [{"path": "/bin/true"}]}


@life("hook-timeout")
def hook_timeout(config: Config, bundle: Bundle) -> None:
    config["hooks"] = {"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "20"], "timeout": 1}]}


@life("hook-argv-zero")
def hook_argv_zero(config: Config, bundle: Bundle) -> None:
    log = bundle.path / "log"
    config["hooks"] = {
        "createRuntime": [{"path": "/bin/sh", "args": ["other-name", "-c", f'echo "$0" >> {log}', "zero"]}]
    }


@life("hook-sees-namespaces")
def hook_namespaces(config: Config, bundle: Bundle) -> None:
    """createRuntime runs in the runtime's namespaces, createContainer in the container's mounts."""
    log = bundle.path / "log"
    where = f"grep -c ' {bundle.rootfs}/dev/mqueue ' /proc/self/mountinfo"
    config["hooks"] = {
        "createRuntime": [
            {
                "path": "/bin/sh",
                "args": ["sh", "-c", f"{where} >> {log}; hostname | wc -l >> {log}"],
                "env": ["PATH=/usr/bin:/bin"],
            }
        ],
        "createContainer": [
            {
                "path": "/bin/sh",
                "args": ["sh", "-c", f"{where} >> {log}; hostname >> {log}"],
                "env": ["PATH=/usr/bin:/bin"],
            }
        ],
    }
