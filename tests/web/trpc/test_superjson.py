"""superjson's wire format, read and written: what superjson 2.2.6 writes, and what it never does."""

from __future__ import annotations

import json
import math
from copy import deepcopy
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cases import check_each
from zeke_queue.web.trpc.superjson import BadSuperJson, Budget, decode, encode, parse_path

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LATER = datetime(2023, 11, 14, 22, 13, 20, 123_000, UTC)
_EPOCH = '"1970-01-01T00:00:00.000Z"'
_ERROR_META = '{"values":["Error",{"cause":["Date"]}],"v":1}'
_SHARED_META = '{"values":{"m":["map"]},"referentialEqualities":{"s":["m.0.1"]},"v":1}'

# What superjson wrote for the value that the name says, and what a payload makes of it.
SAMPLES: dict[str, tuple[str, Any]] = {
    "plain values": ('{"json":{"a":[1,"x",null,true]}}', {"a": [1, "x", None, True]}),
    "undefined": ('{"json":null,"meta":{"values":["undefined"],"v":1}}', None),
    "undefined inside": (
        '{"json":{"a":null,"b":[null,1]},"meta":{"values":{"a":["undefined"],"b.0":["undefined"]},"v":1}}',
        {"b": [None, 1]},
    ),
    "a Date": (f'{{"json":{_EPOCH},"meta":{{"values":["Date"],"v":1}}}}', EPOCH),
    "keys with dots and backslashes": (
        r'{"json":{"a.b":{"c\\d":"2023-11-14T22:13:20.123Z"}},"meta":{"values":{"a\\.b.c\\\\d":["Date"]},"v":1}}',
        {"a.b": {"c\\d": LATER}},
    ),
    "an empty key": (f'{{"json":{{"":{_EPOCH}}},"meta":{{"values":{{"":["Date"]}},"v":1}}}}', {"": EPOCH}),
    "a bigint": ('{"json":"12345678901234567890","meta":{"values":["bigint"],"v":1}}', 12345678901234567890),
    "a Map": (
        f'{{"json":[["a",{_EPOCH}],["b",[1,2]]],"meta":{{"values":["map",{{"0.1":["Date"],"1.1":["set"]}}],"v":1}}}}',
        {"a": EPOCH, "b": [1, 2]},
    ),
    "a Map by number": ('{"json":[[1,"x"]],"meta":{"values":["map"],"v":1}}', {1: "x"}),
    "a Set": (
        f'{{"json":["x",{{"d":{_EPOCH}}}],"meta":{{"values":["set",{{"1.d":["Date"]}}],"v":1}}}}',
        ["x", {"d": EPOCH}],
    ),
    "a Set of Sets": (
        '{"json":[["1"]],"meta":{"values":["set",{"0":["set",{"0":["bigint"]}]}],"v":1}}',
        [[1]],
    ),
    "an Error with a cause": (
        f'{{"json":{{"name":"Error","message":"no","cause":{_EPOCH}}},"meta":{_ERROR_META}}}',
        {"name": "Error", "message": "no", "cause": EPOCH},
    ),
    "a RegExp": (r'{"json":"/a\\/b/gi","meta":{"values":["regexp"],"v":1}}', r"/a\/b/gi"),
    "a URL": (
        '{"json":"https://example.org/a?b","meta":{"values":["URL"],"v":1}}',
        "https://example.org/a?b",
    ),
    "a typed array": ('{"json":[1,2],"meta":{"values":[["typed-array","Uint8Array"]],"v":1}}', [1, 2]),
    "one object in three places": (
        '{"json":{"a":{"x":1},"b":[{"x":1},{"x":1}]},"meta":{"referentialEqualities":{"a":["b.0","b.1"]},"v":1}}',
        {"a": {"x": 1}, "b": [{"x": 1}, {"x": 1}]},
    ),
    "one object in two places, written once": (
        '{"json":{"a":{"x":1},"b":null},"meta":{"referentialEqualities":{"a":["b"]},"v":1}}',
        {"a": {"x": 1}, "b": {"x": 1}},
    ),
    "one object in a Map and beside it": (
        f'{{"json":{{"m":[["k",null]],"s":{{"x":1}}}},"meta":{_SHARED_META}}}',
        {"m": {"k": {"x": 1}}, "s": {"x": 1}},
    ),
    "a path of an older client": (
        r'{"json":{"a\\b":{"c.d":"1"}},"meta":{"values":{"a\\b.c\\.d":["bigint"]}}}',
        {"a\\b": {"c.d": 1}},
    ),
}


