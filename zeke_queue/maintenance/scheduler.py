"""Cron: one job for each tick of each schedule, exactly once, with any number of schedulers.

A schedule's row holds the last decided occurrence. The scheduler that has locked the row decides what is due
since then, and inserts the jobs in the same transaction. The id of a tick's job derives from schedule and
instant, so even an edit of the row can't duplicate a tick.
"""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID, uuid5

from zeke_queue.core import cron, jsonb
from zeke_queue.core.timeouts import SLOW_MAX
from zeke_queue.errors import (
    LockTimeoutError,
    StatementTimeoutError,
    StorageUnavailableError,
    UsageError,
    is_outage,
)
from zeke_queue.system.logging import get_logger
from zeke_queue.system.waiting import BACKOFF_MAX, OUTAGE_PAUSE_MAX, StoppableTimer, backoff
from zeke_queue.task.prepare import second_tries

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from zeke_queue.maintenance.runner import MaintenanceParts
    from zeke_queue.model import Schedule
    from zeke_queue.storage.jobs import Transaction
    from zeke_queue.task.prepare import PreparedJob

TICK_NAMESPACE: Final = UUID("a4caaa4d-b047-5c3e-a9a1-37b4c309d874")
"""Namespace of the ids of ticks. It never changes: versions that run side by side must agree on it."""

BATCH: Final = 50
"""Schedules per transaction at most, fewer than ``TICKS``."""

TICKS: Final = 1_000
"""Ticks per transaction at most; schedules that catch up on a long downtime can have more."""

BATCHES: Final = 20
"""Transactions per round at most; the rest is served in the next round."""

SHORTEST_PAUSE: Final = 0.01
"""Seconds between rounds at least, in case the clock wakes the loop a little before a tick."""

BLOCKED_TRIES: Final = 5
"""Maximum blocked schedules that a round tries; each may take ``TICK_LOCK_SECONDS``."""

BLOCKED_DOUBLINGS: Final = 2
"""How many times the pause before a blocked schedule is retried doubles, starting with ``every``."""

ABSENT_TRIES: Final = 3
"""Consecutive tries without finding a blocked schedule after which regular rounds serve it again."""

UNREADABLE_FOR: Final = timedelta(seconds=60)
"""Time until a schedule that could not be read or served is tried again, since it may have been fixed."""


def tick_id(schedule: str, tick: datetime) -> UUID:
    """Return the id of a tick's job, which derives from schedule and instant, and sorts by the instant.

    Jobs of one moment, such as caught-up ticks, are claimed and listed by id. So the ids of ticks begin like
    those of other jobs, with the milliseconds since 1970; a hash follows in place of the random bits.

    Args:
        schedule: the schedule's name.
        tick: the instant, in UTC.

    Source: RFC 9562, section 5.8 (version 8, whose layout is the application's).
    """
    digest = uuid5(TICK_NAMESPACE, f"{schedule}|{tick.isoformat()}").int
    milliseconds = int(tick.timestamp() * 1000) & 0xFFFF_FFFF_FFFF
    value = milliseconds << 80 | digest & ((1 << 80) - 1)
    # Replace the digest's version by 8; its variant bits are set already.
    return UUID(int=value & ~(0xF << 76) | 8 << 76)


class _Plan(NamedTuple):
    """The decision on one schedule."""

    jobs: list[PreparedJob]
    last_tick: datetime
    next_tick: datetime | None


class _Blocked(NamedTuple):
    """A schedule whose ticks could not be inserted, since another transaction holds their key or slot.

    Attributes:
        since: the storage's time of the first try.
        last_tick: that of the schedule's row; another one means that its ticks were served since then.
        tries: how many tries met the lock.
        absent: how many tries in a row did not find it due, or found it locked by another scheduler.
        retry_at: when the next one is made, on the monotonic clock.
    """

    since: datetime
    last_tick: datetime | None
    tries: int
    absent: int
    retry_at: float


class _Served(NamedTuple):
    """The result of one transaction.

    Attributes:
        sent: ids of the sent jobs.
        more: whether more is due already.
        upcoming: seconds until the first known tick after these; infinity if there is none.
        last_tick: the last decided occurrence of the last schedule.
    """

    sent: list[UUID]
    more: bool
    upcoming: float
    last_tick: datetime | None = None


