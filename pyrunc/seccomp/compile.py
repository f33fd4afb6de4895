"""Compile a seccomp profile into a BPF program with libseccomp (seccomp(2), config-linux.md).

Cold: pyrunc.seccomp calls it where its cache has no answer. The binding, pyseccomp, imports ctypes
and looks for the library with ldconfig, which takes tens of milliseconds.

    library()        path and version of the libseccomp in use
    program(...)     profile -> program, in the kernel's format
"""

import posix
from errno import EINVAL, ENOSYS, EOPNOTSUPP
from io import FileIO

from pyrunc import thirdparty
from pyrunc.errors import Error, from_os_error, strerror
from pyrunc.kernel.unlinked import memory_file
from pyrunc.log import log
from pyrunc.seccomp import plain
from pyrunc.seccomp.enosys import prologue
from pyrunc.seccomp.names import (
    ACTIONS,
    ALLOW,
    ARCHITECTURES,
    ERRNO,
    LOG,
    NOTIFY,
    OPERATORS,
    TRACE,
    X86,
)
from pyrunc.seccomp.verify import CHECKED, alternatives, answer, wrong_answer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import ModuleType
    from typing import Any

    Profile = Mapping[str, Any]

INSTRUCTION = 8
LIMIT = 4096
"""Instructions that the kernel takes in one program (BPF_MAXINSNS)."""

TREE_FROM = 32
"""Rules above which a program searches for the call's number in a tree instead of one by one."""

MAX_ERRNO = 4094
"""The highest that libseccomp takes; the kernel's is one more."""

NOWHERE = -10000
"""libseccomp's numbers below this are of calls that an architecture does not have, -1 of those that none has."""

NOTIFY_API = 6
"""libseccomp's level (seccomp_api_get(3)) that says that library and kernel know NOTIFY."""


def binding(pointer: str = "") -> "ModuleType":
    """pyseccomp. Errors: the binding or libseccomp itself is not installed."""
    thirdparty.enable()
    try:
        import pyseccomp
    except (ImportError, RuntimeError, OSError) as error:
        _check_descriptors()
        raise Error(
            f"seccomp: cannot load libseccomp: {error}",
            pointer=pointer,
            hint=thirdparty.install("pyseccomp")
            if isinstance(error, ModuleNotFoundError)
            else "install libseccomp2: `apt install libseccomp2`",
        ) from None
    module: ModuleType = pyseccomp
    return module


def _check_descriptors() -> None:
    """Raise Error where there are too few for ctypes.util.find_library, which then finds nothing."""
    taken = []
    try:
        for _ in range(8):
            taken.append(posix.dup(2))
    except OSError as error:
        raise from_os_error("load libseccomp", error) from None
    finally:
        for fd in taken:
            posix.close(fd)


def library() -> tuple[str, str]:
    """(path, version) of the libseccomp that is loaded; the path is that of its soname.

    The soname's link follows an upgrade, the file that it leads to does not.
    """
    import ctypes

    class Version(ctypes.Structure):
        _fields_ = [(name, ctypes.c_uint) for name in ("major", "minor", "micro")]

    loaded = binding()._libseccomp
    loaded.seccomp_version.argtypes = ()
    loaded.seccomp_version.restype = ctypes.POINTER(Version)
    version = loaded.seccomp_version().contents
    path = ""
    with FileIO("/proc/self/maps") as maps:
        for line in (maps.readall() or b"").splitlines():
            mapped = line.split(maxsplit=5)[5:]
            if mapped and b"/libseccomp.so" in mapped[0]:
                path = mapped[0].decode(errors="surrogateescape")
                break
    soname = path.rpartition("/")[0] + "/libseccomp.so.2"
    try:
        posix.stat(soname)
    except FileNotFoundError:
        soname = path
    return soname, f"{version.major}.{version.minor}.{version.micro}"