def test_superjson_is_decoded() -> None:
    def check(wire: str, value: Any) -> None:
        assert decode(json.loads(wire)) == value

    check_each(SAMPLES, check)


def test_numbers_that_json_lacks_are_decoded() -> None:
    noted = '{"0":["number"],"1":["number"],"2":["number"],"3":["number"]}'
    wire = f'{{"json":["NaN","Infinity","-Infinity","-0",0],"meta":{{"values":{noted},"v":1}}}}'
    nan, infinity, negative, zero, plain = decode(json.loads(wire))
    assert math.isnan(nan)
    assert (infinity, negative, plain) == (math.inf, -math.inf, 0)
    assert math.copysign(1, zero) == -1


# (input, part of the error)
INVALID: list[tuple[Any, str]] = [
    ([], "superjson.serialize"),
    ({"meta": {}}, "superjson.serialize"),
    ({"json": 1, "meta": 1}, "meta: not an object"),
    ({"json": 1, "meta": {"values": 1}}, "meta.values: not an object"),
    ({"json": 1, "meta": {"values": []}}, "annotation is empty"),
    ({"json": 1, "meta": {"values": ["Date", []]}}, "meta.values: not an object"),
    ({"json": 1, "meta": {"values": ["Date"]}}, "1 is no Date"),
    ({"json": "+010000-01-01T00:00:00.000Z", "meta": {"values": ["Date"]}}, "is no Date"),
    ({"json": "2024-02-30T00:00:00.000Z", "meta": {"values": ["Date"]}}, "is no Date"),
    ({"json": "1e3", "meta": {"values": ["bigint"]}}, "is no bigint"),
    ({"json": "1" * 5000, "meta": {"values": ["bigint"]}}, "is no bigint"),
    ({"json": "1", "meta": {"values": ["number"]}}, "is no number"),
    ({"json": [], "meta": {"values": ["number"]}}, "is no number"),
    ({"json": {}, "meta": {"values": ["set"]}}, "is no set"),
    ({"json": ["ab"], "meta": {"values": ["map"]}}, "is no map"),
    ({"json": [[1.5, 1]], "meta": {"values": ["map"]}}, "neither text nor an integer"),
    ({"json": [[True, 1]], "meta": {"values": ["map"]}}, "neither text nor an integer"),
    ({"json": [[[], 1]], "meta": {"values": ["map"]}}, "neither text nor an integer"),
    ({"json": [], "meta": {"values": ["Error"]}}, "is no Error"),
    ({"json": {"name": "a"}, "meta": {"values": ["Error"]}}, "is no Error"),
    ({"json": 1, "meta": {"values": ["URL"]}}, "is no URL"),
    ({"json": 1, "meta": {"values": ["Thing"]}}, "type 'Thing' is not known"),
    ({"json": 1, "meta": {"values": [7]}}, "type 7 is not known"),
    ({"json": {}, "meta": {"values": [["class", "Team"]]}}, "not known here"),
    ({"json": "s", "meta": {"values": [["symbol", "s"]]}}, "not known here"),
    ({"json": "s", "meta": {"values": [["custom", "money"]]}}, "not known here"),
    ({"json": {"a": "x"}, "meta": {"values": {"b": ["Date"]}}}, "nothing at the path 'b'"),
    ({"json": [1], "meta": {"values": {"1": ["Date"]}}}, "nothing at the path '1'"),
    ({"json": [1], "meta": {"values": {"-1": ["Date"]}}}, "nothing at the path '-1'"),
    ({"json": [1], "meta": {"values": {"9" * 5000: ["Date"]}}}, "nothing at the path"),
    ({"json": "text", "meta": {"values": {"0": ["Date"]}}}, "nothing at the path '0'"),
    ({"json": {"__proto__": {"x": "1"}}, "meta": {"values": {"__proto__.x": ["bigint"]}}}, "__proto__"),
    ({"json": {"constructor": "1"}, "meta": {"values": {"constructor": ["bigint"]}}}, "constructor"),
    ({"json": {"prototype": "1"}, "meta": {"values": {"prototype": ["bigint"]}}}, "prototype"),
    ({"json": {"a": "1"}, "meta": {"values": {"a\\": ["bigint"]}, "v": 1}}, "backslash"),
    ({"json": {"a": 1}, "meta": {"referentialEqualities": 1}}, "not an object"),
    ({"json": {"a": 1}, "meta": {"referentialEqualities": {"a": "a"}}}, "not a list of paths"),
    ({"json": {"a": 1}, "meta": {"referentialEqualities": {"a": [1]}}}, "path is no text"),
    ({"json": {"a": 1}, "meta": {"referentialEqualities": {"a": ["b"]}}}, "nothing at the path 'b'"),
    ({"json": {"a": 1}, "meta": {"referentialEqualities": {"__proto__": ["a"]}}}, "__proto__"),
    ({"json": {"a": 1, "me": None}, "meta": {"referentialEqualities": [["me"]]}}, "contains itself"),
]


