"""Strict JSON: what is refused, with its place, and what dumps writes."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.config_data import CHECKOUT
from pyrunc.config import locate, strict
from pyrunc.errors import ConfigError

BAD = [
    (b'{"a":1,"a":2}', 'line 1, column 8: "a" occurs twice in one object (a)', "/a"),
    (b'{"x":[{"b":1,\n"b":2}]}', 'line 2, column 1: "b" occurs twice in one object', "/x/0/b"),
    (b'{"a":"\\u0061","\\u0061":1}', '"a" occurs twice', "/a"),
    (b'{"a":[NaN]}', "NaN is not a JSON number (a/0)", "/a/0"),
    (b"[1,Infinity]", "Infinity is not a JSON number", "/1"),
    (b"[-Infinity]", "-Infinity is not a JSON number", "/0"),
    (b"[1e999]", "the number is too large", "/0"),
    (b'{"a/b~":18446744073709551616}', "does not fit into 64 bits (a~1b~0)", "/a~1b~0"),
    (b"[-9223372036854775809]", "does not fit into 64 bits", "/0"),
    (b"[" + b"9" * 5000 + b"]", "does not fit into 64 bits", "/0"),
    (b'["\\u0000"]', "column 3: a NUL character in a string", "/0"),
    (b'["\\\\\\u0000"]', "column 5: a NUL character in a string", "/0"),
    (b'["\\ud800"]', "a lone surrogate in a string", "/0"),
    (b'["\\udc00\\ud800"]', "column 3: a lone surrogate in a string", "/0"),
    (b'["\\uD800x"]', "a lone surrogate in a string", "/0"),
    (b'{"\\ud800":1}', "a lone surrogate in a string", ""),
    (b'["\x01"]', "a control character in a string", "/0"),
    (b'["\x00"]', "a control character in a string", "/0"),
    (b'["\\x"]', "an invalid escape in a string", "/0"),
    (b'["\\u12"]', "an invalid escape in a string", "/0"),
    (b'"abc', "a string is not closed", ""),
    (b"[1]x", "column 4: more text after the end of the document", ""),
    (b"{}{}", "more text after the end of the document", ""),
    (b"01", "more text after the end of the document", ""),
    (b"", "the document ends too early", ""),
    (b" \n ", "the document ends too early", ""),
    (b'{"a":', "the document ends too early", "/a"),
    (b'{"a":1,}', "the name of a member, in quotes, was expected", ""),
    (b"{'a':1}", "the name of a member, in quotes, was expected", ""),
    (b'{"a" 1}', "a colon was expected", "/a"),
    (b'{"a":1 "b":2}', '"," or "}" was expected', ""),
    (b"[1 2]", '"," or "]" was expected', ""),
    (b"[1,]", "a value was expected", "/1"),
    (b"[-]", "a value was expected", "/0"),
    (b"nul", "a value was expected", ""),
    (b"// no\n{}", "a value was expected", ""),
    (b"\xef\xbb\xbf{}", "a byte order mark", ""),
    (b'{"a":\n"\xff"}', "line 2, byte 2: invalid UTF-8", ""),
    (b'["\xed\xa0\x80"]', "invalid UTF-8", ""),
]


@pytest.mark.parametrize(("data", "text", "pointer"), BAD, ids=[repr(case[0][:24]) for case in BAD])
def test_a_fault_is_refused_with_its_place(data: bytes, text: str, pointer: str) -> None:
    with pytest.raises(ConfigError) as caught:
        strict.loads(data, "config.json")
    assert str(caught.value).startswith("config.json: ")
    assert text in str(caught.value)
    assert caught.value.pointer == pointer


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
@pytest.mark.parametrize("times", [strict.MAX_DEPTH + 1, 900, 100_000])
def test_nesting_has_a_limit(opening: bytes, times: int) -> None:
    closing = b"]" if opening == b"[" else b"}"
    with pytest.raises(ConfigError, match="nested more than 64 levels deep") as caught:
        strict.loads(opening * times + b"1" + closing * times, "x")
    assert len(str(caught.value)) < 300
    allowed = strict.MAX_DEPTH
    strict.loads(opening * allowed + b"1" + closing * allowed, "x")


def test_size_has_a_limit(tmp_path: Path) -> None:
    padding = b" " * (strict.MAX_SIZE - 1)
    assert strict.loads(b"1" + padding, "x") == 1
    with pytest.raises(ConfigError, match="x: larger than 16 MiB"):
        strict.loads(b"1" + padding + b" ", "x")
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(strict.MAX_SIZE + 1)
    with pytest.raises(ConfigError, match="config: larger than 16 MiB"):
        strict.read_file(str(large), "config")


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b'["\\\\u0000"]', ["\\u0000"]),
        (b'["\\\\\\\\ud800"]', ["\\\\ud800"]),
        (b'["\\ud83d\\ude00"]', ["\U0001f600"]),
        (b'\t{"\xc3\xa9":null}\r\n', {"é": None}),
        (b"[18446744073709551615,-9223372036854775808]", [2**64 - 1, -(2**63)]),
        (b"[0.5,-0,1E2]", [0.5, 0, 100.0]),
        (b'{"a":{"a":{"a":[]}}}', {"a": {"a": {"a": []}}}),
    ],
)
def test_what_json_allows_is_read(data: bytes, value: object) -> None:
    assert strict.loads(data, "x") == value
    assert locate.find_fault(data, "x") is None


def test_null_members_can_be_dropped() -> None:
    data = b'{"a":null,"b":[null,{"c":null,"d":1}]}'
    assert strict.loads(data, "x") == {"a": None, "b": [None, {"c": None, "d": 1}]}
    assert strict.loads(data, "x", drop_null=True) == {"b": [None, {"d": 1}]}
    with pytest.raises(ConfigError, match="twice"):
        strict.loads(b'{"a":null,"a":1}', "x", drop_null=True)


def test_a_pipe_is_read_to_its_end() -> None:
    reading, writing = os.pipe()
    data = b"[" + b"1," * 300_000 + b"1]"

    def write() -> None:
        with open(writing, "wb") as file:
            file.write(data)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert strict.read_file(f"/dev/fd/{reading}", "x") == data
    finally:
        writer.join()
        os.close(reading)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        strict.read_file(str(tmp_path / "none"), "x")
    with pytest.raises(ConfigError, match="x: is a directory"):
        strict.read_file(str(tmp_path), "x")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(alphabet='ab"\\é\n'), inner),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(JSON)
def test_dumps_is_read_back_the_same(value: Any) -> None:
    compact, indented = strict.dumps(value), strict.dumps(value, 2)
    assert json.loads(compact) == json.loads(indented) == value
    assert strict.loads(compact.encode(), "x") == value
    assert indented == json.dumps(value, indent=2, ensure_ascii=False)
    assert compact == json.dumps(value, separators=(",", ":"), ensure_ascii=False)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet='[]{}:,"\\ud8c01 9.eE-+tfn\n', max_size=12).map(str.encode))
def test_both_parsers_agree(data: bytes) -> None:
    fault = locate.find_fault(data, "x")
    if fault is None:
        strict.loads(data, "x")
    else:
        with pytest.raises(ConfigError) as caught:
            strict.loads(data, "x")
        assert str(caught.value) == str(fault)


def test_dumps_refuses_what_json_has_not() -> None:
    for number in (float("nan"), float("inf")):
        with pytest.raises(ValueError):
            strict.dumps([number])
    for value in (b"x", {1}):
        with pytest.raises(TypeError):
            strict.dumps({"a": value}, 2)
    with pytest.raises(TypeError):
        strict.dumps({1: 2}, 2)


def test_file_names_that_are_no_utf8_can_be_written() -> None:
    name = os.fsdecode(b"/x/\xff\xc3\xa9")
    assert strict.dumps([name]) == '["/x/\ufffdé"]'
    assert strict.dumps([name], "\t") == '[\n\t"/x/\ufffdé"\n]'


def test_the_happy_path_imports_neither_json_nor_re() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(CHECKOUT)!r})\n"
        "before = set(sys.modules)\n"
        "from pyrunc.config import load, strict\nfrom pyrunc.config.rules import check\n"
        "strict.dumps(strict.loads(b'{\"a\":[1.5,\"x\"]}', 'x'))\n"
        'load.parse_config(b\'{"ociVersion":"1.0.0"}\')\n'
        "print(*sorted(n for n in set(sys.modules) - before if not n.startswith('pyrunc')))\n"
    )
    run = subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.split() == ["_json", "errno"]
