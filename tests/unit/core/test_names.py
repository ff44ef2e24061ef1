"""Which names are names."""

from __future__ import annotations

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.tables import check_gives, check_refused
from zeke_queue.core.names import PRIVATE_PREFIX, private_queue, queue_name, schema_name
from zeke_queue.errors import InvalidNameError


def test_valid_queue_name_is_returned_unchanged() -> None:
    check_gives(
        queue_name,
        [(name, name) for name in ["ingest-pull", "a", "1", "_x", "mail.send:v2/eu", "a@b+c", "x" * 200]],
    )


def test_invalid_queue_name_is_rejected() -> None:
    # fmt: off
    names = [
        "", " ", "a b", "a\n", "\n", "a*", "-x", ".x", "größe", "a\0", "x" * 201,
        "a;drop", "'", '"', "a,b", "٣", None, 5, b"a",
    ]
    # fmt: on
    check_refused(queue_name, InvalidNameError, names, "^name: must ")


def test_queue_name_reserved_by_pg_boss_is_rejected() -> None:
    check_refused(
        queue_name,
        InvalidNameError,
        ["__pgboss__maintenance", "__pgboss__", "__state__completed__x"],
        "reserves",
    )


def test_name_of_a_private_queue_is_rejected() -> None:
    names = [private_queue("mail", UUID(int=7)), PRIVATE_PREFIX]
    check_refused(queue_name, InvalidNameError, names, "for the private queues of commands.*name of the task")


def test_valid_schema_name_is_folded_to_lower_case() -> None:
    check_gives(schema_name, [("pgboss", "pgboss"), ("PgBoss", "pgboss"), ("_a1", "_a1"), ("x" * 50,) * 2])


def test_invalid_schema_name_is_rejected() -> None:
    # fmt: off
    names = [
        "", "1a", "a-b", "a b", "a.b", "x" * 51, 'a"', "a;", "pg_x", "PG_x",
        "é", "\N{KELVIN SIGN}", "a\n", "user", "Table", None, 1,
    ]
    # fmt: on
    check_refused(schema_name, InvalidNameError, names, "^schema: must ")


@given(st.text(max_size=300))
def test_name_is_returned_unchanged_or_refused_by_name(name: str) -> None:
    try:
        returned = queue_name(name)
    except InvalidNameError as error:
        shown = str(error)
    else:
        shown = returned
        assert returned == name
    assert len(shown) <= 300
