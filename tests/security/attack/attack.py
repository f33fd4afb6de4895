"""Attackers in containers, beside which containers of every kind are made: `make attack`.

    make attack ATTACK_ARGS='--seconds 3600 --runtime /usr/sbin/runc'

Three attackers (attacker.c) look at every new process of their pid namespace, all the time: one in a pid namespace
that other containers join by path, one in the host's, both as root with an engine's default capabilities, and one that
is an unprivileged user's, in the host's. Each is known to see: a decoy stands in its pid namespace at the beginning, a
process in a user namespace of the attacker's own that has kept the host's root directory. Beside them containers are
created, started, executed into and deleted, one kind after the other, until the time is over.

What is printed: how many containers and calls there were, how many processes the attackers have tried, and what they
have got. The exit status is 1 where they have got anything, or where a call failed that should not.

Root runs it, where there is a C compiler. It has a mount namespace and a pid namespace of its own, which plays the
host's: other runtimes that the machine runs meanwhile are not attacked.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support import ROOT, Bundle, make_bundle

SOURCE = Path(__file__).with_name("attacker.c")
USER = 1000
FIRST = 300000  # of the ids of user namespaces; not those of the other tests, whose quota of keys it would use up
MAPS = [{"containerID": 0, "hostID": FIRST, "size": 65536}]
OWN = [{"containerID": 0, "hostID": USER, "size": 1}]
SPACES = ("network", "ipc", "uts", "mount")
ENGINES_DEFAULT = [
    f"CAP_{name}"
    for name in (
        "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT "
        "KILL AUDIT_WRITE"
    ).split()
]
PROC = [{"destination": "/proc", "type": "proc", "source": "proc"}]
# Where the pid namespace is not the user namespace's, the kernel refuses a new procfs.
HOSTS_PROC = [{"destination": "/proc", "type": "bind", "source": "/proc", "options": ["rbind"]}]
Json = dict[str, Any]


def compile_attacker(target: Path) -> None:
    """The attacker as a static program. Raises FileNotFoundError without a compiler."""
    words = [shutil.which("cc") or "cc", "-O2", "-Wall", "-static", "-o", str(target), str(SOURCE)]
    subprocess.run(words, check=True)


class Attacker:
    """A running attacker. pid: as the host sees it."""

    def __init__(self, attack: "Attack", name: str, runtime: "Caller", config: Json) -> None:
        self.name = name
        self.bundle = attack.bundle(name, {"process": {"args": ["/attacker", str(attack.canary)]}, **config})
        shutil.copy(attack.program, self.bundle.rootfs / "attacker")
        self.output = self.bundle.path / "attacker-says"
        self.id = runtime.create(self.bundle, self.output)
        runtime("start", self.id)
        self.pid = runtime.pid(self.id)
        self.start = 0

    def lines(self) -> list[list[str]]:
        text = self.output.read_text(errors="replace")
        return [line.split() for line in text.splitlines()[self.start :] if line]

    def tried(self) -> int:
        return max((int(words[1]) for words in self.lines() if words[0] == "TRIED"), default=0)

    def got(self) -> "list[tuple[str, str]]":
        """What was got, and the name of the process it was got of."""
        return [(words[1], words[3] if len(words) > 3 else "") for words in self.lines() if words[0] == "GOT"]

    def sees(self) -> None:
        """Show it a decoy, and forget what it says of that. Raises AssertionError where it does not see."""
        kind = "user" if self.name == "rootless" else "pid"
        words = ["nsenter", f"--{kind}=/proc/{self.pid}/ns/{kind}", "unshare", "--user", "sleep", "60"]
        decoy = subprocess.Popen(words, stdout=subprocess.DEVNULL, cwd="/", start_new_session=True)
        try:
            end = time.monotonic() + 20
            while time.monotonic() < end and not self.got():
                time.sleep(0.1)
            assert self.got(), f"the attacker {self.name} does not see the decoy"
        finally:
            # nsenter has a child in the other pid namespace.
            os.killpg(decoy.pid, signal.SIGKILL)
            decoy.wait()
        time.sleep(0.3)
        self.start = len(self.output.read_text(errors="replace").splitlines())


class Caller:
    """Calls of the runtime, counted. user: who calls; None for root."""

    def __init__(self, attack: "Attack", program: str, user: "int | None" = None) -> None:
        self.attack = attack
        self.program = program
        self.user = user
        self.state = attack.directory / (f"state-{user}" if user else "state")
        self.ids: list[str] = []

    def __call__(self, *words: str, output: "Path | None" = None) -> bool:
        """Whether the call succeeded; a failure is noted with what it said."""
        out = output or self.attack.directory / f"said-{self.user or 0}"
        who: Any = {"user": self.user, "group": self.user, "extra_groups": []} if self.user else {}
        with open(out, "ab") as file:
            begin = file.tell()
            done = subprocess.run(
                [self.program, "--root", str(self.state), *words],
                check=False, stdin=subprocess.DEVNULL, stdout=file, stderr=file, cwd="/", timeout=60, **who,
            )  # fmt: skip
        self.attack.calls[words[0]] += 1
        if done.returncode:
            said = out.read_bytes()[begin:].decode(errors="replace").strip().splitlines()
            text = re.sub(r'^time="[^"]*" |pyrunc-attack-[^/ ]*', "", said[-1] if said else str(done.returncode))
            self.attack.failed[f"{words[0]}: {text}"[:300]] += 1
        return not done.returncode

    def create(self, bundle: Bundle, output: "Path | None" = None) -> str:
        id = self.attack.new_id()
        self.ids.append(id)
        self("create", "--bundle", str(bundle.path), id, output=output)
        return id

    def pid(self, id: str) -> int:
        """The init's. What was made before must be there: an error is one of `failed`."""
        assert not self.attack.failed, self.attack.failed
        words = [self.program, "--root", str(self.state), "state", id]
        who: Any = {"user": self.user, "group": self.user, "extra_groups": []} if self.user else {}
        return int(json.loads(subprocess.run(words, check=True, capture_output=True, **who).stdout)["pid"])

    def delete(self, id: str) -> None:
        self.ids.remove(id)
        self("delete", "--force", id)
        # The first process of a pid namespace does not end before the last one in it was waited for.
        reap()


