"""Rows use the database's clock, not that of the machine that sends and works."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.postgres.many_jobs import ANNA, Connection, Sender
from zeke_queue.model import Failed, JobQuery, WorkerInfo
from zeke_queue.storage.postgres import PostgresStorage
from zeke_queue.system.clock import SystemClock

AHEAD = timedelta(days=3)


async def test_stored_times_are_of_the_server_and_not_of_a_wrong_local_clock(
    storage: PostgresStorage, jobs: Sender, sql: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = SystemClock.now
    monkeypatch.setattr(SystemClock, "now", lambda self: right(self) + AHEAD)
    ((begun,),) = sql.execute("select now()").fetchall()
    await storage.heartbeat(WorkerInfo(ANNA, "host", 1, ("load",), 15.0))
    sent = await jobs.send(3)
    claimed = await jobs.claim(2)
    await storage.settle(failed=[Failed(claimed[0].id, claimed[0].attempt, 60.0, '{"type": "E"}')])
    await storage.cancel([sent[2]])
    ((ended,),) = sql.execute("select now()").fetchall()
    for job in (await storage.find(JobQuery())).jobs:
        for time in (job.created_on, job.started_on, job.completed_on, job.start_after):
            assert time is None or begun <= time <= ended + timedelta(seconds=60)
    (worker,) = await storage.workers()
    assert worker.beat_on is not None
    assert begun <= worker.beat_on <= ended
