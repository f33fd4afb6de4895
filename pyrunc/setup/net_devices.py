"""Network devices that a container takes over from the host (config-linux.md, "Network Devices").

A device keeps its MTU and hardware address when it moves; its name is set by the move itself. Its
permanent addresses of global scope the kernel forgets, so they are added again. It comes up at the
end. What a container in a namespace of its own still has when that ends, the kernel gives back
(physical devices) or removes (virtual ones); in a namespace that was joined it stays.

pyroute2 talks to the kernel: in the container's namespace over a socket that a host agent has opened
there, so that no interpreter ever enters it.

Import cost: pyroute2, and with it much of the standard library. Cold.
"""

import posix
from errno import EEXIST, ENODEV

from pyrunc import thirdparty
from pyrunc.config.rules.refusal import escaped
from pyrunc.errors import SETUP, Error, strerror
from pyrunc.kernel.uapi import CLONE_NEWNET, O_CLOEXEC
from pyrunc.log import log
from pyrunc.machine.ops import Fd, Program
from pyrunc.machine.session import Agent, above
from pyrunc.setup.failures import step_errors

thirdparty.enable()

try:
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError
except ModuleNotFoundError as error:
    raise Error(
        f"network devices cannot be moved: {error}",
        pointer="/linux/netDevices",
        hint=thirdparty.install("pyroute2"),
    ) from None

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.config.types import NetDevice

_AF_NETLINK, _SOCK_DGRAM, _NETLINK_ROUTE = 16, 2, 0
_RT_SCOPE_UNIVERSE = 0
_IFA_F_PERMANENT, _IFA_F_NOPREFIXROUTE = 0x80, 0x200
_IFF_UP = 1


class Moved:
    """A device that is in the container, and what it was on the host."""

    __slots__ = ("addresses", "index", "name", "pointer", "up")

    def __init__(self, name: str, pointer: str) -> None:
        self.name = name
        self.pointer = pointer
        self.index = 0
        self.up = False
        self.addresses: list[Any] = []


class NetDevices:
    """The devices of one container on their way: `move`, then `close`; or `give_back`, then `close`."""

    __slots__ = ("_host", "_inside", "_moved", "_target")

    def __init__(self, pid: int, lowest: int) -> None:
        """pid: a process in the container's network namespace. lowest: descriptors of the host
        agent that opens the socket there are not below it. Raises Error."""
        self._moved: list[Moved] = []
        self._target = posix.open(f"/proc/{pid}/ns/net", posix.O_RDONLY | posix.O_CLOEXEC)
        self._inside = IPRoute(fileno=_socket_inside(self._target, lowest))
        self._host = IPRoute()

    def move(self, devices: "dict[str, NetDevice]") -> None:
        """Move all devices, by their names on the host. Raises Error; then give_back is due."""
        for name, device in devices.items():
            moved = Moved(name, f"/linux/netDevices/{escaped(name)}")
            try:
                self._move(moved, device.get("name") or name)
            except NetlinkError as error:
                raise _error(moved, error) from None

    def _move(self, device: Moved, name: str) -> None:
        links = list(self._host.get_links(ifname=device.name))
        if not links:
            raise NetlinkError(ENODEV)
        index: int = links[0]["index"]
        device.up = bool(links[0]["flags"] & _IFF_UP)
        device.addresses = _addresses(self._host, index)
        before = {link["index"] for link in self._inside.get_links()}
        try:
            self._host.link("set", index=index, net_ns_fd=self._target, ifname=name)
        finally:
            # The kernel moves first, and may find then that the name is taken. The index may
            # be another one there; the name too, where the kernel chose a number in it.
            for new in {link["index"] for link in self._inside.get_links()} - before:
                device.index = new
                self._moved.append(device)
        _configure(self._inside, device, device.index)
        self._inside.link("set", index=device.index, state="up")

    def give_back(self) -> None:
        """Return the devices to the host as they were, as far as that is possible."""
        here = posix.open("/proc/self/ns/net", posix.O_RDONLY | posix.O_CLOEXEC)
        try:
            for device in reversed(self._moved):
                try:
                    self._inside.link("set", index=device.index, net_ns_fd=here, ifname=device.name)
                    index = next(iter(self._host.get_links(ifname=device.name)))["index"]
                    _configure(self._host, device, index)
                    if device.up:
                        self._host.link("set", index=index, state="up")
                except NetlinkError as error:
                    log.warning(f"{_error(device, error)}; it is not given back")
        finally:
            posix.close(here)
        self._moved.clear()

    def close(self) -> None:
        """Close what was opened; the devices stay where they are."""
        self._host.close()
        self._inside.close()
        posix.close(self._target)


def _addresses(netlink: "Any", index: int) -> "list[Any]":
    """The addresses of a device that it shall keep, as the kernel gives them."""
    found = []
    for address in netlink.get_addr(index=index):
        flags = address.get_attr("IFA_FLAGS") or address["flags"]
        if flags & _IFA_F_PERMANENT and address["scope"] == _RT_SCOPE_UNIVERSE:
            found.append(address)
    return found


def _configure(netlink: "Any", device: Moved, index: int) -> None:
    for address in device.addresses:
        words = {
            name: address.get_attr(attribute)
            for name, attribute in (
                ("local", "IFA_LOCAL"),
                ("address", "IFA_ADDRESS"),
                ("broadcast", "IFA_BROADCAST"),
            )
        }
        flags = (address.get_attr("IFA_FLAGS") or 0) & _IFA_F_NOPREFIXROUTE
        if flags:
            words["flags"] = flags
        netlink.addr(
            "add",
            index=index,
            family=address["family"],
            prefixlen=address["prefixlen"],
            **{name: value for name, value in words.items() if value is not None},
        )


def _socket_inside(namespace: int, lowest: int) -> int:
    """A netlink socket of the network namespace."""
    number = above(namespace, lowest)
    fd = Fd(number, "network namespace")
    try:
        with Agent(lowest, (fd,)) as session:
            p = Program()
            p.about("error joining the container's network namespace", "/linux/netDevices")
            p.call("setns", fd, CLONE_NEWNET)
            p.about("error opening a netlink socket", "/linux/netDevices")
            sock = p.reg("netlink")
            kind = _SOCK_DGRAM | O_CLOEXEC
            p.call("socket", _AF_NETLINK, kind, _NETLINK_ROUTE, dst=sock)
            p.send_fds(sock)
            p.sync("opened")
            step_errors.check(session.run(p), SETUP)
            return session.descriptors.pop()
    finally:
        posix.close(number)


def _error(device: Moved, error: NetlinkError) -> Error:
    """What the kernel said of a device."""
    errno = int(error.code)
    cause = strerror(errno)
    if errno == EEXIST:
        cause = "the container has a device of that name"
    return Error(
        f'{SETUP}unable to move network device "{device.name}" ({device.pointer[1:]}): {cause}',
        pointer=device.pointer,
        errno=errno,
    )
