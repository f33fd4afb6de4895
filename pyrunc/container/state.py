"""The state directory: what is known of each container, and who may change it.

    ROOT/ID/state.json    what this module writes: small, read by every command
    ROOT/ID/config.json   the configuration the container was created from (update changes it)
    ROOT/ID/lock          flock(2): held while a container is created, started, updated or deleted
    ROOT/ID/...           what other parts of the life cycle keep there (start.sock, ...)

Files are written beside their names and renamed, so a reader needs no lock. ROOT itself is locked
for the moment in which a directory with its lock comes to be or goes. Whoever dies loses its locks.

Import cost: posix, fcntl, time, and _json by config.strict.
"""

import posix
import time
from errno import EAGAIN, ENOENT, ESRCH
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, flock

from pyrunc.config import strict
from pyrunc.container.ids import check_id
from pyrunc.errors import Error, NotFound, from_os_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FORMAT = 1  # of state.json

MISSING = "container does not exist"
BUSY_AFTER = 30.0  # seconds of waiting for a lock until it is an error

_DIRECTORY = posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC | posix.O_NOFOLLOW


class State:
    """What is known of a container.

    pid and pid_start: the init process and its start time (field 22 of /proc/PID/stat, in clock
    ticks), 0 while there is none. created: RFC 3339, in UTC. status_hint: "creating", "created" or
    "started", as far as the life cycle has come. cgroup: Manager.to_state(), {} without one.
    owner: uid of who created it. extra: whatever else the life cycle has to remember, as JSON.
    private_pid and poststop: whether the configuration makes a pid namespace, and has such hooks;
    both follow from the configuration, and are here so that kill and delete need not read it.
    """

    __slots__ = (
        "_changed",
        "_config",
        "_store",
        "annotations",
        "bundle",
        "cgroup",
        "created",
        "extra",
        "id",
        "oci_version",
        "owner",
        "pid",
        "pid_start",
        "poststop",
        "private_pid",
        "rootfs",
        "status_hint",
    )

    def __init__(
        self,
        id: str,
        *,
        bundle: str = "",
        rootfs: str = "",
        config: "Any" = None,
        oci_version: str = "",
        annotations: "dict[str, str] | None" = None,
        created: str = "",
        owner: "int | None" = None,
        status_hint: str = "creating",
        pid: int = 0,
        pid_start: int = 0,
        cgroup: "dict[str, Any] | None" = None,
        extra: "dict[str, Any] | None" = None,
    ) -> None:
        self._config = config
        self._changed = config is not None
        self._store: Store | None = None
        self.id = id
        self.bundle = bundle
        self.rootfs = rootfs
        self.oci_version = oci_version or (config or {}).get("ociVersion", "")
        if annotations is None:
            annotations = (config or {}).get("annotations") or {}
        self.annotations = annotations
        self.created = created or now()
        self.owner = posix.geteuid() if owner is None else owner
        self.status_hint = status_hint
        self.pid = pid
        self.pid_start = pid_start
        self.cgroup = cgroup or {}
        self.extra = extra or {}
        self.private_pid = True
        self.poststop = False
        self._follow()

    def _follow(self) -> None:
        """Take from the configuration what is kept beside it."""
        if self._config is None:
            return
        spaces = (self._config.get("linux") or {}).get("namespaces") or ()
        self.private_pid = any(it["type"] == "pid" and not it.get("path") for it in spaces)
        self.poststop = bool((self._config.get("hooks") or {}).get("poststop"))

    @property
    def config(self) -> "dict[str, Any]":
        """The configuration, read when first asked for. A change is saved only if it is set again,
        be it to itself.
        """
        if self._config is None:
            if self._store is None:
                raise Error(f"container {self.id} has no configuration")
            data = self._store.read(self.id, "config.json")
            if data is None:
                raise Error(f"container {self.id} was never completely created")
            self._config = strict.loads(data, "config.json")
        config: dict[str, Any] = self._config
        return config

    @config.setter
    def config(self, config: "Any") -> None:
        self._config = config
        self._changed = True
        self._follow()

    def set_process(self, pid: int) -> None:
        """Take note of the init process, which must be alive or a zombie."""
        self.pid = pid
        self.pid_start = process_start(pid, zombie=True)

    def alive(self) -> bool:
        """Whether the init process is there: the same one, and not a zombie."""
        return bool(self.pid) and process_start(self.pid) == self.pid_start

    def status(self) -> str:
        """creating, created, running, paused or stopped (runtime.md, "State").

        "creating" while its creator holds the lock, and after its death while its init lives.
        """
        alive = self.alive()
        if self.status_hint == "creating":
            busy = alive or (self._store is not None and self._store.locked(self.id))
            return "creating" if busy else "stopped"
        if not alive:
            return "stopped"
        if self.cgroup and self.frozen():
            return "paused"
        return "created" if self.status_hint == "created" else "running"

    def frozen(self) -> bool:
        """Whether the container's cgroup was told to freeze."""
        path = self.cgroup.get("path")
        if not path:
            return False
        # What Manager.frozen() does, without loading the cgroups package for one file.
        data = _read(f"{path}/cgroup.freeze", None)
        return data is not None and data.strip() == b"1"

    def document(self, owner: str = "") -> "dict[str, object]":
        """What `state` prints, in runc's order; pid is 0 once stopped."""
        status = self.status()
        document: dict[str, object] = {
            "ociVersion": self.oci_version,
            "id": self.id,
            "pid": 0 if status == "stopped" else self.pid,
            "status": status,
            "bundle": self.bundle,
            "rootfs": self.rootfs,
            "created": self.created,
        }
        if self.annotations:
            document["annotations"] = self.annotations
        document["owner"] = owner
        return document

    def hook_state(self, status: str) -> "dict[str, Any]":
        """The state that hooks read (see container/hooks.py), with `status` as given."""
        return {
            "ociVersion": self.oci_version,
            "id": self.id,
            "status": status,
            "pid": 0 if status == "stopped" else self.pid,
            "bundle": self.bundle,
            "annotations": self.annotations,
        }


