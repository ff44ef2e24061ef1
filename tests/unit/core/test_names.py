"""Which names are names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zeke_queue.core.names import queue_name, schema_name
from zeke_queue.errors import BadName


@pytest.mark.parametrize("name", ["ingest-pull", "a", "1", "_x", "mail.send:v2/eu", "a@b+c", "x" * 200])
def test_a_queue_may_be_called(name: str) -> None:
    assert queue_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "a b",
        "a\n",
        "\n",
        "a*",
        "-x",
        ".x",
        "größe",
        "a\0",
        "x" * 201,
        "a;drop",
        "'",
        '"',
        "a,b",
        "٣",
        None,
        5,
        b"a",
    ],
)
def test_a_queue_may_not_be_called(name: str) -> None:
    with pytest.raises(BadName, match="Queue name"):
        queue_name(name)


@pytest.mark.parametrize("name", ["__pgboss__maintenance", "__pgboss__", "__state__completed__x"])
def test_queues_of_pg_boss_are_reserved(name: str) -> None:
    with pytest.raises(BadName, match="reserves"):
        queue_name(name)


@pytest.mark.parametrize(
    ("name", "folded"), [("pgboss", "pgboss"), ("PgBoss", "pgboss"), ("_a1", "_a1"), ("x" * 50,) * 2]
)
def test_a_schema_may_be_called_and_is_folded(name: str, folded: str) -> None:
    assert schema_name(name) == folded


@pytest.mark.parametrize(
    "name",
    [
        "",
        "1a",
        "a-b",
        "a b",
        "a.b",
        "x" * 51,
        'a"',
        "a;",
        "pg_x",
        "PG_x",
        "é",
        "\N{KELVIN SIGN}",
        "a\n",
        "user",
        "Table",
        None,
        1,
    ],
)
def test_a_schema_may_not_be_called(name: str) -> None:
    with pytest.raises(BadName, match="Schema name"):
        schema_name(name)


@given(st.text(max_size=300))
def test_a_name_is_either_returned_as_it_is_or_refused_with_it(name: str) -> None:
    try:
        returned = queue_name(name)
    except BadName as error:
        shown = str(error)
    else:
        shown = returned
        assert returned == name
    assert len(shown) <= 300
