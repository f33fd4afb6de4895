"""Users and groups of --user, by numbers and by the container's files."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrunc.errors import Error
from pyrunc.plan.process.accounts import HIGHEST_ID, find_group, find_user, groups_of, parse_user
from pyrunc.plan.process.lookup import FILE_SIZE

PASSWD = b"""root:x:0:0:root:/root:/bin/sh
1000:x:0:0::/:/bin/sh
user:x:1000:100:A user:/home/user:/bin/sh
broken
short:x:7
user:x:7:7::/:/bin/sh
high:x:4294967295:0::/:/bin/sh
negative:x:-1:0::/:/bin/sh
hex:x:0x1:0::/:/bin/sh
"""
GROUP = b"""root:x:0:
wheel:x:10:root,user
users:x:100:user
users2:x:10:user
odd:x:1_0:user
late:x:11:someone,user
other:x:12:user2
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", (0, None)),
        ("1000:1", (1000, 1)),
        ("007", (7, None)),
        (str(HIGHEST_ID), (HIGHEST_ID, None)),
        ("user", ("user", None)),
        ("user:wheel", ("user", "wheel")),
        ("1000:wheel", (1000, "wheel")),
        ("_x-y.z", ("_x-y.z", None)),
        ("machine$", ("machine$", None)),
    ],
)
def test_users(text: str, expected: tuple[object, object]) -> None:
    assert parse_user(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", ":2", "1:", "1:2:3", "0x1", " 1", "1 ", "1\n", "+1", "-1", "1_000", "1.0", "1e3"),
        *("4294967295", "4294967296", "0:4294967295", "99999999999999999999", "\u0661", "\u00b2"),
        *("user\n", "us er", "user:", "a/b", "..", "-user", "$", "1user", "user,wheel", "\u00e9"),
        "x" * 257,
    ],
)
def test_what_is_no_user(text: str) -> None:
    with pytest.raises(Error, match="--user"):
        parse_user(text)


@given(st.text(max_size=20))
def test_whatever_is_given_is_never_root_by_accident(text: str) -> None:
    try:
        user, group = parse_user(text)
    except Error:
        return
    words = text.split(":")
    for word, value in zip(words, (user, group), strict=False):
        assert value == (int(word) if isinstance(value, int) else word)
        if isinstance(value, int):
            assert 0 <= value <= HIGHEST_ID
    assert len(words) == (1 if group is None else 2)


def test_first_entry_counts() -> None:
    assert find_user(PASSWD, "user") == (1000, 100)
    assert find_group(GROUP, "wheel") == 10


@pytest.mark.parametrize("name", ["nobody", "short", "broken", "use", "userx"])
def test_missing_users(name: str) -> None:
    expected = f"unable to find user {name}: no matching entries in passwd file"
    with pytest.raises(Error, match=expected):
        find_user(PASSWD, name)


@pytest.mark.parametrize("name", ["high", "negative", "hex"])
def test_entries_with_ids_that_are_none(name: str) -> None:
    with pytest.raises(Error, match="no valid ids"):
        find_user(PASSWD, name)


def test_missing_groups() -> None:
    expected = "unable to find group none: no matching entries in group file"
    with pytest.raises(Error, match=expected):
        find_group(GROUP, "none")
    with pytest.raises(Error, match="no valid id"):
        find_group(GROUP, "odd")


def test_memberships_in_order_and_once() -> None:
    assert groups_of(GROUP, "user") == [10, 100, 11]
    assert groups_of(GROUP, "nobody") == []


def test_the_last_line_of_a_file_that_was_cut_does_not_count() -> None:
    whole = b"#" * (FILE_SIZE - 12) + b"\nlast:x:1234:5::/:"
    assert find_user(whole[100:], "last") == (1234, 5)
    with pytest.raises(Error, match="unable to find user"):
        find_user(whole[:FILE_SIZE], "last")


def test_names_are_bytes_of_the_file() -> None:
    assert find_user(b"\xff\xfe\nuser:x:1:2\r\n", "user") == (1, 2)


@given(st.binary(max_size=200))
def test_hostile_files(text: bytes) -> None:
    for find in (find_user, find_group):
        try:
            find(text, "a")
        except Error:
            pass
    for gid in groups_of(text, "a"):
        assert 0 <= gid <= HIGHEST_ID
