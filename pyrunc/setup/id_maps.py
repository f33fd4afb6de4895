"""Id maps of a new user namespace (user_namespaces(7)): written directly, or by newuidmap(1) and newgidmap(1)."""

import posix
from errno import EPERM

from pyrunc.errors import SETUP, Error, strerror
from pyrunc.kernel.files import write_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyrunc.config.types import IDMapping

_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


def write_maps(pid: int, uids: "Sequence[IDMapping]", gids: "Sequence[IDMapping]", groups: bool) -> bool:
    """Map the ids of the namespace that process `pid` is in.

    groups: whether the process wants supplementary groups. Returns whether setgroups(2) had to be denied, as
    the kernel asks
    of who maps gids without privileges. Raises Error.
    """
    privileged = posix.geteuid() == 0
    _write(pid, "uid_map", uids, "newuidmap", privileged, "/linux/uidMappings")
    denied = False
    own = len(gids) == 1 and gids[0]["size"] == 1 and gids[0]["hostID"] == posix.getegid()
    if own and not privileged and not groups:
        write_file(f"/proc/{pid}/setgroups", b"deny")
        denied = True
    _write(pid, "gid_map", gids, "newgidmap", privileged or denied, "/linux/gidMappings")
    return denied


def _write(
    pid: int,
    name: str,
    maps: "Sequence[IDMapping]",
    helper: str,
    privileged: bool,
    pointer: str,
) -> None:
    lines = [f"{entry['containerID']} {entry['hostID']} {entry['size']}" for entry in maps]
    own = posix.geteuid() if name == "uid_map" else posix.getegid()
    single = len(maps) == 1 and maps[0]["size"] == 1 and maps[0]["hostID"] == own
    if privileged or (single and name == "uid_map"):
        try:
            # One write: the kernel takes a map once and whole.
            write_file(f"/proc/{pid}/{name}", "\n".join(lines).encode())
            return
        except OSError as error:
            raise Error(
                f"{SETUP}error writing {name} ({pointer[1:]}): {strerror(error.errno or 0)}",
                pointer=pointer,
                errno=error.errno or 0,
                hint="the ids must be mapped in pyrunc's own user namespace" if error.errno == EPERM else "",
            ) from None
    _run_helper(helper, [helper, str(pid), *" ".join(lines).split()], pointer)


def _run_helper(name: str, argv: "list[str]", pointer: str) -> None:
    """Run newuidmap or newgidmap, which may map what /etc/subuid and /etc/subgid give the user."""
    path = find_program(name)
    if path is None:
        raise Error(
            f"{SETUP}{name} is not installed ({pointer[1:]})",
            pointer=pointer,
            hint="install the package uidmap",
        )
    read, write = posix.pipe()
    pid = posix.posix_spawn(
        path,
        argv,
        posix.environ,
        file_actions=[(posix.POSIX_SPAWN_DUP2, write, 1), (posix.POSIX_SPAWN_DUP2, write, 2)],
    )
    posix.close(write)
    output = b""
    while part := posix.read(read, 4096):
        output += part
    posix.close(read)
    _, status = posix.waitpid(pid, 0)
    if status:
        text = output.decode(errors="replace").strip()
        raise Error(
            f"{SETUP}{name} failed ({pointer[1:]}): {text}",
            pointer=pointer,
            hint="see /etc/subuid and /etc/subgid for the ids that this user may map",
        )


def find_program(name: str) -> "str | None":
    """The absolute path of a program on the host, by $PATH or in the usual places."""
    path = posix.environ.get(b"PATH", b"").decode(errors="surrogateescape")
    for directory in (*[d for d in path.split(":") if d.startswith("/")], *_PATH):
        candidate = f"{directory}/{name}"
        if posix.access(candidate, posix.X_OK):
            return candidate
    return None
