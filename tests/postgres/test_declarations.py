"""Declarations of queues and schedules whose rows another session has locked."""

from __future__ import annotations

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.conformance.driver import soon
from tests.postgres.many_jobs import Connection
from tests.runtime.workers.place import until
from zeke_queue import Catalog, Queue, Worker
from zeke_queue.errors import StatementFailedError
from zeke_queue.model import QueueSettings, Schedule
from zeke_queue.storage.postgres import PostgresStorage

LOCK_ALL = "select from pgboss.queue, pgboss.zeke_schedule for update"
REFUSAL = """
    create function refuse() returns trigger language plpgsql as $$ begin raise 'audited'; end $$;
    create trigger refuse before insert on pgboss.queue for each row execute function refuse();
"""
QUEUES = [QueueSettings("mail", 2), QueueSettings("post", None)]
SCHEDULES = [Schedule("daily", "0 4 * * *", "mail", data='{"n": 1.0}', options={"priority": 3})]


async def test_rows_that_are_as_declared_are_not_locked(
    storage: PostgresStorage, dsn: str, sql: Connection
) -> None:
    await storage.declare(QUEUES, SCHEDULES)
    touched = "select xmin::text, xmax::text from pgboss.queue union all select xmin::text, xmax::text"
    before = sql.execute(f"{touched} from pgboss.zeke_schedule".encode()).fetchall()
    with psycopg.connect(dsn) as holder:
        await storage.declare(QUEUES, SCHEDULES)
        assert sql.execute(f"{touched} from pgboss.zeke_schedule".encode()).fetchall() == before
        holder.execute(LOCK_ALL)
        await soon(storage.declare(QUEUES, SCHEDULES))


async def test_declaration_that_a_trigger_refuses_names_the_log(
    storage: PostgresStorage, sql: Connection
) -> None:
    sql.execute(REFUSAL)
    with pytest.raises(StatementFailedError, match=r"(?s)audited.*\. See the server's log$"):
        await storage.declare(QUEUES, [])


async def test_worker_starts_beside_locked_rows_and_stores_its_declaration_later(
    storage: PostgresStorage, dsn: str, sql: Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    catalog, ran = Catalog(), list[str]()

    @catalog.task("mail", concurrency_limit=3)
    async def mail() -> None:
        ran.append("mail")

    @catalog.task("free")
    async def free() -> None:
        ran.append("free")

    catalog.schedule("daily", "0 5 * * *", task="mail")
    await storage.declare(QUEUES, SCHEDULES)
    limit = "select concurrency_limit from pgboss.queue where name = 'mail'"
    queues = "select name from pgboss.queue order by name"
    cron = "select cron from pgboss.zeke_schedule"
    short = make_conninfo(dsn, options="-c lock_timeout=20")
    with psycopg.connect(dsn) as holder:
        holder.execute(LOCK_ALL)
        async with Queue.connect(catalog, short) as queue, Worker(queue, schedules=False):
            await queue.send(free)
            await until(lambda: ran)
            assert sql.execute(limit).fetchone() == (2,)
            await until(lambda: sql.execute(queues).fetchall() == [("free",), ("mail",), ("post",)])
            holder.rollback()
            await until(lambda: sql.execute(limit).fetchone() == (3,))
            await until(lambda: sql.execute(cron).fetchone() == ("0 5 * * *",))
    assert "declaration_waits" in "".join(capsys.readouterr())
