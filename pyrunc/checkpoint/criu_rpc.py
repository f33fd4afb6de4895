"""criu's RPC: `criu swrk`, its messages, and what its log says of a failure.

The messages are protobuf (criu's rpc.proto). The library for that and the bindings made with it are
no packages of their own outside of distributions; the handful of fields used here needs only two of
the wire format's types.

    pyrunc ── request ──► criu swrk FD      a SEQPACKET socket, one message a packet
           ◄── notify ───                   at points of its work, e.g. for hooks and the console
           ── go on ────►
           ◄── response ─
"""

import os
import shutil
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from errno import ECONNRESET, ENOTCONN, EPIPE
from typing import Any

from pyrunc.errors import Error, from_os_error
from pyrunc.log import log

Value = bool | int | str | bytes | Sequence[Any]
Notify = Callable[[str, int, list[int]], None]
"""What is called at a notification: its name, the process id it is about or 0, descriptors."""

DUMP, RESTORE, PRE_DUMP, NOTIFY = 1, 2, 4, 6
KINDS = {DUMP: "DUMP", RESTORE: "RESTORE", PRE_DUMP: "PRE_DUMP"}

OPTIONS = {
    "images_dir_fd": 1,
    "pid": 2,
    "leave_running": 3,
    "ext_unix_sk": 4,
    "tcp_established": 5,
    "evasive_devices": 6,
    "shell_job": 7,
    "file_locks": 8,
    "log_level": 9,
    "log_file": 10,
    "ps": 11,
    "notify_scripts": 12,
    "root": 13,
    "parent_img": 14,
    "track_mem": 15,
    "auto_dedup": 16,
    "work_dir_fd": 17,
    "link_remap": 18,
    "manage_cgroups": 24,
    "cg_root": 25,
    "rst_sibling": 26,
    "inherit_fd": 27,
    "manage_cgroups_mode": 34,
    "external": 37,
    "empty_ns": 38,
    "join_ns": 39,
    "freeze_cgroup": 44,
    "tcp_skip_in_flight": 46,
    "lazy_pages": 48,
    "status_fd": 49,
    "orphan_pts_master": 50,
    "config_file": 51,
    "lsm_profile": 53,
    "lsm_mount_context": 63,
}
"""Numbers of the fields of criu_opts."""

LOG_LEVEL = 4
LINES_SHOWN = 4
_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


# -- the wire format -------------------------------------------------------------------------------


def encode(fields: Mapping[int, Value]) -> bytes:
    """A message: numbers of fields and their values. A sequence is a repeated field; bytes are
    strings or messages that are encoded already. Negative numbers are allowed."""
    out = bytearray()
    for number, value in fields.items():
        values = value if isinstance(value, (list, tuple)) else (value,)
        for one in values:
            if isinstance(one, int):
                out += _varint(number << 3) + _varint(int(one) & 0xFFFFFFFFFFFFFFFF)
            else:
                data = one.encode("utf-8", "surrogateescape") if isinstance(one, str) else one
                out += _varint(number << 3 | 2) + _varint(len(data)) + data
    return bytes(out)


def decode(data: bytes) -> dict[int, Any]:
    """The fields of a message, the last of each number. Errors: the message is cut off or has a
    type that criu's messages do not have."""
    fields: dict[int, Any] = {}
    at = 0
    try:
        while at < len(data):
            key, at = _read_varint(data, at)
            if key & 7 == 0:
                fields[key >> 3], at = _read_varint(data, at)
            elif key & 7 == 2:
                length, at = _read_varint(data, at)
                if at + length > len(data):
                    raise IndexError
                fields[key >> 3] = data[at : at + length]
                at += length
            else:
                raise Error("criu answered nonsense")
    except IndexError:
        raise Error("criu answered nonsense") from None
    return fields


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def _signed(value: int) -> int:
    """An int32 of the wire, where a negative one has 64 bits."""
    return value - (1 << 64) if value >> 63 else value


# -- the program -----------------------------------------------------------------------------------


