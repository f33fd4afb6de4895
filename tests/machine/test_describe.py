"""Steps as text."""

import os
import resource
import signal
import socket
import struct

import pytest

from pyrunc.machine import names
from pyrunc.machine.assembler import syscall_numbers
from pyrunc.machine.decode import mask, quoted, structure
from pyrunc.machine.describe import CALLS, describe, outcome, short
from pyrunc.machine.ops import SESSION, At, Fd, Label, Program, Ref, Reg, Space, Step, Words

ROOT = Reg(1, "root")
FD = Reg(2, "fd")
STATX = Space(256, "statx")
CAPS = struct.pack("<6I", 1 << 5, 1 << 5 | 1 << 10, 0, 0, 1 << 7, 0)
ALL = (1 << 41) - 1
ALL_CAPS = struct.pack("<6I", *(ALL & 0xFFFFFFFF,) * 3, *(ALL >> 32,) * 3)
ARGV = Words((b"sh", b"-c", b'echo "x"', 0), "argv")
FILTER = Words((2, bytes(16)), "sock_fprog")

EXAMPLES: "list[tuple[str, tuple[object, ...], str]]" = [
    (
        "openat2",
        (ROOT, b"proc", Words((0o12000000, 0, 18), "open_how"), 24),
        'openat2(root, "proc", {flags=O_PATH|O_CLOEXEC, resolve=RESOLVE_NO_MAGICLINKS|RESOLVE_IN_ROOT})',
    ),
    (
        "openat2",
        (ROOT, b"etc", Words((0o100 | 1, 0o640, 0), "open_how"), 24),
        'openat2(root, "etc", {flags=O_WRONLY|O_CREAT, mode=0640})',
    ),
    ("openat2", (ROOT, b"f", Words((0, 0, 0)), 24), 'openat2(root, "f", {flags=O_RDONLY})'),
    ("openat", (-100, b"/", 0o2000000, 0), 'openat(AT_FDCWD, "/", O_RDONLY|O_CLOEXEC)'),
    ("openat", (-100, b"a", 0o101, 0o600), 'openat(AT_FDCWD, "a", O_WRONLY|O_CREAT, 0600)'),
    ("openat", (ROOT, b"a", 2, 0), 'openat(root, "a", O_RDWR)'),
    ("close", (FD,), "close(fd)"),
    ("close_range", (3, 0xFFFFFFFF, 4), "close_range(3, ~0U, CLOSE_RANGE_CLOEXEC)"),
    ("dup3", (SESSION, 3, 0o2000000), "dup3(session, 3, O_CLOEXEC)"),
    ("dup3", (SESSION, Fd(4, "start.sock"), 0), "dup3(session, start.sock, 0)"),
    # The mount API.
    ("fsopen", (b"tmpfs", 1), 'fsopen("tmpfs", FSOPEN_CLOEXEC)'),
    ("fsconfig", (FD, 1, b"size", b"64k", 0), 'fsconfig(fd, FSCONFIG_SET_STRING, "size", "64k")'),
    ("fsconfig", (FD, 0, b"ro", None, 0), 'fsconfig(fd, FSCONFIG_SET_FLAG, "ro", NULL)'),
    ("fsconfig", (FD, 6, None, None, 0), "fsconfig(fd, FSCONFIG_CMD_CREATE, NULL, NULL)"),
    (
        "fsmount",
        (FD, 1, 1 | 2 | 8 | 0x20),
        "fsmount(fd, FSMOUNT_CLOEXEC, MOUNT_ATTR_RDONLY|MOUNT_ATTR_NOSUID|MOUNT_ATTR_NOEXEC|MOUNT_ATTR_STRICTATIME)",
    ),
    (
        "fspick",
        (FD, b"", 1 | 8),
        'fspick(fd, "", FSPICK_CLOEXEC|FSPICK_EMPTY_PATH)',
    ),
    (
        "move_mount",
        (FD, b"", ROOT, b"", 0x44),
        'move_mount(fd, "", root, "", MOVE_MOUNT_F_EMPTY_PATH|MOVE_MOUNT_T_EMPTY_PATH)',
    ),
    (
        "open_tree",
        (-100, b"/srv/x", 1 | 0o2000000 | 0x8000),
        'open_tree(AT_FDCWD, "/srv/x", OPEN_TREE_CLONE|OPEN_TREE_CLOEXEC|AT_RECURSIVE)',
    ),
    (
        "mount_setattr",
        (FD, b"", 0x1000, Words((1, 0x70, 0, 0), "mount_attr"), 32),
        'mount_setattr(fd, "", AT_EMPTY_PATH, {attr_set=MOUNT_ATTR_RDONLY, attr_clr=MOUNT_ATTR__ATIME})',
    ),
    (
        "mount_setattr",
        (-100, b"/", 0x8000, Words((0, 0, 1 << 19, 0), "mount_attr"), 32),
        'mount_setattr(AT_FDCWD, "/", AT_RECURSIVE, {propagation=MS_SLAVE})',
    ),
    (
        "mount_setattr",
        (FD, b"", 0x1000, Words((0x100000, 0, 0, Fd(9, "userns of /data")), "mount_attr"), 32),
        'mount_setattr(fd, "", AT_EMPTY_PATH, {attr_set=MOUNT_ATTR_IDMAP, userns_fd=userns of /data})',
    ),
    (
        "mount",
        (None, b".", None, 1 << 19 | 1 << 14, None),
        'mount(NULL, ".", NULL, MS_REC|MS_SLAVE, NULL)',
    ),
    ("umount2", (b".", 2), 'umount2(".", MNT_DETACH)'),
    ("pivot_root", (b".", b"."), 'pivot_root(".", ".")'),
    # Files.
    ("mkdirat", (FD, b"dev", 0o755), 'mkdirat(fd, "dev", 0755)'),
    ("mknodat", (FD, b"f", 0o100755, 0), 'mknodat(fd, "f", S_IFREG|0755)'),
    ("mknodat", (FD, b"p", 0o010600, 0), 'mknodat(fd, "p", S_IFIFO|0600)'),
    ("mknodat", (FD, b"null", 0o020666, 0x103), 'mknodat(fd, "null", S_IFCHR|0666, makedev(1, 3))'),
    (
        "mknodat",
        (FD, b"sda", 0o060600, 0x10FFF345),
        'mknodat(fd, "sda", S_IFBLK|0600, makedev(4083, 69445))',
    ),
    ("symlinkat", (b"/proc/self/fd", FD, b"fd"), 'symlinkat("/proc/self/fd", fd, "fd")'),
    ("unlinkat", (FD, b"ptmx", 0), 'unlinkat(fd, "ptmx", 0)'),
    ("fchmodat", (FD, b"null", 0o666), 'fchmodat(fd, "null", 0666)'),
    ("fchmodat2", (FD, b"", 0o666, 0x1000), 'fchmodat2(fd, "", 0666, AT_EMPTY_PATH)'),
    ("fchownat", (FD, b"x", 5, 0xFFFFFFFF, 0x100), 'fchownat(fd, "x", 5, -1, AT_SYMLINK_NOFOLLOW)'),
    ("faccessat", (-100, b"/bin/sh", 1), 'faccessat(AT_FDCWD, "/bin/sh", X_OK)'),
    (
        "statx",
        (FD, b"", 0x1000, 3, STATX),
        'statx(fd, "", AT_EMPTY_PATH, STATX_TYPE|STATX_MODE, statx)',
    ),
    ("read", (FD, At(Space(64, "answer"), 8), 100), "read(fd, answer+8, 100)"),
    ("write", (FD, b"1 0 0\n", 6), r'write(fd, "1 0 0\n")'),
    # Processes.
    (
        "clone3",
        (Words((0x20020000, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0), "clone_args"), 88),
        "clone3({flags=CLONE_NEWNS|CLONE_NEWPID, exit_signal=SIGCHLD})",
    ),
    (
        "clone3",
        (Words((1 << 33, 0, 0, 0, 17, 0, 0, 0, 0, 0, Fd(14, "cgroup")), "clone_args"), 88),
        "clone3({flags=CLONE_INTO_CGROUP, exit_signal=SIGCHLD, cgroup=cgroup})",
    ),
    ("clone", (0x1011, 0, Space(8, "pidfd"), 0, 0), "clone(CLONE_PIDFD|SIGCHLD, 0, pidfd, 0, 0)"),
    ("rt_sigaction", (32, bytes(32), None, 8), "rt_sigaction(32, {handler=SIG_DFL}, NULL)"),
    ("unshare", (0x2000000,), "unshare(CLONE_NEWCGROUP)"),
    ("setns", (FD, 0x40000000), "setns(fd, CLONE_NEWNET)"),
    ("setns", (FD, 0x80), "setns(fd, CLONE_NEWTIME)"),
    ("prctl", (1, 9, 0, 0, 0), "prctl(PR_SET_PDEATHSIG, SIGKILL)"),
    ("prctl", (4, 0, 0, 0, 0), "prctl(PR_SET_DUMPABLE, 0)"),
    ("prctl", (15, b"pyrunc-init", 0, 0, 0), 'prctl(PR_SET_NAME, "pyrunc-init")'),
    ("prctl", (24, 21, 0, 0, 0), "prctl(PR_CAPBSET_DROP, CAP_SYS_ADMIN)"),
    ("prctl", (38, 1, 0, 0, 0), "prctl(PR_SET_NO_NEW_PRIVS, 1)"),
    (
        "prctl",
        (47, 2, 10, 0, 0),
        "prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_BIND_SERVICE)",
    ),
    ("prctl", (47, 4, 0, 0, 0), "prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)"),
    (
        "capset",
        (struct.pack("<Ii", 0x20080522, 0), CAPS),
        "capset({version=0x20080522}, {effective=CAP_KILL,"
        " permitted=CAP_KILL|CAP_NET_BIND_SERVICE|CAP_BPF, inheritable=0})",
    ),
    (
        "capset",
        (struct.pack("<Ii", 0x20080522, 0), ALL_CAPS),
        "capset({version=0x20080522}, {effective=all, permitted=all, inheritable=all})",
    ),
    ("setresuid", (1000, 0xFFFFFFFF, -1), "setresuid(1000, -1, -1)"),
    ("setresgid", (0, 0, 0), "setresgid(0, 0, 0)"),
    ("setgroups", (0, None), "setgroups(0, NULL)"),
    ("setgroups", (2, struct.pack("<2I", 10, 0xFFFFFFFE)), "setgroups(2, [10, 4294967294])"),
    (
        "prlimit64",
        (0, 7, struct.pack("<2Q", 1024, (1 << 64) - 1), None),
        "prlimit64(0, RLIMIT_NOFILE, {soft=1024, hard=RLIM_INFINITY}, NULL)",
    ),
    (
        "prlimit64",
        (0, 4, Words((0, 0), "rlimit"), None),
        "prlimit64(0, RLIMIT_CORE, {soft=0, hard=0}, NULL)",
    ),
    (
        "execve",
        (b"/bin/sh", ARGV, Words((b"PATH=/bin", 0), "envp")),
        r'execve("/bin/sh", ["sh", "-c", "echo \"x\""], [PATH])',
    ),
    ("umask", (0o22,), "umask(022)"),
    ("umask", (0,), "umask(0)"),
    ("chdir", (b"/",), 'chdir("/")'),
    ("sethostname", (b"box", 3), 'sethostname("box")'),
    ("personality", (8,), "personality(PER_LINUX32)"),
    ("kill", (5, 15), "kill(5, SIGTERM)"),
    ("wait4", (FD, Space(8, "status"), 1, None), "wait4(fd, status, WNOHANG, NULL)"),
    ("exit_group", (1,), "exit_group(1)"),
    ("getpid", (), "getpid()"),
    ("setsid", (), "setsid()"),
    ("sched_setaffinity", (0, 8, (0x10F).to_bytes(8, "little")), "sched_setaffinity(0, [0-3, 8])"),
    (
        "sched_setattr",
        (0, struct.pack("<IIQiIQQQ", 48, 6, 1, 0, 0, 10, 20, 30), 0),
        "sched_setattr(0, {policy=SCHED_DEADLINE, flags=SCHED_FLAG_RESET_ON_FORK,"
        " runtime=10, deadline=20, period=30}, 0)",
    ),
    ("ioprio_set", (1, 0, 2 << 13 | 4), "ioprio_set(IOPRIO_WHO_PROCESS, 0, IOPRIO_CLASS_BE|4)"),
    (
        "set_mempolicy",
        (2 | 0x8000, b"\3" + bytes(7), 64),
        "set_mempolicy(MPOL_BIND|MPOL_F_STATIC_NODES, [0-1], 64)",
    ),
    (
        "seccomp",
        (1, 2, FILTER),
        "seccomp(SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_LOG, {len=2})",
    ),
    ("keyctl", (1, b"_ses.id"), 'keyctl(KEYCTL_JOIN_SESSION_KEYRING, "_ses.id")'),
    ("keyctl", (5, FD, 0x1F1B0000), "keyctl(KEYCTL_SETPERM, fd, 0x1f1b0000)"),
    # Devices, sockets, the rest.
    ("ioctl", (FD, 0x5441, 0o2000402), "ioctl(fd, TIOCGPTPEER, O_RDWR|O_NOCTTY|O_CLOEXEC)"),
    ("ioctl", (FD, 0x40045431, bytes(4)), "ioctl(fd, TIOCSPTLCK, [0])"),
    (
        "ioctl",
        (FD, 0x5414, struct.pack("<4H", 24, 80, 0, 0)),
        "ioctl(fd, TIOCSWINSZ, {rows=24, columns=80})",
    ),
    ("ioctl", (0, 0x540E, 0), "ioctl(0, TIOCSCTTY, 0)"),
    (
        "ioctl",
        (FD, 0x8914, struct.pack("<16sH22x", b"lo", 0x41)),
        'ioctl(fd, SIOCSIFFLAGS, {name="lo", flags=IFF_UP|IFF_RUNNING})',
    ),
    ("socket", (2, 2 | 0o2000000, 0), "socket(AF_INET, SOCK_DGRAM|SOCK_CLOEXEC, 0)"),
    (
        "accept4",
        (Fd(5, "start.sock"), None, None, 0o2000000),
        "accept4(start.sock, NULL, NULL, SOCK_CLOEXEC)",
    ),
    ("fcntl", (FD, 2, 1), "fcntl(fd, F_SETFD, FD_CLOEXEC)"),
    ("fcntl", (FD, 1030, 10), "fcntl(fd, F_DUPFD_CLOEXEC, 10)"),
    ("memfd_create", (b"x", 3), 'memfd_create("x", MFD_CLOEXEC|MFD_ALLOW_SEALING)'),
    (
        "bpf",
        (5, Words((15 | 3 << 32, bytes(24), b"GPL"), "bpf_attr"), 64),
        "bpf(BPF_PROG_LOAD, {type=15, instructions=3})",
    ),
    ("bpf", (8, Space(16, "bpf_attr"), 16), "bpf(BPF_PROG_ATTACH, bpf_attr)"),
    ("sync", (), "sync()"),
]


