"""Two processes with nothing but ``Worker(queue)``: one is killed, and the other one does all there is."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.runtime.test_shutdown_process import sent, started, stored
from tests.runtime.workers import program
from tests.runtime.workers.place import PATIENCE
from zeke_queue.client.queue import Queue
from zeke_queue.model import RowState
from zeke_queue.worker import Worker

if TYPE_CHECKING:
    from uuid import UUID

pytestmark = pytest.mark.nightly


async def test_surviving_worker_serves_the_job_of_a_killed_one_and_a_tick(dsn: str) -> None:
    async with Queue.connect(program.catalog, dsn) as queue:
        job_id = await sent(queue, "endless")
        async with started(dsn, lease=10) as killed:
            await killed.begins(job_id)
            killed.signal(signal.SIGKILL)
            await killed.ended()
        await queue.schedules.put("often", "* * * * *", task="brief", payload=0.01)
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
            # A tick that fell due while no worker lived.
            await connection.execute(
                "update pgboss.zeke_schedule set last_tick = now() - interval '2 minutes',"
                " next_tick = now() - interval '1 minute'"
            )
            async with Worker(queue, poll_interval=0.5), asyncio.timeout(PATIENCE):
                await (await queue.get_run(job_id)).result()
                await (await queue.get_run(await _tick(queue, connection))).result()
        job = await stored(queue, job_id)
        assert (job.row_state, job.attempt) == (RowState.COMPLETED, 2)


async def _tick(queue: Queue, connection: psycopg.AsyncConnection) -> UUID:
    while True:
        rows = await connection.execute("select id from pgboss.zeke_job where task = 'brief'")
        if (found := await rows.fetchone()) is not None:
            return found[0]
        await queue.clock.sleep(0.05)
