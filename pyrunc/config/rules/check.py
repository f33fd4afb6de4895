"""What a configuration has to say beyond its schema: the parts have to fit each other.

Import cost: posix and pyrunc's own modules.
"""

import posix

from pyrunc.config.rules.check_linux import check_linux, check_mappings, collect_namespaces, is_mapped
from pyrunc.config.rules.check_process import check_process
from pyrunc.config.rules.names import ENGINE_OPTIONS, MOUNT_OPTIONS
from pyrunc.config.rules.refusal import refuse
from pyrunc.config.schema import _validator
from pyrunc.errors import strerror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.config.types import Config, Hook, Hooks, Linux, Mount

KINDS_OF_HOOKS = (
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
)
LONGEST_HOSTNAME = 64  # __NEW_UTS_LEN

_S_IFMT, _S_IFDIR, _S_IFLNK = 0o170000, 0o040000, 0o120000


def check(config: "Config", bundle_abs_path: str, *, euid: int, rootfs: bool = True) -> "list[str]":
    """Check a configuration that is valid by the schema; return warnings for the log.

    bundle_abs_path: what root.path counts from. euid: pyrunc's effective user id; without
    privileges more has to be true. Of the file system only the root directory is looked at, with `rootfs`,
    and the network namespace that a sysctl would change.
    Raises ConfigError with the pointer of what is wrong.
    """
    warnings = _check_spelling(config)
    if "root" not in config:
        refuse("root must be specified", "/root")
    if rootfs:
        _check_root(config, bundle_abs_path)
    if not config.get("process"):
        refuse("process property must not be empty", "/process")
    linux = config.get("linux", {})
    namespaces = collect_namespaces(linux)
    _check_host_name("hostname", config.get("hostname", ""), namespaces)
    _check_host_name("domainname", config.get("domainname", ""), namespaces)
    if euid and "user" not in namespaces:
        refuse("rootless container requires user namespaces", "/linux/namespaces")
    warnings += check_linux(linux, namespaces, euid=euid)
    warnings += check_process(config["process"], "/process")
    _check_user(config, namespaces)
    for index, mount in enumerate(config.get("mounts", ())):
        warnings += _check_mount(mount, f"/mounts/{index}", linux, namespaces, euid)
    if "hooks" in config:
        _check_hooks(config["hooks"])
    return warnings


def _check_spelling(config: "Config") -> "list[str]":
    """Warnings for members that nothing reads, and whose names are nearly those of others: in another letter case,
    as Go's runtimes accept them, or misspelt, as every runtime drops them in silence."""
    warnings = []
    sections: tuple[tuple[str, object], ...] = (
        ("", config),
        ("process", config.get("process")),
        ("linux", config.get("linux")),
    )
    for section, value in sections:
        spellings = _validator.MEMBERS[section]
        for name in value if isinstance(value, dict) else ():
            spelling = spellings.get(name.lower())
            if spelling != name:
                where = f"{section}/{name}" if section else name
                warnings += _misspelt(where, name, spelling, spellings)
    return warnings


def _misspelt(where: str, name: str, spelling: "str | None", spellings: "dict[str, str]") -> "list[str]":
    if spelling:
        return [f'{where} is ignored: the name of this property is "{spelling}"']
    from pyrunc.didyoumean import nearest

    meant = nearest(name, spellings.values())
    return [f'{where} is ignored: did you mean "{meant}"?'] if meant else []


def _check_root(config: "Config", bundle: str) -> None:
    """config.md, "Root": a directory, and itself no symbolic link, which could be turned."""
    path = config["root"]["path"]
    if path[0] != "/":
        path = f"{bundle}/{path}"
    path = path.rstrip("/") or "/"
    try:
        kind = posix.lstat(path).st_mode & _S_IFMT
    except OSError as error:
        refuse(f"invalid rootfs: stat {path}: {strerror(error.errno or 0)}", "/root/path")
    if kind == _S_IFLNK:
        refuse(f"invalid rootfs: {path}: not an absolute path, or a symlink", "/root/path")
    if kind != _S_IFDIR:
        refuse(f"invalid rootfs: {path}: not a directory", "/root/path")


def _check_host_name(kind: str, name: str, namespaces: "dict[str, str]") -> None:
    if not name:
        return
    if "uts" not in namespaces:
        refuse(f"unable to set {kind} without a private UTS namespace", "/" + kind)
    if len(name.encode()) > LONGEST_HOSTNAME:
        refuse(f"the {kind} is longer than {LONGEST_HOSTNAME} bytes", "/" + kind)


