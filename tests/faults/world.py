"""A place for containers whose every trace can be seen: processes, cgroups, mounts, files.

What a test starts becomes a descendant of this process (prctl(2), PR_SET_CHILD_SUBREAPER), also after its parent's
end; cgroups are below one of the world's own, in each hierarchy; all files are below one directory.
"""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support import Bundle, make_bundle

PR_SET_CHILD_SUBREAPER = 36
CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x20000, 0x4000, 0x40000
TIMEOUT = 20.0  # seconds: longer is a hang
TOKEN = "the-program-has-run"
#: Of the container's program: it tells that it has run, and goes on.
RUNS = f"echo {TOKEN} > /ran; exec sleep 1000"


@dataclass
class Outcome:
    """What came of a call of the runtime."""

    code: int  # 128 and more: a signal
    output: str
    errors: str
    hung: bool
    hit: bool  # the injection was met


def alone() -> None:
    """Take a mount namespace, and become the parent of all orphans that come from here."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    if libc.unshare(CLONE_NEWNS) or libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None):
        raise OSError(ctypes.get_errno(), "a mount namespace of our own")


def await_true(what: Callable[[], object], seconds: float = 5.0) -> bool:
    """Whether it comes true within some seconds."""
    until = time.monotonic() + seconds
    while not what():
        if time.monotonic() > until:
            return False
        time.sleep(0.002)
    return True


class World:
    """One state directory, one bundle, one id. alone() comes first."""

    def __init__(self, program: str, changes: Mapping[str, Any] | None = None) -> None:
        self.program = program
        self.directory = Path(tempfile.mkdtemp(prefix="pyrunc-faults-"))
        self.directory.chmod(0o755)
        self.root = self.directory / "state"
        self.log, self.pid_file = self.directory / "runtime.log", self.directory / "pid"
        self.id = "it-1"
        self.group = self.directory.name
        self.groups: list[Path] = []
        for hierarchy in (Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").glob("*")):
            if (hierarchy / "cgroup.procs").exists() and not hierarchy.is_symlink():
                try:
                    (hierarchy / self.group).mkdir()
                except OSError:
                    continue
                self.groups.append(hierarchy / self.group)
        self.bundle: Bundle = make_bundle(self.directory / "bundle", changes)
        if changes and "uidMappings" in changes.get("linux", {}):
            self.bundle.give(changes["linux"]["uidMappings"][0]["hostID"])
        self.bundle.update({"linux": {"cgroupsPath": f"/{self.group}/{self.id}"}})
        self.calls = 0
        self.mounts = self.mounted()
        self.others: set[int] = set()
        self.others = self.processes()
        self.console = socket.socket(socket.AF_UNIX)
        self.console.bind(str(self.directory / "console"))
        self.console.listen(64)
        self.console.setblocking(False)
        # What the first container makes of the root file system (mount points) is there for all.
        terminal = self.bundle.config["process"]["terminal"]
        self.bundle.update({"process": {"terminal": False}})
        self.call("run", "-b", str(self.bundle.path), self.id)
        self.bundle.update({"process": {"terminal": terminal}})
        self.clear()
        self.files = self.listed()

    # -- calls ---------------------------------------------------------------------------------

    def words(self, *words: str) -> list[str]:
        """The command line of the runtime."""
        return [self.program, "--root", str(self.root), *words]

    def call(self, *words: str, before: Sequence[str] = (), log: Path | None = None) -> Outcome:
        """Call the runtime; before: the words of injector, which writes to log."""
        self.calls += 1
        out, err = self.directory / "out", self.directory / "err"
        hung = False
        with out.open("wb") as output, err.open("wb") as errors:
            process = subprocess.Popen(
                [*before, *self.words(*words)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                cwd=self.directory,
            )
            until = time.monotonic() + TIMEOUT
            code = None
            while code is None:
                # Orphans too: a pid namespace ends only when all that was in it has been reaped.
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == process.pid:
                    code = process.returncode = os.waitstatus_to_exitcode(status)
                elif not pid:
                    time.sleep(0.0005)
                if not hung and time.monotonic() > until:
                    hung = True
                    process.kill()
        hit = log is not None and log.exists() and log.read_text() == "hit\n"
        code = 128 - code if code < 0 else code
        said = err.read_text(errors="replace")  # errors are in the log, too
        self.log.unlink(missing_ok=True)
        result = Outcome(code, out.read_text(errors="replace"), said, hung, hit)
        out.unlink()
        err.unlink()
        return result

    def need(self, *words: str) -> Outcome:
        """A call that nothing disturbs, and that has to succeed."""
        done = self.call(*words)
        if done.code:
            raise RuntimeError(f"{' '.join(words)}: exit status {done.code}: {done.errors}")
        return done

    # -- what there is -------------------------------------------------------------------------

    def processes(self) -> set[int]:
        """The living descendants of this process that were not there in the beginning. The dead are reaped."""
        try:
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass
        except ChildProcessError:
            pass
        found: set[int] = set()
        above = [os.getpid()]
        while above:
            pid = above.pop()
            try:
                children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            except OSError:
                continue
            for child in map(int, children):
                if child not in found and _alive(child):
                    found.add(child)
                    above.append(child)
        return found - self.others

    def mounted(self) -> str:
        """The mounts of this namespace."""
        return Path("/proc/self/mountinfo").read_text()

    def cgroups(self) -> list[str]:
        """The cgroups that are there for a container."""
        return [str(path) for group in self.groups for path in group.glob("*/")]

    def listed(self) -> set[str]:
        """The files: what lies about in the state directory, the bundle and the root file system."""
        found = {str(path.relative_to(self.directory)) for path in self.directory.rglob("*")}
        return found - {"state", "bundle/rootfs/ran", "log"}

    def left(self) -> list[str]:
        """What is there that was not there before the container, in words. Ends of processes are waited for."""
        await_true(lambda: not self.processes(), 3)
        found = [f"process {pid} ({_name(pid)})" for pid in self.processes()]
        found += [f"cgroup {path}" for path in self.cgroups()]
        if self.mounted() != self.mounts:
            before = set(self.mounts.splitlines())
            found += [f"mount {line}" for line in self.mounted().splitlines() if line not in before]
        found += [f"file {path}" for path in sorted(self.listed() - self.files)]
        found += [f"{path} is gone" for path in sorted(self.files - self.listed())]
        return found

    # -- the container -------------------------------------------------------------------------

    def shell(self, script: str) -> None:
        """What the container is to run."""
        if self.bundle.config["process"]["args"][-1] != script:
            self.bundle.shell(script)

    def ran(self) -> bool:
        """Whether the container's program has run, which is waited for."""
        return await_true((self.bundle.rootfs / "ran").exists)

    def has_run(self) -> bool:
        """Whether the container's program has run by now."""
        return (self.bundle.rootfs / "ran").exists()

    def program_pid(self) -> int:
        """The process that executes the container's program, 0: there is none."""
        return next(iter(self.named("sleep")), 0)

    def terminals(self) -> int:
        """How many terminals have come over the console socket since this was last asked. They are closed."""
        count = 0
        while True:
            try:
                connection, _ = self.console.accept()
            except BlockingIOError:
                return count
            with connection:
                descriptors = socket.recv_fds(connection, 64, 1)[1]
            for fd in descriptors:
                os.close(fd)
                count += 1

    def setting(self, name: str) -> str:
        """What a file of the container's cgroup says, "" where none has it."""
        found = [path.read_text().strip() for group in self.groups for path in group.glob(f"{self.id}/{name}")]
        return found[0] if found else ""

    def frozen(self) -> bool:
        """Whether the container's cgroup is frozen."""
        return "frozen 1" in self.setting("cgroup.events") or self.setting("freezer.state") == "FROZEN"

    def named(self, name: str) -> list[int]:
        """The processes that execute a program."""
        return [pid for pid in self.processes() if _name(pid) == name]

    def clear(self) -> None:
        """Take away by hand all that is left."""
        self.clear_marks()
        self.forget_pid_files()
        self.pid_file.unlink(missing_ok=True)
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        await_true(lambda: not self.processes())
        for path in self.cgroups():
            for below in sorted(Path(path).rglob("*/"), reverse=True):
                below.rmdir()
            Path(path).rmdir()
        shutil.rmtree(self.root, ignore_errors=True)

    def clear_marks(self) -> None:
        """What programs have left."""
        for name in ("ran", "exec"):
            (self.bundle.rootfs / name).unlink(missing_ok=True)

    def forget_pid_files(self) -> None:
        """Unfinished ones, which a kill -9 leaves."""
        for path in self.directory.glob(".pid.*"):
            path.unlink()

    def close(self) -> None:
        """Leave nothing."""
        self.call("delete", "--force", self.id)
        self.clear()
        self.console.close()
        for group in self.groups:
            group.rmdir()
        shutil.rmtree(self.directory)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "gone"
