"""JSON: refused values and their paths, values read back, and their form in jsonb."""

from __future__ import annotations

import enum
import json
import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from tests.cases import check_each
from tests.unit.tables import check_gives, check_refused
from zeke_queue.core import jsonb
from zeke_queue.core.jsonb import DEPTH_MAX, INTEGER_DIGITS_MAX, INTEGER_DIGITS_READ, dumps, loads, normalise
from zeke_queue.errors import SerializationError

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
# From 1e16 on Postgres prints a float as an integer of more digits than the float was written with.
floats = st.floats(-1e15, 1e15)
leaves = st.none() | st.booleans() | st.integers() | floats | texts
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=15,
)


class Colour(enum.Enum):
    RED = "red"


class Item(BaseModel):
    name: str
    at: datetime


@dataclass
class Point:
    x: int
    y: float


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


@given(values)
def test_json_is_read_back_as_written(value: Any) -> None:
    assert loads(dumps(value)) == value
    assert loads(dumps(value).encode()) == value


@given(values)
def test_normalising_keeps_the_meaning_and_is_final(value: Any) -> None:
    normal = normalise(dumps(value))
    assert json.loads(normal) == value
    assert normalise(normal) == normal


def test_value_is_written_compactly() -> None:
    check_gives(
        dumps,
        [
            ({"a": 1, "b": [True, None]}, '{"a":1,"b":[true,null]}'),
            ("größe \N{GRINNING FACE}", '"größe \N{GRINNING FACE}"'),
            ("NaN", '"NaN"'),
            ({"Infinity": "-Infinity"}, '{"Infinity":"-Infinity"}'),
            (r"\u0000", r'"\\u0000"'),
            (UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
            (datetime(2026, 1, 2, 3, tzinfo=UTC), '"2026-01-02T03:00:00Z"'),
            (date(2026, 1, 2), '"2026-01-02"'),
            (timedelta(minutes=1), '"PT1M"'),
            (Decimal("1.50"), '"1.50"'),
            (Colour.RED, '"red"'),
            (Item(name="x", at=datetime(2026, 1, 1, tzinfo=UTC)), '{"name":"x","at":"2026-01-01T00:00:00Z"}'),
            ([Point(1, 2.5)], '[{"x":1,"y":2.5}]'),
            ((1, 2), "[1,2]"),
            ({1: "a"}, '{"1":"a"}'),
            (10**4000, "1" + "0" * 4000),
        ],
    )


CIRCLE: Final[dict[str, Any]] = {"deeper": []}
CIRCLE["deeper"].append(CIRCLE)


def test_value_that_is_not_json_is_rejected_with_its_path() -> None:
    def check(value: Any, path: str) -> None:
        with pytest.raises(SerializationError) as refused:
            dumps(value)
        assert str(refused.value).startswith(path)

    check_each(
        [
            (math.nan, "$"),
            ({"a": {"b": [1, math.inf]}}, "$.a.b.1"),
            ([Point(1, -math.inf)], "$.0.y"),
            ({"a": ["x", "NUL: \0"]}, "$.a.1"),
            ({"a": {"b\0": 1}}, "$.a, key"),
            ({"a": "half \ud83d"}, "$.a"),
            ({"a": {"\udc00": 1}}, "$.a"),
            ({"a": [1, object()]}, "$.a.1"),
            ({"a": (1, {"b": b"\xff"})}, "$.a.1.b"),
            (int, "$"),
            (CIRCLE, "$"),
        ],
        check,
    )


def test_integer_over_the_digit_limit_is_rejected() -> None:
    def check(limit: int) -> None:
        longest = 10**limit - 1
        assert loads(dumps([longest, -longest], digits=limit)) == [longest, -longest]
        for number in (longest + 1, -longest - 1):
            with pytest.raises(
                SerializationError, match=rf"^\$\.a\.0: an integer has {limit + 1} digits, {limit} at most"
            ):
                dumps({"a": [number]}, digits=limit)

    check_each([INTEGER_DIGITS_READ, INTEGER_DIGITS_MAX], check)


def test_integer_may_have_as_many_digits_as_postgres_accepts() -> None:
    assert len(dumps(10**131_071)) == 131_072
    with pytest.raises(SerializationError, match="131072 at most"):
        dumps([10**131_072])


def test_long_integer_is_written_beside_odd_texts() -> None:
    for beside in ["NaN", "Infinity", r"\u0000"]:
        assert loads(dumps([10**5_000, beside])) == [10**5_000, beside]


def test_value_that_is_not_json_is_rejected_beside_a_long_integer() -> None:
    check_refused(
        lambda beside: dumps([10**5_000, beside]),
        SerializationError,
        [math.nan, -math.inf, "NUL: \0"],
        r"^\$\.1: ",
    )


def test_digits_in_a_text_do_not_count_as_a_long_number() -> None:
    digits = "7" * 140_000
    assert loads(dumps({"a": digits, digits: "NaN"})) == {"a": digits, digits: "NaN"}


def test_value_nested_too_deeply_is_rejected_in_one_line() -> None:
    told = r"^The value nests more than 200 levels deep; flatten it$"
    check_refused(
        lambda deep: dumps({"a": nested(deep)}), SerializationError, [250, 254, 255, 300, 5_000], told
    )


def test_path_to_a_cycle_ends_where_it_closes() -> None:
    inner: dict[str, Any] = {}
    inner["again"] = [inner]
    with pytest.raises(
        SerializationError, match=r"^\$\.a\.again\.0: the value contains itself; remove the cycle$"
    ):
        dumps({"a": inner})


def test_message_stays_short_with_any_keys() -> None:
    for value in ({"k" * 10_000: object()}, {"k" * 10_000: math.nan}, {"\ud800" * 10_000: object()}):
        with pytest.raises(SerializationError) as refused:
            dumps(value)
        assert len(str(refused.value).encode()) < 2_000


class Named(BaseModel):
    by_name: dict[str, list[int]]


def test_lone_surrogate_in_a_key_is_refused() -> None:
    assert "\ufffd" in dumps(Named(by_name={"\ufffd": [1]}))
    with pytest.raises(SerializationError, match="half of a surrogate pair"):
        dumps([Named(by_name={"a": [1], "b\ud800": [2]})])


def test_value_may_nest_as_deeply_as_pydantic_reads() -> None:
    assert loads(dumps(nested(DEPTH_MAX))) == nested(DEPTH_MAX)
    with pytest.raises(SerializationError, match="200 levels"):
        dumps(nested(DEPTH_MAX + 50))


def test_wide_value_is_not_refused_as_deep() -> None:
    lists = [[n] for n in range(1_000)]
    cases = {
        "objects": [{"n": n} for n in range(1_000)],
        "lists": lists,
        "a long integer before lists": [[10**5_000], *lists],
    }
    check_gives(lambda value: loads(dumps(value)), {label: (value, value) for label, value in cases.items()})
    with pytest.raises(SerializationError, match="200 levels"):
        dumps([10**5_000, nested(DEPTH_MAX + 10)])


class Hostile(BaseModel):
    def __getattribute__(self, name: str) -> Any:
        if name.startswith("__pydantic"):
            raise RuntimeError("no")
        return super().__getattribute__(name)


def test_value_whose_own_code_raises_is_refused() -> None:
    with pytest.raises(SerializationError):
        dumps({"a": Hostile.model_construct()})


def test_deeper_stored_values_can_be_read() -> None:
    assert loads("[" * 300 + "]" * 300) == nested(300)


def test_long_integer_of_another_system_is_read() -> None:
    for digits in [4_301, 5_000, 131_072]:
        number = 10 ** (digits - 1) + 7
        text = "1" + "0" * (digits - 2) + "7"
        assert loads(f'{{"a": [{text}, -{text}]}}') == {"a": [number, -number]}


def test_text_that_is_not_json_is_rejected() -> None:
    check_refused(
        loads, SerializationError, ["", "nul", "[1,]", "{'a':1}", "NaN", "[Infinity]", b"\xff", "[" * 100_000]
    )


def test_invalid_unicode_is_found_by_reading_each_part_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonb, "_path_to_invalid", None)
    nested: Any = {"a": ["x", "\ud800", "\ud801"]}
    for _ in range(3):
        nested = [nested]
    with pytest.raises(SerializationError, match=r"^\$\.0\.0\.0\.a\.1: must be valid Unicode"):
        jsonb.dumps(nested)
    with pytest.raises(SerializationError, match=r"^\$\.b, key '\\\\ud800': must be valid Unicode"):
        jsonb.dumps({"a": "x", "b": {"c": 1, "\ud800": 2}})


def test_names_of_bad_numbers_in_texts_are_accepted_without_a_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonb, "_check_tree", None)
    assert jsonb.dumps({"NaN": "Infinity \\u0000", "1": "9" * 5000})
    with pytest.raises(TypeError):
        jsonb.dumps(["\\\0"])
