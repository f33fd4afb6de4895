"""Mounts of a container that runs (`mounts add`, `mounts remove`; crun(1)): the same steps as at its creation.

The agent belongs to the host. What is opened there, and what is made, stays detached until it is moved onto its mount
point: for that move, and for what follows it, the kernel wants the mount point to be in the namespace of the one who
moves, so the agent joins the container's and leaves it again. Paths of the container are walked from a descriptor of
its root, as always; a process of the container's can rename what lies on the way, but lead it nowhere.
"""

from errno import EINVAL

from pyrunc.errors import ConfigError
from pyrunc.kernel.uapi import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    CLONE_NEWNS,
    MNT_DETACH,
    O_CLOEXEC,
    O_DIRECTORY,
    O_NOFOLLOW,
    O_PATH,
    STATX_SIZE_OF,
    STATX_TYPE,
)
from pyrunc.machine.ops import At, Fd, Program, Space, Step
from pyrunc.plan.filesystem import mount_entry
from pyrunc.plan.filesystem.inroot import clean, open_in_root
from pyrunc.plan.filesystem.mounts import PROC_FILES, compile_mount
from pyrunc.plan.sysctl import private_proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.config.types import Mount

# struct statx: stx_attributes, and the bit that says that it is the root of a mount (statx(2)).
_ATTRIBUTES_AT, _MOUNT_ROOT = 8, 0x2000
_KINDS = ("bind", "tmpfs")


class RunningMounts:
    """Steps that change the mounts of one container.

    p: the program. init: pidfd of the container's first process. spare: a number that no descriptor of the agent has.
    """

    def __init__(self, init: Fd, spare: int) -> None:
        self.p = p = Program()
        self.init = init
        self.spare = spare
        self.root, self.hosts, self.top = p.reg("root"), p.reg("host's mounts"), p.reg("host's root")
        flags = O_PATH | O_DIRECTORY | O_CLOEXEC
        p.about("error entering the container's mount namespace")
        p.call("openat", AT_FDCWD, b"/", flags, 0, dst=self.top)
        p.call("openat", AT_FDCWD, b"/proc/self/ns/mnt", O_CLOEXEC, 0, dst=self.hosts)
        self._join()
        p.call("openat", AT_FDCWD, b"/", flags, 0, dst=self.root)
        self._leave()

    def _join(self) -> None:
        self.p.call("setns", self.init, CLONE_NEWNS)

    def _leave(self) -> None:
        """Back to the host, with the root that the agent had: setns(2) gives the root of the namespace."""
        self.p.call("setns", self.hosts, CLONE_NEWNS)
        self.p.call("fchdir", self.top)
        self.p.call("chroot", b".")

    def add(self, index: int, mount: "Mount", bundle: str, rootfs: str, *, userns: bool) -> None:
        """Mount one entry of a mounts array, and tell so (a sync with the index). Raises ConfigError."""
        check_addable(index, mount, userns=userns)
        p = self.p
        context = mount_entry.Context(self.root, bundle, rootfs)
        context.userns = userns
        one = Program(p.registers)
        compile_mount(one, index, mount, context)
        mount_entry.read_only_late(one, context)
        inside = False
        for item in one.items:
            if type(item) is Step and item.name == "move_mount" and not inside:
                p.about(item.why, item.at)
                self._join()
                inside = True
            p.items.append(item)
        self._leave()
        p.sync(index)

    def remove(self, index: int, mount: "Mount") -> None:
        """Take the topmost mount at an entry's destination away, as soon as nobody uses it. Raises ConfigError."""
        destination = mount["destination"]
        target = clean(destination)
        pointer = f"/mounts/{index}"
        if not target or ((target == "proc" or target.startswith("proc/")) and target not in PROC_FILES):
            raise ConfigError(
                f'the mount at "{destination}" cannot be taken away ({pointer[1:]}/destination)',
                pointer=pointer + "/destination",
            )
        p = self.p
        p.about(f'error unmounting "{destination}"', pointer)
        place, proc, stat = p.reg("mount"), p.reg("proc"), Space(STATX_SIZE_OF, "statx")
        open_in_root(p, self.root, target, place, O_PATH | O_NOFOLLOW)
        p.call("statx", place, b"", AT_EMPTY_PATH, STATX_TYPE, stat)
        p.check(At(stat, _ATTRIBUTES_AT), 8, _MOUNT_ROOT, _MOUNT_ROOT, EINVAL, key="no mount")
        # umount2(2) takes paths alone: this one begins at a procfs of our own and goes by the descriptor.
        why, at = p._why, p._at
        private_proc(p, proc)
        p.about(why, at)
        p.call("dup3", place, self.spare, O_CLOEXEC)
        self._join()
        p.call("fchdir", proc)
        p.call("umount2", f"self/fd/{self.spare}".encode(), MNT_DETACH)
        self._leave()
        p.call("close", self.spare)
        p.close(place)
        p.close(proc)


def check_addable(index: int, mount: "Mount", *, userns: bool) -> None:
    """Raise ConfigError for what can be mounted at creation only."""
    options = mount.get("options", [])
    kind = "bind" if {"bind", "rbind"} & set(options) else mount.get("type", "")
    pointer = f"/mounts/{index}"
    if kind not in _KINDS or "remount" in options:
        raise ConfigError(
            f"a running container can be given bind mounts and tmpfs, not {kind or 'nothing'} ({pointer[1:]}/type)",
            pointer=pointer + "/type",
        )
    if kind == "tmpfs" and userns:
        raise ConfigError(
            f"a tmpfs of the host's would not belong to the container's user namespace ({pointer[1:]}/type)",
            pointer=pointer + "/type",
        )
    idmap = any(option.partition("=")[0] in ("idmap", "ridmap") for option in options)
    if idmap or "tmpcopyup" in options or mount.get("uidMappings") or mount.get("gidMappings"):
        raise ConfigError(
            f"a mount with maps of ids, or with tmpcopyup, can be made at creation only ({pointer[1:]}/options)",
            pointer=pointer + "/options",
        )
