"""Whether a deadlock is a fault of ours: locks have an order (ARCHITECTURE.md), which prevents deadlocks.

Three things may meet in any order all the same. An application's transaction of several verbs takes locks as
it likes. Places are taken in the order of ids by jobs that return to them, in that of their keys by new ones.
And a job is locked before the one that it waits for, or that is cancelled with it, whichever id is lower. So
a deadlock is excused if one of these took part in it; otherwise it counts. Verbs that take slots conflict
there only with others that use slots.
"""

from __future__ import annotations

from collections import Counter
from itertools import chain
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from tests.interleaving.history import COMMIT, HOLD, ROLLBACK
from zeke_queue.model import Completed, Extended, Failed, NewJob, Released

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tests.interleaving.history import Op
    from tests.interleaving.steps import Script


_NAMES_ALL: Final = ("insert", "settle", "cancel", "resume", "retry", "extend", HOLD)
"""Verbs that change only the jobs in their arguments, and the parents that they wake."""


def unexcused(script: Script, ops: Sequence[Op]) -> list[Op]:
    """Return the verbs that the server undid without an excuse.

    That is to end a deadlock in which none had a part that may; or since another had changed a row, which at
    the isolation that all verbs are made for, read committed, undoes none.
    """
    several = Counter(_transaction(op) for op in ops if op.verb not in (COMMIT, ROLLBACK))
    before = [step for step in script.before if not isinstance(step, (int, float))]
    jobs = _found(NewJob, [*(step.arguments for step in before), *(op.arguments for op in ops)])
    jobs = list(jobs)
    placed = {job.id for job in jobs if job.singleton_key is not None or job.slot_seconds}
    parents = {job.parent for job in jobs if job.parent is not None}
    families, wakes_placed = bool(parents), not placed.isdisjoint(parents)

    def excuses(op: Op) -> bool:
        downwards = op.verb == "suspend" or (families and op.verb == "cancel")
        return downwards or several[_transaction(op)] > 1

    def has_to_do_with_places(op: Op) -> bool:
        known = op.verb in _NAMES_ALL and not wakes_placed
        return not known or not placed.isdisjoint(_named(op))

    def meet_in_places(circle: set[Op]) -> bool:
        taking = any(not placed.isdisjoint(_taking_places(op)) for op in circle)
        return taking and sum(map(has_to_do_with_places, circle)) > 1

    def is_excused(circle: set[Op]) -> bool:
        return any(map(excuses, circle)) or meet_in_places(circle)

    return [op for op in ops if op.outrun or (op.deadlocked and not is_excused(_circle(op)))]


def _circle(op: Op) -> set[Op]:
    """Return the verbs that a verb waited for, directly or indirectly, including itself."""
    found, left = {op}, [op]
    while left:
        for other in left.pop().kept_by - found:
            found.add(other)
            left.append(other)
    return found


def _transaction(op: Op) -> object:
    return op if op.transaction is None else (op.client, op.transaction)


def _taking_places(op: Op) -> Iterable[UUID]:
    """Return the jobs whose slots a verb takes, if they have any."""
    if op.verb == "insert":
        return [job.id for job in op.arguments[0]]
    if op.verb in ("resume", "retry"):
        return op.arguments[0]
    if op.verb == "settle":
        failed = [one.id for one in _found(Failed, list(op.arguments)) if one.retry_in is not None]
        return [*failed, *(one.id for one in _found(Released, list(op.arguments)))]
    return ()


def _named(op: Op) -> set[UUID]:
    values = _found((UUID, NewJob, Completed, Failed, Released, Extended), list(op.arguments))
    return {value if isinstance(value, UUID) else value.id for value in values}


def _found(kind: type | tuple[type, ...], value: Any) -> Iterator[Any]:
    """Yield the objects of a type in lists and tuples, at any depth."""
    if isinstance(value, kind):
        yield value
    elif isinstance(value, (list, tuple)):
        yield from chain.from_iterable(_found(kind, one) for one in value)
