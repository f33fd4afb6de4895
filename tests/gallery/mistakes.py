"""A hundred mistakes that people make, for docs/errors.md: what was done, and how."""

from collections.abc import Sequence
from typing import Any

Json = Any


class Mistake:
    """title: what somebody did. edits: (JSON pointer, value); "-" as the last part appends, a value of DROP removes.
    words: a command line in place of `run`, with BUNDLE and ID put in. text: of config.json, in place of the edits.
    host: whether what is said depends on the host."""

    def __init__(
        self,
        title: str,
        *edits: tuple[str, Json],
        words: Sequence[str] = (),
        text: str = "",
        host: bool = False,
    ) -> None:
        self.title = title
        self.edits = edits
        self.words = list(words)
        self.text = text
        self.host = host

    @property
    def name(self) -> str:
        return self.title.replace(" ", "-").replace("/", "_").replace('"', "")


DROP = object()


def apply(config: Json, edits: Sequence[tuple[str, Json]]) -> None:
    """Edit a configuration."""
    for pointer, value in edits:
        *path, last = pointer.split("/")[1:]
        here = config
        for name in path:
            here = here[int(name)] if isinstance(here, list) else here.setdefault(name, {})
        if last == "-":
            here.append(value)
        elif value is DROP:
            del here[last]
        elif isinstance(here, list):
            here[int(last)] = value
        else:
            here[last] = value


def mount(destination: str, kind: str, *options: str, source: str = "x") -> tuple[str, Json]:
    return "/mounts/-", {"destination": destination, "type": kind, "source": source, "options": list(options)}


def bind(source: str, destination: str = "/mnt", *options: str) -> tuple[str, Json]:
    return mount(destination, "bind", "rbind", *options, source=source)


def rule(**members: Json) -> tuple[str, Json]:
    return "/linux/seccomp", {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [members]}


def space(**members: Json) -> tuple[str, Json]:
    return "/linux/namespaces/-", members


USER = (
    ("/linux/uidMappings", [{"containerID": 0, "hostID": 100000, "size": 1000}]),
    ("/linux/gidMappings", [{"containerID": 0, "hostID": 100000, "size": 1000}]),
    space(type="user"),
)

