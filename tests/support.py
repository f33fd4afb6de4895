"""What the tests share: bundles with a busybox root file system, and runtimes to call.

conftest.py makes fixtures of these. Nothing here asserts anything about pyrunc.
"""

import copy
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import make_rootfs  # noqa: E402

Json = dict[str, Any]

IS_ROOT = os.geteuid() == 0
PURE_V2 = Path("/sys/fs/cgroup/cgroup.controllers").exists()
SYSTEMD = Path("/run/systemd/system").is_dir()
IN_GUEST = os.environ.get("PYRUNC_GUEST", "")  #: "uml" or "qemu" in the guest machine

_numbers = itertools.count()

#: A configuration that runs anywhere a container can run: no terminal, no limits, every
#: namespace but the user namespace.
DEFAULT_CONFIG: Json = {
    "ociVersion": "1.3.0",
    "hostname": "testhost",
    "root": {"path": "rootfs", "readonly": False},
    "process": {
        "terminal": False,
        "user": {"uid": 0, "gid": 0},
        "args": ["/bin/true"],
        "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
        "cwd": "/",
        "capabilities": {
            kind: ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
            for kind in ("bounding", "effective", "permitted")
        },
        "noNewPrivileges": True,
    },
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {
            "destination": "/dev",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
        },
        {
            "destination": "/dev/pts",
            "type": "devpts",
            "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
        },
        {
            "destination": "/dev/shm",
            "type": "tmpfs",
            "source": "shm",
            "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
        },
        {
            "destination": "/dev/mqueue",
            "type": "mqueue",
            "source": "mqueue",
            "options": ["nosuid", "noexec", "nodev"],
        },
        {
            "destination": "/sys",
            "type": "sysfs",
            "source": "sysfs",
            "options": ["nosuid", "noexec", "nodev", "ro"],
        },
    ],
    "linux": {
        "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")],
        "maskedPaths": ["/proc/kcore", "/proc/keys", "/sys/firmware"],
        "readonlyPaths": ["/proc/bus", "/proc/sys", "/proc/sysrq-trigger"],
    },
}


def merge(base: Json, changes: Mapping[str, Any]) -> Json:
    """`base` with `changes` put in, object by object; None removes a member. Lists are replaced."""
    result = copy.deepcopy(base)
    for key, value in changes.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(result.get(key), dict):
            result[key] = merge(result[key], value)
        else:
            result[key] = copy.deepcopy(value)
    return result


def unique_id(prefix: str = "test") -> str:
    """A container id that no other test, worker or run uses at the same time."""
    return f"{prefix}-{os.getpid()}-{next(_numbers)}"


class Bundle:
    """A bundle directory. `config` may be changed at will; `save()` writes it."""

    def __init__(self, path: Path, config: Json) -> None:
        self.path = path
        self.config = config
        self.save()

    @property
    def rootfs(self) -> Path:
        return self.path / str(self.config["root"]["path"])

    def save(self) -> None:
        (self.path / "config.json").write_text(json.dumps(self.config, indent=2))

    def update(self, changes: Mapping[str, Any]) -> "Bundle":
        """Merge `changes` into the configuration, write it, and return the bundle."""
        self.config = merge(self.config, changes)
        self.save()
        return self

    def give(self, uid: int, gid: int | None = None) -> "Bundle":
        """Give the root file system to a user, for a user namespace that maps the id; modes stay."""
        for path in (self.rootfs, *self.rootfs.rglob("*")):
            mode = path.lstat().st_mode
            os.lchown(path, uid, uid if gid is None else gid)
            if not path.is_symlink():
                path.chmod(mode & 0o7777)
        return self

    def args(self, *args: str) -> "Bundle":
        """Make the container run `args`."""
        return self.update({"process": {"args": list(args)}})

    def shell(self, script: str) -> "Bundle":
        """Make the container run a shell script."""
        return self.args("/bin/sh", "-c", script)


def make_bundle(path: Path, changes: Mapping[str, Any] | None = None) -> Bundle:
    """Make a bundle with a busybox root file system at `path` (made if absent)."""
    path.mkdir(parents=True, exist_ok=True)
    make_rootfs.make(path / "rootfs")
    return Bundle(path, merge(DEFAULT_CONFIG, changes or {}))


class Runtime:
    """A runtime's program with a state directory of its own.

    Whatever was created through `run` and `create` is deleted by `clean()`.
    """

    def __init__(self, program: str, root: Path, flags: Sequence[str] = ()) -> None:
        self.program = program
        self.root = root
        self.flags = list(flags)
        self.ids: list[str] = []

    def command(self, *args: str) -> list[str]:
        """The full command line for the runtime's arguments `args`."""
        return [self.program, "--root", str(self.root), *self.flags, *args]

    def call(
        self,
        *args: str,
        check: bool = False,
        timeout: float = 60,
        input: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | str | None = None,
        pass_fds: Sequence[int] = (),
    ) -> subprocess.CompletedProcess[str]:
        """Call the runtime, capture what it prints; with `check` a failure fails the test.

        stdin is empty unless `input` is given. A detached container inherits the pipes, so
        use `create` and `start` for one that outlives the call.
        """
        done = subprocess.run(
            self.command(*args),
            check=False,
            timeout=timeout,
            text=True,
            errors="replace",
            capture_output=True,
            env=env,
            cwd=cwd,
            pass_fds=pass_fds,
            **({"stdin": subprocess.DEVNULL} if input is None else {"input": input}),
        )
        result: subprocess.CompletedProcess[str] = done
        if check and result.returncode:
            raise AssertionError(
                f"{' '.join(result.args)}: exit status {result.returncode}\n{result.stdout}{result.stderr}"
            )
        return result

    def run(
        self, bundle: Bundle, *flags: str, id: str = "", check: bool = False, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """`run` the bundle in the foreground; returns when its process ended."""
        name = self.new_id(id)
        return self.call("run", "--bundle", str(bundle.path), *flags, name, check=check, timeout=timeout)

    def create(
        self,
        bundle: Bundle,
        *flags: str,
        id: str = "",
        output: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> str:
        """`create` a container from the bundle and return its id; a failure fails the test.

        Its standard output and error go to the file `output`, by default
        `BUNDLE/output`, since pipes would be held open by the container.
        """
        name = self.new_id(id)
        with open(output or bundle.path / "output", "ab") as file:
            start = file.tell()
            status = subprocess.run(
                self.command("create", "--bundle", str(bundle.path), *flags, name),
                check=False,
                timeout=60,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env=env,
            ).returncode
        if status:
            text = Path(file.name).read_bytes()[start:].decode(errors="replace")
            raise AssertionError(f"create: exit status {status}\n{text}")
        return name

    def new_id(self, id: str = "") -> str:
        """Take note of a container id to clean up; makes one up where none is given."""
        name = id or unique_id()
        self.ids.append(name)
        return name

    def state(self, id: str) -> Json:
        """What `state ID` prints."""
        state: Json = json.loads(self.call("state", id, check=True).stdout)
        return state

    def clean(self) -> None:
        """Delete the containers that were created here, and the state directory."""
        for id in reversed(self.ids):
            self.call("delete", "--force", id)
        self.ids.clear()
        shutil.rmtree(self.root, ignore_errors=True)


MakeBundle = Callable[..., Bundle]
