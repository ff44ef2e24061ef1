"""The context of a job that a worker runs, in its own process."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, nullcontext, suppress
from math import ceil
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from zeke_queue.client import open_transactions
from zeke_queue.client.insert import IntoStorage, insert_one
from zeke_queue.core.timeouts import BLOCK_SECONDS, LOCK_SECONDS
from zeke_queue.errors import LeaseLostError, LockTimeoutError, UsageError
from zeke_queue.model import Extended
from zeke_queue.storage.inspect import require
from zeke_queue.system.clock import wait
from zeke_queue.system.waiting import end
from zeke_queue.task.context import JobContext
from zeke_queue.worker.progress import LineBudget

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
    from uuid import UUID

    from zeke_queue.client.parts import Parts
    from zeke_queue.client.queue import Queue
    from zeke_queue.client.transaction import QueueTransaction
    from zeke_queue.core.options import ChildOptions, SendOptions
    from zeke_queue.model import Job
    from zeke_queue.system.clock import Clock
    from zeke_queue.task.run import Run
    from zeke_queue.task.senders import AsyncJoinable, Transaction
    from zeke_queue.task.task import Task
    from zeke_queue.worker.leased_job import LeasedJob
    from zeke_queue.worker.progress import ProgressWriter

R = TypeVar("R")


class ContextServices(NamedTuple):
    """What the contexts of all jobs of one worker share.

    Attributes:
        queue: the queue whose jobs are run.
        lost: called with a job that turned out to be lost, to interrupt it.
        extended: called with a job and its new deadline.
        is_lease_over: called with a time on the clock; whether the worker's lease has ended by then.
        handler_clock: the clock of the deadlines that handlers see; another one only in a simulation.
        resources: the value that the catalog's ``resources`` yielded.
    """

    queue: Queue
    parts: Parts
    progress_writer: ProgressWriter
    lost: Callable[[LeasedJob], None]
    extended: Callable[[LeasedJob, float], None]
    is_lease_over: Callable[[float], bool]
    clock: Clock
    handler_clock: Clock
    resources: Any
    loop: asyncio.AbstractEventLoop


class WorkerJobContext(JobContext[Any]):
    """The context of a job that this process's worker holds."""

    __slots__ = ("_blocks", "_lines", "_locked", "_services", "leased")

    def __init__(self, leased: LeasedJob, services: ContextServices) -> None:
        super().__init__(leased.claimed, leased.queue.task, _for_handlers(leased.deadline, services))
        self.leased = leased
        self._services = services
        self._lines = LineBudget()
        self._locked: _LockedJob | None = None
        # The transactions that lock the job: the first one is open, and the others wait.
        self._blocks: list[asyncio.Future[None]] = []

    @property
    def resources(self) -> Any:
        """The value that the catalog's ``resources`` yielded in this worker."""
        return self._services.resources

    @asynccontextmanager
    async def transaction(
        self, connection: AsyncJoinable | None = None, *, lock: bool = True
    ) -> AsyncGenerator[Transaction]:
        """Open a transaction whose jobs are children; see ``JobContext``."""
        opening = self._services.queue.transaction(connection, parent=self.id, meta=self.meta or None)
        locked: _LockedJob | None = None
        if own := lock and connection is None:
            self._sending("job.transaction")
        try:
            async with self._turn() if own else nullcontext(), opening as transaction:
                locked = _LockedJob(cast("QueueTransaction", transaction), self.leased, self._left)
                if lock:
                    await locked.lock()
                if not own:  # a transaction of the caller's outlives the block
                    yield transaction
                    return
                self._locked = locked
                try:
                    yield transaction
                    self._locked = None  # extensions from now on are stored after the commit
                    await locked.store()
                    self._check_held()
                finally:
                    self._locked = None
                    await locked.end()
        except BaseException as error:
            if locked is not None and locked.deadline == self.leased.deadline:
                await self._restore(locked.stored, error)
            raise

    @asynccontextmanager
    async def _turn(self) -> AsyncGenerator[None]:
        """Wait for the blocks that other tasks of the handler opened before, without a connection."""
        blocks, block = self._blocks, asyncio.get_running_loop().create_future()
        blocks.append(block)
        try:
            if blocks[0] is not block:
                await wait(self._services.clock, block, BLOCK_SECONDS)
            if blocks[0] is not block:
                raise LockTimeoutError(
                    f"job.transaction() waited {BLOCK_SECONDS:g} s for blocks of other tasks of its handler:"
                    " keep them short, await no task in them that opens one, or open some with lock=False"
                )
            yield
        finally:
            blocks.remove(block)
            if blocks and not blocks[0].done():
                blocks[0].set_result(None)

    async def _restore(self, stored: float, error: BaseException) -> None:
        """Return to the stored deadline after a rollback, and repeat the extension after an error."""
        wanted, now = self.leased.deadline, self._services.clock.monotonic()
        if not isinstance(error, Exception):
            self._move_deadline(stored)
            return
        # A deadline that has passed would interrupt the handler before the job is extended again.
        self._move_deadline(max(stored, min(wanted, now + LOCK_SECONDS)))
        with suppress(Exception):  # the caller needs the error of its block
            await self._extend(max(wanted - now, 1.0))

    def _left(self) -> float:
        """Return the seconds until the deadline."""
        return self.leased.deadline - self._services.clock.monotonic()

    def _check_held(self) -> None:
        """Refuse to commit after the end of the lease: the outcome is not stored, so the job runs again."""
        services = self._services
        if self.leased.reason == "lost" or services.is_lease_over(services.clock.monotonic()):
            services.lost(self.leased)
            raise LeaseLostError.of(self.id)

    def run_coroutine(self, coroutine: Coroutine[Any, Any, R]) -> R:
        """Run a coroutine on the worker's loop, from a thread; see ``JobContext``."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run_coroutine_threadsafe(coroutine, self._services.loop).result()
        coroutine.close()
        raise RuntimeError(
            "job.run_coroutine() is for handlers in threads: on the event loop it would wait for itself; "
            "await the coroutine, in an async handler"
        )

    def keep(self, level: str, message: str, fields: Mapping[str, Any]) -> None:
        """Store a log line of a handler in another process."""
        self._store_line(level, message, fields)

    def _report(self, value: float, message: str | None) -> None:
        self._services.progress_writer.progress(self.id, self.attempt, value, message)

    def _store_line(self, level: str, message: str, fields: Mapping[str, Any]) -> None:
        self._services.progress_writer.line(self.id, self.attempt, level, message, fields, self._lines)

    def end_log(self) -> None:
        """Store how many log lines were dropped, if any."""
        self._services.progress_writer.end(self.id, self.attempt, self._lines)

    async def _extend(self, seconds: float) -> None:
        services = self._services
        while True:
            requested_at = services.clock.monotonic()
            if self._locked is not None:
                # Meanwhile nothing can rescue the job, so only the deadline of this process counts.
                self._locked.extend(requested_at + seconds)
                self._move_deadline(requested_at + seconds)
                return
            # Tasks that began in a block which commits now wait for that. While there is a block, a call in
            # another transaction passes too: its wait for a lock is limited.
            if not self._blocks:
                open_transactions.check_outside(services.parts.storage, "job.extend")
            try:
                extended = await services.parts.storage.extend([Extended(self.id, self.attempt, seconds)])
                break
            except LockTimeoutError:
                # While its row is locked the job can't be rescued either, so only its own deadline counts.
                if requested_at >= self.leased.deadline:
                    raise
        if not extended:
            services.lost(self.leased)
            raise LeaseLostError.of(self.id)
        self._move_deadline(requested_at + seconds)

    def _move_deadline(self, deadline: float) -> None:
        self.deadline = _for_handlers(deadline, self._services)
        self._services.extended(self.leased, deadline)

    async def _send(
        self, task: str | Task[Any, Any], payload: object, options: SendOptions, *, insist: bool
    ) -> Run[Any]:
        parts = self._sending("job.trigger" if insist else "job.send")
        prepared = parts.factory.prepare(
            task, payload, options, parent=self.id, meta=self._meta_of_children(parts)
        )
        return await insert_one(IntoStorage(parts), prepared, insist=insist)

    async def _start_child(
        self, task: str | Task[Any, Any], payload: object, key: str, options: ChildOptions
    ) -> Run[Any]:
        parts = self._sending("job.start_child")
        self._check_unlocked("job.start_child")
        family: SendOptions = {**options, "id": self.child_id(key), "parent": self.id}
        prepared = parts.factory.prepare(task, payload, family, meta=self._meta_of_children(parts))
        return await insert_one(IntoStorage(parts, self.attempt), prepared, insist=True)

    async def _get(self, job_id: UUID) -> Job:
        return await require(self._services.parts.storage, job_id)

    def _meta_of_children(self, parts: Parts) -> str | None:
        return parts.factory.meta(self.meta) if self.meta else None

    def _sending(self, call: str) -> Parts:
        parts = self._services.parts
        open_transactions.check_outside(parts.storage, call)
        return parts

    def _check_unlocked(self, call: str) -> None:
        if self._locked is not None:
            raise UsageError(
                f"{call} needs the row of the job, which job.transaction() of another task of its handler has"
                " locked: call it before or after that block, or open the block with lock=False"
            )


class _LockedJob:
    """The row of a job that its handler's own transaction locks, and extensions meanwhile.

    Attributes:
        stored: the deadline when the row was locked, which a rollback brings back.
        deadline: that of the last extension; None if there was none.
    """

    def __init__(self, transaction: QueueTransaction, leased: LeasedJob, left: Callable[[], float]) -> None:
        self._transaction = transaction
        self._leased = leased
        self._left = left
        self.stored = leased.deadline
        self.deadline: float | None = None
        self._touching: asyncio.Task[None] | None = None

    async def lock(self) -> None:
        """Lock the row, and keep the server from ending the transaction as idle before the deadline."""
        claimed, idle = self._leased.claimed, max(1, ceil(self._left()))
        await self._transaction.lock_attempt(claimed.id, claimed.attempt, idle_timeout=idle)
        if self.deadline is None:
            self.stored = self._leased.deadline

    def extend(self, deadline: float) -> None:
        """Record an extension, and give the transaction as much time."""
        self.deadline = deadline
        if self._touching is None or self._touching.done():
            self._touching = asyncio.ensure_future(self._touch())

    async def store(self) -> None:
        """Store the new deadline, if there is one, as the transaction's last statement."""
        if self._touching is not None:
            # Cancelled on its way, its statement would turn the commit into a rollback.
            await asyncio.wait([self._touching])
        if self.deadline is not None:
            claimed, seconds = self._leased.claimed, max(self._left(), 1.0)
            await self._transaction.extend_attempt(claimed.id, claimed.attempt, seconds)

    async def end(self) -> None:
        """Cancel the statement under way, if any, and wait for its end."""
        if self._touching is not None:
            await end(self._touching)

    async def _touch(self) -> None:
        touched: float | None = None
        with suppress(Exception):  # a transaction that is broken fails in the handler's statements too
            while touched != self.deadline:
                touched = self.deadline
                await self.lock()


def _for_handlers(deadline: float, services: ContextServices) -> float:
    """Return a deadline of the worker's clock on the clock that handlers see."""
    if services.handler_clock is services.clock:
        return deadline
    return deadline + services.handler_clock.monotonic() - services.clock.monotonic()
