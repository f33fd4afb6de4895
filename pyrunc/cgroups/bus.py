"""A connection to a systemd instance over D-Bus, through jeepney; imported by systemd.py alone."""

import os
import socket
import time
from collections import deque

from jeepney import DBusAddress, HeaderFields, MatchRule, MessageType, new_method_call
from jeepney.bus import get_connectable_addresses
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import DBusConnection
from jeepney.low_level import Message

from pyrunc.errors import Error, strerror

SYSTEMD = "org.freedesktop.systemd1"
MANAGER = DBusAddress("/org/freedesktop/systemd1", SYSTEMD, SYSTEMD + ".Manager")
PROPERTIES = "org.freedesktop.DBus.Properties"
NO_SUCH_UNIT = SYSTEMD + ".NoSuchUnit"
UNIT_EXISTS = SYSTEMD + ".UnitExists"
TIMEOUT = 30.0

Property = tuple[str, tuple[str, object]]


class CallError(Error):
    """systemd answered with an error; `name` is the D-Bus name of it."""

    def __init__(self, message: str, name: str) -> None:
        super().__init__(message)
        self.name = name


def addresses(user: bool) -> list[str]:
    """The socket paths to try, best first; systemd also listens on a socket of its own."""
    if not user:
        own = os.environ.get("DBUS_SYSTEM_BUS_ADDRESS")
        found = list(get_connectable_addresses(own)) if own else []
        return [*found, "/run/dbus/system_bus_socket", "/run/systemd/private"]
    found = []
    own = os.environ.get("DBUS_SESSION_BUS_ADDRESS")
    if own:
        try:
            found += get_connectable_addresses(own)
        except (RuntimeError, ValueError):
            pass
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        found += [runtime + "/bus", runtime + "/systemd/private"]
    return found


def authenticate(sock: socket.socket) -> None:
    """SASL EXTERNAL without an identity: the other side takes the socket's credentials, which are
    right in a user namespace as well, where getuid() is not what the bus sees. Raises OSError.
    """
    sock.sendall(b"\0AUTH EXTERNAL\r\n")
    received = b""
    while True:
        while b"\r\n" not in received:
            data = sock.recv(4096)
            if not data:
                raise ConnectionResetError(104, "connection closed during authentication")
            received += data
        line, _, received = received.partition(b"\r\n")
        if line.startswith(b"DATA"):
            sock.sendall(b"DATA\r\n")
        elif line.startswith(b"OK "):
            sock.sendall(b"BEGIN\r\n")
            return
        else:
            raise PermissionError(13, f"authentication refused: {line.decode(errors='replace')}")


