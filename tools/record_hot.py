"""Record which functions the usual containers need: embedded/hot.txt.

    unshare --mount --propagation private python tools/record_hot.py

The embedded form loads other functions only when they are called (tools/build_embedded.py), so a
list that is out of date costs time and nothing else. Needs root. Containers like those of the
engines go through their whole life under a profiler: with and without limits, seccomp, a terminal
on a console socket, and a user namespace. A host without cgroup v2 at its place gets it there in
this mount namespace.
"""

import ctypes
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from support import Bundle, make_bundle  # noqa: E402

LIST = ROOT / "embedded/hot.txt"

PROGRAM = f"""
import sys
called = set()
def note(frame, event, _):
    if event == "call":
        called.add(frame.f_code)
sys.path.insert(0, {str(ROOT)!r})
sys.setprofile(note)
from pyrunc.cli import main
status = main(sys.argv[2:])
sys.setprofile(None)
with open(sys.argv[1], "a") as file:
    for code in called:
        if code.co_filename.startswith({str(ROOT / "pyrunc")!r}):
            name = code.co_filename[{len(str(ROOT)) + 1}:-3].replace("/", ".")
            file.write(name.removesuffix(".__init__") + ":" + code.co_qualname + "\\n")
sys.exit(status)
"""

SECCOMP = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "architectures": ["SCMP_ARCH_X86_64"],
    "syscalls": [{"names": ["keyctl", "add_key"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}],
}
LIMITS = {
    "cpu": {"shares": 512, "quota": 50000, "period": 100000},
    "memory": {"limit": 64 << 20, "swap": 64 << 20},
    "pids": {"limit": 100},
    "devices": [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rwm"},
    ],
}
MAPPING = [{"containerID": 0, "hostID": 100000, "size": 65536}]


class Recorder:
    """Calls pyrunc, and keeps what it called."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.output = directory / "called"
        self.number = 0

    def call(self, *words: str, check: bool = True) -> None:
        command = [sys.executable, "-IS", "-c", PROGRAM, str(self.output)]
        command += ["--root", str(self.directory / "root"), *words]
        # Errors go where a container's processes may write after pyrunc's end.
        done = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        if check and done.returncode:
            raise SystemExit(f"record_hot: {' '.join(words)}: exit status {done.returncode}")

    def life(self, bundle: Bundle, *, terminal: bool = False) -> None:
        """One container through create, state, start, exec, kill and delete; another by run."""
        self.number += 1
        id = f"record-{os.getpid()}-{self.number}"
        pid_file = str(self.directory / "pid")
        options = ["--bundle", str(bundle.path), "--pid-file", pid_file]
        # The queue of this socket holds the terminal: without it the container would be hung up.
        listener = socket.socket(socket.AF_UNIX)
        try:
            if terminal:
                path = str(self.directory / f"console-{self.number}")
                listener.bind(path)
                listener.listen()
                options += ["--console-socket", path]
            self.call("create", *options, id)
            self.call("state", id)
            self.call("start", id)
            self.call("exec", "--pid-file", pid_file + "2", id, "/bin/true")
            process = self.directory / "process.json"
            process.write_text(json.dumps({**bundle.config["process"], "terminal": False}))
            self.call("exec", "--process", str(process), "--detach", id)
            self.call("kill", "--all", id, "KILL", check=False)
            self.call("kill", id, "KILL", check=False)
            reap()
            self.call("state", id)
            self.call("delete", id)
        finally:
            listener.close()
            self.call("delete", "--force", id)
        if not terminal:
            bundle.args("/bin/true")
            self.call("run", "--bundle", str(bundle.path), id)


def reap() -> None:
    """Wait for the processes of the container, which this process adopted."""
    end = time.monotonic() + 5
    while time.monotonic() < end:
        try:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.01)
        except ChildProcessError:
            return


def main() -> int:
    if os.geteuid() != 0:
        print("record_hot: needs root", file=sys.stderr)
        return 1
    if not Path("/sys/fs/cgroup/cgroup.controllers").exists():
        mount = ["mount", "-t", "cgroup2", "none", "/sys/fs/cgroup"]
        subprocess.run(mount, check=True)
    controllers = Path("/sys/fs/cgroup/cgroup.controllers").read_text().split()
    limits = {name: value for name, value in LIMITS.items() if name == "devices" or name in controllers}
    # PR_SET_CHILD_SUBREAPER: not every machine's init waits for what it adopts.
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
    directory = Path(tempfile.mkdtemp(prefix="record-"))
    try:
        recorder = Recorder(directory)
        variants: dict[str, dict[str, Any]] = {
            "plain": {},
            "limits": {
                "linux": {
                    "resources": limits,
                    "seccomp": SECCOMP,
                    "cgroupsPath": f"/record-{os.getpid()}/one",
                },
                "root": {"readonly": True},
            },
            "user": {
                "linux": {
                    "uidMappings": MAPPING,
                    "gidMappings": MAPPING,
                    "namespaces": [
                        {"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "user", "cgroup")
                    ],
                }
            },
            "terminal": {"process": {"terminal": True}},
        }
        for name, changes in variants.items():
            bundle = make_bundle(directory / name, changes).args("/bin/sleep", "1000")
            if name == "user":
                directory.chmod(0o755)
            recorder.life(bundle, terminal=name == "terminal")
        try:
            Path(f"/sys/fs/cgroup/record-{os.getpid()}").rmdir()
        except FileNotFoundError:
            pass
        called = set(recorder.output.read_text().split("\n"))
        names = sorted(name for name in called if name and "<" not in name)
        LIST.write_text("".join(f"{name}\n" for name in names))
        print(f"{LIST.relative_to(ROOT)}: {len(names)} functions")
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
