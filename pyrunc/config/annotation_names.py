"""The annotations of config.json that are obeyed: the one table of them, for readers, `features` and the documentation.

An engine that passes annotations on from users has to filter those that are unsafe: `pyrunc features` lists them as
potentiallyUnsafeConfigAnnotations (features.md). No other module spells such a name (tests/features).

Import cost: none.
"""

SYSTEMD_PROPERTY = "org.systemd.property."  # a name follows
CRIU_CONFIG = "org.criu.config"
DELEGATE_CGROUP = "run.oci.delegate-cgroup"
HOOKS_STDOUT, HOOKS_STDERR = "run.oci.hooks.stdout", "run.oci.hooks.stderr"
KEEP_GROUPS = "run.oci.keep_original_groups"
MOUNT_CONTEXT_TYPE = "run.oci.mount_context_type"
PIDFD_RECEIVER = "run.oci.pidfd_receiver"
SECCOMP_RECEIVER = "run.oci.seccomp.receiver"
SECCOMP_RAW = "run.oci.seccomp_bpf_data"
SECCOMP_STRICT = "run.oci.seccomp_fail_unknown_syscall"
TIME_OFFSETS = "run.oci.timens_offset"

#: name, whether a user who may set it gets what only the engine's operator should have, meaning
TABLE = (
    (SYSTEMD_PROPERTY, True, "a property of the container's unit, where systemd makes the cgroup"),
    (CRIU_CONFIG, True, "the file of options for criu(8)"),
    (DELEGATE_CGROUP, True, "the name of a group below the container's, which the container gets for its own"),
    (HOOKS_STDOUT, True, "a file of the host to which hooks write"),
    (HOOKS_STDERR, True, "a file of the host to which hooks write their errors"),
    (KEEP_GROUPS, True, "the container has the supplementary groups that pyrunc was called with"),
    (MOUNT_CONTEXT_TYPE, True, "the mount option for linux.mountLabel: context, rootcontext, fscontext or defcontext"),
    (PIDFD_RECEIVER, True, "a unix socket of the host that gets a pidfd of the container's process"),
    (SECCOMP_RECEIVER, True, "what linux.seccomp.listenerPath is, where that is not given"),
    (SECCOMP_RAW, True, "a filter in base64 that takes the place of linux.seccomp"),
    (SECCOMP_STRICT, False, "a system call that libseccomp does not know is an error"),
    (TIME_OFFSETS, False, "what linux.timeOffsets are, where those are not given"),
)