def step(name: str, *args: object, **more: object) -> Step:
    p = Program()
    return p.call(name, *args, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "args", "text"), EXAMPLES, ids=[e[2][:50] for e in EXAMPLES])
def test_examples(name: str, args: "tuple[object, ...]", text: str) -> None:
    assert describe(step(name, *args)) == text


PSEUDO: "list[tuple[str, tuple[object, ...], str]]" = [
    ("move", (ROOT,), "test(root)"),
    ("store", (At(Space(16, "answer"), 0), FD, 8), "store(answer, fd, 8)"),
    ("store", (At(STATX, 8), FD, 8), "store(statx.attributes, fd, 8)"),
    ("store", (At(Words((0,), "cmsghdr"), 16), FD, 4), "store(cmsghdr+16, fd, 4)"),
    ("load", (At(STATX, 28), 2), "load(statx.mode, 2)"),
    (
        "check",
        (At(STATX, 28), 2, 0o170000, 0o040000, 20),
        "check(statx.mode & S_IFMT == S_IFDIR, ENOTDIR)",
    ),
    ("check", (At(STATX, 132), 4, 0xFFFFFFFF, 3, 22), "check(statx.rdev_minor == 3, EINVAL)"),
    (
        "check",
        (Space(120, "statfs"), 8, (1 << 64) - 1, 0x9FA0, 22),
        "check(statfs.type == PROC_SUPER_MAGIC, EINVAL)",
    ),
    ("check", (Space(64, "cwd"), 1, 0xFF, 0x2F, 2), "check(cwd == '/', ENOENT)"),
    ("check", (Ref(SESSION), 8, 0, 1, 40), "fail(ELOOP)"),
    ("reply", (Ref(FD), 8, 0), "reply(&fd, 8)"),
    ("reply", (STATX, 256, 2), "stop(statx, 256)"),
    ("reply", (STATX, 256, 1), "sync(statx, 256)"),
]


