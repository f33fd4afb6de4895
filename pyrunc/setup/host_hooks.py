"""Hooks that run on the host: prestart, createRuntime, poststart and poststop.

A hook is a program that gets the container's state on standard input and whose success is awaited
(config.md, "POSIX-platform Hooks"). The hooks that run in the container's namespaces
(createContainer, startContainer) are executed by pyrunc-init; their state, arguments, environment
and the texts of their errors come from the functions here too.

One hook: state into a pipe, posix_spawn in a session of its own, poll on its pidfd and its output.

Import cost: posix, fcntl, select, time, _json, _signal, all built in.
"""

import posix
from _json import encode_basestring_ascii as quote
from fcntl import F_DUPFD_CLOEXEC, fcntl
from select import POLLIN, poll
from time import monotonic

from pyrunc.errors import Error, strerror
from pyrunc.log import log
from pyrunc.setup.hook_files import NO_FILES, above_stdio, close_files, output_files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from signal import SIGKILL, strsignal
    from typing import Any

    Hook = Mapping[str, Any]
else:
    from _signal import SIGKILL, strsignal

OUTPUT_KEPT = 4096
"""Bytes of each of a hook's two outputs that an error shows: the last, where complaints are."""

# Signals that a hook gets at their default: Python ignores SIGPIPE and SIGXFSZ, pyrunc's caller may
# ignore others, and an ignored signal stays ignored over execve. SIGKILL and SIGSTOP cannot be set;
# 32 and 33 belong to the C library's threads, and glibc's posix_spawn itself leaves them ignored.
_DEFAULTED = [number for number in range(1, 65) if number not in (9, 19, 32, 33)]


def state_json(state: "Mapping[str, Any]") -> bytes:
    """The container's state as a hook reads it (runtime.md, "State").

    state: ociVersion, id, status, pid, bundle (absolute) and annotations; whatever else it has is
    left out. status is "creating" for prestart, createRuntime and createContainer hooks, "created"
    for startContainer, "running" for poststart, "stopped" for poststop. pid is the process as seen
    from where the hook runs; 0 or absent where there is none any more. Empty annotations are left
    out as well.
    """
    fields = [f'"{name}":{quote(state[name])}' for name in ("ociVersion", "id", "status")]
    if state.get("pid"):
        fields.append(f'"pid":{int(state["pid"])}')
    fields.append(f'"bundle":{quote(state["bundle"])}')
    if state.get("annotations"):
        pairs = [f"{quote(key)}:{quote(value)}" for key, value in state["annotations"].items()]
        fields.append('"annotations":{' + ",".join(pairs) + "}")
    return ("{" + ",".join(fields) + "}").encode()


def arguments(hook: "Hook") -> "list[bytes]":
    """argv of a hook: `args` as given (the first need not be the path), else the path alone."""
    return [word.encode() for word in hook.get("args") or [hook["path"]]]


def environment(hook: "Hook") -> "dict[bytes, bytes] | None":
    """The environment that `env` gives in place of the inherited one; None where there is no `env`.

    The last of two entries of one name counts; an entry without a name is none.
    """
    env = hook.get("env")
    if env is None:
        return None
    return _variables([entry.encode() for entry in env])


