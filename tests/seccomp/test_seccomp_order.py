"""When the filter is loaded: what pyrunc-init does itself before, the profile may forbid."""

import pytest

from support import IS_ROOT, MakeBundle, Runtime

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="needs root")

SETTING_UP = ["getcwd", "chdir", "setgroups", "setresgid", "setresuid", "umask"]


@pytest.mark.parametrize("uid", [0, 1000])
@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_what_the_init_needs_itself_can_be_forbidden(
    runtime: Runtime, bundle: MakeBundle, uid: int, no_new_privileges: bool
) -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": SETTING_UP, "action": "SCMP_ACT_ERRNO", "errnoRet": 5}],
    }
    process = {"noNewPrivileges": no_new_privileges, "user": {"uid": uid, "gid": uid}, "cwd": "/tmp"}
    it = bundle({"process": process, "linux": {"seccomp": profile}})
    it.shell("cd /; echo $?; grep -E '^(Uid|Cap|Seccomp:)' /proc/self/status")
    lines = runtime.run(it, check=True).stdout.split("\n")
    assert lines[0] == "2"
    status = dict(line.split(":\t") for line in lines[1:] if line)
    assert status["Uid"] == "\t".join([str(uid)] * 4)
    assert status["Seccomp"] == "2"
    # Of what the filter needs nothing is left: CAP_SYS_ADMIN is in no set.
    kept = "0000000020000420"
    mine = kept if uid == 0 else "0" * 16
    assert status == {
        **status, "CapInh": "0" * 16, "CapPrm": mine, "CapEff": mine, "CapBnd": kept, "CapAmb": "0" * 16,
    }  # fmt: skip
