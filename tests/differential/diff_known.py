"""The differences that are known and wanted, each with its reason."""

from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True)
class Known:
    """A difference from a reference.

    cases      glob of the cases' names
    key        glob of the fact's key
    reference  "runc", "crun" or "*" (any), then the versions it was seen with
    reason     why pyrunc differs, or why the difference says nothing about it
    """

    cases: str
    key: str
    reference: str
    reason: str

    def explains(self, case: str, key: str, reference: str) -> bool:
        """Whether this is the difference of `key` in `case` from `reference`."""
        return (
            fnmatchcase(case, self.cases)
            and fnmatchcase(key, self.key)
            and self.reference.split(" ")[0] in ("*", reference)
        )

    def was_seen_with(self, reference: str, version: str) -> bool:
        """Whether it has to be there in this version of the reference."""
        name, *versions = self.reference.split(" ")
        return name in ("*", reference) and version in versions


OLD = "runc 1.1.5 1.1.15"
BOTH = "* 1.1.5 1.1.15 1.21"

KNOWN: list[Known] = [
    # --- runc's own ways ---------------------------------------------------------------------
    Known(
        "*",
        "fds.0",
        OLD,
        "runc copies standard input through a pipe of its own; pyrunc, like crun, hands it on",
    ),
    Known(
        "*",
        "mountinfo.*.super",
        BOTH,
        "masked folders share a tmpfs without room for files (size 4k, one inode); an existing "
        "folder's mode is given to tmpfs as an option, as runc does since 1.2, not set afterwards",
    ),
    Known("tmpfs-copyup-owners", "line.003", "runc 1.1.5", "as above"),
    Known("masked-own", "line.*", BOTH, "as above, and a path masked twice is masked once"),
    Known(
        "*",
        "limits.Max open files",
        "runc 1.1.5",
        "its Go raised its own soft limit; what the caller set is what the container gets",
    ),
    Known(
        "*",
        "cgroup.lines",
        "runc 1.1.5",
        "on a hybrid machine runc makes cgroups in the v1 hierarchies; pyrunc leaves them alone",
    ),
    Known(
        "*cgroup*",
        "mountinfo./sys/fs/cgroup*",
        "runc 1.1.5",
        "on a hybrid machine runc mounts the v1 hierarchies; pyrunc mounts v2",
    ),
    Known(
        "userns-without-root",
        "*",
        "runc",
        'runc 1.1 wants id 0 mapped ("no user mapping found"); the specification allows one without a root, and '
        "tests/linux/test_userns_without_root.py shows that it works",
    ),
    Known(
        "root-propagation-*unbindable",
        "*",
        "runc",
        "runc cannot bind its root where that lies on the host's root, unbindable by then; elsewhere it can",
    ),
    Known("*cgroup*", "dirs./sys/fs/cgroup", "runc 1.1.5", "as above"),
    Known("*cgroup*", "mountinfo.order", "runc 1.1.5", "as above"),
    Known(
        "user-groups-duplicate",
        "status.Groups",
        OLD,
        "the list of the configuration is set as it is, as crun does; runc removes duplicates",
    ),
    Known(
        "userns*",
        "dirs./dev/mqueue",
        OLD,
        "pyrunc, like crun, mounts mqueue as root of the user namespace; runc's group is unmapped",
    ),
    # --- what runc 1.1 cannot do or does not check -------------------------------------------
    Known("tmpfs-defaults", "*", OLD, "runc 1.1 hands `defaults` to the kernel, which refuses it"),
    Known("device-null-again", "*", OLD, "runc 1.1 refuses a default device listed once more"),
    Known("no-mounts", "*", OLD, "runc 1.1 starts nothing without a /proc in the container"),
    Known("*time*", "exit", OLD, "runc 1.1 has no time namespaces"),
    Known("*time*", "failed", OLD, "runc 1.1 has no time namespaces"),
    Known("time-offsets-without-namespace", "class", OLD, "runc 1.1 has no time namespaces"),
    Known(
        "time-offsets-without-namespace",
        "*",
        "crun 1.21",
        "offsets without a namespace of their own have nothing to act on: an error, as in runc 1.2",
    ),
    Known("join-time", "*", "crun 1.21", "crun joins no time namespace that has offsets"),
    Known(
        "userns-time-offsets", "*", "crun 1.21", "once it has the namespace's ids crun may not open its timens_offsets"
    ),
    Known("domainname", "line.002", OLD, "runc 1.1 does not know `domainname`"),
    Known("io-priority-class", "*", OLD, "runc 1.1 ignores ioPriority"),
    Known("io-priority*", "ionice.lines", OLD, "runc 1.1 ignores ioPriority"),
    Known("scheduler-policy", "*", OLD, "runc 1.1 ignores scheduler"),
    Known("scheduler-*", "stat.*", OLD, "runc 1.1 ignores scheduler"),
    Known("personality-domain", "*", OLD, "runc 1.1 ignores personality"),
    Known("personality-linux32", "files.personality", OLD, "runc 1.1 ignores personality"),
    Known("personality-linux32", "uts.lines", "runc 1.1.5", "runc 1.1 ignores personality"),
    Known(
        "caller-affinity",
        "status.Cpus_allowed_list",
        "runc 1.1.5",
        "the process gets all processors of its cgroup, as in runc since 1.2",
    ),
    Known("root-propagation-*shared", "mountinfo.*.propagation", OLD, "runc 1.1 keeps it private"),
    Known("mount-on-proc-folder", "*", "runc 1.1.5", "it mounts over folders of /proc"),
    Known(
        "user-homeless",
        "environ.HOME",
        BOTH,
        "an empty home in /etc/passwd is / (as for an unknown user), not an empty HOME",
    ),
    Known("home-odd-passwd", "environ.HOME", OLD, "runc takes a malformed line for an entry of root"),
    Known("bind-over-passwd", "environ.HOME", OLD, "runc takes a malformed line for an entry of root"),
    # --- what the specification asks for, and others let pass -----------------------------------
    Known("masked-relative", "*", BOTH, "a relative masked path is an error, not ignored"),
    Known(
        "rlimit-twice",
        "*",
        BOTH,
        "config.md: entries of one type must be an error (the development machine cannot raise "
        "the limit again, so runc fails there for another reason)",
    ),
    Known(
        "userns-mappings-without-namespace",
        "*",
        BOTH,
        "mappings without a user namespace would be ignored silently",
    ),
    # --- as newer versions of runc do --------------------------------------------------------
    Known("command-is-folder", "class", "runc 1.1.5", "`is a directory`, as in 1.2; engines know both"),
    Known("command-bad-interpreter", "exit", BOTH, "255 for what fails after start, as runc since 1.2"),
    Known("command-garbage", "exit", BOTH, "255 for what fails after start, as runc since 1.2"),
    Known(
        "hook-poststart*",
        "*",
        OLD,
        "runc runs poststart hooks in create; by the specification they belong to start, after the "
        "user's process runs, and a failure stops the container",
    ),
    Known("hooks-all", "log.*", OLD, "poststart hooks run after start, see above"),
    Known(
        "hook-poststart-*",
        "*",
        "crun 1.21",
        "a failed poststart hook stops the container, later ones do not run; crun only warns",
    ),
    Known(
        "hook-startContainer-*",
        "*",
        BOTH,
        "start reports the failure, with status 1; runc's and crun's start is content",
    ),
    Known(
        "hook-poststop-*",
        "log.*",
        OLD,
        "runtime.md: the remaining hooks run as if the one that failed had succeeded",
    ),
    Known(
        "userns-devices",
        "*/dev/fuse*",
        OLD,
        "runc binds the host's node; pyrunc, like crun, makes one with the mode and owner of the configuration",
    ),
    Known("mount-*idmap", "*", OLD, "runc 1.1 takes no notice of idmap"),
    Known("seccomp-flag-*", "*", "runc 1.1.5", "runc 1.1.5 does not know these flags"),
    Known(
        "userns-devices",
        "mountinfo./dev/fuse.*",
        "crun 1.21",
        "crun 1.21 does not add nosuid and noexec yet, and binds its node from a file of another name",
    ),
    Known(
        "limit-cpu-shares-*",
        "line.*",
        "* 1.1.15 1.21",
        "shares become a weight by the newer curve, through 1024 and 100, as in runc since 1.3.2 and crun since 1.23",
    ),
]
