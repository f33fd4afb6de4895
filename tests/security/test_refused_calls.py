"""System calls of docs/nested.md, refused by a filter around pyrunc: each works, or is one error with one hint."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrunc.kernel.refused import SINCE
from pyrunc.machine.assembler import syscall_numbers
from security.conftest import FORBID
from support import IS_ROOT, ROOT, MakeBundle, Runtime

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="needs root")

NUMBERS = syscall_numbers(os.uname().machine) | {"pidfd_send_signal": 424, "fspick": 433, "flock": 73, "socketpair": 53}
if os.uname().machine == "aarch64":
    NUMBERS.update(flock=32, socketpair=199)
ERRNOS = {"EPERM": 1, "ENOSYS": 38}
#: Calls that other commands than create make.
LATER = {"pidfd_open": ["exec", "kill", "delete"], "pidfd_send_signal": ["kill", "delete"]}


def rows() -> Iterator[tuple[str, str, str, bool]]:
    """(call, since, errno, whether it works) of the table."""
    for line in (ROOT / "docs/nested.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) != 5 or not cells[0].startswith("`"):
            continue
        for call in re.findall("`(.*?)`", cells[0]):
            for errno, word in zip(ERRNOS, cells[2:4], strict=True):
                yield call, cells[1], errno, {"works": True, "error": False}[word]


ROWS = list(rows())


def test_the_table_has_them_all() -> None:
    assert {call for call, *_ in ROWS} == set(SINCE) - {"setns", "unshare"}
    for call, since, *_ in ROWS:
        assert SINCE[call] == since or call == "pidfd_send_signal"


def refused(runtime: Runtime, call: str, errno: str, *words: str) -> subprocess.CompletedProcess[str]:
    """A command of pyrunc where a system call is refused; its standard output and error come as stderr."""
    file = runtime.root.parent / "refused-output"
    with file.open("w") as output:
        line = [sys.executable, "-IS", str(FORBID), str(NUMBERS[call]), str(ERRNOS[errno]), *runtime.command(*words)]
        done = subprocess.run(line, check=False, stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=120)
    return subprocess.CompletedProcess(line, done.returncode, "", file.read_text())


def check_error(done: subprocess.CompletedProcess[str], call: str) -> None:
    assert done.returncode in (1, 255)
    assert "internal error" not in done.stderr
    assert done.stderr.count("level=error") == 1
    hints = [line for line in done.stderr.splitlines() if line.startswith("hint: ")]
    assert len(hints) == 1
    assert f"a seccomp filter is around pyrunc: let it allow {call} (" in hints[0]
    assert "seccomp=unconfined" in hints[0]


@pytest.mark.parametrize(("call", "since", "errno", "works"), ROWS, ids=[f"{it[0]}-{it[2]}" for it in ROWS])
def test_a_call_that_is_refused(
    call: str, since: str, errno: str, works: bool, runtime: Runtime, bundle: MakeBundle, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    made = bundle().args("/bin/sleep", "1000")
    mount = {"destination": "/mnt", "type": "bind", "source": str(source), "options": ["rbind", "ro"]}
    made.update({"mounts": [*made.config["mounts"], mount]})
    id = runtime.new_id()
    done = refused(runtime, call, errno, "create", "--bundle", str(made.path), id)
    if works or call in LATER:
        assert done.returncode == 0, done.stderr
    else:
        check_error(done, call)
        assert not (runtime.root / id).exists()
        runtime.create(made, id=id)
    done = refused(runtime, call, errno, "start", id)
    if call == "flock":
        check_error(done, call)
        assert runtime.state(id)["status"] == "created"
        runtime.call("start", id, check=True)
    else:
        assert done.returncode == 0, done.stderr
    assert runtime.state(id)["status"] == "running"
    if works:
        assert refused(runtime, call, errno, "exec", id, "/bin/true").returncode == 0
    for command in LATER.get(call, ()):
        words = {"exec": ["/bin/true"], "kill": ["KILL"], "delete": []}[command]
        flags = ["--force"] if command == "delete" else []
        check_error(refused(runtime, call, errno, command, *flags, id, *words), call)
        assert runtime.state(id)["status"] == "running"
    if call not in LATER and call != "flock":
        assert refused(runtime, call, errno, "delete", "--force", id).returncode == 0
