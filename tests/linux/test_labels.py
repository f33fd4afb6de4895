"""Labels of Linux security modules: apparmorProfile, selinuxLabel, mountLabel."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import IS_ROOT, MakeBundle, Runtime

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="needs root")

_enabled = Path("/sys/module/apparmor/parameters/enabled")
APPARMOR = _enabled.exists() and _enabled.read_text().strip() == "Y"
SELINUX = Path("/sys/fs/selinux").exists()

PROFILE = """
profile {name} flags=(attach_disconnected,mediate_deleted) {{
  file,
  capability,
  network,
  mount,
  signal,
  ptrace,
  deny /etc/passwd r,
}}
"""


@pytest.fixture(scope="module")
def profiles() -> Iterator[tuple[str, str]]:
    """Two loaded profiles under which /etc/passwd cannot be read."""
    names = ("pyrunc-test-one", "pyrunc-test-two")
    text = "".join(PROFILE.format(name=name) for name in names)
    for option in ("--replace", "--remove"):
        subprocess.run(["apparmor_parser", "--skip-cache", option], input=text, text=True, check=True)
        if option == "--replace":
            yield names


@pytest.mark.qemu
@pytest.mark.parametrize("no_new_privileges", [True, False])
@pytest.mark.parametrize("user_namespace", [False, True])
def test_apparmor_profile(
    runtime: Runtime,
    bundle: MakeBundle,
    profiles: tuple[str, str],
    no_new_privileges: bool,
    user_namespace: bool,
) -> None:
    it = bundle(
        {
            "process": {
                "apparmorProfile": profiles[0],
                "noNewPrivileges": no_new_privileges,
            }
        }
    ).shell("cat /proc/self/attr/current; cat /etc/passwd")
    if user_namespace:
        maps = [{"containerID": 0, "hostID": 100000, "size": 65536}]
        it.config["linux"]["namespaces"].append({"type": "user"})
        it.update({"linux": {"uidMappings": maps, "gidMappings": maps}})
    done = runtime.run(it)
    assert done.stdout == f"{profiles[0]} (enforce)\n"
    assert "can't open '/etc/passwd': Permission denied" in done.stderr


@pytest.mark.qemu
def test_apparmor_profile_of_hooks_and_exec(
    runtime: Runtime, bundle: MakeBundle, profiles: tuple[str, str], tmp_path: Path
) -> None:
    """The init is not confined before its execve; what is executed later has its profile too."""
    seen = tmp_path / "seen"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"cat /proc/self/attr/current > {seen}"]}
    it = bundle(
        {
            "process": {"apparmorProfile": profiles[0]},
            "hooks": {"createContainer": [hook]},
        }
    ).args("/bin/sleep", "100")
    id = runtime.create(it)
    assert seen.read_text() == "unconfined\n"
    pid = runtime.state(id)["pid"]
    assert Path(f"/proc/{pid}/attr/current").read_text() == "unconfined\n"
    runtime.call("start", id, check=True)
    assert Path(f"/proc/{pid}/attr/current").read_text() == f"{profiles[0]} (enforce)\n"
    shown = runtime.call("exec", id, "cat", "/proc/self/attr/current", check=True).stdout
    assert shown == f"{profiles[0]} (enforce)\n"
    words = ("exec", "--apparmor", profiles[1], id, "cat", "/proc/self/attr/current")
    assert runtime.call(*words, check=True).stdout == f"{profiles[1]} (enforce)\n"


@pytest.mark.qemu
def test_an_apparmor_profile_that_is_not_loaded(runtime: Runtime, bundle: MakeBundle) -> None:
    """The kernel says ENOENT, which would mean to engines that the command is missing."""
    done = runtime.run(bundle({"process": {"apparmorProfile": "pyrunc-test-none"}}))
    assert done.returncode == 1
    assert 'apparmor profile \\"pyrunc-test-none\\"' in done.stderr
    assert "profile not loaded" in done.stderr
    assert "`/proc/self/attr/apparmor/exec`" in done.stderr
    assert "no such file" not in done.stderr


@pytest.mark.skipif(APPARMOR, reason="this kernel has AppArmor")
def test_apparmor_that_is_not_enabled(runtime: Runtime, bundle: MakeBundle) -> None:
    done = runtime.run(bundle({"process": {"apparmorProfile": "docker-default"}}))
    assert done.returncode == 1
    assert 'unable to apply apparmor profile \\"docker-default\\"' in done.stderr
    assert "apparmor is not enabled in this kernel" in done.stderr
    assert not list(runtime.root.iterdir())


def test_selinux_that_is_not_enabled(runtime: Runtime, bundle: MakeBundle) -> None:
    """In the kernel or not: the machines of the tests have no policy."""
    it = bundle({"process": {"selinuxLabel": "system_u:system_r:container_t:s0:c1,c2"}})
    done = runtime.run(it)
    assert done.returncode == 1
    text = "selinux label is specified in config, but selinux is disabled or not supported"
    assert text in done.stderr


@pytest.mark.host
@pytest.mark.skipif(SELINUX, reason="this machine has SELinux")
def test_a_mount_label_without_selinux(runtime: Runtime, bundle: MakeBundle) -> None:
    """The file system refuses the option: a label that is not enforced is not ignored."""
    done = runtime.run(bundle({"linux": {"mountLabel": "system_u:object_r:container_file_t:s0"}}))
    assert done.returncode == 1
    assert 'fsconfig \\"context\\": invalid argument' in done.stderr
