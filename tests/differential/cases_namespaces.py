"""Cases about namespaces: new, joined and inherited ones, user namespaces, sysctl, time offsets."""

import os
from pathlib import Path
from typing import Any

from differential.diff_base import Config
from differential.diff_run import Bundle, Case, add_case

CASES: list[Case] = []


def replace_namespace(config: Config, kind: str, **entry: Any) -> None:
    """Set the entry of one kind of namespace; with `drop=True` remove it."""
    rest = [n for n in config["linux"]["namespaces"] if n["type"] != kind]
    if not entry.pop("drop", False):
        rest.append({"type": kind, **entry})
    config["linux"]["namespaces"] = rest


def no_time_namespaces() -> str:
    """Why a time namespace cannot be made here, or nothing."""
    return "" if Path("/proc/self/ns/time").exists() else "the kernel has no time namespaces"


def no_private_sysfs(config: Config) -> None:
    """Bind the host's sysfs: a new one needs a network namespace that the user namespace owns."""
    config["mounts"] = [m for m in config["mounts"] if m["destination"] != "/sys"]
    config["linux"]["maskedPaths"] = [p for p in config["linux"]["maskedPaths"] if "/sys" not in p[:5]]
    config["mounts"].append(
        {
            "destination": "/sys",
            "type": "none",
            "source": "/sys",
            "options": ["rbind", "nosuid", "noexec", "nodev", "ro"],
        }
    )


# --- inherited -------------------------------------------------------------------------------


@add_case(CASES, "inherit-network")
def inherit_network(config: Config, bundle: Bundle) -> None:
    replace_namespace(config, "network", drop=True)


@add_case(CASES, "inherit-pid", "script", "readlink /proc/self/ns/pid; test $$ -gt 1 && echo not-first")
def inherit_pid(config: Config, bundle: Bundle) -> None:
    replace_namespace(config, "pid", drop=True)


@add_case(CASES, "inherit-ipc")
def inherit_ipc(config: Config, bundle: Bundle) -> None:
    replace_namespace(config, "ipc", drop=True)


@add_case(CASES, "inherit-uts")
def inherit_uts(config: Config, bundle: Bundle) -> None:
    replace_namespace(config, "uts", drop=True)
    del config["hostname"]


@add_case(CASES, "new-cgroup-namespace")
def new_cgroup(config: Config, bundle: Bundle) -> None:
    replace_namespace(config, "cgroup")


@add_case(CASES, "new-cgroup-namespace-mount")
def new_cgroup_mount(config: Config, bundle: Bundle) -> None:
    replace_namespace(config, "cgroup")
    config["mounts"].append(
        {
            "destination": "/sys/fs/cgroup",
            "type": "cgroup",
            "source": "cgroup",
            "options": ["nosuid", "noexec", "nodev", "relatime", "ro"],
        }
    )


@add_case(CASES, "new-time-namespace", needs=no_time_namespaces)
def new_time(config: Config, bundle: Bundle) -> None:
    replace_namespace(config, "time")


@add_case(CASES, "time-offsets", needs=no_time_namespaces)
def time_offsets(config: Config, bundle: Bundle) -> None:
    replace_namespace(config, "time")
    config["linux"]["timeOffsets"] = {
        "monotonic": {"secs": 172800, "nanosecs": 5},
        "boottime": {"secs": 604800},
    }


@add_case(CASES, "time-offsets-without-namespace", "error")
def time_offsets_alone(config: Config, bundle: Bundle) -> None:
    config["linux"]["timeOffsets"] = {"monotonic": {"secs": 1}}


# --- joined ----------------------------------------------------------------------------------

for _kind in ("network", "ipc", "uts", "pid", "cgroup"):

    @add_case(CASES, f"join-{_kind}")
    def join(config: Config, bundle: Bundle, kind: str = _kind) -> None:
        replace_namespace(config, kind, path=bundle.namespace(kind))


@add_case(CASES, "join-time", needs=no_time_namespaces)
def join_time(config: Config, bundle: Bundle) -> None:
    replace_namespace(config, "time", path=bundle.namespace("time", "--monotonic", "1000"))


