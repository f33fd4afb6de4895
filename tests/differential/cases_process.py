"""Cases about the process: user, capabilities, limits, environment, scheduling, exit status."""

import json
import os
from pathlib import Path
from typing import Any

from differential.diff_base import CAPABILITIES, Config
from differential.diff_run import Bundle, Case, add_case

CASES: list[Case] = []


def nothing(config: Config, bundle: Bundle) -> None:
    """The base configuration as it is."""


def process(name: str, mode: str = "probe", script: str = "", **members: Any) -> None:
    """A case that sets members of `process`; None removes one."""

    def edit(config: Config, bundle: Bundle) -> None:
        for key, value in members.items():
            if value is None:
                config["process"].pop(key, None)
            else:
                config["process"][key] = value

    CASES.append(Case(name, edit, mode, script))


CASES.append(Case("base", nothing))
CASES.append(Case("base-terminal", lambda config, bundle: config["process"].update(terminal=True), "terminal"))
CASES.append(
    Case(
        "terminal-size",
        lambda config, bundle: config["process"].update(
            terminal=True,
            consoleSize={"height": 33, "width": 111},
            args=[
                "/bin/sh",
                "-c",
                "echo @@ cwd; stty size; for f in 0 1 2; do readlink /proc/$$/fd/$f; done;"
                "stat -Lc '%F %a %u:%g' /proc/$$/fd/0; stat -c '%F %a %u:%g %t:%T' /dev/console;"
                "stty -a | tr ';' '\\n' | grep -E 'onlcr|icanon|speed'; echo @@ end",
            ],
        ),
        "terminal",
    )
)

# --- user and groups -------------------------------------------------------------------------

process("user-1000", user={"uid": 1000, "gid": 1000})
process("user-unknown", user={"uid": 4321, "gid": 8765})
process("user-uid-only", user={"uid": 1000, "gid": 0})
process("user-gid-only", user={"uid": 0, "gid": 1000})
process("user-groups", user={"uid": 1000, "gid": 1000, "additionalGids": [50, 7, 65534]})
process("user-groups-root", user={"uid": 0, "gid": 0, "additionalGids": [5, 50]})
process("user-groups-duplicate", user={"uid": 0, "gid": 0, "additionalGids": [5, 5, 50, 0]})
process("user-homeless", user={"uid": 1001, "gid": 1001})
for _value in (0, 0o27, 0o77, 0o777):
    process(f"umask-{_value:03o}", user={"uid": 0, "gid": 0, "umask": _value})
process(
    "user-without-capabilities",
    user={"uid": 1000, "gid": 1000},
    capabilities={},
)
process("id-command", "args", user={"uid": 1000, "gid": 1000, "additionalGids": [50]}, args=["id"])

# --- capabilities ----------------------------------------------------------------------------

SETS = ("bounding", "effective", "permitted", "inheritable", "ambient")
process("caps-none", capabilities=None)
process("caps-empty", capabilities={})
process("caps-empty-lists", capabilities={kind: [] for kind in SETS})
for _kind in ("bounding", "inheritable"):
    process(f"caps-{_kind}-only", capabilities={_kind: ["CAP_CHOWN", "CAP_KILL"]})
process(
    "caps-permitted-only",
    capabilities={"bounding": ["CAP_CHOWN"], "permitted": ["CAP_CHOWN"]},
)
process("caps-five-alike", capabilities={kind: ["CAP_CHOWN", "CAP_NET_RAW"] for kind in SETS})
process(
    "caps-five-different",
    capabilities={
        "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID", "CAP_NET_RAW"],
        "permitted": ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID"],
        "effective": ["CAP_CHOWN"],
        "inheritable": ["CAP_KILL", "CAP_CHOWN"],
        "ambient": ["CAP_KILL"],
    },
)
process(
    "caps-ambient-user",
    user={"uid": 1000, "gid": 1000},
    capabilities={kind: ["CAP_NET_BIND_SERVICE"] for kind in SETS},
)
process(
    "caps-user-no-ambient",
    user={"uid": 1000, "gid": 1000},
    capabilities=dict.fromkeys(("bounding", "effective", "permitted"), CAPABILITIES),
)
process(
    "caps-unknown-name",
    capabilities={kind: ["CAP_CHOWN", "CAP_NOT_YET_INVENTED"] for kind in SETS},
)
process(
    "caps-ambient-not-inheritable",
    capabilities={
        "bounding": ["CAP_CHOWN"],
        "permitted": ["CAP_CHOWN"],
        "effective": ["CAP_CHOWN"],
        "ambient": ["CAP_CHOWN"],
    },
)
process(
    "caps-without-no-new-privileges",
    noNewPrivileges=False,
    user={"uid": 1000, "gid": 1000},
    capabilities={kind: ["CAP_CHOWN"] for kind in ("bounding", "effective", "permitted")},
)
process(
    "caps-effective-beyond-bounding",
    "error",
    args=["/bin/true"],
    capabilities={"bounding": ["CAP_CHOWN"], "effective": ["CAP_KILL"], "permitted": ["CAP_CHOWN"]},
)
process("no-new-privileges-off", noNewPrivileges=False)
process("no-new-privileges-absent", noNewPrivileges=None)

