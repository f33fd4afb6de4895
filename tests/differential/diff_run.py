"""Run one case under one runtime and return what was seen, as flat facts."""

import array
import contextlib
import os
import re
import select
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from differential.diff_base import Config, base_config, copy_template, make_template, write_config
from differential.diff_probe import SCRIPT, Facts, facts
from support import Runtime, unique_id

TIMEOUT = 30.0

# The error classes that engines and users tell apart, most exact first; every other is "refused".
ERROR_CLASSES = (
    ("not-in-path", r"executable file (not found in \$PATH|.* not found in \$PATH)"),
    ("no-such-file", r"no such file or directory"),
    ("not-a-directory", r"not a directory"),
    ("is-a-directory", r"is a directory"),
    ("permission-denied", r"permission denied"),
    ("not-permitted", r"operation not permitted"),
    ("exec-format", r"exec format error"),
    ("hook", r"\bhook"),
)

# How a runtime's own error begins: runc's and pyrunc's log, or crun's time stamp.
OWN_ERROR = r"level=error|^\d{4}-\d\d-\d\dT\S+Z: "


@dataclass
class Bundle:
    """What a case's `edit` may use: the bundle's paths, and processes that hold namespaces."""

    path: Path
    id: str
    holders: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def rootfs(self) -> Path:
        """The container's root file system, to be changed before the container is made."""
        return self.path / "rootfs"

    def scratch(self, name: str) -> Path:
        """A fresh folder outside the root file system, to mount from."""
        where = self.path / "scratch" / name
        where.mkdir(parents=True, exist_ok=True)
        return where

    def namespace(self, kind: str, *flags: str) -> str:
        """The path of a new namespace of this kind, which a process of ours keeps alive."""
        option = {"network": "net", "cgroup": "cgroup", "time": "time"}.get(kind, kind)
        entry = {"network": "net", "pid": "pid_for_children", "time": "time_for_children"}.get(
            kind, {"mount": "mnt"}.get(kind, kind)
        )
        command = ["unshare", f"--{option}", *flags]
        if kind == "pid":
            # The namespace lives as long as its first process.
            command.append("--fork")
        holder = subprocess.Popen([*command, "sleep", "120"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        self.holders.append(holder)
        path = f"/proc/{holder.pid}/ns/{entry}"
        mine = os.readlink(f"/proc/self/ns/{entry}")
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                if os.readlink(path) != mine:
                    comm = Path(f"/proc/{holder.pid}/comm").read_text().strip()
                    if comm == "sleep" or kind == "pid":
                        return path
            time.sleep(0.01)
        raise AssertionError(f"unshare --{option} made no namespace")

    def close(self) -> None:
        """End the processes that hold namespaces."""
        for holder in self.holders:
            subprocess.run(["pkill", "-KILL", "-P", str(holder.pid)], check=False)
            holder.kill()
            holder.wait()


Edit = Callable[[Config, Bundle], None]


@dataclass
class Case:
    """One comparison.

    name     unique, and what diff_known.py matches
    edit     changes the base configuration and the bundle
    mode     "probe": run diff_probe's script and compare all it says;
             "script": run `script`, compare its output and exit status;
             "args": run the configuration's own args, compare the exit status and output;
             "error": the container must fail: compare exit status and class of the error;
             "life": create, state, start, wait, delete; compare the hooks' log and the states;
             "terminal": as probe, with a terminal through --console-socket
    needs    returns a reason to skip, or ""
    flags    of `run` or `create`
    call     wraps the runtime's command line, e.g. to start it with other limits or signals
    """

    name: str
    edit: Edit
    mode: str = "probe"
    script: str = ""
    needs: Callable[[], str] | None = None
    flags: tuple[str, ...] = ()
    call: tuple[str, ...] = ()


AnyEdit = TypeVar("AnyEdit", bound=Callable[..., None])


def add_case(
    cases: list[Case],
    name: str,
    mode: str = "probe",
    script: str = "",
    needs: Callable[[], str] | None = None,
) -> Callable[[AnyEdit], AnyEdit]:
    """A decorator that makes a function the `edit` of a new case."""

    def add(edit: AnyEdit) -> AnyEdit:
        cases.append(Case(name, edit, mode, script, needs))
        return edit

    return add


class Workshop:
    """The folder that holds the template and the bundles; reachable for mapped users.

    Not below /tmp: where that is a tmpfs, its mount's flags would be those of every bind mount.
    """

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="pyrunc-diff-", dir="/var/tmp"))
        self.path.chmod(0o711)
        self.template = self.path / "template"
        make_template(self.template)
        self.count = 0

    @contextlib.contextmanager
    def bundle(self) -> Iterator[Bundle]:
        """A bundle with a root file system of its own, removed afterwards."""
        self.count += 1
        path = self.path / f"b{self.count:05d}"
        path.mkdir()
        copy_template(self.template, path / "rootfs")
        bundle = Bundle(path, unique_id("diff"))
        try:
            yield bundle
        finally:
            bundle.close()
            shutil.rmtree(path, ignore_errors=True)

    def close(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


def host_namespaces() -> dict[str, str]:
    """Where this process is: name of the entry in /proc/self/ns to link."""
    names = sorted(os.listdir("/proc/self/ns"))
    return {name: os.readlink(f"/proc/self/ns/{name}") for name in names}


def observe(case: Case, runtime: Runtime, workshop: Workshop) -> Facts:
    """Run the case and return its facts; nothing of it is left when this returns."""
    with workshop.bundle() as bundle:
        config = base_config()
        if case.mode in ("probe", "terminal"):
            config["process"]["args"] = ["/bin/sh", "-c", SCRIPT]
        elif case.mode in ("script", "life"):
            config["process"]["args"] = ["/bin/sh", "-c", case.script or "exit 0"]
        case.edit(config, bundle)
        write_config(bundle.path, config)
        runtime.ids.append(bundle.id)
        try:
            found = MODES[case.mode](case, runtime, bundle)
        finally:
            # All runtimes keep a container's state so.
            if (runtime.root / bundle.id).exists():
                runtime.call("delete", "--force", bundle.id)
            runtime.ids.remove(bundle.id)
            # crun gives standard input to the container's user even where that is the host's /dev/null.
            os.chown(os.devnull, 0, 0)
        return {key: _neutral(value, bundle) for key, value in found.items()}


def _neutral(text: str, bundle: Bundle) -> str:
    """Replace what differs from one run to the next."""
    text = text.replace(bundle.id, "@ID@").replace(str(bundle.path), "@BUNDLE@")
    return text.replace(bundle.path.name, "@B@")


def _call(case: Case, runtime: Runtime, *args: str) -> subprocess.CompletedProcess[str]:
    """Call the runtime, below the case's wrapper."""
    return subprocess.run(
        [*case.call, *runtime.command(*args)],
        check=False,
        timeout=TIMEOUT,
        text=True,
        errors="replace",
        capture_output=True,
        stdin=subprocess.DEVNULL,
    )


def _run(case: Case, runtime: Runtime, bundle: Bundle) -> subprocess.CompletedProcess[str]:
    return _call(case, runtime, "run", *case.flags, "--bundle", str(bundle.path), bundle.id)


def _probe(case: Case, runtime: Runtime, bundle: Bundle) -> Facts:
    done = _run(case, runtime, bundle)
    if done.returncode and "@@ end" not in done.stdout:
        return {"exit": str(done.returncode), "failed": error_class(done.stderr)}
    result = facts(done.stdout, host_namespaces())
    result["exit"] = str(done.returncode)
    return result


def _script(case: Case, runtime: Runtime, bundle: Bundle) -> Facts:
    done = _run(case, runtime, bundle)
    result = {"exit": str(done.returncode)}
    if done.returncode and re.search(OWN_ERROR, done.stderr, re.MULTILINE):
        return {**result, "failed": error_class(done.stderr)}
    for number, line in enumerate(done.stdout.splitlines(), 1):
        result[f"line.{number:03d}"] = line
    return result


def _error(case: Case, runtime: Runtime, bundle: Bundle) -> Facts:
    """A failure: its exit status, its class, and that nothing of the container is left."""
    done = _run(case, runtime, bundle)
    state = runtime.call("state", bundle.id)
    return {
        "exit": str(done.returncode),
        "class": error_class(done.stderr),
        "stdout": done.stdout,
        "left": "nothing" if state.returncode else "a container",
    }


def error_class(stderr: str) -> str:
    """The first class of ERROR_CLASSES whose pattern the error matches."""
    for name, pattern in ERROR_CLASSES:
        if re.search(pattern, stderr, re.IGNORECASE):
            return name
    return "refused" if stderr.strip() else "silent"


def _life(case: Case, runtime: Runtime, bundle: Bundle) -> Facts:
    """create, start and delete as an engine calls them; hooks write to BUNDLE/log."""
    result: Facts = {}
    output = bundle.path / "output"
    with open(output, "wb") as file:
        done = subprocess.run(
            [
                *case.call,
                *runtime.command("create", "--bundle", str(bundle.path)),
                *case.flags,
                bundle.id,
            ],
            check=False,
            timeout=TIMEOUT,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )
    result["create"] = str(done.returncode)
    result["state.created"] = _status(runtime, bundle)
    log = bundle.path / "log"
    _mark(log, "# created")
    if done.returncode == 0:
        result["start"] = str(_call(case, runtime, "start", bundle.id).returncode)
        _mark(log, "# started")
        deadline = time.monotonic() + 10
        while _status(runtime, bundle) == "running" and time.monotonic() < deadline:
            time.sleep(0.02)
        result["state.after"] = _status(runtime, bundle)
        result["delete"] = str(_call(case, runtime, "delete", bundle.id).returncode)
        _mark(log, "# deleted")
    result["state.deleted"] = _status(runtime, bundle)
    text = log.read_text() if log.exists() else ""
    # A detached container's own lines may come before or after "# started".
    for number, line in enumerate(text.splitlines(), 1):
        result[f"log.{number:02d}"] = line
    result["output"] = (
        output.read_text(errors="replace") if done.returncode == 0 else error_class(output.read_text(errors="replace"))
    )
    return result


def _mark(log: Path, text: str) -> None:
    with open(log, "a") as file:
        file.write(text + "\n")


def _status(runtime: Runtime, bundle: Bundle) -> str:
    done = runtime.call("state", bundle.id)
    if done.returncode:
        return "none"
    match = re.search(r'"status":\s*"(\w+)"', done.stdout)
    return match[1] if match else "unreadable: " + done.stdout[:80]


def _terminal(case: Case, runtime: Runtime, bundle: Bundle) -> Facts:
    """The probe on a terminal; the master comes through the console socket."""
    path = bundle.path / "c.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1)
        listener.settimeout(TIMEOUT)
        err = bundle.path / "stderr"
        with open(err, "wb") as file:
            done = subprocess.run(
                runtime.command(
                    "create",
                    "--bundle",
                    str(bundle.path),
                    "--console-socket",
                    str(path),
                    *case.flags,
                    bundle.id,
                ),
                check=False,
                timeout=TIMEOUT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=file,
            )
        if done.returncode:
            return {"exit": str(done.returncode), "failed": error_class(err.read_text())}
        peer, _ = listener.accept()
        with peer:
            master = _receive(peer)
    try:
        runtime.call("start", bundle.id, check=True)
        text = _read_terminal(master)
    finally:
        os.close(master)
    result = facts(text, host_namespaces())
    result["raw-newline"] = "crlf" if "\r\n" in text else "lf"
    return result


def _receive(peer: socket.socket) -> int:
    """The one descriptor of the message that a runtime sends."""
    size = array.array("i").itemsize
    data, ancillary, _, _ = peer.recvmsg(4096, socket.CMSG_SPACE(4 * size))
    for level, kind, body in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            numbers = array.array("i")
            numbers.frombytes(body[: len(body) - len(body) % size])
            if len(numbers) == 1 and data:
                return int(numbers[0])
    raise AssertionError("the console socket's message has not exactly one descriptor and data")


def _read_terminal(master: int) -> str:
    """Read until the other side is closed (EIO) or the probe said that it ended."""
    text = b""
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        ready, _, _ = select.select([master], [], [], 0.5)
        if not ready:
            continue
        try:
            part = os.read(master, 65536)
        except OSError:
            break
        if not part:
            break
        text += part
    return text.decode(errors="replace")


MODES: dict[str, Callable[[Case, Runtime, Bundle], Facts]] = {
    "probe": _probe,
    "script": _script,
    "args": _script,
    "error": _error,
    "life": _life,
    "terminal": _terminal,
}
