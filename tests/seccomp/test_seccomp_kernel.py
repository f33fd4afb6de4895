"""Compiled filters, loaded into this kernel: a child loads one and makes calls under it."""

import ctypes
import errno
import fcntl
import json
import os
import platform
import signal
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyrunc.seccomp import Filter, cache, filter_for

pyseccomp = pytest.importorskip("pyseccomp")

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="the calls used here are those of x86_64")

SECCOMP, MKDIR, GETPPID, PERSONALITY = 317, 83, 110, 135
PR_SET_NO_NEW_PRIVS = 38
libc = ctypes.CDLL(None, use_errno=True)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "SYSTEM", str(tmp_path))


def load(made: Filter) -> int:
    """seccomp(2) on the calling thread; the listener's descriptor, or 0."""

    class Program(ctypes.Structure):
        _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_char_p)]

    program = Program(len(made.program) // 8, made.program)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    result = libc.syscall(SECCOMP, 1, made.flags, ctypes.byref(program))
    if result < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    return int(result)


def under(profile: dict[str, Any], *calls: tuple[int, ...]) -> list[Any]:
    """Errno of each raw call (0 for success) in a child under the filter; its signal at the end."""
    made = filter_for(profile)
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            load(made)
            for call in calls:
                ctypes.set_errno(0)
                result = libc.syscall(*map(ctypes.c_long, call))
                os.write(writing, struct.pack("i", ctypes.get_errno() if result < 0 else 0))
        except OSError as error:
            os.write(writing, struct.pack("i", -(error.errno or 1)))
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as file:
        results: list[Any] = [each[0] for each in struct.iter_unpack("i", file.read())]
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status):
        results.append(signal.Signals(os.WTERMSIG(status)))
    return results


def rule(name: str, action: str, **more: Any) -> dict[str, Any]:
    return {"names": [name], "action": action, **more}


def permissive(*rules: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": list(rules), **more}


CALL = (MKDIR, 0, 0)  # EFAULT where it is let through


@pytest.mark.parametrize(
    ("action", "more", "result"),
    [
        ("SCMP_ACT_ERRNO", {}, [errno.EPERM]),
        ("SCMP_ACT_ERRNO", {"errnoRet": 100}, [100]),
        ("SCMP_ACT_ERRNO", {"errnoRet": 0}, [0]),
        ("SCMP_ACT_KILL", {}, [signal.SIGSYS]),
        ("SCMP_ACT_KILL_THREAD", {}, [signal.SIGSYS]),
        ("SCMP_ACT_KILL_PROCESS", {}, [signal.SIGSYS]),
        ("SCMP_ACT_TRAP", {}, [signal.SIGSYS]),
        ("SCMP_ACT_LOG", {}, [errno.EFAULT]),
        ("SCMP_ACT_TRACE", {}, [errno.ENOSYS]),
    ],
)
def test_actions(action: str, more: dict[str, int], result: list[Any]) -> None:
    assert under(permissive(rule("mkdir", action, **more)), CALL) == result


def test_arguments() -> None:
    """personality: the flag is refused, everything else let through."""
    condition = {"index": 0, "op": "SCMP_CMP_MASKED_EQ", "value": 0xFF, "valueTwo": 8}
    profile = permissive(rule("personality", "SCMP_ACT_ERRNO", errnoRet=77, args=[condition]))
    ask = 0xFFFF_FFFF
    assert under(profile, (PERSONALITY, 8), (PERSONALITY, 0x1F08), (PERSONALITY, ask)) == [
        77,
        77,
        0,
    ]


@pytest.mark.parametrize("engine", ["docker", "podman", "cri"])
def test_profiles_of_the_engines_load(engine: str) -> None:
    profile = json.loads((Path(__file__).parent / "profiles" / f"{engine}.json").read_text())
    refused = profile.get("defaultErrnoRet", errno.EPERM)
    no_randomization = (PERSONALITY, 0x0040000)
    assert under(profile, (GETPPID,), no_randomization, (999,)) == [0, refused, errno.ENOSYS]


@pytest.mark.parametrize(
    "flags",
    [
        None,
        [],
        ["SECCOMP_FILTER_FLAG_TSYNC"],
        ["SECCOMP_FILTER_FLAG_LOG"],
        ["SECCOMP_FILTER_FLAG_SPEC_ALLOW"],
        ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
    ],
)
def test_flags_are_taken(flags: Any) -> None:
    assert under(permissive(rule("mkdir", "SCMP_ACT_ERRNO"), flags=flags), CALL) == [errno.EPERM]


def answer_one(listener: int, answer: Callable[[int], tuple[int, int]]) -> None:
    """Receive one notification (seccomp_unotify(2)) and answer it with (value, -errno)."""
    notification = bytearray(80)
    fcntl.ioctl(listener, 0xC0502100, notification, True)
    number, _, _, call = struct.unpack_from("=QIIi", notification)
    value, error = answer(call)
    fcntl.ioctl(listener, 0xC0182101, struct.pack("=QqiI", number, value, error, 0))


@pytest.mark.parametrize("flags", [None, ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]])
def test_notify(flags: Any) -> None:
    """The listener's descriptor goes to the parent, which answers in the kernel's place."""
    profile = permissive(rule("mkdir", "SCMP_ACT_NOTIFY"), listenerPath="/agent", flags=flags)
    made = filter_for(profile)
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        listener = load(made)
        socket.send_fds(theirs, [b"x"], [listener])
        ctypes.set_errno(0)
        libc.syscall(MKDIR, 0, 0)
        os._exit(ctypes.get_errno())
    _, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
    seen = []

    def answer(call: int) -> tuple[int, int]:
        seen.append(call)
        return 0, -errno.EXDEV

    answer_one(descriptors[0], answer)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == errno.EXDEV
    assert seen == [MKDIR]
    os.close(descriptors[0])
    ours.close()
    theirs.close()
