"""What the machine draws: few names, keys, times and numbers, so that they collide."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from hypothesis import strategies as st

from zeke_queue.model import (
    CARRIED,
    CatchUp,
    Claimed,
    Completed,
    Extended,
    Failed,
    JobEvent,
    JobQuery,
    JobStatus,
    NewJob,
    QueueCapacity,
    QueueSettings,
    Released,
    RowState,
    Schedule,
    WorkerInfo,
)
from zeke_queue.storage.access import NewKey, Scope

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

ZONE = "America/New_York"
START = datetime(2026, 3, 8, 6, 59, tzinfo=UTC)
"""A minute before summer time begins in this zone."""

NAMES = ("a", "b")
WORKERS = (UUID(int=0xA), UUID(int=0xB))
SLEEPER = UUID(int=0xC)

names = st.sampled_from(["a", "a", "a", "b"])
workers = st.sampled_from(WORKERS)
SLOT = 10
slots = st.sampled_from([SLOT, 3600])
limits = st.sampled_from([1, 2, 3, 100])
budgets = st.sampled_from([None, None, 0, 4, 40])
seconds = st.sampled_from([0.0, 0.5, 1.0, 5.0, 60.0, 1.0000005])
ages = st.sampled_from([0.0, 0.5, 1.0, 60.0, 1.0000005, 86_400.0])
payloads = st.sampled_from(
    [None, "null", '{"n":1.50,"aa":[1e2,-0],"b":{}}', '{"x":1,"x":"\\u00e9"}', '"text"', "[]", "0.10"]
)
errors = st.sampled_from(
    [
        '{"type":"E","message":"boom","traceback":null}',
        '{"type":"F","message":"bang","traceback":"at","extra":1.0}',
    ]
)
steps_of_time = st.sampled_from([0.000001, 0.5, 1.0, 4.0, 10.0, 60.0, 3600.0, -2.0, -2.0])


# An example has a limited number of draws, so independent values are drawn together.
starts: SearchStrategy[dict[str, Any]] = st.sampled_from(
    [{}] * 6
    + [{"delay": delay} for delay in (0.5, 1.0000005, 5.0, 60.0)]
    + [{"start_at": START + timedelta(seconds=offset)} for offset in (-3600.0, -1.0, 2.0)]
    + [{"start_at": START + timedelta(seconds=3600.0), "delay": 5.0}]
)
policies: SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {},
        {"retry_limit": 0, "retry_delay": 2, "expire_in": 0.25},
        {"retry_limit": 1, "retry_backoff": False, "expire_in": 5.0},
        {"retry_limit": 2, "retry_delay_max": 10, "expire_in": 600.0},
    ]
)
belongings: SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {},
        {"data": "null"},
        {"data": '{"n":1.50,"aa":[1e2,-0],"b":{}}', "meta": "{}"},
        {"data": '{"x":1,"x":"\\u00e9"}', "meta": '{"trace":"t","k":null}', "parent": UUID(int=1)},
        {"data": "0.10", "parent": UUID(int=2), "policy": "p"},
        {"data": "[]", "group_key": "g"},
    ]
)
RULES: list[dict[str, Any]] = [
    {"singleton_key": "k"},
    {"singleton_key": "k", "slot_seconds": 3600},
    {"slot_seconds": SLOT},
    {"slot_seconds": SLOT, "slot_offset": SLOT},
    {"slot_seconds": 3600},
    {"singleton_key": "__pgboss__singleton_queue"},
    {"singleton_key": "__pgboss__singleton_queue"},
]
"""Uniqueness rules that a job may be under."""


def _new_job(job_id: UUID, name: str, priority: int, *parts: dict[str, Any]) -> NewJob:
    """Put a job together from its parts."""
    return NewJob(job_id, name, priority=priority, **{key: part[key] for part in parts for key in part})


def new_jobs(ids: SearchStrategy[UUID]) -> SearchStrategy[NewJob]:
    """Return a job, half of them under a uniqueness rule."""
    rules = st.sampled_from([{}] * len(RULES) + RULES)
    return st.builds(_new_job, ids, names, st.integers(-1, 1), starts, policies, belongings, rules)


@st.composite
def rivals(draw: st.DrawFn, ids: SearchStrategy[UUID]) -> list[NewJob]:
    """One to three jobs of which a uniqueness rule admits one."""
    name, rule = draw(names), draw(st.sampled_from(RULES))
    jobs = draw(st.lists(new_jobs(ids), min_size=1, max_size=3))
    free: dict[str, Any] = {"singleton_key": None, "slot_seconds": None, "slot_offset": 0}
    return [replace(job, **{"name": name, **free, **rule}) for job in jobs]


capacity = st.lists(
    st.builds(QueueCapacity, names, st.sampled_from([1, 2, 100])),
    max_size=2,
    unique_by=lambda want: want.name,
)

Outcome = Completed | Failed | Released


def outcomes(claims: SearchStrategy[tuple[UUID, int]]) -> SearchStrategy[list[Outcome]]:
    """Up to four outcomes of jobs that were claimed at some time, each job once."""
    retries = st.none() | seconds
    finals: Any = st.sampled_from([RowState.FAILED, RowState.EXPIRED])
    one: SearchStrategy[Outcome] = claims.flatmap(
        lambda claim: st.one_of(
            st.builds(Completed, st.just(claim[0]), st.just(claim[1]), payloads),
            st.builds(Failed, st.just(claim[0]), st.just(claim[1]), retries, errors, finals),
            st.builds(Released, st.just(claim[0]), st.just(claim[1]), seconds),
        )
    )
    return st.lists(one, min_size=1, max_size=4, unique_by=lambda outcome: outcome.id)


ENDINGS = ["completed", "returned nothing", "retried", "failed", "released"]
endings = st.lists(st.sampled_from(ENDINGS), min_size=1, max_size=4)
late = st.sampled_from(ENDINGS)


def ended(job: Claimed, ending: str) -> Outcome:
    """Return how a job ends that was just claimed."""
    if ending in {"completed", "returned nothing"}:
        return Completed(job.id, job.attempt, '{"n":1.0}' if ending == "completed" else None)
    if ending == "released":
        return Released(job.id, job.attempt)
    return Failed(job.id, job.attempt, 0.0 if ending == "retried" else None, '{"type":"E","message":"boom"}')


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


queue_settings = st.builds(
    QueueSettings,
    names,
    st.sampled_from([1, 1, 2, 3, 0, None]),
    limited_with=st.sampled_from([(), (), ("a", "b"), ("b", "a")]),
)

extras: SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {"task": "a"},
        {"task": "b", "data": '{"n":1.50,"aa":1}', "options": {"priority": 1, "key": "x"}},
        {
            "task": "a",
            "data": '{"aa":1,"n":1.50}',
            "options": {"key": "x", "priority": 1},
            "description": "said",
        },
        {"task": "a", "catch_up": CatchUp.ALL},
    ]
)
schedules = st.builds(
    lambda name, cron, zone, paused, extra: Schedule(name, cron, zone=zone, paused=paused, **extra),
    st.sampled_from(["s", "t"]),
    st.sampled_from(["* * * * *", "0 * * * *"]),
    st.sampled_from(["UTC", "Asia/Tokyo"]),
    st.booleans(),
    extras,
)

beats = st.builds(
    WorkerInfo,
    id=workers,
    host=st.just("host"),
    pid=st.integers(1, 2),
    queues=st.sampled_from([("a",), ("a", "b")]),
    lease=st.sampled_from([3.0, 20.0]),
    duties=st.sampled_from([(), ("maintenance",), ("maintenance", "schedules")]),
)
sleepers = beats.map(lambda worker: replace(worker, id=SLEEPER, lease=1e6))
limited = st.sampled_from(
    [
        [],
        [QueueSettings("a", 2)],
        [QueueSettings(name, 2, limited_with=("a", "b")) for name in ("a", "b")],
        [QueueSettings(name, 100) for name in NAMES],
    ]
)


def events(claims: SearchStrategy[tuple[UUID, int]]) -> SearchStrategy[list[JobEvent]]:
    """Up to three events of jobs."""
    one = st.builds(
        lambda claim, kind, data, number: JobEvent(claim[0], claim[1], kind, data, number=number),
        claims,
        st.sampled_from(["progress", "log"]),
        st.sampled_from(['{"value":0.50,"message":null}', '{"message":"m","level":"info"}']),
        st.none() | st.integers(0, 5),
    )
    return st.lists(one, min_size=1, max_size=3)


narrowings: SearchStrategy[dict[str, Any]] = st.sampled_from(
    [{}] * 6
    + [{"created_from": START + timedelta(seconds=offset)} for offset in (0.0, 1.0, 60.0)]
    + [{"created_to": START + timedelta(seconds=offset)} for offset in (0.000001, 1.0)]
    + [{"text": text} for text in ("1.50", "K", "É", "00001", '"b": {}', "MSG", "%")]
    + [{"created_from": START, "created_to": START + timedelta(seconds=3600), "text": '"N": 1.'}]
    + [{"text": text, "opaque": ("a", "c")} for text in ("1.50", "00001")]
)


KEYS = tuple(UUID(int=0xF0 + number) for number in range(3))
DIGESTS = tuple(bytes([number]) * 32 for number in range(3))

callers = st.sampled_from(["a", "b", "B", "ü"])
key_ids = st.sampled_from(KEYS)
digests = st.sampled_from(DIGESTS)
prefixes = st.sampled_from(["mid_1", "mid_2"])
new_keys = st.builds(
    NewKey,
    id=key_ids,
    name=st.just("key"),
    prefix=prefixes,
    digest=digests,
    scopes=st.sampled_from([frozenset(), frozenset({Scope.READ}), frozenset(Scope)]),
    team_id=st.sampled_from([None, UUID(int=1)]),
    expires_in=st.sampled_from([None, None, 5.0, 60.0]),
)
steps_of_access: SearchStrategy[list[tuple[Any, ...]]] = st.lists(
    st.one_of(
        st.tuples(st.just("create_key"), new_keys),
        st.tuples(st.just("create_session"), digests, key_ids, st.sampled_from([1.0, 60.0])),
        st.tuples(st.just("get_session"), digests),
        st.tuples(st.just("delete_session"), digests),
        st.tuples(st.just("touch_key"), key_ids),
        st.tuples(st.just("revoke_key"), key_ids),
        st.tuples(st.just("valid_keys"), prefixes),
        st.sampled_from([("keys",), ("has_keys",)]),
    ),
    min_size=1,
    max_size=6,
)
"""Verbs of keys and sessions, with their arguments."""


def filters(ids: SearchStrategy[UUID]) -> SearchStrategy[JobQuery]:
    """Return a text to search for."""
    return st.builds(
        lambda narrowing, **fields: JobQuery(**fields, **narrowing),
        narrowings,
        names=st.sampled_from([(), ("a",), ("a", "b")]),
        status=st.sampled_from([(), *((one,) for one in JobStatus), (JobStatus.QUEUED, JobStatus.FAILED)]),
        parent=st.sampled_from([None, UUID(int=1)]),
        archived=st.booleans(),
        before=st.one_of(st.none(), ids),
        ids=st.one_of(st.none(), st.none(), st.tuples(ids, ids), st.just(())),
        without=st.sampled_from([(), (), ("meta", "history"), ("data",), CARRIED]),
        bytes_max=st.sampled_from([None, 1, 12, 40, 200]),
        limit=st.sampled_from([1, 3, 999, 1000]),
    )
