"""What `--debug` tells of a process in the making, in the words that runc's users look for."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support import IS_ROOT, MakeBundle, Runtime

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="needs root")

MADE = ["nsexec container setup", "nsexec[N]: affinity: MASK", "child process in init()"]


def messages(text: str) -> list[str]:
    """Those of level debug in a text log, with what differs from run to run made equal."""
    found = re.findall(r'level=debug msg="(.*)"$', text, re.MULTILINE)
    return [re.sub(r"\[\d+\]: affinity: 0x[0-9a-f]+", "[N]: affinity: MASK", line) for line in found]


def told(text: str) -> list[str]:
    """Those of the messages that are about the process, not about its cgroup or the filter."""
    return [line for line in messages(text) if line.startswith(("nsexec", "child", "init:", "setns"))]


def test_run(runtime: Runtime, bundle: MakeBundle) -> None:
    runtime.flags = ["--debug"]
    done = runtime.run(bundle().args("/bin/echo", "hello"), check=True)
    assert done.stdout == "hello\n"
    assert told(done.stderr) == [*MADE, "init: closing the pipe to signal completion"]


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_into_a_file(runtime: Runtime, bundle: MakeBundle, tmp_path: Path, log_format: str) -> None:
    log = tmp_path / "log"
    runtime.flags = ["--debug", "--log", str(log), "--log-format", log_format]
    done = runtime.run(bundle().args("/bin/echo", "hello"), check=True)
    assert (done.stdout, done.stderr) == ("hello\n", "")
    if log_format == "text":
        assert MADE[2] in messages(log.read_text())
    else:
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        assert MADE[2] in [line["msg"] for line in lines if line["level"] == "debug"]


def test_nothing_without_it(runtime: Runtime, bundle: MakeBundle) -> None:
    assert runtime.run(bundle().args("/bin/true"), check=True).stderr == ""


def test_exec(runtime: Runtime, bundle: MakeBundle) -> None:
    id = runtime.create(bundle().args("/bin/sleep", "100"))
    runtime.flags = ["--debug"]
    done = runtime.call("exec", id, "/bin/true", check=True)
    assert told(done.stderr) == [*MADE, "setns_init: about to exec"]


@pytest.mark.parametrize("given", [True, False])
def test_affinity(runtime: Runtime, bundle: MakeBundle, tmp_path: Path, given: bool) -> None:
    """The CPUs on which the agent enters the container: execCPUAffinity.initial, or the caller's."""
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
    mask = re.search(r"nsexec\[\d+\]: affinity: 0x([0-9a-f]+)\"", done.stderr)
    assert mask is not None
    assert {cpu for cpu in range(8192) if int(mask[1], 16) >> cpu & 1} == expected
