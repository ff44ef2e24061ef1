"""A node's way to the database: the memory store, with a network and a server between that can fail.

A statement travels there, is applied in one step of the world, and its answer travels back. Once it is on its
way, nothing that happens to the node stops it: neither a kill, nor a cancellation.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from zeke_queue.errors import StorageUnavailable, UsageError
from zeke_sim.faults import statement_fault, wake_fault
from zeke_sim.history import Answered, Invoked

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime
    from uuid import UUID

    from zeke_queue.model import (
        Claimed,
        Completed,
        Extended,
        Failed,
        Job,
        JobEvent,
        JobFilter,
        NewJob,
        Overdue,
        QueueCount,
        QueueSettings,
        Released,
        Schedule,
        Want,
        WorkerInfo,
    )
    from zeke_queue.storage.memory.transaction import MemoryTransaction
    from zeke_queue.storage.memory.waking import Bell
    from zeke_sim.node import Node

SHORTEST: Final = 0.0005
"""Seconds that a statement takes each way at least."""

RECONNECT: Final = 5.0
"""Seconds after which a statement that can't reach the database fails."""

IDLE_IN_TRANSACTION: Final = 10.0
"""Seconds after which the server ends a transaction whose client has gone silent."""

CANCELLED_STOPS: Final = 0.5
"""How often a statement whose caller was cancelled is not applied, if it had not arrived."""


class Calls:
    """Sends the calls of one node, each with what happens to it on the way.

    Args:
        node: whose calls they are.
        counts: how many calls of each verb were made under the node's name, by all its processes.
    """

    def __init__(self, node: Node, counts: dict[str, int]) -> None:
        self.node = node
        self.world = node.world
        self._counts = counts

    async def call(
        self,
        verb: str,
        args: Mapping[str, Any],
        do: Callable[[], Coroutine[Any, Any, Any]],
        *,
        transaction: int | None = None,
        fails: bool = True,
    ) -> Any:
        """Send a call, and wait for its answer.

        Args:
            verb: the storage's, for the address and the history.
            args: for the history.
            do: makes the verb's coroutine, when the statement arrives.
            transaction: which one it is part of.
            fails: whether faults may hit it.

        Raises:
            StorageUnavailable: no answer came, or a failure.
        """
        node, world = self.node, self.world
        number = world.next_call()
        if node.dead or world.loop.leaving:
            raise asyncio.CancelledError  # only what is left of it is being cancelled
        count = self._counts[verb] = self._counts.get(verb, 0) + 1
        world.recorder.add(Invoked(world.time(), node.name, number, verb, args, transaction))
        address = f"{node.name}/{verb}/{count}"
        decision = None
        if fails and world.faulty:
            knobs = world.knobs
            decision = world.decisions.at(address, lambda draws: statement_fault(draws, knobs))
        call = _Call(self, verb, number, do, decision=decision, address=address, transaction=transaction)
        call.start()
        return await call.answer()


