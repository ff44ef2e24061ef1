"""The machine: every verb of a storage as a rule, transactions, time, and another program on the tables."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, initialize, invariant, multiple, rule

from tests.model import strategies as draw
from tests.model.pair import Pair, Step
from tests.model.strategies import START
from tests.model.upkeep import ANY_ID, UpkeepMachine
from zeke_queue.model import (
    FINAL,
    Completed,
    Extended,
    Job,
    NewJob,
    QueueCapacity,
    RowState,
    Waiting,
)

if TYPE_CHECKING:
    from datetime import datetime

    from zeke_queue.model import JobEvent, JobQuery, QueueSettings, WorkerInfo

ALL = [QueueCapacity(name, 100) for name in draw.NAMES]
"""Wants that leave nothing out."""

SETTLING = st.sampled_from(["settle", "settle_unlocked"])
"""The verbs that store outcomes; a worker uses both."""

A_MOMENT = timedelta(microseconds=1)
SLOT = timedelta(seconds=draw.SLOT)


class StorageMachine(UpkeepMachine):
    """Drives both storages; after each step all rows are compared."""

    ids = Bundle("ids")
    claims = Bundle("claims")

    pair: ClassVar[Pair]

    def __init__(self) -> None:
        super().__init__()
        self.tried: set[UUID] = set()
        self.pair.start_anew()

    @invariant()
    def every_row_is_the_same(self) -> None:
        self.pair.check()

    # Sending

    @initialize(target=claims)
    def claim_of_a_stranger(self) -> tuple[UUID, int]:
        """Add the claim of an unknown job, so that every rule has something to use from the start."""
        return UUID(int=1), 1

    @initialize(target=ids, jobs=st.lists(draw.new_jobs(ANY_ID), min_size=1, max_size=4))
    def begin(self, jobs: list[NewJob]) -> Any:
        return multiple(UUID(int=1), *self.sent(self.with_ids(jobs)))

    @initialize(sleeper=draw.sleepers, queues=draw.limited)
    def fall_asleep(self, sleeper: WorkerInfo, queues: list[QueueSettings]) -> None:
        """Make a worker sleep, so that it must be notified of what follows, beside limits of queues."""
        self.pair.both("heartbeat", sleeper)
        self.pair.both("set_idle", sleeper.id, sleeper.queues)
        self.pair.both("declare", queues, [])

    @rule(target=ids, jobs=st.lists(draw.new_jobs(ANY_ID), min_size=1, max_size=5))
    def insert(self, jobs: list[NewJob]) -> Any:
        return multiple(*self.sent(self.with_ids(jobs)))

    @rule(target=ids, jobs=draw.rivals(ANY_ID))
    def insert_rivals(self, jobs: list[NewJob]) -> Any:
        self.pair.both("find_conflicts", jobs)
        return multiple(*self.sent(self.with_ids(jobs)))

    @rule(target=ids, job=draw.new_jobs(ids), slot=draw.slots)
    def insert_again_and_a_rival(self, job: NewJob, slot: int) -> Any:
        self.pair.both("find_conflicts", [job, job.id])
        self.pair.both("insert", [job])
        return multiple(*self.rival(job, slot))

    # A worker

    @rule(target=claims, worker=draw.workers, capacity=draw.capacity, limit=draw.limits, most=draw.budgets)
    def claim(self, worker: UUID, capacity: list[QueueCapacity], limit: int, most: int | None = None) -> Any:
        claimed = self.pair.both("claim", worker, capacity, limit, most)
        return multiple(*((job.id, job.attempt) for job in claimed))

    @rule(target=claims, worker=draw.workers, limits=st.lists(draw.queue_settings, max_size=1))
    def claim_all(self, worker: UUID, limits: list[QueueSettings]) -> Any:
        self.pair.both("declare", limits, [])
        return self.claim(worker, ALL, 100)

    @rule(target=claims, worker=draw.workers, endings=draw.endings, verbs=st.lists(SETTLING, max_size=2))
    def work(self, worker: UUID, endings: list[str], verbs: list[str]) -> Any:
        """Claim all jobs, and end the first few in one way or another, perhaps by a repeated call."""
        claimed = self.pair.both("claim", worker, ALL, 100)
        settled = [draw.ended(job, ending) for job, ending in zip(claimed, endings, strict=False)]
        for place, verb in enumerate(verbs):
            self.pair.both(verb, *draw.settlement(settled), repeated=place > 0)
        return multiple(*((job.id, job.attempt) for job in claimed))

    @rule(target=claims, worker=draw.workers, endings=draw.endings, late=draw.late, repeated=st.booleans())
    def come_too_late(
        self,
        worker: UUID,
        endings: list[str],
        late: str,
        repeated: bool,  # noqa: FBT001 - drawn by name
    ) -> Any:
        """End the first few jobs, claim all again, and then settle the first attempts once more."""
        first = self.pair.both("claim", worker, ALL, 100)
        settled = [draw.ended(job, ending) for job, ending in zip(first, endings, strict=False)]
        self.pair.both("settle", *draw.settlement(settled))
        second = self.pair.both("claim", worker, ALL, 100)
        self.pair.both("extend", [Extended(job.id, job.attempt, 1.0) for job in first[: len(settled)]])
        again_settled = [draw.ended(job, late) for job in first[: len(settled)]]
        self.pair.both("settle", *draw.settlement(again_settled), repeated=repeated)
        return multiple(*((job.id, job.attempt) for job in [*first, *second]))

    @rule(worker=draw.workers, times=st.sampled_from([24, 25]), ending=st.sampled_from(["retried", "failed"]))
    def fail_often(self, worker: UUID, times: int, ending: str) -> None:
        """Fail a job whose history is almost full."""
        for job in self.pair.both("claim", worker, ALL, 1):
            self.pair.have_failed(job.id, times)
            self.pair.both("settle", *draw.settlement([draw.ended(job, ending)]))

    @rule(settled=draw.outcomes(claims), verb=SETTLING, repeated=st.booleans())
    def settle(self, settled: list[draw.Outcome], verb: str, repeated: bool) -> None:  # noqa: FBT001 - by name
        self.pair.both(verb, *draw.settlement(settled), repeated=repeated)

    @rule(settled=draw.outcomes(claims), verb=SETTLING)
    def settle_twice(self, settled: list[draw.Outcome], verb: str) -> None:
        self.pair.both("settle", *draw.settlement(settled))
        self.pair.both(verb, *draw.settlement(settled), repeated=True)

    @rule(
        target=ids,
        worker=draw.workers,
        endings=draw.endings,
        job=draw.new_jobs(ANY_ID),
        slot=draw.slots,
        early=st.booleans(),
    )
    def give_up_places(
        self,
        worker: UUID,
        endings: list[str],
        job: NewJob,
        slot: int,
        early: bool,  # noqa: FBT001 - drawn by name
    ) -> Any:
        """Claim and settle all; a rival is sent for each: early, so that some can't wait again, or late."""
        claimed = self.pair.both("claim", worker, ALL, 100)
        settled = [draw.ended(held, ending) for held, ending in zip(claimed, endings, strict=False)]
        if not early:
            self.pair.both("settle", *draw.settlement(settled))
        came = [job_id for held in claimed[:4] for job_id in self.rival(replace(job, id=held.id), slot)]
        if early:
            self.pair.both("settle", *draw.settlement(settled))
        return multiple(*came)

    @rule(
        target=ids,
        worker=draw.workers,
        job=draw.new_jobs(ANY_ID),
        stranger=ids,
        order=st.permutations(["wait", "end", "cancel", "again"]),
        ending=draw.late,
    )
    def families(self, worker: UUID, job: NewJob, stranger: UUID, order: list[str], ending: str) -> Any:
        """Claim all jobs, give some a child, and make them wait for it, or for another job, while it ends."""
        parents = self.pair.both("claim", worker, ALL, 100)[:3]
        children = self.with_ids([replace(job, parent=parent.id) for parent in parents])
        for parent, child in zip(parents, children, strict=True):
            self.pair.both("insert_child", child, parent.attempt)
            self.pair.both("insert_child", child, parent.attempt + 1)
        waiting = [Waiting(p.id, p.attempt, c.id) for p, c in zip(parents, children, strict=True)][:2]
        waiting += [Waiting(p.id, p.attempt, stranger) for p in parents[2:]]
        for step in order[:3]:
            if step in {"wait", "again"}:
                again = step == "again"
                self.pair.both("suspend", waiting, repeated=again, skip_locked=again)
            elif step == "cancel":
                self.pair.both("cancel", [parent.id for parent in parents[:1]])
            else:
                claimed = self.pair.both("claim", worker, ALL, 2)
                self.pair.both("settle", *draw.settlement([draw.ended(one, ending) for one in claimed]))
            self.pair.check()
        return multiple(*(child.id for child in children))

    @rule(
        worker=draw.workers,
        job=draw.new_jobs(ANY_ID),
        waits_first=st.booleans(),
        told=st.none() | SETTLING,
        purges=st.booleans(),
    )
    def children_leave(
        self,
        worker: UUID,
        job: NewJob,
        waits_first: bool,  # noqa: FBT001 - drawn by name
        told: str | None,
        purges: bool,  # noqa: FBT001 - drawn by name
    ) -> None:
        """Give jobs a child that ends and is archived, before or while they wait for it.

        The end resumes no parent, as when its statement was the last one of its connection, unless the
        settlement is repeated.
        """
        parents = self.pair.both("claim", worker, ALL, 100)[:2]
        children = self.with_ids([replace(job, parent=parent.id) for parent in parents])
        for parent, child in zip(parents, children, strict=True):
            self.pair.both("insert_child", child, parent.attempt)
        waiting = [Waiting(p.id, p.attempt, c.id) for p, c in zip(parents, children, strict=True)]
        if waits_first:
            self.pair.both("suspend", waiting)
        self.pair.end_as_pgboss([child.id for child in children])
        if told is not None:
            self.pair.both(told, [Completed(child.id, 0, None) for child in children], repeated=True)
        for verb in ("archive", "purge")[: 1 + purges]:
            self.pair.clock.advance(0.000001)
            self.pair.both(verb, 0.0, 100)
            self.pair.check()
        self.pair.both("suspend", waiting, repeated=True)
        self.pair.both("resume_waiting", 100)

    @rule(jobs=st.lists(ids, min_size=1, max_size=4))
    def delete_jobs(self, jobs: list[UUID]) -> None:
        self.pair.both("delete_jobs", jobs)

    @rule(worker=draw.workers, commit=st.booleans(), verb=st.sampled_from(["cancel", "settle"]))
    def children_end(self, worker: UUID, commit: bool, verb: str) -> None:  # noqa: FBT001 - drawn by name
        """End what others wait for, in a transaction."""
        waiting = {job.waits_for for job in self.pair.memory.dump().jobs if job.waits_for is not None}
        if verb == "cancel":
            self.pair.in_transaction([Step("cancel", sorted(waiting))], commit=commit)
        else:
            held = [job for job in self.pair.both("claim", worker, ALL, 100) if job.id in waiting]
            done = draw.settlement([draw.ended(job, "failed") for job in held])
            self.pair.in_transaction([Step("settle", *done)], commit=commit)
        self.pair.both("resume_waiting", 1)

    @rule(worker=draw.workers, ran=draw.ages, seconds=draw.seconds)
    def extend_all(self, worker: UUID, ran: float, seconds: float) -> None:
        """Extend jobs that have run for a while."""
        claimed = self.pair.both("claim", worker, ALL, 100)
        self.pair.clock.advance(ran)
        self.pair.both("extend", [Extended(job.id, job.attempt, seconds) for job in claimed])

    @rule(extended=draw.extensions(claims), events=draw.events(claims))
    def extend_and_note(self, extended: list[Extended], events: list[JobEvent]) -> None:
        self.pair.both("extend", extended)
        self.pair.both("append_events", events)

    @rule(worker=draw.beats, then=st.sampled_from(["go on", "sleep", "wake", "leave"]))
    def heartbeat(self, worker: WorkerInfo, then: str) -> None:
        self.pair.both("heartbeat", worker)
        if then == "leave":
            self.pair.both("deregister", worker.id)
        elif then != "go on":
            self.pair.both("set_idle", worker.id, list(draw.NAMES) if then == "sleep" else None)

    # A person

    @rule(verb=st.sampled_from(["cancel", "resume", "retry"]), ids=st.lists(ids, min_size=1, max_size=5))
    def change_by_hand(self, verb: str, ids: list[UUID]) -> None:
        self.pair.both(verb, ids)

    @rule(ids=st.lists(ids, min_size=1, max_size=5), backwards=st.booleans())
    def cancel_and_bring_back(self, ids: list[UUID], backwards: bool) -> None:  # noqa: FBT001 - drawn by name
        """Cancel some jobs, and bring back all that ended otherwise than well, in this order or the other."""
        self.pair.both("cancel", ids)
        ended = [job.id for job in self.pair.memory.dump().jobs if job.row_state in FINAL]
        ended.sort(reverse=backwards)
        self.pair.both("resume", ended)
        self.pair.both("retry", ended)

    @rule(
        queues=st.lists(draw.queue_settings, max_size=2, unique_by=lambda queue: queue.name),
        pauses=st.lists(st.tuples(draw.names, st.booleans()), max_size=1),
    )
    def set_queues(self, queues: list[QueueSettings], pauses: list[tuple[str, bool]]) -> None:
        self.pair.both("declare", queues, [])
        for name, paused in pauses:
            self.pair.both("pause_queue", name, paused=paused)

    # Maintenance

    @rule(noted=draw.events(claims), waits=st.tuples(draw.ages, draw.ages), limit=draw.limits)
    def retention(self, noted: list[JobEvent], waits: tuple[float, float], limit: int) -> None:
        """Archive and purge rows older than the waits before; rows of exactly that age are kept."""
        self.pair.both("append_events", noted)
        self.pair.clock.advance(waits[0])
        self.pair.both("archive", waits[0], limit)
        self.pair.both("archive", waits[0] / 2, limit)
        self.pair.check()
        self.pair.clock.advance(waits[1])
        self.pair.both("purge", waits[1], 100)
        self.pair.check()
        self.pair.clock.advance(0.000001)
        self.pair.both("purge", waits[1], limit)

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
            Step("queue_stats", outside=True),
            Step("cancel", [*cancelled, *(job.id for job in first[:1])]),
            Step("claim", draw.WORKERS[0], self.unlimited(), 100, outside=True),
            Step("insert", last),
            Step("lock_expired", 100),
        ]
        self.pair.in_transaction(steps, commit=commit)
        return multiple(*(job.id for job in [*first, *last]))

    # Looking

    @rule(asked=st.lists(ids, min_size=1, max_size=3), query=draw.filters(ids), after=st.integers(0, 3))
    def look(self, asked: list[UUID], query: JobQuery, after: int) -> None:
        self.pair.both("get", asked)
        self.pair.both("events", dict.fromkeys(asked, after))
        self.pair.both("find", query)
        for verb in ("queue_stats", "workers", "queues", "schedules", "now"):
            self.pair.both(verb)

    # Time, and another program

    @rule(seconds=draw.steps_of_time)
    def time_passes(self, seconds: float) -> None:
        self.pair.clock.advance(seconds)

    @rule(which=st.integers(0, 5))
    def come_to_an_edge(self, which: int) -> None:
        """Look and send right before, at and after an instant at which something runs out or becomes due."""
        edges = self.edges()
        for offset in (-A_MOMENT, timedelta(0), A_MOMENT):
            instant = edges[which % len(edges)] + offset
            self.pair.clock.advance((instant - self.pair.clock.now()).total_seconds())
            self.pair.both("lock_expired", 100)
            self.pair.both("lock_due_schedules", 100)
            self.sent([NewJob(self.new_id(), "b", slot_seconds=draw.SLOT)])

    @rule(
        target=ids,
        name=draw.names,
        state=st.sampled_from([RowState.CREATED, RowState.RETRY]),
        age=st.sampled_from([0, 3]),
    )
    def pgboss_sends(self, name: str, state: RowState, age: int) -> Any:
        """Write a job as pg-boss does, which may have waited past its keep_until already.

        A retry has ended once: it was requeued by hand.
        """
        now = self.pair.clock.now() - timedelta(seconds=age)
        job = Job(
            id=self.new_id(),
            name=name,
            row_state=state,
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
            completed_on=now if state is RowState.RETRY else None,
            keep_until=now + timedelta(seconds=2),
            output=None,
            worker=None,
            policy=None,
            group_key=None,
            parent=None,
            meta=None,
        )
        self.pair.plant(job)
        return job.id

    @rule(job_id=ids)
    def pgboss_fetches(self, job_id: UUID) -> None:
        """Claim without naming a worker or counting the attempt, which a trigger does."""
        self.pair.fetch_as_pgboss(job_id)

    def edges(self) -> list[datetime]:
        """Return the future instants at which a deadline, a lease, the wait for a tick or a slot ends."""
        rows = self.pair.memory.dump()
        spans = [(job.started_on, job.expire_in) for job in rows.jobs if job.row_state is RowState.ACTIVE]
        spans += [(worker.beat_on, worker.lease) for worker in rows.workers]
        spans += [(schedule.next_tick, 0.0) for schedule in rows.schedules]
        edges = {since + timedelta(seconds=seconds) for since, seconds in spans if since is not None}
        edges.add(self.pair.clock.now() - (self.pair.clock.now() - START) % SLOT + SLOT)
        return sorted(edge for edge in edges if edge >= self.pair.clock.now())

    def unlimited(self) -> list[QueueCapacity]:
        """Return wants that a claim meets exactly though rows are locked.

        If a limit selects jobs, Postgres may count a locked row among these, and then skips it.
        """
        limited = {
            queue.name for queue in self.pair.memory.dump().queues if queue.concurrency_limit is not None
        }
        return [QueueCapacity(name, 100) for name in draw.NAMES if name not in limited]

    def rival(self, job: NewJob, slot: int) -> list[UUID]:
        """Send a job under the rules of an earlier one of the same id; returns its id if it went in."""
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
        self.pair.both("find_conflicts", [rival, job.id])
        return self.sent([rival])

    def sent(self, jobs: list[NewJob]) -> list[UUID]:
        """Insert jobs; returns the ids of those that were not refused."""
        jobs = [replace(job, fresh=job.id not in self.tried) for job in jobs]
        self.tried.update(job.id for job in jobs)
        answer: list[UUID | None] = self.pair.both("insert", jobs)
        return [job_id for job_id in answer if job_id is not None]
