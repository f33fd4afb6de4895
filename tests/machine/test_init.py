"""pyrunc-init executes what it is sent: the real one, without root."""

import fcntl
import os
import posix
import socket
import time
from pathlib import Path

import pytest

from machine.harness import Agent, running, word
from pyrunc.errors import Error
from pyrunc.machine.assembler import ARENA
from pyrunc.machine.ops import SESSION, At, Label, Program, Ref, Reg, Registers, Space, Words
from pyrunc.machine.session import REPLY, Lost, Reply, Session, Trace, pair, sealed_init

EPERM, ENOENT, EBADF, EINVAL = 1, 2, 9, 22
AT_FDCWD, O_CLOEXEC = -100, 0o2000000
SIGCHLD = 17


def values(agent: Agent, p: Program, *regs: Reg) -> list[int]:
    """Run a program and return what is in registers when it ends."""
    p.call("reply", Ref(Reg(0, "first")), 8 * 128, 1)
    reply = agent.session.run(p)
    assert reply.errno == 0, reply.step and reply.step.name
    return [word(reply.data, reg.index) for reg in regs]


@pytest.mark.contains("CVE-2016-9962: exec'ed process can be traced before it drops")
def test_it_hides_before_it_takes_a_program() -> None:
    """CVE-2016-9962: what belongs to root below /proc/PID is out of reach for who owns a user namespace only."""
    with running() as agent:
        p = Program()
        dumpable = p.reg("dumpable")
        p.call("prctl", 3, 0, 0, 0, 0, dst=dumpable)  # PR_GET_DUMPABLE
        assert values(agent, p, dumpable) == [0]


def test_results_go_to_registers() -> None:
    with running() as agent:
        p = Program()
        pid, parent, moved = p.reg("pid"), p.reg("parent"), p.reg("moved")
        p.call("getpid", dst=pid)
        p.call("getppid", dst=parent)
        p.call("move", pid, dst=moved)
        assert values(agent, p, pid, parent, moved) == [agent.pid, os.getpid(), agent.pid]


def test_end_of_the_program() -> None:
    with running() as agent:
        p = Program()
        p.call("getpid")
        p.call("getpid")
        reply = agent.session.run(p)
        assert (reply.index, reply.step, reply.errno, reply.data) == (2, None, 0, b"")


def test_failure_names_the_step(tmp_path: Path) -> None:
    with running() as agent:
        p = Program()
        p.call("getpid")
        bad = p.call("chdir", bytes(tmp_path / "missing"), why="go there", at="/process/cwd")
        p.call("exit_group", 3)
        reply = agent.session.run(p)
        assert (reply.index, reply.step, reply.errno) == (1, bad, ENOENT)
        # The program is over, the session is not.
        p = Program()
        p.call("getpid")
        assert agent.session.run(p).errno == 0


def test_failed_results_are_kept() -> None:
    with running() as agent:
        p = Program()
        result = p.reg("result")
        p.call("close", -1, dst=result, ok=(EBADF,))
        assert values(agent, p, result) == [(1 << 64) - EBADF]


def test_listed_errnos_count_as_success() -> None:
    with running() as agent:
        p = Program()
        p.call("close", -1, ok=(EPERM, ENOENT, EINVAL, EBADF))
        failing = p.call("close", -1, ok=(EPERM, ENOENT, EINVAL))
        assert agent.session.run(p).step is failing


def outcome(agent: Agent, **how: object) -> "tuple[str, int]":
    """Where a program goes on after `close(-1)`, or `umask(0)` under a mask of 0."""
    target = Label("target")
    p = Program()
    result = p.reg("result")
    name = "umask" if how.pop("succeeds", False) else "close"
    if "only" in how or how.pop("jumps", False):
        how["error"] = target
    if how.pop("on_zero", False):
        how["zero"] = target
    p.call("umask", 0)
    p.call(name, 0 if name == "umask" else -1, **how)  # type: ignore[arg-type]
    p.call("move", 1, dst=result)
    p.sync("straight")
    p.label(target)
    p.sync("jumped")
    reply = agent.session.run(p)
    assert reply.step is not None
    return str(reply.step.key), reply.errno


def test_error_jumps() -> None:
    with running() as agent:
        assert outcome(agent, jumps=True) == ("jumped", 0)
        assert outcome(agent, jumps=True, ok=(EBADF,)) == ("straight", 0)
        assert outcome(agent, jumps=True, ok=(ENOENT,)) == ("jumped", 0)
        assert outcome(agent, jumps=True, succeeds=True) == ("straight", 0)


