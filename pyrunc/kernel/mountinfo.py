"""The mounts of this process (proc_pid_mountinfo(5)).

Import cost: posix.
"""

from pyrunc.kernel.files import read_file


def exposed_mounts(rootfs: str) -> "list[tuple[str, str]]":
    """proc and sysfs mounts of this mount namespace that are not below the root, the deepest first (for --no-pivot),
    each with the place of the mount that it is mounted on."""
    found, places = [], {}
    for line in read_file("/proc/self/mountinfo").decode(errors="surrogateescape").split("\n"):
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) < 5:
            continue
        path = places[fields[0]] = unescape(fields[4])
        if after.split(" ")[0] in ("proc", "sysfs") and path != rootfs and not path.startswith(rootfs + "/"):
            found.append((path, fields[1]))
    return [(path, places.get(parent, "/")) for path, parent in found[::-1]]


def unescape(text: str) -> str:
    """A field of mountinfo: space, tab, newline and backslash are written as octal numbers there."""
    if "\\" not in text:
        return text
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, char)
    return text