class Scheduler:
    """Serves the ticks of all schedules of a storage.

    Args:
        queue: the queue; its tasks' options apply to ticks.
        every: seconds between rounds at most, which is how late an edit or an unforeseen tick is noticed.
            ``CatchUp.SKIP`` skips ticks that are more than a minute late.
        declared: whether the catalog's schedules are stored already, as those of a registered worker are;
            otherwise ``run`` stores them first.

    Attributes:
        behind: whether the last round left something due.
    """

    def __init__(self, queue: MaintenanceParts, *, every: float = 1.0, declared: bool = False) -> None:
        self._queue = queue
        self._storage = queue.storage
        self._every = every
        self._timer = StoppableTimer(queue.clock)
        self._declared = declared
        self._upcoming = math.inf
        self.behind = False
        self._slow = 0
        self._blocked: dict[str, _Blocked] = {}
        self._log = get_logger()

    async def run(self) -> None:
        """Serve ticks until stopped; errors are logged, and the round is retried.

        Raises:
            UsageError: the catalog declares an invalid schedule.
        """
        failures, longest = 0, BACKOFF_MAX
        while not self._timer.stopped:
            try:
                if not self._declared:
                    await self._queue.declare()
                    self._declared = True
                await self.tick()
                failures = 0
            except StorageUnavailableError as error:
                failures, longest = failures + 1, OUTAGE_PAUSE_MAX
                self._log.warning("scheduler_retrying", error=str(error))
            except Exception as error:
                if isinstance(error, UsageError) and not self._declared:
                    raise
                # The next round may succeed, and schedules must not stop silently.
                failures, longest = failures + 1, BACKOFF_MAX
                self._log.error("scheduler_failed", error=str(error), exc_info=error)
            pause = backoff(self._every, failures, longest) if failures else self._until_next()
            await self._timer.pause(pause)

    def stop(self) -> None:
        """Make ``run`` return after the current transaction."""
        self._timer.stop()

    async def tick(self) -> list[UUID]:
        """Serve due ticks.

        Returns:
            The ids of the sent jobs. A tick that a uniqueness rule refused counts as served.
        """
        sent: list[UUID] = []
        self._upcoming, self._slow = math.inf, 0
        self.behind = True
        for _ in range(BATCHES):
            served = await self._serve()
            sent += served.sent
            self._upcoming = min(self._upcoming, served.upcoming)
            if not served.more or self._timer.stopped:
                self.behind = served.more
                break
        return sent + await self._serve_blocked()

    def _until_next(self) -> float:
        """Return the pause until the next round.

        Rounds at a fixed interval would sooner or later find two ticks at once and take the earlier one for
        missed, if a schedule fires as often as rounds run.
        """
        return min(self._every, max(self._upcoming, SHORTEST_PAUSE))

    async def _serve(self) -> _Served:
        """Serve a batch of schedules in one transaction; if that fails, each in its own."""
        batch: dict[str, tuple[Schedule, datetime]] = {}
        try:
            return await self._serve_batch(batch)
        except Exception as error:
            if not batch or is_outage(error):
                raise
            self._log.warning("scheduler_serves_singly", schedules=len(batch), error=str(error))
        sent = [
            job_id for name in batch if not self._timer.stopped for job_id in await self._serve_single(name)
        ]
        return _Served(sent, more=False, upcoming=math.inf)

    async def _serve_blocked(self) -> list[UUID]:
        """Try blocked schedules again, each by itself, beginning with those that have waited longest."""
        now = self._queue.clock.monotonic()
        due = sorted((entry.retry_at, name) for name, entry in self._blocked.items() if entry.retry_at <= now)
        return [
            job_id
            for _, name in due[:BLOCKED_TRIES]
            if not self._timer.stopped
            for job_id in await self._serve_single(name)
        ]

    def _block(self, schedule: Schedule, now: datetime, error: LockTimeoutError) -> None:
        """Leave a schedule to ``_serve_blocked``; its ticks stay undecided."""
        entry = self._blocked.get(schedule.name)
        if entry is None:
            self._log.warning("schedule_blocked", schedule=schedule.name, error=str(error))
        if entry is None or entry.last_tick != schedule.last_tick:
            entry = _Blocked(now, schedule.last_tick, 0, 0, 0.0)
        self._try_later(schedule.name, entry._replace(tries=entry.tries + 1, absent=0))

    def _unblock(self, name: str, served: _Served, *, found: bool) -> None:
        """Forget that a schedule was blocked, if it is served; after some tries also if it is not found."""
        entry = self._blocked.get(name)
        if entry is None:
            return
        if found and served.more:
            self._blocked[name] = entry._replace(last_tick=served.last_tick, retry_at=0.0)
        elif found or entry.absent >= ABSENT_TRIES:
            del self._blocked[name]
        else:
            self._try_later(name, entry._replace(absent=entry.absent + 1))

    def _try_later(self, name: str, entry: _Blocked) -> None:
        pause = backoff(self._every, min(entry.tries, BLOCKED_DOUBLINGS))
        self._blocked[name] = entry._replace(retry_at=self._queue.clock.monotonic() + pause)

    async def _serve_single(self, name: str) -> list[UUID]:
        """Serve one schedule; if that fails, report and postpone it."""
        found: dict[str, tuple[Schedule, datetime]] = {}
        try:
            served = await self._serve_batch(found, only=name)
        except LockTimeoutError as error:
            for schedule, now in found.values():
                self._block(schedule, now, error)
            return []
        except Exception as error:
            self._slow += isinstance(error, StatementTimeoutError)
            if is_outage(error) or self._slow == SLOW_MAX:
                raise
            # A failing schedule must not stop the others.
            self._log.error("schedule_failed", schedule=name, error=str(error), exc_info=error)
        else:
            self._unblock(name, served, found=bool(found))
            return served.sent
        try:
            await self._put_off(name)
        except Exception as error:
            if is_outage(error):
                raise
            # The row could not be postponed, so each round finds it again.
            self._log.error("schedule_not_put_off", schedule=name, error=str(error))
        return []

    async def _put_off(self, name: str) -> None:
        """Postpone a schedule; its ticks stay undecided."""
        async with self._storage.transaction(own=True) as transaction:
            now, found = await transaction.lock_due_schedules(1, only=name)
            for schedule in found:
                await transaction.record_tick(name, schedule.last_tick or now, now + UNREADABLE_FOR)

    async def _serve_batch(
        self, batch: dict[str, tuple[Schedule, datetime]], only: str | None = None
    ) -> _Served:
        """Serve due ticks in one transaction.

        Args:
            batch: receives the schedules by name, each with the storage's time.
            only: the one schedule to serve, if it is due.
        """
        jobs: list[PreparedJob] = []
        upcoming: list[datetime] = []
        last_tick: datetime | None = None
        async with self._storage.transaction(own=True) as transaction:
            others = [] if only else list(self._blocked)
            now, found = await transaction.lock_due_schedules(BATCH, only=only, without=others)
            batch.update({schedule.name: (schedule, now) for schedule in found})
            for place, schedule in enumerate(found):
                # A fair share of the rest, so that catching up on a year does not delay the others.
                share = (TICKS - len(jobs)) // (len(found) - place)
                plan = self._plan(schedule, now, share)
                jobs += plan.jobs
                last_tick = plan.last_tick
                if plan.next_tick is not None:
                    upcoming.append(plan.next_tick)
                await transaction.record_tick(schedule.name, plan.last_tick, plan.next_tick)
            ids = await _insert(transaction, jobs) if jobs else []
        for prepared, job_id in zip(jobs, ids, strict=True):
            self._report(prepared, job_id)
        sent = [job_id for job_id in ids if job_id is not None]
        wait = min(((tick - now).total_seconds() for tick in upcoming), default=math.inf)
        return _Served(sent, len(found) == BATCH or wait <= 0, wait, last_tick)

    def _plan(self, schedule: Schedule, now: datetime, limit: int) -> _Plan:
        try:
            when = cron.Cron.parse(schedule.cron, schedule.zone)
            due = self._due(when, schedule, now, limit)
            jobs = [self._job(schedule, tick) for tick in due.ticks]
        except Exception as error:  # noqa: BLE001 - a failing schedule must not stop the others
            self._log.error(
                "schedule_unreadable",
                schedule=schedule.name,
                cron=schedule.cron,
                zone=schedule.zone,
                error=str(error),
                exc_info=None if isinstance(error, UsageError) else error,
            )
            # Its ticks stay undecided until it is fixed, or a newer version of the program can read it.
            return _Plan([], schedule.last_tick or now, now + UNREADABLE_FOR)
        return _Plan(jobs, due.last_tick, due.next_tick)

    def _due(self, when: cron.Cron, schedule: Schedule, now: datetime, limit: int) -> cron.Due:
        blocked = self._blocked.get(schedule.name)
        last = schedule.last_tick
        if blocked is None or last is None or blocked.last_tick != last:
            return cron.due(when, last, now, schedule.catch_up, limit=limit)
        return cron.due_since(when, last, blocked.since, now, schedule.catch_up, limit=limit)

    def _job(self, schedule: Schedule, tick: datetime) -> PreparedJob:
        meta = jsonb.dumps({"schedule": schedule.name, "tick": tick.isoformat()})
        return self._queue.factory.tick(schedule, tick_id(schedule.name, tick), meta)

    def _report(self, prepared: PreparedJob, job_id: UUID | None) -> None:
        about: dict[str, Any] = jsonb.loads(prepared.job.meta or "{}")
        if job_id is None:
            self._log.info("tick_refused", taskId=prepared.job.name, **about)
        else:
            self._log.info("tick_sent", taskId=prepared.job.name, jobId=str(job_id), **about)


async def _insert(transaction: Transaction, jobs: Sequence[PreparedJob]) -> list[UUID | None]:
    ids = await transaction.insert([one.job for one in jobs])
    retried = second_tries(jobs, ids)
    if retried:
        again = await transaction.insert([job for tries in retried.values() for job in tries])
        for position, job_id in zip(retried, again[1::2], strict=True):
            ids[position] = job_id
    return ids
