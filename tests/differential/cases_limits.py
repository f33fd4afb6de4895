"""Cases about cgroups and filters: limits as the kernel has them afterwards, and every comparison of seccomp."""

import json
import os
from pathlib import Path
from typing import Any

from differential.diff_base import Config
from differential.diff_run import Bundle, Case, add_case
from support import PURE_V2

CASES: list[Case] = []

# The files of the container's cgroup that limits are written to, as far as the kernel has them.
FILES = (
    "memory.max memory.low memory.high memory.swap.max cpu.max cpu.max.burst cpu.weight cpu.idle cpuset.cpus "
    "cpuset.mems pids.max io.max io.weight io.bfq.weight hugetlb.2MB.max hugetlb.2MB.rsvd.max rdma.max"
)
SHOW = f"cd /sys/fs/cgroup && for f in {FILES}; do test -e $f && echo $f: $(cat $f); done; cat /proc/self/cgroup"


def no_limits() -> str:
    """Why limits cannot be set here, or nothing."""
    return "" if PURE_V2 else "limits need pure cgroup v2"


def limits(name: str, **resources: Any) -> None:
    """A container with these resources, which shows the files of its cgroup."""

    def edit(config: Config, bundle: Bundle) -> None:
        config["linux"]["resources"].update(resources)
        config["linux"]["namespaces"].append({"type": "cgroup"})
        config["mounts"].append(
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]}
        )

    CASES.append(Case(f"limit-{name}", edit, "script", SHOW, no_limits))


MIB = 1 << 20
limits("none")
limits("memory", memory={"limit": 64 * MIB, "reservation": 32 * MIB})
limits("memory-swap", memory={"limit": 64 * MIB, "swap": 96 * MIB})
limits("memory-swap-same", memory={"limit": 64 * MIB, "swap": 64 * MIB})
limits("memory-unlimited", memory={"limit": -1})
limits("memory-swap-unlimited", memory={"limit": 64 * MIB, "swap": -1})
for _shares in (2, 100, 1024, 2048, 262144):
    limits(f"cpu-shares-{_shares}", cpu={"shares": _shares})
limits("cpu-quota", cpu={"quota": 50000})
limits("cpu-period", cpu={"period": 50000})
limits("cpu-quota-period", cpu={"quota": 20000, "period": 50000})
limits("cpu-quota-none", cpu={"quota": -1, "period": 50000})
limits("pids", pids={"limit": 123})
limits("pids-none", pids={"limit": -1})
limits("unified", unified={"memory.high": "50000000", "pids.max": "77"})
limits("unified-over-others", memory={"limit": 64 * MIB}, unified={"memory.max": "40000000"})
limits("unified-unknown-controller", unified={"nothing.max": "1"})


for _path in ("/differential-@/below", "differential-@"):

    @add_case(CASES, f"cgroups-path-{_path.count('/')}", "script", "cat /proc/self/cgroup", no_limits)
    def cgroups_path(config: Config, bundle: Bundle, path: str = _path) -> None:
        config["linux"]["cgroupsPath"] = path.replace("@", str(os.getpid()))


