"""Run the engines' scenarios with pyrunc, and with runc as the control.

    run [--machine uml|qemu] [--engines LIST] [--only GLOB] [--full] [--subject NAME] [--manager M]

For each engine every scenario is run with the control first. A failure is a scenario that passes with
the control and fails with pyrunc; what fails with the control as well says nothing about pyrunc, and is
listed. --full makes the loops as long as they are meant to be: 100 in a row, 50 at once.
"""

import argparse
import os
import shutil
import sys
import time
import traceback
from dataclasses import dataclass
from fnmatch import fnmatchcase

from engines import scenarios_cli
from engines.leftovers import leftovers
from engines.scenarios import ALL, Engine, Failed, NotHere, Scenario
from engines.setups import MAKERS, prepare


@dataclass
class Outcome:
    """One scenario under one runtime: "pass", "fail" or "skip", and why."""

    verdict: str
    detail: str = ""
    seconds: float = 0.0


def attempt(scenario: Scenario, engine: Engine) -> Outcome:
    """Run one scenario and remove what it started."""
    begin = time.monotonic()
    outcome = Outcome("pass")
    try:
        scenario.act(engine)
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


def compare(name: str, scenarios: list[Scenario], options: argparse.Namespace) -> tuple[int, int]:
    """Run an engine's scenarios with both runtimes; returns the failures and those of both."""
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
    failures = both = 0
    for scenario_name, subject in results[options.subject].items():
        control = results[options.control][scenario_name]
        if subject.verdict != "fail":
            continue
        if control.verdict == "fail":
            both += 1
            print(f"known: {name} {scenario_name} fails with {options.control} as well")
        else:
            failures += 1
            print(f"FAILURE: {name} {scenario_name}\n{indented(subject.detail)}")
    return failures, both


def main() -> int:
    """Parse the arguments, prepare the engines, run, sum up."""
    parser = argparse.ArgumentParser(
        prog="tests/engines/run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--machine", choices=("uml", "qemu"), default="uml")
    parser.add_argument("--engines", default=",".join(MAKERS))
    parser.add_argument("--only", default="*", metavar="GLOB")
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
            if name in s.engines and fnmatchcase(s.name, options.only) and s.machine in ("", options.machine)
        ]
        for name in names
    }
    if options.list:
        for name, scenarios in chosen.items():
            print("\n".join(f"{name} {s.name}" for s in scenarios))
        return 0
    if os.geteuid() or not os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        raise SystemExit("engines: needs root and cgroup v2, as the guest machine has")
    if options.full:
        scenarios_cli.Counts.serial, scenarios_cli.Counts.parallel = 100, 50
    prepare()
    failures = both = total = 0
    for name, scenarios in chosen.items():
        if scenarios:
            failed, known = compare(name, scenarios, options)
            failures, both, total = failures + failed, both + known, total + len(scenarios)
    print(
        f"{total} scenarios with {options.subject}: {failures} fail that pass with "
        f"{options.control}, {both} fail with both"
    )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
