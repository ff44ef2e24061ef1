"""The settler: stores the outcomes of many jobs in one statement.

A pool task hands over its outcome and takes the next job; it never waits for the storage. A batch is sent
when the buffer is full enough or after 5 ms, or at once if none was sent lately. While it is under way the
next batch gathers.

While the storage is unavailable, outcomes are kept and retried, even after the end of the lease: every
settlement is fenced by its attempt, so a late one changes nothing if another worker has the job, and saves
the work otherwise.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from zeke_queue.core import jsonb
from zeke_queue.core.failure import error_output
from zeke_queue.errors import StorageError, StorageUnavailableError
from zeke_queue.model import Completed, Failed, Released, Waiting
from zeke_queue.system import logging as log
from zeke_queue.system.waiting import Waiter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from zeke_queue.storage.store import Storage
    from zeke_queue.system.clock import Clock
    from zeke_queue.worker.held import Held
    from zeke_queue.worker.link import Link
    from zeke_queue.worker.progress import Notes

GATHER: Final = 0.005
"""Seconds that an outcome waits for others at most."""

ENOUGH: Final = 250
"""Outcomes that are sent without further waiting."""

BATCH_MAX: Final = 1000


class Settler:
    """Stores outcomes.

    Args:
        storage: stores the outcomes.
        clock: times retries.
        link: records failures.
        notes: progress and log lines, which must be stored before their job ends, since watchers leave then.
        settled: called with every stored batch, lost jobs included.
    """

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        link: Link,
        notes: Notes,
        settled: Callable[[Sequence[Held]], None],
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._link = link
        self._notes = notes
        self._settled = settled
        self._buffer: list[Held] = []
        self._under_way = 0
        self._waiter = Waiter()
        self._timer: asyncio.TimerHandle | None = None
        self._ripe = False
        self._last = -GATHER
        self._closing = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._logger = log.get_logger()
        self._tells = log.enabled("info")

    @property
    def backlog(self) -> int:
        """The number of outcomes not known to be stored."""
        return len(self._buffer) + self._under_way

    def add(self, held: Held) -> None:
        """Add a job whose outcome is set."""
        self._buffer.append(held)
        if len(self._buffer) == ENOUGH:
            self._ripen()
        elif self._timer is None and not self._ripe:
            self._timer = self._loop.call_at(self._last + GATHER, self._ripen)

    def close(self) -> None:
        """Make ``run`` return once everything is stored."""
        self._closing.set()
        self._waiter.notify()

    async def run(self) -> None:
        """Store outcomes until closed."""
        while True:
            if self._buffer and (self._ripe or self._closing.is_set()):
                batch, self._buffer = self._buffer[:BATCH_MAX], self._buffer[BATCH_MAX:]
                # Outcomes left over from this batch have waited already, and no timer will signal them again.
                self._under_way, self._ripe = len(batch), bool(self._buffer)
                await self._store(batch)
                self._under_way, self._last = 0, self._loop.time()
                self._settled(batch)
            elif self._closing.is_set() and not self._buffer:
                return
            else:
                await self._waiter.wait()

    def _ripen(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._ripe = True
        self._waiter.notify()

    async def _store(self, batch: Sequence[Held]) -> None:
        """Store a batch, however long it takes."""
        if self._notes.any:
            await self._notes.flush()
        failures = 0
        while True:
            try:
                await self._settle(batch, again=failures > 0)
            except StorageUnavailableError as error:
                self._link.lost("settle", error)
                await self._link.pause(failures, self._closing)
                failures += 1
            except StorageError as error:
                # A missing right or table is not caused by an outcome, and may be fixed meanwhile.
                self._link.refused("settle", error)
                await self._link.pause(failures, self._closing)
                failures += 1
            except Exception as error:  # noqa: BLE001 - one bad outcome must not hold up the rest
                await self._store_singly(batch, error)
                return
            else:
                self._link.found()
                return

    async def _store_singly(self, batch: Sequence[Held], error: Exception) -> None:
        """Find the outcomes that the storage refuses, and store a failure in place of each."""
        if len(batch) > 1:
            for held in batch:
                await self._store([held])
            return
        held = batch[0]
        self._link.refused("settle", error)
        if isinstance(held.outcome, Failed) and held.reason == "lost":
            return  # its failure is refused too; the deadline will end the job
        held.reason = "lost"
        output = error_output(error, while_storing=type(held.outcome).__name__)
        held.outcome = Failed(held.claimed.id, held.claimed.attempt, None, output)
        await self._store(batch)

    async def _settle(self, batch: Sequence[Held], *, again: bool) -> None:
        outcomes = [held.outcome for held in batch]
        failed = [outcome for outcome in outcomes if type(outcome) is Failed]
        changed = await self._storage.settle(
            [outcome for outcome in outcomes if type(outcome) is Completed],
            failed,
            [outcome for outcome in outcomes if type(outcome) is Released],
            again=again,
        )
        if waiting := [outcome for outcome in outcomes if type(outcome) is Waiting]:
            changed |= await self._storage.suspend(waiting, again=again)
        if self._tells or failed or len(changed) < len(batch):
            for held in batch:
                self._tell(held, stored=held.claimed.id in changed)

    def _tell(self, held: Held, *, stored: bool) -> None:
        outcome = held.outcome
        fields: dict[str, Any] = {
            "taskId": held.served.task.name,
            "jobId": str(held.claimed.id),
            "attempt": held.claimed.attempt,
            "durationMs": round(held.took * 1000, 1),
        }
        if not stored:
            self._logger.warning("lease_lost", **fields, outcome=type(outcome).__name__)
        elif isinstance(outcome, Completed):
            self._logger.info("job_completed", **fields)
        elif isinstance(outcome, Failed):
            error = jsonb.loads(outcome.output)
            retry_in = None if outcome.retry_in is None else round(outcome.retry_in, 3)
            fields |= {"willRetry": retry_in is not None, "retryIn": retry_in}
            fields["error"] = {"type": error.get("type"), "message": error.get("message")}
            if error.get("traceback"):
                fields["exception"] = error["traceback"]
            if outcome.retry_in is None:
                self._logger.error("job_failed", **fields)
            else:
                self._logger.warning("job_failed", **fields)
        elif isinstance(outcome, Released):
            event = "job_snoozed" if outcome.delay and held.reason is None else "job_released"
            self._logger.info(event, **fields, delay=outcome.delay)
        elif isinstance(outcome, Waiting):
            self._logger.info("job_waits", **fields, childId=str(outcome.child))