def test_only_jumps() -> None:
    with running() as agent:
        assert outcome(agent, only=(EBADF,)) == ("jumped", 0)
        assert outcome(agent, only=(ENOENT, EINVAL, EPERM, EBADF)) == ("jumped", 0)
        assert outcome(agent, only=(ENOENT,)) == ("", EBADF)
        assert outcome(agent, only=(ENOENT,), succeeds=True) == ("straight", 0)


def test_zero_jumps() -> None:
    with running() as agent:
        assert outcome(agent, succeeds=True, on_zero=True) == ("jumped", 0)
        assert outcome(agent, on_zero=True) == ("", EBADF)
        assert outcome(agent, on_zero=True, ok=(EBADF,)) == ("straight", 0)


def test_move_never_fails() -> None:
    with running() as agent:
        p = Program()
        reg = p.reg("minus")
        p.call("move", -EBADF, dst=reg)
        assert values(agent, p, reg) == [(1 << 64) - EBADF]


def test_jump_goes_over_steps() -> None:
    with running() as agent:
        p = Program()
        behind = Label()
        p.jump(behind)
        p.call("exit_group", 9)
        p.label(behind)
        p.sync("here")
        reply = agent.session.run(p)
        assert reply.step is not None
        assert reply.step.key == "here"


def test_store_load_check() -> None:
    with running() as agent:
        p = Program()
        space = Space(64, "space")
        a, b, c, d = (p.reg(name) for name in "abcd")
        p.store(At(space, 8), 0x1122334455667788, 8)
        p.store(At(space, 8), 0x99AABBCC)
        p.load(At(space, 8), 8, a)
        p.load(At(space, 8), 4, b)
        p.load(At(space, 10), 2, c)
        p.load(At(space, 15), 1, d)
        p.check(At(space, 8), 2, 0xFF00, 0xBB00, EPERM)
        assert values(agent, p, a, b, c, d) == [0x1122334499AABBCC, 0x99AABBCC, 0x99AA, 0x11]
        p = Program()
        bad = p.call("check", Space(8), 8, -1, 1, 20)
        reply = agent.session.run(p)
        assert (reply.step, reply.errno) == (bad, 20)


def test_stores_take_four_or_eight_bytes() -> None:
    with running() as agent:
        for width in (0, 1, 2, 3, 16):
            p = Program()
            p.store(Space(8), 1, width)
            assert agent.session.run(p).errno == EINVAL


def test_stores_fill_structures(tmp_path: Path) -> None:
    """A field of a structure that is only known at run time."""
    (tmp_path / "file").touch()
    with running() as agent:
        how = Words((0, 0, 0), "open_how")
        p = Program()
        flags, fd = p.reg("flags"), p.reg("fd")
        p.call("move", O_CLOEXEC | os.O_DIRECTORY, dst=flags)
        p.call("store", how, flags, 8)
        p.call("openat2", AT_FDCWD, bytes(tmp_path), how, 24, dst=fd)
        p.call("openat2", AT_FDCWD, bytes(tmp_path / "file"), how, 24, ok=(20,))
        assert values(agent, p, fd)[0] > 0


@pytest.mark.parametrize(
    "address",
    [
        0,
        8,
        ARENA - 1,
        ARENA - 8,
        ARENA + (1 << 24) - 7,
        ARENA + (1 << 24),
        (1 << 64) - 8,
        (1 << 64) - 1,
        0xFFFFFFFF81000000,
    ],
)
def test_memory_outside_the_arena(address: int) -> None:
    """Pseudo-ops never touch it; a reply from it ends pyrunc-init."""
    with running() as agent:
        for name, args in (
            ("load", (address, 1)),
            ("store", (address, 1, 4)),
            ("check", (address, 1, 0, 0, EPERM)),
        ):
            p = Program()
            p.call(name, *args)
            assert agent.session.run(p).errno == EINVAL
        p = Program()
        p.call("reply", address, 8, 1)
        with pytest.raises(Lost, match="ended without an answer"):
            agent.session.run(p)
        assert agent.ended() == 121


