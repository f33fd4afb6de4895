"""Seccomp by annotations of crun's: run.oci.seccomp_bpf_data, run.oci.seccomp_fail_unknown_syscall (crun(1)).

Not on the hot path, unless a configuration has one of them.
"""

from binascii import Error as NotBase64
from binascii import a2b_base64

from pyrunc.config.annotation_names import SECCOMP_RAW as RAW
from pyrunc.config.annotation_names import SECCOMP_STRICT as STRICT
from pyrunc.errors import ConfigError
from pyrunc.seccomp import Filter
from pyrunc.seccomp.compile import INSTRUCTION, LIMIT, binding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.seccomp import Profile


def raw(text: str) -> Filter:
    """The filter that is the annotation's value, as seccomp(2) takes it, in base64. Raises ConfigError."""
    pointer = f"/annotations/{RAW}"
    try:
        program = a2b_base64(text.encode(), strict_mode=True)
    except (NotBase64, UnicodeEncodeError) as error:
        raise ConfigError(f"{RAW} is not base64: {error}", pointer=pointer) from None
    count, rest = divmod(len(program), INSTRUCTION)
    if rest or not 0 < count <= LIMIT:
        raise ConfigError(
            f"{RAW} is no filter: {len(program)} bytes, want 1 to {LIMIT} instructions of {INSTRUCTION} bytes",
            pointer=pointer,
        )
    return Filter(program, 0, "", "")


def check_known(profile: "Profile") -> None:
    """Errors: a name of the profile that libseccomp does not know, ConfigError; no libseccomp."""
    seccomp = binding("/linux/seccomp")
    for index, entry in enumerate(profile.get("syscalls", ())):
        for place, name in enumerate(entry.get("names", ())):
            if seccomp.resolve_syscall(seccomp.Arch.NATIVE, name) == -1:
                raise ConfigError(
                    f'seccomp: unknown system call "{name}", and {STRICT} is set',
                    pointer=f"/linux/seccomp/syscalls/{index}/names/{place}",
                )