def program(profile: "Profile", pointer: str) -> bytes:
    """The filter that the profile describes, as an array of struct sock_filter.

    A call that the library does not know is left out; so is a rule with the default's action. Two
    conditions on one argument make a rule each. System calls newer than all that the profile names
    get ENOSYS where the default forbids (see pyrunc.seccomp.enosys).

    pointer: where the profile lies in config.json. Errors: a word that is not the specification's,
    an architecture that this libseccomp or this machine does not have, rules that contradict each
    other, an errno for an action without one, NOTIFY as default or for `write`, no libseccomp, a
    program that is too long or that does not answer as the profile says (see pyrunc.seccomp.verify).
    """
    seccomp = binding(pointer)
    default = _action(profile.get("defaultAction"), profile.get("defaultErrnoRet"), pointer, "default")
    if default == NOTIFY:
        raise Error(
            "seccomp: SCMP_ACT_NOTIFY cannot be used as default action",
            pointer=f"{pointer}/defaultAction",
        )
    architectures = _architectures(seccomp, profile, pointer)
    for code in _filters(seccomp, profile, default, architectures, pointer):
        wrong = wrong_answer(code, profile, default, architectures, seccomp.resolve_syscall)
        if not wrong:
            break
        log.debug(f"seccomp: a filter that answers wrongly to {wrong} is not used")
    else:
        raise Error(
            f"seccomp: the filter that libseccomp {library()[1]} makes of the profile answers wrongly to {wrong}",
            pointer=pointer,
        )
    names = {name for entry in profile.get("syscalls", ()) for name in entry.get("names") or ()}
    if default not in (ALLOW, LOG, ERRNO | ENOSYS) and default & 0xFFFF_0000 != TRACE:
        code = prologue(_newest(seccomp, architectures, names)) + code
    if len(code) > LIMIT * INSTRUCTION:
        raise Error(
            f"seccomp: the filter has {len(code) // INSTRUCTION} instructions,"
            f" more than the {LIMIT} that the kernel takes",
            pointer=pointer,
        )
    return code


def _architectures(seccomp: "ModuleType", profile: "Profile", pointer: str) -> "list[int]":
    """The machine's own, and the others that the profile lists."""
    numbers = [seccomp.system_arch()]
    for index, word in enumerate(profile.get("architectures", ())):
        if word not in ARCHITECTURES:
            raise _unknown("architecture", word, f"{pointer}/architectures/{index}")
        numbers.append(ARCHITECTURES[word])
    return list(dict.fromkeys(numbers))


def _filters(
    seccomp: "ModuleType", profile: "Profile", default: int, architectures: "list[int]", pointer: str
) -> "Iterator[bytes]":
    """The profile's filter while another is wanted: libseccomp's, libseccomp's in the other form, our own."""
    code, tree = _compile(seccomp, profile, default, architectures, pointer)
    yield code
    yield _compile(seccomp, profile, default, architectures, pointer, not tree)[0]
    if not set(architectures) <= set(CHECKED):
        return
    calls: dict[int, dict[int, list[Any]]] = {each: {} for each in architectures}
    for entry in profile.get("syscalls", ()):
        rule = (answer(entry), alternatives(entry))
        for architecture, rules in calls.items():
            for name in entry.get("names", ()):
                number = seccomp.resolve_syscall(architecture, name)
                if number >= 0:
                    rules.setdefault(number, []).append(rule)
                elif architecture == X86 and number > NOWHERE and number != -1:
                    return  # a part of socketcall or ipc, which plain.py does not take apart
    yield plain.program(default, calls)


def _compile(
    seccomp: "ModuleType",
    profile: "Profile",
    default: int,
    architectures: "list[int]",
    pointer: str,
    tree: "bool | None" = None,
) -> tuple[bytes, bool]:
    """What libseccomp makes of the profile, and whether that is a tree; None: as the number of rules suggests."""
    try:
        context = seccomp.SyscallFilter(default)
    except OSError as error:
        where = f"{pointer}/defaultAction"
        raise _refused(f"cannot use {profile['defaultAction']}", error, where) from None
    for architecture in architectures[1:]:  # the first is the machine's
        try:
            context.add_arch(architecture)
        except OSError as error:
            words = list(profile["architectures"])
            index = next(at for at, word in enumerate(words) if ARCHITECTURES[word] == architecture)
            where = f"{pointer}/architectures/{index}"
            raise _refused(f"cannot add architecture {words[index]}", error, where) from None
    rules = 0
    for index, entry in enumerate(profile.get("syscalls", ())):
        rules += _add(seccomp, context, default, entry, f"{pointer}/syscalls/{index}")
    if tree is None:
        # libseccomp up to 2.5.4 makes nonsense of a tree without rules, so not in any case.
        tree = rules > TREE_FROM
    if tree:
        try:
            context.set_attr(seccomp.Attr.CTL_OPTIMIZE, 2)
        except OSError as error:
            if error.errno not in (EINVAL, EOPNOTSUPP):
                raise _refused("cannot compile the filter", error, pointer) from None
            log.debug("seccomp: this libseccomp does not build trees")
    return _export(context, pointer), tree