class Lock:
    """The exclusive lock of one container; released at the end of a `with`, or with the process."""

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def release(self) -> None:
        """Give the lock back. May be called twice."""
        if self.fd >= 0:
            posix.close(self.fd)
            self.fd = -1

    def __enter__(self) -> "Lock":
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()


class Store:
    """The state directory `root`, an absolute path; made when a container is created."""

    __slots__ = ("_fd", "root")

    def __init__(self, root: str) -> None:
        self.root = root
        self._fd = -1

    # -- containers ----------------------------------------------------------------------------

    def load(self, id: str) -> State:
        """What is known of a container. Errors: NotFound; state.json is damaged.

        A directory without state.json, which a killed `create` leaves, loads as a container that is
        being created and has no process.
        """
        check_id(id)
        root = self._root()
        data = None if root is None else self.read(id, "state.json")
        if data is None:
            if root is None or not _is_directory(root, id):
                raise NotFound(MISSING)
            state = State(id, created=now(posix.stat(id, dir_fd=root).st_ctime_ns))
        else:
            state = _parse(id, data)
        state._store = self
        return state

    def list(self) -> "list[State]":
        """All containers, sorted by id; what cannot be read is warned about and left out."""
        root = self._root()
        if root is None:
            return []
        from pyrunc.log import log

        states = []
        for id in sorted(posix.listdir(root)):
            try:
                states.append(self.load(id))
            except NotFound:
                continue
            except Error as error:
                log.warning(f"container {id}: {error}")
        return states

    def create(self, id: str) -> Lock:
        """Make the container's directory and take its lock. Exactly one of several callers wins.

        Errors: `container with given ID already exists`; the state directory cannot be made.
        """
        check_id(id)
        root = self._make_root()
        with self._root_lock():
            try:
                posix.mkdir(id, self._mode(), dir_fd=root)
            except FileExistsError:
                raise Error("container with given ID already exists") from None
            except OSError as error:
                raise from_os_error(f"create state directory {self.root}/{id}", error) from None
            fd = posix.open(id, _DIRECTORY, dir_fd=root)
            try:
                posix.fchmod(fd, self._mode())  # mkdir's mode is subject to the caller's umask
                return _flock(fd, posix.O_CREAT)
            finally:
                posix.close(fd)

    def lock(self, id: str, timeout: float = BUSY_AFTER) -> Lock:
        """Take the lock of a container that exists, waiting for whoever holds it.

        Errors: NotFound; `timeout` seconds have passed. The state is to be loaded after this.
        """
        check_id(id)
        root = self._root()
        if root is None:
            raise NotFound(MISSING)
        until = time.monotonic() + timeout
        wait = 0.001
        while True:
            lock = self._try_lock(root, id)
            if lock is not None:
                return lock
            if time.monotonic() >= until:
                raise Error(
                    f"container {id} is being changed by another process since {timeout:.0f} s",
                    hint=f"see who has {self.root}/{id}/lock open: fuser, lsof",
                )
            time.sleep(wait)
            wait = min(2 * wait, 0.05)

    def locked(self, id: str) -> bool:
        """Whether someone else holds the container's lock."""
        try:
            fd = posix.open(
                f"{id}/lock",
                posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NOFOLLOW,
                dir_fd=self._root(),
            )
        except OSError:
            return False
        try:
            # Shared, so that two who look are not taken for holders by each other.
            flock(fd, LOCK_SH | LOCK_NB)
        except OSError:
            return True
        finally:
            posix.close(fd)
        return False

    def save(self, state: State) -> None:
        """Write the state, and its configuration if it was set. The caller has the lock."""
        if state._changed:
            self._write(state.id, "config.json", strict.dumps(state._config))
            state._changed = False
        document = {
            "format": FORMAT,
            "ociVersion": state.oci_version,
            "id": state.id,
            "pid": state.pid,
            "pidStart": state.pid_start,
            "status": state.status_hint,
            "bundle": state.bundle,
            "rootfs": state.rootfs,
            "created": state.created,
            "annotations": state.annotations,
            "owner": state.owner,
            "privatePid": state.private_pid,
            "poststop": state.poststop,
            "cgroup": state.cgroup,
            "extra": state.extra,
        }
        self._write(state.id, "state.json", strict.dumps(document))
        state._store = self

    def remove(self, id: str) -> None:
        """Remove the container's directory and all in it. The caller holds the lock.

        state.json goes near the end: a removal that is killed half-way can be done again.
        """
        check_id(id)
        root = self._root()
        if root is None:
            return
        try:
            fd = posix.open(id, _DIRECTORY, dir_fd=root)
        except FileNotFoundError:
            return
        except OSError as error:
            raise from_os_error(f"remove state directory {self.root}/{id}", error) from None
        try:
            _empty(fd, keep=("state.json", "lock"))
            with self._root_lock():
                _empty(fd)
                posix.rmdir(id, dir_fd=root)
        except OSError as error:
            raise from_os_error(f"remove state directory {self.root}/{id}", error) from None
        finally:
            posix.close(fd)

    def path(self, id: str, name: str = "") -> str:
        """The path of a container's directory, or of a file in it."""
        return f"{self.root}/{id}/{name}" if name else f"{self.root}/{id}"

    def read(self, id: str, name: str) -> "bytes | None":
        """A file of the container's directory, whole; None where there is none."""
        return _read(f"{id}/{name}", self._root())

    # -- the directory -------------------------------------------------------------------------

    def exists(self) -> bool:
        """Whether the state directory is there."""
        return self._root() is not None

    def _root(self) -> "int | None":
        """A descriptor of the state directory, None where it does not exist.

        Errors: it belongs to someone else or others may write to it: whoever can change the state
        can have root signal processes and remove cgroups.
        """
        if self._fd >= 0:
            return self._fd
        try:
            # A symbolic link is followed: /var/run and the like.
            fd = posix.open(self.root, _DIRECTORY & ~posix.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise from_os_error("open state directory", error) from None
        status = posix.fstat(fd)
        user = posix.geteuid()
        problem = ""
        if status.st_uid != user:
            problem = f"belongs to uid {status.st_uid}, not to {user}"
        elif status.st_mode & 0o022:
            problem = f"can be written by others (mode {status.st_mode & 0o7777:04o})"
        if problem:
            posix.close(fd)
            raise Error(f"state directory {self.root} {problem}")
        self._fd = fd
        return fd

    def _make_root(self) -> int:
        """The state directory's descriptor; makes it and what is missing above it."""
        fd = self._root()
        if fd is not None:
            return fd
        path = ""
        made = False
        for part in self.root.strip("/").split("/"):
            path += "/" + part
            try:
                posix.mkdir(path, self._mode() | 0o100)
                made = True
            except FileExistsError:
                made = False
            except OSError as error:
                raise from_os_error("create state directory", error) from None
        if made:
            # The sticky bit keeps tmpfiles.d from clearing a user's directory of old files
            # (XDG Base Directory Specification).
            runtime_directory = posix.environ.get(b"XDG_RUNTIME_DIR", b"").decode(errors="replace")
            sticky = bool(runtime_directory) and self.root.startswith(runtime_directory)
            posix.chmod(self.root, self._mode() | (0o1000 if sticky else 0))
        fd = self._root()
        if fd is None:
            raise Error(f"create state directory {self.root}: it has been removed again")
        return fd

    def _mode(self) -> int:
        """Others may pass root's directories: a container's root has to reach its start socket."""
        return 0o711 if posix.geteuid() == 0 else 0o700

    def _root_lock(self) -> Lock:
        """The lock of the state directory, for the moment in which directories come and go."""
        fd = posix.open(self.root, _DIRECTORY & ~posix.O_NOFOLLOW)
        flock(fd, LOCK_EX)
        return Lock(fd)

    def _try_lock(self, root: int, id: str) -> "Lock | None":
        """The container's lock, or None while someone else has it. Errors: NotFound."""
        try:
            directory = posix.open(id, _DIRECTORY, dir_fd=root)
        except OSError:
            raise NotFound(MISSING) from None
        try:
            try:
                lock = _flock(directory, 0)
            except FileNotFoundError:
                # Its creator or its remover died between two steps, or is between them right now.
                with self._root_lock():
                    lock = _flock(directory, posix.O_CREAT)
            except BlockingIOError:
                return None
            # Who waited for a `delete` now holds the lock of a file that is no more.
            if posix.fstat(lock.fd).st_nlink == 0:
                lock.release()
                return None
            return lock
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno == ENOENT:  # O_CREAT in a directory that has been removed
                raise NotFound(MISSING) from None
            raise from_os_error(f"lock container {id}", error) from None
        finally:
            posix.close(directory)

    def _write(self, id: str, name: str, text: str) -> None:
        """Replace a file of the container's directory at once."""
        new = f"{id}/{name}.new"
        flags = posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC | posix.O_CLOEXEC | posix.O_NOFOLLOW
        root = self._make_root()
        try:
            fd = posix.open(new, flags, 0o600, dir_fd=root)
            try:
                rest = memoryview(text.encode())
                while rest:
                    rest = rest[posix.write(fd, rest) :]
            finally:
                posix.close(fd)
            posix.rename(new, f"{id}/{name}", src_dir_fd=root, dst_dir_fd=root)
        except OSError as error:
            raise from_os_error(f"write {self.root}/{id}/{name}", error) from None


# -- helpers -----------------------------------------------------------------------------------


def now(nanoseconds: "int | None" = None) -> str:
    """A time since the epoch, by default the current one, in RFC 3339 as Go prints it: no zeros at
    the end of the fraction.
    """
    if nanoseconds is None:
        nanoseconds = time.time_ns()
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    fraction = f".{rest:09}".rstrip("0").rstrip(".")
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + fraction + "Z"


def process_start(pid: int, *, zombie: bool = False) -> int:
    """When a process started, in clock ticks since boot (proc_pid_stat(5), field 22); 0 where there
    is none, or, unless `zombie`, where it is dead and only not yet waited for.
    """
    try:
        data = _read(f"/proc/{pid}/stat", None)
    except OSError as error:
        if error.errno != ESRCH:  # died between open and read
            raise
        data = None
    if not data:
        return 0
    # The second field is the command's name in parentheses, with any character in it.
    fields = data[data.rindex(b")") + 2 :].split()
    if fields[0] in (b"Z", b"X", b"x") and not zombie:
        return 0
    return int(fields[19])


def _parse(id: str, data: bytes) -> State:
    document = strict.loads(data, "state.json")
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise Error(f"state.json of container {id} is not one that this pyrunc can read")
    state = State(
        id,
        bundle=document["bundle"],
        rootfs=document["rootfs"],
        oci_version=document["ociVersion"],
        annotations=document["annotations"],
        created=document["created"],
        owner=document["owner"],
        status_hint=document["status"],
        pid=document["pid"],
        pid_start=document["pidStart"],
        cgroup=document["cgroup"],
        extra=document["extra"],
    )
    state.private_pid = document["privatePid"]
    state.poststop = document["poststop"]
    return state


def _read(path: str, dir_fd: "int | None") -> "bytes | None":
    """A whole file, None where there is none. Errors: OSError, for one that cannot be read."""
    try:
        fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NOFOLLOW, dir_fd=dir_fd)
    except OSError as error:
        if error.errno in (ENOENT, ESRCH):
            return None
        raise
    try:
        data = b""
        while block := posix.read(fd, 1 << 16):
            data += block
        return data
    finally:
        posix.close(fd)


