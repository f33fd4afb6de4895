"""Device access as the eBPF program decides it, with real device nodes."""

import json
import subprocess
from typing import Any

import pytest

from limits.limit_base import Driver, disk, wait_until
from support import Bundle, Json

pytestmark = pytest.mark.guest

UPDATES = 30
DENY = {"allow": False, "access": "rwm"}
KMSG = {"allow": True, "type": "c", "major": 1, "minor": 11}


def with_nodes(driver: Driver, devices: list[Json], script: str) -> Bundle:
    """A bundle whose program may make nodes, and read the kernel's log but for the device rules."""
    bundle = driver.bundle({"devices": devices})
    names = ["CAP_MKNOD", "CAP_SYSLOG", "CAP_DAC_OVERRIDE"]
    sets = dict.fromkeys(("bounding", "effective", "permitted"), names)
    return bundle.update({"process": {"capabilities": sets}}).shell(script)


def said(driver: Driver, devices: list[Json], script: str) -> list[str]:
    """The words that a script prints, one for each of its questions."""
    return driver.runtime.run(with_nodes(driver, devices, script), check=True).stdout.split()


def opens(how: str, path: str, word: str) -> str:
    """Shell: print `word` if the node can be opened so, else no-`word`."""
    return f"if {{ :; }} 2>/dev/null {how}{path}; then echo {word}; else echo no-{word}; fi\n"


MAKE = "mknod /dev/log c 1 11 && echo made\n"
LOG = MAKE + opens("<", "/dev/log", "read") + opens(">", "/dev/log", "write")


@pytest.mark.parametrize(
    ("rules", "answers"),
    [
        ([DENY], ["made", "no-read", "no-write"]),
        ([], ["made", "no-read", "no-write"]),
        ([DENY, {**KMSG, "access": "r"}], ["made", "read", "no-write"]),
        ([DENY, {**KMSG, "access": "rw"}], ["made", "read", "write"]),
        ([DENY, {**KMSG, "access": "rw"}, {**KMSG, "allow": False, "access": "w"}],
         ["made", "read", "no-write"]),
        ([DENY, {"allow": True, "type": "c", "major": 1, "access": "rw"}],
         ["made", "read", "write"]),
        ([{"allow": True, "access": "rwm"}], ["made", "read", "write"]),
    ],
)  # fmt: skip
def test_rules_decide(driver: Driver, rules: list[Json], answers: list[str]) -> None:
    assert said(driver, rules, LOG) == answers


def test_a_block_device_that_may_be_made_and_read(driver: Driver) -> None:
    major, minor = map(int, disk().split(":"))
    node = f"mknod /dev/disk b {major} {minor} && echo made\n"
    script = node + opens("<", "/dev/disk", "read") + opens(">>", "/dev/disk", "write")
    rule = {"allow": True, "type": "b", "major": major, "minor": minor, "access": "rm"}
    assert said(driver, [DENY, rule], script) == ["made", "read", "no-write"]
    assert said(driver, [DENY], script) == ["made", "no-read", "no-write"]


def test_default_devices_work(driver: Driver) -> None:
    script = "".join(opens("<>", f"/dev/{name}", name) for name in ("null", "zero", "full", "random", "urandom"))
    script += "head -c 3 /dev/zero | wc -c; echo x >/dev/full || echo full-is-full\n"
    script += "head -c 4 /dev/urandom | wc -c; test -c /dev/ptmx && echo ptmx"
    assert said(driver, [DENY], script) == [
        "null", "zero", "full", "random", "urandom", "3", "full-is-full", "4", "ptmx",
    ]  # fmt: skip


def test_exec_is_held_to_the_same(driver: Driver) -> None:
    bundle = with_nodes(driver, [DENY], MAKE + "sleep 1000")
    id, _ = driver.start(bundle)
    wait_until(lambda: "made" in (bundle.path / "output").read_text(), "the node")
    done = driver.runtime.call("exec", "--cap", "CAP_SYSLOG", id, "/bin/cat", "/dev/log")
    assert done.returncode == 1
    assert "Operation not permitted" in done.stderr


def attached(path: str) -> list[Any]:
    """The device programs of a cgroup, as bpftool tells."""
    done = subprocess.run(["bpftool", "-j", "cgroup", "list", path], capture_output=True, text=True, check=True)
    programs: list[Any] = json.loads(done.stdout or "[]")
    return [program for program in programs if "device" in program["attach_type"]]


def test_updates_leave_no_gap(driver: Driver) -> None:
    """The forbidden device stays forbidden and an allowed one allowed while rules change."""
    attempt = "if { :; } 2>/dev/null </dev/log; then echo OPENED; fi\n"
    attempt += "if { :; } 2>/dev/null </dev/zero; then n=$((n+1)); else echo LOST; fi\n"
    script = MAKE + f"n=0; trap 'echo done $n; exit' TERM\nwhile :; do\n{attempt}done"
    bundle = with_nodes(driver, [DENY], script)
    id, group = driver.start(bundle)
    output = bundle.path / "output"
    wait_until(lambda: "made" in output.read_text(), "the node")
    (first,) = attached(str(group.path))
    for number in range(UPDATES):
        rules = [DENY, {"allow": True, "type": "c", "major": 10, "minor": number, "access": "rw"}]
        document = json.dumps({"devices": rules, "pids": {"limit": 100 + number}})
        driver.runtime.call("update", "--resources", "-", id, input=document, check=True)
        programs = attached(str(group.path))
        assert len(programs) == 1
        assert programs[0]["id"] != first["id"]
        first = programs[0]
    assert group["pids.max"] == str(99 + UPDATES)
    driver.runtime.call("kill", id, "TERM", check=True)
    driver.stopped(id)
    words = output.read_text().split()
    assert words[:2] == ["made", "done"]
    assert int(words[2]) > 100
    assert len(words) == 3


def test_an_update_of_rules_takes_hold(driver: Driver) -> None:
    script = MAKE + "while :; do " + opens("<", "/dev/log", "read") + "sleep 0.1; done"
    bundle = with_nodes(driver, [DENY], script)
    id, _ = driver.start(bundle)
    output = bundle.path / "output"

    def last() -> str:
        return (output.read_text().split() or [""])[-1]

    wait_until(lambda: last() == "no-read", "refused")
    for rules, answer in (([DENY, {**KMSG, "access": "r"}], "read"), ([DENY], "no-read")):
        document = json.dumps({"devices": rules})
        driver.runtime.call("update", "--resources", "-", id, input=document, check=True)
        wait_until(lambda answer=answer: last() == answer, answer)  # type: ignore[misc]


def test_an_update_of_other_limits_keeps_the_rules(driver: Driver) -> None:
    bundle = with_nodes(driver, [DENY, {**KMSG, "access": "r"}], "sleep 1000")
    id, group = driver.start(bundle)
    before = attached(str(group.path))
    driver.runtime.call("update", "--pids-limit", "77", id, check=True)
    assert attached(str(group.path)) == before
