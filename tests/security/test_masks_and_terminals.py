"""Masked and read-only paths, terminals, and what covers /proc: none of it trusts a file of the container's."""

import os
import stat
import subprocess
from pathlib import Path

import pytest

from onlookers import on_a_terminal
from support import IS_ROOT, PURE_V2, Bundle, Json, MakeBundle, Runtime

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="needs root")

CORE_PATTERN = Path("/proc/sys/kernel/core_pattern")


def _with_dev(bundle: MakeBundle, dev: Path, *options: str) -> Bundle:
    """A bundle whose /dev is a directory of the attacker's."""
    keep = [it for it in bundle().config["mounts"] if not it["destination"].startswith("/dev")]
    bound = {"destination": "/dev", "type": "bind", "source": str(dev), "options": ["rbind", *options]}
    return bundle({"mounts": [*keep, bound], "linux": {"readonlyPaths": []}})


@pytest.mark.contains(
    "CVE-2025-31133, CVE-2025-62161: `/dev/null` is not one",
    "opened without links, its kind and its device number compared; else masking fails. What is masked is"
    " a descriptor too",
)
@pytest.mark.parametrize(
    "null", ["link", "relative link", "file", "zero", "terminal", "disk", "fifo", "directory", "missing"]
)
def test_null_that_is_none(runtime: Runtime, bundle: MakeBundle, tmp_path: Path, null: str) -> None:
    """CVE-2025-31133: masking fails, or masks with a true /dev/null; it never binds what was put in its place."""
    dev = tmp_path / "dev"
    dev.mkdir()
    path = dev / "null"
    if null == "link":
        path.symlink_to(CORE_PATTERN)
    elif null == "relative link":
        path.symlink_to("../proc/sys/kernel/core_pattern")
    elif null == "file":
        path.write_text("leaked")
    elif null == "zero":
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))
    elif null == "terminal":
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(4, 3))
    elif null == "disk":
        os.mknod(path, stat.S_IFBLK | 0o666, os.makedev(1, 3))
    elif null == "fifo":
        os.mkfifo(path)
    elif null == "directory":
        path.mkdir()
    it = _with_dev(bundle, dev).update({"linux": {"maskedPaths": ["/secret"]}})
    it.shell("timeout 5 head -c 8 /secret; stat -c ' %F %t:%T' /secret")
    (it.rootfs / "secret").write_text("leaked")
    before = CORE_PATTERN.read_text()
    done = runtime.run(it, timeout=20)
    if done.returncode:
        assert "error masking paths" in done.stderr
        assert done.stdout == ""
    else:
        assert done.stdout == " character special file 1:3\n"
    assert (done.returncode == 0) == (null == "missing")
    assert CORE_PATTERN.read_text() == before


@pytest.mark.contains("CVE-2025-31133, CVE-2025-62161: `/dev/null` is not one")
def test_masked_link(runtime: Runtime, bundle: MakeBundle, tmp_path: Path) -> None:
    """The mask covers what a link in the image leads to inside; one that leads nowhere is an error."""
    canary = tmp_path / "canary"
    canary.write_text("canary")
    it = bundle({"linux": {"maskedPaths": ["/secret", "/a/../../../secret"]}}).shell("cat /real; cat /secret")
    (it.rootfs / "real").write_text("leaked")
    (it.rootfs / "secret").symlink_to("../../../real")
    assert runtime.run(it, check=True).stdout == ""
    (it.rootfs / "secret").unlink()
    (it.rootfs / "secret").symlink_to(canary)
    done = runtime.run(it)
    assert done.returncode != 0
    assert "symbolic link" in done.stderr
    assert canary.read_text() == "canary"


