"""From a seccomp profile to the filter that the container's process loads.

    filter_for ──► cache ──hit──► program
                     └───miss──► compile (libseccomp, enosys) ──► cache

A hit imports neither libseccomp's binding nor anything else written in Python but this file, the
cache and the names.

Import cost: posix, marshal, _blake2, _struct.
"""

import posix
from marshal import dumps

from pyrunc.config.annotation_names import SECCOMP_RAW, SECCOMP_STRICT
from pyrunc.errors import Error
from pyrunc.log import log
from pyrunc.seccomp import cache
from pyrunc.seccomp.names import (
    FLAG_KERNELS,
    FLAGS,
    NEW_LISTENER,
    SPEC_ALLOW,
    WAIT_KILLABLE_RECV,
    kernel_version,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    Profile = Mapping[str, Any]

COMPILER = 2
"""To be raised when compile or enosys make something else of the same profile."""


class Filter:
    """What to give to seccomp(2).

    program: array of struct sock_filter, 8 bytes each.
    flags: for SECCOMP_SET_MODE_FILTER; with listener the call returns the listener's descriptor.
    listener: whether a rule has SCMP_ACT_NOTIFY.
    listener_path: the agent's socket, absolute; "" without listener.
    listener_metadata: for the agent, as it is.
    """

    __slots__ = ("flags", "listener", "listener_metadata", "listener_path", "program")

    def __init__(self, program: bytes, flags: int, listener_path: str, listener_metadata: str) -> None:
        self.program = program
        self.flags = flags
        self.listener = bool(flags & NEW_LISTENER)
        self.listener_path = listener_path
        self.listener_metadata = listener_metadata


def filter_of(config: "Mapping[str, Any]") -> "Filter | None":
    """The filter of a configuration, None where it has none. Errors: as of filter_for, and those of annotated.py."""
    annotations = config.get("annotations", {})
    profile = config.get("linux", {}).get("seccomp")
    # What crun's annotations change; few configurations have them.
    if SECCOMP_RAW in annotations:
        from pyrunc.seccomp import annotated

        return annotated.raw(annotations[SECCOMP_RAW])
    if not profile:
        return None
    if SECCOMP_STRICT in annotations:
        from pyrunc.seccomp import annotated

        annotated.check_known(profile)
    return filter_for(profile)


def filter_for(profile: "Profile", *, pointer: str = "/linux/seccomp") -> Filter:
    """The filter of a profile, config.json's `linux.seccomp`, from the cache if it is there.

    pointer: where the profile lies in config.json, for errors. Errors: what a profile must not
    say (see pyrunc.seccomp.compile.program), a flag that the kernel does not have, and NOTIFY
    without an absolute listenerPath. A listenerPath without NOTIFY is ignored, as runc does.
    """
    listener = any(entry.get("action") == "SCMP_ACT_NOTIFY" for entry in profile.get("syscalls", ()))
    flags = _flags(profile.get("flags"), listener, pointer)
    path = profile.get("listenerPath", "")
    if listener and not path.startswith("/"):
        cause = f"is not absolute: {path}" if path else "is not set"
        raise Error(f"seccomp: listenerPath {cause}", pointer=f"{pointer}/listenerPath")
    key = cache.digest(dumps(_compiled_from(profile), 2))
    program = cache.load(key)
    if program is None:
        from pyrunc.seccomp import compile as compiler

        program = compiler.program(profile, pointer)
        cache.store(key, program, compiler.library()[0])
    log.debug(f"seccomp filter flags: {flags}")
    if not listener:
        return Filter(program, flags, "", "")
    return Filter(program, flags, path, profile.get("listenerMetadata", ""))


def _compiled_from(profile: "Profile") -> "tuple[Any, ...]":
    """All that a program depends on, but for the library (which each entry of the cache names).

    Version 2 of marshal has no references, so that equal values are equal bytes.
    """
    return (
        COMPILER,
        posix.uname().machine,
        profile.get("defaultAction"),
        profile.get("defaultErrnoRet"),
        profile.get("architectures", []),
        profile.get("syscalls", []),
    )


def _flags(words: "list[str] | None", listener: bool, pointer: str) -> int:
    """The flags of seccomp(2), as the profile has them; SPEC_ALLOW where it has no `flags` at all.

    WAIT_KILLABLE_RECV is refused by the kernel where there is no listener, and means nothing then.
    """
    flags = NEW_LISTENER if listener else 0
    if words is None:
        return flags | SPEC_ALLOW
    for index, word in enumerate(words):
        where = f"{pointer}/flags/{index}"
        flag = FLAGS.get(word)
        if flag is None:
            raise Error(f'seccomp: unknown flag "{word}"', pointer=where)
        needed = FLAG_KERNELS[word]
        if kernel_version(posix.uname().release) < needed:
            raise Error(f"seccomp: {word} needs Linux {needed[0]}.{needed[1]}", pointer=where)
        if flag != WAIT_KILLABLE_RECV or listener:
            flags |= flag
    return flags