def test_reply_length_is_checked() -> None:
    for length in ((1 << 24) + 1, 1 << 32, 1 << 63, (1 << 64) - 1):
        with running() as agent:
            p = Program()
            p.call("reply", ARENA, length, 1)
            with pytest.raises(Lost):
                agent.session.run(p)
            assert agent.ended() == 121


def test_a_reply_as_large_as_the_arena() -> None:
    with running() as agent:
        p = Program()
        p.call("reply", ARENA, 1 << 24, 1)
        assert len(agent.session.run(p).data) == 1 << 24


def test_read_into_space(tmp_path: Path) -> None:
    (tmp_path / "passwd").write_bytes(b"root:x:0:0")
    with running() as agent:
        p = Program()
        buffer = Space(32, "buffer")
        fd, n = p.reg("fd"), p.reg("n")
        p.call("openat", AT_FDCWD, bytes(tmp_path / "passwd"), O_CLOEXEC, dst=fd)
        p.call("read", fd, buffer, 32, dst=n)
        p.sync("read", buffer)
        reply = agent.session.run(p)
        assert reply.data == b"root:x:0:0" + bytes(22)


def test_space_is_zeroed_for_each_program() -> None:
    with running() as agent:
        for value in (5, 0):
            p = Program()
            space = Space(8)
            if value:
                p.store(space, value, 8)
            p.sync("look", space)
            assert word(agent.session.run(p).data) == value


def test_registers_persist_between_programs(tmp_path: Path) -> None:
    registers = Registers()
    with running() as agent:
        p = Program(registers)
        fd = p.reg("fd")
        p.call("openat", AT_FDCWD, bytes(tmp_path), O_CLOEXEC, dst=fd)
        p.sync("opened")
        assert agent.session.run(p).errno == 0
        p = Program(registers)
        p.call("mkdirat", fd, b"made", 0o755)
        p.close(fd)
        assert agent.session.run(p).errno == 0
    assert (tmp_path / "made").is_dir()


def test_reply_that_does_not_wait() -> None:
    """A program may report on the way; what follows goes on at once."""
    with running() as agent:
        p = Program()
        reg = p.reg("pid")
        p.call("getpid", dst=reg)
        p.call("reply", Ref(reg), 8, 0, key="progress")
        p.call("move", 7, dst=reg)
        p.sync("done", Ref(reg), 8)
        steps = agent.session.send(p)
        first, second = agent.session.receive(steps), agent.session.receive(steps)
        assert [reply.step and reply.step.key for reply in (first, second)] == ["progress", "done"]
        assert [word(first.data), word(second.data)] == [agent.pid, 7]


def test_tracing() -> None:
    trace = Trace()
    before = time.monotonic_ns()
    with running(trace=trace) as agent:
        p = Program()
        p.about("look", "/process")
        p.call("getpid")
        p.call("close", -1, ok=(EBADF,))
        p.about("tell", "/process")
        p.sync("half")
        assert agent.session.run(p).errno == 0
        p = Program()
        p.call("close", -1)
        assert agent.session.run(p).errno == EBADF
    after = time.monotonic_ns()
    times = [now for _, now, *_ in trace.events]
    assert [before, *times, after] == sorted([before, *times, after])
    assert [(name, *rest) for name, _, *rest in trace.events] == [
        ("agent", "", "", ""),
        ("agent", "getpid", "look", "/process"),
        ("agent", "close", "look", "/process"),
        ("agent", "reply", "tell", "/process"),
        ("agent", "", "", ""),
        ("agent", "close", "", ""),
    ]


def test_more_steps_than_the_trace_holds() -> None:
    """65536 entries fit, so a single program never fills it; replies empty it."""
    trace = Trace()
    with running(trace=trace) as agent:
        p = Program()
        for _ in range(65534):
            p.call("move", 1)
        assert agent.session.run(p).errno == 0
        assert agent.session.run(one_step()).errno == 0
    assert len(trace.events) == 65537


def one_step() -> Program:
    p = Program()
    p.call("getpid")
    return p


def clone_args(flags: int = 0) -> Words:
    return Words((flags, 0, 0, 0, SIGCHLD, 0, 0, 0), "clone_args")


def child_program(theirs: int) -> "tuple[Program, Reg]":
    """A program that forks; the child goes on with a session of its own."""
    child = Label("child")
    p = Program()
    pid = p.reg("pid")
    p.call("getpid")
    p.call("clone3", clone_args(), 64, dst=pid, zero=child)
    p.sync("cloned", Ref(pid), 8)
    p.label(child)
    p.call("move", theirs, dst=SESSION)
    own = p.reg("own")
    p.call("getpid", dst=own)
    p.sync("child", Ref(own), 8)
    return p, pid


