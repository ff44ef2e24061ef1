"""What the machine draws: few names, keys, times and numbers, so that they collide."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from hypothesis import strategies as st

from tests.clocks import START
from zeke_queue.model import (
    CatchUp,
    Completed,
    Extended,
    Failed,
    JobEvent,
    JobFilter,
    JobState,
    NewJob,
    QueueSettings,
    Released,
    Schedule,
    Want,
    WorkerInfo,
)

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

NAMES = ("a", "b")
SINGLETON_QUEUE = "__pgboss__singleton_queue"
WORKERS = (UUID(int=0xA), UUID(int=0xB))

RULES: list[tuple[str | None, int | None]] = [
    ("k", None),
    ("k", 3600),
    (None, 10),
    (None, 3600),
    (SINGLETON_QUEUE, None),
]
"""Key and slot of jobs under a uniqueness rule."""

names = st.sampled_from(["a", "a", "a", "b"])
workers = st.sampled_from(WORKERS)
slots = st.sampled_from([10, 3600])
limits = st.sampled_from([1, 2, 3, 100])
seconds = st.sampled_from([0.0, 0.5, 1.0, 5.0, 60.0, 1.0000005])
payloads = st.sampled_from(
    [None, "null", '{"n":1.50,"aa":[1e2,-0],"b":{}}', '{"x":1,"x":"\\u00e9"}', '"text"', "[]", "0.10"]
)
objects = st.sampled_from([None, "{}", '{"trace":"t","k":null}'])
errors = st.sampled_from(
    [
        '{"type":"E","message":"boom","traceback":null}',
        '{"type":"F","message":"bang","traceback":"at","extra":1.0}',
    ]
)
moments = st.sampled_from([-3600.0, -1.0, 0.0, 2.0, 3600.0]).map(lambda s: START + timedelta(seconds=s))
steps_of_time = st.sampled_from([0.000001, 0.5, 1.0, 4.0, 10.0, 60.0, 3600.0, -2.0, -2.0])
parents = st.none() | st.integers(1, 3).map(lambda n: UUID(int=n))


@st.composite
def new_jobs(draw: st.DrawFn, ids: SearchStrategy[UUID]) -> NewJob:
    """A job, most often without a rule, else with a key, a slot or both."""
    key, slot = draw(st.sampled_from([(None, None)] * 5 + RULES))
    return NewJob(
        id=draw(ids),
        name=draw(names),
        data=draw(payloads),
        priority=draw(st.integers(-1, 1)),
        delay=draw(st.just(0.0) | st.just(0.0) | seconds),
        start_at=draw(st.none() | st.none() | moments),
        retry_limit=draw(st.integers(0, 2)),
        retry_delay=draw(st.integers(0, 2)),
        retry_backoff=draw(st.booleans()),
        retry_delay_max=draw(st.sampled_from([None, 10])),
        expire_in=draw(st.sampled_from([0.25, 5.0, 600.0])),
        singleton_key=key,
        slot_seconds=slot,
        slot_offset=draw(st.sampled_from([0, slot])) if slot else 0,
        policy=draw(st.sampled_from([None, "p"])),
        group_key=draw(st.sampled_from([None, "g"])),
        parent=draw(parents),
        meta=draw(objects),
    )


@st.composite
def rivals(draw: st.DrawFn, ids: SearchStrategy[UUID]) -> list[NewJob]:
    """One to three jobs of which a uniqueness rule admits one."""
    first = draw(new_jobs(ids))
    key, slot = draw(st.sampled_from(RULES))
    rule: dict[str, Any] = {"name": first.name, "singleton_key": key, "slot_seconds": slot, "slot_offset": 0}
    others = draw(st.lists(new_jobs(ids), max_size=2))
    return [replace(job, **rule) for job in [first, *others]]


wants = st.lists(
    st.builds(Want, names, st.sampled_from([1, 2, 100])), max_size=2, unique_by=lambda want: want.name
)

Outcome = Completed | Failed | Released


def outcomes(claims: SearchStrategy[tuple[UUID, int]]) -> SearchStrategy[list[Outcome]]:
    """Up to four outcomes of jobs that were claimed at some time, each job once."""
    retries = st.none() | seconds
    finals: Any = st.sampled_from([JobState.FAILED, JobState.EXPIRED])
    one: SearchStrategy[Outcome] = claims.flatmap(
        lambda claim: st.one_of(
            st.builds(Completed, st.just(claim[0]), st.just(claim[1]), payloads),
            st.builds(Failed, st.just(claim[0]), st.just(claim[1]), retries, errors, finals),
            st.builds(Released, st.just(claim[0]), st.just(claim[1]), seconds),
        )
    )
    return st.lists(one, min_size=1, max_size=4, unique_by=lambda outcome: outcome.id)


def final_failures(claims: SearchStrategy[tuple[UUID, int]]) -> SearchStrategy[list[Failed]]:
    """One to three failures for good, each of another job."""
    one = st.builds(lambda claim, error: Failed(claim[0], claim[1], None, error), claims, errors)
    return st.lists(one, min_size=1, max_size=3, unique_by=lambda failed: failed.id)


def settlement(settled: list[Outcome]) -> tuple[list[Completed], list[Failed], list[Released]]:
    """Sort outcomes into the arguments of ``settle``."""
    return (
        [outcome for outcome in settled if isinstance(outcome, Completed)],
        [outcome for outcome in settled if isinstance(outcome, Failed)],
        [outcome for outcome in settled if isinstance(outcome, Released)],
    )


def extensions(claims: SearchStrategy[tuple[UUID, int]]) -> SearchStrategy[list[Extended]]:
    """Up to two extensions of different jobs."""
    one = st.builds(lambda claim, s: Extended(claim[0], claim[1], s), claims, seconds)
    return st.lists(one, min_size=1, max_size=2, unique_by=lambda extended: extended.id)


queue_settings = st.builds(QueueSettings, names, st.sampled_from([1, 1, 2, 3, 0, None]))

schedules = st.builds(
    Schedule,
    name=st.sampled_from(["s", "t"]),
    cron=st.sampled_from(["* * * * *", "0 * * * *"]),
    task=names,
    zone=st.sampled_from(["UTC", "Asia/Tokyo"]),
    data=payloads,
    options=st.sampled_from([{}, {"priority": 1, "key": "x"}]),
    catch_up=st.sampled_from(CatchUp),
    description=st.sampled_from([None, "said"]),
    paused=st.booleans(),
)

beats = st.builds(
    WorkerInfo,
    id=workers,
    host=st.just("host"),
    pid=st.integers(1, 2),
    queues=st.sampled_from([("a",), ("a", "b")]),
    lease=st.sampled_from([3.0, 20.0]),
)


def events(claims: SearchStrategy[tuple[UUID, int]]) -> SearchStrategy[list[JobEvent]]:
    """Up to three events of jobs."""
    one = st.builds(
        lambda claim, kind, data: JobEvent(claim[0], claim[1], kind, data),
        claims,
        st.sampled_from(["progress", "log"]),
        st.sampled_from(['{"value":0.50,"message":null}', '{"message":"m","level":"info"}']),
    )
    return st.lists(one, min_size=1, max_size=3)


def filters(ids: SearchStrategy[UUID]) -> SearchStrategy[JobFilter]:
    """What to look for."""
    return st.builds(
        JobFilter,
        names=st.sampled_from([(), ("a",), ("a", "b")]),
        states=st.sampled_from([(), (JobState.CREATED, JobState.RETRY), (JobState.COMPLETED,)]),
        parent=parents,
        archived=st.booleans(),
        before=st.none() | ids,
        limit=st.sampled_from([1, 3, 1000]),
    )
