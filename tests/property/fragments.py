"""Parts of configurations for the property test: right ones, and ones that are slightly wrong.

A fragment is a path below config.json and what may stand there. All are harmless on a machine that runs them as root
in a mount namespace of its own: nothing of the host's is bound writable, no network device of its can be meant.
"""

from typing import Any

from hypothesis import strategies as st

Path = tuple[str, ...]
Json = Any

CAPS = ["CAP_KILL", "CAP_CHOWN", "CAP_NET_RAW", "CAP_SYS_ADMIN", "CAP_MKNOD", "CAP_NOT_THERE", "cap_kill", "KILL"]
IDS = [0, 1, 1000, 65534, 65535, 65536, 4294967294]
PATHS = [
    *("/data", "/a/b/c", "/dev/x", "/proc/x", "/proc", "/", "/mnt/", "/sys/x", "rel/ative", "/etc/passwd"),
    "/dev/pts/9",
]
NUMBERS = [0, 1, 2, 100, 1024, 2**31, 2**63 - 1]


def lists(*words: Any, most: int = 3) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.sampled_from(words), max_size=most)


def objects(**members: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    """An object with some of the members."""
    return st.fixed_dictionaries({}, optional=members)


def mapping() -> st.SearchStrategy[Json]:
    one = st.fixed_dictionaries(
        {
            "containerID": st.sampled_from([0, 0, 1, 1000, 65535]),
            "hostID": st.sampled_from([0, 100000, 100001, 165536, 4294967295]),
            "size": st.sampled_from([1, 1000, 65536, 0, 4294967295]),
        }
    )
    return st.lists(one, max_size=2)


def mounts() -> st.SearchStrategy[Json]:
    """Mounts that come after the usual ones."""
    words = [
        *("ro", "rw", "nosuid", "noexec", "rro", "private", "rslave", "unbindable", "size=1m", "mode=0700"),
        "relatime",
        "strictatime",
        *("nosymfollow", "remount", "idmap", "ridmap", "tmpcopyup", "defaults", "uid=5", "uid=", "bogus"),
        *("loud", "silent", "iversion", "context=x", "noatime", "nodiratime", "rnoatime", "rbind", "sync", "mand"),
    ]
    there = {
        "destination": st.sampled_from(PATHS),
        "options": lists(*words, most=4),
    }
    new = st.sampled_from(["tmpfs", "proc", "sysfs", "devpts", "mqueue", "cgroup", "cgroup2", "ramfs", "none", "nofs"])
    plain = st.fixed_dictionaries({**there, "type": new}, optional={"source": st.sampled_from(["x", "", "none"])})
    bind = st.fixed_dictionaries(
        {**there, "source": st.sampled_from(["/usr", "/etc/hostname", "rootfs", "nowhere", "/no/where", ""])},
        optional={"type": st.sampled_from(["bind", "none", ""]), "uidMappings": mapping(), "gidMappings": mapping()},
    ).map(lambda mount: {**mount, "options": ["bind", "ro", *mount["options"]]})
    return st.lists(plain | bind, max_size=3)


def seccomp() -> st.SearchStrategy[Json]:
    actions = [
        *("KILL", "KILL_PROCESS", "KILL_THREAD", "TRAP", "ERRNO", "TRACE", "ALLOW", "LOG", "NOTIFY", "BOGUS"),
    ]
    action = st.sampled_from([f"SCMP_ACT_{name}" for name in actions])
    operators = [f"SCMP_CMP_{name}" for name in ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ", "XX")]
    argument = st.fixed_dictionaries(
        {"index": st.integers(0, 6), "value": st.sampled_from([0, 1, 2**64 - 1]), "op": st.sampled_from(operators)},
        optional={"valueTwo": st.sampled_from([0, 255])},
    )
    calls = ["mount", "getcwd", "personality", "openat2", "chmod", "no_such_call", "", "write"]
    rule = st.fixed_dictionaries(
        {"names": lists(*calls), "action": action},
        optional={"errnoRet": st.sampled_from([1, 38, 4095, 4096]), "args": st.lists(argument, max_size=2)},
    )
    flags = [f"SECCOMP_FILTER_FLAG_{name}" for name in ("TSYNC", "LOG", "SPEC_ALLOW", "WAIT_KILLABLE_RECV", "NO")]
    return st.fixed_dictionaries(
        {"defaultAction": st.sampled_from(["SCMP_ACT_ALLOW", "SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_ERRNO"])},
        optional={
            "architectures": lists("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_AARCH64", "SCMP_ARCH_NO"),
            "flags": lists(*flags),
            "syscalls": st.lists(rule, max_size=3),
            "defaultErrnoRet": st.sampled_from([1, 38, 5000]),
            "listenerPath": st.sampled_from(["/run/no/listener", "rel", ""]),
            "listenerMetadata": st.just("x"),
        },
    )


def ends_soon(hook: Json) -> bool:
    return "sleep 9" not in hook.get("args", [""])[-1:] or hook.get("timeout") == 1


def hooks() -> st.SearchStrategy[Json]:
    hook: st.SearchStrategy[Json] = st.fixed_dictionaries(
        {"path": st.sampled_from(["/bin/true", "/bin/true", "/bin/false", "/bin/sh", "/no/hook", "/etc", "true", ""])},
        optional={
            "args": st.sampled_from([["x"], [], ["sh", "-c", "exit 3"], ["sh", "-c", "sleep 9"]]),
            "env": st.sampled_from([["A=b"], [], ["A"], [""]]),
            "timeout": st.sampled_from([1, 1, 0, -1, 2**31]),
        },
    ).filter(ends_soon)
    kinds = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
    return objects(**{kind: st.lists(hook, max_size=2) for kind in kinds})


def namespaces() -> st.SearchStrategy[Json]:
    kinds = st.sampled_from(["user", "cgroup", "time", "ipc", "pid", "mount", "bogus"])
    paths = ["/proc/self/ns/ipc", "/proc/self/ns/net", "/no/where", "", "rel"]
    entry = st.fixed_dictionaries({"type": kinds}, optional={"path": st.sampled_from(paths)})
    usual = st.sampled_from([("pid", "network", "ipc", "uts", "mount"), ("pid", "network", "mount"), ("uts", "mount")])
    return st.builds(
        lambda first, more: [*({"type": kind} for kind in first), *more], usual, st.lists(entry, max_size=2)
    )


def resources() -> st.SearchStrategy[Json]:
    number = st.sampled_from([-1, 0, 1, 100, 1 << 26, 2**63 - 1])
    rule = st.fixed_dictionaries(
        {"allow": st.booleans()},
        optional={
            "type": st.sampled_from(["c", "b", "a", "x"]),
            "major": st.sampled_from([-1, 0, 1, 300]),
            "minor": st.sampled_from([-1, 3]),
            "access": st.sampled_from(["rwm", "r", "", "x"]),
        },
    )
    return objects(
        devices=st.lists(rule, max_size=3),
        memory=objects(limit=number, swap=number, reservation=number, swappiness=st.sampled_from([0, 60, 101])),
        cpu=objects(shares=st.sampled_from([0, 2, 1024]), quota=number, period=number, cpus=st.just("0-"), idle=number),
        pids=objects(limit=number),
        unified=st.dictionaries(st.sampled_from(["memory.high", "a/b", "x", ""]), st.just("1"), max_size=1),
        hugepageLimits=st.just([{"pageSize": "2MB", "limit": 0}]) | st.just([{"pageSize": "../x", "limit": 0}]),
    )


def device() -> st.SearchStrategy[Json]:
    return st.fixed_dictionaries(
        {"path": st.sampled_from(PATHS), "type": st.sampled_from(["c", "b", "u", "p", "x"])},
        optional={
            "major": st.sampled_from([0, 1, 1, 7, 4095, 4096, -1]),
            "minor": st.sampled_from([0, 3, 99, 1048576]),
            "fileMode": st.sampled_from([0, 0o666, 0o170000, 511]),
            "uid": st.sampled_from(IDS),
            "gid": st.sampled_from(IDS),
        },
    )


FRAGMENTS: list[tuple[Path, st.SearchStrategy[Any]]] = [
    (("ociVersion",), st.sampled_from(["1.0.0", "1.3.0", "1.9.0", "2.0.0", "1.0", ""])),
    (("hostname",), st.sampled_from(["", "name", "x" * 64, "x" * 65, "a\u0000b"])),
    (("domainname",), st.sampled_from(["", "example", "x" * 65])),
    (("root",), st.sampled_from([{"path": "rootfs", "readonly": True}, {"path": "nowhere"}, {"path": "config.json"}])),
    (("annotations",), st.dictionaries(st.sampled_from(["a", "", "org.systemd.property.X"]), st.just("b"), max_size=2)),
    (("more mounts",), mounts()),
    (("hooks",), hooks()),
    (("process", "args"), st.sampled_from([["/bin/true"], ["true"], ["nope"], ["/etc"], ["/etc/passwd"], [], [""]])),
    (("process", "cwd"), st.sampled_from(["/", "/tmp/x/y", "/etc/passwd", "rel", "", "/proc/self/fd/3"])),
    (("process", "env"), lists("PATH=/bin", "A=b", "A=c", "HOME=", "=x", "novalue", "PATH=", "A=\ud800")),
    (("process", "user"), objects(
        uid=st.sampled_from(IDS), gid=st.sampled_from(IDS), umask=st.sampled_from([0, 63, 511, 512, 2**32 - 1]),
        additionalGids=lists(*IDS),
    )),
    (("process", "capabilities"), objects(
        **{kind: lists(*CAPS) for kind in ("bounding", "effective", "inheritable", "permitted", "ambient")}
    )),
    (("process", "rlimits"), st.lists(st.fixed_dictionaries({
        "type": st.sampled_from(["RLIMIT_NOFILE", "RLIMIT_CORE", "RLIMIT_AS", "RLIMIT_STACK", "RLIMIT_FOO"]),
        "soft": st.sampled_from([0, 3, 64, 1024, 2**64 - 1]), "hard": st.sampled_from([64, 1024, 2**64 - 1]),
    }), max_size=2)),
    (("process", "noNewPrivileges"), st.booleans()),
    (("process", "oomScoreAdj"), st.sampled_from([0, 1000, 100, -1, -1001])),
    (("process", "scheduler"), objects(
        policy=st.sampled_from(["SCHED_OTHER", "SCHED_BATCH", "SCHED_IDLE", "SCHED_FIFO", "SCHED_DEADLINE", "SCHED_X"]),
        nice=st.sampled_from([0, 5, 19, 20]), priority=st.sampled_from([0, 1, 99, 100]),
        runtime=st.sampled_from(NUMBERS),
        deadline=st.sampled_from(NUMBERS), period=st.sampled_from(NUMBERS),
        flags=lists("SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_X"),
    )),
    (("process", "ioPriority"), objects(
        **{"class": st.sampled_from(["IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE", "IOPRIO_CLASS_RT", "X"])},
        priority=st.sampled_from([0, 7, 8]),
    )),
    (("process", "execCPUAffinity"), objects(initial=st.sampled_from(["0", "0-1", "9-", ""]), final=st.just("0"))),
    (("process", "apparmorProfile"), st.sampled_from(["", "unconfined", "no-such-profile"])),
    (("process", "selinuxLabel"), st.sampled_from(["", "a:b:c"])),
    (("process", "terminal"), st.booleans()),
    (("process", "consoleSize"), objects(height=st.sampled_from([0, 24, 65536]), width=st.just(80))),
    (("linux", "namespaces"), namespaces()),
    (("linux", "uidMappings"), mapping()),
    (("linux", "gidMappings"), mapping()),
    (("linux", "devices"), st.lists(device(), max_size=3)),
    (("linux", "cgroupsPath"), st.sampled_from(["/pyrunc-test/x", "rel", "", "../up", "a:b:c", "/a/../../b"])),
    (("linux", "resources"), resources()),
    (("linux", "seccomp"), seccomp()),
    (("linux", "sysctl"), st.dictionaries(st.sampled_from([
        "net.ipv4.ip_forward", "kernel.shmmax", "fs.mqueue.msg_max", "kernel.domainname", "vm.swappiness", "../x", "",
        "net.no.such", "user.max_user_namespaces",
    ]), st.sampled_from(["0", "1", "", "x"]), max_size=2)),
    (("linux", "timeOffsets"), st.dictionaries(
        st.sampled_from(["monotonic", "boottime", "realtime"]),
        objects(secs=st.sampled_from([0, 100, -(10**12)]), nanosecs=st.sampled_from([0, 10**9])), max_size=2,
    )),
    (("linux", "rootfsPropagation"), st.sampled_from(["", "private", "rslave", "rshared", "unbindable", "x"])),
    (("linux", "maskedPaths"), lists(*PATHS, "", "/no/where")),
    (("linux", "readonlyPaths"), lists(*PATHS, "", "/no/where")),
    (("linux", "mountLabel"), st.sampled_from(["", "a:b:c"])),
    (("linux", "personality"), objects(domain=st.sampled_from(["LINUX", "LINUX32", "X"]), flags=lists("A"))),
    (("linux", "memoryPolicy"), objects(
        mode=st.sampled_from(["MPOL_DEFAULT", "MPOL_BIND", "MPOL_LOCAL", "MPOL_X"]),
        nodes=st.sampled_from(["0", "", "7-"]),
        flags=lists("MPOL_F_STATIC_NODES", "MPOL_F_X"),
    )),
    (("linux", "intelRdt"), objects(closID=st.sampled_from(["a", "a/b", ""]), l3CacheSchema=st.just("L3:0=f"))),
    (("linux", "netDevices"), st.dictionaries(
        st.sampled_from(["pyrunc-none", "", "a/b"]), objects(name=st.sampled_from(["x", "", "y" * 16])), max_size=1,
    )),
]  # fmt: skip