class _Call:
    """One statement on its way."""

    __slots__ = (
        "_address",
        "_calls",
        "_counted",
        "_decision",
        "_do",
        "_done",
        "_fault",
        "_gone",
        "_incarnation",
        "_number",
        "_transaction",
        "_verb",
        "_waiter",
    )

    def __init__(
        self,
        calls: Calls,
        verb: str,
        number: int,
        do: Callable[[], Coroutine[Any, Any, Any]],
        *,
        decision: dict[str, Any] | None,
        address: str,
        transaction: int | None,
    ) -> None:
        self._address = address
        self._transaction = transaction
        self._calls = calls
        self._verb = verb
        self._number = number
        self._do = do
        self._decision = decision or {}
        self._fault: str | None = self._decision.get("fault")
        self._waiter: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._incarnation = calls.node.incarnation
        self._gone = False
        self._done = False
        # One that nobody answers for long does not make the world busy; but for a beat, of whose silence follows
        # that a lease ends.
        self._counted = verb == "beat" or self._fault not in {"hung", "pool", "conflict"}

    def start(self) -> None:
        """Send it."""
        node, world = self._calls.node, self._calls.world
        fault = self._fault
        world.open_calls += self._counted
        if fault is not None:
            world.hit(node, self._address, fault, self._decision.get("for"))
        if world.down or node.link in {"cut", "cut_out"}:
            self._later(
                RECONNECT if node.link else SHORTEST, self._fail, "unknown" if node.link else "failed"
            )
            return
        if fault in {"pool", "conflict"}:
            self._later(self._decision["for"], self._fail, "failed")
        elif fault == "refused":
            self._later(self._decision.get("wait", SHORTEST), self._fail, "failed")
        elif fault == "kill_before":
            world.open_calls -= self._counted
            self._later(0.0, world.kill, node)
        elif fault == "hung" and not self._decision.get("applied"):
            self._later(self._decision["for"], self._fail, "unknown")
        else:
            self._later(self._decision.get("wait", SHORTEST), self._arrive)

    async def answer(self) -> Any:
        """Wait for the answer."""
        try:
            return await self._waiter
        except asyncio.CancelledError:
            self._gone = True
            self._told("unknown", "cancelled", None)
            raise

    def _later(self, seconds: float, callback: Callable[..., object], *args: Any) -> None:
        """Let something happen in the world, whatever becomes of the node meanwhile."""
        world = self._calls.world
        world.loop.call_at(world.loop.time() + seconds, callback, *args, context=world.context)

    def _arrive(self) -> None:
        world = self._calls.world
        if world.down:
            self._fail("failed")
            return
        if self._gone and not world.cancelled_arrives(self._address):
            world.open_calls -= self._counted
            return
        self._apply()

    def _apply(self) -> None:
        world = self._calls.world
        issued = world.database_clock.now()
        if self._transaction is not None and self._transaction not in world.transactions:
            self._finish((StorageUnavailable(f"{self._verb}: the transaction is gone"), None), issued)
        elif world.locked:
            # It may have to wait for a lock, on the server, as long as it takes.
            task = world.apply_later(self._number, self._address, self._do(), self._transaction)
            task.add_done_callback(lambda done: self._applied(done, issued), context=world.context)
        else:
            self._finish(world.apply(self._number, self._address, self._do()), issued)

    def _applied(self, task: asyncio.Task[Any], issued: datetime) -> None:
        if task.cancelled():
            self._finish(
                (StorageUnavailable(f"{self._verb}: the server ended the transaction"), None), issued
            )
        else:
            error = task.exception()
            self._finish((error, None if error else task.result()), issued)

    def _finish(self, step: tuple[BaseException | None, Any], issued: datetime) -> None:
        node, world = self._calls.node, self._calls.world
        error, result = step
        fault = self._fault
        if fault == "kill_after":
            world.kill(node)
        back = self._decision.get("back", SHORTEST)
        if fault == "hung":
            self._later(self._decision["for"], self._fail, "unknown")
        elif fault == "lost":
            self._later(back, self._fail, "unknown")
        elif node.link in {"cut", "cut_in"} or world.down:
            self._later(RECONNECT, self._fail, "unknown")
        else:
            self._later(back, self._deliver, error, result, issued)

    def _deliver(self, error: BaseException | None, result: Any, issued: datetime) -> None:
        node = self._calls.node
        if node.link in {"cut", "cut_in"}:
            self._later(RECONNECT, self._fail, "unknown")
        elif error is not None:
            self._answer("failed", error, issued)
        else:
            self._answer("ok", result, issued)

    def _fail(self, outcome: str) -> None:
        said = {"failed": "the database can't be reached", "unknown": "the connection broke"}[outcome]
        self._answer(outcome, StorageUnavailable(f"{self._verb}: {said}"), None)

    def _answer(self, outcome: str, result: Any, issued: datetime | None) -> None:
        """Hand the answer to the node, which hears it in its own time: a dead one never."""
        node, loop = self._calls.node, self._calls.world.loop
        self._calls.world.open_calls -= self._counted
        if node.incarnation == self._incarnation and not node.dead and not self._waiter.done():
            loop.call_soon(self._hear, outcome, result, issued, context=node.context)

    def _hear(self, outcome: Any, result: Any, issued: datetime | None) -> None:
        if self._waiter.done():
            return
        self._told(outcome, result, issued)
        if isinstance(result, BaseException):
            self._waiter.set_exception(result)
        else:
            self._waiter.set_result(result)

    def _told(self, outcome: Any, result: Any, issued: datetime | None) -> None:
        if self._done:
            return
        self._done = True
        node, world = self._calls.node, self._calls.world
        told = str(result) if isinstance(result, BaseException) else result
        world.recorder.add(Answered(world.time(), node.name, self._number, self._verb, outcome, told, issued))


