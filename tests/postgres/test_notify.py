"""Notifications: each costs every commit something, so jobs notify only processes that listen for them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.cases import check_each_async
from tests.conformance.planting import EMPTY
from tests.postgres.many_jobs import ANNA, Connection, Sender
from tests.postgres.opening import END_ALL, opened
from zeke_queue.model import Completed, Failed, JobEvent, QueueSettings, WorkerInfo
from zeke_queue.storage.postgres import PostgresStorage
from zeke_queue.system.clock import SystemClock


@pytest.fixture
def heard(sql: Connection) -> Heard:
    return Heard(sql)


class Heard:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        connection.execute("listen zeke_work_pgboss")
        connection.execute("listen zeke_job_pgboss")

    def so_far(self) -> list[tuple[str, str]]:
        """Return the notifications since the last call; a round trip receives all committed before."""
        self._connection.execute("select 1")
        said = self._connection.notifies(timeout=0)
        return [(notification.channel, notification.payload) for notification in said]


async def asleep(storage: PostgresStorage, *queues: str) -> None:
    await storage.heartbeat(WorkerInfo(ANNA, "host", 1, queues, 15.0))
    await storage.set_idle(ANNA, queues)


async def test_insert_of_due_jobs_notifies_living_idle_workers_of_their_queue(
    storage: PostgresStorage, jobs: Sender, sql: Connection, heard: Heard
) -> None:
    async def check(queues: list[str], silent: int, delay: float, said: list[tuple[str, str]]) -> None:
        sql.execute(EMPTY)
        if queues:
            await asleep(storage, *queues)
        else:
            await storage.heartbeat(WorkerInfo(ANNA, "host", 1, ("mail",), 15.0))
        sql.execute("update pgboss.worker set beat_on = now() - %s * interval '1 second'", [silent])
        await jobs.send(3, delay=delay)
        assert heard.so_far() == said

    await check_each_async(
        {
            "idle for both": (["mail", "post"], 0, 0.0, [("zeke_work_pgboss", "mail")]),
            "not idle": ([], 0, 0.0, []),
            "idle for another queue": (["post"], 0, 0.0, []),
            "dead": (["mail"], 60, 0.0, []),
            "deferred": (["mail"], 0, 60.0, []),
        },
        check,
    )


async def test_outcomes_of_watched_jobs_only_are_notified(
    storage: PostgresStorage, jobs: Sender, heard: Heard
) -> None:
    await jobs.send(4)
    done, failed, first, second = await jobs.claim(4)
    await storage.settle([Completed(done.id, 1, None)], [Failed(failed.id, 1, None, "{}")])
    assert heard.so_far() == []
    async with storage.subscribe() as watch:
        await watch.add([first.id])
        await jobs.complete([first, second])
        assert heard.so_far() == [("zeke_job_pgboss", str(first.id))]


async def test_abandoned_subscription_expires_after_a_minute(
    jobs: Sender, sql: Connection, heard: Heard
) -> None:
    await jobs.send()
    (job,) = await jobs.claim(1)
    sql.execute(
        "insert into pgboss.watcher values (%s, gen_random_uuid(), now() - interval '1 second')", [job.id]
    )
    await jobs.complete([job])
    assert heard.so_far() == []


async def test_claim_is_notified_to_subscribers_only(
    storage: PostgresStorage, jobs: Sender, heard: Heard
) -> None:
    first, _ = await jobs.send(2)
    async with storage.subscribe() as watch:
        await watch.add([first])
        await jobs.claim(2)
        assert heard.so_far() == [("zeke_job_pgboss", str(first))]


async def test_subscription_is_renewed_by_one_statement_for_all_its_jobs(
    dsn: str, sql: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(dsn, max_size=4, listen=True) as parts, parts.storage.subscribe() as watch:
        ids = await Sender(parts.storage, SystemClock()).send(50)
        await watch.add(ids)
        sql.execute("update pgboss.watcher set until = now()")
        asked: list[str] = []
        run = parts.statements.run

        async def noted(name: str, *args: Any, **options: Any) -> Any:
            asked.append(name)
            return await run(name, *args, **options)

        monkeypatch.setattr(parts.statements, "run", noted)
        monkeypatch.setattr(watch, "_renew_at", 0.0)
        await watch.wait(0.01)
        assert asked == ["watch"]
        kept = "select count(*) from pgboss.watcher where until > now() + interval '50 seconds'"
        assert sql.execute(kept).fetchone() == (50,)


async def test_closed_subscription_leaves_no_row_and_deletes_abandoned_ones(
    storage: PostgresStorage, jobs: Sender, sql: Connection
) -> None:
    (job,) = await jobs.send()
    left = "insert into pgboss.watcher values (%s, gen_random_uuid(), now() - interval '2 minutes')"
    fresh = "insert into pgboss.watcher values (%s, gen_random_uuid(), now())"
    sql.execute(left, [job])
    sql.execute(fresh, [job])
    number = "select count(*) from pgboss.watcher"
    async with storage.subscribe() as watch:
        await watch.add([job])
        assert sql.execute(number).fetchone() == (3,)
    await watch.add([job])
    assert sql.execute(number).fetchone() == (1,)


async def test_progress_is_notified_to_subscribers(
    storage: PostgresStorage, jobs: Sender, heard: Heard
) -> None:
    (job,) = await jobs.send()
    await storage.append_events([JobEvent(job, 1, "progress", '{"value": 0.5, "message": null}')])
    assert heard.so_far() == []
    async with storage.subscribe() as watch:
        await watch.add([job])
        await storage.append_events([JobEvent(job, 1, "log", "{}"), JobEvent(job, 1, "log", "{}")])
        assert heard.so_far() == [("zeke_job_pgboss", str(job))]


async def test_free_slot_of_a_limited_queue_notifies_idle_workers(
    storage: PostgresStorage, jobs: Sender, heard: Heard
) -> None:
    await storage.declare([QueueSettings("mail", 1)], [])
    await jobs.send(2)
    (job,) = await jobs.claim(2)
    await asleep(storage, "mail")
    heard.so_far()
    await jobs.complete([job])
    assert heard.so_far() == [("zeke_work_pgboss", "mail")]


async def test_changed_limit_and_resumed_queue_notify_workers_that_may_become_idle(
    storage: PostgresStorage, heard: Heard
) -> None:
    """A worker that becomes idle between the statement and its commit is not stored as idle yet."""
    await storage.declare([QueueSettings("mail", 1)], [])
    await storage.pause_queue("mail", paused=True)
    assert heard.so_far() == [("zeke_work_pgboss", "mail")]
    await storage.pause_queue("mail", paused=False)
    assert heard.so_far() == [("zeke_work_pgboss", "mail")]


async def test_lost_listening_connection_wakes_all_and_is_reopened(
    storage: PostgresStorage, jobs: Sender, sql: Connection
) -> None:
    await asleep(storage, "mail")
    waiting = asyncio.create_task(storage.wait_for_jobs(["mail"], 30))
    async with storage.subscribe() as watch:
        await watch.add([ANNA])
        watching = asyncio.create_task(watch.wait(30))
        await asyncio.wait([waiting, watching], timeout=0.01)
        sql.execute(f"{END_ALL} and query ilike 'listen%'".encode())
        assert await asyncio.wait_for(waiting, 120)
        assert await asyncio.wait_for(watching, 120) == [ANNA], "its change may have been missed"
    waiting = asyncio.create_task(storage.wait_for_jobs(["mail"], 30))
    await asyncio.wait([waiting], timeout=0.01)
    await jobs.send()
    assert await asyncio.wait_for(waiting, 120)


async def test_storage_without_listening_polls(dsn: str, sql: Connection) -> None:
    async with PostgresStorage.open(dsn, listen=False) as storage:
        await asleep(storage, "mail")
        assert await storage.wait_for_jobs(["mail"], 0.01) is False
        async with storage.subscribe() as watch:
            await watch.add([ANNA])
            assert await watch.wait(0.01) == []
        assert sql.execute("select count(*) from pgboss.watcher").fetchone() == (0,)
        listening = "select count(*) from pg_stat_activity where query ilike 'listen%'"
        assert sql.execute(f"{listening} and datname = current_database()".encode()).fetchone() == (0,)
