"""linux.devices (config-linux.md, "Devices"): what is at the path already, and nodes in user namespaces."""

import os
import shutil
import stat
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from limits.limit_base import wait_until
from support import DEFAULT_CONFIG, IS_ROOT, Bundle, MakeBundle, Runtime, unique_id

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="needs root")

Occupy = Callable[[Path], Any]
MAPS = [{"containerID": 0, "hostID": 100000, "size": 65536}]
USERNS = {
    "namespaces": [*DEFAULT_CONFIG["linux"]["namespaces"], {"type": "user"}],
    "uidMappings": MAPS,
    "gidMappings": MAPS,
}
NULL = {"path": "/srv/node", "type": "c", "major": 1, "minor": 3}


def with_device(bundle: MakeBundle, device: dict[str, Any], linux: dict[str, Any]) -> Bundle:
    it = bundle({"linux": {**linux, "devices": [device]}})
    (it.rootfs / "srv").mkdir(exist_ok=True)
    if linux:
        os.chown(it.rootfs / "srv", 100000, 100000)
    return it.shell(f"stat -c '%F %a %u:%g %t:%T' {device['path'].rstrip('/')}")


def another_node(path: Path) -> None:
    os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))


def a_block_device(path: Path) -> None:
    os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(1, 3))


OTHERS: dict[str, Occupy] = {
    "file": lambda path: path.write_text("data"),
    "folder": lambda path: path.mkdir(),
    "link": lambda path: path.symlink_to("/dev/null"),
    "dangling-link": lambda path: path.symlink_to("/nowhere"),
    "fifo": os.mkfifo,
    "another-number": another_node,
    "another-type": a_block_device,
}

#: What tells them from the device, in the words that runc's users look for.
INCORRECT = {
    "file": "ftype: regular file doesn't match expected character device",
    "folder": "ftype: directory doesn't match expected character device",
    "link": "ftype: symbolic link doesn't match expected character device",
    "dangling-link": "ftype: symbolic link doesn't match expected character device",
    "fifo": "ftype: fifo doesn't match expected character device",
    "another-number": "major:minor: 1:5 doesn't match expected 1:3",
    "another-type": "ftype: block device doesn't match expected character device",
}


@pytest.mark.contains(
    "what the host has at the path of a device, a folder even, bound in its place (found here)",
    "what is bound has to be that device; what the image has there is refused",
)
@pytest.mark.parametrize("linux", [{}, USERNS], ids=["host", "userns"])
@pytest.mark.parametrize("kind", OTHERS)
def test_something_else_in_its_place(runtime: Runtime, bundle: MakeBundle, kind: str, linux: dict[str, Any]) -> None:
    """A file at the path that does not match the requested device MUST be an error."""
    it = with_device(bundle, NULL, linux)
    OTHERS[kind](it.rootfs / "srv/node")
    before = os.lstat(it.rootfs / "srv/node")
    done = runtime.run(it)
    assert done.returncode == 1
    text = 'error creating device node \\"/srv/node\\" (linux/devices/0): the root file system has something else'
    assert text in done.stderr
    assert f" in its place: /srv/node has incorrect {INCORRECT[kind]}: file exists" in done.stderr
    assert os.lstat(it.rootfs / "srv/node") == before


def test_an_empty_file_is_no_device(runtime: Runtime, bundle: MakeBundle) -> None:
    it = with_device(bundle, NULL, {})
    (it.rootfs / "srv/node").touch()
    assert "file exists" in runtime.run(it).stderr


@pytest.mark.parametrize("more", [{}, {"fileMode": 0o666, "uid": 7}], ids=["plain", "with-attributes"])
def test_the_same_device(runtime: Runtime, bundle: MakeBundle, more: dict[str, Any]) -> None:
    """It may be the host's own, bound there: it stays as it is."""
    it = with_device(bundle, {**NULL, **more}, {})
    os.mknod(it.rootfs / "srv/node", stat.S_IFCHR | 0o640, os.makedev(1, 3))
    assert runtime.run(it, check=True).stdout == "character special file 640 0:0 1:3\n"


@pytest.mark.contains("what the host has at the path of a device, a folder even, bound in its place (found here)")
def test_the_hosts_folder_is_no_device(runtime: Runtime, bundle: MakeBundle) -> None:
    """The host has a folder at the path of the device: it must not come into the container in its place."""
    it = bundle({"linux": {"devices": [{**NULL, "path": "/mnt/"}]}}).args("/bin/true")
    (it.rootfs / "mnt").mkdir(exist_ok=True)
    assert Path("/mnt").is_dir()
    assert "(linux/devices/0): the root file system has something else" in runtime.run(it).stderr


