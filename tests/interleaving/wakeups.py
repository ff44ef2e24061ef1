"""Whether each worker that fell asleep was woken by what came after: the judge of notifications.

A worker that sets its idle flag and then claims nothing may sleep until it is notified of work ("set asleep,
commit, claim once more"). So it must be notified of new work that others then see. Of two things he need
be notified of, since no statement can know of them and the next claim finds them: a row that the claim
skipped because a transaction had it locked, which then left it as it was; and what a single statement did
that had begun before he fell asleep, and waited.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from tests.interleaving.history import COMMIT, Op
from zeke_queue.storage.postgres.verbs import work_channel

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from uuid import UUID

    from tests.interleaving.allowed import World

CHANNEL = work_channel("pgboss")


class Ear:
    """Receives notifications in the order of their commits; marks are in this order too."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection
        self.heard: list[str] = []
        connection.add_notify_handler(lambda notification: self.heard.append(notification.payload))

    async def listen(self) -> None:
        await self._connection.execute(sql.SQL("listen {}").format(sql.Identifier(CHANNEL)))

    async def mark(self, name: str) -> None:
        await self._connection.execute("select pg_notify(%s, %s)", [CHANNEL, name])

    async def all(self) -> list[str]:
        """Return the notifications since the last call."""
        await self.mark("end")
        while "end" not in self.heard:
            await self._connection.execute("select 1")
        heard, self.heard = self.heard[: self.heard.index("end")], []
        return heard


def never_woken(ops: Sequence[Op], heard: Sequence[str], end: World) -> str | None:
    """Return the worker that sleeps beside work without a notification, or None."""
    ends = {(op.client, op.transaction): op.end for op in ops if op.verb == COMMIT}
    for client in {op.client for op in ops}:
        own = [op for op in ops if op.client == client]
        if len(own) < 2 or own[-2].verb != "set_idle" or own[-1].verb != "claim" or own[-1].answer != []:
            continue
        idle, claim = own[-2:]
        since = heard[heard.index(f"asleep {client}") :]
        for name in idle.arguments[1] or ():
            if end.storage.gives_nothing(name) or end.storage.is_paused(name):
                continue
            due = set(end.storage.due([name]))
            brought: dict[object, Op] = {}
            surely: set[object] = set()
            for op in ops:
                shown = op.end if op.transaction is None else ends.get((op.client, op.transaction), 0)
                missed = op.waited and op.transaction is None and (op.begin or 0) < idle.end
                if shown > (claim.begin or 0) and not missed and _makes_work(op, name, due, end):
                    transaction = op if op.transaction is None else (op.client, op.transaction)
                    brought[transaction] = op
                    if not due.isdisjoint(_made_due(op, ops)):
                        surely.add(transaction)
            # Each transaction notifies once for all its rows, without knowledge of the others.
            if since.count(name) < len(surely) or (brought and name not in since):
                told = "\n  ".join(map(str, brought.values()))
                return f"client {client} sleeps on {name!r}, and heard only {since} of\n  {told}"
    return None


def _made_due(op: Op, ops: Sequence[Op]) -> Collection[UUID]:
    """Return the jobs that wait, due at once, by what this verb did: for certain, and not by another send."""
    if op.verb == "insert":
        sent = Counter(job.id for other in ops if other.verb == "insert" for job in other.arguments[0])
        return [job_id for job_id in op.answer if sent[job_id] == 1]
    if op.verb in ("resume", "retry"):
        return op.answer
    if op.verb == "settle":
        _, failed, released = (*op.arguments, (), ())[:3]
        again = [one.id for one in failed if one.retry_in == 0] + [
            one.id for one in released if one.delay == 0
        ]
        return op.answer & set(again)
    return ()


def _makes_work(op: Op, name: str, due: set[Any], end: World) -> bool:
    """Return whether a verb brought work that is still there, or room for it."""
    if op.verb == "pause_queue":
        return op.arguments[0] == name and not op.options["paused"]
    if op.verb == "declare":
        return any(queue.name == name for queue in op.arguments[0])
    if op.verb in ("insert", "resume", "retry"):
        return bool(due & set(op.answer))
    if op.verb in ("settle", "cancel"):
        return bool(due & op.answer) or (end.storage.is_limited(name) and _of_queue(op.answer, name, end))
    return False


def _of_queue(ids: Iterable[Any], name: str, end: World) -> bool:
    rows = end.storage.dump()
    names = {job.id: job.name for job in (*rows.jobs, *rows.archive)}
    return any(names.get(job_id) == name for job_id in ids)
