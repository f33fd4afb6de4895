"""The state directory: what is known of each container, and who may change it.

    ROOT/ID/state.json    what state.py describes: small, read by every command
    ROOT/ID/config.json   the configuration the container was created from (update changes it)
    ROOT/ID/...           what other parts of the life cycle keep there (start.fifo, answer.fifo, ...)

ROOT/ID itself is the lock, by flock(2), of who creates, starts, updates or deletes the container; whoever dies loses
it. Others cannot take it: they may pass the directory, but not open it. Files are written beside their names and
renamed, so a reader needs no lock.

Import cost: posix, fcntl, time, and _json by config.strict.
"""

import posix
import time
from errno import EISDIR, ELOOP, ENOENT, ENOTDIR, EWOULDBLOCK
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, flock

from pyrunc.config import strict
from pyrunc.errors import Error, NotFound, from_os_error, strerror
from pyrunc.state.directory import DIRECTORY, StateDirectory
from pyrunc.state.ids import check_id
from pyrunc.state.state import FORMAT, Damaged, State, now, parse, read_whole

MISSING = "container does not exist"
# The fifos over which a created container waits to be started (plan/waiting.py).
START, ANSWER = "start.fifo", "answer.fifo"
BUSY_AFTER = 30.0  # seconds of waiting for a lock until it is an error