def test_clone3_child_has_a_session_of_its_own() -> None:
    trace = Trace()
    ours, theirs = pair(120)
    with running((theirs,), trace) as agent:
        os.close(theirs)
        p, pid = child_program(theirs)
        steps = agent.session.send(p)
        parent = agent.session.receive(steps)
        child_session = Session(ours, "child", trace)
        child = child_session.receive(steps)
        assert parent.step is not None
        assert child.step is not None
        assert (parent.step.key, child.step.key) == ("cloned", "child")
        child_pid = word(parent.data)
        assert word(child.data) == child_pid != agent.pid
        # Both still take programs.
        p = Program(p.registers)
        reg = p.reg("pid")
        p.call("getpid", dst=reg)
        p.sync("again", Ref(reg), 8)
        assert word(child_session.run(p).data) == child_pid
        assert word(agent.session.run(p).data) == agent.pid
        # The parent sees the end of the child.
        status = Space(8, "status")
        p = Program(p.registers)
        p.call("wait4", pid, status, 0, 0)
        p.sync("status", status)
        steps = agent.session.send(p)
        child_session.close()
        assert word(agent.session.receive(steps).data) == 120 << 8
    names = {name: [e[2] for e in trace.events if e[0] == name] for name in ("agent", "child")}
    assert names["agent"][:4] == ["", "getpid", "clone3", "reply"]
    # What the parent did before the child existed is not told twice.
    assert names["child"][:4] == ["clone3", "move", "getpid", "reply"]


def test_descriptors_come_back(tmp_path: Path) -> None:
    """SCM_RIGHTS, in a message of its own ahead of the next reply."""
    for name in ("one", "two", "three"):
        (tmp_path / name).write_text(name)
    with running() as agent:
        p = Program()
        fds = [p.reg(name) for name in ("one", "two", "three")]
        for fd in fds:
            path = bytes(tmp_path / fd.name)
            p.call("openat", AT_FDCWD, path, O_CLOEXEC, dst=fd)
        p.send_fds(fds[0])
        p.send_fds(*fds[1:])
        p.sync("sent", Ref(fds[0]), 8)
        reply = agent.session.run(p)
        assert reply.step is not None
        assert reply.step.key == "sent"
        assert len(reply.data) == 8
        received = agent.session.descriptors
        assert [os.read(fd, 10) for fd in received] == [b"one", b"two", b"three"]
        assert not any(os.get_inheritable(fd) for fd in received)


def test_lost_sessions() -> None:
    with running() as agent:
        p = Program()
        p.call("exit_group", 7)
        with pytest.raises(Lost, match="agent ended without an answer"):
            agent.session.run(p)
        assert agent.ended() == 7
        with pytest.raises(Lost, match="agent ended before its program was sent"):
            agent.session.run(p)


def test_close_ends_it() -> None:
    agent = Agent()
    assert agent.close() == 120


