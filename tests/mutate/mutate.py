"""Weaken one security check at a time, and see that a test notices: `make mutate`.

    make mutate MUTATE_ARGS='-k procfs --jobs 1'

In a copy of the checkout each weakening of weakenings.toml is applied, pyrunc is built, and the tests are run that the
weakening names, until one fails: it is "killed" then. One that all of them pass has "survived": the check is
tested by nobody. Before that the same tests have to pass in a copy that is as it should be, since a test that fails
anyway shows nothing; and a weakened pyrunc still has to run a plain container, since one that is broken shows nothing
either. What is skipped on this machine is "not tried here".

The exit status is 1 where a weakening has survived, 2 where the list or the tests are at fault.
"""

import argparse
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

from mutate.weakenings import Weakening, load
from support import IS_ROOT, PURE_V2, ROOT, make_bundle

LEFT_OUT = (
    *(".git", ".venv", "build", "rootfs", "__pycache__", "pyrunc-init", "*.egg-info"),
    *(".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", ".stamps"),
)
TIMEOUT = 600.0  # seconds, for the tests of one weakening
# What is the whole machine's, and what a weakened pyrunc might write to: put back after each, were it changed.
GUARDED = ("/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/kernel/hostname")
_moments = itertools.count(1)


class Outcome(NamedTuple):
    """What became of a weakening: "killed", "survived", "not tried here" or "broken"; and by what, or why."""

    word: str
    detail: str


class Results(NamedTuple):
    """Of one run of tests: names of those that passed, that failed with the first line of why, and were skipped."""

    passed: list[str]
    failed: list[tuple[str, str]]
    skipped: list[tuple[str, str]]
    text: str


