"""Which errors of the server are about the values of an outcome, and which are not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql as composing

from tests.cases import check_each_async
from zeke_queue.errors import StatementFailedError, StorageError, StorageUnavailableError
from zeke_queue.model import Completed, JobEvent

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.postgres.many_jobs import Connection, Sender
    from zeke_queue.storage.postgres import PostgresStorage

OF_VALUES = ["22001", "22021", "22P05", "23502", "23514", "44000", "54000", "54001", "P0001"]
FAILURES = ["0A000", "21000", "2F005", "42601", "42P18", "55000", "55006", "72000", "XX000", "XX001", "XX002"]
OUTAGES = ["08006", "53100", "53200", "57P03", "58030"]

TRIGGER = """
create or replace function pg_temp_fail() returns trigger language plpgsql as $$
begin raise exception 'as the test wants' using errcode = {}; end $$;
create or replace trigger failing before insert or update on {} for each row execute function pg_temp_fail()
"""


async def test_server_errors_are_classified_by_their_cause(
    storage: PostgresStorage, jobs: Sender, sql: Connection
) -> None:
    (sent,) = await jobs.send()
    await jobs.claim(1)

    writes: dict[str, Callable[[], Awaitable[object]]] = {
        "job": lambda: storage.settle([Completed(sent, 1, None)]),
        "job_event": lambda: storage.append_events([JobEvent(sent, 1, "log", "{}")]),
    }

    async def check(state: str, table: str, error: type[Exception]) -> None:
        identifier = composing.Identifier("pgboss", table)
        sql.execute(composing.SQL(TRIGGER).format(composing.Literal(state), identifier))
        try:
            with pytest.raises(error) as caught:
                await writes[table]()
        finally:
            sql.execute(composing.SQL("drop trigger failing on {}").format(identifier))
        if error is psycopg.Error:
            assert not isinstance(caught.value, StorageError)

    expected: list[tuple[list[str], type[Exception]]] = [
        (OF_VALUES, psycopg.Error),
        (FAILURES, StatementFailedError),
        (OUTAGES, StorageUnavailableError),
    ]
    await check_each_async(
        [(state, table, error) for states, error in expected for state in states for table in writes],
        check,
    )
    assert await storage.settle([Completed(sent, 1, None)]) == {sent}
