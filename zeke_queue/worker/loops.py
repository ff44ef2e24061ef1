"""The loops of a worker that carry out what ``state`` decides about claims and deadlines."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple, Protocol

from zeke_queue.errors import StorageError
from zeke_queue.storage.inspect import Inspector
from zeke_queue.storage.jobs import JobStore
from zeke_queue.storage.workers import WorkerStore
from zeke_queue.system import logging as log
from zeke_queue.system.waiting import DeadlineTimer, Waiter, end
from zeke_queue.worker.claims import Claim, Recover, Sleep, WaitForRoom
from zeke_queue.worker.state import Interrupt, Report, Settle, Start
from zeke_queue.worker.storage_health import log_refusal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from zeke_queue.model import WorkerInfo
    from zeke_queue.system.clock import Clock
    from zeke_queue.worker.claims import ClaimAction
    from zeke_queue.worker.coroutine_pool import CoroutinePool
    from zeke_queue.worker.leased_job import LeasedJob
    from zeke_queue.worker.state import Action, WorkerState
    from zeke_queue.worker.storage_health import StorageHealth


class RunStorage(JobStore, WorkerStore, Inspector, Protocol):
    """What a run of a worker calls; its duties have storages of their own."""


class Shared(NamedTuple):
    """What the loops of one run of a worker share.

    Attributes:
        info: the worker, as the storage lists it.
        storage: the storage, whose calls ``health`` tracks.
        health: logs outages, and pauses between retries.
        clock: the clock of deadlines, polls and retries.
        wake_claims: notified when the next decision of the claim loop may differ.
    """

    info: WorkerInfo
    storage: RunStorage
    health: StorageHealth
    state: WorkerState
    clock: Clock
    wake_claims: Waiter


class Part:
    """A part of one run of a worker, with what all parts share."""

    def __init__(self, shared: Shared) -> None:
        self._info, self._storage, self._health, self._state, self._clock, self._wake_claims = shared


class Dispatcher(Part):
    """Carries out actions of the state, and watches deadlines.

    Args:
        settle_soon: called when there are outcomes to store.
    """

    def __init__(self, shared: Shared, pool: CoroutinePool, settle_soon: Callable[[], None]) -> None:
        super().__init__(shared)
        self._pool = pool
        self._settle_soon = settle_soon
        self._deadlines = DeadlineTimer(shared.clock, self._expire)

    def carry_out(self, actions: Iterable[Action]) -> None:
        """Carry out actions, in order."""
        for action in actions:
            if type(action) is Start:
                self._pool.start_soon()
                self._deadlines.set(action.deadline)
            elif type(action) is Settle:
                self._settle_soon()
            elif type(action) is Interrupt:
                if action.job in self._state.running:
                    self._state.running[action.job].cancel()
            elif type(action) is Report:
                job, seconds = action.job, round(action.seconds, 1)
                fields = {**job.log_fields(), "kind": job.queue.kind, "reason": job.reason}
                log.get_logger().error("cancellation_ignored", **fields, seconds=seconds)
            else:
                self._wake_claims.notify()

    def lost(self, job: LeasedJob) -> None:
        """Interrupt the handler of a job that turned out to be lost."""
        self.carry_out(self._state.interrupt(job, "lost", self._clock.monotonic()))

    def extend(self, job: LeasedJob, deadline: float) -> None:
        """Move a job's deadline."""
        job.deadline = deadline
        self._deadlines.set(deadline)

    def close(self) -> None:
        """Stop watching deadlines."""
        self._deadlines.cancel()

    def _expire(self, now: float) -> float | None:
        actions, deadline = self._state.expire(now)
        self.carry_out(actions)
        return deadline


