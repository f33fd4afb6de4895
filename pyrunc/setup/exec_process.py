"""The process object of `exec`: of the container's configuration, of --process, and of the flags.

With --process the file says everything that a process object can say; what it leaves out of limits,
capabilities, scheduling and labels is as for the container's own process. Without it the process is
like the container's own, but without a terminal. Flags win over both.

Import cost: that of config.check_process.
"""

from pyrunc.config.rules.check_process import check_process
from pyrunc.errors import Error
from pyrunc.log import log
from pyrunc.plan.process.accounts import HIGHEST_ID, find_group, find_user, groups_of, parse_user

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.config.types import Config, Process
    from pyrunc.setup.request import ExecRequest

_INHERITED = (
    "capabilities",
    "rlimits",
    "apparmorProfile",
    "selinuxLabel",
    "oomScoreAdj",
    "ioPriority",
    "scheduler",
    "execCPUAffinity",
)
# What --cap adds to. Never to inheritable: CVE-2022-29162.
_ADDED_TO = ("bounding", "effective", "permitted")


def read_process(path: str) -> "Process":
    """The process object in a file, which may be a pipe. Raises Error."""
    from pyrunc.config.load import load_process
    from pyrunc.config.strict import read_file
    from pyrunc.errors import from_os_error

    try:
        data = read_file(path, "process.json")
    except OSError as error:
        raise from_os_error("open", error) from None
    return load_process(data)


def exec_process(
    config: "Config", request: "ExecRequest", document: "Process | None"
) -> "tuple[Process, tuple[int | str, int | str | None] | None]":
    """The process to execute, and its user where --user has a name in it, to be looked up.

    document: what --process says, already valid by the schema. Raises Error.
    """
    own: Any = config.get("process", {})
    spec: Any
    if document is None:
        spec = {**own, "terminal": False, "args": request.args}
    else:
        spec = dict(document)
        for key in _INHERITED:
            if key in own and not spec.get(key):
                spec[key] = own[key]
        if request.args:
            spec["args"] = request.args
    spec["user"] = user = {**spec.get("user", {})}
    umask = own.get("user", {}).get("umask")
    if umask is not None:
        user.setdefault("umask", umask)
    _flags(spec, request)
    names = _user(user, request)
    warnings = check_process(spec, "/process" if document is None else "")
    if warnings and own:
        # What is so of the container's own process was said when it was created.
        known = check_process(own, "/process")
        warnings = [warning for warning in warnings if warning not in known]
    for warning in warnings:
        log.warning(warning)
    _check_ids(user)
    return spec, names


def _flags(spec: "Any", request: "ExecRequest") -> None:
    if request.cwd:
        spec["cwd"] = request.cwd
    if request.env:
        spec["env"] = [*spec.get("env", ()), *request.env]
    if request.tty is not None:
        spec["terminal"] = request.tty
    if request.no_new_privs is not None:
        spec["noNewPrivileges"] = request.no_new_privs
    if request.apparmor:
        spec["apparmorProfile"] = request.apparmor
    if request.process_label:
        spec["selinuxLabel"] = request.process_label
    if request.caps:
        spec["capabilities"] = sets = {**spec.get("capabilities", {})}
        inheritable = sets.get("inheritable", ())
        for kind in _ADDED_TO:
            sets[kind] = _with(sets.get(kind), request.caps)
        # What is not inheritable cannot be ambient either.
        ambient = [name for name in request.caps if name in inheritable]
        if ambient:
            sets["ambient"] = _with(sets.get("ambient"), ambient)


def _with(names: "list[str] | None", more: "list[str]") -> "list[str]":
    return [*(names or ()), *(name for name in more if name not in (names or ()))]


def _user(user: "Any", request: "ExecRequest") -> "tuple[int | str, int | str | None] | None":
    names = None
    if request.user:
        account, group = parse_user(request.user)
        if isinstance(account, str) or isinstance(group, str):
            names = account, group
        else:
            user["uid"] = account
            if group is not None:
                user["gid"] = group
    if request.additional_gids:
        user["additionalGids"] = [*user.get("additionalGids", ()), *request.additional_gids]
    return names


def resolve(
    spec: "Process",
    request: "ExecRequest",
    names: "tuple[int | str, int | str | None]",
    passwd: bytes,
    group: bytes,
) -> None:
    """Put the numbers of --user's names into the process. Raises Error.

    A user given by name has the groups that list it as a member, unless a group was given too.
    """
    user: Any = spec["user"]
    account, wanted = names
    if isinstance(account, str):
        user["uid"], user["gid"] = find_user(passwd, account)
        members = groups_of(group, account) if wanted is None else []
        user["additionalGids"] = [*members, *request.additional_gids]
    else:
        user["uid"] = account
    if wanted is not None:
        user["gid"] = find_group(group, wanted) if isinstance(wanted, str) else wanted


def check_mapped(spec: "Process", maps: "tuple[bytes, bytes]", deny_setgroups: bool) -> None:
    """Raise Error where the user has no ids in the container's user namespace; the kernel's EINVAL
    would not tell which.

    maps: its uid_map and gid_map. deny_setgroups: whether its groups cannot be changed.
    """
    user: Any = spec["user"]
    groups = user.get("additionalGids", [])
    if groups and deny_setgroups:
        raise Error("additional groups cannot be set: setgroups(2) is denied in the container's user namespace")
    wanted = [("uid", maps[0], user.get("uid", 0)), ("gid", maps[1], user.get("gid", 0))]
    wanted += [("gid", maps[1], gid) for gid in groups]
    for kind, text, id in wanted:
        ranges = [tuple(map(int, line.split())) for line in text.splitlines()]
        if not any(first <= id < first + size for first, _, size in ranges):
            raise Error(f"{kind} {id} is not mapped in the container's user namespace")


def _check_ids(user: "Any") -> None:
    """4294967295 would leave the ids as they are: root's."""
    ids = {"uid": [user.get("uid", 0)], "gid": [user.get("gid", 0)]}
    for key, values in (*ids.items(), ("additionalGids", user.get("additionalGids", ()))):
        for value in values:
            if not 0 <= value <= HIGHEST_ID:
                raise Error(f"user.{key} {value}: want a number from 0 to {HIGHEST_ID}")