def _is_directory(root: int, name: str) -> bool:
    try:
        fd = posix.open(name, _DIRECTORY, dir_fd=root)
    except OSError:
        return False
    posix.close(fd)
    return True


def _flock(directory: int, create: int) -> Lock:
    """Lock the directory's `lock`. Errors: FileNotFoundError without O_CREAT, BlockingIOError."""
    flags = posix.O_RDWR | posix.O_CLOEXEC | posix.O_NOFOLLOW | create
    fd = posix.open("lock", flags, 0o600, dir_fd=directory)
    try:
        flock(fd, LOCK_EX | LOCK_NB)
    except OSError as error:
        posix.close(fd)
        raise BlockingIOError(EAGAIN, "locked") from error
    return Lock(fd)


def _empty(directory: int, keep: "tuple[str, ...]" = ()) -> None:
    """Remove what is in a directory, except `keep`; symbolic links are not followed."""
    for name in posix.listdir(directory):
        if name in keep:
            continue
        try:
            posix.unlink(name, dir_fd=directory)
        except IsADirectoryError:
            fd = posix.open(name, _DIRECTORY, dir_fd=directory)
            try:
                _empty(fd)
            finally:
                posix.close(fd)
            posix.rmdir(name, dir_fd=directory)
        except FileNotFoundError:
            pass
