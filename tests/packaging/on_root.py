"""What run.py looks at in a clean root: python3 on_root.py package|checkout|wheel ROUNDS. Needs nothing but Python.

Lines `figure: WHAT = HOW MUCH` go into run.py's table; a failure is an exception.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

BUNDLE = Path("/look/bundle")


def figure(what: str, much: str) -> None:
    print(f"figure: {what} = {much}", flush=True)


def call(*words: str, status: int = 0) -> str:
    """Run a command; what it prints."""
    with tempfile.TemporaryFile("w+") as output:  # a container may hold it open
        done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False, timeout=600)
        output.seek(0)
        said = output.read()
    print(f"+ {' '.join(words)}\n{said}", end="", flush=True)
    if done.returncode != status:
        raise AssertionError(f"{' '.join(words)}: exit status {done.returncode}\n{said}")
    return said


class Engine:
    """Calls a runtime as engines do. No cgroups: those of this machine are not ours."""

    def __init__(self, program: str) -> None:
        self.program = program
        self.rounds = 0
        self.failure = ""
        self.done = threading.Event()

    def call(self, *words: str, status: int = 0) -> str:
        return call(self.program, "--root", "/run/look", "--cgroup-manager", "disabled", *words, status=status)

    def create(self, id: str) -> None:
        self.call("create", "--bundle", str(BUNDLE), id)

    def use(self, id: str) -> None:
        """From `created` to its end."""
        self.call("start", id)
        self.finish(id)

    def finish(self, id: str) -> None:
        self.call("exec", id, "/bin/busybox", "true")
        assert json.loads(self.call("state", id))["status"] == "running"
        self.call("kill", id, "KILL")
        self.call("delete", "--force", id)

    def loop(self) -> None:
        while not self.done.is_set():
            try:
                self.create(f"loop{self.rounds}")
                self.use(f"loop{self.rounds}")
            except (AssertionError, OSError, subprocess.TimeoutExpired) as error:
                self.failure = str(error)
                return
            self.rounds += 1

    def during(self, install: Callable[[int], object], rounds: int) -> float:
        """The loop goes on while something is installed several times; the seconds that one installation took."""
        thread = threading.Thread(target=self.loop)
        thread.start()
        before = time.monotonic()
        try:
            for number in range(rounds):
                install(number)
                assert not self.failure, self.failure
        finally:
            self.done.set()
            thread.join()
        assert not self.failure, self.failure
        assert self.rounds >= rounds // 2
        return (time.monotonic() - before) / rounds


def make_bundle() -> None:
    rootfs = BUNDLE / "rootfs"
    for name in ("bin", "proc", "dev", "sys"):
        (rootfs / name).mkdir(parents=True, exist_ok=True)
    shutil.copy2("/bin/busybox", rootfs / "bin/busybox")
    config = {
        "ociVersion": "1.3.0",
        "root": {"path": "rootfs"},
        "process": {"args": ["/bin/busybox", "sleep", "600"], "cwd": "/", "user": {"uid": 0, "gid": 0}},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {"namespaces": [{"type": name} for name in ("pid", "mount", "ipc", "uts", "network")]},
    }
    (BUNDLE / "config.json").write_text(json.dumps(config))


def size(path: Path) -> float:
    """The megabytes that files take on disk."""
    return sum(file.lstat().st_blocks * 512 for file in [path, *path.rglob("*")]) / 1e6


def left(*but: str) -> list[str]:
    """Files and directories with our name, but for those below some."""
    found = []
    for top, directories, files in os.walk("/"):
        without = ("/proc", "/sys", "/dev", *but)
        directories[:] = [name for name in directories if os.path.join(top, name) not in without]
        found += [os.path.join(top, name) for name in (*directories, *files) if "pyrunc" in name]
    return found


def package(rounds: int) -> None:
    engine = Engine("/usr/bin/pyrunc")
    print(call("/usr/bin/pyrunc", "--version"))
    assert "form: image" in call("/usr/bin/pyrunc", "--version")
    listed = [Path(name) for name in call("dpkg", "-L", "pyrunc").split("\n")]
    taken = sum(file.lstat().st_blocks for file in listed if file.is_file() and not file.is_symlink()) * 512 / 1e6
    figure("package: size on disk, without compiled modules", f"{taken:.1f} MB")
    for file in ("share/man/man8/pyrunc.8.gz", "share/bash-completion/completions/pyrunc"):
        if not Path("/etc/dpkg/dpkg.cfg.d/excludes").exists():
            assert (Path("/usr") / file).exists(), file
    engine.create("simple")
    engine.use("simple")

    # Containers of the old program, at each point of their life, are the new one's, and the other way round.
    for name, deb in (("up", "second"), ("down", "first")):
        engine.create(f"{name}-created")
        engine.create(f"{name}-running")
        engine.call("start", f"{name}-running")
        call("dpkg", "-i", f"/packages/{deb}.deb")
        engine.use(f"{name}-created")
        engine.finish(f"{name}-running")

    debs = ("/packages/second.deb", "/packages/first.deb")
    seconds = engine.during(lambda number: call("dpkg", "-i", debs[number % 2]), rounds)
    much = f"{seconds:.1f} s each, {engine.rounds} containers"
    figure(f"package: dpkg -i over a running engine, {rounds} times", much)

    call("apt-get", "purge", "-y", "-q", "pyrunc")
    assert not left("/look", "/packages", "/var/cache", "/var/log", "/run"), left("/look", "/packages", "/var/cache")


def checkout(rounds: int) -> None:
    make = ("make", "-s", "-C", "/src/pyrunc")
    before = left("/src", "/look")
    call(*make, "install")
    engine = Engine("/usr/local/bin/pyrunc")
    assert "form: image" in call("/usr/local/bin/pyrunc", "--version")
    figure("make install: size on disk", f"{size(Path('/usr/local/lib/pyrunc')):.1f} MB")
    seconds = engine.during(lambda _: call(*make, "install"), rounds)
    figure(f"make install over a running engine, {rounds} times", f"{seconds:.1f} s each, {engine.rounds} containers")
    call(*make, "uninstall")
    assert left("/src", "/look", "/run") == before
    # For a package: the distribution's Python alone, no environment, no network.
    call("unshare", "-n", *make, "install", "DESTDIR=/look/staging", "PREFIX=/usr", "LIBRARIES=system")
    figure("make install LIBRARIES=system: size on disk", f"{size(Path('/look/staging')):.1f} MB")


def wheel(_: int) -> None:
    """pip takes the wheel with the executable where that runs, the one with the script elsewhere."""
    call("python3", "-m", "venv", "/look/environment")
    before = time.monotonic()
    call("/look/environment/bin/pip", "install", "-q", "--no-index", "--find-links=/wheels", "pyrunc")
    figure("wheel: installed in", f"{time.monotonic() - before:.1f} s")
    engine = Engine("/look/environment/bin/pyrunc")
    said = call(engine.program, "--version")
    version = "cp{}{}".format(*sys.version_info)
    fits = any(version in file.name for file in Path("/wheels").iterdir())
    assert f"form: {'image' if fits else 'script'}" in said
    figure("wheel: form", "image" if fits else "script")
    engine.create("wheel")
    engine.use("wheel")
    (BUNDLE / "config.json").write_text('{"ociVersion": "1.3.0", "root": 7}')
    assert "apt install python3-jsonschema" in engine.call("create", "--bundle", str(BUNDLE), "bad", status=1)


def main() -> None:
    what, rounds = sys.argv[1], int(sys.argv[2])
    make_bundle()
    {"package": package, "checkout": checkout, "wheel": wheel}[what](rounds)


if __name__ == "__main__":
    main()