# --- limits ----------------------------------------------------------------------------------


def _limit(kind: str, soft: int, hard: int) -> dict[str, Any]:
    return {"type": kind, "soft": soft, "hard": hard}


process("rlimits-none", rlimits=None)
process(
    "rlimits-many",
    rlimits=[
        _limit("RLIMIT_NOFILE", 300, 500),
        _limit("RLIMIT_CORE", 0, 0),
        _limit("RLIMIT_CPU", 60, 120),
        _limit("RLIMIT_FSIZE", 1 << 30, 1 << 31),
        _limit("RLIMIT_DATA", 1 << 28, 1 << 29),
        _limit("RLIMIT_STACK", 1 << 20, 1 << 22),
        _limit("RLIMIT_AS", 1 << 31, 1 << 32),
        _limit("RLIMIT_RSS", 1 << 27, 1 << 28),
        _limit("RLIMIT_LOCKS", 20, 30),
        _limit("RLIMIT_NICE", 0, 0),
        _limit("RLIMIT_RTPRIO", 0, 0),
    ],
)
process("rlimits-zero-core", rlimits=[_limit("RLIMIT_CORE", 0, 0)])
process("rlimits-small-nofile", rlimits=[_limit("RLIMIT_NOFILE", 20, 20)])
process(
    "rlimits-unlimited",
    rlimits=[_limit("RLIMIT_FSIZE", 18446744073709551615, 18446744073709551615)],
)
process("rlimit-unknown", "error", rlimits=[_limit("RLIMIT_BOGUS", 1, 1)])
process(
    "rlimit-twice",
    "error",
    rlimits=[_limit("RLIMIT_NOFILE", 10, 20), _limit("RLIMIT_NOFILE", 30, 40)],
)
process("rlimit-soft-above-hard", "error", rlimits=[_limit("RLIMIT_NOFILE", 20, 10)])
CASES.append(
    Case(
        "caller-limits",
        lambda config, bundle: config["process"].pop("rlimits"),
        call=("prlimit", "--nofile=777:888", "--core=5:5", "--"),
    )
)

# --- environment and directory ---------------------------------------------------------------

process("env-none", args=["/bin/sh", "-c", "exit 0"], mode="args", env=None)
process("env-empty", "args", env=[], args=["/bin/busybox", "env"])
process("env-home-kept", env=["PATH=/bin", "HOME=/somewhere"])
process("env-home-empty", env=["PATH=/bin", "HOME="])
process("env-home-of-user", env=["PATH=/bin"], user={"uid": 1000, "gid": 1000})
process("env-duplicates", env=["PATH=/bin", "A=1", "B=2", "A=3", "PATH=/usr/bin:/bin"])
process("env-odd-values", env=["PATH=/bin", "A=", "B=a=b", "C= spaced ", "D=line\nline", "E=é"])
process("env-long", env=["PATH=/bin", "LONG=" + "x" * 60000])
process("env-path-used", "args", env=["PATH=/nowhere:/bin"], args=["hostname"])
process("env-path-missing", "args", env=["A=1"], args=["true"])
process("env-no-equals", "args", env=["PATH=/bin", "JUSTANAME"], args=["/bin/env"])
process("cwd-tmp", cwd="/tmp")
process("cwd-made", cwd="/new/folder/here")
process("cwd-user", cwd="/home/alice", user={"uid": 1000, "gid": 1000})
process("cwd-trailing", cwd="/tmp/")
process("args-relative", "args", cwd="/bin", args=["./busybox", "pwd"])
process("args-relative-folder", "args", cwd="/", args=["bin/busybox", "pwd"])
process("args-argv", "args", args=["/bin/sh", "-c", 'echo "$0|$1|$2"', "", "a b", "é"])


@add_case(CASES, "cwd-private-to-user", script="pwd; touch made && stat -c '%n %u:%g' made", mode="script")
def cwd_private(config: Config, bundle: Bundle) -> None:
    where = bundle.rootfs / "home/private"
    where.mkdir(mode=0o700)
    os.chown(where, 1000, 1000)
    config["process"]["user"] = {"uid": 1000, "gid": 1000}
    config["process"]["cwd"] = "/home/private"


@add_case(CASES, "home-without-passwd")
def home_without_passwd(config: Config, bundle: Bundle) -> None:
    (bundle.rootfs / "etc/passwd").unlink()


@add_case(CASES, "home-odd-passwd")
def home_odd_passwd(config: Config, bundle: Bundle) -> None:
    (bundle.rootfs / "etc/passwd").write_text(
        "\n# comment\nbroken:line\nx:x:abc:0::/wrong:\nroot:x:0:0:r:/first:\nroot:x:0:0:r:/second:\n"
    )


# --- scheduling and the rest -----------------------------------------------------------------

for _score in (0, 500, 1000):
    process(f"oom-score-{_score}", oomScoreAdj=_score)
