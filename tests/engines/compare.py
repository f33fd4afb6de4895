"""Run the engines' scenarios with pyrunc, and with runc as the control.

    run [--machine uml|qemu] [--engines LIST] [--only GLOB] [--full] [--subject NAME] [--manager M]

For each engine every scenario is run with the control first. A failure is a scenario that passes with
the control and fails with pyrunc, or that finds something else with pyrunc; what fails with the control
as well says nothing about pyrunc, and is listed with the control's result. known.py lists the differences
that are wanted. The status is 1 if there is a failure. --full makes the loops as long as they are meant
to be: 100 in a row, 50 at once.
"""

import argparse
import os
import shutil
import sys
import time
import traceback
from dataclasses import dataclass, field
from difflib import unified_diff
from fnmatch import fnmatchcase
from importlib import import_module

from engines import known
from engines.leftovers import leftovers
from engines.scenarios import ALL, Counts, Engine, Failed, NotHere, Scenario, command
from engines.setups import MAKERS, prepare

# The modules whose scenarios there are, in their order.
for _part in "cli options errors life terminal pods docker ctr cri crictl same".split():
    import_module(f"engines.scenarios_{_part}")

V2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")


@dataclass
class Outcome:
    """One scenario under one runtime: "pass", "fail" or "skip", and why."""

    verdict: str
    detail: str = ""
    seconds: float = 0.0
    value: object = None


def attempt(scenario: Scenario, engine: Engine) -> Outcome:
    """Run one scenario and remove what it started."""
    begin = time.monotonic()
    outcome = Outcome("pass")
    if V2:
        # A container of runc's that mounts the hierarchy anew takes these flags from the host, and from all later ones.
        command("mount", "-o", "remount,nsdelegate,memory_recursiveprot", "/sys/fs/cgroup")
    try:
        outcome.value = scenario.act(engine)
    except Failed as error:
        outcome = Outcome("fail", str(error))
    except NotHere as error:
        outcome = Outcome("skip", str(error))
    except Exception:  # a broken answer of the engine is a failure, and the others have to go on
        outcome = Outcome("fail", traceback.format_exc(limit=-3))
    try:
        engine.clean()
    except Failed as error:
        if outcome.verdict == "pass":
            outcome = Outcome("fail", f"cleaning up: {error}")
    outcome.seconds = time.monotonic() - begin
    return outcome


def indented(text: str) -> str:
    return "        | " + text.strip().replace("\n", "\n        | ")


@dataclass
class Summary:
    """What has been found so far."""

    total: int = 0
    passed: int = 0
    failures: list[str] = field(default_factory=list)
    wanted: list[str] = field(default_factory=list)
    both: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def add(self, engine: str, scenario: str, control: Outcome, subject: Outcome) -> None:
        """Judge one scenario's two outcomes."""
        name = f"{engine} {scenario}"
        self.total += 1
        if subject.verdict == "skip":
            self.skipped.append(f"{name}: {subject.detail}")
        elif subject.verdict == "fail" and control.verdict == "fail":
            why = known.reason(engine, scenario) or first_line(control.detail)
            self.both.append(f"{name}: {why}")
        elif subject.verdict == "fail":
            self.failures.append(f"{name}\n{indented(subject.detail)}")
        elif control.verdict == "pass" and (lines := differences(control.value, subject.value)):
            left, reasons = known.explain(engine, scenario, lines)
            if left:
                self.failures.append(f"{name} differs\n{indented(chr(10).join(left))}")
            else:
                self.wanted.append(f"{name}: {'; '.join(reasons)}")
        else:
            self.passed += 1

    def show(self, control: str, subject: str) -> None:
        """The end of the output."""
        for title, lines in (
            ("skipped", self.skipped),
            (f"fail with {control} as well", self.both),
            (f"differ from {control}, as wanted", self.wanted),
            (f"FAIL with {subject} only", self.failures),
        ):
            if lines:
                print(f"== {title}: {len(lines)}")
                print("\n".join(lines))
        print(
            f"== {self.total} results with {subject}: {self.passed} as with {control}, {len(self.wanted)} differ as "
            f"wanted, {len(self.both)} fail with both, {len(self.skipped)} skipped, {len(self.failures)} FAILURES",
            flush=True,
        )