class Copy:
    """A copy of the checkout that can be changed at will."""

    def __init__(self, directory: Path) -> None:
        self.root = directory
        shutil.copytree(ROOT, directory, symlinks=True, ignore=shutil.ignore_patterns(*LEFT_OUT))
        venv = directory / ".venv"
        (venv / "bin").mkdir(parents=True)
        for name in ("python", "python3"):
            (venv / "bin" / name).symlink_to(os.path.realpath(ROOT / ".venv/bin/python"))
        shutil.copy(ROOT / ".venv/pyvenv.cfg", venv)
        (venv / "lib").symlink_to(ROOT / ".venv/lib")
        self.bundle = make_bundle(directory / "build/plain")
        self.build()

    def write(self, file: str, text: str) -> None:
        """Replace a file; what was compiled of it does not count any more."""
        path = self.root / file
        path.write_text(text)
        # Python compares times by the second: no two versions may have the same.
        moment = time.time() + next(_moments)
        os.utime(path, (moment, moment))
        if path.suffix == ".c":
            (self.root / "pyrunc/machine/pyrunc-init").unlink(missing_ok=True)

    def build(self) -> str:
        """Build pyrunc; what the build said, where it failed."""
        words = [".venv/bin/python", "tools/build_parts.py", "--launcher", ".venv/bin/pyrunc"]
        done = subprocess.run(words, check=False, cwd=self.root, capture_output=True, text=True)
        return done.stdout + done.stderr if done.returncode else ""

    def runs(self) -> str:
        """Why a plain container does not run; "" where it does."""
        state = self.root / "build/state"
        words = [".venv/bin/pyrunc", "--root", str(state), "run", "--bundle", str(self.bundle.path)]
        done = subprocess.run(
            [*apart(), *words, f"plain-{os.getpid()}-{next(_moments)}"],
            check=False,
            cwd=self.root,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=60,
        )
        return done.stderr.strip() or f"exit status {done.returncode}" if done.returncode else ""

    def test(self, nodes: Iterable[str], *more: str) -> Results:
        """Run tests of the copy, by their node ids from `tests/` on. Raises RuntimeError where pytest itself fails."""
        report = self.root / "build/report.xml"
        report.unlink(missing_ok=True)
        words = [".venv/bin/python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "0", f"--junitxml={report}"]
        running = subprocess.Popen(
            [*apart(), *words, *more, *(f"tests/{node}" for node in nodes)],
            cwd=self.root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            text = running.communicate(timeout=TIMEOUT)[0]
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            running.communicate()
            return Results([], [("tests", f"not done after {TIMEOUT:.0f} s")], [], "")
        if running.returncode not in (0, 1):
            raise RuntimeError(f"pytest ended with {running.returncode}:\n{text}")
        return read_report(report, text)


def apart() -> list[str]:
    """Words before a command that keep its mounts to itself."""
    return ["unshare", "--mount", "--propagation", "private"] if IS_ROOT else []


def read_report(report: Path, text: str) -> Results:
    """What a JUnit report says."""
    results = Results([], [], [], text)
    for case in ElementTree.parse(report).iter("testcase"):
        name = case.get("name") or ""
        bad = case.find("failure")
        if bad is None:
            bad = case.find("error")
        skipped = case.find("skipped")
        if bad is not None:
            results.failed.append((name, (bad.get("message") or "").partition("\n")[0]))
        elif skipped is not None:
            results.skipped.append((name, skipped.get("message") or ""))
        else:
            results.passed.append(name)
    return results


def the_machines() -> dict[str, str]:
    """The texts of the guarded files."""
    return {path: Path(path).read_text() for path in GUARDED if os.access(path, os.R_OK)}


def put_back(before: dict[str, str]) -> str:
    """Put back what has been changed of the guarded files, and say so."""
    changed = [path for path, text in the_machines().items() if text != before.get(path)]
    for path in changed:
        Path(path).write_text(before[path])
    return f"it has changed {', '.join(changed)} of this machine, which is put back" if changed else ""


def weaken(copy: Copy, weakening: Weakening) -> Outcome:
    """Try one weakening; the copy, and the machine, are as before afterwards."""
    if weakening.only == "v1" and PURE_V2:
        return Outcome("not tried here", "needs hierarchies of cgroup v1")
    machine = the_machines()
    strong = (copy.root / weakening.file).read_text()
    copy.write(weakening.file, strong.replace(weakening.text, weakening.weak))
    try:
        fault = copy.build() or copy.runs()
        if fault:
            return Outcome("broken", fault)
        results = copy.test(weakening.tests, "-x")
    finally:
        copy.write(weakening.file, strong)
        copy.build()
        changed = put_back(machine)
    if changed:
        return Outcome("broken", f"{changed}; its tests must not be able to")
    if results.failed:
        name, why = results.failed[0]
        return Outcome("killed", f"{name}: {why}")
    if not results.passed:
        return Outcome("not tried here", "; ".join(sorted({why for _, why in results.skipped})))
    return Outcome("survived", f"{len(results.passed)} tests passed: {', '.join(weakening.tests)}")


def try_all(copies: "list[Copy]", chosen: Sequence[Weakening]) -> list[Outcome]:
    """The outcome of each, printed as it is known."""
    free: SimpleQueue[Copy] = SimpleQueue()
    for copy in copies:
        free.put(copy)

    def one(weakening: Weakening) -> Outcome:
        copy = free.get()
        try:
            outcome = weaken(copy, weakening)
        finally:
            free.put(copy)
        print(f"{outcome.word:14} {weakening.check} ({weakening.file})\n{'':14}   {outcome.detail[:300]}", flush=True)
        return outcome

    with ThreadPoolExecutor(len(copies)) as pool:
        return list(pool.map(one, chosen))


def main(arguments: "list[str] | None" = None) -> int:
    parser = argparse.ArgumentParser(prog="mutate", description=__doc__.partition("\n")[0])
    parser.add_argument("-k", metavar="WORD", default="", help="only the weakenings with WORD in their check or file")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many at once")
    parser.add_argument("--list", action="store_true", help="show the list, and do nothing")
    options = parser.parse_args(arguments)
    chosen = [it for it in load() if options.k in it.check or options.k in it.file]
    if options.list:
        for it in chosen:
            print(f"{it.check} ({it.file})")
        return 0
    faults = [f"{it.check}: {fault}" for it in chosen if (fault := it.fault(ROOT))]
    if faults or not chosen:
        print("\n".join(faults) or "no such weakening", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="pyrunc-mutate-", dir="/var/tmp") as directory:
        os.chmod(directory, 0o755)  # user namespaces' roots have to reach it
        copies = [Copy(Path(directory) / str(number)) for number in range(min(options.jobs, len(chosen)))]
        before = copies[0].test(sorted({node for it in chosen for node in it.tests}))
        if before.failed:
            print(before.text, file=sys.stderr)
            print("mutate: these tests fail without any weakening, so they show nothing", file=sys.stderr)
            return 2
        print(f"without a weakening: {len(before.passed)} tests passed, {len(before.skipped)} were skipped", flush=True)
        outcomes = try_all(copies, chosen)
    words = [outcome.word for outcome in outcomes]
    counts = ", ".join(f"{words.count(word)} {word}" for word in ("killed", "survived", "not tried here", "broken"))
    print(f"{len(chosen)} weakenings: {counts}")
    return 2 if "broken" in words else 1 if "survived" in words else 0


if __name__ == "__main__":
    sys.exit(main())
