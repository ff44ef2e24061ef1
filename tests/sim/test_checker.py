"""The checker.

Which properties get which events, the text of a violation, and that a correct storage passes.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.clocks import FrozenClock
from tests.model import strategies as draw
from tests.sim.histories import CANCELLED, PROPERTIES, History
from zeke_queue.model import Completed, Extended, Failed, NewJob, QueueCapacity, RowState
from zeke_queue.storage.memory import MemoryStorage
from zeke_sim.history.events import Answered, Began, Change, Ended, Invoked, Rules, Violation
from zeke_sim.history.recorder import Recorder
from zeke_sim.history.state import Broken, End, RunState
from zeke_sim.properties import ALL, holds
from zeke_sim.properties.checker import Checker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from zeke_queue.model import Claimed, QueueSettings, WorkerInfo
    from zeke_sim.history.events import Event


def test_violation_has_rule_text_job_and_times(h: History) -> None:
    job = h.send()
    h.wait(2)
    h.by_hand("cancel", job, CANCELLED)
    h.wait(3)
    h.change(job, state=RowState.ACTIVE)
    violation = h.verdict()
    assert violation is not None
    assert violation.rule == "only legal transitions"
    assert violation.text == "cancelled became active"
    assert violation.job == job
    assert (violation.since, violation.at) == (pytest.approx(2.003), pytest.approx(5.004))
    assert str(violation) == "only legal transitions: cancelled became active"


def test_first_broken_property_counts_and_sees_the_event() -> None:
    seen: list[str] = []

    @holds("looks", Change)
    def looks(event: Change, state: RunState) -> None:
        assert event.after is not None
        assert state.live[event.after.id] is event.after
        seen.append("looks")

    @holds("fails", Change)
    def fails(_event: Change, _state: RunState) -> None:
        raise Broken("no", since=1.0)

    @holds("fails too", Change)
    def fails_too(_event: Change, _state: RunState) -> None:
        seen.append("fails too")

    h = History()
    h.send()
    violation = h.verdict(looks, fails, fails_too)
    assert violation is not None
    assert (violation.rule, violation.since, violation.job) == ("fails", 1.0, None)
    assert seen == ["looks"]


def test_property_of_verbs_sees_only_their_calls() -> None:
    seen: list[str] = []

    @holds("listens", Invoked, Answered, End, verbs=("get",))
    def listens(event: Invoked | Answered | End, _state: RunState) -> None:
        seen.append("end" if isinstance(event, End) else f"{type(event).__name__} {event.verb}")

    h = History()
    h.send()
    h.answer(h.invoke("get", ids=()), {})
    h.verdict(listens)
    assert seen == ["Invoked get", "Answered get", "end"]


def test_every_property_has_a_name_of_its_own_and_a_sentence() -> None:
    assert len({one.name for one in ALL}) == len(ALL)
    assert [one.name for one in ALL if not one.sentence.endswith(".")] == []


def test_purged_id_that_is_sent_again_is_another_job(h: History) -> None:
    job = h.new()
    for _ in range(2):
        h.insert(job, h.invoke("insert", jobs=(job,)))
        h.complete(job.id)
        h.wait(60.0)
        h.archive(job.id)
        h.wait(60.0)
        h.purge(job.id)
    checker = Checker(h.rules, properties=[PROPERTIES["each attempt runs once"]])
    for event in h.events:
        checker.see(event)
    assert len(checker.state.lives[job.id].began[1]) == 1


class Recorded:
    """A memory storage whose every call and change goes to a checker, as a simulation's does."""

    def __init__(self) -> None:
        self.clock = FrozenClock()
        self.at = 0.0
        self.events: list[Event] = []
        self.checker = Checker(Rules(strict_order=True))
        self.store = MemoryStorage(self.clock)
        self.recorder = Recorder(lambda: self.at, self.checker.see, lambda: None)
        self.recorder.watch(self.store, self.clock)
        self.calls = 0
        self.said: dict[tuple[UUID, int], Any] = {}

    def see(self, event: Event) -> None:
        self.recorder.add(event)
        self._raise()

    def _raise(self) -> None:
        if self.recorder.violation is not None:
            raise self.recorder.violation

    async def call(self, verb: str, *given: Any, transaction: Any = None, number: int | None = None) -> Any:
        """Call a verb; the arguments go by the protocol's names."""
        names, args = NAMES[verb], dict(zip(NAMES[verb], given, strict=False))
        if verb == "settle":
            args = {"completed": (), "failed": (), "released": (), "repeated": False} | args
        options = {name: args[name] for name in names if name in ("repeated", "paused") and name in args}
        plain = [value for name, value in args.items() if name not in options]
        target = self.store if transaction is None else transaction
        return await self._told(verb, args, lambda: getattr(target, verb)(*plain, **options), number)

    async def _told(
        self, verb: str, args: dict[str, Any], do: Callable[[], Awaitable[Any]], number: int | None
    ) -> Any:
        self.at += 0.001
        self.calls += 1
        call = self.calls
        self.see(Invoked(self.at, "n", call, verb, args, number))
        self.recorder.call, issued = call, self.clock.now()
        self.recorder.commit += 1
        try:
            result = await do()
        finally:
            self.recorder.call = None
        self._raise()
        self.see(Answered(self.at, "n", call, verb, "ok", result, issued))
        return result

    def advance(self, seconds: float) -> None:
        """Advance the time; only the storage's clock can go back."""
        self.at += max(0.0, seconds)
        self.clock.advance(seconds)

    async def work(self, worker: UUID, endings: list[str]) -> list[tuple[UUID, int]]:
        """Claim all jobs, run them, and end the first few."""
        capacity = [QueueCapacity(name, 100) for name in draw.NAMES]
        claimed: list[Claimed] = await self.call("claim", worker, capacity, 100)
        for place, job in enumerate(claimed):
            how, value = DID[endings[place] if place < len(endings) else "completed"]
            self.see(Began(self.at, "n", job.name, job.id, job.attempt))
            self.see(Ended(self.at, "n", job.name, job.id, job.attempt, how, value))
        outcomes = [lawful(job, ending) for job, ending in zip(claimed, endings, strict=False)]
        self.said.update({(outcome.id, outcome.attempt): outcome for outcome in outcomes})
        await self.call("settle", *draw.settlement(outcomes))
        return [(job.id, job.attempt) for job in claimed]

    async def transact(self, jobs: list[NewJob], cancelled: list[UUID], *, commit: bool) -> None:
        """Insert and cancel in one transaction, which commits or not."""
        self.calls += 1
        number = self.calls
        block = self.store.transaction()
        opened = await block.__aenter__()
        await self.call("insert", jobs, transaction=opened, number=number)
        await self.call("cancel", cancelled, transaction=opened, number=number)
        if commit:
            await self._told("commit", {}, lambda: block.__aexit__(None, None, None), number)
        else:
            error = RuntimeError("no")
            assert not await block.__aexit__(RuntimeError, error, None)

    async def sweep(self) -> None:
        """Release expired jobs, as maintenance does."""
        self.calls += 1
        number = self.calls
        block = self.store.transaction()
        opened = await block.__aenter__()
        late = await self.call("lock_expired", 100, transaction=opened, number=number)
        failed = [Failed(job.id, job.attempt, *verdict(job)) for job in late]
        await self.call("settle", [], failed, [], transaction=opened, number=number)
        await self._told("commit", {}, lambda: block.__aexit__(None, None, None), number)