class Attack:
    """Everything that is needed, in a directory of its own, which __exit__ removes with all containers.

    calls: how many of each command. failed: what those said that failed. made: containers of each kind.
    """

    def __init__(self, runtime: str) -> None:
        self.runtime = runtime
        self.calls: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.made: Counter[str] = Counter()
        self.attackers: list[Attacker] = []
        self.numbers: Iterator[int] = iter(range(1 << 30))

    def __enter__(self) -> "Attack":
        self.directory = Path(tempfile.mkdtemp(prefix="pyrunc-attack-", dir="/var/tmp"))
        self.directory.chmod(0o755)
        self.canary = self.directory / "canary"
        self.canary.write_text("the host's\n")
        for user in (0, USER):
            said = self.directory / f"said-{user}"
            said.touch()
            os.chown(said, user, user)
        state = self.directory / f"state-{USER}"
        state.mkdir(mode=0o700)
        os.chown(state, USER, USER)
        self.program = self.directory / "attacker"
        compile_attacker(self.program)
        self.root = Caller(self, self.runtime)
        self.user = Caller(self, self.runtime, USER)
        return self

    def __exit__(self, *exception: object) -> None:
        self.end()
        shutil.rmtree(self.directory, ignore_errors=True)

    def end(self) -> None:
        """Delete all containers."""
        for caller in (self.root, self.user):
            for id in list(reversed(caller.ids)):
                caller.delete(id)

    def new_id(self) -> str:
        """Not another attack's, whose pid namespace has the same numbers."""
        return f"{self.directory.name}-{next(self.numbers)}"

    def bundle(self, name: str, changes: Json) -> Bundle:
        # 1.0.2: older runtimes know no later one.
        it = make_bundle(self.directory / name, {"ociVersion": "1.0.2", "mounts": PROC})
        capabilities = dict.fromkeys(("bounding", "effective", "permitted"), ENGINES_DEFAULT)
        return it.update({"process": {"capabilities": capabilities}}).update(changes)

    # -- attackers, and those beside them ----------------------------------------------------------

    def prepare(self) -> None:
        """Start the attackers, and make the bundles of the containers beside them."""
        spaces = [{"type": kind} for kind in SPACES]
        private = Attacker(self, "shared", self.root, {"linux": {"namespaces": [*spaces, {"type": "pid"}]}})
        host = Attacker(self, "host", self.root, {"linux": {"namespaces": spaces}})
        of_user = {
            "namespaces": [{"type": kind} for kind in ("ipc", "uts", "mount", "user")],
            "uidMappings": OWN, "gidMappings": OWN,
        }  # fmt: skip
        rootless = self._users("rootless", {"linux": of_user, "mounts": HOSTS_PROC})
        self.attackers += [private, host, rootless]
        for attacker in self.attackers:
            attacker.sees()
        joined = [*spaces, {"type": "pid", "path": f"/proc/{private.pid}/ns/pid"}]
        new: Json = {"namespaces": [*joined, {"type": "user"}], "uidMappings": MAPS, "gidMappings": MAPS}
        sleep = {"process": {"args": ["/bin/sleep", "1000"]}}
        hook = {"path": "/bin/true"}
        kinds = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart")
        hooks = {kind: [hook] for kind in kinds}
        source = self.directory / "source"
        source.mkdir()
        mapped = {
            "destination": "/mnt", "type": "bind", "source": str(source), "options": ["bind", "idmap"],
            "uidMappings": MAPS, "gidMappings": MAPS,
        }  # fmt: skip
        nodes = [{"type": "c", "path": f"/dev/x{n}", "major": 1, "minor": 3, "fileMode": 0o666} for n in range(4)]
        offsets = {"timeOffsets": {"monotonic": {"secs": 100}}}
        with_time = {**new, "namespaces": [*new["namespaces"], {"type": "time"}], **offsets}
        holder = self._given("holder", {**sleep, "linux": new})
        held = self.root.create(holder.args("/bin/sleep", "1000000"))
        self.root("start", held)
        pid = self.root.pid(held)
        # The maps are what older runtimes ask for.
        with_held = {**new, "namespaces": [*joined, {"type": "user", "path": f"/proc/{pid}/ns/user"}]}
        own = {"namespaces": [*spaces, {"type": "pid"}]}
        private_user = {**new, "namespaces": [*own["namespaces"], {"type": "user"}]}
        self.kinds: dict[str, Callable[[], None]] = {
            "new user namespace": self._run(self._given("new", {"linux": new})),
            "new user namespace, life": self._life(self._given("life", {**sleep, "linux": new})),
            "new user namespace, hooks": self._life(self._given("hooks", {**sleep, "linux": new, "hooks": hooks})),
            "joined user namespace": self._run(self._given("joined", {"linux": with_held})),
            "joined user namespace, life": self._life(self._given("joinedlife", {**sleep, "linux": with_held})),
            "user and time namespace": self._run(self._given("time", {"linux": with_time})),
            "own user and pid namespace": self._life(
                self._given("own", {**sleep, "mounts": PROC, "linux": private_user})
            ),
            "without user namespace": self._life(self.bundle("plain", {**sleep, "linux": {"namespaces": joined}})),
            "device nodes": self._run(self._given("devices", {"linux": {**new, "devices": nodes}})),
            "idmapped mount": self._run(self.bundle("idmapped", {"linux": own, "mounts": [*PROC, mapped]})),
            "idmapped mount, user namespace": self._run(
                self._given("idmapped2", {"linux": new, "mounts": [*HOSTS_PROC, mapped]})
            ),
            "fails": self._fails(self._given("fails", {"process": {"args": ["/missing"]}, "linux": new})),
            "exec beside an attacker": self._exec(private.id, host.id, held),
            "unprivileged": self._unprivileged(rootless),
        }

    def _given(self, name: str, changes: Json) -> Bundle:
        """A bundle whose root file system belongs to the container's root."""
        return self.bundle(name, {"mounts": HOSTS_PROC, **changes}).give(FIRST)

    def _users(self, name: str, config: Json) -> Attacker:
        path = self.directory / name
        path.mkdir(mode=0o755)
        os.chown(path, USER, USER)
        self.bundle(name, {}).give(USER)
        return Attacker(self, name, self.user, config)

    def _run(self, bundle: Bundle) -> Callable[[], None]:
        def kind() -> None:
            self.root("run", "--bundle", str(bundle.path), self.new_id())

        return kind

    def _life(self, bundle: Bundle, caller: "Caller | None" = None) -> Callable[[], None]:
        by = caller or self.root

        def kind() -> None:
            id = by.create(bundle)
            by("start", id)
            by("exec", id, "/bin/true")
            by("exec", "--cap", "CAP_SYS_ADMIN", id, "/bin/true")
            by.delete(id)

        return kind

    def _fails(self, bundle: Bundle) -> Callable[[], None]:
        def kind() -> None:
            before = self.failed.copy()
            self.root("run", "--bundle", str(bundle.path), self.new_id())
            assert self.failed != before
            self.failed = before

        return kind

    def _exec(self, *ids: str) -> Callable[[], None]:
        def kind() -> None:
            for id in ids:
                self.root("exec", id, "/bin/true")
                self.root("exec", "--user", "1000", id, "/bin/true")

        return kind

    def _unprivileged(self, attacker: Attacker) -> Callable[[], None]:
        spaces = [{"type": kind} for kind in ("ipc", "uts", "mount", "pid")]
        maps = {"uidMappings": OWN, "gidMappings": OWN}
        # One capability more than the attacker has. What has no more rights, in the same user namespace, is its equal:
        # an unprivileged user's created container waits as what its process will be, which it may trace as well.
        sets = {kind: [*ENGINES_DEFAULT, "CAP_SYS_NICE"] for kind in ("bounding", "effective", "permitted")}
        sleep: Json = {"args": ["/bin/sleep", "1000"], "capabilities": sets}
        linux = {"namespaces": [*spaces, {"type": "user"}], **maps}
        new = self.bundle("user-new", {"process": sleep, "linux": linux}).give(USER)
        path = f"/proc/{attacker.pid}/ns/user"
        linux = {"namespaces": [*spaces, {"type": "user", "path": path}]}
        joined = self.bundle("user-joined", {"process": sleep, "linux": linux}).give(USER)
        lives = self._life(new, self.user), self._life(joined, self.user)

        def kind() -> None:
            for life in lives:
                life()

        return kind

    # -- the time between ----------------------------------------------------------------------------

    def run(self, seconds: float) -> None:
        """Every kind once, whatever it takes, and again until the time is over."""
        end = time.monotonic() + seconds
        first = True
        while first or time.monotonic() < end:
            for name, kind in self.kinds.items():
                kind()
                reap()
                self.made[name] += 1
                if not first and time.monotonic() >= end:
                    break
            first = False

    def got(self) -> "Counter[str]":
        """What the attackers have got: "ATTACKER: WHAT of PROGRAM"."""
        return Counter(f"{it.name}: {what} of {name}" for it in self.attackers for what, name in it.got())

    def report(self) -> str:
        lines = [f"{sum(self.calls.values())} calls: " + ", ".join(f"{n} {name}" for name, n in self.calls.items())]
        lines += [f"{n} times {name}" for name, n in self.made.items()]
        lines += [f"attacker {it.name}: {it.tried()} tries" for it in self.attackers]
        lines += [f"FAILED {n} times: {what}" for what, n in self.failed.items()]
        lines += [f"GOT {n} times: {what}" for what, n in sorted(self.got().items())] or ["nothing got"]
        return "\n".join(lines)


def reap() -> None:
    """Wait for what is left to this process as the first of its pid namespace: a zombie keeps its session keyring."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


@contextmanager
def attack(runtime: str) -> "Iterator[Attack]":
    """A prepared Attack."""
    with Attack(runtime) as it:
        it.prepare()
        yield it


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--runtime", default=os.environ.get("RUNTIME") or str(ROOT / ".venv/bin/pyrunc"))
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if os.geteuid():
        parser.error("needs root")
    runtime = shutil.which(arguments.runtime)
    if runtime is None:
        parser.error(f"{arguments.runtime} does not exist")
    if not arguments.inside:
        unshare = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--mount-proc", "--kill-child"]
        again = [*unshare, sys.executable, "-m", "security.attack.attack", "--inside", *sys.argv[1:]]
        return subprocess.run(again, check=False, cwd=ROOT / "tests").returncode
    # A signal ends it as an exception does, so that nothing is left behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with attack(os.path.abspath(runtime)) as it:
        it.run(arguments.seconds)
        it.end()
        print(f"{arguments.runtime}, {arguments.seconds:.0f} seconds")
        print(it.report())
        return 1 if it.got() or it.failed else 0


if __name__ == "__main__":
    sys.exit(main())