class ClaimLoop(Part):
    """Claims jobs for the pool tasks of one worker.

    Args:
        carry_out: carries out the actions of the state.
        release_unknown: releases claims whose answer was lost.
    """

    def __init__(
        self,
        shared: Shared,
        carry_out: Callable[[Iterable[Action]], None],
        release_unknown: Callable[[], Awaitable[None]],
    ) -> None:
        super().__init__(shared)
        self._claims = shared.state.claims
        self._carry_out = carry_out
        self._release_unknown = release_unknown
        self._stopping = asyncio.Event()
        self._drains: list[Waiter] = []

    def stop(self) -> None:
        """Stop claiming.

        ``run`` returns once a claim under way is answered, and jobs that only the storage knows are released.
        """
        self._claims.stopping = True
        # Heartbeats sent during a claim could not tell such jobs from those that it brings.
        self._claims.unsure = True
        self._stopping.set()
        self._wake_claims.notify()

    async def drained(self) -> None:
        """Wait until nothing is due and no job is held."""
        drained = Waiter()
        self._drains.append(drained)
        self._claims.drains = len(self._drains)
        self._claims.wake()
        self._wake_claims.notify()
        await drained.wait()

    async def run(self) -> None:
        """Claim until stopped."""
        failures = 0
        while (action := self._next()) is not None:
            try:
                await self._do(action)
            except StorageError as error:
                log_refusal("claim", error)
                await self._health.pause(failures, self._stopping)
                failures += 1
            else:
                # That a heartbeat is answered says nothing about claims, which may be refused for long.
                failures = failures if type(action) is Recover else 0
        self._notify_drained(len(self._drains))

    def _next(self) -> ClaimAction | None:
        now = self._clock.monotonic()
        return self._claims.next(self._state.load(now), now)

    async def _do(self, action: ClaimAction) -> None:
        if type(action) is Claim:
            count, _ = await self._claim(action)
            if self._claims.claimed(count, action.limit):
                await self._set_idle(idle=False)
        elif type(action) is Sleep:
            await self._sleep(action.timeout)
        elif type(action) is WaitForRoom:
            try:
                # The worker can take nothing for a while, so senders should not wake it.
                await self._set_idle(idle=False)
                if action.timeout is None:
                    await self._wake_claims.wait()
                else:
                    await self._wake_claims.wait_for(action.timeout, self._clock)
            finally:
                self._claims.roomy()
        else:
            await self._recover()

    async def _recover(self) -> None:
        # A doubt that arises during this call concerns something that the call does not see.
        self._claims.unsure = False
        try:
            await self._release_unknown()
        except BaseException:
            self._claims.unsure = True
            raise

    async def _sleep(self, timeout: float) -> None:
        """Begin to wait, claim once more, and continue to wait."""
        waiting = asyncio.ensure_future(self._storage.wait_for_jobs(self._info.queues, timeout))
        try:
            await self._clock.sleep(0)
            await self._set_idle(idle=True)
            # Callers that ask during this claim may have sent jobs that it does not see.
            holds_nothing, drains = not self._state.jobs, len(self._drains)
            now = self._clock.monotonic()
            claim = self._claims.claim(self._state.load(now), now, last=True)
            count, left_out = (0, False) if claim is None else await self._claim(claim)
            if claim is None or count:
                self._claims.found()
                return
            # The handler of a lost job may still keep a queue from being asked.
            if holds_nothing and not left_out and len(claim.capacity) == len(self._info.queues):
                self._notify_drained(drains)
            woken = await self._woken(waiting)
            self._claims.slept(self._clock.monotonic(), woken=woken)
        finally:
            await end(waiting)

    async def _woken(self, waiting: asyncio.Future[bool]) -> bool:
        """Wait for a wake-up of either kind; return False if none came in time."""
        listening = True

        def notify(_: asyncio.Future[bool]) -> None:
            if listening:
                self._wake_claims.notify()

        waiting.add_done_callback(notify)
        try:
            await self._wake_claims.wait()
            return self._claims.was_woken() or (waiting.done() and waiting.result())
        finally:
            listening = False

    async def _set_idle(self, *, idle: bool) -> None:
        claims = self._claims
        if idle != claims.idle:
            claims.idle = None
            await self._storage.set_idle(self._info.id, self._info.queues if idle else None)
            claims.idle = idle

    async def _claim(self, claim: Claim) -> tuple[int, bool]:
        """Claim; return how many jobs are held for it, and whether locked queues were left out."""
        asked = self._clock.monotonic()
        self._state.claims_begun += 1
        try:
            claimed = await self._storage.claim(self._info.id, claim.capacity, claim.limit, claim.bytes_max)
            actions = self._state.claimed(claimed, asked, self._clock.monotonic()) if claimed else []
        except Exception:
            # Even a refused claim may have leased jobs: of its several statements some may have succeeded.
            self._claims.unsure = True
            raise
        finally:
            self._state.claims_ended += 1
        self._carry_out(actions)
        return (len(claimed) if actions else 0), claimed.left_out

    def _notify_drained(self, count: int) -> None:
        """Wake the first ``count`` callers that wait until nothing is due or held."""
        drained, self._drains = self._drains[:count], self._drains[count:]
        self._claims.drains = len(self._drains)
        for waiter in drained:
            waiter.notify()
