"""Cases about the root file system: mounts, tmpfs, masked paths, devices, propagation."""

import os
from typing import Any

from differential.diff_base import Config
from differential.diff_run import Bundle, Case, add_case

CASES: list[Case] = []


def mount(name: str, *mounts: dict[str, Any], mode: str = "probe", script: str = "") -> None:
    """A case that adds mounts. A source "scratch:NAME" becomes a folder outside the root with a
    file in it, "file:NAME" a file."""

    def edit(config: Config, bundle: Bundle) -> None:
        for entry in mounts:
            entry = dict(entry)
            kind, colon, rest = str(entry.get("source", "")).partition(":")
            if colon and kind == "scratch":
                where = bundle.scratch(rest)
                (where / "inside").write_text("inside\n")
                entry["source"] = str(where)
            elif colon and kind == "file":
                file = bundle.scratch(rest) / "file"
                file.write_text("content\n")
                entry["source"] = str(file)
            config["mounts"].append(entry)

    CASES.append(Case(name, edit, mode, script))


def bind(name: str, *options: str, dest: str = "/mnt", source: str = "scratch:a", **more: Any) -> None:
    """A case with one bind mount."""
    mount(
        name,
        {"destination": dest, "type": "bind", "source": source, "options": list(options)},
        **more,
    )


def tmpfs(name: str, *options: str, dest: str = "/mnt", **more: Any) -> None:
    """A case with one tmpfs."""
    mount(
        name,
        {"destination": dest, "type": "tmpfs", "source": "tmpfs", "options": list(options)},
        **more,
    )


bind("bind", "bind")
bind("bind-rbind", "rbind")
bind("bind-ro", "bind", "ro")
bind("bind-rbind-ro", "rbind", "ro")
bind("bind-rw", "bind", "rw")
bind("bind-type-absent-options", "rbind", "rw", "rprivate")
for _one in (
    "nosuid",
    "nodev",
    "noexec",
    "noatime",
    "nodiratime",
    "relatime",
    "strictatime",
    "nosymfollow",
    "rro",
    "rnosuid",
    "rnoexec",
    "rnodev",
    "rnoatime",
    "rstrictatime",
):
    bind(f"bind-{_one}", "rbind", _one)
for _one in ("private", "slave", "shared", "unbindable", "rprivate", "rslave", "rshared"):
    bind(f"bind-propagation-{_one}", "rbind", _one)
