"""The end of a worker's process: by one signal, by two, and by kill -9, on Postgres."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import psycopg
import pytest

from tests.runtime.workers import program
from tests.runtime.workers.place import PATIENCE, until
from zeke_queue.client.queue import Queue
from zeke_queue.model import Job, RowState

COMPLETED, CREATED, ACTIVE = RowState.COMPLETED, RowState.CREATED, RowState.ACTIVE


END_OF_LEASE = "update pgboss.worker set beat_on = now() - 2 * lease where pid = %s"
"""Ends the lease of a killed worker, which is one that no living worker loses while it waits."""


@pytest.fixture
async def queue(dsn: str) -> AsyncIterator[Queue]:
    async with Queue.connect(program.catalog, dsn) as opened:
        yield opened


class Process:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def begins(self, job_id: UUID) -> None:
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            while (line := await self.process.stdout.readline()).decode().split() != ["running", str(job_id)]:
                assert line, "the process ended"

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ended(self) -> int:
        async with asyncio.timeout(PATIENCE):
            return await self.process.wait()


@asynccontextmanager
async def started(dsn: str, *, lease: float = 600.0) -> AsyncIterator[Process]:
    command = [sys.executable, "-m", "tests.runtime.workers.program", dsn, str(lease)]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        yield Process(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        transport: Any = process
        transport._transport.close()  # its pipe is closed with the loop otherwise, which warns


async def sent(queue: Queue, task: str, payload: Any = None) -> UUID:
    job_id = (await queue.send(task, payload)).id
    assert job_id is not None
    return job_id


async def stored(queue: Queue, job_id: UUID) -> Job:
    job = await queue.get(job_id)
    assert job is not None
    return job


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_one_signal_waits_for_running_jobs(queue: Queue, dsn: str, number: signal.Signals) -> None:
    job_id = await sent(queue, "brief", 0.5)
    async with started(dsn) as worker:
        await worker.begins(job_id)
        worker.signal(number)
        assert await worker.ended() == 0
    job = await stored(queue, job_id)
    assert (job.row_state, job.output) == (COMPLETED, "done")


@pytest.mark.nightly
async def test_handler_that_never_ends_does_not_keep_the_process_alive(queue: Queue, dsn: str) -> None:
    job_id = await sent(queue, "ignores-cancel")
    async with started(dsn) as worker:
        await worker.begins(job_id)
        worker.signal(signal.SIGTERM)
        worker.signal(signal.SIGINT)
        assert await worker.ended() == 70
    assert (await stored(queue, job_id)).row_state is CREATED


@pytest.mark.nightly
async def test_jobs_of_a_killed_worker_are_run_by_another(queue: Queue, dsn: str) -> None:
    job_id = await sent(queue, "endless")
    # The lease is as long as a living worker may be blocked.
    async with started(dsn, lease=10) as one, started(dsn, lease=10) as other:
        ours, running = asyncio.ensure_future(one.begins(job_id)), asyncio.ensure_future(other.begins(job_id))
        await asyncio.wait((ours, running), return_when=asyncio.FIRST_COMPLETED)
        victim, survivor, again = (one, other, running) if ours.done() else (other, one, ours)
        victim.signal(signal.SIGKILL)
        assert await victim.ended() == -signal.SIGKILL
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
            await connection.execute(END_OF_LEASE, [victim.process.pid])
        await again
        assert (await (await queue.get_run(job_id)).result(timeout=PATIENCE)) is None
        survivor.signal(signal.SIGTERM)
        assert await survivor.ended() == 0
    job = await stored(queue, job_id)
    assert (job.row_state, job.attempt, job.retry_count) == (COMPLETED, 2, 1)


@pytest.mark.nightly
async def test_children_of_a_killed_worker_end_with_it(queue: Queue, dsn: str, tmp_path: Path) -> None:
    path = tmp_path / "pid"
    await sent(queue, "crunch", {"what": "hang", "path": str(path)})
    async with started(dsn) as worker:
        await until(lambda: path.exists() and path.read_text(encoding="utf-8"))
        child = psutil.Process(int(path.read_text(encoding="utf-8")))
        worker.signal(signal.SIGKILL)
        await worker.ended()
        await until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
