"""A worker on a Postgres that is restarted, or that closes all connections."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any, Literal

import psycopg
import pytest

from tests.conformance.driver import soon
from tests.runtime.workers.place import PATIENCE
from zeke_queue.client.queue import Queue
from zeke_queue.model import RowState
from zeke_queue.storage.embedded.server import EmbeddedPostgres
from zeke_queue.storage.forwarding import Call, forward
from zeke_queue.storage.postgres import PostgresStorage, migrate
from zeke_queue.system.settings import Settings
from zeke_queue.task.catalog import Catalog
from zeke_queue.task.task import Send
from zeke_queue.worker import Worker
from zeke_queue.worker.state import WorkerState

pytestmark = pytest.mark.nightly

JOBS = 300


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    """A server of this module's own, since it is restarted."""
    with EmbeddedPostgres.start(ephemeral=True) as started:
        migrate.migrate(started.dsn, "pgboss")
        yield started


@pytest.fixture
async def storage(server: EmbeddedPostgres) -> AsyncIterator[PostgresStorage]:
    async with PostgresStorage.open(server.dsn, min_size=1, max_size=4) as opened:
        yield opened


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_each_job_is_settled_once_over_a_restart_of_postgres(
    server: EmbeddedPostgres, storage: PostgresStorage, mode: Literal["fast", "immediate"]
) -> None:
    ran: Counter[int] = Counter()
    half = asyncio.Event()
    catalog = Catalog()

    @catalog.task(f"work-{mode}")
    async def work(n: int) -> int:
        ran[n] += 1
        await asyncio.wait([asyncio.ensure_future(asyncio.Event().wait())], timeout=0.005)
        if len(ran) >= JOBS // 2:
            half.set()
        return n

    queue = Queue(catalog, storage, settings=Settings.load())
    sent = [run.id for run in await queue.send_many([Send(work, n) for n in range(JOBS)])]
    async with Worker(queue, concurrency=20, poll_interval=0.2, lease=600, heartbeat_interval=1) as worker:
        await half.wait()
        await asyncio.to_thread(server.restart, mode)
        await soon(worker.drain())
    jobs = (await storage.get([job_id for job_id in sent if job_id is not None])).values()
    assert {(job.row_state, job.retry_count) for job in jobs} == {(RowState.COMPLETED, 0)}
    assert sorted(job.output for job in jobs) == list(range(JOBS))
    assert set(ran) == set(range(JOBS))
    # Jobs of a claim whose answer was lost are released before they start.
    assert set(ran.values()) == {1}
    await queue.close()


HEARTBEATS = """
create or replace function heartbeats() returns trigger language plpgsql as $$
begin perform pg_notify('heartbeats', new.id::text); return new; end $$;
create or replace trigger heartbeats after update of beat_on on pgboss.worker
for each row execute function heartbeats();
"""
"""Notifies each heartbeat of a registered worker."""


def wait_for_heartbeats(dsn: str, number: int = 3) -> int:
    """Block the thread until this many heartbeats were stored; returns how many were."""
    with psycopg.connect(dsn, autocommit=True) as listening:
        listening.execute("listen heartbeats")
        return sum(1 for _ in listening.notifies(timeout=PATIENCE, stop_after=number))


async def test_heartbeats_continue_while_a_handler_blocks_the_loop(
    server: EmbeddedPostgres, storage: PostgresStorage
) -> None:
    catalog = Catalog()

    @catalog.task("blocks")
    async def blocks() -> list[float]:
        until = state().alive_until
        assert wait_for_heartbeats(server.dsn) >= 3
        return [until, state().alive_until]

    def state() -> WorkerState:
        assert worker._lifecycle is not None
        return worker._lifecycle.shared.state

    queue = Queue(catalog, storage, settings=Settings.load())
    with psycopg.connect(server.dsn, autocommit=True) as admin:
        admin.execute(HEARTBEATS)
    async with Worker(queue, heartbeat_interval=0.05, watchdog=None) as worker:
        before, after = await (await queue.send(blocks)).result(timeout=PATIENCE)
        assert before < after
    await queue.close()


async def test_heartbeats_continue_while_all_connections_of_the_pool_are_in_use(
    server: EmbeddedPostgres,
) -> None:
    catalog = Catalog()

    @catalog.task("waits")
    async def waits() -> int:
        async with AsyncExitStack() as stack:
            for _ in range(3):
                await stack.enter_async_context(opened._pool._connections.one())
            return await asyncio.to_thread(wait_for_heartbeats, server.dsn)

    with psycopg.connect(server.dsn, autocommit=True) as admin:
        admin.execute(HEARTBEATS)
    async with PostgresStorage.open(server.dsn, min_size=1, max_size=3) as opened:
        queue = Queue(catalog, opened, settings=Settings.load())
        async with Worker(
            queue, heartbeat_interval=0.05, poll_interval=1000, maintenance=False, schedules=False
        ):
            assert await (await queue.send(waits)).result(timeout=PATIENCE) >= 3
        await queue.close()


async def test_idle_worker_is_notified_of_jobs_and_free_places_after_its_connections_were_closed(
    server: EmbeddedPostgres, storage: PostgresStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zeke_queue.core.poll_backoff.IDLE_LADDER", ())  # so that no poll finds a job
    catalog = Catalog()
    go, idle, waiting = asyncio.Event(), asyncio.Event(), False

    async def observe(call: Call, do: Callable[[], Awaitable[Any]]) -> Any:
        """Set ``idle`` while the worker waits for a notification, after its last claim."""
        nonlocal waiting
        if call.verb != "wait_for_jobs":
            answer = await do()
            if call.verb == "claim" and waiting and not answer:
                idle.set()
            return answer
        waiting = True
        try:
            return await do()
        finally:
            waiting = False
            idle.clear()

    @catalog.task("single", concurrency_limit=1)
    async def single(n: int) -> int:
        await idle.wait()
        return n

    @catalog.task("beside")
    async def beside() -> None:
        await go.wait()

    queue = Queue(catalog, forward(storage, observe), settings=Settings.load())
    async with Worker(queue, poll_interval=1000) as worker:
        await soon(idle.wait())
        for n in range(3):
            async with await psycopg.AsyncConnection.connect(server.dsn, autocommit=True) as admin:
                await admin.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity"
                    " where pid <> pg_backend_pid() and datname = current_database()"
                )
            assert await (await queue.trigger(single, n)).result(timeout=PATIENCE) == n
        await soon(idle.wait())
        assert await (await queue.trigger(single, 3)).result(timeout=PATIENCE) == 3
        await queue.send(beside)
        for n, run in enumerate(await queue.send_many([Send(single, n) for n in range(5)])):
            assert await run.result(timeout=PATIENCE) == n
        go.set()
        await soon(worker.drain())
    await queue.close()