@add_case(CASES, "join-uts-with-hostname", "script", "hostname")
def join_uts(config: Config, bundle: Bundle) -> None:
    replace_namespace(config, "uts", path=bundle.namespace("uts"))
    config["hostname"] = "given-to-joined"


@add_case(CASES, "join-wrong-type", "error")
def join_wrong(config: Config, bundle: Bundle) -> None:
    replace_namespace(config, "network", path=bundle.namespace("uts"))


@add_case(CASES, "join-missing", "error")
def join_missing(config: Config, bundle: Bundle) -> None:
    replace_namespace(config, "network", path="/no/such/namespace")


# --- user namespaces -------------------------------------------------------------------------

MAPS = [{"containerID": 0, "hostID": 100000, "size": 65536}]


def own_rootfs(bundle: Bundle, uid: int, gid: int) -> None:
    """Give the root file system to a mapped user; what is hard linked stays with its owner."""
    for folder, folders, files in os.walk(bundle.rootfs):
        os.chown(folder, uid, gid, follow_symlinks=False)
        for name in [*folders, *files]:
            path = os.path.join(folder, name)
            if os.lstat(path).st_nlink == 1 or os.path.islink(path):
                os.chown(path, uid, gid, follow_symlinks=False)


def with_userns(config: Config, bundle: Bundle, maps: list[dict[str, int]] = MAPS) -> None:
    replace_namespace(config, "user")
    config["linux"]["uidMappings"] = maps
    config["linux"]["gidMappings"] = maps
    own_rootfs(bundle, 100000, 100000)


@add_case(CASES, "userns")
def userns(config: Config, bundle: Bundle) -> None:
    with_userns(config, bundle)


@add_case(CASES, "userns-terminal", "terminal")
def userns_terminal(config: Config, bundle: Bundle) -> None:
    with_userns(config, bundle)
    config["process"]["terminal"] = True


@add_case(CASES, "userns-user")
def userns_user(config: Config, bundle: Bundle) -> None:
    with_userns(config, bundle)
    config["process"]["user"] = {"uid": 1000, "gid": 1000, "additionalGids": [50]}


@add_case(CASES, "userns-several-ranges")
def userns_ranges(config: Config, bundle: Bundle) -> None:
    with_userns(
        config,
        bundle,
        [
            {"containerID": 0, "hostID": 100000, "size": 1000},
            {"containerID": 1000, "hostID": 0, "size": 1},
            {"containerID": 1001, "hostID": 101001, "size": 50000},
        ],
    )


@add_case(CASES, "userns-host-root-mapped")
def userns_root(config: Config, bundle: Bundle) -> None:
    with_userns(config, bundle, [{"containerID": 0, "hostID": 0, "size": 65536}])
    own_rootfs(bundle, 0, 0)


@add_case(CASES, "userns-without-root")
def userns_no_root(config: Config, bundle: Bundle) -> None:
    with_userns(config, bundle, [{"containerID": 1000, "hostID": 101000, "size": 10}])
    config["process"]["user"] = {"uid": 1000, "gid": 1000}
    config["process"]["capabilities"] = {}
    no_private_sysfs(config)
    config["mounts"] = [m for m in config["mounts"] if m["destination"] != "/dev/pts"]


@add_case(CASES, "userns-devices")
def userns_devices(config: Config, bundle: Bundle) -> None:
    with_userns(config, bundle)
    config["linux"]["devices"] = [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o666}]


@add_case(CASES, "userns-inherit-network")
def userns_network(config: Config, bundle: Bundle) -> None:
    with_userns(config, bundle)
    replace_namespace(config, "network", drop=True)
    no_private_sysfs(config)


@add_case(CASES, "userns-readonly-root")
def userns_readonly(config: Config, bundle: Bundle) -> None:
    with_userns(config, bundle)
    config["root"]["readonly"] = True


@add_case(CASES, "userns-bind")
def userns_bind(config: Config, bundle: Bundle) -> None:
    with_userns(config, bundle)
    where = bundle.scratch("a")
    config["mounts"] += [
        {"destination": "/mnt", "type": "bind", "source": str(where), "options": ["rbind", "ro"]},
        {"destination": "/data", "type": "tmpfs", "source": "t", "options": ["size=8k", "uid=5"]},
    ]


