"""The kernel's names for numbers, for whoever reads a step: describe.py prints them. Cold.

Each table maps a value to its name (include/uapi of Linux). Tables of bits are searched in
their order, so what consists of several bits stands before its parts.

Import cost: posix, errno.
"""

import posix
from errno import errorcode

Table = dict[int, str]


def _numbered(prefix: str, names: str, start: int = 0) -> Table:
    """Names in the order of their numbers."""
    return {start + index: prefix + name for index, name in enumerate(names.split())}


def _bits(prefix: str, names: str, first: int = 0) -> Table:
    """Names in the order of their bits; "-" leaves one out."""
    pairs = enumerate(names.split(), first)
    return {1 << bit: prefix + name for bit, name in pairs if name != "-"}


_AARCH64 = posix.uname().machine == "aarch64"
OPEN: Table = {
    0o20200000: "O_TMPFILE",
    0o4010000: "O_SYNC",
    1: "O_WRONLY",
    2: "O_RDWR",
    0o100: "O_CREAT",
    0o200: "O_EXCL",
    0o400: "O_NOCTTY",
    0o1000: "O_TRUNC",
    0o2000: "O_APPEND",
    0o4000: "O_NONBLOCK",
    0o200000 if _AARCH64 else 0o40000: "O_DIRECT",
    0o40000 if _AARCH64 else 0o200000: "O_DIRECTORY",
    0o100000 if _AARCH64 else 0o400000: "O_NOFOLLOW",
    0o1000000: "O_NOATIME",
    0o10000000: "O_PATH",
    0o2000000: "O_CLOEXEC",
}
OPEN_PATH, OPEN_ACCESS = 0o10000000, 3
RESOLVE = _bits("RESOLVE_", "NO_XDEV NO_MAGICLINKS NO_SYMLINKS BENEATH IN_ROOT CACHED")
AT: Table = {
    0x100: "AT_SYMLINK_NOFOLLOW",
    0x400: "AT_SYMLINK_FOLLOW",
    0x800: "AT_NO_AUTOMOUNT",
    0x1000: "AT_EMPTY_PATH",
    0x2000: "AT_STATX_FORCE_SYNC",
    0x4000: "AT_STATX_DONT_SYNC",
    0x8000: "AT_RECURSIVE",
}
AT_ACCESS = {0x200: "AT_EACCESS", **AT}
AT_UNLINK: Table = {0x200: "AT_REMOVEDIR"}
AT_FDCWD = -100
STATX = _bits(
    "STATX_",
    "TYPE MODE NLINK UID GID ATIME MTIME CTIME INO SIZE BLOCKS BTIME MNT_ID DIOALIGN MNT_ID_UNIQUE SUBVOL",
)
STATX = {0x7FF: "STATX_BASIC_STATS", **STATX}
STATX_FIELDS: Table = {
    0: "mask",
    4: "blksize",
    8: "attributes",
    20: "uid",
    24: "gid",
    28: "mode",
    32: "ino",
    40: "size",
    128: "rdev_major",
    132: "rdev_minor",
    136: "dev_major",
    140: "dev_minor",
    144: "mnt_id",
}
ACCESS: Table = {4: "R_OK", 2: "W_OK", 1: "X_OK"}
RENAME = _bits("RENAME_", "NOREPLACE EXCHANGE WHITEOUT")
FILE_TYPES: Table = {
    0o140000: "S_IFSOCK",
    0o120000: "S_IFLNK",
    0o100000: "S_IFREG",
    0o060000: "S_IFBLK",
    0o040000: "S_IFDIR",
    0o020000: "S_IFCHR",
    0o010000: "S_IFIFO",
}
S_IFMT = 0o170000