_NO_DIRECTORY = (ENOENT, ENOTDIR, ELOOP)  # of open(2) with the flags below, where there is no directory of the name


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

    __slots__ = ("directory", "root")

    def __init__(self, root: str) -> None:
        self.root = root
        self.directory = StateDirectory(root)

    # -- containers ----------------------------------------------------------------------------

    def load(self, id: str) -> State:
        """What is known of a container. Errors: NotFound; state.json is damaged.

        A directory without state.json, which a killed `create` leaves, loads as a container that is
        being created and has no process.
        """
        check_id(id)
        root = self.directory.descriptor()
        data = None if root is None else self.read(id, "state.json")
        if data is None:
            fd = -1 if root is None else self._open(id)
            if fd < 0:
                raise NotFound(MISSING)
            state = State(id, created=now(posix.fstat(fd).st_ctime_ns))
            posix.close(fd)
        else:
            state = parse(id, data, self.read)
        state._store = self
        return state

    def list(self) -> "list[State]":
        """All containers, sorted by id; what cannot be read is warned about and left out."""
        root = self.directory.descriptor()
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
                # One that cannot be read must not hide the others.
                log.warning(f"{self.root}/{id} is left out: {error}")
        return states

    def create(self, id: str) -> Lock:
        """Make the container's directory and take its lock. Exactly one of several callers wins.

        Errors: `container with given ID already exists`; the state directory cannot be made.
        """
        check_id(id)
        root = self.directory.make()
        while True:
            try:
                posix.mkdir(id, self.directory.mode(), dir_fd=root)
            except FileExistsError:
                self.check_entry(id)
                raise Error("container with given ID already exists") from None
            except OSError as error:
                raise from_os_error(f"create state directory {self.root}/{id}", error) from None
            lock = Lock(-1)
            try:
                lock.fd = posix.open(id, DIRECTORY, dir_fd=root)
                posix.fchmod(lock.fd, self.directory.mode())  # mkdir's mode is subject to the caller's umask
                flock(lock.fd, LOCK_EX)
                if posix.fstat(lock.fd).st_nlink:
                    return lock
            except FileNotFoundError:
                continue  # a `delete --force` was faster
            except BaseException as error:
                # Without a descriptor, or interrupted: the name must not stay taken. It is empty.
                lock.release()
                posix.rmdir(id, dir_fd=root)
                if isinstance(error, OSError):
                    raise _not_locked(f"lock state directory {self.root}/{id}", error) from None
                raise
            lock.release()

    def lock(self, id: str, timeout: float = BUSY_AFTER) -> Lock:
        """Take the lock of a container that exists, waiting for whoever holds it.

        Errors: NotFound; `timeout` seconds have passed. The state is to be loaded after this.
        """
        check_id(id)
        root = self.directory.descriptor()
        if root is None:
            raise NotFound(MISSING)
        until = time.monotonic() + timeout
        wait = 0.001
        while True:
            lock = self._try_lock(id)
            if lock is not None:
                return lock
            self._check_holder(id)
            if time.monotonic() >= until:
                raise Error(
                    f"container {id} is being changed by another process since {timeout:.0f} s",
                    hint=f"see who has {self.root}/{id} open: fuser, lsof",
                )
            time.sleep(wait)
            wait = min(2 * wait, 0.05)

    def locked(self, id: str) -> bool:
        """Whether someone else holds the container's lock."""
        fd = self._open(id)
        if fd < 0:
            return False
        try:
            # Shared, so that two who look are not taken for holders by each other.
            flock(fd, LOCK_SH | LOCK_NB)
        except OSError as error:
            if error.errno != EWOULDBLOCK:
                raise _not_locked(f"lock container {id}", error) from None
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
            "listener": state.listener,
            "poststart": state.poststart,
            "poststop": state.poststop,
            "cgroup": state.cgroup,
            "extra": state.extra,
        }
        self._write(state.id, "state.json", strict.dumps(document))
        state._store = self

    def remove(self, id: str) -> None:
        """Remove the container's directory and all in it. The caller holds the lock.

        state.json goes near the end, and the configuration, which it says is there, after it: a removal that is killed
        half-way can be done again.
        """
        check_id(id)
        root = self.directory.descriptor()
        if root is None:
            return
        try:
            fd = posix.open(id, DIRECTORY, dir_fd=root)
        except FileNotFoundError:
            return
        except OSError as error:
            raise from_os_error(f"remove state directory {self.root}/{id}", error) from None
        try:
            for name in _empty(fd, keep=("state.json", "config.json")):
                _remove_entry(fd, name)
            posix.rmdir(id, dir_fd=root)
        except OSError as error:
            raise from_os_error(f"remove state directory {self.root}/{id}", error) from None
        finally:
            posix.close(fd)

    def check_entry(self, id: str) -> None:
        """Raise Error where something that is no directory, or someone else's, has a container's name in the state
        directory."""
        root = self.directory.descriptor()
        if root is None:
            return
        try:
            mode = posix.stat(id, dir_fd=root, follow_symlinks=False).st_mode
        except FileNotFoundError:
            return
        from pyrunc.kernel.uapi import S_IFDIR, S_IFMT

        stranger = self._stranger(id) if self.directory.shared else None
        if stranger is not None:
            what = f"{self.root}/{id} belongs to uid {stranger}, not to {posix.geteuid()}"
        elif mode & S_IFMT == S_IFDIR:
            return
        else:
            what = f"{self.root}/{id} is no directory, so no container of pyrunc's"
        raise Error(what, hint="move it away: the name is free then")

    def path(self, id: str, name: str = "") -> str:
        """The path of a container's directory, or of a file in it."""
        return f"{self.root}/{id}/{name}" if name else f"{self.root}/{id}"

    def read(self, id: str, name: str) -> "bytes | None":
        """A file of the container's directory, whole; None where there is none. Errors: Damaged: it is no file."""
        directory, file = self.directory.descriptor(), f"{id}/{name}"
        shared = self.directory.shared
        if shared:
            directory, file = self._open(id), name
            if directory < 0:
                return None
        try:
            return read_whole(file, directory)
        except OSError as error:
            if error.errno == ENOTDIR:
                return None  # something that is no directory has the container's name
            if error.errno in (EISDIR, ELOOP):
                what = "a directory" if error.errno == EISDIR else "a symbolic link"
                raise Damaged(id, f"cannot read {name} of container {id}: it is {what}") from None
            cause = strerror(error.errno or 0)
            raise Error(f"cannot read {name} of container {id}: {cause}", errno=error.errno or 0) from None
        finally:
            if shared and directory is not None:
                posix.close(directory)

    def _open(self, id: str) -> int:
        """A descriptor of the container's directory; -1 where there is none, or where it is another user's. Only what
        was opened can be asked whose it is: others may put an entry into a shared state directory at any moment."""
        fd = _open_directory(self.directory.descriptor(), id)
        if fd >= 0 and self.directory.shared and posix.fstat(fd).st_uid != posix.geteuid():
            posix.close(fd)
            return -1
        return fd

    def _stranger(self, id: str) -> "int | None":
        """Whose the entry of a shared state directory is, where it is not ours; None where it is, or there is none."""
        try:
            uid = posix.stat(id, dir_fd=self.directory.descriptor(), follow_symlinks=False).st_uid
        except FileNotFoundError:
            return None
        return None if uid == posix.geteuid() else uid

    def _try_lock(self, id: str) -> "Lock | None":
        """The container's lock, or None while someone else has it. Errors: NotFound."""
        lock = Lock(self._open(id))
        if lock.fd < 0:
            raise NotFound(MISSING)
        try:
            flock(lock.fd, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            lock.release()
            return None
        except OSError as error:
            lock.release()
            raise _not_locked(f"lock container {id}", error) from None
        # Who waited for a `delete` now holds the lock of a directory that is no more.
        if posix.fstat(lock.fd).st_nlink == 0:
            lock.release()
            return None
        return lock

    def _check_holder(self, id: str) -> None:
        """Raise Error where who holds the lock waits for this process: a hook that calls us for its own container.

        While it is being created, the container does not exist yet, as with runc.
        """
        from pyrunc.state.lock_holder import waits_for_us

        fd = self._open(id)
        if fd < 0:
            return
        try:
            holder = waits_for_us(fd)
        finally:
            posix.close(fd)
        if not holder:
            return
        if self.load(id).status_hint == "creating":
            raise NotFound(f"{MISSING}: process {holder}, which runs this hook, is still creating it")
        raise Error(f"container {id} is being changed by process {holder}, which runs this hook and waits for its end")

    def _write(self, id: str, name: str, text: str) -> None:
        """Replace a file of the container's directory at once."""
        new = f"{id}/{name}.new"
        flags = posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC | posix.O_CLOEXEC | posix.O_NOFOLLOW
        root = self.directory.make()
        try:
            fd = posix.open(new, flags, 0o600, dir_fd=root)
            try:
                rest = memoryview(text.encode())
                while rest:
                    rest = rest[posix.write(fd, rest) :]
            finally:
                posix.close(fd)
            posix.rename(new, f"{id}/{name}", src_dir_fd=root, dst_dir_fd=root)
        except BaseException as error:
            from pyrunc.kernel.files import remove_quietly

            remove_quietly(new, root)
            if isinstance(error, OSError):
                raise from_os_error(f"write {self.root}/{id}/{name}", error) from None
            raise


# -- helpers -----------------------------------------------------------------------------------


def _not_locked(doing: str, error: OSError) -> Error:
    """The Error for a lock that flock(2) refuses, or for a directory that could not be opened for it."""
    from pyrunc.kernel import refused

    hint = "" if error.filename else refused.hint("flock", error.errno or 0)
    return from_os_error(doing, error, hint=hint)


def _open_directory(root: "int | None", name: str) -> int:
    """A descriptor of a directory in the state directory; -1 where there is none of the name."""
    try:
        return posix.open(name, DIRECTORY, dir_fd=root)
    except OSError as error:
        if error.errno in _NO_DIRECTORY:
            return -1
        raise from_os_error(f"open the directory of container {name}:", error) from None


def _empty(directory: int, keep: "tuple[str, ...]" = ()) -> "list[str]":
    """Remove what is in a directory, except `keep`; symbolic links are not followed. Those of `keep` that are there, in
    their order."""
    there = posix.listdir(directory)
    for name in there:
        if name not in keep:
            _remove_entry(directory, name)
    return [name for name in keep if name in there]


def _remove_entry(directory: int, name: str) -> None:
    try:
        posix.unlink(name, dir_fd=directory)
    except IsADirectoryError:
        fd = posix.open(name, DIRECTORY, dir_fd=directory)
        try:
            _empty(fd)
        finally:
            posix.close(fd)
        posix.rmdir(name, dir_fd=directory)
    except FileNotFoundError:
        pass
