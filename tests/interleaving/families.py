"""Scripts of jobs that wait for others: waiting, waking, sending children and cancelling, all at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.interleaving.scripts import (
    QUEUE_KEY,
    A,
    B,
    begun,
    by_ids,
    claim,
    hold,
    insert,
    job,
    job_id,
    settle,
)
from tests.interleaving.steps import Do, Script, Spawn, Transaction, outcomes
from zeke_queue.model import Waiting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.interleaving.scheduler import Step
    from zeke_queue.model import NewJob

SWEEP: Final = Do("resume_waiting", 10)


def child(number: int, of: int) -> NewJob:
    """Return a job of queue "b" for another one to wait for."""
    return job(number, "b", parent=job_id(of))


def spawn(number: int, of: int) -> Do:
    return Do("insert_child", child(number, of), 1)


def wait(parent: int, number: int, attempt: int = 1) -> Do:
    return Do("suspend", [Waiting(job_id(parent), attempt, job_id(number))])


def settle_in_two_ways(completed: tuple[int, ...], failed: int) -> Do:
    """Complete some jobs and have another one tried again, at once."""
    ended, _, _ = outcomes([(job_id(number), 1) for number in completed], "complete")
    _, again, _ = outcomes([(job_id(failed), 1)], "retry")
    return Do("settle", ended, again)


def both_run(parent: int, number: int) -> tuple[Do, ...]:
    return *begun(job(parent)), spawn(number, parent), claim("b", worker=B)


def waits(parent: int, number: int) -> tuple[Do, ...]:
    return *both_run(parent, number), wait(parent, number)


def _both_ways(
    name: str, before: Callable[[int, int], tuple[Do, ...]], *clients: Callable[[int, int], tuple[Step, ...]]
) -> Iterator[Script]:
    """Yield a script for a parent with a lower id than its child's, and one for a higher id."""
    for parent, number, said in ((1, 2, "lower"), (2, 1, "higher")):
        made = tuple(client(parent, number) for client in clients)
        yield Script(f"{name}, the parent's id being {said}", before(parent, number), made)


FAMILIES: Final = (
    *_both_ways(
        "a wait against the end of its child",
        both_run,
        lambda p, c: (wait(p, c),),
        lambda _, c: (settle("complete", c),),
        lambda _p, _c: (claim("a", worker=A),),
    ),
    *_both_ways(
        "a wait against a child that fails and is tried again",
        both_run,
        lambda p, c: (wait(p, c),),
        lambda _, c: (settle("retry", c), claim("b", worker=B), settle("fail", c, attempt=2)),
    ),
    *_both_ways(
        "a wait against the cancellation of its parent",
        both_run,
        lambda p, c: (wait(p, c),),
        lambda p, _: (by_ids("cancel", p),),
        lambda _, c: (settle("complete", c),),
    ),
    *_both_ways(
        "a wait against the cancellation of its child",
        both_run,
        lambda p, c: (wait(p, c), claim("a", worker=A)),
        lambda _, c: (by_ids("cancel", c),),
    ),
    *_both_ways(
        "a wait against the cancellation of both",
        both_run,
        lambda p, c: (wait(p, c),),
        lambda p, c: (by_ids("cancel", p, c),),
    ),
    *_both_ways(
        "a wait that is said again",
        both_run,
        lambda p, c: (wait(p, c), Do("suspend", [Waiting(job_id(p), 1, job_id(c))], repeated=True)),
        lambda _, c: (settle("complete", c),),
    ),
    *_both_ways(
        "a child that is sent against the cancellation of its parent",
        lambda p, _: begun(job(p)),
        lambda p, c: (Spawn(child(c, p)),),
        lambda p, _: (by_ids("cancel", p),),
        lambda p, _: (Transaction(by_ids("cancel", p), commit=False),),
    ),
    *_both_ways(
        "a child that is sent against the end of its parent's attempt",
        lambda p, _: begun(job(p)),
        lambda p, c: (Spawn(child(c, p)), Spawn(child(c, p))),
        lambda p, _: (settle("retry", p), claim("a", worker=B)),
        lambda _p, _c: (claim("b", worker=B),),
    ),
    *_both_ways(
        "an end that is told twice, and a sweep",
        waits,
        lambda _, c: (settle("complete", c),),
        lambda _, c: (settle("complete", c, repeated=True),),
        lambda _p, _c: (SWEEP,),
    ),
    *_both_ways(
        "two sweeps after an end that told nobody",
        waits,
        lambda p, c: (Transaction(hold(p)), SWEEP),
        lambda _, c: (settle("complete", c),),
        lambda _p, _c: (SWEEP, claim("a", worker=A)),
    ),
    *_both_ways(
        "an end against the cancellation of who waits for it",
        waits,
        lambda _, c: (settle("complete", c), SWEEP),
        lambda p, _: (by_ids("cancel", p),),
    ),
    *_both_ways(
        "an end against a cancellation that is rolled back",
        waits,
        lambda _, c: (settle("complete", c), SWEEP),
        lambda p, _: (Transaction(by_ids("cancel", p), commit=False),),
    ),
    *_both_ways(
        "an end within a transaction, and a wait for it",
        both_run,
        lambda _, c: (Transaction(settle("complete", c)),),
        lambda p, c: (wait(p, c),),
        lambda p, _: (by_ids("cancel", p),),
    ),
    *_both_ways(
        "two who wait for each other's end",
        lambda p, c: begun(job(p), job(c)),
        lambda p, c: (wait(p, c),),
        lambda p, c: (wait(c, p),),
        lambda p, _: (by_ids("cancel", p),),
    ),
    Script(
        "three jobs that wait in a cycle",
        begun(job(1), job(2), job(3)),
        ((wait(1, 2),), (wait(2, 3),), (wait(3, 1),)),
    ),
    Script(
        "two waits that close a cycle together",
        (*begun(job(1), job(2), job(3), job(4)), wait(2, 3), wait(4, 1)),
        ((wait(1, 2),), (wait(3, 4),)),
    ),
    Script(
        "a wait for a job that does not exist yet",
        begun(job(1)),
        ((wait(1, 2),), (insert(job(2)),)),
    ),
    Script(
        "three generations",
        (*both_run(3, 2), wait(3, 2)),
        (
            (Spawn(child(1, 2)), wait(2, 1)),
            (by_ids("cancel", 3),),
            (settle("complete", 2),),
        ),
    ),
    Script(
        "a batch that is settled one by one, and wakes a parent before it is through",
        (
            *waits(4, 1),
            insert(job(2), job(3, singleton_key=QUEUE_KEY)),
            claim(worker=A),
            insert(job(5, singleton_key=QUEUE_KEY)),
        ),
        (
            (settle_in_two_ways((1, 2), 3),),
            (Transaction(hold(2, 4)),),
        ),
    ),
    Script(
        "one job that two wait for",
        (*begun(job(1), job(3)), spawn(2, 1), claim("b", worker=B)),
        ((wait(1, 2),), (wait(3, 2),), (settle("complete", 2), claim("a", worker=A))),
    ),
)
