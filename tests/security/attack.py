"""An attacker in a container, beside which containers of every kind come and go: what does it get of the host?

    make attack [ATTACK_ARGS='--seconds 3600 --kinds shared']
    .venv/bin/python -m security.attack --runtime /usr/bin/runc --seconds 60

The attacker (reach.c) has root, the default capabilities and nothing else. Two places: "shared", where others join its
pid namespace, and "host", where it is in the host's. The victims are made, started, executed into and deleted in turn.
Prints a line a victim's kind: rounds, and what was got. Exit status 1 if anything was, 2 if no victim of a kind lived.

Everything happens in a directory, a mount namespace and a pid namespace of its own, which plays the host's: other
runtimes that the machine runs meanwhile are not attacked. Needs root and a C compiler.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support import ROOT, Bundle, Runtime, make_bundle, unique_id

SOURCE = Path(__file__).with_name("reach.c")
MAPS = [{"containerID": 0, "hostID": 100000, "size": 65536}]
CAPABILITIES = [
    *("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_NET_BIND_SERVICE"),
    *("CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT"),
]
OTHERS = ("network", "ipc", "uts", "mount")

Change = Callable[[Bundle, "Attack"], None]


class Attack:
    """The attacker, running in `runtime`. place: "shared" or "host"."""

    def __init__(self, runtime: Runtime, directory: Path, place: str) -> None:
        self.runtime, self.directory, self.place = runtime, directory, place
        self.id = unique_id("attacker")
        self.canary = directory / "canary"
        self.canary.write_text("the host's")
        self.canary.chmod(0o600)
        self.output = directory / "attacker.log"
        bundle = make_bundle(directory / "attacker")
        program = bundle.rootfs / "reach"
        subprocess.run(["cc", "-O2", "-static", "-o", str(program), str(SOURCE)], check=True)
        sets = dict.fromkeys(("bounding", "effective", "permitted"), CAPABILITIES)
        kinds = [*OTHERS, "cgroup"] if place == "host" else ["pid", *OTHERS]
        bundle.update({"process": {"capabilities": sets}, "linux": {"namespaces": [{"type": it} for it in kinds]}})
        bundle.args("/reach", str(self.canary))
        with open(self.output, "w") as output:
            subprocess.run(
                runtime.command("run", "--detach", "--bundle", str(bundle.path), self.id),
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self.pid = int(self._state()["pid"])
        self.wait("ready")

    def _state(self) -> Any:
        return self.runtime.state(self.id)

    def wait(self, word: str) -> None:
        until = time.monotonic() + 60
        while word not in self.output.read_text():
            assert time.monotonic() < until, self.output.read_text()
            time.sleep(0.01)

    def got(self) -> list[str]:
        """What the attacker has got so far."""
        assert self._state()["status"] == "running", "the attacker is gone"
        return [line for line in self.output.read_text().splitlines() if line.startswith("GOT")]

    def namespaces(self, *more: str) -> list[dict[str, str]]:
        """Those of a victim beside this attacker."""
        found = [{"type": it} for it in (*OTHERS, *more)]
        if self.place == "shared":
            found.append({"type": "pid", "path": f"/proc/{self.pid}/ns/pid"})
        return found


def user_namespace(bundle: Bundle, attack: Attack) -> None:
    bundle.give(100000)
    namespaces = attack.namespaces("user")
    bundle.update({"linux": {"namespaces": namespaces, "uidMappings": MAPS, "gidMappings": MAPS}})
    # The pid namespace is not its own: the kernel lets it mount no procfs of it. podman binds the host's, too.
    options = ["rbind", "nosuid", "noexec", "nodev"]
    bound = {"destination": "/proc", "type": "bind", "source": "/proc", "options": options}
    mounts = [bound if it["destination"] == "/proc" else it for it in bundle.config["mounts"]]
    bundle.update({"mounts": mounts, "linux": {"maskedPaths": [], "readonlyPaths": []}})


def plain(bundle: Bundle, attack: Attack) -> None:
    bundle.update({"linux": {"namespaces": attack.namespaces()}})


def unprivileged(bundle: Bundle, attack: Attack) -> None:
    plain(bundle, attack)
    bundle.update({"process": {"user": {"uid": 1000, "gid": 1000}}})


def hooks(bundle: Bundle, attack: Attack) -> None:
    """Those on the host; those in the container's namespaces are seen by whom they join."""
    user_namespace(bundle, attack)
    hook = [{"path": "/bin/true"}]
    bundle.update({"hooks": dict.fromkeys(("prestart", "createRuntime", "poststart", "poststop"), hook)})


