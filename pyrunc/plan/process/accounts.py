"""Users and groups of a container, as `exec --user` names them: by its /etc/passwd and /etc/group.

A number is a number, whatever /etc/passwd calls by that name (CVE-2016-3697), and what is neither a
number nor a name is an error, not somebody (CVE-2026-30892). passwd(5), group(5).

Import cost: none.
"""

from pyrunc.errors import Error

HIGHEST_ID = 0xFFFFFFFE  # 4294967295 means "leave as it is" to setresuid(2) and its relatives
_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
_LONGEST_NAME = 256


def parse_user(text: str) -> "tuple[int | str, int | str | None]":
    """The user and the group of "user[:group]", each a number or a name; None without a group.

    Raises Error.
    """
    user, colon, group = text.partition(":")
    if ":" in group:
        raise Error(f'--user "{text}": want USER or USER:GROUP')
    return _one(user, text, "user"), _one(group, text, "group") if colon else None


def _one(word: str, text: str, kind: str) -> "int | str":
    if not word:
        raise Error(f'--user "{text}": the {kind} is missing')
    if word.isascii() and word.isdecimal():
        number = _number(word)
        if number is None:
            raise Error(f'--user "{text}": a {kind} is a number from 0 to {HIGHEST_ID}')
        return number
    letters = word.rstrip("$")
    first_is_letter = letters[:1].isalpha() or letters[:1] == "_"
    if len(word) > _LONGEST_NAME or not first_is_letter or not _NAME.issuperset(letters):
        raise Error(f'--user "{text}": "{word}" is neither a number nor the name of a {kind}')
    return word


def _number(digits: str) -> "int | None":
    number = int(digits) if len(digits) <= 10 else HIGHEST_ID + 1
    return number if number <= HIGHEST_ID else None


def find_user(passwd: bytes, name: str) -> "tuple[int, int]":
    """The uid and the gid of a user. Raises Error where there is none of that name."""
    for fields in _entries(passwd, name, 4):
        uid, gid = _field(fields[2]), _field(fields[3])
        if uid is None or gid is None:
            raise Error(f"user {name}: its entry in the container's /etc/passwd has no valid ids")
        return uid, gid
    raise Error(f"unable to find user {name}: no matching entries in passwd file")


def find_group(group: bytes, name: str) -> int:
    """The gid of a group. Raises Error where there is none of that name."""
    for fields in _entries(group, name, 3):
        gid = _field(fields[2])
        if gid is None:
            raise Error(f"group {name}: its entry in the container's /etc/group has no valid id")
        return gid
    raise Error(f"unable to find group {name}: no matching entries in group file")


def groups_of(group: bytes, user: str) -> "list[int]":
    """The groups that list the user as a member, in the order of the file, each once."""
    name = user.encode()
    found: dict[int, None] = {}
    for line in _lines(group):
        fields = line.split(b":")
        if len(fields) > 3 and name in fields[3].split(b","):
            gid = _field(fields[2])
            if gid is not None:
                found[gid] = None
    return list(found)


def _entries(text: bytes, name: str, least: int) -> "list[list[bytes]]":
    wanted = name.encode() + b":"
    entries = [line.split(b":") for line in _lines(text) if line.startswith(wanted)]
    return [fields for fields in entries if len(fields) >= least]


def _lines(text: bytes) -> "list[bytes]":
    """Whole lines only: the last one of a file that was too long may lack the end of a number."""
    from pyrunc.plan.process.lookup import FILE_SIZE

    if len(text) >= FILE_SIZE:
        text = text[: text.rfind(b"\n") + 1]
    return [line.rstrip(b"\r") for line in text.split(b"\n")]


def _field(digits: bytes) -> "int | None":
    return _number(digits.decode()) if digits.isdigit() else None
