"""criu's messages, its conversation and its log, without criu."""

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyrunc.checkpoint import criu_rpc
from pyrunc.errors import Error

LOG = """(00.000041) Version: 4.1 (gitid 0)
(00.016402) Warn  (criu/kerndat.c:1103): something is odd
(00.017000) Error (criu/mount.c:1088): mnt: Mount 41 ./x (master_id: 0) is not supported
(00.017100) Dumping finished
(00.018000) Error (criu/cr-dump.c:2111): Dumping FAILED.
"""


def test_wire_format() -> None:
    # Each byte by protobuf's rules: key is number << 3 | type, integers in groups of seven bits.
    assert criu_rpc.encode({1: 1}) == b"\x08\x01"
    assert criu_rpc.encode({2: 300}) == b"\x10\xac\x02"
    assert criu_rpc.encode({12: True}) == b"\x60\x01"
    assert criu_rpc.encode({13: "abc"}) == b"\x6a\x03abc"
    assert criu_rpc.encode({37: ["a", "b"]}) == b"\xaa\x02\x01a\xaa\x02\x01b"
    assert criu_rpc.encode({7: -1}) == b"\x38" + b"\xff" * 9 + b"\x01"


def test_what_is_encoded_can_be_decoded() -> None:
    message: dict[int, criu_rpc.Value] = {1: 6, 2: 1, 5: criu_rpc.encode({1: "post-restore", 2: 70000})}
    fields = criu_rpc.decode(criu_rpc.encode(message))
    assert fields[1] == 6
    assert criu_rpc.decode(fields[5]) == {1: b"post-restore", 2: 70000}


@pytest.mark.parametrize("data", [b"\x08", b"\x6a\x05abc", b"\x0d\0\0\0\0", b"\x80"])
def test_nonsense_is_an_error(data: bytes) -> None:
    with pytest.raises(Error, match="criu answered nonsense"):
        criu_rpc.decode(data)


@pytest.mark.skipif(not os.path.exists("/usr/include/criu/rpc.proto"), reason="needs /usr/include/criu/rpc.proto")
def test_numbers_are_those_of_the_proto() -> None:
    import re

    text = Path("/usr/include/criu/rpc.proto").read_text()
    body = text[text.index("message criu_opts {") :]
    found = dict(re.findall(r"\w+\s+(\w+)\s*=\s*(\d+)", body[: body.index("\n}")]))
    assert {name: int(found[name]) for name in criu_rpc.OPTIONS} == criu_rpc.OPTIONS


def converse(answers: Callable[[socket.socket], None], notify: criu_rpc.Notify, log: Path) -> dict[int, Any]:
    """Call a criu that a thread plays."""
    ours, theirs = criu_rpc.pair()

    def play() -> None:
        with theirs:
            answers(theirs)

    thread = threading.Thread(target=play)
    thread.start()
    try:
        with ours:
            return criu_rpc.call(ours, criu_rpc.RESTORE, {"pid": 5, "root": "/r"}, notify, str(log))
    finally:
        thread.join()


def notification(name: str, pid: int) -> bytes:
    return criu_rpc.encode({1: criu_rpc.NOTIFY, 2: True, 5: criu_rpc.encode({1: name, 2: pid})})


def test_notifications(tmp_path: Path) -> None:
    seen: list[tuple[str, int, bytes]] = []
    heard: list[dict[int, Any]] = []

    def answers(sock: socket.socket) -> None:
        heard.append(criu_rpc.decode(sock.recv(4096)))
        sock.send(notification("pre-restore", 0))
        heard.append(criu_rpc.decode(sock.recv(4096)))
        reading, writing = os.pipe()
        os.write(writing, b"master")
        socket.send_fds(sock, [notification("orphan-pts-master", 7)], [reading])
        os.close(reading)
        os.close(writing)
        heard.append(criu_rpc.decode(sock.recv(4096)))
        sock.send(criu_rpc.encode({1: criu_rpc.RESTORE, 2: True, 4: criu_rpc.encode({1: 7})}))

    def notify(name: str, pid: int, fds: list[int]) -> None:
        seen.append((name, pid, b"".join(os.read(fd, 10) for fd in fds)))
        for fd in fds:
            os.close(fd)

    response = converse(answers, notify, tmp_path / "restore.log")
    assert criu_rpc.decode(response[4]) == {1: 7}
    assert seen == [("pre-restore", 0, b""), ("orphan-pts-master", 7, b"master")]
    assert heard[0][1] == criu_rpc.RESTORE
    assert criu_rpc.decode(heard[0][2]) == {2: 5, 13: b"/r"}
    assert heard[1] == heard[2] == {1: criu_rpc.NOTIFY, 3: 1}


def test_an_error_at_a_notification_makes_criu_give_up(tmp_path: Path) -> None:
    heard: list[dict[int, Any]] = []

    def answers(sock: socket.socket) -> None:
        sock.recv(4096)
        sock.send(notification("setup-namespaces", 3))
        heard.append(criu_rpc.decode(sock.recv(4096)))
        sock.send(criu_rpc.encode({1: criu_rpc.RESTORE, 2: False}))

    def notify(name: str, pid: int, fds: list[int]) -> None:
        raise Error("hook said no")

    with pytest.raises(Error, match="hook said no"):
        converse(answers, notify, tmp_path / "restore.log")
    assert heard == [{1: criu_rpc.NOTIFY, 3: 0}]


def test_failure_has_the_cause(tmp_path: Path) -> None:
    log = tmp_path / "restore.log"
    log.write_text(LOG)

    def answers(sock: socket.socket) -> None:
        sock.recv(4096)
        sock.send(criu_rpc.encode({1: criu_rpc.RESTORE, 2: False, 7: 16}))

    with pytest.raises(Error) as caught:
        converse(answers, lambda name, pid, fds: None, log)
    assert caught.value.errno == 16
    assert str(caught.value).splitlines() == [
        "criu failed: type RESTORE errno 16",
        "Error (criu/mount.c:1088): mnt: Mount 41 ./x (master_id: 0) is not supported",
        "Error (criu/cr-dump.c:2111): Dumping FAILED.",
        f"log file: {log}",
    ]


def test_a_criu_that_dies(tmp_path: Path) -> None:
    log = tmp_path / "restore.log"
    with pytest.raises(Error) as caught:
        converse(lambda sock: None, lambda name, pid, fds: None, log)
    assert str(caught.value) == f"criu failed: type RESTORE errno 0\nlog file: {log}"


def test_excerpt_without_errors_is_the_end() -> None:
    assert criu_rpc.excerpt("(00.1) a\n(00.2) b\n(00.3) c\n\n") == ["b", "c"]
    assert criu_rpc.excerpt("") == []