def first_line(text: str) -> str:
    """What a failure says, in short."""
    return next((line for line in reversed(text.strip().splitlines()) if line.strip()), "")[:200]


def differences(control: object, subject: object) -> list[str]:
    """The lines that differ, "-" for the control's and "+" for the subject's."""
    lines = unified_diff(str(control).splitlines(), str(subject).splitlines(), lineterm="", n=0)
    return [line for line in lines if not line.startswith(("---", "+++", "@@"))]


def compare(name: str, scenarios: list[Scenario], options: argparse.Namespace, summary: Summary) -> None:
    """Run an engine's scenarios with both runtimes."""
    results: dict[str, dict[str, Outcome]] = {}
    for runtime in dict.fromkeys((options.control, options.subject)):
        path = shutil.which(runtime)
        if not path:
            raise SystemExit(f"engines: {runtime} is not installed")
        try:
            engine = MAKERS[name](runtime, path, options.machine, options.manager)
        except Failed as error:
            outcome = Outcome("fail", f"setting up {name}: {error}")
            results[runtime] = {s.name: outcome for s in scenarios}
            print(f"{name:16} {runtime:8} {outcome.detail}", flush=True)
            continue
        results[runtime] = {}
        for scenario in scenarios:
            found = results[runtime][scenario.name] = attempt(scenario, engine)
            line = f"{name:16} {scenario.name:28} {runtime:8} {found.verdict:5} {found.seconds:5.1f} s"
            print(line, flush=True)
            if found.verdict == "fail":
                print(indented(found.detail), flush=True)
        left = leftovers(runtime)
        results[runtime]["nothing-left-behind"] = Outcome("fail" if left else "pass", left)
    nothing, before = Outcome("pass"), len(summary.failures)
    for scenario_name, subject in results[options.subject].items():
        summary.add(name, scenario_name, results[options.control].get(scenario_name, nothing), subject)
    for failure in summary.failures[before:]:
        print(f"FAIL: {failure}", flush=True)


def main() -> int:
    """Parse the arguments, prepare the engines, run, sum up."""
    parser = argparse.ArgumentParser(
        prog="tests/engines/run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--machine", choices=("uml", "qemu"), default="uml")
    parser.add_argument("--engines", default=",".join(MAKERS))
    parser.add_argument("--only", action="append", metavar="GLOB", help="may be given more than once")
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--control", default="runc")
    parser.add_argument("--subject", default="pyrunc")
    parser.add_argument("--manager", choices=("systemd", "cgroupfs"), default="systemd")
    parser.add_argument("--list", action="store_true", help="list the scenarios and stop")
    options = parser.parse_args()
    names = options.engines.split(",")
    if unknown := [name for name in names if name not in MAKERS]:
        parser.error(f"no such engine: {', '.join(unknown)}")
    chosen = {
        name: [
            s
            for s in ALL
            if name in s.engines
            and any(fnmatchcase(s.name, glob) for glob in options.only or ["*"])
            and s.machine in ("", options.machine)
        ]
        for name in names
    }
    if options.list:
        for name, scenarios in chosen.items():
            print("\n".join(f"{name} {s.name}" for s in scenarios))
        return 0
    if os.geteuid():
        raise SystemExit("engines: needs root")
    if not V2 and options.manager == "systemd":
        raise SystemExit("engines: the systemd manager needs cgroup v2, as the guest machine has")
    if options.full:
        Counts.serial, Counts.parallel = 100, 50
    prepare()
    summary = Summary()
    for name, scenarios in chosen.items():
        if scenarios:
            compare(name, scenarios, options, summary)
    summary.show(options.control, options.subject)
    return 1 if summary.failures or not summary.passed else 0


if __name__ == "__main__":
    sys.exit(main())