def inheritable() -> set[int]:
    """The descriptors that tests were started with and that every child gets."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.get_inheritable(int(name)):
                found.add(int(name))
        except OSError:  # the one that listdir had
            pass
    return found


def test_inherits_what_it_is_told_to(tmp_path: Path) -> None:
    directory = os.open(tmp_path, os.O_PATH | os.O_CLOEXEC)
    other = os.open(tmp_path, os.O_PATH | os.O_CLOEXEC)
    os.set_inheritable(other, False)
    try:
        with running((directory,)) as agent:
            # execve lets the parent go on before it closes descriptors.
            agent.session.run(one_step())
            open_there = {int(name) for name in os.listdir(f"/proc/{agent.pid}/fd")}
            assert open_there == inheritable() | {directory, agent.session_fd}
            assert other not in open_there
    finally:
        os.close(directory)
        os.close(other)


def status_field(pid: int, name: str) -> str:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return line.split(":")[1].strip()
    raise AssertionError(name)


def test_signals_are_as_a_container_wants_them() -> None:
    with running() as agent:
        agent.session.run(one_step())
        assert int(status_field(agent.pid, "SigBlk"), 16) == 0
        # 32 and 33 are the C library's own; posix_spawn leaves them as they are.
        assert int(status_field(agent.pid, "SigIgn"), 16) & ~0x180000000 == 0
        assert int(status_field(agent.pid, "SigCgt"), 16) == 0


def test_environment_is_empty_and_arguments_tell_nothing() -> None:
    with running() as agent:
        agent.session.run(one_step())
        proc = Path(f"/proc/{agent.pid}")
        assert (proc / "environ").read_bytes() == b""
        assert (proc / "cmdline").read_bytes() == b"pyrunc-init\0%d\0" % agent.session_fd


def test_memory_of_an_idle_one() -> None:
    with running() as agent:
        agent.session.run(one_step())
        resident = int(status_field(agent.pid, "VmRSS").split()[0])
        assert resident < 400


@pytest.mark.contains("CVE-2019-5736: overwriting the runtime")
def test_executable_is_sealed() -> None:
    with running() as agent:
        agent.session.run(one_step())
        path = f"/proc/{agent.pid}/exe"
        assert os.readlink(path) == "/memfd:pyrunc-init (deleted)"
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            assert fcntl.fcntl(fd, fcntl.F_GET_SEALS) & 0xF == 0xF
        finally:
            os.close(fd)
        # ETXTBSY while it runs, EPERM because of the seal: never a descriptor.
        with pytest.raises(OSError):
            os.close(os.open(path, os.O_WRONLY))
    memfd = sealed_init()
    try:
        assert fcntl.fcntl(memfd, fcntl.F_GET_SEALS) & 0xF == 0xF
        assert not os.get_inheritable(memfd)
        with pytest.raises(PermissionError):
            os.write(memfd, b"x")
        with pytest.raises(PermissionError):
            os.ftruncate(memfd, 0)
    finally:
        os.close(memfd)


def test_pair_stays_above_the_lowest() -> None:
    sock, theirs = pair(200)
    try:
        assert theirs >= 200
        assert not os.get_inheritable(theirs)
    finally:
        os.close(theirs)
        sock.close()


def test_descriptors_that_arrive_in_pieces() -> None:
    """A reply that comes byte by byte is the same reply."""
    ours, theirs = socket.socketpair()
    session = Session(ours, "slow")
    p = one_step()
    steps = session.send(p)
    message = REPLY.pack(0x4E525950, 1, 0, 3, 0, 0) + b"abc"
    read, write = os.pipe()
    socket.send_fds(theirs, [message[:1]], [read])
    for index in range(1, len(message)):
        theirs.send(message[index : index + 1])
    reply: Reply = session.receive(steps)
    assert (reply.index, reply.step, reply.data) == (1, None, b"abc")
    assert len(session.descriptors) == 1
    for fd in (read, write, *session.descriptors):
        os.close(fd)
    theirs.close()
    session.close()


def test_nonsense_from_the_other_side() -> None:
    for head in (REPLY.pack(1, 0, 0, 0, 0, 0), REPLY.pack(0x4E525950, 2, 0, 0, 0, 0)):
        ours, theirs = socket.socketpair()
        session = Session(ours, "liar")
        steps = session.send(one_step())
        theirs.send(head)
        with pytest.raises(Error, match="liar answered nonsense"):
            session.receive(steps)
        theirs.close()
        session.close()


def test_start_arguments() -> None:
    """Anything but one descriptor number is refused."""
    memfd = sealed_init()
    path = f"/proc/self/fd/{memfd}"
    try:
        for arguments in ([], [""], ["x"], ["-1"], ["3x"], ["1", "2"], ["99999999999"]):
            pid = posix.posix_spawn(path, ["pyrunc-init", *arguments], {})
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 122, arguments
        # A number that is no open descriptor.
        pid = posix.posix_spawn(path, ["pyrunc-init", "9999"], {})
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 120
    finally:
        os.close(memfd)


def test_raw_space_keeps_what_was_there() -> None:
    with running() as agent:
        for value in (5, 0):
            p = Program()
            space = Space(8, raw=True)
            if value:
                p.store(space, value, 8)
            p.sync("look", space)
            assert word(agent.session.run(p).data) == 5


def test_negate() -> None:
    with running() as agent:
        p = Program()
        pid, group = p.reg("pid"), p.reg("group")
        p.call("getpid", dst=pid)
        p.negate(pid, group)
        assert values(agent, p, group) == [(1 << 64) - agent.pid]
