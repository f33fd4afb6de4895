"""Names of the kernel and of mount(8) that a configuration may use, for the semantic checks.

Import cost: none.
"""

CAPABILITIES = frozenset(
    "CAP_" + name
    for name in (
        "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP"
        " LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER"
        " SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE"
        " SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP"
        " MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF"
        " CHECKPOINT_RESTORE"
    ).split()
)
"""capabilities(7)."""

_ATTRIBUTES = (
    "ro rw nosuid suid nodev dev noexec exec nodiratime diratime nosymfollow symfollow noatime"
    " atime relatime norelatime strictatime nostrictatime"
).split()

MOUNT_OPTIONS = frozenset(
    (
        "async bind defaults dirsync idmap iversion lazytime loud mand noiversion nolazytime nomand"
        " private rbind remount ridmap rprivate rshared rslave runbindable shared silent slave sync"
        " copy-symlink dest-nofollow src-nofollow tmpcopyup unbindable"
    ).split()
    + _ATTRIBUTES
    + ["r" + name for name in _ATTRIBUTES]
)
"""Mount options with a meaning of their own; any other is data for the file system."""

ENGINE_OPTIONS = frozenset(("", "z", "Z", "U", "copy", "nocopy"))
"""What podman and buildah leave among a bind mount's options of what they have seen to themselves."""

IPC_SYSCTLS = frozenset(
    "kernel." + name for name in "msgmax msgmnb msgmni sem shmall shmmax shmmni shm_rmid_forced".split()
)
"""Kernel parameters that each IPC namespace has, besides those below fs.mqueue."""
