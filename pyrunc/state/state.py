"""What is known of a container, as state.json keeps it, and what follows from it: status, what hooks and users read.

Import cost: posix, time.
"""

import posix
import time
from errno import ENOENT, ESRCH

from pyrunc.config import strict
from pyrunc.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyrunc.state.store import Store

FORMAT = 2  # of state.json; see formats.py


class State:
    """What is known of a container.

    pid and pid_start: the init process and its start time (field 22 of /proc/PID/stat, in clock
    ticks), 0 while there is none. created: RFC 3339, in UTC. status_hint: "creating", "created" or
    "started", as far as the life cycle has come. cgroup: Manager.to_state(), {} without one.
    owner: uid of who created it. extra: whatever else the life cycle has to remember, as JSON.
    private_pid, listener, poststart and poststop: whether the configuration makes a pid namespace, names a
    seccomp listener, and has such hooks; they follow from the configuration, and are here so that start, kill and
    delete need not read it.
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
        "listener",
        "oci_version",
        "owner",
        "pid",
        "pid_start",
        "poststart",
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
        self.listener = False
        self.poststart = False
        self.poststop = False
        self._follow()

    def _follow(self) -> None:
        """Take from the configuration what is kept beside it."""
        if self._config is None:
            return
        spaces = self._config.get("linux", {}).get("namespaces", ())
        self.private_pid = any(it["type"] == "pid" and not it.get("path") for it in spaces)
        hooks = self._config.get("hooks", {})
        self.poststart = bool(hooks.get("poststart"))
        self.poststop = bool(hooks.get("poststop"))
        seccomp = self._config.get("linux", {}).get("seccomp", {})
        self.listener = bool(seccomp.get("listenerPath"))

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
                raise Damaged(self.id, f"container {self.id} was never completely created")
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
        freezer = self.cgroup.get("freezer")  # v1's, which is the one that pause uses where there are both
        data = read_whole(f"{freezer}/freezer.self_freezing" if freezer else f"{path}/cgroup.freeze", None)
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
        """The state that hooks read (see setup/host_hooks.py), with `status` as given."""
        return {
            "ociVersion": self.oci_version,
            "id": self.id,
            "status": status,
            "pid": 0 if status == "stopped" else self.pid,
            "bundle": self.bundle,
            "annotations": self.annotations,
        }


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
    data = read_whole(f"/proc/{pid}/stat", None)
    if not data:
        return 0
    # The second field is the command's name in parentheses, with any character in it.
    fields = data[data.rindex(b")") + 2 :].split()
    if fields[0] in (b"Z", b"X", b"x") and not zombie:
        return 0
    return int(fields[19])


_MEMBERS = {
    "bundle": str,
    "rootfs": str,
    "ociVersion": str,
    "annotations": dict,
    "created": str,
    "owner": int,
    "status": str,
    "pid": int,
    "pidStart": int,
    "cgroup": dict,
    "extra": dict,
    "privatePid": bool,
    "listener": bool,
    "poststart": bool,
    "poststop": bool,
}
_CGROUP = {"driver": str, "path": str, "mount": str, "mode": str, "rootless": bool}


class Damaged(Error):
    """What is kept of a container cannot be relied on: `delete --force` removes the container all the same."""

    def __init__(self, id: str, message: str) -> None:
        super().__init__(message, hint=f'"pyrunc delete --force {id}" removes what can be found of it')


def _of_another_format(id: str, document: object, read: "Callable[[str, str], bytes | None]") -> "dict[str, Any]":
    """A state.json that another version of pyrunc wrote, as this one writes it. Errors: Damaged."""
    from pyrunc.state import formats

    if isinstance(document, dict) and type(document.get("format")) is int:
        number = document["format"]
        if number > FORMAT:
            text = f"it has format {number}, which a newer one wrote"
            raise Damaged(id, f"state.json of container {id} is not one that this pyrunc can read: {text}")
        try:
            config = formats.configuration(id, read(id, "config.json"))
        except Error as error:
            raise Damaged(id, error.message) from None
        now_so = formats.migrated(document, FORMAT, config)
        if now_so is not None:
            return now_so
    raise Damaged(id, f"state.json of container {id} is not one that this pyrunc can read")


def parse(id: str, data: bytes, read: "Callable[[str, str], bytes | None]") -> State:
    """The State that a state.json says. Errors: Damaged: it is no document of ours, or not whole.

    read: Store.read, for what a state.json of an earlier format does not say.
    """
    try:
        document = strict.loads(data, f"state.json of container {id}")
    except Error as error:
        raise Damaged(id, error.message) from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        document = _of_another_format(id, document, read)
    for name, kind in _MEMBERS.items():
        if type(document.get(name)) is not kind:
            raise Damaged(id, f"state.json of container {id} is damaged: no valid {name}")
    cgroup = document["cgroup"]
    if cgroup and any(type(cgroup.get(name)) is not kind for name, kind in _CGROUP.items()):
        raise Damaged(id, f"state.json of container {id} is damaged: no valid cgroup")
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
    state.listener = document["listener"]
    state.poststart = document["poststart"]
    state.poststop = document["poststop"]
    return state


def read_whole(path: str, dir_fd: "int | None") -> "bytes | None":
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
    except ProcessLookupError:
        return None  # a file of a process that has ended between open and read
    finally:
        posix.close(fd)