@pytest.mark.parametrize(("name", "args", "text"), PSEUDO)
def test_pseudo_ops(name: str, args: "tuple[object, ...]", text: str) -> None:
    assert describe(step(name, *args)) == text


def test_syncs_tell_their_key() -> None:
    class Console:
        pass

    p = Program()
    p.sync("ready")
    p.sync(Console(), STATX)
    first, second = p.items
    assert isinstance(first, Step)
    assert isinstance(second, Step)
    assert describe(first) == 'sync("ready")'
    assert describe(second) == 'sync("Console", statx, 256)'


def test_environment_values_are_never_shown() -> None:
    secret = Words((b"PASSWORD=hunter2", b"X=hunter2", b"ODD", 0), "envp")
    bare = Words(secret.fields)
    argv = Words((b"sh", 0), "argv")
    shown = [
        describe(step("execve", b"/bin/sh", argv, secret)),
        describe(step("execve", b"/bin/sh", argv, bare)),
        describe(step("execveat", FD, b"", argv, bare, 0x1000)),
        describe(step("getpid", secret)),
        short(step("execve", b"/bin/sh", argv, secret)),
        structure(secret, "envp"),
    ]
    assert not [text for text in shown if "hunter2" in text]
    assert shown[0] == 'execve("/bin/sh", ["sh"], [PASSWORD X ODD])'


