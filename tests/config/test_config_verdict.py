"""Property test: the compiled validator and jsonschema give the same verdict."""

import copy
import json
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config import config_data
from pyrunc.config.explain import explain, validator
from pyrunc.config.schema import _validator
from pyrunc.config.schema.patterns import MATCHERS
from pyrunc.config.schema.schemas import Schema, load_all, resolve, schema_dir

SCHEMAS = load_all(schema_dir())
ROOT_OF = {
    "config": "#/$defs/config.json",
    "process": "#/$defs/process.json",
    "resources": "#/$defs/linux.json/$defs/resources",
}

# What a slightly wrong document has in place of the right value: neighbours of every limit, other
# types, and values that Python takes for equal to a right one (True == 1, 1.0 == 1).
ODD: list[Any] = [
    *(None, True, False, -2, -1, 0, 1, 5, 6, 7, 8, 19, 20, 100, 101, 511, 512, 999, 1000, 1001),
    *(4095, 4096, 65535, 65536, 999999999, 1000000000, 2**20 - 1, 2**20, 2**31 - 1, 2**31),
    *(2**32 - 2, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1),
    *(0.0, 1.0, 1.5, 1e30, "", "x", "a\n", "0-3,7", "0-3\n", "MB:0=1", "MB:\n", "rw", "rx", "2MB"),
    *("02MB", "2KB\n", "1.3.0", "1.03.0", "1.0.2-dev", "1.3.0\n", "2.0.0", "1.3", "mount", "bogus"),
    *("SCMP_ACT_ERRNO", "RLIMIT_FOO", "SCHED_IDLE", [], {}, [None], [1], ["x"], [[]], [{}]),
    *({"": "x"}, {"a": 1}, {"a": "b"}, {"path": "/x"}, {"type": "pid"}, {"": {}}),
]


@cache
def judge(root: str) -> Any:
    return validator(root)


@cache
def documents(root: str) -> list[Any]:
    """Valid documents to begin with, the smaller ones of the collection among them."""
    full = json.loads((config_data.DATA / "good/full.json").read_text())
    if root != "config":
        return [full["process"] if root == "process" else full["linux"]["resources"]]
    paths = [*config_data.own("good"), *config_data.given("configs/*config*.json")]
    texts = sorted({path.read_text() for path in paths}, key=len)
    return [json.loads(text) for text in texts[:24]] + [full]


def agree(value: Any, root: str) -> bool:
    """The verdict of both, which has to be the same one."""
    verdict = bool(getattr(_validator, root)(value))
    judgement: bool = judge(root).is_valid(value)
    assert verdict is judgement
    return verdict


def slots(value: Any) -> list[tuple[Any, Any]]:
    """Every place of a document: the container, and the name or index."""
    found: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        found += [(value, key) for key in value]
    elif isinstance(value, list):
        found += [(value, index) for index in range(len(value))]
    for container, key in list(found):
        found += slots(container[key])
    return found


def mutate(value: Any, draw: Callable[[st.SearchStrategy[Any]], Any]) -> Any:
    """The document with one to three places changed."""
    value = {"": copy.deepcopy(value)}
    for _ in range(draw(st.integers(1, 3))):
        container, key = draw(st.sampled_from(slots(value)))
        how = draw(st.sampled_from(("replace", "replace", "remove", "add", "wrap")))
        if how == "remove" and container is not value:
            del container[key]
        elif how == "add" and isinstance(container[key], dict):
            container[key][draw(st.sampled_from(("", "x", "path", "type", "limit")))] = draw(odd())
        elif how == "add" and isinstance(container[key], list):
            container[key].append(draw(odd()))
        elif how == "wrap":
            container[key] = draw(st.sampled_from(([container[key]], {"x": container[key]})))
        else:
            container[key] = draw(odd())
    return value[""]


def odd() -> st.SearchStrategy[Any]:
    return st.sampled_from(ODD).map(copy.deepcopy)


@st.composite
def valid(draw: st.DrawFn, schema: Schema) -> Any:
    """A document made from the schema alone."""
    while "$ref" in schema:
        schema = resolve(SCHEMAS, schema["$ref"])
    match schema["type"]:
        case "boolean":
            return draw(st.booleans())
        case "integer":
            low, high = schema["minimum"], schema["maximum"]
            return draw(st.sampled_from((low, high)) | st.integers(low, high))
        case "string":
            if "enum" in schema:
                return draw(st.sampled_from(schema["enum"]))
            if "pattern" in schema:
                pattern = re.compile(schema["pattern"].replace("$", r"\Z"))
                return draw(st.from_regex(pattern))
            return draw(st.text("ab/. é", min_size=schema.get("minLength", 0), max_size=4))
        case "array":
            count = draw(st.integers(schema.get("minItems", 0), 2))
            return [draw(valid(schema["items"])) for _ in range(count)]
    if "additionalProperties" in schema:
        names = draw(st.lists(st.text("ab.", min_size=1, max_size=3), max_size=2, unique=True))
        return {name: draw(valid(schema["additionalProperties"])) for name in names}
    needed = set(schema.get("required", ()))
    for branch in schema.get("anyOf", ())[:1]:
        needed |= set(branch["required"])
    rest = [name for name in schema.get("properties", {}) if name not in needed]
    chosen = needed | set(draw(st.lists(st.sampled_from(rest), max_size=4)) if rest else ())
    made = {name: draw(valid(schema["properties"][name])) for name in sorted(chosen)}
    if draw(st.booleans()):
        made["an unknown property"] = None
    return made


FEW = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("root", ROOT_OF)
@FEW
@given(st.data())
def test_generated_documents_are_valid_for_both(root: str, data: st.DataObject) -> None:
    value = data.draw(valid(resolve(SCHEMAS, ROOT_OF[root])))
    assert agree(value, root)
    assert explain(value, root, "x") is None


@pytest.mark.parametrize("root", ROOT_OF)
@FEW
@given(st.data())
def test_changed_documents_get_one_verdict(root: str, data: st.DataObject) -> None:
    base = data.draw(st.sampled_from(documents(root)) | valid(resolve(SCHEMAS, ROOT_OF[root])))
    value = mutate(base, data.draw)
    if not agree(value, root):
        error = explain(value, root, "config.json")
        assert error is not None
        assert str(error).startswith("config.json: ")


@pytest.mark.parametrize("root", ROOT_OF)
def test_every_place_with_every_odd_value(root: str) -> None:
    """Place by place; each odd value comes at some of the places."""
    document = copy.deepcopy(documents(root)[-1])
    places = slots(document)
    step = {"config": 61, "process": 11, "resources": 7}[root]
    for number, (container, key) in enumerate(places):
        right = container[key]
        for value in ODD[number % step :: step]:
            container[key] = value
            agree(document, root)
        container[key] = right


@FEW
@given(st.data())
def test_matchers_are_their_expressions(data: st.DataObject) -> None:
    for expression, matcher in MATCHERS.items():
        pattern = re.compile(expression.replace("$", r"\Z"))
        text = data.draw(st.from_regex(pattern) | st.text("01.-+aMGKB:=rwm, \nCAP_", max_size=8) | st.text())
        for candidate in (text, text + "\n", text[1:], text + "٣"):
            assert matcher(candidate) is bool(pattern.search(candidate)), (expression, candidate)
