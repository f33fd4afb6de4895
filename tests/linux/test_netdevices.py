"""netDevices: moved from a network namespace of the test's own, which plays the host's."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import IS_ROOT, Bundle, Json, MakeBundle, Runtime

MAC = "02:11:22:33:44:55"


class Network:
    """A network namespace that a sleeping process holds."""

    def __init__(self) -> None:
        here = os.readlink("/proc/self/ns/net")
        self.holder = subprocess.Popen(["unshare", "--net", "sleep", "1000"])
        self.path = f"/proc/{self.holder.pid}/ns/net"
        while os.readlink(self.path) == here:
            pass
        self.ip("link", "set", "lo", "up")

    def words(self, *words: str) -> list[str]:
        return ["nsenter", f"--net={self.path}", *words]

    def ip(self, *words: str) -> str:
        return subprocess.run(self.words("ip", *words), check=True, text=True, capture_output=True).stdout

    def link(self, name: str) -> Json:
        """What ip(8) says of a device and its addresses; {} where there is none."""
        for entry in json.loads(self.ip("-json", "address", "show")):
            if entry["ifname"] == name:
                found: Json = entry
                return found
        return {}

    def addresses(self, name: str) -> list[str]:
        return [
            f"{entry['local']}/{entry['prefixlen']}"
            for entry in self.link(name)["addr_info"]
            if entry["scope"] == "global"
        ]

    def end(self) -> None:
        self.holder.kill()
        self.holder.wait()


def has_veth() -> bool:
    words = ["unshare", "--net", "ip", "link", "add", "moved0", "type", "veth", "peer", "name", "peer0"]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


pytestmark = [
    pytest.mark.skipif(not IS_ROOT, reason="needs root"),
    pytest.mark.skipif(IS_ROOT and not has_veth(), reason="this kernel has no veth devices"),
]


@pytest.fixture
def host() -> Iterator[Network]:
    """Where pyrunc runs; with a device `moved0`."""
    network = Network()
    network.ip("link", "add", "moved0", "type", "veth", "peer", "name", "peer0")
    network.ip("link", "set", "peer0", "up")
    network.ip("link", "set", "moved0", "address", MAC, "mtu", "1789", "up")
    network.ip("address", "add", "169.254.169.77/24", "broadcast", "+", "dev", "moved0")
    network.ip("address", "add", "10.9.8.7", "peer", "10.9.8.6/32", "dev", "moved0")
    network.ip("address", "add", "2001:db8::7/64", "nodad", "dev", "moved0")
    network.ip("address", "add", "192.168.9.9/24", "scope", "link", "dev", "moved0")
    yield network
    network.end()


@pytest.fixture
def other() -> Iterator[Network]:
    """A namespace that was made before the container."""
    network = Network()
    yield network
    network.end()


@pytest.fixture
def inside(runtime: Runtime, host: Network) -> Runtime:
    """The runtime, called in `host`."""
    it = Runtime(runtime.program, runtime.root)
    it.ids = runtime.ids
    it.command = lambda *args: host.words(*runtime.command(*args))  # type: ignore[method-assign]
    return it


def devices(bundle: Bundle, path: str = "", **names: Json) -> Bundle:
    """Move devices, into a namespace of the container's or the one at `path`."""
    for entry in bundle.config["linux"]["namespaces"]:
        if entry["type"] == "network" and path:
            entry["path"] = path
    return bundle.update({"linux": {"netDevices": names}})


def test_a_device_keeps_what_it_is(inside: Runtime, bundle: MakeBundle) -> None:
    done = inside.run(devices(bundle().shell("ip address show dev moved0"), moved0={}), check=True)
    text = done.stdout
    assert "UP" in text.split(">")[0]
    assert "mtu 1789" in text
    assert f"link/ether {MAC}" in text
    assert "inet 169.254.169.77/24 brd 169.254.169.255 scope global moved0" in text
    assert "inet 10.9.8.7 peer 10.9.8.6/32 scope global moved0" in text
    assert "inet6 2001:db8::7/64 scope global" in text
    # Addresses of smaller scope are left behind.
    assert "192.168.9.9" not in text


def test_a_new_name(inside: Runtime, bundle: MakeBundle, host: Network) -> None:
    it = devices(bundle().shell("ip link show"), moved0={"name": "eth9"})
    text = inside.run(it, check=True).stdout
    assert " eth9@if" in text
    assert "moved0" not in text
    assert not host.link("moved0")


def test_a_name_with_a_number_of_the_kernels(inside: Runtime, bundle: MakeBundle) -> None:
    it = devices(bundle().shell("ip address show"), moved0={"name": "net%d"})
    text = inside.run(it, check=True).stdout
    assert " net0@if" in text
    assert "169.254.169.77/24" in text