SHORT: "list[tuple[str, tuple[object, ...], str]]" = [
    ("open_tree", (-100, b"/srv/x", 1), 'open_tree "/srv/x"'),
    ("mount_setattr", (FD, b"", 0x1000, Words(()), 32), "mount_setattr"),
    ("openat2", (ROOT, b"etc/hosts", Words((0, 0, 0)), 24), 'openat2 "etc/hosts"'),
    ("fsopen", (b"proc", 1), 'fsopen "proc"'),
    ("fsconfig", (FD, 1, b"size", b"1", 0), 'fsconfig "size"'),
    ("mount", (b"tmpfs", b"/sys", b"tmpfs", 0, None), 'mount "/sys"'),
    ("mount", (None, b".", None, 0, None), 'mount "."'),
    ("symlinkat", (b"/proc/self/fd", FD, b"fd"), 'symlinkat "fd"'),
    ("move_mount", (FD, b"", -100, b"/r", 4), 'move_mount "/r"'),
    ("move_mount", (FD, b"", FD, b"", 4), "move_mount"),
    ("execve", (b"/bin/sh", Words(()), Words(())), 'execve "/bin/sh"'),
    ("prctl", (38, 1, 0, 0, 0), "prctl PR_SET_NO_NEW_PRIVS"),
    ("prctl", (9999,), "prctl"),
    ("ioctl", (FD, 0x540E, 0), "ioctl TIOCSCTTY"),
    ("prlimit64", (0, 7, bytes(16), None), "prlimit64 RLIMIT_NOFILE"),
    ("write", (FD, b"secret", 6), "write"),
    ("setsid", (), "setsid"),
    ("check", (STATX, 2, 1, 1, 1), "check"),
]