@add_case(CASES, "userns-time-offsets", needs=no_time_namespaces)
def userns_time(config: Config, bundle: Bundle) -> None:
    with_userns(config, bundle)
    time_offsets(config, bundle)


@add_case(CASES, "userns-no-mappings", "error")
def userns_no_mappings(config: Config, bundle: Bundle) -> None:
    replace_namespace(config, "user")


@add_case(CASES, "userns-mappings-without-namespace", "error")
def userns_no_namespace(config: Config, bundle: Bundle) -> None:
    config["linux"]["uidMappings"] = MAPS
    config["linux"]["gidMappings"] = MAPS


@add_case(CASES, "userns-overlapping", "error")
def userns_overlapping(config: Config, bundle: Bundle) -> None:
    with_userns(
        config,
        bundle,
        [
            {"containerID": 0, "hostID": 100000, "size": 10},
            {"containerID": 5, "hostID": 200000, "size": 10},
        ],
    )


@add_case(CASES, "userns-user-not-mapped", "error")
def userns_user_outside(config: Config, bundle: Bundle) -> None:
    with_userns(config, bundle, [{"containerID": 0, "hostID": 100000, "size": 100}])
    config["process"]["user"] = {"uid": 5000, "gid": 5000}


# --- host name and sysctl --------------------------------------------------------------------


@add_case(CASES, "domainname", "script", "cat /proc/sys/kernel/hostname /proc/sys/kernel/domainname")
def domainname(config: Config, bundle: Bundle) -> None:
    config["domainname"] = "example.test"


@add_case(CASES, "hostname-long", "script", "hostname | wc -c")
def hostname_long(config: Config, bundle: Bundle) -> None:
    config["hostname"] = "h" * 64


@add_case(CASES, "hostname-too-long", "error")
def hostname_too_long(config: Config, bundle: Bundle) -> None:
    config["hostname"] = "h" * 65


@add_case(CASES, "hostname-without-namespace", "error")
def hostname_alone(config: Config, bundle: Bundle) -> None:
    replace_namespace(config, "uts", drop=True)


def sysctl(name: str, mode: str = "script", script: str = "", drop: str = "", **values: str) -> None:
    """A case that sets sysctls; two underscores stand for a point."""

    def edit(config: Config, bundle: Bundle) -> None:
        config["linux"]["sysctl"] = {k.replace("__", "."): v for k, v in values.items()}
        if drop:
            replace_namespace(config, drop, drop=True)

    CASES.append(Case(name, edit, mode, script))


sysctl(
    "sysctl",
    script="cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmax /proc/sys/fs/mqueue/msg_max",
    net__ipv4__ip_forward="1",
    kernel__shmmax="123456",
    fs__mqueue__msg_max="33",
)
sysctl(
    "sysctl-ping-range",
    script="cat /proc/sys/net/ipv4/ping_group_range",
    net__ipv4__ping_group_range="0 1000",
)
sysctl("sysctl-not-namespaced", "error", kernel__pid_max="40000")
sysctl("sysctl-unknown", "error", net__nothing__here="1")
sysctl("sysctl-net-on-host", "error", drop="network", net__ipv4__ip_forward="1")
sysctl("sysctl-ipc-on-host", "error", drop="ipc", kernel__shmmax="1")
sysctl("sysctl-bad-value", "error", net__ipv4__ip_forward="many")


@add_case(CASES, "sysctl-slashes", "script", "cat /proc/sys/net/ipv4/ip_forward")
def sysctl_slashes(config: Config, bundle: Bundle) -> None:
    config["linux"]["sysctl"] = {"net/ipv4/ip_forward": "1"}


@add_case(CASES, "namespace-twice", "error")
def namespace_twice(config: Config, bundle: Bundle) -> None:
    config["linux"]["namespaces"].append({"type": "network"})


@add_case(CASES, "namespace-unknown", "error")
def namespace_unknown(config: Config, bundle: Bundle) -> None:
    config["linux"]["namespaces"].append({"type": "bogus"})