class Systemd:
    """One systemd instance: the system's, or (user) the caller's own.

    Raises Error where it cannot be reached.
    """

    def __init__(self, user: bool) -> None:
        self.user = user
        self.connection = self._connect(addresses(user))
        self._subscribed = False

    def _connect(self, paths: list[str]) -> DBusConnection:
        tried = []
        for path in paths:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
            try:
                sock.settimeout(TIMEOUT)
                sock.connect(path)
                authenticate(sock)
                sock.settimeout(None)
                connection = DBusConnection(sock)
                if not path.endswith("/private"):
                    connection.send_and_get_reply(message_bus.Hello(), timeout=TIMEOUT)
                return connection
            except OSError as error:
                sock.close()
                cause = strerror(error.errno) if error.errno else str(error)
                tried.append(f"{path.replace(chr(0), '@')}: {cause}")
        which = "user" if self.user else "system"
        raise Error(
            f"reach systemd's {which} instance: {'; '.join(tried) or 'no address known'}",
            hint="log in with a systemd session (loginctl enable-linger, XDG_RUNTIME_DIR), or use the cgroupfs driver"
            if self.user
            else "use the cgroupfs driver where systemd does not run",
        )

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    def call(self, message: Message, doing: str) -> tuple[object, ...]:
        """Send a method call and return the body of its answer; CallError for an error."""
        try:
            reply = self.connection.send_and_get_reply(message, timeout=TIMEOUT)
        except TimeoutError:
            raise Error(f"{doing}: systemd did not answer within {TIMEOUT:g} s") from None
        except OSError as error:
            raise Error(f"{doing}: connection to systemd: {error}") from None
        body: tuple[object, ...] = reply.body
        if reply.header.message_type == MessageType.error:
            name = str(reply.header.fields.get(HeaderFields.error_name, ""))
            text = str(body[0]) if body else name
            raise CallError(f"{doing}: {text.rstrip('.')} ({name})", name)
        return body

    def manager(self, method: str, signature: str, body: tuple[object, ...]) -> tuple[object, ...]:
        """Call a method of org.freedesktop.systemd1.Manager."""
        message = new_method_call(MANAGER, method, signature or None, body)
        return self.call(message, f"systemd: {method} {body[0] if body else ''}".rstrip())

    def get(self, path: str, interface: str, name: str) -> object:
        """A property of a systemd object."""
        address = DBusAddress(path, SYSTEMD, PROPERTIES)
        body = (f"{SYSTEMD}.{interface}", name)
        answer = self.call(new_method_call(address, "Get", "ss", body), f"systemd: read {interface}.{name}")
        return answer[0][1]  # type: ignore[index]

    def version(self) -> int:
        """systemd's version number; 0 where it cannot be told."""
        text = str(self.get(MANAGER.object_path, "Manager", "Version")).lstrip("v")
        digits = text[: next((i for i, c in enumerate(text) if not c.isdigit()), len(text))]
        return int(digits or 0)

    def cgroup(self) -> str:
        """The path of the instance's own cgroup below the root of v2; its slices lie in it."""
        return str(self.get(MANAGER.object_path, "Manager", "ControlGroup")).rstrip("/")

    def unit_cgroup(self, unit: str) -> str:
        """The path of a unit's cgroup below the root of v2; CallError NO_SUCH_UNIT."""
        path = self.manager("GetUnit", "s", (unit,))[0]
        interface = "Slice" if unit.endswith(".slice") else "Scope"
        return str(self.get(str(path), interface, "ControlGroup"))

    def job(self, method: str, signature: str, body: tuple[object, ...]) -> None:
        """Call a method that queues a job, and wait until the job is done. Raises Error."""
        rule = MatchRule(
            type="signal", interface=SYSTEMD + ".Manager", member="JobRemoved",
            path="/org/freedesktop/systemd1",
        )  # fmt: skip
        if not self._subscribed:
            self.manager("Subscribe", "", ())
            if self.connection_has_bus():
                self.call(message_bus.AddMatch(rule), "systemd: watch jobs")
            self._subscribed = True
        doing = f"systemd: {method} {body[0]}"
        queue: deque[Message] = deque()
        # The signal may come before the answer that names the job.
        with self.connection.filter(rule, queue=queue):
            job = self.manager(method, signature, body)[0]
            deadline = time.monotonic() + TIMEOUT
            while True:
                left = deadline - time.monotonic()
                try:
                    signal = self.connection.recv_until_filtered(queue, timeout=max(left, 0))
                except TimeoutError:
                    raise Error(f"{doing}: the job is not done after {TIMEOUT:g} s") from None
                if signal.body[1] == job:
                    result = signal.body[3]
                    break
        if result != "done":
            raise Error(f"{doing}: the job ended with result {result}")

    def connection_has_bus(self) -> bool:
        """Whether a bus lies between us and systemd (a private socket has none)."""
        return not str(self.connection.sock.getpeername()).endswith("/private")

    def start(self, unit: str, properties: list[Property]) -> None:
        """Make a transient unit. One of that name that failed earlier is reset first."""
        body: tuple[object, ...] = (unit, "replace", properties, [])
        try:
            self.job("StartTransientUnit", "ssa(sv)a(sa(sv))", body)
        except CallError as error:
            if error.name != UNIT_EXISTS:
                raise
            self.reset_failed(unit)
            self.job("StartTransientUnit", "ssa(sv)a(sa(sv))", body)

    def stop(self, unit: str) -> None:
        """Stop a unit; one that is gone is stopped."""
        try:
            self.job("StopUnit", "ss", (unit, "replace"))
        except CallError as error:
            if error.name != NO_SUCH_UNIT:
                raise
        self.reset_failed(unit)

    def reset_failed(self, unit: str) -> None:
        """Forget a unit that failed, so that its name is free again."""
        try:
            self.manager("ResetFailedUnit", "s", (unit,))
        except CallError:
            pass

    def set(self, unit: str, properties: list[Property]) -> None:
        """Change properties of a unit until it ends."""
        if properties:
            self.manager("SetUnitProperties", "sba(sv)", (unit, True, properties))