def _check_user(config: "Config", namespaces: "dict[str, str]") -> None:
    """In a new user namespace the process's ids have to be mapped; setuid(2) knows no others."""
    if namespaces.get("user") != "":
        return
    user = config["process"].get("user", {})
    uids = config["linux"].get("uidMappings", ())
    gids = config["linux"].get("gidMappings", ())
    text = "user namespaces enabled, but no mapping found for"
    if not is_mapped(user.get("uid", 0), uids):
        refuse(f"{text} uid {user.get('uid', 0)}", "/process/user/uid")
    if not is_mapped(user.get("gid", 0), gids):
        refuse(f"{text} gid {user.get('gid', 0)}", "/process/user/gid")
    for index, group in enumerate(user.get("additionalGids", ())):
        if not is_mapped(group, gids):
            refuse(f"{text} gid {group}", f"/process/user/additionalGids/{index}")


def _check_mount(mount: "Mount", pointer: str, linux: "Linux", namespaces: "dict[str, str]", euid: int) -> "list[str]":
    options = mount.get("options", [])
    kind = mount.get("type", "")
    bind = "bind" in options or "rbind" in options or kind == "bind"
    remount = "remount" in options
    data = [option for option in options if option not in MOUNT_OPTIONS]
    warnings: list[str] = []
    if bind:
        warnings += _check_bind_data(data, options, pointer)
        if not mount.get("source") and not remount:
            refuse("a bind mount needs a source", pointer + "/source")
    elif not kind and not remount:
        refuse("a mount that is no bind mount needs a type", pointer + "/type")
    if "uidMappings" in mount or "gidMappings" in mount or "idmap" in options or "ridmap" in options:
        _check_id_mapped(mount, pointer, bind, namespaces, euid)
    if euid and namespaces.get("user") == "":
        _check_owner(data, options, pointer, linux)
    if mount["destination"][0] != "/":
        warnings.append(
            f"mount destination {mount['destination']} is not absolute, which is deprecated:"
            f" it counts from / ({pointer[1:]}/destination)"
        )
    return warnings


def _check_bind_data(data: "list[str]", options: "list[str]", pointer: str) -> "list[str]":
    """A bind mount has no data of its own (mount(2)): its file system is mounted already, with its own.

    A warning for what can be nothing else, `size=1k`; a single word may be a flag that was meant and misspelt, and
    is an error. Words of the engines' own (`-v A:B:z,U`; no option at all becomes an empty one) are neither.
    """
    data = [option for option in data if option not in ENGINE_OPTIONS]
    text = "bind mounts cannot have any filesystem-specific options applied"
    for option in data:
        if "=" not in option:
            refuse(f"{text}: {','.join(data)}", f"{pointer}/options/{options.index(option)}")
    if not data:
        return []
    where = f"{pointer[1:]}/options/{options.index(data[0])}"
    return [f"{','.join(data)} is ignored: {text} ({where})"]


def _check_id_mapped(mount: "Mount", pointer: str, bind: bool, namespaces: "dict[str, str]", euid: int) -> None:
    """config.md, "Linux mount options": idmap; mount_setattr(2), "ID-mapped mounts"."""
    uids, gids = mount.get("uidMappings", []), mount.get("gidMappings", [])
    if not uids and not gids:
        if "user" not in namespaces:
            refuse(
                "an id-mapped mount needs uidMappings and gidMappings, or a user namespace",
                pointer,
            )
    elif not uids or not gids:
        missing = "gidMappings" if uids else "uidMappings"
        refuse("uidMappings and gidMappings go together", f"{pointer}/{missing}")
    check_mappings(uids, pointer + "/uidMappings")
    check_mappings(gids, pointer + "/gidMappings")
    if bind and euid:
        refuse(
            "an id-mapped mount of the host's files needs CAP_SYS_ADMIN in the user namespace"
            " of their file system, and pyrunc does not run as root",
            pointer,
        )


def _check_owner(data: "list[str]", options: "list[str]", pointer: str, linux: "Linux") -> None:
    """Without privileges an owner that is not mapped is the usual fault of a configuration that
    was made for root: devpts with gid=5."""
    for option in data:
        name, _, value = option.partition("=")
        if name not in ("uid", "gid") or not value.isdecimal():
            continue
        mappings = linux.get("uidMappings", []) if name == "uid" else linux.get("gidMappings", [])
        if not is_mapped(int(value), mappings):
            refuse(
                f"cannot specify {name}= mount options for unmapped {name} in rootless containers: {option}",
                f"{pointer}/options/{options.index(option)}",
            )


def _check_hooks(hooks: "Hooks") -> None:
    """config.md, "POSIX-platform Hooks": the path is absolute; the schema has the timeout."""
    entries: list[Hook]
    for kind, entries in hooks.items():  # type: ignore[assignment]
        if kind not in KINDS_OF_HOOKS:
            continue
        for index, hook in enumerate(entries):
            if hook["path"][0] != "/":
                refuse(
                    f'the path of a hook must be absolute, not "{hook["path"]}"',
                    f"/hooks/{kind}/{index}/path",
                )