MISTAKES = (
    # the command line
    Mistake("a bundle that is not there", words=("run", "--bundle", "BUNDLE/../bundel", "ID")),
    Mistake("a file in place of the bundle", words=("run", "--bundle", "BUNDLE/config.json", "ID")),
    Mistake("a bundle without config.json", words=("run", "--bundle", "BUNDLE/rootfs", "ID")),
    Mistake(
        "a configuration of another name", words=("run", "--bundle", "BUNDLE", "--config", "BUNDLE/conf.json", "ID")
    ),
    Mistake("a misspelt command", words=("strat", "ID")),
    Mistake("a misspelt flag", words=("run", "--bundel", "BUNDLE", "ID")),
    Mistake("a global flag after the command", words=("run", "--root", "/tmp", "ID")),
    Mistake("no id", words=("run", "--bundle", "BUNDLE")),
    Mistake("an id with a slash", words=("run", "--bundle", "BUNDLE", "a/b")),
    Mistake("an empty id", words=("run", "--bundle", "BUNDLE", "")),
    Mistake("state of no container", words=("state", "ID")),
    Mistake("start of no container", words=("start", "ID")),
    Mistake("kill of no container", words=("kill", "ID")),
    Mistake("delete of no container", words=("delete", "ID")),
    Mistake("exec in no container", words=("exec", "ID", "true")),
    Mistake("pause of no container", words=("pause", "ID")),
    Mistake("ps of no container", words=("ps", "ID")),
    Mistake("update of no container", words=("update", "--memory", "1m", "ID")),
    Mistake("a log format that is none", words=("--log-format", "xml", "list")),
    Mistake("a log in a directory that is not there", words=("--log", "/no/such/log", "list")),
    Mistake("a format that is none", words=("list", "--format", "yaml")),
    # the text
    Mistake("an empty configuration", text=" "),
    Mistake("a comma too many", text='{"ociVersion": "1.0.0",}'),
    Mistake("a missing brace", text='{"ociVersion": "1.0.0"'),
    Mistake("a member that is there twice", text='{"ociVersion": "1.0.0", "ociVersion": "1.0.0"}'),
    Mistake("single quotes", text="{'ociVersion': '1.0.0'}"),
    Mistake("a comment", text='{"ociVersion": "1.0.0" /* as of now */}'),
    Mistake("a list in place of the object", text="[]"),
    # what has to be there
    Mistake("no version", ("/ociVersion", DROP)),
    Mistake("a version that is none", ("/ociVersion", "latest")),
    Mistake("a version of the future", ("/ociVersion", "2.0.0")),
    Mistake("no root", ("/root", DROP)),
    Mistake("a root file system that is not there", ("/root/path", "rootsf")),
    Mistake("a root that is a file", ("/root/path", "config.json")),
    Mistake("no process", ("/process", DROP)),
    Mistake("no command", ("/process/args", DROP)),
    Mistake("an empty command", ("/process/args", [])),
    Mistake("a command as one text", ("/process/args", "sleep 1")),
    Mistake("the whole command in one entry", ("/process/args", ["sleep 1"])),
    Mistake("a command that is not there", ("/process/args", ["/no/such"])),
    Mistake("a command that is not in PATH", ("/process/args", ["no-such"])),
    Mistake("a directory as the command", ("/process/args", ["/tmp"])),
    Mistake("no working directory", ("/process/cwd", DROP)),
    Mistake("a relative working directory", ("/process/cwd", "tmp")),
    Mistake("a working directory that is a file", ("/process/cwd", "/bin/busybox"), host=True),
    Mistake(
        "a terminal without a console socket", ("/process/terminal", True), words=("create", "--bundle", "BUNDLE", "ID")
    ),
    # users and rights
    Mistake("a user by name", ("/process/user/uid", "root")),
    Mistake("a negative user", ("/process/user/uid", -1)),
    Mistake("a user that is too large", ("/process/user/uid", 4294967296)),
    Mistake("a user that is not mapped", *USER, ("/process/user/uid", 5000)),
    Mistake("capabilities as a list", ("/process/capabilities", ["CAP_KILL"])),
    Mistake("a limit that is none", ("/process/rlimits", [{"type": "RLIMIT_FILES", "soft": 1, "hard": 1}])),
    Mistake("a limit twice", ("/process/rlimits", [{"type": "RLIMIT_CORE", "soft": 1, "hard": 1}] * 2)),
    Mistake("a soft limit above the hard one", ("/process/rlimits", [{"type": "RLIMIT_CORE", "soft": 2, "hard": 1}])),
    Mistake("an out-of-memory score of 2000", ("/process/oomScoreAdj", 2000)),
    Mistake("a priority class that is none", ("/process/ioPriority", {"class": "IOPRIO_CLASS_TOP", "priority": 1})),
    Mistake("a scheduler that is none", ("/process/scheduler", {"policy": "SCHED_FAST"})),
    Mistake("an AppArmor profile without AppArmor", ("/process/apparmorProfile", "docker-default"), host=True),
    Mistake("an SELinux label without SELinux", ("/process/selinuxLabel", "a:b:c:s0"), host=True),
    Mistake("a personality that is none", ("/linux/personality", {"domain": "BSD"})),
    # namespaces
    Mistake("a namespace that is none", space(type="usr")),
    Mistake("a namespace twice", space(type="pid")),
    Mistake(
        "a path of a namespace that is not there",
        ("/hostname", DROP),
        ("/linux/namespaces", [{"type": "mount"}, {"type": "pid", "path": "/proc/0/ns/pid"}]),
    ),
    Mistake(
        "a path of another kind of namespace",
        ("/hostname", DROP),
        ("/linux/namespaces", [{"type": "mount"}, {"type": "ipc", "path": "/proc/self/ns/uts"}]),
    ),
    Mistake(
        "a relative path of a namespace",
        ("/hostname", DROP),
        ("/linux/namespaces", [{"type": "mount"}, {"type": "ipc", "path": "ns/ipc"}]),
    ),
    Mistake("a host name without a uts namespace", ("/linux/namespaces", [{"type": "mount"}, {"type": "pid"}])),
    Mistake("a host name that is too long", ("/hostname", "x" * 65)),
    Mistake("mappings without a user namespace", USER[0], USER[1]),
    Mistake(
        "mappings that overlap",
        space(type="user"),
        USER[1],
        (
            "/linux/uidMappings",
            [{"containerID": 0, "hostID": 1000, "size": 10}, {"containerID": 5, "hostID": 2000, "size": 10}],
        ),
    ),
    Mistake(
        "a mapping of size 0",
        space(type="user"),
        USER[1],
        ("/linux/uidMappings", [{"containerID": 0, "hostID": 1, "size": 0}]),
    ),
    Mistake("time offsets without a time namespace", ("/linux/timeOffsets", {"boottime": {"secs": 1}})),
    Mistake("a sysctl of the host", ("/linux/sysctl", {"vm.swappiness": "1"})),
    Mistake("a sysctl that is none", ("/linux/sysctl", {"net.ipv4.ip_foward": "1"}), host=True),
    Mistake("a value that a sysctl does not take", ("/linux/sysctl", {"kernel.msgmax": "lots"}), host=True),
    # mounts
    Mistake("a mount without a destination", ("/mounts/-", {"type": "tmpfs"})),
    Mistake("a source that is not there", bind("/srv/no/such")),
    Mistake("a file onto a directory", bind("BUNDLE/config.json", "/tmp")),
    Mistake("a directory onto a file", bind("BUNDLE/rootfs", "/bin/busybox")),
    Mistake("a file system that is none", mount("/mnt", "tmpsf"), host=True),
    Mistake("a misspelt option of a tmpfs", mount("/mnt", "tmpfs", "sizee=1m"), host=True),
    Mistake("a size that is none", mount("/mnt", "tmpfs", "size=lots"), host=True),
    Mistake("a value that proc does not take", mount("/mnt", "proc", "hidepid=9"), host=True),
    Mistake("a mode that is none", mount("/mnt", "tmpfs", "mode=rwx"), host=True),
    Mistake("an overlay without layers", mount("/mnt", "overlay"), host=True),
    Mistake("an overlay whose layer is not there", mount("/mnt", "overlay", "lowerdir=/no/such"), host=True),
    Mistake("a mount in proc", mount("/proc/sys/x", "tmpfs")),
    Mistake("options as one text", ("/mounts/0/options", "nosuid,nodev")),
    Mistake("a propagation that is none", ("/linux/rootfsPropagation", "sharred")),
    Mistake("a masked path that is relative", ("/linux/maskedPaths", ["proc/kcore"])),
    # devices and limits
    Mistake("a device of no type", ("/linux/devices", [{"path": "/dev/x", "type": "q", "major": 1, "minor": 3}])),
    Mistake("a device without numbers", ("/linux/devices", [{"path": "/dev/x", "type": "c"}])),
    Mistake(
        "a device rule that allows nothing known",
        ("/linux/resources", {"devices": [{"allow": True, "type": "x", "access": "rwm"}]}),
    ),
    Mistake("memory as a text", ("/linux/resources", {"memory": {"limit": "512m"}})),
    Mistake("processors as a number", ("/linux/resources", {"cpu": {"cpus": 2}})),
    Mistake("negative shares", ("/linux/resources", {"cpu": {"shares": -1}})),
    # seccomp
    Mistake("an action that is none", rule(names=["read"], action="SCMP_ACT_DENY")),
    Mistake("a rule without names", rule(names=[], action="SCMP_ACT_ERRNO")),
    Mistake(
        "an operator that is none",
        rule(names=["read"], action="SCMP_ACT_ERRNO", args=[{"index": 0, "value": 1, "op": "=="}]),
    ),
    Mistake(
        "an argument of index 6",
        rule(names=["read"], action="SCMP_ACT_ERRNO", args=[{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}]),
    ),
    Mistake(
        "an architecture that is none",
        ("/linux/seccomp", {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["x86_64"]}),
    ),
    # hooks
    Mistake("a hook that is not there", ("/hooks", {"createRuntime": [{"path": "/no/such/hook"}]})),
    Mistake("a hook with a relative path", ("/hooks", {"createRuntime": [{"path": "hook.sh"}]})),
    Mistake("a hook that fails", ("/hooks", {"createRuntime": [{"path": "/bin/false"}]})),
    Mistake(
        "a hook that takes too long",
        ("/hooks", {"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "9"], "timeout": 1}]}),
    ),
    Mistake("a hook whose timeout is 0", ("/hooks", {"createRuntime": [{"path": "/bin/true", "timeout": 0}]})),
)