def test_a_user_namespace(inside: Runtime, bundle: MakeBundle) -> None:
    maps = [{"containerID": 0, "hostID": 100000, "size": 1000}]
    it = bundle({"linux": {"uidMappings": maps, "gidMappings": maps}})
    it.config["linux"]["namespaces"].append({"type": "user"})
    it = devices(it.shell("ip address show dev eth0"), moved0={"name": "eth0"})
    assert "169.254.169.77/24" in inside.run(it, check=True).stdout


def test_a_joined_namespace_keeps_the_device(
    inside: Runtime, bundle: MakeBundle, host: Network, other: Network
) -> None:
    it = devices(bundle(), other.path, moved0={"name": "ctr0"})
    inside.run(it, check=True)
    assert not host.link("moved0")
    link = other.link("ctr0")
    assert (link["mtu"], link["address"]) == (1789, MAC)
    assert "UP" in link["flags"]
    assert other.addresses("ctr0") == ["10.9.8.7/32", "169.254.169.77/24", "2001:db8::7/64"] or (
        other.addresses("ctr0") == ["169.254.169.77/24", "10.9.8.7/32", "2001:db8::7/64"]
    )


def test_a_device_that_is_down_comes_up(inside: Runtime, bundle: MakeBundle, host: Network, other: Network) -> None:
    host.ip("link", "set", "moved0", "down")
    inside.run(devices(bundle(), other.path, moved0={}), check=True)
    assert "UP" in other.link("moved0")["flags"]
    assert "169.254.169.77/24" in other.addresses("moved0")


def test_hooks_find_the_devices(inside: Runtime, bundle: MakeBundle, other: Network, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    script = f"nsenter --net={other.path} ip -o link show ctr0 > {seen}"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", script]}
    it = bundle({"hooks": {"createRuntime": [hook]}})
    inside.run(devices(it, other.path, moved0={"name": "ctr0"}), check=True)
    assert "ctr0" in seen.read_text()


def test_no_such_device(inside: Runtime, bundle: MakeBundle) -> None:
    done = inside.run(devices(bundle(), none0={}))
    assert done.returncode == 1
    text = 'unable to move network device \\"none0\\" (linux/netDevices/none0): no such device'
    assert text in done.stderr


def test_what_was_moved_comes_back(inside: Runtime, bundle: MakeBundle, host: Network, other: Network) -> None:
    """A container that cannot be created leaves the devices as they were."""
    before = host.link("moved0")
    done = inside.run(devices(bundle(), other.path, moved0={"name": "ctr0"}, none0={}))
    assert done.returncode == 1
    after = host.link("moved0")
    for key in ("address", "mtu", "flags"):
        assert after[key] == before[key]
    assert set(host.addresses("moved0")) == {
        "169.254.169.77/24", "10.9.8.7/32", "2001:db8::7/64"
    }  # fmt: skip
    assert not other.link("ctr0")


@pytest.mark.parametrize("joined", [False, True])
def test_what_was_moved_comes_back_when_the_container_fails(
    inside: Runtime, bundle: MakeBundle, host: Network, other: Network, joined: bool
) -> None:
    it = devices(bundle().args("/nowhere"), other.path if joined else "", moved0={"name": "x0"})
    assert inside.run(it).returncode == 1
    assert host.addresses("moved0")


def test_a_name_that_is_taken(inside: Runtime, bundle: MakeBundle, host: Network, other: Network) -> None:
    other.ip("link", "add", "ctr0", "type", "veth", "peer", "name", "peer0")
    done = inside.run(devices(bundle(), other.path, moved0={"name": "ctr0"}))
    assert done.returncode == 1
    assert "the container has a device of that name" in done.stderr
    assert host.link("moved0")


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ({"moved0": {"name": "a/b"}}, "invalid network device name"),
        ({"moved0": {"name": "x" * 16}}, "invalid network device name"),
        ({"moved0": {"name": "a"}, "moved1": {"name": "a"}}, "two network devices get the name"),
    ],
)
def test_refused(inside: Runtime, bundle: MakeBundle, names: Json, text: str) -> None:
    assert text in inside.run(devices(bundle(), **names)).stderr


def test_refused_without_a_namespace(inside: Runtime, bundle: MakeBundle) -> None:
    it = bundle()
    spaces = it.config["linux"]["namespaces"]
    it.config["linux"]["namespaces"] = [n for n in spaces if n["type"] != "network"]
    done = inside.run(devices(it, moved0={}))
    assert "unable to move network devices without a private NET namespace" in done.stderr
