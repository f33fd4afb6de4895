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
        "* 1.1.5 1.1.15 1.21",
        "masked folders share a tmpfs without room for files (size 4k, one inode); an existing "
        "folder's mode is given to tmpfs as an option, as runc does since 1.2, not set afterwards",
    ),
    Known(
        "masked-own",
        "line.*",
        "* 1.1.5 1.1.15 1.21",
        "as above, and a path masked twice is masked once",
    ),
    Known(
        "caller-limits",
        "limits.Max open files",
        OLD,
        "a Go program raises its own soft limit; what the caller set is what the container gets",
    ),
    Known(
        "*",
        "cgroup.lines",
        "runc 1.1.5",
        "on a hybrid machine runc makes cgroups in the v1 hierarchies; pyrunc leaves them alone",
    ),
    Known(
        "user-groups-duplicate",
        "status.Groups",
        OLD,
        "the list of the configuration is set as it is, as crun does; runc removes duplicates",
    ),
    # --- what runc 1.1 cannot do or does not check -------------------------------------------
    Known("tmpfs-defaults", "*", OLD, "runc 1.1 hands `defaults` to the kernel, which refuses it"),
    Known("env-no-equals", "*", OLD, "runc 1.1 refuses an entry without `=`; crun takes it"),
    Known("device-null-again", "*", OLD, "runc 1.1 refuses a default device listed once more"),
    Known("no-mounts", "*", OLD, "runc 1.1 starts nothing without a /proc in the container"),
    Known("*time*", "exit", OLD, "runc 1.1 has no time namespaces"),
    Known("*time*", "failed", OLD, "runc 1.1 has no time namespaces"),
    Known("domainname", "line.002", OLD, "runc 1.1 does not know `domainname`"),
    Known("userns-without-root", "*", OLD, "runc 1.1 needs a mapping of root"),
    Known("io-priority-class", "*", OLD, "runc 1.1 ignores ioPriority"),
    Known("io-priority*", "ionice.lines", OLD, "runc 1.1 ignores ioPriority"),
    Known("scheduler-policy", "*", OLD, "runc 1.1 ignores scheduler"),
    Known("scheduler-*", "stat.*", OLD, "runc 1.1 ignores scheduler"),
    Known("personality-domain", "*", OLD, "runc 1.1 ignores personality"),
    Known("personality-linux32", "files.personality", OLD, "runc 1.1 ignores personality"),
    Known("personality-linux32", "uts.lines", OLD, "runc 1.1 ignores personality"),
    Known("masked-relative", "*", OLD, "a relative masked path is an error, not ignored"),
    Known("mount-on-proc-folder", "*", OLD, "runc 1.1 mounts over folders of /proc"),
    # --- as newer versions of runc do --------------------------------------------------------
    Known(
        "command-is-folder", "class", OLD, "`is a directory`, as runc does since 1.2; engines know"
    ),
    Known(
        "command-bad-interpreter", "exit", OLD, "255 for what fails after start, as runc since 1.2"
    ),
    Known("command-garbage", "exit", OLD, "255 for what fails after start, as runc since 1.2"),
    Known(
        "hook*-poststart*",
        "*",
        OLD,
        "runc runs poststart hooks in create; by the specification they belong to start, after the "
        "user's process runs, and a failure stops the container",
    ),
    Known("hooks-all", "log.*", OLD, "poststart hooks run after start, see above"),
    Known(
        "hook-startContainer-*",
        "*",
        OLD,
        "start reports the failure, with status 1; runc's start is content and the container's "
        "output has the text",
    ),
]