def inherited_environment() -> "dict[bytes, bytes]":
    """The environment that pyrunc was started with.

    Not posix.environ: under the C locale the interpreter adds LC_CTYPE=C.UTF-8 to that (PEP 538).
    """
    with_nul = bytearray()
    fd = posix.open("/proc/self/environ", posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        while block := posix.read(fd, 65536):
            with_nul += block
    finally:
        posix.close(fd)
    return _variables(bytes(with_nul).split(b"\0"))


def _variables(entries: "Sequence[bytes]") -> "dict[bytes, bytes]":
    variables = {}
    for entry in entries:
        name, equals, value = entry.partition(b"=")
        if name and equals:
            variables[name] = value
    return variables


def failure(kind: str, index: int, cause: str, *, errno: int = 0) -> Error:
    """The error for a hook of a kind, counted from 0: `error running prestart hook #0: CAUSE`."""
    return Error(
        f"error running {kind} hook #{index}: {cause}",
        pointer=f"/hooks/{kind}/{index}",
        errno=errno,
    )


def status_text(status: int) -> str:
    """What a wait status means: "exit status 1", "signal: killed"."""
    if posix.WIFSIGNALED(status):
        name = strsignal(posix.WTERMSIG(status)) or str(posix.WTERMSIG(status))
        return "signal: " + name.lower() + (" (core dumped)" if posix.WCOREDUMP(status) else "")
    return f"exit status {posix.WEXITSTATUS(status)}"


def timeout_text(seconds: float) -> str:
    """The cause where a hook was killed for its `timeout`."""
    return f"hook ran past specified timeout of {seconds:.1f}s"


def run_hooks(hooks: "Sequence[Hook]", kind: str, state: "Mapping[str, Any]", *, cwd: str) -> None:
    """Run the hooks of one kind (not poststop) in the order given, each to its end before the next.

    hooks: the entries of config.json's `hooks` for the kind. state: see state_json. cwd: the
    bundle.

    Errors: the first hook that cannot be executed, exits with another status than 0 or outlives its
    `timeout` (its process group is killed then); the hooks after it do not run. The error has the
    hook's output and points to it.
    """
    document = state_json(state) if hooks else b""
    files = output_files(state.get("annotations", {})) if hooks else NO_FILES
    try:
        for index, hook in enumerate(hooks):
            log.debug(f"running {kind} hook #{index}: {hook['path']}")
            run_hook(hook, kind, index, document, cwd=cwd, files=files)
    finally:
        close_files(files)


def run_poststop(hooks: "Sequence[Hook]", state: "Mapping[str, Any]", *, cwd: str) -> None:
    """Run the poststop hooks, each of them: a failure is a warning, and goes on as if there were none (runtime.md,
    "Lifecycle", step 13). The container is gone by then; the bundle may be, and then they run in "/"."""
    document = state_json(state)
    try:
        files = output_files(state.get("annotations", {}))
    except Error as error:
        log.warning(str(error))
        files = NO_FILES
    for index, hook in enumerate(hooks):
        try:
            run_hook(hook, "poststop", index, document, cwd=cwd, files=files)
        except HookError as error:
            # Scripts look for crun's words.
            log.warning(f"poststop hook failed with exit code {error.status}: {error}")
        except Error as error:
            log.warning(str(error))
    close_files(files)


class HookError(Error):
    """A hook that ran and did not succeed. status: its exit status, or 128 and the signal's number."""

    def __init__(self, error: Error, status: int) -> None:
        super().__init__(error.message, pointer=error.pointer)
        code = posix.waitstatus_to_exitcode(status)
        self.status = code if code >= 0 else 128 - code


def run_hook(
    hook: "Hook",
    kind: str,
    index: int,
    state: bytes,
    *,
    cwd: str,
    files: "tuple[int, int]" = NO_FILES,
) -> None:
    """Run hook number `index` of a kind with the state document; otherwise as run_hooks.

    files: descriptors for its output and its complaints; -1: they are kept for the error.
    """
    descriptors: list[int] = []
    pid = 0
    try:
        stdin = _input(state, descriptors)
        out, out_end = _output(files[0], descriptors)
        err, err_end = _output(files[1], descriptors)
        pid = _spawn(hook, kind, index, cwd, (stdin, out_end, err_end))
        for fd in (stdin, out_end, err_end):
            descriptors.remove(fd)
            posix.close(fd)
        pidfd = posix.pidfd_open(pid)
        descriptors.append(pidfd)
        outputs = {fd: _Output() for fd in (out, err) if fd >= 0}
        timeout = hook.get("timeout")
        ended = _watch(pidfd, outputs, timeout)
        if not ended:
            posix.killpg(pid, SIGKILL)
        # Until it is reaped the hook is at least a zombie, so the number of its process group that
        # killpg was given cannot have become another's.
        status = posix.waitpid(pid, 0)[1]
        pid = 0
        if not ended:
            raise failure(kind, index, timeout_text(timeout or 0))
        if status:
            stdout, stderr = (str(outputs.get(fd, "")) for fd in (out, err))
            cause = f"{status_text(status)}, stdout: {stdout}, stderr: {stderr}"
            raise HookError(failure(kind, index, cause), status)
    except OSError as error:
        # Whatever it takes to run one, that is what has failed.
        name = f" {error.filename}" if error.filename else ""
        cause = f"cannot be run:{name} {strerror(error.errno or 0)}"
        raise failure(kind, index, cause, errno=error.errno or 0) from None
    finally:
        if pid:
            posix.killpg(pid, SIGKILL)
            posix.waitpid(pid, 0)
        for fd in descriptors:
            posix.close(fd)


def _pipe(descriptors: "list[int]") -> "tuple[int, int]":
    """A pipe (reading end, writing end), close-on-exec, entered in the list of what to close."""
    reading, writing = posix.pipe()
    reading, writing = above_stdio(reading), above_stdio(writing)
    descriptors += (reading, writing)
    return reading, writing


def _output(file: int, descriptors: "list[int]") -> "tuple[int, int]":
    """Where a hook writes to: (the end to read from, the hook's); a file is not read."""
    if file < 0:
        return _pipe(descriptors)
    copy = fcntl(file, F_DUPFD_CLOEXEC, 3)
    descriptors.append(copy)
    return -1, copy


def _input(state: bytes, descriptors: "list[int]") -> int:
    """A descriptor that reads as the state and then ends, complete before the hook starts.

    So nobody waits for a hook that never reads it, nor gets EPIPE from one that closes it. A state
    larger than the pipe (64 KiB; 4 KiB for a user with many) is put into a memory file instead.
    """
    reading, writing = _pipe(descriptors)
    posix.set_blocking(writing, False)
    try:
        written = posix.write(writing, state)
    except BlockingIOError:
        written = 0
    descriptors.remove(writing)
    posix.close(writing)
    if written == len(state):
        return reading
    descriptors.remove(reading)
    posix.close(reading)
    from pyrunc.kernel.unlinked import memory_file

    memory = above_stdio(memory_file("state"))
    descriptors.append(memory)
    rest = memoryview(state)
    while rest:
        rest = rest[posix.write(memory, rest) :]
    posix.lseek(memory, 0, 0)
    return memory


def _spawn(hook: "Hook", kind: str, index: int, cwd: str, stdio: "tuple[int, int, int]") -> int:
    """Start the hook with nothing of pyrunc's but the three descriptors; its pid."""
    env = environment(hook)
    actions: list[tuple[int, ...]] = [(posix.POSIX_SPAWN_DUP2, fd, target) for target, fd in enumerate(stdio)]
    # All that pyrunc opened is close-on-exec; what it was started with (--preserve-fds, a caller's
    # leak) may not be. The listing's own descriptor, closed by now, is in it too: to close what is
    # not open is no error to posix_spawn.
    for name in posix.listdir("/proc/self/fd"):
        if int(name) > 2:
            actions.append((posix.POSIX_SPAWN_CLOSE, int(name)))
    # posix_spawn has no chdir that Python passes on, so the (single) thread goes there and back.
    before = posix.open(".", posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)
    doing = f"chdir to bundle {cwd}"
    try:
        try:
            posix.chdir(cwd)
        except FileNotFoundError:
            if kind != "poststop":
                raise
            posix.chdir("/")
        doing = f"exec {hook['path']}"
        return posix.posix_spawn(
            hook["path"].encode(),
            arguments(hook),
            inherited_environment() if env is None else env,
            file_actions=actions,
            setsid=True,
            setsigmask=(),
            setsigdef=_DEFAULTED,
        )
    except OSError as error:
        number = error.errno or 0
        raise failure(kind, index, f"{doing}: {strerror(number)}", errno=number) from None
    finally:
        posix.fchdir(before)
        posix.close(before)


def _watch(pidfd: int, outputs: "dict[int, _Output]", timeout: "float | None") -> bool:
    """Collect output until the process has ended: True; or until `timeout` seconds are over: False.

    The end is the process's, not its output's: a daemon that a hook leaves may keep the pipes open.
    """
    deadline = None if timeout is None else monotonic() + timeout
    watched = poll()
    watched.register(pidfd, POLLIN)
    for fd in outputs:
        posix.set_blocking(fd, False)
        watched.register(fd, POLLIN)
    while True:
        left = None if deadline is None else max(0, deadline - monotonic()) * 1000
        ready = {fd for fd, _ in watched.poll(left)}
        for fd in outputs:
            if fd in ready and not outputs[fd].collect(fd):
                watched.unregister(fd)
        if pidfd in ready:
            for fd, output in outputs.items():
                output.collect(fd)
            return True
        if deadline is not None and monotonic() >= deadline:
            return False


class _Output:
    """The end of what a hook has written, and how much it was."""

    __slots__ = ("kept", "size")

    def __init__(self) -> None:
        self.kept = bytearray()
        self.size = 0

    def collect(self, fd: int) -> bool:
        """Read what the pipe holds now, at most its capacity; False at EOF."""
        try:
            block = posix.read(fd, 1 << 20)
        except BlockingIOError:
            return True
        self.kept += block
        self.size += len(block)
        del self.kept[:-OUTPUT_KEPT]
        return bool(block)

    def __str__(self) -> str:
        text = self.kept.decode(errors="replace").rstrip("\n")
        left_out = self.size - len(self.kept)
        return f"[{left_out} bytes left out] {text}" if left_out else text