def _add(seccomp: "ModuleType", context: "Any", default: int, entry: "Mapping[str, Any]", pointer: str) -> int:
    """Add what one entry of `syscalls` says; the number of rules added."""
    names = entry.get("names", ())
    action = _action(entry.get("action"), entry.get("errnoRet"), pointer, "")
    if action == NOTIFY:
        if "write" in names:
            # The container's init has to tell of the listener after the filter is on.
            raise Error("seccomp: SCMP_ACT_NOTIFY cannot be used for the write syscall", pointer=pointer)
        if seccomp.get_api() < NOTIFY_API:
            raise Error("seccomp: SCMP_ACT_NOTIFY needs libseccomp 2.5 and Linux 5.7", pointer=pointer)
    if action == default:
        return 0
    for number, argument in enumerate(entry.get("args", ())):
        where = f"{pointer}/args/{number}"
        if argument.get("op") not in OPERATORS:
            raise _unknown("operator", argument.get("op"), f"{where}/op")
        index = argument.get("index", 0)
        if not 0 <= index <= 5:
            raise Error(f"seccomp: a system call has no argument {index}", pointer=f"{where}/index")
    # libseccomp takes one condition an argument.
    groups = [
        [
            seccomp.Arg(each.get("index", 0), OPERATORS[each["op"]], each.get("value", 0), each.get("valueTwo", 0))
            for each in group
        ]
        for group in alternatives(entry)
    ]
    rules = 0
    for position, name in enumerate(names):
        number = seccomp.resolve_syscall(seccomp.Arch.NATIVE, name)
        if number == -1:
            log.debug(f'unknown seccomp syscall "{name}" ignored')
            continue
        for group in groups:
            try:
                context.add_rule(action, number, *group)
            except FileExistsError:
                raise Error(
                    f"seccomp: rule for {name} contradicts an earlier rule",
                    pointer=f"{pointer}/names/{position}",
                ) from None
            except OSError as error:
                where = f"{pointer}/names/{position}"
                raise _refused(f"cannot add rule for {name}", error, where) from None
            rules += 1
    return rules


def _action(word: object, errno: "int | None", pointer: str, which: str) -> int:
    """The number of an action with its errno in the lower half; EPERM where none is given."""
    keys = ("defaultAction", "defaultErrnoRet") if which else ("action", "errnoRet")
    action = ACTIONS.get(word) if isinstance(word, str) else None
    if action is None:
        raise _unknown("action", word, f"{pointer}/{keys[0]}")
    if action not in (ERRNO, TRACE):
        if errno is not None:
            raise Error(f"seccomp: {word} has no errno", pointer=f"{pointer}/{keys[1]}")
        return action
    if errno is None:
        errno = 1
    if not 0 <= errno <= (MAX_ERRNO if action == ERRNO else 0xFFFF):
        raise Error(f"seccomp: {errno} is no errno", pointer=f"{pointer}/{keys[1]}")
    return action | errno


def _export(context: "Any", pointer: str) -> bytes:
    """The program that libseccomp makes of its rules."""
    with FileIO(memory_file("seccomp"), "r+") as file:
        try:
            context.export_bpf(file)
        except OSError as error:
            raise _refused("cannot compile the filter", error, pointer) from None
        file.seek(0)
        return file.readall() or b""


def _newest(seccomp: "ModuleType", architectures: "list[int]", names: "set[str]") -> "dict[int, int]":
    """For each architecture the highest number of the calls named; without those that have none."""
    newest = {}
    for architecture in architectures:
        # Calls of other architectures have negative numbers.
        highest = max((seccomp.resolve_syscall(architecture, name) for name in names), default=-1)
        if highest > 0:
            newest[architecture] = highest
    return newest


def _unknown(what: str, word: object, pointer: str) -> Error:
    return Error(f'seccomp: unknown {what} "{word}"', pointer=pointer)


def _refused(doing: str, error: OSError, pointer: str) -> Error:
    number = error.errno or 0
    return Error(f"seccomp: {doing}: {strerror(number)}", pointer=pointer, errno=number)