@pytest.mark.parametrize(("name", "args", "text"), SHORT)
def test_short(name: str, args: "tuple[object, ...]", text: str) -> None:
    assert short(step(name, *args)) == text


def test_outcome() -> None:
    here, there = Label("here"), Label("there")
    assert outcome(step("getpid")) == ""
    assert outcome(step("getpid", dst=FD)) == "= fd"
    assert outcome(step("mkdirat", ok=(17, 1))) == "ok: EEXIST|EPERM"
    assert outcome(step("openat2", dst=FD, only=(2, 20), error=here)) == '= fd; ENOENT|ENOTDIR: go to "here"'
    assert outcome(step("clone3", zero=here, error=there)) == ('error: go to "there"; 0: go to "here"')
    jump = step("move", 0, zero=there)
    assert describe(jump) == "jump"
    assert outcome(jump) == 'go to "there"'
    assert outcome(jump, lambda label: "17") == "go to 17"


def test_negation() -> None:
    p = Program()
    p.negate(ROOT, FD)
    (item,) = p.items
    assert isinstance(item, Step)
    assert (describe(item), outcome(item)) == ("move(-root)", "= fd")


def test_quoting() -> None:
    assert quoted(b"a b") == '"a b"'
    assert quoted("grüße".encode()) == '"grüße"'
    assert quoted(b'\x00\x1b"\\\n\xff') == r'"\x00\x1b\"\\\n\xff"'
    assert quoted(b"x" * 10, 4) == '"xxxx"...'
    assert quoted("\u202e".encode()) == r'"\xe2\x80\xae"'  # would turn the text around


