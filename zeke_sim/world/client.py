"""A node's storage: the memory store behind a simulated network and server that can fail.

``SimStorage`` implements the storage interface; ``network.Calls`` determines what happens to each call.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from zeke_queue.errors import StorageError, StorageUnavailableError, UsageError
from zeke_sim.world.asking import SimAsking
from zeke_sim.world.faults import told_fault, wake_fault
from zeke_sim.world.network import SHORTEST, Calls

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from zeke_queue.model import (
        Claimed,
        Completed,
        ExpiredJob,
        Extended,
        Failed,
        Job,
        JobEvent,
        JobPage,
        JobQuery,
        NewJob,
        QueueCapacity,
        QueueCount,
        QueueSettings,
        Released,
        Schedule,
        Waiting,
        WorkerInfo,
    )
    from zeke_queue.storage.memory.notifier import MemoryChangeFeed
    from zeke_queue.storage.memory.transaction import MemoryTransaction
    from zeke_sim.world.node import Node

IDLE_IN_TRANSACTION: Final = 10.0
"""Seconds after which the server ends a transaction whose client is silent."""


_TOLD_IN_TIME: Final = frozenset({"settle", "suspend", "append_events"})


class _Verbs:
    """The storage methods that also work inside a transaction."""

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
        repeated: bool = False,
    ) -> set[UUID]:
        """Write outcomes."""
        args = {
            "completed": tuple(completed),
            "failed": tuple(failed),
            "released": tuple(released),
            "repeated": repeated,
        }
        return await self._call(
            "settle", args, lambda: self._verbs.settle(completed, failed, released, repeated=repeated)
        )

    async def lock_expired(self, limit: int) -> list[ExpiredJob]:
        """Find and lock overdue jobs."""
        return await self._call("lock_expired", {"limit": limit}, lambda: self._verbs.lock_expired(limit))

    async def cancel(self, ids: Sequence[UUID]) -> set[UUID]:
        """Cancel jobs."""
        return await self._call("cancel", {"ids": tuple(ids)}, lambda: self._verbs.cancel(ids))

    async def lock_attempt(self, job_id: UUID, attempt: int) -> bool:
        """Keep an active job as it is."""
        args = {"job_id": job_id, "attempt": attempt}
        return await self._call("lock_attempt", args, lambda: self._verbs.lock_attempt(job_id, attempt))

    async def lock_due_schedules(self, limit: int) -> tuple[datetime, list[Schedule]]:
        """Lock due schedules."""
        return await self._call(
            "lock_due_schedules", {"limit": limit}, lambda: self._verbs.lock_due_schedules(limit)
        )

    async def record_tick(self, name: str, last_tick: datetime, next_tick: datetime | None) -> None:
        """Record the ticks that were served."""
        args = {"name": name, "last_tick": last_tick, "next_tick": next_tick}
        await self._call("record_tick", args, lambda: self._verbs.record_tick(name, last_tick, next_tick))


class SimTransaction(_Verbs):
    """The node's side of an open transaction.

    The server runs the commit and rollback callbacks in the step that ends the transaction, as the memory
    store guarantees, even if the node gets no answer or is dead by then.
    """

    connection: None = None

    def __init__(self, calls: Calls, opened: MemoryTransaction, number: int) -> None:
        super().__init__(calls, opened, number)
        self._opened = opened
        self._number = number
        self.broken = False

    async def _call(
        self, verb: str, args: Mapping[str, Any], do: Callable[[], Coroutine[Any, Any, Any]]
    ) -> Any:
        self.require_whole(verb)
        try:
            return await super()._call(verb, args, do)
        except StorageError:
            self.broken = True
            raise

    def require_whole(self, verb: str) -> None:
        """Refuse further statements after one failed, since the connection or the transaction is lost.

        Raises:
            StorageUnavailableError: a statement has failed.
        """
        if self.broken:
            raise StorageUnavailableError(f"{verb}: an earlier statement failed, and the transaction with it")

    def on_commit(self, apply: Callable[[], None]) -> None:
        """Register ``apply`` to run in the step that commits."""
        self._require_open()
        self._opened.on_commit(apply)

    def on_rollback(self, undo: Callable[[], None]) -> None:
        """Register ``undo`` to run in the step that rolls back."""
        self._require_open()
        self._opened.on_rollback(undo)

    def _require_open(self) -> None:
        if self._number not in self._calls.world.server.transactions:
            raise StorageUnavailableError("The connection broke: the transaction is gone")


class SimStorage(_Verbs, SimAsking):
    """``zeke_queue.storage.store.Storage`` as seen by one node.

    Attributes:
        asleep: number of coroutines that wait for work.
        failing: whether the node's last call failed.
        owing: the node's background calls whose last attempt failed.
    """

    def __init__(self, node: Node, counts: dict[str, int]) -> None:
        self._node = node
        self._world = node.world
        self._store = node.world.store
        self._counts = counts
        self.asleep = 0
        self.failing = False
        self.owing: set[str] = set()
        super().__init__(Calls(node, counts), self._store)

    async def _call(
        self, verb: str, args: Mapping[str, Any], do: Callable[[], Coroutine[Any, Any, Any]]
    ) -> Any:
        self.failing = True
        if verb in _TOLD_IN_TIME:
            self.owing.add(verb)
        result = await super()._call(verb, args, do)
        self.failing = False
        self.owing.discard(verb)
        return result

    # Life cycle of jobs.

    @asynccontextmanager
    async def transaction(self, connection: Any = None) -> AsyncGenerator[SimTransaction]:
        """Open a transaction; the server rolls it back if its node dies."""
        if connection is not None:
            raise UsageError("connection: a simulation has none to join; leave it out")
        world = self._world
        if world.down or self._node.link is not None:
            # A begin is a call of its own only if the database is unreachable, so that it can fail.
            await self._call("begin", {}, self._store.now)
        number, server = world.server.open(self._node)
        opened = SimTransaction(self._calls, server.opened, number)
        try:
            yield opened
            opened.require_whole("commit")
        except BaseException:
            self.failing = True
            world.server.end(number, IDLE_IN_TRANSACTION if self._node.link else SHORTEST)
            raise
        try:
            await self._calls.call("commit", {}, server.commit, transaction=number)
        except BaseException:
            self.failing = True
            world.server.end(number, SHORTEST)
            raise
        self.failing = False

    async def claim(self, worker: UUID, capacity: Sequence[QueueCapacity], limit: int) -> list[Claimed]:
        """Lease due jobs."""
        args = {"worker": worker, "capacity": tuple(capacity), "limit": limit}
        return await self._call("claim", args, lambda: self._store.claim(worker, capacity, limit))

    async def insert_child(self, child: NewJob, attempt: int) -> UUID | None:
        """Insert a child job for which its parent waits."""
        args = {"child": child, "attempt": attempt}
        return await self._call("insert_child", args, lambda: self._store.insert_child(child, attempt))

    async def suspend(self, waiting: Sequence[Waiting], *, repeated: bool = False) -> set[UUID]:
        """Suspend active jobs until others have ended."""
        args = {"waiting": tuple(waiting), "repeated": repeated}
        return await self._call("suspend", args, lambda: self._store.suspend(waiting, repeated=repeated))

    async def resume_waiting(self, limit: int) -> int:
        """Resume jobs that were not notified of their child's end."""
        return await self._call("resume_waiting", {"limit": limit}, lambda: self._store.resume_waiting(limit))

    async def extend(self, extended: Sequence[Extended]) -> set[UUID]:
        """Move deadlines."""
        args = {"extended": tuple(extended)}
        return await self._call("extend", args, lambda: self._store.extend(extended))

    async def heartbeat(self, worker: WorkerInfo) -> dict[UUID, int]:
        """Record a worker's heartbeat."""
        # The real host and process id would differ between runs.
        info = replace(worker, host=self._node.name, pid=self._node.incarnation)
        return await self._call("heartbeat", {"worker": info}, lambda: self._store.heartbeat(info))

    async def deregister(self, worker: UUID) -> None:
        """Delete a worker."""
        await self._call("deregister", {"worker": worker}, lambda: self._store.deregister(worker))

    async def resume(self, ids: Sequence[UUID]) -> set[UUID]:
        """Requeue cancelled jobs."""
        return await self._call("resume", {"ids": tuple(ids)}, lambda: self._store.resume(ids))

    async def retry(self, ids: Sequence[UUID]) -> set[UUID]:
        """Requeue failed jobs."""
        return await self._call("retry", {"ids": tuple(ids)}, lambda: self._store.retry(ids))

    async def archive(self, after: float, limit: int) -> int:
        """Move ended jobs to the archive."""
        args = {"after": after, "limit": limit}
        return await self._call("archive", args, lambda: self._store.archive(after, limit))

    async def purge(self, after: float, limit: int) -> int:
        """Delete archived jobs."""
        args = {"after": after, "limit": limit}
        return await self._call("purge", args, lambda: self._store.purge(after, limit))

    async def set_idle(self, worker: UUID, queues: Sequence[str] | None) -> None:
        """Record that the worker is about to sleep, or awake."""
        args = {"worker": worker, "queues": None if queues is None else tuple(queues)}
        await self._call("set_idle", args, lambda: self._store.set_idle(worker, queues))

    async def wait_for_jobs(self, queues: Sequence[str], timeout: float) -> bool:
        """Sleep until one of the queues may have work; the wake-up can be lost, late, or spurious."""
        self.asleep += 1
        try:
            return await self._wait_for_jobs(queues, timeout)
        finally:
            self.asleep -= 1

    async def _wait_for_jobs(self, queues: Sequence[str], timeout: float) -> bool:
        node, world = self._node, self._world
        waits = self._counts["wake"] = self._counts.get("wake", 0) + 1
        decision: dict[str, Any] = {}
        if world.faulty:
            address = f"{node.name}/wake/{waits}"
            decision = world.decisions.at(address, lambda draws: wake_fault(draws, world.knobs)) or {}
            if decision:
                world.record_fault(node, address, decision["fault"], decision.get("for"))
        kind = decision.get("fault")
        if kind == "lost_wakeup":
            await world.database_clock.sleep(timeout)
            return False
        if kind == "spurious":
            timeout = min(timeout, decision["after"])
        woken = await self._store.wait_for_jobs(queues, timeout)
        if node.link is not None or world.down:
            return False
        if woken and kind == "late_wakeup":
            await world.database_clock.sleep(decision["for"])
        return woken or kind == "spurious"

    async def append_events(self, events: Sequence[JobEvent]) -> None:
        """Store progress and log lines."""
        await self._call(
            "append_events", {"events": tuple(events)}, lambda: self._store.append_events(events)
        )

    # Reads.

    async def get(self, ids: Sequence[UUID]) -> dict[UUID, Job]:
        """Return those of the jobs that exist."""
        return await self._call("get", {"ids": tuple(ids)}, lambda: self._store.get(ids))

    async def find(self, which: JobQuery) -> list[Job]:
        """Return jobs by filter."""
        return await self._call("find", {"which": which}, lambda: self._store.find(which))

    async def page(self, which: JobQuery) -> JobPage:
        """Return a page of jobs by filter."""
        return await self._call("page", {"which": which}, lambda: self._store.page(which))

    async def count(self) -> list[QueueCount]:
        """Return the number of jobs in each queue."""
        return await self._call("count", {}, self._store.count)

    async def holder(self, job: NewJob) -> UUID | None:
        """Return the job that conflicts with a new one."""
        return await self._call("holder", {"job": job}, lambda: self._store.holder(job))

    async def events(self, job_id: UUID, after: int = 0) -> list[JobEvent]:
        """Return progress and log lines."""
        args = {"job_id": job_id, "after": after}
        return await self._call("events", args, lambda: self._store.events(job_id, after))

    async def workers(self) -> list[WorkerInfo]:
        """Return the registered workers."""
        return await self._call("workers", {}, self._store.workers)

    async def now(self) -> datetime:
        """Return the database's time."""
        return await self._call("now", {}, self._store.now)

    async def pgboss_cron_age(self) -> float | None:
        """Return None, since no pg-boss runs here."""
        return await self._store.pgboss_cron_age()

    @asynccontextmanager
    async def subscribe(self) -> AsyncGenerator[SimChangeFeed]:
        """Watch jobs; notifications arrive only while the node is reachable."""
        async with self._store.subscribe() as watch:
            yield SimChangeFeed(self._node, watch, self._counts, self._call)

    # Queues and schedules.

    async def declare_queues(self, queues: Sequence[QueueSettings]) -> None:
        """Store limits."""
        args = {"queues": tuple(queues)}
        await self._call("declare_queues", args, lambda: self._store.declare_queues(queues))

    async def queues(self) -> list[QueueSettings]:
        """Return all queues' settings."""
        return await self._call("queues", {}, self._store.queues)

    async def pause_queue(self, name: str, *, paused: bool) -> None:
        """Pause or resume a queue."""
        args = {"name": name, "paused": paused}
        await self._call("pause_queue", args, lambda: self._store.pause_queue(name, paused=paused))

    async def declare_schedules(self, schedules: Sequence[Schedule]) -> None:
        """Store schedules as code declares them."""
        args = {"schedules": tuple(schedules)}
        await self._call("declare_schedules", args, lambda: self._store.declare_schedules(schedules))

    async def put_schedule(self, schedule: Schedule) -> None:
        """Create or edit a schedule."""
        await self._call("put_schedule", {"schedule": schedule}, lambda: self._store.put_schedule(schedule))

    async def delete_schedule(self, name: str) -> bool:
        """Delete a schedule."""
        return await self._call("delete_schedule", {"name": name}, lambda: self._store.delete_schedule(name))

    async def schedules(self) -> list[Schedule]:
        """Return all schedules."""
        return await self._call("schedules", {}, self._store.schedules)

    async def close(self) -> None:
        """Do nothing."""


