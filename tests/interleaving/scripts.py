"""Scripts: the classic races, each with as little around it as it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from tests.interleaving.history import HOLD
from tests.interleaving.steps import (
    Do,
    Ending,
    FallAsleep,
    RecordTicks,
    ReleaseExpired,
    Script,
    SettleClaimed,
    Transaction,
    outcomes,
)
from zeke_queue.model import Extended, NewJob, QueueCapacity, QueueSettings, Schedule, WorkerInfo

if TYPE_CHECKING:
    from collections.abc import Iterator

A: Final = UUID(int=0xA)
B: Final = UUID(int=0xB)
DEAD: Final = UUID(int=0xD)
"""Workers: two with fresh heartbeats, and one whose lease has run out when the clients begin."""

QUEUE_KEY: Final = "__pgboss__singleton_queue"
"""A key that a job gives up when it is claimed."""

LONG: Final = 100.0


def job_id(number: int) -> UUID:
    return UUID(int=0x1000 + number)


def job(number: int, name: str = "a", **options: Any) -> NewJob:
    return NewJob(job_id(number), name, **options)


def insert(*jobs: NewJob) -> Do:
    return Do("insert", list(jobs))


def claim(*names: str, worker: UUID = B, limit: int = 10, free: int = 10) -> Do:
    return Do("claim", worker, [QueueCapacity(name, free) for name in names or ("a",)], limit)


def settle(ending: Ending, *numbers: int, attempt: int = 1, repeated: bool = False) -> Do:
    how = {"repeated": True} if repeated else {}
    return Do("settle", *outcomes([(job_id(number), attempt) for number in numbers], ending), **how)


def by_ids(verb: str, *numbers: int) -> Do:
    return Do(verb, [job_id(number) for number in numbers])


def hold(*numbers: int) -> Do:
    return Do(HOLD, *map(job_id, numbers))


def limit(number: int | None, name: str = "a") -> Do:
    return Do("declare", [QueueSettings(name, concurrency_limit=number)], [])


def shared_limit(number: int) -> Do:
    return Do("declare", [QueueSettings(name, number, limited_with=("a", "b")) for name in ("a", "b")], [])


def pause(name: str = "a", *, paused: bool = True) -> Do:
    return Do("pause_queue", name, paused=paused)


def heartbeat(worker: UUID, *queues: str) -> Do:
    return Do("heartbeat", WorkerInfo(worker, "host", 1, queues or ("a", "b"), 20.0))


def begun(*jobs: NewJob, worker: UUID = A) -> tuple[Do, ...]:
    """Store running jobs of queue "a"."""
    return heartbeat(worker), insert(*jobs), claim(worker=worker, limit=len(jobs))


def ended(ending: Ending, *jobs: NewJob) -> tuple[Do, ...]:
    """Store jobs of queue "a" that ended in some way."""
    numbers = [one.id.int - 0x1000 for one in jobs]
    return *begun(*jobs), settle(ending, *numbers)


TICK: Final = Do("put_schedule", Schedule("s", "* * * * *", task="a"))
OTHER_TICK: Final = Do("put_schedule", Schedule("t", "* * * * *", task="b"))


def _falling_asleep(
    while_: str, *others: tuple[Do | Transaction, ...], before: tuple[Do, ...] = ()
) -> Iterator[Script]:
    """Yield scripts of a worker that falls asleep while one other does something that brings work."""
    for number, steps in enumerate(others, 1):
        name = f"a worker that falls asleep while {while_}, {number}"
        yield Script(name, (heartbeat(B), *before), ((FallAsleep(B, ("a",)),), steps))


CLASSICS: Final = (
    Script(
        "two claims at a limit",
        (limit(1), insert(job(1), job(2), job(3))),
        ((claim(),), (claim(worker=A),)),
    ),
    Script(
        "claims of two queues that share a limit",
        (shared_limit(2), insert(job(1), job(2), job(3, "b"), job(4, "b"))),
        ((claim(),), (claim("b", worker=A),)),
    ),
    Script(
        "three claims at a limit of two, one of two queues",
        (limit(2), insert(job(1), job(2), job(3), job(4, "b"))),
        ((claim(),), (claim("a", "b", worker=A),), (claim(limit=1),)),
    ),
    Script(
        "claims at a limit while a job completes",
        (limit(1), *begun(job(1), worker=A), insert(job(2), job(3))),
        ((settle("complete", 1),), (claim(),), (claim(worker=A),)),
    ),
    Script(
        "claims of rows that a transaction holds",
        (insert(job(1, priority=5), job(2), job(3, "b")),),
        (
            (Transaction(by_ids("cancel", 1), commit=False),),
            (claim("a", "b", limit=2),),
            (claim("a", "b", worker=A, limit=1, free=1),),
        ),
    ),
    Script(
        "a limit that is lowered, and another that is new, against claims",
        (limit(3), insert(job(1), job(2), job(3, "b"), job(4, "b"))),
        ((limit(1), limit(1, "b")), (claim("a", "b"),), (claim("a", "b", worker=A),)),
    ),
    Script(
        "a limit that is new to who claims",
        (insert(job(1), job(2), job(3, "b")),),
        ((limit(1),), (claim("a", "b"),)),
    ),
    Script(
        "a pause against claims",
        (limit(5), insert(job(1), job(2), job(3, "b"))),
        ((pause(), pause("b"), pause(paused=False)), (claim("a", "b", limit=1), claim("a", "b"))),
    ),
    Script(
        "a claim, its settlement, and maintenance",
        (heartbeat(B), insert(job(1, expire_in=5.0), job(2)), claim(worker=A, limit=1), LONG, heartbeat(B)),
        ((claim(), SettleClaimed("complete")), (ReleaseExpired(),), (settle("complete", 1),)),
    ),
    Script(
        "a settlement against maintenance, on two jobs in other orders",
        (*begun(job(1), job(2, expire_in=5.0), worker=DEAD), LONG),
        ((settle("complete", 2, 1),), (ReleaseExpired(ending="expire"),), (ReleaseExpired(),)),
    ),
    Script(
        "a worker that lives after all",
        (*begun(job(1), job(2), worker=DEAD), LONG),
        (
            (heartbeat(DEAD), Do("extend", [Extended(job_id(1), 1, 500.0)])),
            (ReleaseExpired(1),),
            (settle("fail", 1, 2),),
        ),
    ),
    Script(
        "a worker that leaves",
        begun(job(1), job(2), worker=A),
        ((settle("release", 1), Do("deregister", A)), (ReleaseExpired(),), (by_ids("cancel", 2, 1),)),
    ),
    Script(
        "sends under one key",
        (),
        (
            (insert(job(1, singleton_key="k")),),
            (Transaction(insert(job(2, singleton_key="k")), insert(job(3))),),
            (Transaction(insert(job(4, singleton_key="k")), commit=False),),
        ),
    ),
    Script(
        "batches under keys in other orders",
        (),
        (
            (insert(job(1, singleton_key="k"), job(2, singleton_key="l")),),
            (insert(job(3, singleton_key="l"), job(4, singleton_key="k")),),
            (Transaction(insert(job(5, singleton_key="l")), commit=False),),
        ),
    ),
    Script(
        "one id sent twice",
        (),
        (
            (Transaction(insert(job(1, singleton_key="k"))),),
            (insert(job(1)), insert(job(1, fresh=False))),
            (insert(job(1), job(2, singleton_key="k")),),
        ),
    ),
    Script(
        "sends in one slot",
        ended("complete", job(1, slot_seconds=3600)),
        (
            (Transaction(insert(job(2, slot_seconds=3600, slot_offset=3600)), commit=False),),
            (insert(job(3, slot_seconds=3600, slot_offset=3600)), insert(job(4, slot_seconds=3600))),
            (by_ids("cancel", 3),),
        ),
    ),
    Script(
        "a send against the end of who holds its key",
        begun(job(1, singleton_key="k")),
        (
            (Transaction(settle("complete", 1)),),
            (insert(job(2, singleton_key="k")),),
            (insert(job(3, singleton_key="k"), job(4)),),
        ),
    ),
    Script(
        "sends against a holder whose end is rolled back",
        begun(job(1, singleton_key="k")),
        (
            (Transaction(settle("complete", 1), commit=False), settle("fail", 1)),
            (insert(job(2, singleton_key="k")), insert(job(3, singleton_key="k"))),
        ),
    ),
    Script(
        "a return to a place against a send that takes it",
        begun(job(1, singleton_key=QUEUE_KEY), job(2)),
        (
            (settle("retry", 1, 2),),
            (Transaction(insert(job(3, singleton_key=QUEUE_KEY)), commit=False),),
            (insert(job(4, singleton_key=QUEUE_KEY)), by_ids("cancel", 4)),
        ),
    ),
    Script(
        "a return in a transaction against a send that takes its place",
        begun(job(1, singleton_key=QUEUE_KEY), job(2)),
        (
            (Transaction(settle("release", 1, 2)),),
            (insert(job(3, singleton_key=QUEUE_KEY)),),
            (claim(),),
        ),
    ),
    Script(
        "what was cancelled is resumed, and its place taken",
        (insert(job(1, singleton_key="k"), job(2)), by_ids("cancel", 1, 2)),
        (
            (by_ids("resume", 1, 2),),
            (insert(job(3, singleton_key="k")), by_ids("cancel", 3)),
            (by_ids("resume", 2, 1),),
        ),
    ),
    Script(
        "two failures of one key are both tried again",
        (*ended("fail", job(1, singleton_key="k")), insert(job(2, singleton_key="k")), by_ids("cancel", 2)),
        (
            (by_ids("retry", 1, 2),),
            (Transaction(insert(job(3, singleton_key="k")), commit=False),),
            (by_ids("resume", 2),),
        ),
    ),
    Script(
        "archiving against what is tried again",
        (*ended("fail", job(1), job(2)), LONG, insert(job(3))),
        ((by_ids("retry", 1),), (Do("archive", 50.0, 10),), (claim(), SettleClaimed("fail"))),
    ),
    Script(
        "archiving against sends of the same ids",
        (*ended("complete", job(1), job(2)), LONG),
        (
            (Do("archive", 50.0, 10),),
            (insert(job(1)), insert(job(1), job(2), job(3)), claim()),
            (Transaction(insert(job(2)), commit=False),),
        ),
    ),
    Script(
        "two archivings, and what is resumed",
        (insert(job(1), job(2)), by_ids("cancel", 1, 2), LONG),
        (
            (Do("archive", 50.0, 1),),
            (Do("archive", 50.0, 10),),
            (Transaction(hold(1)), by_ids("resume", 1, 2)),
        ),
    ),
    Script(
        "two schedulers on one tick",
        (TICK, OTHER_TICK),
        ((RecordTicks(),), (RecordTicks(),)),
    ),
    Script(
        "schedulers that serve in part, and an edit",
        (TICK, OTHER_TICK),
        (
            (RecordTicks(1),),
            (RecordTicks(1),),
            (Do("put_schedule", Schedule("s", "0 * * * *", task="a")), Do("delete_schedule", "t")),
        ),
    ),
    Script(
        "cancelling against completing, on two jobs in other orders",
        begun(job(1), job(2)),
        (
            (by_ids("cancel", 2, 1),),
            (settle("complete", 1, 2), settle("complete", 1, 2, repeated=True)),
            (Transaction(hold(2)),),
        ),
    ),
    Script(
        "a transaction changes jobs that lie in another order than that of their ids",
        (*begun(job(1)), insert(job(2)), claim(), settle("release", 1)),
        (
            (Transaction(by_ids("cancel", 1, 2)),),
            (by_ids("cancel", 1, 2),),
            (Transaction(hold(1)),),
            (Transaction(settle("fail", 1, 2)),),
        ),
    ),
    Script(
        "a transaction settles jobs that lie and are named in another order than that of their ids",
        (insert(job(2)), claim(), insert(job(1)), claim()),
        (
            (Transaction(settle("fail", 2, 1)),),
            (settle("complete", 2, 1),),
            (Transaction(settle("complete", 2, 1)),),
        ),
    ),
    Script(
        "a verb that waits decides each row at its moment",
        begun(job(1), job(2), job(3)),
        (
            (Transaction(settle("retry", 2)),),
            (by_ids("cancel", 1, 2, 3),),
            (settle("fail", 1, 3), by_ids("retry", 1, 3), claim()),
        ),
    ),
    Script(
        "an old attempt against the new one",
        (*begun(job(1)), settle("retry", 1)),
        (
            (claim(), SettleClaimed("complete")),
            (settle("complete", 1), settle("fail", 1), Do("extend", [Extended(job_id(1), 1, 500.0)])),
            (Transaction(hold(1)),),
        ),
    ),
    Script(
        "a transaction that settles, sends and looks again",
        begun(job(1, singleton_key="k")),
        (
            (
                Transaction(
                    insert(job(2, singleton_key="k")),
                    settle("complete", 1),
                    insert(job(3, singleton_key="k")),
                ),
            ),
            (insert(job(4, singleton_key="k")), claim(limit=1)),
            (Do("queue_stats"), Do("get", [job_id(1), job_id(3)])),
        ),
    ),
    *_falling_asleep(
        "jobs are sent",
        (insert(job(1)),),
        (Transaction(insert(job(1))),),
        (Transaction(insert(job(1), job(2))), insert(job(3, "b"))),
    ),
    *_falling_asleep(
        "jobs come back",
        (by_ids("retry", 1),),
        (Transaction(settle("release", 2)),),
        (settle("retry", 2),),
        (by_ids("resume", 3), by_ids("cancel", 3)),
        before=(*ended("fail", job(1)), *begun(job(2)), insert(job(3)), by_ids("cancel", 3)),
    ),
    *_falling_asleep(
        "a full queue gets room",
        (settle("complete", 1),),
        (Transaction(settle("complete", 1)),),
        (settle("fail", 1),),
        (Transaction(by_ids("cancel", 1)),),
        (limit(2),),
        before=(limit(1), *begun(job(1)), insert(job(2), job(3))),
    ),
    Script(
        "a worker that falls asleep beside a paused queue, and a place that is taken",
        (heartbeat(B), pause("b"), insert(job(1, "b")), *begun(job(2, singleton_key=QUEUE_KEY), job(3))),
        (
            (FallAsleep(B, ("a", "b")),),
            (pause("b", paused=False), insert(job(4, singleton_key=QUEUE_KEY))),
            (settle("retry", 2, 3),),
        ),
    ),
)