def test_invalid_superjson_is_rejected_with_reason() -> None:
    def check(wire: Any, reason: str) -> None:
        with pytest.raises(BadSuperJson) as refused:
            decode(wire)
        assert reason in str(refused.value)
        assert len(str(refused.value)) < 300

    one_spelling = [
        ({"json": ["1", "1"], "meta": {"values": {path: ["bigint"]}}}, "nothing at the path")
        for path in ("00", "01", "\u0660")
    ]
    check_each([*INVALID, *one_spelling], check)


def test_nested_references_are_bounded_in_size() -> None:
    levels = 18  # so that, were it not weighed, it would be large, and no more than that
    tree: dict[str, Any] = {f"l{n}": [None, None] for n in range(levels)}
    tree["l0"] = [0, 0]
    same = {f"l{n}": [f"l{n + 1}.0", f"l{n + 1}.1"] for n in range(levels - 1)}
    with pytest.raises(BadSuperJson, match="too large"):
        decode({"json": tree, "meta": {"referentialEqualities": same}})


def test_shared_part_is_decoded_once() -> None:
    tree: dict[str, Any] = {f"l{n}": [None, None] for n in range(12)}
    tree["l0"] = ["1970-01-01T00:00:00.000Z", 0]
    same = {f"l{n}": [f"l{n + 1}.0", f"l{n + 1}.1"] for n in range(11)}
    meta = {"values": {"l0.0": ["Date"]}, "referentialEqualities": same, "v": 1}
    told = decode({"json": tree, "meta": meta})
    assert told["l1"] == [[EPOCH, 0], [EPOCH, 0]]
    assert all(told[f"l{n + 1}"][0] is told[f"l{n + 1}"][1] is told[f"l{n}"] for n in range(11))


def test_long_values_count_each_time_they_are_referred_to() -> None:
    def check(heavy: Any, kind: str | None) -> None:
        values = {"values": {"a.0": [kind]}} if kind else {}
        wire = {"json": {"a": heavy, "b": [None] * 400}, "meta": values}
        decode(deepcopy(wire))
        wire["meta"]["referentialEqualities"] = {"a": [f"b.{n}" for n in range(400)]}
        with pytest.raises(BadSuperJson, match="too large"):
            decode(wire)

    cases = {
        "text": (["x" * 100_000], None),
        "key": ({"x" * 100_000: 1}, None),
        "bigint": (["9" * 4000], "bigint"),
    }
    check_each(cases, check)


def test_only_values_with_references_use_the_budget() -> None:
    budget = Budget(150)
    decode({"json": ["x" * 1000]}, budget)
    decode({"json": ["x" * 1000, "1"], "meta": {"values": {"1": ["bigint"]}}}, budget)
    assert budget.left == 150
    wire = {"json": ["x" * 30, None], "meta": {"referentialEqualities": {"0": ["1"]}}}
    decode(deepcopy(wire), budget)
    assert 0 < budget.left < 80
    with pytest.raises(BadSuperJson, match="too large"):
        decode(wire, budget)