def test_masks() -> None:
    assert mask(b"\x05") == "[0, 2]"
    assert mask(bytes(4)) == "[]"
    assert mask(b"\xff\x01") == "[0-8]"


def test_what_nobody_foresaw() -> None:
    """Unknown numbers, too few or too many arguments, registers anywhere: shown, not refused."""
    assert describe(step("prctl")) == "prctl()"
    assert describe(step("prctl", 12345, 6, 7)) == "prctl(12345, 6)"
    assert describe(step("openat2", ROOT)) == "openat2(root)"
    assert describe(step("openat2", ROOT, b"x", STATX, 24)) == 'openat2(root, "x", statx)'
    assert describe(step("clone3", Words((1,) * 20), 160)).startswith("clone3({1, 1, ")
    assert describe(step("capset", b"x", b"y")) == 'capset("x", "y")'
    assert describe(step("unshare", 1 << 50)) == "unshare(0x4000000000000)"
    assert describe(step("made_up", 70000, -5, b"x", None)) == 'made_up(0x11170, -5, "x", NULL)'
    assert describe(step("fchmod", FD, FD)) == "fchmod(fd, fd)"
    for name in CALLS:
        for value in (
            0,
            -1,
            1 << 63,
            None,
            b"",
            b"\xff",
            FD,
            Ref(FD),
            STATX,
            Words(()),
            Words((b"",)),
        ):
            text = describe(step(name, *(value,) * 6))
            assert text.startswith(name + "(")
            assert text.endswith(")")
            assert short(step(name, *(value,) * 6)).startswith(name)


def test_every_decoded_call_exists() -> None:
    assert set(CALLS) <= set(syscall_numbers("x86_64"))


@pytest.mark.parametrize(
    ("table", "module"),
    [
        (names.OPEN, os),
        (names.SIGNALS, signal),
        (names.RLIMIT, resource),
        (names.FAMILY, socket),
        (names.SOCKET, socket),
        (names.SCHEDULER, os),
        (names.PRIORITY, os),
        (names.CLONE, os),
        (names.MEMFD, os),
        (names.ACCESS, os),
        (names.WAIT, os),
        (names.WAIT_ID, os),
    ],
)
def test_names_agree_with_python(table: names.Table, module: object) -> None:
    """Where Python knows a constant of that name, it has the same value."""
    known = False
    for value, name in table.items():
        if hasattr(module, name):
            known = True
            assert getattr(module, name) & 0xFFFFFFFF == value & 0xFFFFFFFF, name
    if not known:
        pytest.skip("this Python knows none of them")


@pytest.mark.parametrize(("major", "minor"), [(0, 1), (1, 3), (8, 256), (4095, 1048575), (5000, 7)])
def test_device_numbers(major: int, minor: int) -> None:
    text = describe(step("mknodat", FD, b"x", 0o020600, os.makedev(major, minor)))
    assert text.endswith(f"makedev({major}, {minor}))")
