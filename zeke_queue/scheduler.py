"""Cron: a job for each tick of each schedule, exactly once, whatever number of schedulers runs.

A schedule's row holds the last occurrence that was decided on. Whoever has locked the row decides what is due
since, and inserts the jobs in the same transaction; and a tick's job has an id that follows from schedule and
instant, so that a tick can't be doubled even by somebody who edits the row.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID, uuid5

from zeke_queue.core import cron, jsonb
from zeke_queue.errors import StorageUnavailable, UsageError
from zeke_queue.log import get_logger
from zeke_queue.model import CatchUp
from zeke_queue.pacing import Pace, backoff
from zeke_queue.sending import insert

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from zeke_queue.model import Schedule
    from zeke_queue.queue import Queue
    from zeke_queue.sending import Prepared

TICK_NAMESPACE: Final = UUID("a4caaa4d-b047-5c3e-a9a1-37b4c309d874")
"""Of the ids of ticks. It never changes: two versions that run side by side must agree on them."""

BATCH: Final = 50
"""Schedules that one transaction serves at most."""

BATCHES: Final = 20
"""Transactions of one tick at most; what is left is served at the next."""

UNREADABLE_FOR: Final = timedelta(seconds=60)
"""When a schedule that could not be read is looked at again: somebody may have mended it by then."""

FOREIGN_CRON_AGE: Final = 120.0
"""Seconds after which pg-boss 9's cron, which notes each of its rounds in ``cron_on``, counts as gone."""


def tick_id(schedule: str, tick: datetime) -> UUID:
    """Return the id of a tick's job.

    Args:
        schedule: its name.
        tick: in UTC.
    """
    return uuid5(TICK_NAMESPACE, f"{schedule}|{tick.isoformat()}")


class _Plan(NamedTuple):
    """What is to be done about one schedule."""

    jobs: list[Prepared]
    last_tick: datetime
    next_tick: datetime | None


class Scheduler:
    """Serves the ticks of all schedules of a storage.

    Args:
        queue: its catalog's schedules are declared at the start, and its tasks' options hold for ticks.
        every: seconds between looks; a tick is served so much late at most.
    """

    def __init__(self, queue: Queue, *, every: float = 1.0) -> None:
        self._queue = queue
        self._storage = queue.storage
        self._every = every
        self._pace = Pace(queue.clock)
        self._stands_back = False
        self._log = get_logger()

    async def run(self) -> None:
        """Serve ticks until told to stop; errors of the storage are reported, and waited out.

        Raises:
            UsageError: the catalog declares a schedule that is wrong.
        """
        declared, failures = False, 0
        while not self._pace.stopped:
            try:
                if not declared:
                    await self._queue.declare()
                    declared = True
                await self.tick()
                failures = 0
            except UsageError:
                raise
            except StorageUnavailable as error:
                failures += 1
                self._log.warning("scheduler_waits", error=str(error))
            except Exception as error:  # noqa: BLE001 - the next look may succeed; schedules must not die silently
                failures += 1
                self._log.error("scheduler_failed", error=str(error), exc_info=error)
            await self._pace.pause(backoff(self._every, failures))

    def stop(self) -> None:
        """End ``run`` after the transaction that is being done."""
        self._pace.stop()

    async def tick(self) -> list[UUID]:
        """Serve what is due now.

        Returns:
            The ids of the jobs that were sent. A tick that a uniqueness rule refused counts as served.
        """
        sent: list[UUID] = []
        for _ in range(BATCHES):
            ids, more = await self._serve()
            sent += ids
            if not more or self._pace.stopped:
                break
        return sent

    async def _serve(self) -> tuple[list[UUID], bool]:
        """Serve a batch of schedules; returns ids, and whether more is due already."""
        jobs: list[Prepared] = []
        async with self._storage.transaction() as transaction:
            now, found = await transaction.due_schedules(BATCH)
            if not found:
                return [], False
            served_until = await self._foreign_cron(now)
            more = len(found) == BATCH
            for schedule in found:
                plan = self._plan(schedule, now, served_until)
                jobs += plan.jobs
                more = more or (plan.next_tick is not None and plan.next_tick <= now)
                await transaction.serve_ticks(schedule.name, plan.last_tick, plan.next_tick)
            ids = await insert(jobs, transaction.insert) if jobs else []
        for prepared, job_id in zip(jobs, ids, strict=True):
            self._report(prepared, job_id)
        return [job_id for job_id in ids if job_id is not None], more and served_until is None

    def _plan(self, schedule: Schedule, now: datetime, served_until: datetime | None) -> _Plan:
        try:
            when = cron.Cron.parse(schedule.cron, schedule.zone)
            if served_until is not None and schedule.last_tick is not None:
                # pg-boss has served these; those after its last round are ours if it does not come back.
                passed = cron.due(when, schedule.last_tick, served_until, CatchUp.SKIP)
                return _Plan([], passed.last_tick, passed.next_tick)
            due = cron.due(when, schedule.last_tick, now, schedule.catch_up)
            jobs = [self._job(schedule, tick) for tick in due.ticks]
        except UsageError as error:
            self._log.error(
                "schedule_unreadable",
                schedule=schedule.name,
                cron=schedule.cron,
                zone=schedule.zone,
                error=str(error),
            )
            return _Plan([], now, now + UNREADABLE_FOR)
        return _Plan(jobs, due.last_tick, due.next_tick)

    def _job(self, schedule: Schedule, tick: datetime) -> Prepared:
        meta = jsonb.dumps({"schedule": schedule.name, "tick": tick.isoformat()})
        return self._queue.sender.tick(schedule, tick_id(schedule.name, tick), meta)

    async def _foreign_cron(self, now: datetime) -> datetime | None:
        """Return when pg-boss's cron last ran if it is alive on these tables, else None."""
        # Only a storage that pg-boss can work on knows of it.
        ask: Callable[[], Awaitable[float | None]] | None = getattr(self._storage, "foreign_cron_age", None)
        age = await ask() if ask is not None else None
        alive = age is not None and age < FOREIGN_CRON_AGE
        if alive is not self._stands_back:
            self._stands_back = alive
            if alive:
                self._log.warning(
                    "scheduler_stands_back",
                    reason="pg-boss's own cron serves these schedules; start it with noScheduling: true",
                )
            else:
                self._log.warning("scheduler_takes_over", reason="pg-boss's cron has stopped")
        return now - timedelta(seconds=age) if alive and age is not None else None

    def _report(self, prepared: Prepared, job_id: UUID | None) -> None:
        about: dict[str, Any] = jsonb.loads(prepared.job.meta or "{}")
        if job_id is None:
            self._log.info("tick_refused", taskId=prepared.job.name, **about)
        else:
            self._log.info("tick_sent", taskId=prepared.job.name, jobId=str(job_id), **about)