def test_part_is_converted_to_a_map_once() -> None:
    with pytest.raises(BadSuperJson, match="is no map"):
        decode({"json": {"a": {"b": []}}, "meta": {"values": {"a.b": ["map"], "a": {"b": ["map"]}}, "v": 1}})


def test_nested_references_are_bounded_in_depth() -> None:
    tree: dict[str, Any] = {f"l{n}": [None] for n in range(300)}
    same = {f"l{n}": [f"l{n + 1}.0"] for n in range(299)}
    with pytest.raises(BadSuperJson, match="levels deep"):
        decode({"json": tree, "meta": {"referentialEqualities": same}})


def test_path_is_split_at_unescaped_dots() -> None:
    assert parse_path("") == [""]
    assert parse_path("a..b") == ["a", "", "b"]
    assert parse_path(r"a\.b.c\\.d") == ["a.b", "c\\", "d"]
    assert parse_path(r"a\b\.c", legacy=True) == [r"a\b.c"]


# (value, its JSON, its annotations)
ENCODED: list[tuple[Any, Any, Any]] = [
    ({"a": [1, "x", None, True, 1.5]}, {"a": [1, "x", None, True, 1.5]}, None),
    (EPOCH, "1970-01-01T00:00:00.000Z", ["Date"]),
    (
        {"d": LATER.astimezone(timezone(timedelta(hours=2)))},
        {"d": "2023-11-14T22:13:20.123Z"},
        {"d": ["Date"]},
    ),
    (2**53 - 1, 2**53 - 1, None),
    (2**53, str(2**53), ["bigint"]),
    ([-(2**60)], [str(-(2**60))], {"0": ["bigint"]}),
    (
        [math.inf, -math.inf, -0.0],
        ["Infinity", "-Infinity", "-0"],
        {"0": ["number"], "1": ["number"], "2": ["number"]},
    ),
    (UUID(int=1), "00000000-0000-0000-0000-000000000001", None),
    ({"b", "a"}, ["a", "b"], ["set"]),
    (frozenset({EPOCH}), ["1970-01-01T00:00:00.000Z"], ["set", {"0": ["Date"]}]),
    ({1: EPOCH}, [[1, "1970-01-01T00:00:00.000Z"]], ["map", {"0.1": ["Date"]}]),
    (
        {"a.b": {"c\\d": {EPOCH}}},
        {"a.b": {"c\\d": ["1970-01-01T00:00:00.000Z"]}},
        {r"a\.b.c\\d": ["set", {"0": ["Date"]}]},
    ),
    ((1, EPOCH), [1, "1970-01-01T00:00:00.000Z"], {"1": ["Date"]}),
    ({"__proto__": {"n": 2**60}}, {"__proto__": {"n": str(2**60)}}, None),
]


def test_values_are_encoded_as_superjson_does() -> None:
    def check(value: Any, plain: Any, values: Any) -> None:
        expected = {"json": plain} if values is None else {"json": plain, "meta": {"values": values, "v": 1}}
        assert encode(value) == expected

    check_each([*ENCODED, (math.nan, "NaN", ["number"])], check)


def test_value_without_a_form_is_not_encoded() -> None:
    with pytest.raises(TypeError):
        encode({"a": object()})
    with pytest.raises(ValueError, match="zone"):
        encode({"a": datetime(2024, 1, 1)})  # noqa: DTZ001 - which is the point


_INSTANTS = st.datetimes(timezones=st.just(UTC)).map(
    lambda t: t.replace(microsecond=t.microsecond // 1000 * 1000)
)
_KEYS = st.text(st.sampled_from("ab.\\01")) | st.integers(-3, 3).map(str)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5) | _INSTANTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_KEYS, inner, max_size=4),
)


@given(_VALUES)
def test_encoded_value_decodes_to_itself(value: Any) -> None:
    assert decode(json.loads(json.dumps(encode(value)))) == value
