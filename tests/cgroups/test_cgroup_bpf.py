"""Device programs in the kernel: loaded, attached and replaced through pyrunc-init."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pyrunc import cgroups
from pyrunc.cgroups import Manager, bpf, detect, devices
from pyrunc.cgroups.v1 import hierarchies
from pyrunc.errors import Error
from pyrunc.machine import ops, session

Probe = Callable[[], str]
HOST = detect.detect()
DENY = {"allow": False, "access": "rwm"}


@pytest.fixture
def manager(needs_root: None) -> Iterator[Manager]:
    if not HOST.mount or not os.access(HOST.mount, os.W_OK):
        pytest.skip("no writable cgroup v2 is mounted")
    linux = {"cgroupsPath": f"/pyrunc-bpf-{os.getpid()}", "resources": {"devices": [DENY]}}
    it = cgroups.manager(linux, "id", driver="cgroupfs", rootless=False)
    it.create()
    yield it
    it.remove()


class Agent(session.Session):
    """A session with pyrunc-init that knows the process."""

    pid = 0


@pytest.fixture
def agent(manager: Manager) -> Iterator[Agent]:
    """A pyrunc-init that has the cgroup's directory as descriptor 560."""
    if not os.path.exists(session.init_path()):
        pytest.fail("pyrunc-init is not built")
    ours, number = session.pair(561)
    os.dup2(manager.dir(), 560)
    pid = session.spawn(number, (560,))
    for fd in (number, 560):
        os.close(fd)
    it = Agent(ours, "agent")
    it.pid = pid
    yield it
    it.close()
    os.waitpid(pid, 0)


@pytest.fixture
def probe(manager: Manager) -> Probe:
    """Returns what a process of the group can do: a letter for each of null, kmsg, mknod."""
    node = str(Path(manager.path).name)
    code = f"""
import os, stat, tempfile
open({manager.path + "/cgroup.procs"!r}, "w").write("0")
def can(do):
    try:
        do()
    except PermissionError:
        return "-"
    return "+"
def mknod():
    with tempfile.TemporaryDirectory() as where:
        os.mknod(where + "/{node}", 0o600 | stat.S_IFBLK, os.makedev(7, 0))
print(can(lambda: os.open("/dev/null", os.O_RDWR)), can(lambda: os.open("/dev/kmsg", os.O_RDONLY)),
      can(lambda: os.open("/dev/kmsg", os.O_RDWR)), can(mknod))
"""

    def run() -> str:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    return run


@pytest.fixture(autouse=True)
def v2_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver of v2 is what is tested here, also where v1 hierarchies are mounted beside it."""
    monkeypatch.setattr(hierarchies, "mounted", list)


def attach(agent: session.Session, program: bytes) -> int:
    steps = ops.Program()
    bpf.attach(steps, program, 560)
    steps.sync("done")
    return agent.run(steps).errno


def rules(*items: dict[str, Any]) -> bytes:
    return devices.device_program({"devices": [DENY, *items]})


def test_attach_and_replace(manager: Manager, agent: session.Session, probe: Probe) -> None:
    before = probe()
    assert before[0] == "+"
    program = manager.device_program()
    assert program is not None
    assert attach(agent, program) == 0
    (first,) = bpf.query(agent, 560)
    assert probe() == "+ - - +"
    kmsg = {"allow": True, "type": "c", "major": 1, "minor": 11}
    bpf.replace(agent, rules({**kmsg, "access": "r"}), 560)
    (second,) = bpf.query(agent, 560)
    assert second != first
    assert probe() == "+ + - +"
    bpf.replace(agent, rules({**kmsg, "access": "r"}, {**kmsg, "access": "w"}), 560)
    assert probe() == "+ + + +"
    bpf.replace(agent, rules({"allow": True}), 560)
    assert len(bpf.query(agent, 560)) == 1
    assert probe() == before


def test_replace_where_there_is_none_or_several(agent: session.Session, probe: Probe) -> None:
    bpf.replace(agent, rules(), 560)
    assert probe() == "+ - - +"
    everything = devices.compile([devices.Rule(True, 0, -1, -1, devices.ALL)])
    assert attach(agent, everything) == 0
    assert len(bpf.query(agent, 560)) == 2
    assert probe() == "+ - - +", "all programs have to agree"
    bpf.replace(agent, everything, 560)
    assert len(bpf.query(agent, 560)) == 1
    assert probe()[0] == "+"


def test_no_descriptor_is_left(agent: Agent) -> None:
    def descriptors() -> list[str]:
        return os.listdir(f"/proc/{agent.pid}/fd")

    assert attach(agent, rules()) == 0
    bpf.replace(agent, rules(), 560)
    bpf.replace(agent, rules(), 560)
    assert [os.readlink(f"/proc/{agent.pid}/fd/{fd}") for fd in descriptors()].count("anon_inode:bpf-prog") == 0


def test_what_is_no_program(agent: session.Session) -> None:
    assert attach(agent, b"\x95" + bytes(7)) != 0  # exit without a verdict
    with pytest.raises(Error, match=r"replace the device program \(linux/resources/devices\)"):
        bpf.replace(agent, b"\x95" + bytes(7), 560)


def test_optional_programs_are_skipped(agent: session.Session) -> None:
    steps = ops.Program()
    bpf.attach(steps, b"\x95" + bytes(7), 560, optional=True)
    steps.sync("done")
    assert agent.run(steps).errno == 0
    assert bpf.query(agent, 560) == ()


def test_the_verifier_takes_every_rule(agent: session.Session) -> None:
    items = [
        {"allow": allow, "type": kind, "major": major, "minor": minor, "access": access}
        for allow in (True, False)
        for kind in "abc"
        for major in (None, 1, 0xFFFFFFFF)
        for minor in (None, 3)
        for access in ("r", "rw", "rwm")
    ]
    bpf.replace(agent, devices.compile(devices.rules({"devices": items})), 560)
