"""The same bundles under pyrunc and under the runtimes that are installed: all facts must agree.

DIFF_REFERENCES limits the references ("runc", "crun" or both with a comma).
"""

import os
import re
import shutil
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from differential import (
    cases_errors,
    cases_hooks,
    cases_limits,
    cases_mounts,
    cases_namespaces,
    cases_process,
)
from differential.diff_base import base_config, write_config
from differential.diff_known import KNOWN
from differential.diff_probe import Facts
from differential.diff_run import Case, Workshop, observe
from support import Runtime

CASES = [
    *cases_process.CASES,
    *cases_mounts.CASES,
    *cases_namespaces.CASES,
    *cases_errors.CASES,
    *cases_hooks.CASES,
    *cases_limits.CASES,
]
REFERENCES = os.environ.get("DIFF_REFERENCES", "runc,crun").split(",")

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


class Bench:
    """The runtimes, and what each case gave under the runtime under test."""

    def __init__(self, launcher: str, root: Path) -> None:
        self.workshop = Workshop()
        self.subject = Runtime(launcher, root / "subject")
        self.references: dict[str, Runtime | str] = {}
        self.seen: dict[tuple[str, str], Facts] = {}
        self.explained: set[int] = set()
        self.compared: set[tuple[str, str]] = set()
        self.versions: dict[str, str] = {}
        for name in ("runc", "crun"):
            self.references[name] = self._reference(name, root)
            if isinstance(found := self.references[name], Runtime):
                first = found.call("--version", check=True).stdout.splitlines()[0]
                self.versions[name] = re.split(r"[^\d.]", first.split()[-1])[0]

    def _reference(self, name: str, root: Path) -> Runtime | str:
        """The runtime, or why it cannot be compared with."""
        program = shutil.which(name)
        if not program:
            return f"{name} is not installed"
        runtime = Runtime(program, root / name)
        with self.workshop.bundle() as bundle:
            config = base_config()
            config["process"]["args"] = ["/bin/true"]
            write_config(bundle.path, config)
            done = runtime.call("run", "--bundle", str(bundle.path), bundle.id)
            runtime.call("delete", "--force", bundle.id)
        if done.returncode:
            return f"{name} starts nothing here: {done.stderr.strip()[-200:]}"
        return runtime

    def facts(self, case: Case, name: str) -> Facts:
        """What a runtime gave; observed once a session, as all runtimes are compared in pairs."""
        key = (case.name, name)
        if key not in self.seen:
            runtime = self.subject if name == "subject" else self.references[name]
            assert isinstance(runtime, Runtime)
            self.seen[key] = observe(case, runtime, self.workshop)
        return self.seen[key]

    def close(self) -> None:
        self.workshop.close()


@pytest.fixture(scope="module")
def bench(launcher: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    it = Bench(launcher, tmp_path_factory.mktemp("roots"))
    yield it
    it.close()


def differences(ours: Facts, theirs: Facts) -> list[str]:
    """The keys that differ; where one container failed, only that counts."""
    keys = ours.keys() | theirs.keys()
    if "failed" in keys:
        keys = {"exit", "failed"}
    return sorted(key for key in keys if ours.get(key) != theirs.get(key))


@pytest.mark.parametrize("reference", REFERENCES)
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_agrees(case: Case, reference: str, bench: Bench) -> None:
    """Every fact is runc's, or its difference is listed.

    The runtimes do not agree with each other in all. So what differs from crun has to be listed
    only if it is not runc's value either.
    """
    if isinstance(reason := bench.references[reference], str):
        pytest.skip(reason)
    if case.needs and (reason := case.needs()):
        pytest.skip(reason)
    ours = bench.facts(case, "subject")
    theirs = bench.facts(case, reference)
    bench.compared.add((case.name, reference))
    keys = differences(ours, theirs)
    if reference != "runc" and isinstance(bench.references["runc"], Runtime) and keys:
        field = bench.facts(case, "runc")
        keys = [key for key in keys if key in differences(ours, field)]
    unexplained = []
    for key in keys:
        known = [n for n, k in enumerate(KNOWN) if k.explains(case.name, key, reference)]
        bench.explained.update(known)
        if not known:
            unexplained.append(f"{key}:\n    here    {ours.get(key)!r}\n    {reference}    {theirs.get(key)!r}")
    if unexplained:
        pytest.fail(f"{len(unexplained)} differences\n" + "\n".join(unexplained), pytrace=False)


def test_names_are_unique() -> None:
    names = [case.name for case in CASES]
    assert len(names) == len(set(names))


def test_known_differences_exist(bench: Bench) -> None:
    """An entry that explains nothing any more is stale, if all its cases were compared here."""
    stale = []
    for number, known in enumerate(KNOWN):
        meant = {
            (case.name, name)
            for case in CASES
            for name in bench.references
            if fnmatchcase(case.name, known.cases) and known.was_seen_with(name, bench.versions.get(name, ""))
        }
        if meant and meant <= bench.compared and number not in bench.explained:
            stale.append(f"{known.cases} {known.key}: {known.reason}")
    if stale:
        pytest.fail("stale entries of diff_known.py\n" + "\n".join(stale), pytrace=False)