process("io-priority", ioPriority={"class": "IOPRIO_CLASS_BE", "priority": 6})
process("io-priority-idle", ioPriority={"class": "IOPRIO_CLASS_IDLE", "priority": 0})
process("scheduler-batch", scheduler={"policy": "SCHED_BATCH", "nice": 5})
process("scheduler-idle", scheduler={"policy": "SCHED_IDLE"})
process("scheduler-other", scheduler={"policy": "SCHED_OTHER", "nice": 3})


def _personality(domain: str) -> None:
    def edit(config: Config, bundle: Bundle) -> None:
        config["linux"]["personality"] = {"domain": domain}

    CASES.append(Case(f"personality-{domain.lower()}", edit))


_personality("LINUX")
_personality("LINUX32")
CASES.append(Case("caller-affinity", nothing, call=("taskset", "1")))
CASES.append(Case("caller-nice", nothing, call=("nice", "-n", "4")))
CASES.append(Case("caller-umask", nothing, call=("sh", "-c", 'umask 0; exec "$@"', "-")))
CASES.append(
    Case(
        "caller-ignores-signals",
        nothing,
        call=("sh", "-c", "trap '' USR1 PIPE HUP; exec \"$@\"", "-"),
    )
)
CASES.append(
    Case(
        "caller-open-files",
        nothing,
        call=("sh", "-c", 'exec 3</etc/passwd 7</dev/null 9</; exec "$@"', "-"),
    )
)
CASES.append(
    Case(
        "preserve-fds",
        nothing,
        call=("sh", "-c", 'exec 3</dev/null 4</dev/zero; exec "$@"', "-"),
        flags=("--preserve-fds", "2"),
    )
)

# --- exit status -----------------------------------------------------------------------------

for _code in (0, 1, 42, 126, 127, 255):
    process(f"exit-{_code}", "args", args=["/bin/sh", "-c", f"exit {_code}"])
for _signal, _number in (("TERM", 15), ("KILL", 9), ("SEGV", 11), ("USR1", 10)):

    @add_case(CASES, f"exit-signal-{_signal}", "args")
    def by_signal(config: Config, bundle: Bundle, signal: str = _signal) -> None:
        # The first process of a pid namespace ignores the signals that it does not handle.
        config["linux"]["namespaces"] = [n for n in config["linux"]["namespaces"] if n["type"] != "pid"]
        config["process"]["args"] = ["/bin/sh", "-c", f"kill -{signal} $$; sleep 5"]


# --- seccomp ---------------------------------------------------------------------------------


def _seccomp(name: str, mode: str, script: str, **profile: Any) -> None:
    def edit(config: Config, bundle: Bundle) -> None:
        config["linux"]["seccomp"] = profile

    CASES.append(Case(name, edit, mode, script))


DENY = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}
ATTEMPT = "mkdir /tmp/x 2>&1; uname -s; grep -i seccomp: /proc/self/status"
_seccomp("seccomp-errno", "script", ATTEMPT, defaultAction="SCMP_ACT_ALLOW", syscalls=[DENY])
_seccomp(
    "seccomp-errno-value",
    "script",
    ATTEMPT,
    defaultAction="SCMP_ACT_ALLOW",
    syscalls=[{**DENY, "errnoRet": 100}],
)
_seccomp(
    "seccomp-argument",
    "script",
    "for s in 15 10 2; do kill -$s 77777 2>&1; done; true",
    defaultAction="SCMP_ACT_ALLOW",
    architectures=["SCMP_ARCH_X86_64"],
    syscalls=[
        {
            "names": ["kill"],
            "action": "SCMP_ACT_ERRNO",
            "errnoRet": 95,
            "args": [{"index": 1, "value": 10, "op": "SCMP_CMP_EQ"}],
        }
    ],
)
_seccomp(
    "seccomp-kill",
    "script",
    "mkdir /tmp/x; echo status $?",
    defaultAction="SCMP_ACT_ALLOW",
    syscalls=[{**DENY, "action": "SCMP_ACT_KILL_PROCESS"}],
)
_seccomp("seccomp-status", "probe", "", defaultAction="SCMP_ACT_ALLOW", syscalls=[DENY])
_seccomp("seccomp-empty", "probe", "", defaultAction="SCMP_ACT_ALLOW")
_seccomp("seccomp-bad-action", "error", "", defaultAction="SCMP_ACT_BOGUS", syscalls=[DENY])
_seccomp(
    "seccomp-unknown-call",
    "script",
    ATTEMPT,
    defaultAction="SCMP_ACT_ALLOW",
    syscalls=[{"names": ["no_such_call", "mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}],
)


@add_case(CASES, "seccomp-without-no-new-privileges", "script", ATTEMPT)
def seccomp_privileged(config: Config, bundle: Bundle) -> None:
    config["process"]["noNewPrivileges"] = False
    config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [DENY]}


@add_case(CASES, "seccomp-docker-profile")
def seccomp_docker(config: Config, bundle: Bundle) -> None:
    profile = Path(__file__).parent / "seccomp_docker.json"
    config["linux"]["seccomp"] = json.loads(profile.read_text())