class _Verbs:
    """The verbs that also work inside a transaction."""

    def __init__(self, calls: Calls, verbs: Any, transaction: int | None = None) -> None:
        self._calls = calls
        self._verbs = verbs
        self._transaction = transaction

    def _call(
        self, verb: str, args: Mapping[str, Any], do: Callable[[], Coroutine[Any, Any, Any]]
    ) -> Coroutine[Any, Any, Any]:
        return self._calls.call(verb, args, do, transaction=self._transaction)

    async def insert(self, jobs: Sequence[NewJob]) -> list[UUID | None]:
        """Insert jobs."""
        return await self._call("insert", {"jobs": tuple(jobs)}, lambda: self._verbs.insert(jobs))

    async def settle(
        self,
        completed: Sequence[Completed] = (),
        failed: Sequence[Failed] = (),
        released: Sequence[Released] = (),
        *,
        again: bool = False,
    ) -> set[UUID]:
        """Write outcomes."""
        args = {
            "completed": tuple(completed),
            "failed": tuple(failed),
            "released": tuple(released),
            "again": again,
        }
        return await self._call(
            "settle", args, lambda: self._verbs.settle(completed, failed, released, again=again)
        )

    async def overdue(self, limit: int) -> list[Overdue]:
        """Find and lock overdue jobs."""
        return await self._call("overdue", {"limit": limit}, lambda: self._verbs.overdue(limit))

    async def cancel(self, ids: Sequence[UUID]) -> set[UUID]:
        """Cancel jobs."""
        return await self._call("cancel", {"ids": tuple(ids)}, lambda: self._verbs.cancel(ids))

    async def due_schedules(self, limit: int) -> tuple[datetime, list[Schedule]]:
        """Lock due schedules."""
        return await self._call("due_schedules", {"limit": limit}, lambda: self._verbs.due_schedules(limit))

    async def serve_ticks(self, name: str, last_tick: datetime, next_tick: datetime | None) -> None:
        """Note what was decided on."""
        args = {"name": name, "last_tick": last_tick, "next_tick": next_tick}
        await self._call("serve_ticks", args, lambda: self._verbs.serve_ticks(name, last_tick, next_tick))


class SimTransaction(_Verbs):
    """An open transaction, as its node holds it."""

    connection: None = None

    def __init__(self, calls: Calls, opened: MemoryTransaction, number: int) -> None:
        super().__init__(calls, opened, number)
        self._applied: list[Callable[[], None]] = []
        self._undone: list[Callable[[], None]] = []

    def on_commit(self, apply: Callable[[], None]) -> None:
        """Call ``apply`` when the commit was answered."""
        self._applied.append(apply)

    def on_rollback(self, undo: Callable[[], None]) -> None:
        """Call ``undo`` if it is not known to have committed."""
        self._undone.append(undo)

    def committed(self) -> None:
        """Tell those who wait for the commit."""
        for apply in self._applied:
            apply()

    def rolled_back(self) -> None:
        """Tell those who have something to undo."""
        for undo in reversed(self._undone):
            undo()