MS = {
    **_bits("MS_", "RDONLY NOSUID NODEV NOEXEC SYNCHRONOUS REMOUNT MANDLOCK DIRSYNC NOSYMFOLLOW"),
    **_bits("MS_", "NOATIME NODIRATIME BIND MOVE REC SILENT POSIXACL UNBINDABLE PRIVATE", 10),
    **_bits("MS_", "SLAVE SHARED RELATIME KERNMOUNT I_VERSION STRICTATIME LAZYTIME", 19),
}
UMOUNT = {**_bits("MNT_", "FORCE DETACH EXPIRE"), 8: "UMOUNT_NOFOLLOW"}
OPEN_TREE: Table = {1: "OPEN_TREE_CLONE", 0o2000000: "OPEN_TREE_CLOEXEC", **AT}
MOVE_MOUNT = {
    **_bits("MOVE_MOUNT_F_", "SYMLINKS AUTOMOUNTS EMPTY_PATH"),
    **_bits("MOVE_MOUNT_T_", "SYMLINKS AUTOMOUNTS EMPTY_PATH", 4),
    0x100: "MOVE_MOUNT_SET_GROUP",
    0x200: "MOVE_MOUNT_BENEATH",
}
FSOPEN: Table = {1: "FSOPEN_CLOEXEC"}
FSMOUNT: Table = {1: "FSMOUNT_CLOEXEC"}
FSPICK = _bits("FSPICK_", "CLOEXEC SYMLINK_NOFOLLOW NO_AUTOMOUNT EMPTY_PATH")
FSCONFIG = _numbered(
    "FSCONFIG_",
    "SET_FLAG SET_STRING SET_BINARY SET_PATH SET_PATH_EMPTY SET_FD CMD_CREATE CMD_RECONFIGURE CMD_CREATE_EXCL",
)
MOUNT_ATTR: Table = {
    0x70: "MOUNT_ATTR__ATIME",
    **_bits("MOUNT_ATTR_", "RDONLY NOSUID NODEV NOEXEC NOATIME STRICTATIME - NODIRATIME"),
    0x100000: "MOUNT_ATTR_IDMAP",
    0x200000: "MOUNT_ATTR_NOSYMFOLLOW",
}
SUPER_MAGIC: Table = {
    0x9FA0: "PROC_SUPER_MAGIC",
    0x62656572: "SYSFS_MAGIC",
    0x1CD1: "DEVPTS_SUPER_MAGIC",
    0x01021994: "TMPFS_MAGIC",
    0x63677270: "CGROUP2_SUPER_MAGIC",
    0x27E0EB: "CGROUP_SUPER_MAGIC",
}

CLONE = {
    0x80: "CLONE_NEWTIME",
    **_bits("CLONE_", "VM FS FILES SIGHAND PIDFD PTRACE VFORK PARENT THREAD NEWNS SYSVSEM", 8),
    **_bits("CLONE_", "SETTLS PARENT_SETTID CHILD_CLEARTID DETACHED UNTRACED CHILD_SETTID", 19),
    **_bits("CLONE_", "NEWCGROUP NEWUTS NEWIPC NEWUSER NEWPID NEWNET IO CLEAR_SIGHAND", 25),
    1 << 33: "CLONE_INTO_CGROUP",
}
CLOSE_RANGE = _bits("CLOSE_RANGE_", "- UNSHARE CLOEXEC")
MEMFD = _bits("MFD_", "CLOEXEC ALLOW_SEALING HUGETLB NOEXEC_SEAL EXEC")
FCNTL: Table = {
    **_numbered("F_", "DUPFD GETFD SETFD GETFL SETFL"),
    1030: "F_DUPFD_CLOEXEC",
    1033: "F_ADD_SEALS",
    1034: "F_GET_SEALS",
}
FD: Table = {1: "FD_CLOEXEC"}
FAMILY: Table = {1: "AF_UNIX", 2: "AF_INET", 10: "AF_INET6", 16: "AF_NETLINK", 17: "AF_PACKET"}
SOCKET: Table = {1: "SOCK_STREAM", 2: "SOCK_DGRAM", 3: "SOCK_RAW", 5: "SOCK_SEQPACKET"}
SOCKET_FLAGS: Table = {0o4000: "SOCK_NONBLOCK", 0o2000000: "SOCK_CLOEXEC"}
MSG: Table = {0x40: "MSG_DONTWAIT", 0x100: "MSG_WAITALL", 0x4000: "MSG_NOSIGNAL"}
MSG[0x40000000] = "MSG_CMSG_CLOEXEC"
WAIT: Table = {1: "WNOHANG", 2: "WUNTRACED", 4: "WEXITED", 0x01000000: "WNOWAIT"}
WAIT_ID = _numbered("P_", "ALL PID PGID PIDFD")
IOCTL: Table = {
    0x540E: "TIOCSCTTY",
    0x5413: "TIOCGWINSZ",
    0x5414: "TIOCSWINSZ",
    0x5422: "TIOCNOTTY",
    0x5441: "TIOCGPTPEER",
    0x40045431: "TIOCSPTLCK",
    0x80045430: "TIOCGPTN",
    0x8914: "SIOCSIFFLAGS",
    0x8913: "SIOCGIFFLAGS",
    0xB701: "NS_GET_USERNS",
}
INTERFACE = _bits("IFF_", "UP BROADCAST DEBUG LOOPBACK POINTOPOINT NOTRAILERS RUNNING")

