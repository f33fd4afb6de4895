"""What `--debug` tells of a process in the making: what pyrunc does, in its own words."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pyrunc.kernel import cpu_lists
from support import IS_ROOT, ROOT, MakeBundle, Runtime

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="needs root")

MADE = ["pyrunc-init: N bytes in a sealed memfd", "host agent N, on CPUs N, has made process N"]
EXECUTES = "process N is told to execute its program"
# What runc says of processes and files that pyrunc does not have.
OF_RUNC = ("nsexec", "exeseal", "child process in init", "setns_init", "closing the pipe")


def messages(text: str) -> list[str]:
    """Those of level debug in a text log, with the numbers in them made equal."""
    found = re.findall(r'level=debug msg="(.*)"$', text, re.MULTILINE)
    return [re.sub(r"\d+(?:[-,]\d+)*", "N", line) for line in found]


def told(text: str) -> list[str]:
    """Those of the messages that are about the process, not about its cgroup or the filter."""
    return [line for line in messages(text) if line.startswith(("pyrunc-init", "host agent", "process"))]


def test_run(runtime: Runtime, bundle: MakeBundle) -> None:
    runtime.flags = ["--debug"]
    done = runtime.run(bundle().args("/bin/echo", "hello"), check=True)
    assert done.stdout == "hello\n"
    assert told(done.stderr) == [*MADE, EXECUTES]


def test_create(runtime: Runtime, bundle: MakeBundle, tmp_path: Path) -> None:
    log = tmp_path / "log"
    runtime.flags = ["--debug", "--log", str(log), "--log-format", "text"]
    id = runtime.create(bundle().args("/bin/sleep", "100"))
    text = log.read_text()
    assert told(text) == [*MADE, "process N is told to wait for start"]
    assert f"process {runtime.state(id)['pid']} is told to wait" in text


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_into_a_file(runtime: Runtime, bundle: MakeBundle, tmp_path: Path, log_format: str) -> None:
    log = tmp_path / "log"
    runtime.flags = ["--debug", "--log", str(log), "--log-format", log_format]
    done = runtime.run(bundle().args("/bin/echo", "hello"), check=True)
    assert (done.stdout, done.stderr) == ("hello\n", "")
    if log_format == "text":
        assert MADE[1] in messages(log.read_text())
    else:
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        made = [line["msg"] for line in lines if line["level"] == "debug" and "has made process" in line["msg"]]
        assert len(made) == 1


def test_nothing_without_it(runtime: Runtime, bundle: MakeBundle) -> None:
    assert runtime.run(bundle().args("/bin/true"), check=True).stderr == ""


def test_exec(runtime: Runtime, bundle: MakeBundle) -> None:
    id = runtime.create(bundle().args("/bin/sleep", "100"))
    runtime.flags = ["--debug"]
    done = runtime.call("exec", id, "/bin/true", check=True)
    assert told(done.stderr) == [*MADE, EXECUTES]


@pytest.mark.parametrize("given", [True, False])
def test_cpus(runtime: Runtime, bundle: MakeBundle, tmp_path: Path, given: bool) -> None:
    """Those on which the agent enters the container: execCPUAffinity.initial, or the caller's."""
    ours = sorted(os.sched_getaffinity(0))
    expected = {ours[-1]} if given else set(ours)
    process: dict[str, Any] = {"cwd": "/", "args": ["/bin/true"]}
    if given:
        process["execCPUAffinity"] = {"initial": str(ours[-1])}
    file = tmp_path / "process.json"
    file.write_text(json.dumps(process))
    id = runtime.create(bundle().args("/bin/sleep", "100"))
    done = subprocess.run(
        [*runtime.command(), "--debug", "exec", "--process", str(file), id],
        check=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    cpus = re.search(r"host agent \d+, on CPUs ([0-9,-]+), has made", done.stderr)
    assert cpus is not None
    assert {cpu for low, high in cpu_lists.parse(cpus[1], 8192) for cpu in range(low, high + 1)} == expected


@pytest.mark.parametrize("words", OF_RUNC)
def test_nothing_of_another_runtimes_processes(words: str) -> None:
    assert [file for file in (ROOT / "pyrunc").rglob("*.py") if words in file.read_text()] == []


@pytest.mark.parametrize(("numbers", "text"), [((), ""), ((5,), "5"), ((3, 0, 1, 2, 7), "0-3,7"), ((0, 2), "0,2")])
def test_list_of_cpus(numbers: tuple[int, ...], text: str) -> None:
    assert cpu_lists.text(numbers) == text
