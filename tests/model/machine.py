"""The machine: every verb of a storage as a rule, transactions, time, and another program on the tables."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from tests.model import strategies as draw
from tests.model.pair import Pair, Step
from zeke_queue.model import Failed, Job, JobState, Want

if TYPE_CHECKING:
    from zeke_queue.model import (
        Extended,
        JobEvent,
        JobFilter,
        NewJob,
        QueueSettings,
        Schedule,
        WorkerInfo,
    )

ANY_ID = st.just(UUID(int=0))
"""An id for jobs that get one of their own from the machine."""

FETCH_OF_PGBOSS = """
UPDATE pgboss.job SET state = 'active', startedon = %s, completedon = NULL,
    retrycount = CASE WHEN state = 'retry' THEN retrycount + 1 ELSE retrycount END
WHERE id = %s AND state < 'active'
"""


class StorageMachine(RuleBasedStateMachine):
    """Drives both storages; after each step all rows are compared."""

    ids = Bundle("ids")
    claims = Bundle("claims")

    pair: ClassVar[Pair]

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.pair.start_anew()

    @invariant()
    def every_row_is_the_same(self) -> None:
        self.pair.check()

    # Sending

    @initialize(target=ids, jobs=st.lists(draw.new_jobs(ANY_ID), max_size=4))
    def begin(self, jobs: list[NewJob]) -> Any:
        return self.ids_of(self.pair.both("insert", self.with_ids(jobs)))

    @rule(target=ids, jobs=st.lists(draw.new_jobs(ANY_ID), min_size=1, max_size=6))
    def insert(self, jobs: list[NewJob]) -> Any:
        return self.ids_of(self.pair.both("insert", self.with_ids(jobs)))

    @rule(target=ids, jobs=draw.rivals(ANY_ID))
    def insert_rivals(self, jobs: list[NewJob]) -> Any:
        self.pair.both("holder", jobs[0])
        return self.ids_of(self.pair.both("insert", self.with_ids(jobs)))

    @rule(target=ids, job=draw.new_jobs(ids), slot=draw.slots)
    def insert_again_and_a_rival(self, job: NewJob, slot: int) -> Any:
        self.pair.both("holder", job)
        self.pair.both("insert", [job])
        return self.ids_of(self.rival(job, slot))

    # A worker

    @rule(target=claims, worker=draw.workers, wants=draw.wants, limit=draw.limits)
    def claim(self, worker: UUID, wants: list[Want], limit: int) -> Any:
        claimed = self.pair.both("claim", worker, wants, limit)
        return multiple(*((job.id, job.attempt) for job in claimed))

    @rule(target=claims, worker=draw.workers)
    def claim_all(self, worker: UUID) -> Any:
        return self.claim(worker, [Want(name, 100) for name in draw.NAMES], 100)

    @rule(settled=draw.outcomes(claims), again=st.booleans())
    def settle(self, settled: list[draw.Outcome], again: bool) -> None:  # noqa: FBT001 - drawn by name
        self.pair.both("settle", *draw.settlement(settled), again=again)

    @rule(settled=draw.outcomes(claims))
    def settle_twice(self, settled: list[draw.Outcome]) -> None:
        self.pair.both("settle", *draw.settlement(settled))
        self.pair.both("settle", *draw.settlement(settled), again=True)

    @rule(target=ids, settled=draw.outcomes(claims), job=draw.new_jobs(ANY_ID), slot=draw.slots)
    def give_up_a_place(self, settled: list[draw.Outcome], job: NewJob, slot: int) -> Any:
        """Let a rival come before a running job is settled, so that it can't wait again."""
        sent = self.rival(replace(job, id=settled[0].id), slot)
        self.pair.both("settle", *draw.settlement(settled))
        return self.ids_of(sent)

    @rule(target=ids, settled=draw.final_failures(claims), job=draw.new_jobs(ANY_ID), slot=draw.slots)
    def revive(self, settled: list[Failed], job: NewJob, slot: int) -> Any:
        """Fail for good, and retry when a rival may have come, the ids in another order than the jobs."""
        self.pair.both("settle", [], settled)
        sent = self.rival(replace(job, id=settled[0].id), slot) if job.retry_backoff else []
        self.pair.both("retry", [failed.id for failed in reversed(settled)])
        return self.ids_of(sent)

    @rule(extended=draw.extensions(claims), events=draw.events(claims))
    def extend_and_note(self, extended: list[Extended], events: list[JobEvent]) -> None:
        self.pair.both("extend", extended)
        self.pair.both("note", events)

    @rule(worker=draw.beats, then=st.sampled_from(["go on", "sleep", "wake", "leave"]))
    def beat(self, worker: WorkerInfo, then: str) -> None:
        self.pair.both("beat", worker)
        if then == "leave":
            self.pair.both("leave", worker.id)
        elif then != "go on":
            self.pair.both("idle", worker.id, list(draw.NAMES) if then == "sleep" else None)

    # A person

    @rule(verb=st.sampled_from(["cancel", "resume", "retry"]), ids=st.lists(ids, min_size=1, max_size=5))
    def change_by_hand(self, verb: str, ids: list[UUID]) -> None:
        self.pair.both(verb, ids)

    @rule(ids=st.lists(ids, min_size=1, max_size=5))
    def cancel_and_resume(self, ids: list[UUID]) -> None:
        self.pair.both("cancel", ids)
        self.pair.both("resume", ids)

    @rule(
        queues=st.lists(draw.queue_settings, max_size=2, unique_by=lambda queue: queue.name),
        pauses=st.lists(st.tuples(draw.names, st.booleans()), max_size=1),
    )
    def set_queues(self, queues: list[QueueSettings], pauses: list[tuple[str, bool]]) -> None:
        self.pair.both("declare_queues", queues)
        for name, paused in pauses:
            self.pair.both("pause_queue", name, paused=paused)

    # The supervisor

    @rule(limit=draw.limits, retry_in=st.none() | draw.seconds, error=draw.errors, commit=st.booleans())
    def sweep(self, limit: int, retry_in: float | None, error: str, commit: bool) -> None:  # noqa: FBT001
        late = self.pair.both("overdue", limit)
        failed = [Failed(job.id, job.attempt, retry_in, error, JobState.EXPIRED) for job in late]
        steps = [Step("overdue", limit), Step("settle", [], failed), Step("overdue", limit)]
        self.pair.in_transaction(steps, commit=commit)

    @rule(
        noted=draw.events(claims),
        after=st.just(0.0) | draw.seconds,
        limit=draw.limits,
        between=st.just(0.0) | draw.seconds,
        deleted_after=st.just(0.0) | draw.seconds,
    )
    def retention(
        self, noted: list[JobEvent], after: float, limit: int, between: float, deleted_after: float
    ) -> None:
        self.pair.both("note", noted)
        self.pair.both("archive", after, limit)
        self.pair.check()
        self.pair.clock.advance(between)
        self.pair.both("purge", deleted_after, limit)

    # The scheduler

    @rule(
        declared=st.lists(draw.schedules, max_size=2, unique_by=lambda schedule: schedule.name),
        put=st.lists(draw.schedules, max_size=1),
        dropped=st.lists(st.sampled_from(["s", "t"]), max_size=1),
    )
    def set_schedules(self, declared: list[Schedule], put: list[Schedule], dropped: list[str]) -> None:
        for name in dropped:
            self.pair.both("drop_schedule", name)
        self.pair.both("declare_schedules", declared)
        for schedule in put:
            self.pair.both("put_schedule", schedule)
            self.pair.check()
        self.pair.both("declare_schedules", declared)

    @rule(
        limit=draw.limits,
        ahead=st.none() | draw.seconds,
        jobs=st.lists(draw.new_jobs(ANY_ID), max_size=1),
        commit=st.booleans(),
    )
    def tick(self, limit: int, ahead: float | None, jobs: list[NewJob], commit: bool) -> None:  # noqa: FBT001
        now, due = self.pair.both("due_schedules", limit)
        next_tick = None if ahead is None else now + timedelta(seconds=ahead)
        steps = [Step("due_schedules", limit), Step("insert", self.with_ids(jobs))]
        steps += [Step("serve_ticks", schedule.name, now, next_tick) for schedule in due]
        self.pair.in_transaction([*steps, Step("due_schedules", limit)], commit=commit)

    # Transactions

    @rule(
        target=ids,
        before=st.lists(draw.new_jobs(ANY_ID), max_size=2),
        changes=st.tuples(st.just([]) | draw.outcomes(claims), st.lists(ids, max_size=3)),
        after=draw.rivals(ANY_ID),
        commit=st.booleans(),
    )
    def transact(
        self,
        before: list[NewJob],
        changes: tuple[list[draw.Outcome], list[UUID]],
        after: list[NewJob],
        commit: bool,  # noqa: FBT001 - drawn by name
    ) -> Any:
        settled, cancelled = changes
        first, last = self.with_ids(before), self.with_ids(after)
        steps = [
            Step("insert", first),
            Step("settle", *draw.settlement(settled)),
            Step("count", outside=True),
            Step("cancel", [*cancelled, *(job.id for job in first[:1])]),
            Step("claim", draw.WORKERS[0], self.unlimited(), 100, outside=True),
            Step("insert", last),
            Step("overdue", 100),
        ]
        self.pair.in_transaction(steps, commit=commit)
        return self.ids_of([job.id for job in [*first, *last]])

    # Looking

    @rule(asked=st.lists(ids, min_size=1, max_size=3), which=draw.filters(ids), after=st.integers(0, 3))
    def look(self, asked: list[UUID], which: JobFilter, after: int) -> None:
        self.pair.both("get", asked)
        self.pair.both("find", which)
        self.pair.both("events", asked[0], after)
        for verb in ("count", "workers", "queues", "schedules", "now"):
            self.pair.both(verb)

    # Time, and another program

    @rule(seconds=draw.steps_of_time)
    def time_passes(self, seconds: float) -> None:
        self.pair.clock.advance(seconds)

    @rule(target=ids, name=draw.names, state=st.sampled_from([JobState.CREATED, JobState.RETRY]))
    def pgboss_sends(self, name: str, state: JobState) -> Any:
        now = self.pair.clock.now()
        job = Job(
            id=self.new_id(),
            name=name,
            state=state,
            data={"by": "pg-boss"},
            priority=0,
            attempt=0,
            retry_count=0,
            retry_limit=2,
            retry_delay=0,
            retry_backoff=False,
            retry_delay_max=None,
            start_after=now,
            started_on=None,
            singleton_key=None,
            singleton_on=None,
            expire_in=5.0,
            created_on=now,
            completed_on=None,
            keep_until=now + timedelta(seconds=60),
            output=None,
            worker=None,
            policy=None,
            group_key=None,
            parent=None,
            meta=None,
        )
        self.pair.plant(job)
        return job.id

    @rule(job_id=consumes(ids))
    def pgboss_fetches(self, job_id: UUID) -> None:
        now = self.pair.clock.now()
        for job in self.pair.memory.dump().jobs:
            if job.id == job_id and job.state in {JobState.CREATED, JobState.RETRY}:
                retries = job.retry_count + (job.state is JobState.RETRY)
                fetched = replace(
                    job,
                    state=JobState.ACTIVE,
                    started_on=now,
                    completed_on=None,
                    retry_count=retries,
                    attempt=job.attempt + 1,
                )
                self.pair.memory.plant([fetched])
        self.pair.execute(FETCH_OF_PGBOSS, [now, job_id])

    def unlimited(self) -> list[Want]:
        """Return wants that a claim meets exactly though rows are locked.

        Where a limit decides who comes, Postgres may count a locked row among those, and then passes it over.
        """
        limited = {
            queue.name for queue in self.pair.memory.dump().queues if queue.concurrency_limit is not None
        }
        return [Want(name, 100) for name in draw.NAMES if name not in limited]

    def rival(self, job: NewJob, slot: int) -> list[UUID | None]:
        """Send a job that the rules of an earlier one of the same id bind too; returns what was answered."""
        sent = self.pair.both("get", [job.id]).get(job.id)
        if sent is None:
            return []
        rival = replace(
            job,
            id=self.new_id(),
            name=sent.name,
            singleton_key=sent.singleton_key,
            slot_seconds=None if sent.singleton_on is None else slot,
        )
        self.pair.both("holder", rival)
        return self.pair.both("insert", [rival])

    def ids_of(self, answer: list[UUID | None]) -> Any:
        """Put the ids of an answer into the bundle, those that were refused left out."""
        return multiple(*(job_id for job_id in answer if job_id is not None))

    def new_id(self) -> UUID:
        self.count += 1
        return UUID(int=0x1000 + self.count)

    def with_ids(self, jobs: list[NewJob]) -> list[NewJob]:
        """Give each job an id of its own, the later jobs the lower ones."""
        ids = [self.new_id() for _ in jobs]
        return [replace(job, id=job_id) for job, job_id in zip(jobs, reversed(ids), strict=True)]