def idmapped(bundle: Bundle, attack: Attack) -> None:
    source = attack.directory / "source"
    source.mkdir(exist_ok=True)
    mount = {
        "destination": "/mnt",
        "type": "none",
        "source": str(source),
        "options": ["bind"],
        "uidMappings": MAPS,
        "gidMappings": MAPS,
    }
    user_namespace(bundle, attack)
    bundle.update({"mounts": [*bundle.config["mounts"], mount]})


def devices(bundle: Bundle, attack: Attack) -> None:
    user_namespace(bundle, attack)
    nodes = [{"type": "c", "path": f"/dev/x{n}", "major": 1, "minor": 3, "fileMode": 0o666} for n in range(4)]
    bundle.update({"linux": {"devices": nodes}})


def time_namespace(bundle: Bundle, attack: Attack) -> None:
    user_namespace(bundle, attack)
    bundle.config["linux"]["namespaces"].append({"type": "time"})
    bundle.update({"linux": {"timeOffsets": {"monotonic": {"secs": 1000}}}})


VICTIMS: dict[str, Change] = {
    "user-namespace": user_namespace,
    "plain": plain,
    "unprivileged": unprivileged,
    "hooks": hooks,
    "idmapped": idmapped,
    "devices": devices,
    "time": time_namespace,
}


def life(runtime: Runtime, bundle: Path) -> bool:
    """Create, start, execute twice, kill, delete; whether all went well, as the attacker disturbs what it gets."""
    id = unique_id("victim")
    words = ("create", "--bundle", str(bundle), id)
    try:
        with open(os.devnull, "r+") as null:
            made = subprocess.run(runtime.command(*words), check=False, stdin=null, stdout=null, stderr=null)
        if made.returncode:
            return False
        commands = (("start", id), ("exec", id, "/bin/true"), ("exec", "--user", "5:5", id, "/bin/true"))
        return not sum(runtime.call(*command).returncode for command in commands)
    finally:
        runtime.call("delete", "--force", id)


def attack_all(
    runtime: Runtime, directory: Path, place: str, seconds: float, kinds: "list[str]"
) -> Iterator[tuple[str, int, int, list[str]]]:
    """For each kind of victim: its name, rounds, how many of them went well, and what the attacker got.

    seconds: for all together.
    """
    attack = Attack(runtime, directory, place)
    try:
        before = len(attack.got())
        for kind in kinds:
            bundle = make_bundle(directory / kind).args("/bin/sleep", "100")
            VICTIMS[kind](bundle, attack)
            bundle.path.chmod(0o755)
            until = time.monotonic() + seconds / len(kinds)
            rounds = well = 0
            while time.monotonic() < until or not rounds:
                well += life(runtime, bundle.path)
                rounds += 1
            time.sleep(0.05)
            found = attack.got()
            yield kind, rounds, well, found[before:]
            before = len(found)
    finally:
        runtime.call("delete", "--force", attack.id)


@contextmanager
def workplace() -> Iterator[Path]:
    """A directory that ids of a user namespace may enter."""
    directory = Path(tempfile.mkdtemp(prefix="pyrunc-attack-"))
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="Attack a runtime from inside a container.")
    parser.add_argument("--runtime", default=str(ROOT / ".venv/bin/pyrunc"))
    parser.add_argument("--seconds", type=float, default=120, help="for each place")
    parser.add_argument("--places", default="shared,host")
    parser.add_argument("--kinds", default=",".join(VICTIMS))
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.inside:
        unshare = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--mount-proc", "--kill-child"]
        again = [*unshare, sys.executable, "-m", "security.attack", "--inside", *sys.argv[1:]]
        return subprocess.run(again, check=False, cwd=Path(__file__).parent.parent).returncode
    status = 0
    for place in options.places.split(","):
        with workplace() as directory:
            runtime = Runtime(options.runtime, directory / "state")
            kinds = options.kinds.split(",")
            for kind, rounds, well, got in attack_all(runtime, directory, place, options.seconds, kinds):
                what = sorted({it.split()[1] for it in got})
                print(f"{place:8} {kind:16} {rounds:5} rounds, {well:5} whole lives, {len(got)} got {what}")
                sys.stdout.flush()
                status = 1 if got else status or (0 if well else 2)
    return status


if __name__ == "__main__":
    sys.exit(main())