NAMES = {
    "insert": ("jobs",),
    "claim": ("worker", "capacity", "limit"),
    "settle": ("completed", "failed", "released", "repeated"),
    "extend": ("extended",),
    "heartbeat": ("worker",),
    "deregister": ("worker",),
    "cancel": ("ids",),
    "resume": ("ids",),
    "retry": ("ids",),
    "archive": ("after", "limit"),
    "purge": ("after", "limit"),
    "get": ("ids",),
    "lock_expired": ("limit",),
    "pause_queue": ("name", "paused"),
    "declare": ("queues", "schedules"),
}

ERROR = '{"type":"E","message":"boom","traceback":null}'
FINAL_ERROR = '{"type":"Fail","message":"boom","traceback":null}'


DID: dict[str, tuple[Any, Any]] = {
    "completed": ("returned", {"n": 1.0}),
    "returned nothing": ("returned", None),
    "released": ("raised", "Snooze: not now"),
    "retried": ("raised", "E: boom"),
    "failed": ("raised", "Fail: boom"),
}
"""What a handler does whose job ends in a way."""


def shortest(job: Any) -> float | None:
    """Return the shortest wait that the job's policy allows; None when no retry is left."""
    if job.retry_count >= job.retry_limit:
        return None
    wait = float(job.retry_delay) * (2**job.retry_count if job.retry_backoff else 1)
    return wait if job.retry_delay_max is None or not job.retry_backoff else min(wait, job.retry_delay_max)


def verdict(job: Any) -> tuple[float | None, str, Any]:
    kind = "Expired" if job.reason == "deadline" else "WorkerLost"
    final = RowState.EXPIRED if job.reason == "deadline" else RowState.FAILED
    return shortest(job), ERROR.replace('"E"', f'"{kind}"'), final


def lawful(job: Any, ending: str) -> Any:
    """Return how a job ends that was just claimed, by its policy."""
    if ending == "retried":
        return Failed(job.id, job.attempt, shortest(job), ERROR)
    if ending == "failed":
        return Failed(job.id, job.attempt, None, FINAL_ERROR)
    return draw.ended(job, ending)