def find() -> str | None:
    """The path of criu: in $PATH, or where distributions install it."""
    return shutil.which("criu") or shutil.which("criu", path=":".join(_PATH))


def program() -> str:
    """As find(). Errors: there is none."""
    path = find()
    if path is None:
        raise Error("criu: executable file not found in $PATH", hint="install criu")
    return path


def environment() -> dict[str, str]:
    """criu's: it calls tar, ip and iptables by name."""
    return {**os.environ, "PATH": ":".join([*filter(None, [os.environ.get("PATH")]), *_PATH])}


def pair() -> tuple[socket.socket, socket.socket]:
    """The socket for the RPC: pyrunc's side and criu's."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def spawn(theirs: socket.socket) -> int:
    """Start `criu swrk` on its side of the socket; the process id. Errors: it cannot be."""
    path = program()
    fd = theirs.fileno()
    try:
        return os.posix_spawn(
            path,
            ["criu", "swrk", str(fd)],
            environment(),
            file_actions=[(os.POSIX_SPAWN_DUP2, fd, fd)],
            setsigmask=(),
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
        )
    except OSError as error:
        raise from_os_error("exec", error) from None


def call(sock: socket.socket, kind: int, options: Mapping[str, Value], notify: Notify, log_path: str) -> dict[int, Any]:
    """Let criu do one thing; its response.

    kind: DUMP, RESTORE or PRE_DUMP. options: members of criu_opts by name. notify: may raise, which
    makes criu give up. log_path: the file that will hold criu's log. Errors: what `notify` raised;
    `criu failed: type KIND errno N`, what the log says, `log file: PATH`.
    """
    message: dict[int, Value] = {1: kind, 2: encode({OPTIONS[name]: value for name, value in options.items()})}
    raised: BaseException | None = None
    try:
        sock.sendall(encode(message))
        while True:
            data, ancillary, _, _ = sock.recvmsg(1 << 16, 256, socket.MSG_CMSG_CLOEXEC)
            response = decode(data)
            if response.get(1) != NOTIFY or not data:
                break
            about = decode(response.get(5, b""))
            name = about.get(1, b"").decode(errors="replace")
            fds = [
                int.from_bytes(part[at : at + 4], "little") for _, _, part in ancillary for at in range(0, len(part), 4)
            ]
            log.debug(f"criu: {name}")
            try:
                notify(name, _signed(about.get(2, 0)), fds)
            except (Error, OSError) as error:
                raised = error
            sock.sendall(encode({1: NOTIFY, 3: raised is None}))
    except (ConnectionResetError, BrokenPipeError):
        response = {}
    _end(sock)
    if raised is not None:
        raise raised
    if not response.get(2):
        raise failed(kind, _signed(response.get(7, 0)), log_path)
    return response


def _end(sock: socket.socket) -> None:
    """Tell criu that this was all, and wait for it to go: it takes a reset for a failure."""
    try:
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(1 << 16):
            pass
    except OSError as error:
        if error.errno not in (ECONNRESET, ENOTCONN, EPIPE):
            raise


# -- the log ---------------------------------------------------------------------------------------


def failed(kind: int, errno: int, log_path: str) -> Error:
    """The error for a failure: runc's first and last line, with what criu's log says in between."""
    try:
        with open(log_path, encoding="utf-8", errors="replace") as file:
            lines = excerpt(file.read())
    except OSError:
        lines = []
    first = f"criu failed: type {KINDS[kind]} errno {errno}"
    return Error("\n".join([first, *lines, f"log file: {log_path}"]), errno=max(errno, 0))


def excerpt(text: str) -> list[str]:
    """The first errors of a log, which are the cause of those that follow; without any, its end."""
    lines = [line.partition(")")[2].strip() if line[:1] == "(" else line for line in text.splitlines()]
    errors = [line for line in lines if "Error (" in line]
    if errors:
        return errors[:LINES_SHOWN]
    return [line for line in lines if line][-2:]
