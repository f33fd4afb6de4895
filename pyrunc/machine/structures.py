"""The members of the structures that system calls take, for describe.py. Cold.

A plan gives a structure as Words, one field a 64-bit word, or packed as bytes; here both come to
the same: names and values.

Import cost: _struct.
"""

from _struct import Struct

from pyrunc.machine.ops import Words

# Members that are 64-bit words, so that a plan may give them as Words.
WORDS = {
    "open_how": "flags mode resolve",
    "mount_attr": "attr_set attr_clr propagation userns_fd",
    "clone_args": "flags pidfd child_tid parent_tid exit_signal stack stack_size tls set_tid set_tid_size cgroup",
    "rlimit": "soft hard",
    "sock_fprog": "len filter",
    "sigaction": "handler flags restorer mask",
    "iovec": "base len",
    "msghdr": "name namelen iov iovlen control controllen flags",
}

# Members of other sizes; these come packed.
PACKED = {
    "cap_header": ("<Ii", "version pid"),
    "sched_attr": ("<IIQiIQQQ", "size policy flags nice priority runtime deadline period"),
    "winsize": ("<4H", "rows columns xpixel ypixel"),
    "ifreq": ("<16sH", "name flags"),
}


def fields(value: object, kind: str) -> "list[tuple[str, object]] | None":
    """The members of a structure by name, in their order; None where `value` does not show them."""
    if isinstance(value, Words):
        return _of_words(value, kind)
    if not isinstance(value, bytes):
        return None
    if kind == "cap_data":
        return _capabilities(value)
    if kind == "sockaddr":
        path = value[2:].rstrip(b"\0") if value[:1] == b"\1" else value[2:]
        return [("family", int.from_bytes(value[:2], "little")), ("path", path)]
    if kind in PACKED:
        layout, text = PACKED[kind]
    elif kind in WORDS:
        text = WORDS[kind]
        layout = f"<{len(text.split())}Q"
    else:
        return None
    packed = Struct(layout)
    if len(value) < packed.size:
        return None
    values: list[object] = []
    for member in packed.unpack_from(value):
        values.append(member.rstrip(b"\0") if isinstance(member, bytes) else member)
    members = list(zip(text.split(), values, strict=True))
    return [pair for pair in members if pair[0] != "size"]


def _of_words(value: Words, kind: str) -> "list[tuple[str, object]] | None":
    if kind == "bpf_prog_load":
        return _bpf_program(value)
    if kind == "msghdr":
        return _message(value)
    text = WORDS.get(kind)
    if text is None or len(value.fields) > len(text.split()):
        return None
    return list(zip(text.split(), value.fields, strict=False))


def _message(value: Words) -> "list[tuple[str, object]] | None":
    """A message of one part; of the control message only that descriptors are passed."""
    found = list(zip(WORDS["msghdr"].split(), value.fields, strict=False))
    members = dict(found)
    vector = members.get("iov")
    size = vector.fields[1] if isinstance(vector, Words) and len(vector.fields) == 2 else None
    control = members.get("control")
    passes = isinstance(control, Words) and control.fields[1] == 1 | 1 << 32
    return [("bytes", size), ("control", Words((), "SCM_RIGHTS") if passes else control)]


def _bpf_program(value: Words) -> "list[tuple[str, object]] | None":
    head = value.fields[0]
    if not isinstance(head, int):
        return None
    return [("type", head & 0xFFFFFFFF), ("instructions", head >> 32)]


def _capabilities(value: bytes) -> "list[tuple[str, object]] | None":
    """struct __user_cap_data_struct, twice: the low and the high halves of the three sets."""
    if len(value) != 24:
        return None
    low_high = Struct("<6I").unpack(value)
    sets = ("effective", "permitted", "inheritable")
    return [(name, low_high[i] | low_high[i + 3] << 32) for i, name in enumerate(sets)]
