"""What a container usually needs of paths, whether or not the kernel has openat2(2): conftest.py has the three ways."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from security.conftest import FORBID
from support import IS_ROOT, MakeBundle, Runtime, unique_id

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="needs root")


def test_the_usual_container(runtime: Runtime, bundle: MakeBundle) -> None:
    it = bundle({"process": {"cwd": "/made/here"}, "linux": {"sysctl": {"net.ipv4.ip_forward": "1"}}})
    it.shell("pwd; cat /proc/sys/net/ipv4/ip_forward; ls /dev/pts/ptmx; wc -c </proc/keys; echo $HOME")
    (it.rootfs / "etc").mkdir(exist_ok=True)
    (it.rootfs / "etc/passwd").write_text("root:x:0:0::/home/of/root:/bin/sh\n")
    done = runtime.run(it, check=True)
    assert done.stdout.split() == ["/made/here", "1", "/dev/pts/ptmx", "0", "/home/of/root"]


def test_mount_points_behind_links(runtime: Runtime, bundle: MakeBundle, tmp_path: Path) -> None:
    it = bundle()
    (it.rootfs / "real").mkdir()
    for name, leads in (("up", "../../../real"), ("absolute", "/real"), ("dangling", "real/new"), ("round", "round")):
        (it.rootfs / name).symlink_to(leads)
    source = tmp_path / "source"
    source.write_text("bound")
    it.update({"mounts": [*it.config["mounts"], *(
        {"destination": f"/{path}", "type": "bind", "source": str(source), "options": ["bind"]}
        for path in ("up/a/b", "absolute/c", "dangling")
    )]}).shell("cat /real/a/b /real/c /real/new")  # fmt: skip
    assert runtime.run(it, check=True).stdout == "bound" * 3
    for leads in ("/round", "/proc/self/cwd/new", "/proc/self/root", "/proc/1/exe"):
        it.config["mounts"][-1]["destination"] = leads
        it.save()
        done = runtime.run(it)
        assert done.returncode == 1
        assert "too many levels of symbolic links" in done.stderr or "is inside /proc" in done.stderr


def test_links_that_lead_to_open_files(runtime: Runtime, bundle: MakeBundle) -> None:
    """RESOLVE_NO_MAGICLINKS: not even their text is followed."""
    it = bundle().shell("pwd")
    for number, leads in enumerate(("/proc/self/cwd", "/proc/thread-self/root/new", "/proc/self/fd/0", "/proc/1/exe")):
        (it.rootfs / f"link{number}").symlink_to(leads)
        done = runtime.run(it.update({"process": {"cwd": f"/link{number}"}}))
        assert done.returncode == 1
        assert "chdir to cwd" in done.stderr
        assert "too many levels of symbolic links" in done.stderr
    (it.rootfs / "text").symlink_to("/proc/self/../thread-self/net")
    assert runtime.run(it.update({"process": {"cwd": "/text"}}), check=True).stdout.endswith("/net\n")


def test_exec_and_its_errors(runtime: Runtime, bundle: MakeBundle) -> None:
    it = bundle().args("/bin/sleep", "100")
    (it.rootfs / "etc").mkdir(exist_ok=True)
    (it.rootfs / "etc/passwd").write_text("someone:x:1234:5678::/somewhere:/bin/sh\n")
    (it.rootfs / "link").symlink_to("bin")
    id = runtime.create(it)
    runtime.call("start", id, check=True)
    script = "pwd; id -u; id -g; echo $HOME"
    done = runtime.call("exec", "--cwd", "/link/../link", "--user", "someone", id, "sh", "-c", script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["/bin", "1234", "5678", "/somewhere"]
    assert runtime.call("exec", "--cwd", "/not/there", id, "true").returncode == 255
    assert json.loads(runtime.call("state", id).stdout)["status"] == "running"


@pytest.mark.parametrize(
    ("number", "errno", "words"),
    [
        (442, 38, "mount_setattr"),  # ENOSYS
        (435, 1, "start pyrunc-init"),  # clone3, EPERM: that of posix_spawn(3)
    ],
)
def test_what_cannot_be_done_without(
    launcher: str, bundle: MakeBundle, root_dir: Path, number: int, errno: int, words: str
) -> None:
    command = [sys.executable, "-IS", str(FORBID), str(number), str(errno), launcher, "--root", str(root_dir / "state")]
    line = [*command, "run", "--bundle", str(bundle().path), unique_id()]
    done = subprocess.run(line, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 1
    assert words in done.stderr
    assert done.stderr.count("level=error") == 1
    assert "hint: a seccomp filter is around pyrunc" in done.stderr
    assert list((root_dir / "state").iterdir()) == []