STEP = st.one_of(
    st.tuples(st.just("insert"), st.lists(draw.new_jobs(st.just(UUID(int=0))), min_size=1, max_size=4)),
    st.tuples(st.just("again"), st.integers(0, 9)),
    st.tuples(st.just("work"), draw.workers, draw.endings),
    st.tuples(st.just("stale"), st.integers(0, 9)),
    st.tuples(
        st.just("by_hand"),
        st.sampled_from(["cancel", "resume", "retry", "get"]),
        st.lists(st.integers(0, 9), max_size=4),
    ),
    st.tuples(
        st.just("transact"),
        st.lists(draw.new_jobs(st.just(UUID(int=0))), max_size=2),
        st.lists(st.integers(0, 9), max_size=2),
        st.sampled_from(["commit", "roll back"]),
    ),
    st.tuples(st.just("heartbeat"), draw.beats),
    st.tuples(st.just("deregister"), draw.workers),
    st.tuples(st.just("sweep")),
    st.tuples(st.just("retention"), st.sampled_from([0.5, 5.0])),
    st.tuples(st.just("extend"), st.integers(0, 9), draw.seconds),
    st.tuples(st.just("queues"), st.lists(draw.queue_settings, max_size=2, unique_by=lambda q: q.name)),
    st.tuples(st.just("pause"), draw.names, st.sampled_from(["pause", "resume"])),
    st.tuples(st.just("time"), draw.steps_of_time),
)


class Driver:
    """Runs the steps; numbers are indexes of jobs sent, or claimed, so far."""

    def __init__(self) -> None:
        self.recorded = Recorded()
        self.call = self.recorded.call
        self.ids = [UUID(int=1)]
        self.claims: list[tuple[UUID, int]] = [(UUID(int=1), 1)]
        self.beaten: dict[UUID, float] = {}

    def sent(self, numbers: list[int]) -> list[UUID]:
        return [self.ids[number % len(self.ids)] for number in numbers]

    def with_ids(self, jobs: list[NewJob]) -> list[NewJob]:
        begin = len(self.ids)
        self.ids += [UUID(int=0x1000 + begin + place) for place in range(len(jobs))]
        return [replace(job, id=job_id) for job, job_id in zip(jobs, self.ids[begin:], strict=True)]

    async def insert(self, jobs: list[NewJob]) -> None:
        await self.call("insert", self.with_ids(jobs))

    async def again(self, number: int) -> None:
        await self.call("insert", [NewJob(self.sent([number])[0], "a")])

    async def work(self, worker: UUID, endings: list[str]) -> None:
        if self.recorded.at > self.beaten.get(worker, self.recorded.at) + Rules().lease:
            return  # a correct worker sends a heartbeat first
        self.claims += await self.recorded.work(worker, endings)

    async def stale(self, number: int) -> None:
        place = number % len(self.claims)
        job, attempt = self.claims[place]
        if place and (job, attempt) not in self.recorded.said:
            return  # a correct worker never settles a handler that did not begin
        outcome, again = self.recorded.said.get((job, attempt), Completed(job, attempt, '{"n":1.0}')), True
        await self.call("settle", *draw.settlement([outcome]), again)

    async def by_hand(self, verb: str, numbers: list[int]) -> None:
        await self.call(verb, self.sent(numbers))

    async def transact(self, jobs: list[NewJob], numbers: list[int], end: str) -> None:
        await self.recorded.transact(self.with_ids(jobs), self.sent(numbers), commit=end == "commit")

    async def heartbeat(self, worker: WorkerInfo) -> None:
        self.beaten[worker.id] = self.recorded.at
        await self.call("heartbeat", worker)

    async def deregister(self, worker: UUID) -> None:
        if not self.recorded.checker.state.activity[worker].holds:  # a right worker settles first
            await self.call("deregister", worker)

    async def sweep(self) -> None:
        await self.recorded.sweep()

    async def retention(self, after: float) -> None:
        await self.call("archive", after, 100)
        await self.call("purge", after, 100)

    async def extend(self, number: int, seconds: float) -> None:
        job, attempt = self.claims[number % len(self.claims)]
        await self.call("extend", [Extended(job, attempt, seconds)])

    async def queues(self, queues: list[QueueSettings]) -> None:
        await self.call("declare", queues, [])

    async def pause(self, name: str, pause: str) -> None:
        await self.call("pause_queue", name, pause == "pause")

    async def time(self, seconds: float) -> None:
        self.recorded.advance(seconds)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=st.lists(STEP, min_size=1, max_size=30))
def test_correct_storage_breaks_no_property(steps: list[tuple[Any, ...]]) -> None:
    async def go() -> None:
        driver = Driver()
        for kind, *given_to_it in steps:
            await getattr(driver, kind)(*given_to_it)
        driver.recorded.checker.finish(driver.recorded.at)

    asyncio.run(go())


def test_wrong_storage_breaks_a_property(monkeypatch: pytest.MonkeyPatch) -> None:
    async def go() -> None:
        recorded = Recorded()
        job = NewJob(UUID(int=5), "a", delay=60.0)
        monkeypatch.setattr(
            "zeke_queue.storage.memory.rows.timedelta", lambda seconds: timedelta(seconds=seconds / 2)
        )
        with pytest.raises(Violation, match="a row is what was sent: expire_in is 1800"):
            await recorded.call("insert", [job])

    asyncio.run(go())