bind("bind-many", "rbind", "ro", "nosuid", "nodev", "noexec", "relatime", "rslave")
bind("bind-contradiction", "bind", "ro", "rw", "noexec", "exec")
bind("bind-file", "bind", "ro", source="file:f", dest="/etc/plain")
bind("bind-file-new", "bind", source="file:f", dest="/new/folder/file")
bind("bind-folder-new", "bind", dest="/new/folder/here")
bind("bind-relative-destination", "bind", dest="mnt")
bind("bind-dots", "bind", dest="/mnt/../data/./")
bind("bind-over-passwd", "bind", source="file:f", dest="/etc/passwd")
bind("bind-below-tmp", "bind", dest="/tmp/deep/er")
bind("bind-content", "bind", mode="script", script="cat /mnt/inside; touch /mnt/new && echo made")
bind(
    "bind-ro-content",
    "bind",
    "ro",
    mode="script",
    script="cat /mnt/inside; touch /mnt/new; echo $?",
)
mount(
    "bind-type-none",
    {"destination": "/mnt", "type": "none", "source": "scratch:a", "options": ["rbind", "ro"]},
)
mount("bind-type-missing", {"destination": "/mnt", "source": "scratch:a", "options": ["rbind"]})
mount(
    "bind-dev-null",
    {"destination": "/etc/plain", "type": "bind", "source": "/dev/null", "options": ["bind"]},
)
mount(
    "bind-order",
    {"destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]},
    {"destination": "/mnt/a", "type": "bind", "source": "scratch:a", "options": ["rbind"]},
    {"destination": "/mnt/a/inside", "type": "bind", "source": "file:b", "options": ["bind"]},
    {"destination": "/mnt", "type": "tmpfs", "source": "over", "options": ["size=4k"]},
)

tmpfs("tmpfs")
tmpfs("tmpfs-size", "size=1m", "mode=700", "nr_inodes=100")
tmpfs("tmpfs-size-k", "size=65536k", "mode=1777")
tmpfs("tmpfs-owner", "uid=1000", "gid=50", "mode=750")
tmpfs("tmpfs-flags", "nosuid", "nodev", "noexec", "noatime", "size=8k")
tmpfs("tmpfs-ro", "ro", "size=8k")
tmpfs("tmpfs-new-folder", "size=8k", dest="/not/yet/there")
tmpfs("tmpfs-on-tmp", dest="/tmp")
tmpfs("tmpfs-on-home", "nosuid", dest="/home/alice")
tmpfs("tmpfs-defaults", "defaults")
tmpfs("tmpfs-dirsync", "sync", "dirsync", "mand")
tmpfs(
    "tmpfs-copyup",
    "tmpcopyup",
    "mode=755",
    dest="/etc",
    mode="script",
    script="find /etc -exec stat -c '%n %F %a %u:%g' {} + | sort; cat /etc/plain;"
    "grep ' /etc ' /proc/mounts; echo x >> /etc/plain && echo writable",
)
tmpfs(
    "tmpfs-copyup-owners",
    "tmpcopyup",
    dest="/home",
    mode="script",
    script="find /home -exec stat -c '%n %F %a %u:%g' {} + | sort; grep ' /home ' /proc/mounts",
)
tmpfs("tmpfs-modes", dest="/tmp", mode="script", script="stat -c '%a %u:%g' /tmp /mnt /home/alice")
mount(
    "sysfs-rw",
    {
        "destination": "/mnt",
        "type": "sysfs",
        "source": "sysfs",
        "options": ["nosuid", "noexec", "nodev"],
    },
)
mount(
    "proc-second",
    {"destination": "/mnt", "type": "proc", "source": "proc", "options": ["ro", "hidepid=2"]},
)
mount("mqueue-second", {"destination": "/mnt", "type": "mqueue", "source": "mqueue"})
mount(
    "devpts-second",
    {
        "destination": "/mnt",
        "type": "devpts",
        "source": "devpts",
        "options": ["newinstance", "mode=0600"],
    },
)
mount("ramfs", {"destination": "/mnt", "type": "ramfs", "source": "ramfs", "options": ["mode=711"]})
mount("destination-through-link", {"destination": "/link/below", "type": "tmpfs", "source": "t"})
mount("unknown-type", {"destination": "/mnt", "type": "nosuchfs", "source": "x"}, mode="error")
mount(
    "unknown-option",
    {"destination": "/mnt", "type": "tmpfs", "source": "x", "options": ["no_such_option=1"]},
    mode="error",
)
mount(
    "missing-source",
    {"destination": "/mnt", "type": "bind", "source": "/no/such/source", "options": ["bind"]},
    mode="error",
)
mount(
    "folder-on-file",
    {"destination": "/etc/plain", "type": "bind", "source": "scratch:a", "options": ["bind"]},
    mode="error",
)
mount(
    "file-on-folder",
    {"destination": "/mnt", "type": "bind", "source": "file:f", "options": ["bind"]},
    mode="error",
)
mount(
    "mount-on-proc-folder",
    {"destination": "/proc/sys/net", "type": "tmpfs", "source": "t"},
    mode="error",
)
mount(
    "cgroup-ro",
    {
        "destination": "/sys/fs/cgroup",
        "type": "cgroup",
        "source": "cgroup",
        "options": ["nosuid", "noexec", "nodev", "relatime", "ro"],
    },
)
mount(
    "cgroup-rw",
    {
        "destination": "/sys/fs/cgroup",
        "type": "cgroup",
        "source": "cgroup",
        "options": ["nosuid", "noexec", "nodev", "rw"],
    },
)


def linux(name: str, mode: str = "probe", script: str = "", **members: Any) -> None:
    """A case that sets members of `linux`."""

    def edit(config: Config, bundle: Bundle) -> None:
        config["linux"].update(members)

    CASES.append(Case(name, edit, mode, script))


@add_case(CASES, "link-destination", "script", "cat /mnt/link/inside; stat -c '%F' /mnt/link /mnt/target")
def link_destination(config: Config, bundle: Bundle) -> None:
    (bundle.rootfs / "mnt/target").mkdir()
    (bundle.rootfs / "mnt/link").symlink_to("/mnt/target")
    where = bundle.scratch("a")
    (where / "inside").write_text("inside\n")
    config["mounts"].append({"destination": "/mnt/link", "type": "bind", "source": str(where), "options": ["bind"]})


@add_case(CASES, "link-destination-outside", "script", "cat /mnt/out/up/inside")
def link_outside(config: Config, bundle: Bundle) -> None:
    (bundle.rootfs / "mnt/out").symlink_to("../../../../../../../data")
    where = bundle.scratch("a")
    (where / "inside").write_text("inside\n")
    config["mounts"].append({"destination": "/mnt/out/up", "type": "bind", "source": str(where), "options": ["bind"]})


@add_case(CASES, "bind-submounts")
def submounts(config: Config, bundle: Bundle) -> None:
    # /dev is a mount with others below it on every machine that runs this.
    config["mounts"].append({"destination": "/mnt", "type": "bind", "source": "/dev", "options": ["bind", "ro"]})


@add_case(CASES, "root-readonly")
def root_readonly(config: Config, bundle: Bundle) -> None:
    config["root"]["readonly"] = True


@add_case(CASES, "root-absolute")
def root_absolute(config: Config, bundle: Bundle) -> None:
    config["root"]["path"] = str(bundle.rootfs)


@add_case(CASES, "no-mounts", "args")
def no_mounts(config: Config, bundle: Bundle) -> None:
    config["mounts"] = []
    config["linux"].pop("maskedPaths")
    config["linux"].pop("readonlyPaths")
    config["process"]["args"] = ["/bin/sh", "-c", "stat -c '%n %F %a' /dev/*; ls /proc /sys; pwd"]


@add_case(
    CASES,
    "dev-bind",
    "script",
    "ls /dev | wc -l >/dev/null; stat -c '%F %a %t:%T' /dev/null; ls -d /dev/pts",
)
def dev_bind(config: Config, bundle: Bundle) -> None:
    config["mounts"] = [m for m in config["mounts"] if not m["destination"].startswith("/dev")] + [
        {"destination": "/dev", "type": "bind", "source": "/dev", "options": ["rbind", "rprivate"]}
    ]


@add_case(CASES, "dev-readonly")
def dev_readonly(config: Config, bundle: Bundle) -> None:
    next(m for m in config["mounts"] if m["destination"] == "/dev")["options"].append("ro")


for _kind in ("private", "slave", "shared", "unbindable", "rprivate", "rslave", "rshared", "runbindable"):
    linux(f"root-propagation-{_kind}", rootfsPropagation=_kind)
linux("root-propagation-bogus", "error", rootfsPropagation="bogus")

# --- masked and read-only paths --------------------------------------------------------------

linux("masked-none", maskedPaths=[], readonlyPaths=[])
linux(
    "masked-own",
    "script",
    "stat -c '%n %F %t:%T' /etc/plain; cat /etc/plain; ls -a /home; touch /home/x; echo $?;"
    "echo x > /etc/group; echo $?; touch /etc/new; echo $?; grep -E ' /(etc|home)' /proc/mounts",
    maskedPaths=["/etc/plain", "/home", "/not/there", "/etc/plain"],
    readonlyPaths=["/etc/group", "/etc", "/not/there/either"],
)
linux("readonly-root-path", readonlyPaths=["/tmp", "/bin"])

# --- devices ---------------------------------------------------------------------------------

FUSE = {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o666}
linux("device-fuse", devices=[{**FUSE, "uid": 0, "gid": 0}])
linux(
    "device-modes",
    devices=[
        {
            "path": "/dev/one",
            "type": "c",
            "major": 1,
            "minor": 7,
            "fileMode": 0o640,
            "uid": 1000,
            "gid": 50,
        },
        {"path": "/dev/two", "type": "u", "major": 1, "minor": 5},
        {"path": "/dev/disk", "type": "b", "major": 7, "minor": 99, "fileMode": 0o600},
        {"path": "/dev/queue", "type": "p", "fileMode": 0o622},
        {"path": "/dev/sub/folder/three", "type": "c", "major": 1, "minor": 3},
    ],
)
linux(
    "device-outside-dev",
    devices=[{"path": "/data/null", "type": "c", "major": 1, "minor": 3}],
    mode="script",
    script="stat -c '%F %a %t:%T' /data/null",
)
linux("device-redundant", devices=[{"path": "/dev/tty", "type": "c", "major": 5, "minor": 0}])
linux("device-null-again", devices=[{"path": "/dev/null", "type": "c", "major": 1, "minor": 3}])
linux("device-bad-type", "error", devices=[{"path": "/dev/x", "type": "z"}])
linux("device-relative", "error", devices=[{"path": "dev/x", "type": "c", "major": 1, "minor": 3}])
linux(
    "device-write",
    "script",
    "echo x > /dev/null && echo ok; head -c 3 /dev/zero | wc -c; head -c 3 /dev/urandom | wc -c;"
    "echo x > /dev/full; echo $?; ls -l /dev/stdin /dev/stdout /dev/fd | cut -d' ' -f1",
)


@add_case(CASES, "hard-root-modes", "script", "stat -c '%n %a %u:%g' / /proc /sys /dev /mnt /mnt/sub/x")
def root_modes(config: Config, bundle: Bundle) -> None:
    where = bundle.rootfs / "mnt/sub"
    where.mkdir()
    os.chmod(where, 0o2750)
    os.chown(where, 0, 50)
    config["mounts"].append({"destination": "/mnt/sub/x", "type": "tmpfs", "source": "tmpfs", "options": []})