@pytest.mark.parametrize("linux", [{}, USERNS], ids=["host", "userns"])
@pytest.mark.parametrize("path", ["/srv/node", "/srv/node/", "/srv/a/b/node", "/node", "/dev/node"])
def test_a_container_runs_twice(runtime: Runtime, bundle: MakeBundle, path: str, linux: dict[str, Any]) -> None:
    it = with_device(bundle, {**NULL, "path": path, "fileMode": 0o620, "uid": 10, "gid": 11}, linux)
    if linux:
        os.chown(it.rootfs, 100000, 100000)
    for _ in range(2):
        assert runtime.run(it, check=True).stdout == "character special file 620 10:11 1:3\n"


def test_of_a_kind_that_the_host_does_not_have(runtime: Runtime, bundle: MakeBundle) -> None:
    device = {"path": "/dev/disk", "type": "b", "major": 7, "minor": 99, "fileMode": 0o157}
    it = with_device(bundle, device, USERNS)
    assert runtime.run(it, check=True).stdout == "block special file 157 0:0 7:63\n"


def test_an_owner_that_is_not_mapped(runtime: Runtime, bundle: MakeBundle) -> None:
    """The host's node then, if there is one: nobody could be given this one."""
    device = {"path": "/dev/full", "type": "c", "major": 1, "minor": 7, "uid": 70000}
    assert runtime.run(with_device(bundle, device, USERNS), check=True).stdout.endswith(" 1:7\n")


