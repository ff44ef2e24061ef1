"""``normalise`` against the jsonb of a real server, letter by letter."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from zeke_queue.core.jsonb import dumps, normalise
from zeke_queue.errors import SerializationError

if TYPE_CHECKING:
    from collections.abc import Iterator

# The fixture is one server for all examples, each of which is a statement that changes nothing.
SHARED: Final = settings(
    max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture
def connection(dsn: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


def by_postgres(connection: psycopg.Connection, text: str) -> str | None:
    """Return what the server prints after a round trip through jsonb, or None if it refuses the text."""
    try:
        row = connection.execute("select (%s::text)::jsonb::text", (text,)).fetchone()
    except psycopg.DataError:
        return None
    assert row is not None
    return row[0]


def by_us(text: str) -> str | None:
    try:
        return normalise(text)
    except SerializationError:
        return None


def escaped(character: str) -> st.SearchStrategy[str]:
    """Spell a character in one of the ways that JSON has, as one escape or two among them."""
    units = character.encode("utf-16-be", "surrogatepass")
    hexadecimal = "".join(f"\\u{units[n]:02x}{units[n + 1]:02x}" for n in range(0, len(units), 2))
    return st.sampled_from(
        [hexadecimal, hexadecimal.upper().replace("\\U", "\\u"), json.dumps(character)[1:-1]]
    )


characters = st.characters() | st.sampled_from('\0\x01\x1f\x7f\x80\u2028\ud83d\ude00\U0001f600"\\/é')
raw = st.characters(codec="utf-8", exclude_characters='"\\')
strings = st.lists(characters.flatmap(escaped) | raw, max_size=5).map(lambda parts: f'"{"".join(parts)}"')
sane_strings = st.sampled_from(['""', '"a"', '"b"', '"aa"', '"é"', '"\\u0061"', '"\\u00e9"', '"z"', '"日本"'])
exponents = st.integers(-20, 20) | st.sampled_from(
    [-16_383, -16_384, 131_071, 131_072, 2**30, 2**31, 10**20, -(10**20)]
)
numbers = st.builds(
    lambda sign, whole, fraction, exponent: f"{sign}{whole}{fraction}{exponent}",
    st.sampled_from(["", "-"]),
    st.integers(0, 10**30).map(str) | st.sampled_from(["0", "1", "10", "9"]),
    st.just("") | st.text("0123456789", min_size=1, max_size=20).map(lambda digits: f".{digits}"),
    st.just("") | st.builds(lambda e, n: f"{e}{n:+d}", st.sampled_from("eE"), exponents),
)
blanks = st.sampled_from(["", " ", "\n\t\r "])
atoms = st.sampled_from(["null", "true", "false"]) | numbers | strings


def arrays(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds(
        lambda members, blank: f"[{f'{blank},'.join(members)}{blank}]", st.lists(inner, max_size=4), blanks
    )


def objects(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    members = st.builds(
        lambda key, blank, value: f"{key}{blank}:{blank}{value}", sane_strings | strings, blanks, inner
    )
    return st.lists(members, max_size=6).map(lambda shown: f"{{{','.join(shown)}}}")


documents = st.recursive(atoms, lambda inner: arrays(inner) | objects(inner), max_leaves=12)


@SHARED
@given(text=documents)
@example('{"a":1,"\\u0061":2}')
@example('{"a":"\\u0000","a":1}')
@example('{"a":["\\ud800"],"a":1}')
@example('{"a":1e-16384,"a":1}')
@example('{"b":1,"aa":2,"a":3,"é":1,"zz":{},"z":[[],{}]}')
@example('"\\u2028\\u0001\\/\\ud83d\\ude00\\u007f"')
@example('"\\ude00\\ud83d"')
@example("[1.0,1,1e2,1E-3,-0.0,-0,1.50e1]")
@example("1E400")
@example('"\t"')
@example("01")
@example("NaN")
@example("[1,]")
@example("-0.000e-5")
@example("-0.0")
@example("1e308")
@example("[" * 500 + "]" * 500)
@example("9" * 131_072)
@example("9" * 131_073)
@example("0." + "1" * 16_384)
@example("0e1073741822")
@example("1e99999999999999999999")
def test_document_is_printed_as_the_server_prints_it(connection: psycopg.Connection, text: str) -> None:
    assert by_us(text) == by_postgres(connection, text)


@SHARED
@given(
    text=st.text(
        st.characters(codec="utf-8", exclude_characters="\0") | st.sampled_from('{}[]",:\\u0d8e+-. \n\v'),
        max_size=20,
    )
)
def test_borderline_json_is_refused_exactly_if_the_server_refuses_it(
    connection: psycopg.Connection, text: str
) -> None:
    assert by_us(text) == by_postgres(connection, text)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(), max_size=3), inner, max_size=4)
    ),
    max_leaves=12,
)


@SHARED
@given(value=values)
def test_every_written_value_is_accepted_by_the_server(connection: psycopg.Connection, value: Any) -> None:
    try:
        text = dumps(value)
    except SerializationError:
        return
    assert by_postgres(connection, text) == normalise(text)