@pytest.mark.contains("a tmpfs over masked directories that takes what is written")
def test_masks_hold_what_the_container_can_write_to(runtime: Runtime, bundle: MakeBundle) -> None:
    """The shared tmpfs over masked directories is empty and stays so."""
    masked = ["/one", "/two"]
    everything = {kind: ["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"] for kind in ("bounding", "effective", "permitted")}
    it = bundle({"linux": {"maskedPaths": masked}, "process": {"capabilities": everything}})
    for name in ("one", "two"):
        (it.rootfs / name).mkdir()
        (it.rootfs / name / "secret").write_text("leaked")
    it.shell("mount -o remount,rw /one; echo x >/one/file; ls /one /two; cat /one/secret /two/secret")
    done = runtime.run(it)
    assert done.stdout == "/one:\n\n/two:\n"


@pytest.mark.contains(
    "a tmpfs over masked directories that takes what is written",
    "read-only as a mount and as a file system, without room: nr_blocks, nr_inodes",
)
def test_the_tmpfs_of_masks_takes_nothing(runtime: Runtime, bundle: MakeBundle) -> None:
    """Read-only as a mount and as a file system, and without room for data or files: nothing can be hidden there by who
    finds a way to write (nr_blocks, nr_inodes)."""
    everything = {kind: ["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"] for kind in ("bounding", "effective", "permitted")}
    it = bundle({"linux": {"maskedPaths": ["/one"]}, "process": {"capabilities": everything}})
    (it.rootfs / "one").mkdir()
    it.shell("grep ' /one ' /proc/self/mountinfo; mount -o remount,rw /one; mkdir /one/x; ls /one")
    done = runtime.run(it)
    of_mount, of_file_system = (set(done.stdout.split()[at].split(",")) for at in (5, -1))
    assert "ro" in of_mount
    assert {"ro", "nr_inodes=1"} <= of_file_system
    assert {"size=4k", f"nr_blocks={1}"} & of_file_system, of_file_system
    assert "mkdir" in done.stderr