for _name, _rules, _script in (
    ("deny", [], "echo x > /dev/full; head -c1 /dev/zero | wc -c; mknod /tmp/n c 7 7; echo $?"),
    ("allow-read", [{"allow": True, "type": "c", "major": 1, "minor": 11, "access": "r"}],
     "echo x > /dev/kmsg; echo $?"),
    ("allow-all", [{"allow": True, "access": "rwm"}], "mknod /tmp/n c 7 7; echo $?"),
    ("deny-again", [{"allow": True, "access": "rwm"}, {"allow": False, "type": "c", "access": "m"}],
     "mknod /tmp/n c 7 7; echo $?; mknod /tmp/m b 7 7; echo $?"),
):  # fmt: skip

    @add_case(CASES, f"limit-devices-{_name}", "script", _script, needs=no_limits)
    def device_rules(config: Config, bundle: Bundle, rules: list[dict[str, Any]] = _rules) -> None:
        config["linux"]["resources"]["devices"] += rules
        config["linux"]["devices"] = [{"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11}]
        for kind in ("bounding", "effective", "permitted"):
            config["process"]["capabilities"][kind] = ["CAP_MKNOD"]


# --- seccomp ---------------------------------------------------------------------------------

# kill(77777, s) for some signals: which of them the filter refuses says what the comparison is.
SIGNALS = "for s in 1 9 10 11 12 15 31; do echo $s: $(kill -$s 77777 2>&1); done; true"

for _operator, _value, _two in (
    ("NE", 10, 0), ("LT", 10, 0), ("LE", 10, 0), ("EQ", 10, 0), ("GE", 10, 0), ("GT", 10, 0), ("MASKED_EQ", 3, 3),
    ("MASKED_EQ", 8, 8),
):  # fmt: skip

    @add_case(CASES, f"seccomp-{_operator.lower()}-{_value}", "script", SIGNALS)
    def comparison(
        config: Config, bundle: Bundle, operator: str = _operator, value: int = _value, two: int = _two
    ) -> None:
        argument = {"index": 1, "value": value, "valueTwo": two, "op": f"SCMP_CMP_{operator}"}
        rule = {"names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95, "args": [argument]}
        config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}


@add_case(CASES, "seccomp-two-arguments", "script", SIGNALS)
def both_arguments(config: Config, bundle: Bundle) -> None:
    arguments = [
        {"index": 0, "value": 77777, "op": "SCMP_CMP_EQ"},
        {"index": 1, "value": 10, "op": "SCMP_CMP_GE"},
    ]
    rule = {"names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95, "args": arguments}
    config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}


@add_case(CASES, "seccomp-same-argument-twice", "script", SIGNALS)
def same_argument(config: Config, bundle: Bundle) -> None:
    """Two comparisons of one argument are alternatives, in runc as in libseccomp's older users."""
    arguments = [{"index": 1, "value": value, "op": "SCMP_CMP_EQ"} for value in (10, 12)]
    rule = {"names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95, "args": arguments}
    config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}


for _action in ("KILL", "KILL_THREAD", "KILL_PROCESS", "TRAP", "LOG", "ALLOW"):

    @add_case(CASES, f"seccomp-action-{_action.lower()}", "script", "mkdir /tmp/x; echo status $?")
    def action(config: Config, bundle: Bundle, name: str = _action) -> None:
        rule = {"names": ["mkdir", "mkdirat"], "action": f"SCMP_ACT_{name}"}
        config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}


@add_case(CASES, "seccomp-default-errno", "script", "mkdir /tmp/x; echo status $?")
def default_errno(config: Config, bundle: Bundle) -> None:
    """What is not named gets the default errno."""
    profile = Path(__file__).parent / "seccomp_docker.json"
    document = json.loads(profile.read_text())
    for rule in document["syscalls"]:
        rule["names"] = [name for name in rule["names"] if name not in ("mkdir", "mkdirat")]
    document["syscalls"] = [rule for rule in document["syscalls"] if rule["names"]]
    config["linux"]["seccomp"] = {**document, "defaultErrnoRet": 95}


for _flag in ("LOG", "SPEC_ALLOW", "TSYNC"):

    @add_case(CASES, f"seccomp-flag-{_flag.lower()}", "script", "grep -E '^(Secc|Spec)' /proc/self/status")
    def flag(config: Config, bundle: Bundle, name: str = _flag) -> None:
        rule = {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}
        config["linux"]["seccomp"] = {
            "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule], "flags": [f"SECCOMP_FILTER_FLAG_{name}"],
        }  # fmt: skip


# --- id-mapped mounts ------------------------------------------------------------------------

MAPS = [{"containerID": 0, "hostID": 100000, "size": 65536}]


for _option in ("idmap", "ridmap"):

    @add_case(CASES, f"mount-{_option}", "script", "stat -c '%n %u:%g' /mnt /mnt/x; touch /mnt/y; stat -c %u:%g /mnt/y")
    def id_mapped(config: Config, bundle: Bundle, option: str = _option) -> None:
        """The container's own maps: what is root's outside is root's inside."""
        source = bundle.scratch("volume")
        (source / "x").touch()
        os.chown(source / "x", 7, 8)
        config["linux"]["namespaces"].append({"type": "user"})
        config["linux"]["uidMappings"] = config["linux"]["gidMappings"] = MAPS
        config["mounts"].append(
            {"destination": "/mnt", "type": "bind", "source": str(source), "options": ["rbind", option]}
        )