def test_the_hosts_node_stays_as_it_is(runtime: Runtime, bundle: MakeBundle, tmp_path: Path) -> None:
    """Bound by a mount and listed as a device with another mode, as engines do."""
    node = tmp_path / "node"
    os.mknod(node, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    it = with_device(bundle, {**NULL, "fileMode": 0o666, "uid": 5, "gid": 5}, {})
    mounts = [*it.config["mounts"], {"destination": "/srv/node", "source": str(node), "options": ["bind"]}]
    assert runtime.run(it.update({"mounts": mounts}), check=True).stdout == "character special file 600 0:0 1:3\n"
    assert (os.lstat(node).st_mode, os.lstat(node).st_uid) == (stat.S_IFCHR | 0o600, 0)


def test_a_default_device_is_bound_over_what_the_image_has(runtime: Runtime, bundle: MakeBundle) -> None:
    """Images have empty files in /dev; without a mount there the container's /dev/null has to be one all the same."""
    it = bundle()
    mounts = [mount for mount in it.config["mounts"] if not mount["destination"].startswith("/dev")]
    it.update({"mounts": mounts}).shell("stat -L -c '%F %t:%T' /dev/null /dev/zero")
    (it.rootfs / "dev").mkdir(exist_ok=True)
    (it.rootfs / "dev/null").write_text("")
    (it.rootfs / "dev/zero").symlink_to("nothing")
    assert runtime.run(it, check=True).stdout == "character special file 1:3\ncharacter special file 1:5\n"
    assert (it.rootfs / "dev/null").is_file()


@pytest.mark.parametrize(
    "device",
    [
        {"path": "/dev/tty", "type": "c", "major": 5, "minor": 0},
        {"path": "/dev/ptmx", "type": "c", "major": 5, "minor": 2},
        {"path": "/dev/null", "type": "c", "major": 1, "minor": 3},
        {"path": "/dev/console", "type": "c", "major": 5, "minor": 1},
    ],
    ids=lambda device: device["path"],
)
@pytest.mark.parametrize("linux", [{}, USERNS], ids=["host", "userns"])
def test_redundant_entries(runtime: Runtime, bundle: MakeBundle, device: dict[str, Any], linux: dict[str, Any]) -> None:
    it = with_device(bundle, device, linux)
    assert runtime.run(it.shell("echo x > /dev/null && ls -l /dev/ptmx"), check=True).stdout.endswith("pts/ptmx\n")


def test_where_the_kernel_refuses_to_make_nodes(runtime: Runtime, bundle: MakeBundle) -> None:
    """A container around pyrunc without CAP_MKNOD: the host's nodes are bound, twice over."""
    it = with_device(bundle, {**NULL, "path": "/dev/full", "minor": 7}, {})
    it.config["linux"]["devices"].append({**NULL, "path": "/srv/null"})
    it.save()
    command = ["setpriv", "--bounding-set", "-mknod", "--inh-caps", "-mknod"]

    def run() -> subprocess.CompletedProcess[str]:
        arguments = ["run", "--bundle", str(it.path), runtime.new_id()]
        return subprocess.run([*command, *runtime.command(*arguments)], check=False, capture_output=True, text=True)

    done = run()
    text = "(linux/devices/1): mknodat: operation not permitted, and the host has no such device to bind"
    assert text in done.stderr
    it.config["linux"]["devices"].pop()
    it.save()
    for _ in range(2):
        assert run().stdout.endswith(" 1:7\n")


@pytest.mark.contains("what the host has at the path of a device, a folder even, bound in its place (found here)")
def test_another_device_of_the_host(runtime: Runtime, bundle: MakeBundle) -> None:
    """Where the host's node is bound it has to be the one that is asked for: its path says nothing."""
    it = with_device(bundle, {**NULL, "path": "/dev/urandom"}, {})
    command = ["setpriv", "--bounding-set", "-mknod", "--inh-caps", "-mknod"]
    line = [*command, *runtime.command("run", "--bundle", str(it.path), runtime.new_id())]
    done = subprocess.run(line, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 1
    assert "(linux/devices/0)" in done.stderr


def calls(runtime: Runtime, it: Bundle, tmp_path: Path) -> dict[str, int]:
    """How often each system call is made by `create`, its agents and the container's init."""
    trace = tmp_path / f"calls-{unique_id()}"
    id = runtime.new_id()
    command = runtime.command("create", "--bundle", str(it.path), id)
    with open(tmp_path / "said", "w+b") as said:
        strace = ["strace", "-f", "-q", "-e", "trace=process", "-o", str(trace), *command]
        with subprocess.Popen(strace, stdin=subprocess.DEVNULL, stdout=said, stderr=said) as tracer:
            # strace stays with the container: what `create` has called is what was traced until the init waits.
            wait_until(lambda: runtime.call("state", id).returncode == 0, "it is created", 60)
            runtime.call("delete", "--force", id, check=True)
            tracer.wait(60)
        said.seek(0)
        assert said.read() == b""
    counts: Counter[str] = Counter()
    for line in trace.read_text().splitlines():
        name = line.split(maxsplit=1)[1].partition("(")[0]
        counts[name] += "resumed" not in name
    return counts


@pytest.mark.host
@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_many_devices_take_no_more_processes_than_one(runtime: Runtime, bundle: MakeBundle, tmp_path: Path) -> None:
    """Each had an agent of its own."""
    counts = []
    for number in 1, 70:
        devices = [{**NULL, "path": f"/dev/null{index}"} for index in range(number)]
        it = bundle({"linux": {**USERNS, "devices": devices}})
        counts.append(calls(runtime, it, tmp_path))
    few, many = counts
    print(f"1 device: {few}, 70: {many}")
    for name in "clone", "clone3", "fork", "vfork", "execve":
        assert many[name] == few[name], name
    assert 1 < many["execve"] <= 4


def test_many_devices_in_folders(runtime: Runtime, bundle: MakeBundle) -> None:
    """More than fit into one message, some there already from an earlier container, one that nobody can be given."""
    devices: list[dict[str, Any]] = [
        {
            "path": f"/{folder}/n{index}",
            "type": "c",
            "major": 1,
            "minor": 3 + 2 * (index % 2),
            "fileMode": 0o600 + index,
        }
        | {"uid": index, "gid": 70000 if index == 5 and folder == "dev/sub" else index}
        for index in range(60)
        for folder in ("dev", "dev/sub", "srv/sub")
    ]
    devices.remove(refused := next(device for device in devices if device["gid"] == 70000))
    script = "cd /; stat -c '%n %a %u:%g %t:%T' dev/n[0-9]* dev/sub/n* srv/sub/n* | sort"
    it = bundle({"linux": {**USERNS, "devices": devices}}).shell(script)
    (it.rootfs / "srv").mkdir(exist_ok=True)
    os.chown(it.rootfs / "srv", 100000, 100000)
    wanted = sorted(
        f"{device['path'][1:]} {device['fileMode']:o} {device['uid']}:{device['gid']} 1:{device['minor']}"
        for device in devices
    )
    for _ in range(2):
        assert runtime.run(it, check=True).stdout.splitlines() == wanted
    devices.append(refused)
    done = runtime.run(it.update({"linux": {"devices": devices}}))
    # Nobody could be given the node: it would be the host's, which has none there.
    assert 'error creating device node \\"/dev/sub/n5\\" (linux/devices/179): open_tree' in done.stderr


def test_one_of_many_has_something_else_in_its_place(runtime: Runtime, bundle: MakeBundle) -> None:
    devices = [{**NULL, "path": f"/srv/n{index}"} for index in range(40)]
    it = bundle({"linux": {**USERNS, "devices": devices}}).args("/bin/true")
    (it.rootfs / "srv").mkdir(exist_ok=True)
    os.chown(it.rootfs / "srv", 100000, 100000)
    (it.rootfs / "srv/n37").write_text("data")
    done = runtime.run(it)
    assert 'error creating device node \\"/srv/n37\\" (linux/devices/37): the root file system has' in done.stderr
    assert (it.rootfs / "srv/n37").read_text() == "data"