class SimStorage(_Verbs):
    """``zeke_queue.storage.store.Storage`` as one node reaches it."""

    def __init__(self, node: Node, counts: dict[str, int]) -> None:
        self._node = node
        self._world = node.world
        self._store = node.world.store
        self._counts = counts
        super().__init__(Calls(node, counts), self._store)

    # The life of jobs.

    @asynccontextmanager
    async def transaction(self, connection: Any = None) -> AsyncGenerator[SimTransaction]:
        """Open a transaction; the server rolls it back if its node dies."""
        if connection is not None:
            raise UsageError("connection: a simulation has none to join; leave it out")
        world = self._world
        number = world.next_transaction()
        server = world.open_transaction(self._node, number)
        opened = SimTransaction(self._calls, server.opened, number)
        try:
            yield opened
        except BaseException:
            opened.rolled_back()
            world.end_transaction(number, IDLE_IN_TRANSACTION if self._node.link else SHORTEST)
            raise
        try:
            await self._calls.call("commit", {}, server.commit, transaction=number)
        except BaseException:
            opened.rolled_back()
            world.end_transaction(number, SHORTEST)
            raise
        opened.committed()

    async def claim(self, worker: UUID, wants: Sequence[Want], limit: int) -> list[Claimed]:
        """Lease due jobs."""
        args = {"worker": worker, "wants": tuple(wants), "limit": limit}
        return await self._call("claim", args, lambda: self._store.claim(worker, wants, limit))

    async def extend(self, extended: Sequence[Extended]) -> set[UUID]:
        """Move deadlines."""
        args = {"extended": tuple(extended)}
        return await self._call("extend", args, lambda: self._store.extend(extended))

    async def beat(self, worker: WorkerInfo) -> dict[UUID, int]:
        """Note that a worker lives."""
        # Host and process number are this machine's, and would differ from run to run.
        info = replace(worker, host=self._node.name, pid=self._node.incarnation)
        return await self._call("beat", {"worker": info}, lambda: self._store.beat(info))

    async def leave(self, worker: UUID) -> None:
        """Forget a worker."""
        await self._call("leave", {"worker": worker}, lambda: self._store.leave(worker))

    async def resume(self, ids: Sequence[UUID]) -> set[UUID]:
        """Put cancelled jobs back."""
        return await self._call("resume", {"ids": tuple(ids)}, lambda: self._store.resume(ids))

    async def retry(self, ids: Sequence[UUID]) -> set[UUID]:
        """Put failed jobs back."""
        return await self._call("retry", {"ids": tuple(ids)}, lambda: self._store.retry(ids))

    async def archive(self, after: float, limit: int) -> int:
        """Move ended jobs to the archive."""
        args = {"after": after, "limit": limit}
        return await self._call("archive", args, lambda: self._store.archive(after, limit))

    async def purge(self, after: float, limit: int) -> int:
        """Delete archived jobs."""
        args = {"after": after, "limit": limit}
        return await self._call("purge", args, lambda: self._store.purge(after, limit))

    async def idle(self, worker: UUID, queues: Sequence[str] | None) -> None:
        """Say that the worker is about to sleep, or awake."""
        args = {"worker": worker, "queues": None if queues is None else tuple(queues)}
        await self._call("idle", args, lambda: self._store.idle(worker, queues))

    async def wait_for_work(self, queues: Sequence[str], timeout: float) -> bool:
        """Sleep until one of the queues may have work; the wake-up can be lost, late, or for nothing."""
        node, world = self._node, self._world
        waits = self._counts["wake"] = self._counts.get("wake", 0) + 1
        decision: dict[str, Any] = {}
        if world.faulty:
            address = f"{node.name}/wake/{waits}"
            decision = world.decisions.at(address, lambda draws: wake_fault(draws, world.knobs)) or {}
            if decision:
                world.hit(node, address, decision["fault"], decision.get("for"))
        kind = decision.get("fault")
        if kind == "deaf":
            await world.database_clock.sleep(timeout)
            return False
        if kind == "spurious":
            timeout = min(timeout, decision["after"])
        woken = await self._store.wait_for_work(queues, timeout)
        if node.link is not None or world.down:
            return False
        if woken and kind == "drowsy":
            await world.database_clock.sleep(decision["for"])
        return woken or kind == "spurious"

    async def note(self, events: Sequence[JobEvent]) -> None:
        """Keep progress and log lines."""
        await self._call("note", {"events": tuple(events)}, lambda: self._store.note(events))

    # Looking.

    async def get(self, ids: Sequence[UUID]) -> dict[UUID, Job]:
        """Return those of the jobs that exist."""
        return await self._call("get", {"ids": tuple(ids)}, lambda: self._store.get(ids))

    async def find(self, which: JobFilter) -> list[Job]:
        """Return jobs by filter."""
        return await self._call("find", {"which": which}, lambda: self._store.find(which))

    async def count(self) -> list[QueueCount]:
        """Return how many jobs each queue has."""
        return await self._call("count", {}, self._store.count)

    async def holder(self, job: NewJob) -> UUID | None:
        """Return the job that is in the way."""
        return await self._call("holder", {"job": job}, lambda: self._store.holder(job))

    async def events(self, job_id: UUID, after: int = 0) -> list[JobEvent]:
        """Return progress and log lines."""
        args = {"job_id": job_id, "after": after}
        return await self._call("events", args, lambda: self._store.events(job_id, after))

    async def workers(self) -> list[WorkerInfo]:
        """Return the workers that are known."""
        return await self._call("workers", {}, self._store.workers)

    async def now(self) -> datetime:
        """Return the database's time."""
        return await self._call("now", {}, self._store.now)

    async def foreign_cron_age(self) -> float | None:
        """Return None: pg-boss is not here."""
        return await self._store.foreign_cron_age()

    def watching(self, job_id: UUID) -> AbstractAsyncContextManager[SimChanges]:
        """Watch a job; changes are told while the node can be reached."""
        return self._watching(job_id)

    @asynccontextmanager
    async def _watching(self, job_id: UUID) -> AsyncGenerator[SimChanges]:
        await self._call("watch", {"job_id": job_id}, self._store.now)
        async with self._store.watching(job_id) as bell:
            yield SimChanges(self._node, bell)

    # Queues and schedules.

    async def declare_queues(self, queues: Sequence[QueueSettings]) -> None:
        """Store limits."""
        args = {"queues": tuple(queues)}
        await self._call("declare_queues", args, lambda: self._store.declare_queues(queues))

    async def queues(self) -> list[QueueSettings]:
        """Return all queues' settings."""
        return await self._call("queues", {}, self._store.queues)

    async def pause_queue(self, name: str, *, paused: bool) -> None:
        """Pause a queue, or resume it."""
        args = {"name": name, "paused": paused}
        await self._call("pause_queue", args, lambda: self._store.pause_queue(name, paused=paused))

    async def declare_schedules(self, schedules: Sequence[Schedule]) -> None:
        """Store schedules as code declares them."""
        args = {"schedules": tuple(schedules)}
        await self._call("declare_schedules", args, lambda: self._store.declare_schedules(schedules))

    async def put_schedule(self, schedule: Schedule) -> None:
        """Create or edit a schedule."""
        await self._call("put_schedule", {"schedule": schedule}, lambda: self._store.put_schedule(schedule))

    async def drop_schedule(self, name: str) -> bool:
        """Delete a schedule."""
        return await self._call("drop_schedule", {"name": name}, lambda: self._store.drop_schedule(name))

    async def schedules(self) -> list[Schedule]:
        """Return all schedules."""
        return await self._call("schedules", {}, self._store.schedules)

    async def close(self) -> None:
        """Do nothing."""


class SimChanges:
    """Tells a watcher of changes, unless its node is cut off."""

    def __init__(self, node: Node, bell: Bell) -> None:
        self._node = node
        self._bell = bell

    async def wait(self, timeout: float) -> bool:
        """Return True once the job may have changed, False after ``timeout`` seconds."""
        return await self._bell.wait(timeout) and self._node.link is None
