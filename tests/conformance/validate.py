"""Run the validation suite of the Open Containers Initiative against a runtime.

    run [--runtime PROGRAM] [--build] [--json FILE] [--verbose] [TEST ...]

Each test runs as root in a mount namespace, a folder and a state directory of its own, and what it
leaves behind is deleted. The results are compared with expected.toml: the exit status is 1 if a
test that should pass does not, or if one that should fail passes.

--build only builds the suite, for another machine: the guest has no Go. PYRUNC_CACHE says where.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path

from conformance import suite, tap

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TIMEOUT = 120.0


@dataclass
class Result:
    """One test's verdict (as tap.Report.verdict, or "timeout"), what failed, and its output."""

    name: str
    verdict: str
    detail: str
    output: str


def place() -> str:
    """Which column of expected.toml applies: "guest" is pure cgroup v2, "host" is anything else."""
    return "guest" if Path("/sys/fs/cgroup/cgroup.controllers").exists() else "host"


def run_test(name: str, programs: Path, runtime: str, work: Path) -> Result:
    """Run one test in `work`, an empty folder."""
    state = work / "state"
    wrapper = work / "runtime"
    wrapper.write_text(f'#!/bin/sh\nexec {runtime} --root {state} "$@"\n')
    wrapper.chmod(0o755)
    (work / "tmp").mkdir()
    cwd = work / "cwd"
    cwd.mkdir()
    for part in ("rootfs-amd64.tar.gz", "runtimetest"):
        # Copied by the tests, a symbolic link as a link.
        shutil.copy(programs / part, cwd / part)
    environment = {**os.environ, "RUNTIME": str(wrapper), "TMPDIR": str(work / "tmp")}
    status: int | None
    command = ["unshare", "--mount", "--propagation", "private", str(programs / name)]
    output = work / "output"
    # A file: what a test leaves running would keep a pipe open.
    with open(output, "w+b") as file:
        test = subprocess.Popen(command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        try:
            status = test.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            test.kill()
            test.wait()
            status = None
    if state.is_dir():
        for container in sorted(os.listdir(state)):
            subprocess.run(
                [str(wrapper), "delete", "--force", container],
                check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                stdin=subprocess.DEVNULL, timeout=TIMEOUT,
            )  # fmt: skip
    text = output.read_text(errors="replace")
    report = tap.read(text)
    if status is None:
        return Result(name, "timeout", f"no end after {TIMEOUT:.0f} s", text)
    if status and report.verdict != "fail":
        last = [line for line in text.splitlines() if line.strip()]
        return Result(name, "fail", f"exit status {status}: {last[-1] if last else ''}", text)
    return Result(name, report.verdict, "; ".join(report.failed or report.complaints)[:200], text)


def main() -> int:
    """Parse the arguments, run, print the table, compare."""
    parser = argparse.ArgumentParser(
        prog="tests/conformance/run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--runtime", default=os.environ.get("RUNTIME") or ROOT / ".venv/bin/pyrunc")
    parser.add_argument("--build", action="store_true", help="build the suite, run nothing")
    parser.add_argument("--json", type=Path, help="write the results, with the output, to a file")
    parser.add_argument("--verbose", action="store_true", help="show the output of what fails")
    parser.add_argument("tests", nargs="*", metavar="TEST")
    options = parser.parse_args()
    programs = suite.build()
    if options.build:
        print(programs)
        return 0
    if os.geteuid():
        raise SystemExit("conformance: needs root")
    runtime = shutil.which(str(options.runtime))
    if not runtime:
        raise SystemExit(f"conformance: {options.runtime} does not exist: make setup")
    names = suite.tests(programs)
    unknown = set(options.tests) - set(names)
    if unknown:
        raise SystemExit(f"conformance: no such test: {' '.join(sorted(unknown))}")
    results = []
    for name in options.tests or names:
        work = Path(tempfile.mkdtemp(prefix="pyrunc-oci-", dir="/var/tmp"))
        try:
            work.chmod(0o711)
            results.append(run_test(name, programs, os.path.abspath(runtime), work))
        finally:
            shutil.rmtree(work, ignore_errors=True)
    if options.json:
        options.json.write_text(json.dumps([asdict(r) for r in results], indent=1))
    return show(results, options.verbose)


def show(results: list[Result], verbose: bool) -> int:
    """Print the table and the sums; 1 if something is not as expected."""
    with open(HERE / "expected.toml", "rb") as file:
        expected = tomllib.load(file)
    where = place()
    unexpected = []
    for result in results:
        entry = expected.get(result.name, {})
        # Several verdicts, where the test itself is a race.
        allowed = entry.get(where, "pass")
        wanted = allowed if isinstance(allowed, list) else [allowed]
        mark = ""
        if result.verdict not in wanted:
            mark = f"  UNEXPECTED: should be {' or '.join(wanted)}"
            unexpected.append(result)
        elif result.verdict != "pass":
            mark = f"  ({entry['reason']})"
        print(f"{result.verdict:8} {result.name}{mark}")
        if "UNEXPECTED" in mark and result.detail:
            print(f"         {result.detail}")
        if verbose and result.verdict != "pass":
            print("         | " + result.output.rstrip().replace("\n", "\n         | "))
    count = {v: sum(r.verdict == v for r in results) for v in ("pass", "fail", "skip", "quiet")}
    others = len(results) - sum(count.values())
    print(
        f"{len(results)} tests ({where}): {count['pass']} passed, {count['fail']} failed, "
        f"{count['skip']} skipped, {count['quiet']} quiet, {others} timed out; "
        f"{len(unexpected)} not as expected"
    )
    return 1 if unexpected else 0


if __name__ == "__main__":
    sys.exit(main())