PRCTL: Table = {
    1: "PR_SET_PDEATHSIG",
    3: "PR_GET_DUMPABLE",
    4: "PR_SET_DUMPABLE",
    7: "PR_GET_KEEPCAPS",
    8: "PR_SET_KEEPCAPS",
    15: "PR_SET_NAME",
    22: "PR_SET_SECCOMP",
    23: "PR_CAPBSET_READ",
    24: "PR_CAPBSET_DROP",
    28: "PR_SET_SECUREBITS",
    36: "PR_SET_CHILD_SUBREAPER",
    38: "PR_SET_NO_NEW_PRIVS",
    39: "PR_GET_NO_NEW_PRIVS",
    47: "PR_CAP_AMBIENT",
    59: "PR_SET_IO_FLUSHER",
    65: "PR_SET_MDWE",
}
AMBIENT = _numbered("PR_CAP_AMBIENT_", "IS_SET RAISE LOWER CLEAR_ALL", 1)
CAPABILITIES = _numbered(
    "CAP_",
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP "
    "LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER "
    "SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE "
    "SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP "
    "MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF "
    "CHECKPOINT_RESTORE",
)
RLIMIT = _numbered(
    "RLIMIT_",
    "CPU FSIZE DATA STACK CORE RSS NPROC NOFILE MEMLOCK AS LOCKS SIGPENDING MSGQUEUE NICE RTPRIO RTTIME",
)
SECCOMP = _numbered("SECCOMP_", "SET_MODE_STRICT SET_MODE_FILTER GET_ACTION_AVAIL GET_NOTIF_SIZES")
SECCOMP_FILTER = _bits("SECCOMP_FILTER_FLAG_", "TSYNC LOG SPEC_ALLOW NEW_LISTENER TSYNC_ESRCH WAIT_KILLABLE_RECV")
KEYCTL = _numbered(
    "KEYCTL_",
    "GET_KEYRING_ID JOIN_SESSION_KEYRING UPDATE REVOKE CHOWN SETPERM DESCRIBE CLEAR LINK UNLINK SEARCH READ",
)
BPF = _numbered(
    "BPF_",
    "MAP_CREATE MAP_LOOKUP_ELEM MAP_UPDATE_ELEM MAP_DELETE_ELEM MAP_GET_NEXT_KEY PROG_LOAD "
    "OBJ_PIN OBJ_GET PROG_ATTACH PROG_DETACH PROG_TEST_RUN PROG_GET_NEXT_ID MAP_GET_NEXT_ID "
    "PROG_GET_FD_BY_ID MAP_GET_FD_BY_ID OBJ_GET_INFO_BY_FD PROG_QUERY",
)
PERSONALITY: Table = {0: "PER_LINUX", 8: "PER_LINUX32", 0xFFFFFFFF: "-1"}
SCHEDULER: Table = _numbered("SCHED_", "OTHER FIFO RR BATCH ISO IDLE DEADLINE EXT")
SCHEDULER_FLAGS = _bits(
    "SCHED_FLAG_",
    "RESET_ON_FORK RECLAIM DL_OVERRUN KEEP_POLICY KEEP_PARAMS UTIL_CLAMP_MIN UTIL_CLAMP_MAX",
)
IO_CLASS = _numbered("IOPRIO_CLASS_", "NONE RT BE IDLE")
IO_WHO = _numbered("IOPRIO_WHO_", "PROCESS PGRP USER", 1)
PRIORITY = _numbered("PRIO_", "PROCESS PGRP USER")
MEMPOLICY = _numbered("MPOL_", "DEFAULT PREFERRED BIND INTERLEAVE LOCAL PREFERRED_MANY WEIGHTED_INTERLEAVE")
MEMPOLICY_FLAGS: Table = {
    0x2000: "MPOL_F_NUMA_BALANCING",
    0x4000: "MPOL_F_RELATIVE_NODES",
    0x8000: "MPOL_F_STATIC_NODES",
}
SIGNALS = _numbered(
    "SIG",
    "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT "
    "STOP TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS",
    1,
)


def flags(value: int, table: Table) -> str:
    """Bits by name, what has no name in hexadecimal: "MS_BIND|MS_REC|0x80000000"."""
    names = []
    for bits, name in table.items():
        if bits and value & bits == bits:
            names.append(name)
            value &= ~bits
    if value or not names:
        names.append(hex(value) if value else "0")
    return "|".join(names)


def one(value: int, table: Table) -> str:
    """A number by name, or as it is."""
    return table.get(value) or str(value)


def open_flags(value: int) -> str:
    """Flags of open(2); O_RDONLY is the access mode of which no bit is set."""
    named = {bits: name for bits, name in OPEN.items() if name != "O_TMPFILE"}
    if value & 0o20000000:
        named = OPEN
    if not value & OPEN_ACCESS and not value & OPEN_PATH:
        rest = flags(value, named)
        return "O_RDONLY" if rest == "0" else "O_RDONLY|" + rest
    return flags(value, named)


def mode(value: int) -> str:
    """A file mode: "S_IFCHR|0666"."""
    kind = FILE_TYPES.get(value & S_IFMT)
    bits = f"0{value & ~S_IFMT if kind else value:03o}"
    return f"{kind}|{bits}" if kind else bits


def errno(number: int) -> str:
    """ENOENT for 2."""
    return errorcode.get(number) or str(number)