@pytest.mark.contains(
    "CVE-2025-52565: terminals that are links",
    "the slave comes from the master (`TIOCGPTPEER`), which has to lie on devpts",
)
def test_terminal_with_links_for_terminals(runtime: Runtime, bundle: MakeBundle, tmp_path: Path) -> None:
    """CVE-2025-52565: the terminal is not opened by a name that the container has made."""
    canary = tmp_path / "canary"
    canary.write_text("canary")
    dev = tmp_path / "dev"
    (dev / "pts").mkdir(parents=True)
    for number in range(10):
        (dev / f"pts/{number}").symlink_to("/proc/sysrq-trigger")
    (dev / "ptmx").symlink_to("/dev/null")
    (dev / "console").symlink_to(canary)
    for ptmx in ("missing", "link", "null"):
        if ptmx == "link":
            (dev / "pts/ptmx").symlink_to("/dev/ptmx")
        elif ptmx == "null":
            (dev / "pts/ptmx").unlink()
            os.mknod(dev / "pts/ptmx", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        it = _with_dev(bundle, dev).update({"process": {"terminal": True}})
        it.args("/bin/sleep", "60")
        assert "LEFT" not in _in_terminal(runtime, it)
        assert canary.read_text() == "canary"
    # A devpts of the container's own over it: then there is a terminal, and the links are hidden.
    it.config["mounts"].append(
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666"]}
    )
    (dev / "console").unlink()
    (dev / "console").write_text("")
    it.shell("readlink -f /proc/self/fd/0; stat -c '%t %T' /dev/console; echo LEFT")
    assert "/dev/pts/0\r\n88 0\r\nLEFT" in _in_terminal(runtime, it)


def _in_terminal(runtime: Runtime, it: Bundle) -> str:
    """What `run` prints on a terminal of its own, with standard error; "LEFT" comes from the container."""
    return on_a_terminal(runtime.command("run", "--bundle", str(it.path), runtime.new_id()))


@pytest.mark.contains("CVE-2026-88264: `/dev/console` is a link, and nothing is mounted on `/dev`")
def test_console_link_with_a_terminal(runtime: Runtime, bundle: MakeBundle, tmp_path: Path) -> None:
    """/dev/console in an image whose /dev is not covered: the mount point is made inside."""
    canary = tmp_path / "canary"
    keep = [it for it in bundle().config["mounts"] if it["destination"] not in ("/dev", "/dev/shm", "/dev/mqueue")]
    it = bundle({"mounts": keep, "process": {"terminal": True}}).args("/bin/true")
    (it.rootfs / "dev/console").symlink_to(canary)
    _in_terminal(runtime, it)
    assert not canary.exists()


@pytest.mark.contains("CVE-2025-52565: terminals that are links")
def test_a_ptmx_that_is_not_of_a_devpts(runtime: Runtime, bundle: MakeBundle, tmp_path: Path) -> None:
    """CVE-2025-52565: a node of its device elsewhere leads to whatever devpts lies beside it."""
    dev = tmp_path / "dev"
    (dev / "pts/pts").mkdir(parents=True)
    os.mknod(dev / "pts/ptmx", stat.S_IFCHR | 0o666, os.makedev(5, 2))
    os.chmod(dev / "pts/ptmx", 0o666)
    it = _with_dev(bundle, dev).update({"process": {"terminal": True}}).shell("echo LEFT")
    it.config["mounts"].append(
        {"destination": "/dev/pts/pts", "type": "devpts", "source": "devpts", "options": ["newinstance"]}
    )
    it.save()
    said = _in_terminal(runtime, it)
    assert "LEFT" not in said
    assert "error opening the console" in said


@pytest.mark.contains(
    "CVE-2019-16884: mounts over `/proc`",
    "destinations below `/proc` are refused, so is anything but procfs on it; 4 above",
)
@pytest.mark.parametrize(
    ("destination", "kind"),
    [
        ("/proc/self/attr", "bind"),
        ("/proc/sys/kernel", "tmpfs"),
        ("/proc/../proc/self", "bind"),
        ("//proc//1/", "tmpfs"),
    ],
)
def test_mounts_below_proc(runtime: Runtime, bundle: MakeBundle, tmp_path: Path, destination: str, kind: str) -> None:
    """CVE-2019-16884: what covers files of /proc could take what is written to them."""
    mount: Json = {"destination": destination, "type": kind, "source": str(tmp_path)}
    done = runtime.run(bundle({"mounts": [*bundle().config["mounts"], mount]}))
    assert done.returncode != 0
    assert "cannot be mounted because it is inside /proc" in done.stderr


@pytest.mark.contains("CVE-2019-16884: mounts over `/proc`")
def test_something_else_as_proc(runtime: Runtime, bundle: MakeBundle, tmp_path: Path) -> None:
    """CVE-2019-16884: a directory over /proc is refused."""
    mount = {"destination": "/proc", "type": "bind", "source": str(tmp_path), "options": ["bind"]}
    for mounts in ([mount], [*bundle().config["mounts"], mount]):
        done = runtime.run(bundle({"mounts": mounts}))
        assert done.returncode == 1
        assert "cannot be mounted because it is not of type proc" in done.stderr


LINKS = [
    ("/data", "/proc"),
    ("/data", "/proc/sys"),
    ("/data", "../../../../proc/1"),
    ("/data/sub", "/proc/self"),
    ("/data", "/sys"),
    ("/data", "/sys/fs"),
]


@pytest.mark.contains(
    "a link in the image that leads a volume over `/proc` or `/sys` (found here)",
    "the mount point that was opened is asked which file system it lies on (fstatfs(2))",
)
@pytest.mark.parametrize("kind", ["bind", "tmpfs", "copied-up", "cgroup", "cgroup2"])
@pytest.mark.parametrize(("destination", "link"), LINKS)
@pytest.mark.parametrize("userns", [False, True], ids=["root", "userns"])
def test_a_link_leads_a_mount_into_proc_or_sys(
    runtime: Runtime, bundle: MakeBundle, tmp_path: Path, userns: bool, destination: str, link: str, kind: str
) -> None:
    """CVE-2019-16884: what counts is where the mount point lies, not what it is called."""
    it = bundle()
    (it.rootfs / "data").symlink_to(link)
    mount: Json = {"destination": destination, "type": kind, "source": str(tmp_path)}
    if kind == "copied-up":
        mount |= {"type": "tmpfs", "options": ["tmpcopyup"]}
    it.update({"mounts": [*it.config["mounts"], mount]})
    if userns:
        maps = [{"containerID": 0, "hostID": 100000, "size": 65536}]
        namespaces = [*it.config["linux"]["namespaces"], {"type": "user"}]
        it.update({"linux": {"namespaces": namespaces, "uidMappings": maps, "gidMappings": maps}}).give(100000)
    done = runtime.run(it)
    assert done.returncode == 1
    where = "/proc" if "proc" in link else "/sys"
    if "sub" in destination:
        # There is nothing of the name, and nothing can be made.
        assert "no such file or directory" in done.stderr or where in done.stderr
    else:
        assert f"because a symbolic link in the root file system leads it inside {where}" in done.stderr
    assert "(mounts/6)" in done.stderr


@pytest.mark.contains("a link in the image that leads a volume over `/proc` or `/sys` (found here)")
def test_a_link_from_sys_to_proc(runtime: Runtime, bundle: MakeBundle, tmp_path: Path) -> None:
    """What may lie in the one by its name may not lie in the other."""
    it = bundle()
    mounts = [mount for mount in it.config["mounts"] if mount["destination"] != "/sys"]
    (it.rootfs / "sys/link").symlink_to("/proc/sys")
    mounts.append({"destination": "/sys/link", "type": "bind", "source": str(tmp_path)})
    done = runtime.run(it.update({"mounts": mounts}))
    assert done.returncode == 1
    assert "because a symbolic link in the root file system leads it inside /proc" in done.stderr


def test_a_link_elsewhere_is_followed(runtime: Runtime, bundle: MakeBundle, tmp_path: Path) -> None:
    it = bundle()
    (it.rootfs / "data").symlink_to("/etc")
    mount = {"destination": "/data", "type": "bind", "source": str(tmp_path)}
    (tmp_path / "here").touch()
    done = runtime.run(it.update({"mounts": [*it.config["mounts"], mount]}).args("/bin/ls", "/etc"))
    assert (done.returncode, "here" in done.stdout.split()) == (0, True)


def test_a_read_only_tmpfs_behind_a_link_is_the_one_that_was_mounted(runtime: Runtime, bundle: MakeBundle) -> None:
    """It becomes read-only when all mounts are in place: by its descriptor, as the link leads elsewhere by then."""
    it = bundle()
    (it.rootfs / "one").mkdir()
    (it.rootfs / "data").symlink_to("/one/link")
    (it.rootfs / "one/link").symlink_to("/two")
    (it.rootfs / "two").mkdir()
    late = {"destination": "/data", "type": "tmpfs", "source": "late", "options": ["ro"]}
    over = {"destination": "/one", "type": "tmpfs", "source": "over"}
    done = runtime.run(
        it.update({"mounts": [*it.config["mounts"], late, over]}).shell("grep -E ' /(one|two) ' /proc/mounts")
    )
    assert done.returncode == 0, done.stderr
    options = {line.split()[1]: line.split()[3].split(",") for line in done.stdout.splitlines()}
    assert "ro" in options["/two"]
    assert "rw" in options["/one"]


@pytest.mark.contains("CVE-2019-16884: mounts over `/proc`")
@pytest.mark.parametrize("kind", ["tmpfs", "sysfs"])
def test_another_file_system_as_proc(runtime: Runtime, bundle: MakeBundle, kind: str) -> None:
    """CVE-2019-16884: the same without a bind mount."""
    mounts = bundle().config["mounts"]
    done = runtime.run(bundle({"mounts": [*mounts, {"destination": "//proc/.", "type": kind, "source": "x"}]}))
    assert done.returncode == 1
    assert "cannot be mounted because it is not of type proc (mounts/6/type)" in done.stderr


@pytest.mark.contains(
    "CVE-2025-52881, CVE-2025-62596: labels and sysctls written elsewhere",
    "4 above; on the way no mount is crossed",
)
def test_labels_where_the_image_leads_proc_astray(runtime: Runtime, bundle: MakeBundle, tmp_path: Path) -> None:
    """CVE-2025-52881: the files of labels are the host's, so without a security module there are none, and `create`
    and `exec` fail whatever the container has in their place."""
    enabled = Path("/sys/module/apparmor/parameters/enabled")
    if enabled.exists() and enabled.read_text().strip() == "Y":
        pytest.skip("this machine has AppArmor: a profile that exists is asked for in tests/linux")
    keep = [mount for mount in bundle().config["mounts"] if mount["destination"] != "/proc"]
    it = bundle({"mounts": keep, "linux": {"maskedPaths": [], "readonlyPaths": []}})
    fakes = [it.rootfs / "proc" / pid / "attr" for pid in ("self", "1", "thread-self")]
    for fake in fakes:
        for name in ("exec", "apparmor/exec", "keycreate"):
            (fake / name).parent.mkdir(parents=True, exist_ok=True)
            (fake / name).write_text("")
    it.update({"process": {"apparmorProfile": "some"}})
    assert runtime.run(it).returncode != 0
    it.update({"process": {"apparmorProfile": None}}).args("/bin/sleep", "60")
    id = runtime.create(it)
    runtime.call("start", id, check=True)
    assert runtime.call("exec", "--apparmor", "some", id, "true").returncode != 0
    assert [name for fake in fakes for name in fake.rglob("*") if name.is_file() and name.read_text()] == []


@pytest.mark.contains("CVE-2025-52881, CVE-2025-62596: labels and sysctls written elsewhere")
def test_sysctls_where_the_image_has_a_proc_of_its_own(runtime: Runtime, bundle: MakeBundle) -> None:
    """CVE-2025-52881: they are the kernel's all the same, and nothing is written to the image."""
    it = bundle()
    mounts = [mount for mount in it.config["mounts"] if mount["destination"] != "/proc"]
    linux = {"sysctl": {"net.ipv4.ip_default_ttl": "77"}, "maskedPaths": [], "readonlyPaths": []}
    fake = it.rootfs / "proc/sys/net/ipv4/ip_default_ttl"
    fake.parent.mkdir(parents=True)
    fake.write_text("64")
    id = runtime.create(it.update({"mounts": mounts, "linux": linux}).args("sleep", "100"))
    assert fake.read_text() == "64"
    words = ["nsenter", "-t", str(runtime.state(id)["pid"]), "--net", "cat", "/proc/sys/net/ipv4/ip_default_ttl"]
    assert subprocess.run(words, check=True, capture_output=True, text=True).stdout == "77\n"


@pytest.mark.contains("an unmasked `/proc` below `--no-pivot`", "those of the host are unmounted, or covered, first")
@pytest.mark.parametrize("flags", [(), ("--no-pivot",)])
def test_no_unmasked_proc_is_left(runtime: Runtime, bundle: MakeBundle, flags: tuple[str, ...]) -> None:
    """In a user namespace inside, the kernel lets proc be mounted only where a full one is in sight: none is."""
    it = bundle({"process": {"noNewPrivileges": False}}).shell(
        "cd /; unshare -rmpf sh -c 'mkdir -p /p; mount -t proc proc /p && echo LEAKED'; "
        "unshare -rmn sh -c 'mkdir -p /p; mount -t sysfs sysfs /p && echo LEAKED'; "
        "head -c 1 /proc/kcore && test -s /proc/kcore && echo LEAKED; true"
    )
    done = runtime.run(it, *flags)
    assert done.returncode == 0, done.stderr
    assert "LEAKED" not in done.stdout
    assert done.stderr.count("ermission denied") + done.stderr.count("not permitted") >= 2


def test_no_pivot_with_every_privilege(runtime: Runtime, bundle: MakeBundle) -> None:
    """--no-pivot leaves the host's root below: not one of its proc and sysfs mounts is there any more."""
    everything = {kind: ["CAP_SYS_ADMIN", "CAP_SYS_CHROOT"] for kind in ("bounding", "effective", "permitted")}
    it = bundle({"process": {"capabilities": everything}}).shell("cat /proc/self/mountinfo")
    lines = runtime.run(it, "--no-pivot", check=True).stdout.splitlines()
    assert sorted(line.split()[4] for line in lines if " - proc " in line and line.split()[3] == "/") == ["/proc"]
    assert [line.split()[4] for line in lines if " - sysfs " in line and line.split()[3] == "/"] == ["/sys"]


@pytest.mark.contains(
    "CVE-2023-25809: writable cgroups without a cgroup namespace",
    "read-only is set on each mount of the tree that is bound",
)
@pytest.mark.parametrize("spaces", [("user",), ("user", "cgroup"), ()])
def test_read_only_cgroups(runtime: Runtime, bundle: MakeBundle, spaces: tuple[str, ...]) -> None:
    """CVE-2023-25809: cgroup with "ro" is read-only in each of its mounts, also where the host's is bound."""
    mount = {
        "destination": "/sys/fs/cgroup",
        "type": "cgroup",
        "source": "cgroup",
        "options": ["nosuid", "noexec", "nodev", "relatime", "ro"],
    }
    it = bundle({"mounts": [*bundle().config["mounts"], mount]})
    it.config["linux"]["namespaces"] += [{"type": kind} for kind in spaces]
    if "user" in spaces:
        maps = [{"containerID": 0, "hostID": 100000, "size": 65536}]
        it.update({"linux": {"uidMappings": maps, "gidMappings": maps}})
    it.save()
    it.shell(
        "grep ' /sys/fs/cgroup' /proc/mounts; find /sys/fs/cgroup -type d | head -3 | while read d; do "
        "mkdir $d/new && echo LEAKED; done; true"
    )
    done = runtime.run(it)
    assert done.returncode == 0, done.stderr
    assert "LEAKED" not in done.stdout
    mounts = [line.split() for line in done.stdout.splitlines()]
    assert mounts
    assert [fields for fields in mounts if "ro" not in fields[3].split(",")] == []


@pytest.mark.contains("CVE-2023-25809: writable cgroups without a cgroup namespace")
def test_read_only_cgroups_below_which_something_is_mounted(
    runtime: Runtime, bundle: MakeBundle, tmp_path: Path
) -> None:
    """CVE-2023-25809: what is bound has other mounts below it, which are writable on the host."""
    top = Path("/sys/fs/cgroup" if PURE_V2 else "/sys/fs/cgroup/unified")
    if not (top / "cgroup.procs").exists():
        pytest.skip("needs a cgroup v2 that is mounted")
    place = top / f"pyrunc-test-{os.getpid()}"
    place.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(place)], check=True)  # in the tests' own mount namespace
        mount = {"destination": "/sys/fs/cgroup", "type": "cgroup2", "source": "cgroup", "options": ["ro"]}
        it = bundle({"mounts": [*bundle().config["mounts"], mount]})
        it.config["linux"]["namespaces"].append({"type": "user"})
        maps = [{"containerID": 0, "hostID": 0, "size": 65536}]
        it.update({"linux": {"uidMappings": maps, "gidMappings": maps}})
        done = runtime.run(it.shell("grep ' /sys/fs/cgroup' /proc/self/mountinfo"), check=True)
        lines = [line.split() for line in done.stdout.splitlines()]
        assert len(lines) > 1, "the kernel let it be mounted anew"
        assert [line for line in lines if "ro" not in line[5].split(",")] == []
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=False)
        place.rmdir()
