"""The loops of a worker, which carry out what ``state`` decides."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from zeke_queue.errors import StorageError, StorageUnavailableError
from zeke_queue.system.waiting import Waiter, end
from zeke_queue.worker.held import Held
from zeke_queue.worker.state import Claim, Load, Recover, Sleep

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from zeke_queue.storage.store import Storage
    from zeke_queue.system.clock import Clock
    from zeke_queue.worker.heartbeat import Heart
    from zeke_queue.worker.held import Served
    from zeke_queue.worker.holdings import Holdings
    from zeke_queue.worker.link import Link
    from zeke_queue.worker.state import ClaimAction, ClaimState


class ClaimLoop:
    """Claims jobs for the pool tasks of one worker.

    Args:
        worker: the worker's id.
        storage: the storage to claim from.
        served: the queues, by name.
        state: decides when to claim what.
        waiter: notified when ``state`` was told something that may change its decision.
        holdings: receives claimed jobs.
        heart: releases claims whose answer was lost.
        link: records failures.
        clock: times the polls.
    """

    def __init__(
        self,
        worker: UUID,
        storage: Storage,
        served: Mapping[str, Served],
        state: ClaimState,
        waiter: Waiter,
        *,
        holdings: Holdings,
        heart: Heart,
        link: Link,
        clock: Clock,
    ) -> None:
        self._worker = worker
        self._storage = storage
        self._served = served
        self._names = tuple(served)
        self._state = state
        self._waiter = waiter
        self._holdings = holdings
        self._heart = heart
        self._link = link
        self._clock = clock
        self._stopping = asyncio.Event()
        self._drains: list[Waiter] = []

    def wake(self) -> None:
        """Claim at once, since there may be something to claim."""
        self._state.wake()
        self._waiter.notify()

    def doubt(self) -> None:
        """Record that the storage may hold jobs for this worker that the worker does not run."""
        self._state.doubt()
        self._waiter.notify()

    def stop(self) -> None:
        """Stop claiming.

        ``run`` returns once a claim under way is answered, or its jobs are released.
        """
        self._state.stopping = True
        self._stopping.set()
        self._waiter.notify()

    async def drained(self) -> None:
        """Wait until nothing is due and no job is held."""
        drained = Waiter()
        self._drains.append(drained)
        self._state.drains = len(self._drains)
        self.wake()
        await drained.wait()

    async def run(self) -> None:
        """Claim until stopped."""
        failures = 0
        while (action := self._state.next(self._load(), self._clock.monotonic())) is not None:
            try:
                await self._carry_out(action)
            except StorageUnavailableError as error:
                self._link.lost("claim", error)
                await self._link.pause(failures, self._stopping)
                failures += 1
            except StorageError as error:
                self._link.refused("claim", error)
                await self._link.pause(failures, self._stopping)
                failures += 1
            else:
                # That a heartbeat is answered says nothing about claims, which may be refused for long.
                failures = failures if type(action) is Recover else 0
        self._tell_drained(len(self._drains))

    def _load(self) -> Load:
        lanes = self._holdings.lanes
        return Load(lanes.running, len(lanes.ready), self._holdings.settler.backlog)

    async def _carry_out(self, action: ClaimAction) -> None:
        if type(action) is Claim:
            claimed = await self._claim(action)
            if self._state.claimed(claimed, action.limit):
                await self._set_idle(idle=False)
        elif type(action) is Sleep:
            await self._sleep(action.timeout)
        elif type(action) is Recover:
            await self._recover()
        else:
            try:
                # The worker can take nothing for a while, so senders should not wake it.
                await self._set_idle(idle=False)
                await self._waiter.wait()
            finally:
                self._state.roomy()

    async def _recover(self) -> None:
        # A doubt that arises during this call concerns something that the call does not see.
        self._state.unsure = False
        try:
            await self._heart.release_unknown()
        except BaseException:
            self._state.unsure = True
            raise
        self._link.found()

    async def _sleep(self, timeout: float) -> None:
        """Begin to wait, claim once more, and continue to wait."""
        waiting = asyncio.ensure_future(self._storage.wait_for_work(self._names, timeout))
        try:
            await self._clock.sleep(0)
            await self._set_idle(idle=True)
            # Callers that ask during this claim may have sent jobs that it does not see.
            holds_nothing, drains = not self._holdings.jobs, len(self._drains)
            claim = self._state.claim(self._load(), self._clock.monotonic())
            if claim is None or await self._claim(claim):
                self._state.found()
                return
            if holds_nothing:
                self._tell_drained(drains)
            woken = await self._woken(waiting)
            self._state.slept(self._clock.monotonic(), woken=woken)
        finally:
            await end(waiting)

    async def _woken(self, waiting: asyncio.Future[bool]) -> bool:
        """Wait for a wake-up of either kind; return False if none came in time."""
        listening = True

        def notify(_: asyncio.Future[bool]) -> None:
            if listening:
                self._waiter.notify()

        waiting.add_done_callback(notify)
        try:
            await self._waiter.wait()
            return self._state.was_woken() or (waiting.done() and waiting.result())
        finally:
            listening = False

    async def _set_idle(self, *, idle: bool) -> None:
        state = self._state
        if idle != state.idle:
            state.idle = None
            await self._storage.idle(self._worker, self._names if idle else None)
            state.idle = idle

    async def _claim(self, claim: Claim) -> int:
        asked = self._clock.monotonic()
        try:
            claimed = await self._storage.claim(self._worker, claim.capacity, claim.limit)
        except Exception:
            # Even a refused claim may have leased jobs: of its several statements some may have succeeded.
            self._state.unsure = True
            raise
        self._link.found()
        if claimed and self._clock.monotonic() >= self._heart.alive_until:
            # The lease ended meanwhile and others may hold these jobs: begin none before a heartbeat.
            self._state.unsure = True
            return 0
        if claimed:
            served = self._served
            self._holdings.take([Held(job, served[job.name], asked + job.expire_in) for job in claimed])
        return len(claimed)

    def _tell_drained(self, count: int) -> None:
        """Wake the first so many callers that wait until nothing is due or held."""
        drained, self._drains = self._drains[:count], self._drains[count:]
        self._state.drains = len(self._drains)
        for waiter in drained:
            waiter.notify()