class SimChangeFeed:
    """Notifies a watcher of changes; notifications are lost while its node is unreachable.

    Args:
        node: the watcher's node.
        watch: the memory store's watch.
        counts: number of notifications sent under the node's name.
        call: sends a call.
    """

    def __init__(
        self,
        node: Node,
        watch: MemoryChangeFeed,
        counts: dict[str, int],
        call: Callable[[str, Mapping[str, Any], Callable[[], Coroutine[Any, Any, Any]]], Awaitable[Any]],
    ) -> None:
        self._node = node
        self._watch = watch
        self._counts = counts
        self._call = call
        self._woken = False

    async def add(self, ids: Collection[UUID]) -> None:
        """Watch more jobs."""
        await self._call("watch", {"ids": tuple(ids)}, lambda: self._watch.add(ids))

    async def discard(self, ids: Collection[UUID]) -> None:
        """Stop watching jobs."""
        await self._watch.discard(ids)

    def wake(self) -> None:
        """End the current wait, or the next one if there is none."""
        self._woken = True
        self._watch.wake()

    async def wait(self, timeout: float) -> list[UUID]:
        """Return the jobs with notifications; none after ``timeout`` seconds."""
        loop = self._node.world.loop
        until = loop.time() + timeout
        while True:
            rung = await self._watch.wait(until - loop.time())
            told = [job_id for job_id in rung if self._arrives()]
            if told or self._woken or not rung:
                self._woken = False
                return told

    def _arrives(self) -> bool:
        node, world = self._node, self._node.world
        if node.link is not None or world.down:
            return False
        if not world.faulty:
            return True
        count = self._counts["told"] = self._counts.get("told", 0) + 1
        address = f"{node.name}/told/{count}"
        if world.decisions.at(address, lambda draws: told_fault(draws, world.knobs)) is None:
            return True
        world.record_fault(node, address, "lost_wakeup")
        return False
