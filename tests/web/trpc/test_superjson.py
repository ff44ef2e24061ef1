"""superjson's wire format, read and written: the output of superjson 2.2.6, and other input."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cases import check_each
from zeke_queue.web.trpc.superjson import BadSuperJson, decode, encode, parse_path

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LATER = datetime(2023, 11, 14, 22, 13, 20, 123_000, UTC)
_EPOCH = '"1970-01-01T00:00:00.000Z"'
_SHARED_META = (
    '{"values":{"a.x":["bigint"],"b.0.x":["bigint"],"b.1.x":["bigint"]},'
    '"referentialEqualities":{"a":["b.0","b.1"]},"v":1}'
)
_ERROR_META = '{"values":["Error",{"cause":["Date"]}],"v":1}'

# superjson's output for the named value, and the payload read from it.
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
    "one object in three places with a bigint": (
        f'{{"json":{{"a":{{"x":"1"}},"b":[{{"x":"1"}},{{"x":"1"}}]}},"meta":{_SHARED_META}}}',
        {"a": {"x": 1}, "b": [{"x": 1}, {"x": 1}]},
    ),
    "the value of a Map's entry is undefined": (
        '{"json":[["k",null]],"meta":{"values":["map",{"0.1":["undefined"]}],"v":1}}',
        {"k": None},
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
    ({"json": 1, "meta": 1}, "meta: must be an object"),
    ({"json": 1, "meta": {"values": 1}}, "meta.values: must be an object"),
    ({"json": 1, "meta": {"values": []}}, "must be a type and its parts"),
    ({"json": 1, "meta": {"values": ["Date", []]}}, "meta.values: must be an object"),
    ({"json": 1, "meta": {"values": ["Date"]}}, "must mark a valid Date, got 1"),
    ({"json": "+010000-01-01T00:00:00.000Z", "meta": {"values": ["Date"]}}, "must mark a valid Date"),
    ({"json": "2024-02-30T00:00:00.000Z", "meta": {"values": ["Date"]}}, "must mark a valid Date"),
    ({"json": "1e3", "meta": {"values": ["bigint"]}}, "must mark a valid bigint"),
    ({"json": "1" * 5000, "meta": {"values": ["bigint"]}}, "must mark a valid bigint"),
    ({"json": "1", "meta": {"values": ["number"]}}, "must mark a valid number"),
    ({"json": [], "meta": {"values": ["number"]}}, "must mark a valid number"),
    ({"json": {}, "meta": {"values": ["set"]}}, "must mark a valid set"),
    ({"json": ["ab"], "meta": {"values": ["map"]}}, "must mark a valid map"),
    ({"json": [[1.5, 1]], "meta": {"values": ["map"]}}, "keys: must be text or integers"),
    ({"json": [[True, 1]], "meta": {"values": ["map"]}}, "keys: must be text or integers"),
    ({"json": [[[], 1]], "meta": {"values": ["map"]}}, "keys: must be text or integers"),
    ({"json": [], "meta": {"values": ["Error"]}}, "must mark a valid Error"),
    ({"json": {"name": "a"}, "meta": {"values": ["Error"]}}, "must mark a valid Error"),
    ({"json": 1, "meta": {"values": ["URL"]}}, "must mark a valid URL"),
    ({"json": 1, "meta": {"values": ["Thing"]}}, "must be types of superjson, got 'Thing'"),
    ({"json": 1, "meta": {"values": [7]}}, "must be types of superjson, got 7"),
    ({"json": {}, "meta": {"values": [["class", "Team"]]}}, "must be built-in types"),
    ({"json": "s", "meta": {"values": [["symbol", "s"]]}}, "must be built-in types"),
    ({"json": "s", "meta": {"values": [["custom", "money"]]}}, "must be built-in types"),
    ({"json": {"a": "x"}, "meta": {"values": {"b": ["Date"]}}}, "existing members, got 'b'"),
    ({"json": [1], "meta": {"values": {"1": ["Date"]}}}, "existing members, got '1'"),
    ({"json": [1], "meta": {"values": {"-1": ["Date"]}}}, "existing members, got '-1'"),
    ({"json": [1], "meta": {"values": {"9" * 5000: ["Date"]}}}, "existing members"),
    ({"json": "text", "meta": {"values": {"0": ["Date"]}}}, "existing members, got '0'"),
    ({"json": {"__proto__": {"x": "1"}}, "meta": {"values": {"__proto__.x": ["bigint"]}}}, "__proto__"),
    ({"json": {"constructor": "1"}, "meta": {"values": {"constructor": ["bigint"]}}}, "constructor"),
    ({"json": {"prototype": "1"}, "meta": {"values": {"prototype": ["bigint"]}}}, "prototype"),
    ({"json": {"a": "1"}, "meta": {"values": {"a\\": ["bigint"]}, "v": 1}}, "escape each backslash"),
    (
        {"json": {"a": 1}, "meta": {"referentialEqualities": 1}},
        "meta.referentialEqualities: must be an object",
    ),
    ({"json": {"a": 1}, "meta": {"referentialEqualities": {"a": "a"}}}, "must be lists of paths, got 'a'"),
    ({"json": {"a": 1}, "meta": {"referentialEqualities": {"a": [1]}}}, "must be lists of paths, got 1"),
    ({"json": {"a": 1}, "meta": {"referentialEqualities": {"a": ["b"]}}}, "existing members, got 'b'"),
    ({"json": {"a": 1}, "meta": {"referentialEqualities": {"a": ["__proto__"]}}}, "__proto__"),
    # What dedupe and circles leave, at the root, in a Map and beside it.
    ({"json": {"a": {}, "b": None}, "meta": {"referentialEqualities": {"a": ["b"]}}}, "'b', which is null"),
    ({"json": {"a": 1, "me": None}, "meta": {"referentialEqualities": [["me"]]}}, "'me', which is null"),
    (
        {"json": {"a": {}, "b": None}, "meta": {"referentialEqualities": [[], {"a": ["b"]}]}},
        "without dedupe, and send nothing that contains itself",
    ),
    (
        {
            "json": {"m": [["k", None]], "s": {}},
            "meta": {"values": {"m": ["map"]}, "referentialEqualities": {"s": ["m.0.1"]}},
        },
        "'m.0.1', which is null",
    ),
]


def test_invalid_superjson_is_rejected_with_reason() -> None:
    def check(wire: Any, reason: str) -> None:
        with pytest.raises(BadSuperJson) as refused:
            decode(wire)
        assert reason in str(refused.value)
        assert len(str(refused.value)) < 300

    one_spelling = [
        ({"json": ["1", "1"], "meta": {"values": {path: ["bigint"]}}}, "existing members")
        for path in ("00", "01", "\u0660")
    ]
    check_each([*INVALID, *one_spelling], check)


def test_part_is_converted_to_a_map_once() -> None:
    with pytest.raises(BadSuperJson, match="must mark a valid map"):
        decode({"json": {"a": {"b": []}}, "meta": {"values": {"a.b": ["map"], "a": {"b": ["map"]}}, "v": 1}})


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
    with pytest.raises(ValueError, match="time zone"):
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
