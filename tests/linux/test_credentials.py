"""What the caller has stays with the caller: groups, capabilities, keys, the terminal."""

import shutil
import subprocess
from pathlib import Path

import pytest

from support import IS_ROOT, Bundle, MakeBundle, Runtime

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="needs root")

GROUPS = "4,6"  # adm and disk, of who calls pyrunc


def started(runtime: Runtime, bundle: Bundle) -> str:
    id = runtime.create(bundle.args("sleep", "1000"))
    runtime.call("start", id, check=True)
    return id


def with_groups(runtime: Runtime, *words: str) -> subprocess.CompletedProcess[str]:
    command = ["setpriv", "--groups", GROUPS, *runtime.command(*words)]
    return subprocess.run(command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)


@pytest.mark.contains(
    "keys, groups and the terminal of the caller",
    "a session, a session keyring and groups of the container's own",
)
def test_the_groups_of_the_caller_stay_with_him(runtime: Runtime, bundle: MakeBundle) -> None:
    it = bundle().args("grep", "Groups:", "/proc/self/status")
    run = with_groups(runtime, "run", "--bundle", str(it.path), runtime.new_id())
    assert run.stdout.split() == ["Groups:"], run.stderr
    done = with_groups(runtime, "exec", started(runtime, it), "grep", "Groups:", "/proc/self/status")
    assert done.stdout.split() == ["Groups:"], done.stderr


def test_the_bounding_set_is_the_configurations(runtime: Runtime, bundle: MakeBundle) -> None:
    it = bundle({"process": {"capabilities": {"bounding": ["CAP_KILL"]}}}).args("grep", "CapBnd", "/proc/self/status")
    assert int(runtime.run(it, check=True).stdout.split()[1], 16) == 1 << 5
    done = runtime.call("exec", started(runtime, it), "grep", "CapBnd", "/proc/self/status", check=True)
    assert int(done.stdout.split()[1], 16) == 1 << 5


WHOSE_KEYS = """
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(void)
{
	char text[256] = "";
	/* KEYCTL_DESCRIBE of KEY_SPEC_SESSION_KEYRING: type;uid;gid;permissions;description */
	if (syscall(SYS_keyctl, 6, -3, text, sizeof(text) - 1) < 0)
		return 1;
	puts(text);
	return 0;
}
"""


@pytest.mark.contains("keys, groups and the terminal of the caller")
@pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")
@pytest.mark.skipif(not Path("/proc/keys").exists(), reason="this kernel has no keyrings")
def test_the_keys_of_the_caller_stay_with_him(runtime: Runtime, bundle: MakeBundle, tmp_path: Path) -> None:
    """The session keyring is the container's."""
    it = bundle().args("/whose")
    (tmp_path / "whose.c").write_text(WHOSE_KEYS)
    subprocess.run(["cc", "-static", "-o", str(it.rootfs / "whose"), str(tmp_path / "whose.c")], check=True)
    id = runtime.new_id()
    run = runtime.call("run", "--bundle", str(it.path), id, check=True)
    assert run.stdout.endswith(f";_ses.{id}\n")
    other = started(runtime, it)
    assert runtime.call("exec", other, "/whose", check=True).stdout.endswith(f";_ses.{other}\n")


@pytest.mark.contains("keys, groups and the terminal of the caller")
def test_the_terminal_of_the_caller_stays_with_him(runtime: Runtime, bundle: MakeBundle) -> None:
    """Without a session of its own a container could push characters into it (TIOCSTI)."""
    # Fields of stat after the name: state, ppid, pgrp, session.
    done = runtime.run(bundle().shell("cat /proc/$$/stat; exit 0"), check=True)
    assert done.stdout.rpartition(")")[2].split()[3] == "1"
