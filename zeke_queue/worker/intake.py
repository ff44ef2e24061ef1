"""The claim loop: when to claim, how much of which queue, and how to sleep when nothing is due.

It claims for free pool tasks. Quick jobs of tasks without a limit are also claimed ahead, at most about a
second of work as measured, so that pool tasks never wait for a round trip. Jobs of a task with a limit are
not, because they would use up the limit while they wait. A worker that serves both kinds lets its jobs
claimed ahead run out four times a second, and then claims for free pool tasks only, so that the order of
priorities holds and no queue starves.

Before it sleeps, the loop claims three times: one claim finds nothing; a second confirms it, because an empty
answer is no proof (rows locked by others are skipped); a third follows once the loop waits for a wake-up
and the storage has recorded that, since earlier sends would not wake the worker.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Final, NamedTuple

from zeke_queue.core.poll_backoff import idle_wait
from zeke_queue.errors import StorageError, StorageUnavailableError
from zeke_queue.model import Want
from zeke_queue.system.waiting import Waiter, end
from zeke_queue.worker.held import Held

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from zeke_queue.storage.store import Storage
    from zeke_queue.system.clock import Clock
    from zeke_queue.worker.heartbeat import Heart
    from zeke_queue.worker.held import Served
    from zeke_queue.worker.holdings import Holdings
    from zeke_queue.worker.link import Link

BATCH_MAX: Final = 500
"""Jobs per claim at most."""

AHEAD_SECONDS: Final = 1.0
"""Seconds of work that are claimed ahead at most."""

AHEAD_MAX: Final = 1000
"""Jobs that are claimed ahead at most."""

AHEAD_SLOWEST: Final = 0.1
"""Longest time in seconds of jobs that are claimed ahead; for slower ones a round trip does not matter."""

FAIR_EVERY: Final = 0.25
"""Seconds after which a worker with tasks of both kinds claims for free pool tasks only."""

BACKLOG_MAX: Final = 3000
"""Outcomes waiting for the storage from which on claiming stops."""


class Ask(NamedTuple):
    """A claim to make."""

    wants: list[Want]
    limit: int


class Intake:
    """Claims jobs for the pool tasks of one worker.

    Args:
        worker: the worker's id.
        storage: the storage to claim from.
        served: the queues, by name.
        holdings: receives claimed jobs.
        heart: releases claims whose answer was lost.
        link: records failures.
        clock: times the polls.
        poll: seconds between claims without a wake-up.
    """

    def __init__(
        self,
        worker: UUID,
        storage: Storage,
        served: Mapping[str, Served],
        holdings: Holdings,
        heart: Heart,
        *,
        link: Link,
        clock: Clock,
        poll: float,
    ) -> None:
        self._worker = worker
        self._storage = storage
        self._served = served
        self._names = tuple(served)
        self._limited = any(s.limit is not None for s in served.values())
        self._holdings = holdings
        self._lanes = holdings.lanes
        self._heart = heart
        self._link = link
        self._clock = clock
        self._poll = poll
        self._waiter = Waiter()
        self._wants_room = False
        self._low = 0
        self._looked = False
        self._looks = 0
        self._slept = 0
        self._full = 0
        self._asleep: bool | None = False
        """The idle flag last sent to the storage; None if it is unknown whether the storage still has it."""
        self._unsure = False
        self._stopping = asyncio.Event()
        self._fair_at = -math.inf
        self._due_at = math.inf
        self._drained: list[Waiter] = []

    def room(self) -> None:
        """Record that a pool task took or ended a job."""
        if self._wants_room and len(self._lanes.ready) <= self._low:
            self._waiter.notify()

    def look(self) -> None:
        """Claim at once, since there may be something to claim."""
        self._looks = self._slept = 0
        self._looked = True
        self._waiter.notify()

    def due_in(self, seconds: float) -> None:
        """Record that a job will be due in so many seconds, for which no notification will come."""
        self._due_at = min(self._due_at, self._clock.monotonic() + seconds)
        if seconds <= 0:
            self.look()
        else:
            self._waiter.notify()

    def doubt(self) -> None:
        """Record that the storage may hold jobs for this worker that the worker does not run."""
        self._unsure = True
        self._asleep = None
        self.look()

    def stop(self) -> None:
        """Stop claiming.

        ``run`` returns once a claim under way is answered, or its jobs are released.
        """
        self._stopping.set()
        self._waiter.notify()

    async def drained(self) -> None:
        """Wait until nothing is due and no job is held."""
        done = Waiter()
        self._drained.append(done)
        self.look()
        await done.wait()

    def freed(self) -> None:
        """Record that a limit has room again, or that everything is settled."""
        if self._limited or self._drained:
            self.look()

    async def run(self) -> None:
        """Claim until stopped."""
        failures = 0
        while self._unsure or not self._stopping.is_set():
            try:
                await self._go_on()
            except StorageUnavailableError as error:
                self._link.lost("claim", error)
                await self._link.pause(failures, self._stopping)
                failures += 1
            except StorageError as error:
                self._link.refused("claim", error)
                await self._link.pause(failures, self._stopping)
                failures += 1
            else:
                failures = 0
        self._tell_drained(len(self._drained))

    async def _go_on(self) -> None:
        if self._unsure:
            await self._make_sure()
            if self._stopping.is_set():
                return
        if self._looks > 1:
            await self._sleep()
            return
        ask = self._ask()
        if ask is None:
            # Set this before any await: room that appears meanwhile is not signalled again.
            self._wants_room = True
            try:
                # The worker can take nothing for a while, so senders should not wake it.
                await self._say(asleep=False)
                await self._waiter.wait()
            finally:
                self._wants_room = False
            return
        got = await self._claim(ask)
        self._looks = 0 if got else self._looks + 1
        self._full = self._full + 1 if got == ask.limit else 0
        if self._full > 1:
            await self._say(asleep=False)

    async def _make_sure(self) -> None:
        # A doubt that arises during this claim concerns something that the claim does not see.
        self._unsure = False
        try:
            await self._heart.release_unknown()
        except BaseException:
            self._unsure = True
            raise
        self._link.found()

    async def _sleep(self) -> None:
        """Begin to wait, claim once more, and continue to wait."""
        now = self._clock.monotonic()
        timeout = min(idle_wait(self._slept, self._poll), max(0.0, self._due_at - now))
        waiting = asyncio.ensure_future(self._storage.wait_for_work(self._names, timeout))
        try:
            self._looked = False
            await self._clock.sleep(0)
            await self._say(asleep=True)
            # Callers that ask during this claim may have sent jobs that it does not see.
            idle, askers = not self._holdings.jobs, len(self._drained)
            ask = self._ask()
            if ask is None or await self._claim(ask):
                self._looks = self._slept = 0
                return
            if idle:
                self._tell_drained(askers)
            if await self._woken(waiting):
                self._looks = self._slept = 0
            elif self._clock.monotonic() >= self._due_at:
                self._due_at, self._looks = math.inf, 0
            else:
                self._slept += 1
        finally:
            await end(waiting)

    async def _woken(self, waiting: asyncio.Future[bool]) -> bool:
        """Wait for a wake-up of either kind; False if none came in time."""
        listening = True

        def notify(_: asyncio.Future[bool]) -> None:
            if listening:
                self._waiter.notify()

        waiting.add_done_callback(notify)
        try:
            await self._waiter.wait()
            looked, self._looked = self._looked, False
            return looked or (waiting.done() and waiting.result())
        finally:
            listening = False

    async def _say(self, *, asleep: bool) -> None:
        if asleep != self._asleep:
            self._asleep = None
            await self._storage.idle(self._worker, self._names if asleep else None)
            self._asleep = asleep

    async def _claim(self, ask: Ask) -> int:
        asked = self._clock.monotonic()
        try:
            claimed = await self._storage.claim(self._worker, ask.wants, ask.limit)
        except Exception:
            # Even a refused claim may have leased jobs: of its several statements some may have succeeded.
            self._unsure = True
            raise
        self._link.found()
        if claimed and self._clock.monotonic() >= self._heart.alive_until:
            # The lease ended meanwhile and others may hold these jobs: begin none before a heartbeat.
            self._unsure = True
            return 0
        if claimed:
            served = self._served
            self._holdings.take([Held(job, served[job.name], asked + job.expire_in) for job in claimed])
        return len(claimed)

    def _ask(self) -> Ask | None:
        """Return the claim to make now, or None."""
        lanes = self._lanes
        waiting = len(lanes.ready)
        free = lanes.size - lanes.running - waiting
        self._low = 0
        if self._holdings.settler.backlog >= BACKLOG_MAX:
            return None
        stores = {served: self._store_of(served) for served in self._served.values()}
        if not all(stores.values()):
            now = self._clock.monotonic()
            if free > 0:
                self._fair_at = now
                return self._for_free_lanes(min(free, BATCH_MAX))
            if now - self._fair_at > FAIR_EVERY:
                return None
        wants: list[Want] = []
        for served, store in stores.items():
            self._low = max(self._low, store // 2)
            if store and (free > 0 or waiting <= store // 2):
                n = min(BATCH_MAX, max(free, 0) + max(store - waiting, 0))
                if n > 0:
                    wants.append(Want(served.name, n))
        return Ask(wants, max(want.free for want in wants)) if wants else None

    def _for_free_lanes(self, free: int) -> Ask | None:
        """Return a claim for the most urgent jobs, as far as the tasks' limits allow."""
        wants: list[Want] = []
        for served in self._served.values():
            n = free if served.limit is None else min(free, served.limit - served.busy)
            if n > 0:
                wants.append(Want(served.name, n))
        return Ask(wants, free) if wants else None

    def _store_of(self, served: Served) -> int:
        """Return how many jobs of a queue may be claimed ahead; none before its jobs have been measured."""
        if served.limit is not None or served.seconds is None or served.seconds > AHEAD_SLOWEST:
            return 0
        if served.seconds * AHEAD_MAX <= self._lanes.size * AHEAD_SECONDS:
            return AHEAD_MAX
        return int(self._lanes.size * AHEAD_SECONDS / served.seconds)

    def _tell_drained(self, number: int) -> None:
        """Wake the first so many callers that wait until nothing is due or held."""
        told, self._drained = self._drained[:number], self._drained[number:]
        for done in told:
            done.notify()
