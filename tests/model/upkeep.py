"""The part of the machine that acts as maintenance and the scheduler do, and the ids of the jobs sent."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import rule

from tests.model import strategies as draw
from tests.model.api import CallersMachine
from tests.model.pair import IDS, Step
from zeke_queue.model import Failed, RowState

if TYPE_CHECKING:
    from zeke_queue.model import NewJob, Schedule

ANY_ID = st.just(UUID(int=0))
"""An id for jobs that get one of their own from the machine."""


class UpkeepMachine(CallersMachine):
    """Rules on overdue jobs and schedules."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    @rule(
        limit=draw.limits,
        uptime=st.sampled_from([math.inf, 0.0]) | draw.seconds,
        retry_in=st.none() | draw.seconds,
        error=draw.errors,
        commit=st.booleans(),
    )
    def sweep(
        self,
        limit: int,
        uptime: float,
        retry_in: float | None,
        error: str,
        commit: bool,  # noqa: FBT001 - drawn by name
    ) -> None:
        late = self.pair.both("lock_expired", limit, uptime)
        failed = [Failed(job.id, job.attempt, retry_in, error, RowState.EXPIRED) for job in late]
        steps = [Step("lock_expired", limit), Step("settle", [], failed), Step("lock_expired", limit)]
        self.pair.in_transaction(steps, commit=commit)

    @rule(
        declared=st.lists(draw.schedules, max_size=2, unique_by=lambda schedule: schedule.name),
        put=st.lists(draw.schedules, max_size=1),
        dropped=st.lists(st.sampled_from(["s", "t"]), max_size=1),
    )
    def set_schedules(self, declared: list[Schedule], put: list[Schedule], dropped: list[str]) -> None:
        for name in dropped:
            self.pair.both("delete_schedule", name)
        self.pair.both("declare", [], declared)
        for schedule in put:
            self.pair.both("put_schedule", schedule)
            self.pair.check()
        self.pair.both("declare", [], declared)

    @rule(
        limit=draw.limits,
        schedule=draw.schedules,
        waits=st.lists(st.none() | draw.seconds, min_size=1, max_size=2),
        jobs=st.lists(draw.new_jobs(ANY_ID), max_size=1),
        commit=st.booleans(),
    )
    def tick(
        self,
        limit: int,
        schedule: Schedule,
        waits: list[float | None],
        jobs: list[NewJob],
        commit: bool,  # noqa: FBT001 - drawn by name
    ) -> None:
        """Serve due ticks, for the last time or until an instant, and then those due at that instant."""
        self.pair.both("declare", [], [schedule])
        for wait in waits:
            now, due = self.pair.both("lock_due_schedules", limit)
            next_tick = None if wait is None else now + timedelta(seconds=wait)
            steps = [Step("lock_due_schedules", limit), Step("insert", self.with_ids(jobs))]
            steps += [Step("record_tick", schedule.name, now, next_tick) for schedule in due]
            self.pair.in_transaction([*steps, Step("lock_due_schedules", limit)], commit=commit)
            self.pair.clock.advance(wait or 0.0)

    def new_id(self) -> UUID:
        self.count += 1
        return UUID(int=IDS[self.count])

    def with_ids(self, jobs: list[NewJob]) -> list[NewJob]:
        """Give each job an id of its own, the later jobs the lower ones."""
        ids = [self.new_id() for _ in jobs]
        return [replace(job, id=job_id) for job, job_id in zip(jobs, reversed(ids), strict=True)]
