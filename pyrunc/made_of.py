"""What this pyrunc was made of, for `pyrunc --version`. These are the script's; tools/build_embedded.py gives the
executable its own.

Import cost: none.
"""

FORM = "script"

COMMIT = ""
"""The commit of pyrunc's sources, where the build knew it."""

BUILD = ""
"""The date, the system and the architecture of the build; "" for a checkout, which is not built."""

LINKED: "tuple[str, ...]" = ()
"""Libraries in the executable, each with its version."""

FEATURES = "+SYSTEMD +SELINUX +APPARMOR +CAP +SECCOMP +EBPF +CRIU"
"""What the runtime can do where the machine has it, in the form of crun's version."""
