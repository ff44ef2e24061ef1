"""The environment of one test: a virtual loop, a storage, and a worker that runs while time advances.

Between the calls of a test, virtual time and the worker are paused, so the test can inspect the jobs that
were sent. There are no delays and no faults: a job starts at the instant at which it is due.
"""

from __future__ import annotations

import asyncio
import math
import random  # noqa: TID251 - saves and restores the global generator's state
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

from zeke_queue.client.parts import parts_of
from zeke_queue.errors import UsageError
from zeke_queue.maintenance.runner import Maintenance
from zeke_queue.maintenance.scheduler import Scheduler
from zeke_queue.system.entropy import SeededEntropy
from zeke_queue.system.settings import Settings
from zeke_queue.system.waiting import Waiter
from zeke_queue.task.catalog import Catalog
from zeke_sim.loop.clock import TICK, VirtualClock
from zeke_sim.loop.event_loop import RunQueue, VirtualLoop
from zeke_sim.loop.run_loop import drive
from zeke_sim.testing.queue import DrivenQueue
from zeke_sim.world import sandbox
from zeke_sim.world.frozen_time import refuse_frozen, showing
from zeke_sim.world.programs import SimWorker
from zeke_sim.world.setup import EPOCH

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine, Generator
    from datetime import datetime

    from zeke_queue.worker import Worker
    from zeke_sim.errors import Outside
    from zeke_sim.testing.backends import Backend

__tracebackhide__ = True  # pytest then shows the test's own lines

T = TypeVar("T")

LEASE: Final = 315_360_000.0
"""Seconds (ten years): the worker's lease never expires, however far a test advances time."""

POLL: Final = 3600.0
"""Seconds between polls of the worker, which is also woken when a job becomes due."""

SWEEP: Final = timedelta(hours=1)
"""Virtual time between maintenance sweeps."""

OTHER_CLOCK: Final = (
    "remove it, mark the test with @pytest.mark.zeke_options(start={start!r}), and move the time of test and "
    "handlers by zeke.advance(…)"
)

SHORTEST: Final = 2.0
"""Minimum idle time, in seconds, that is skipped."""


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a test's environment.

    Attributes:
        start: the virtual start time, aware.
        concurrency: the number of jobs that the worker runs concurrently.
        allow: outside resources that handlers may use: see ``zeke_sim.world.sandbox.closed``. Random numbers
            are allowed, and are the same in each run of the test.
        freeze: whether code that reads the machine's clocks sees virtual time.
    """

    start: datetime = EPOCH
    concurrency: int = 10
    allow: tuple[str, ...] = ("random",)
    freeze: bool = True


class TestEnvironment:
    """The environment of one test.

    Args:
        options: see ``Options``.
        seed: the seed of all random decisions.
        resources: the handlers' ``job.resources``; None for those of the catalog.
    """

    __test__ = False  # for pytest

    def __init__(
        self, catalog: Catalog, backend: Backend, options: Options, *, seed: int = 0, resources: Any = None
    ) -> None:
        self.catalog = catalog if resources is None else with_resources(catalog, resources)
        self.given_resources = resources
        self.options = options
        self.loop = VirtualLoop()
        self.loop.whence = sandbox.whence
        self.clock = VirtualClock(self.loop, options.start)
        self._seed = seed
        self._backend = backend
        self._run_queue = RunQueue("worker")
        self._run_queue.paused = True
        self._resting_clock = VirtualClock(self.loop, options.start)
        self._worker: Worker | None = None
        self._working: asyncio.Task[None] | None = None
        self._up: asyncio.Future[Worker] = self.loop.create_future()
        self._quiet: list[Waiter] = []
        self._due = Waiter()
        self._due_at: float | None = None
        self._swept = options.start
        self._random: tuple[Any, ...] | None = None
        self._queue: DrivenQueue | None = None
        self._stack = ExitStack()
        self._ended = False
        self._reached: list[Outside] = []
        self.loop.jump = self._jump
        self.loop.refused = self._reached.append
        if options.freeze:
            refuse_frozen(OTHER_CLOCK)
            self._stack.enter_context(showing(self.clock))

    def now(self) -> datetime:
        """Return the time in this test.

        Raises:
            UsageError: freezegun or time-machine shows another.
        """
        if self.options.freeze:
            refuse_frozen(OTHER_CLOCK)
        return self.clock.now()

    @property
    def queue(self) -> DrivenQueue:
        """The application's queue, opened on first access."""
        if self._queue is None:
            if self._ended:
                raise UsageError("zeke: the test has ended, and its queue with it")
            storage = self._stack.enter_context(self._backend.open(self.clock, self.catalog))
            entropy = SeededEntropy(self._seed)
            self._queue = DrivenQueue(self, self.catalog, storage, entropy, Settings())
            self._scheduler = Scheduler(parts_of(self._queue))
            self._maintenance = Maintenance(parts_of(self._queue))
            self.drive(parts_of(self._queue).declare())
        return self._queue

    @property
    def dsn(self) -> str | None:
        """The connection string of the database; None in memory."""
        _ = self.queue
        return self._backend.dsn

    def seed_of(self, address: str) -> int:
        """Derive a seed from the test's seed."""
        return SeededEntropy(self._seed).stream(address).getrandbits(48)

    def close(self) -> None:
        """Stop the worker and all coroutines at once, and close the storage."""
        if self._ended:
            return
        self._ended = True
        self.loop.jump = None
        try:
            with self._inside():
                drive(self.loop, _nothing())  # drops calls that the test left unfinished
                self._leave()
        finally:
            self._stack.close()

    def _leave(self) -> None:
        outer = asyncio._get_running_loop()
        asyncio._set_running_loop(None)
        try:
            self.loop.leave()
            self.loop.close()
        finally:
            asyncio._set_running_loop(outer)

    # Running.

    @property
    def is_current(self) -> bool:
        """Whether the virtual loop is running, as in a handler."""
        return asyncio._get_running_loop() is self.loop

    async def answer(self, work: Coroutine[Any, Any, T], *, working: bool = False) -> T:
        """Return the result of a coroutine: awaited on the virtual loop, driven on any other."""
        if self.is_current:
            return await work
        return self.drive_working(work) if working else self.drive(work)

    def drive_working(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine while the worker runs jobs that become due."""
        self._check(work)
        _ = self.queue
        try:
            return self.drive(self._accompanied(work))
        finally:
            self.loop.pause(self._run_queue)

    def advance(self, until: datetime) -> None:
        """Advance time to an instant and run jobs that become due."""
        if until < self.clock.now():
            raise UsageError(
                f"advance: {until.isoformat()} is past; it is {self.clock.now().isoformat()} in this test"
            )
        self.drive_working(self._wait_until((until - self.options.start).total_seconds()))

    def drain(self) -> None:
        """Run jobs until none is due; time advances only while handlers wait."""
        self.drive_working(self._drain())

    def drive(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine while the worker is paused."""
        self._check(work)
        self._reached.clear()
        with self._inside():
            result = drive(self.loop, work)
        self._record_failures()
        if self._reached:
            # A retry, or a handler that catches the error, would hide it from the test, so raise it here.
            raise self._reached[0]
        return result

    def _check(self, work: Coroutine[Any, Any, Any]) -> None:
        """Check that a coroutine can run now."""
        try:
            self._refuse_misuse()
        except UsageError:
            work.close()
            raise

    def _refuse_misuse(self) -> None:
        if self._ended:
            raise UsageError("zeke: the test has ended, so its queue is closed")
        if self.is_current:
            raise UsageError(
                "zeke: it is the test's, and was called within a handler; there, send by the job"
            )
        self.now()

    @contextmanager
    def _inside(self) -> Generator[None]:
        """Refuse access to the outside, and use the test's own random state."""
        before = random.getstate()
        try:
            with sandbox.closed(self.seed_of, self.options.allow, self._reached.append):
                if self._random is not None:
                    random.setstate(self._random)
                try:
                    yield
                finally:
                    self._random = random.getstate()
        finally:
            random.setstate(before)

    def _record_failures(self) -> None:
        working = self._working
        if working is not None and working.done() and not working.cancelled():
            self._working = self._worker = None
            self._up = self.loop.create_future()
            working.result()

    async def _accompanied(self, work: Coroutine[Any, Any, T]) -> T:
        """Start a coroutine, then resume the worker and run jobs that become due until the coroutine ends."""
        main = self.loop.create_task(work)
        await self._instant()
        self.loop.resume(self._run_queue)
        await self._start()
        due_work = self.loop.create_task(self._keep_up())
        try:
            parts = [main, due_work, *([] if self._working is None else [self._working])]
            await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            if due_work.done():
                due_work.result()
            if not main.done():
                self._record_failures()
            return await main
        finally:
            due_work.cancel()
            main.cancel()

    async def _start(self) -> None:
        """Start the worker unless it is running."""
        if self._working is not None:
            return
        context = self.loop.context(self._run_queue)
        self._worker = context.run(
            lambda: SimWorker(
                self.queue,
                concurrency=self.options.concurrency,
                poll_interval=POLL,
                lease=LEASE,
                clock=self.clock,
                resting_clock=self._resting_clock,
            )
        )
        self._working = self.loop.create_task(self._worker.run(), context=context)
        while self._worker.id is None and not self._working.done():
            await self._instant()
        self._up.set_result(self._worker)

    async def _keep_up(self) -> None:
        """Run due work each time some becomes due, until cancelled."""
        while True:
            await self._settle()
            self._due.clear()
            self._due_at = math.inf
            try:
                await self._due.wait()
            finally:
                self._due_at = None

    async def _wait_until(self, when: float) -> None:
        await self.clock.sleep(when - self.loop.time())
        await self._settle()

    async def _drain(self) -> None:
        worker = await self._up
        passed = True
        while passed:
            began = self.loop.time()
            await self._settle()
            await worker.drain()
            passed = self.loop.time() > began

    async def _settle(self) -> None:
        """Run the scheduler, maintenance and ready callbacks that are due at this instant."""
        now = self.clock.now()
        self._backend.notify()
        while await self._scheduler.tick() and self._scheduler.behind:
            pass
        if now - self._swept >= SWEEP:
            self._swept = now
            await self._maintenance.sweep()
        await self._instant()

    async def _instant(self) -> None:
        """Wait until no callback is ready at this instant."""
        quiet = Waiter()
        self._quiet.append(quiet)
        await quiet.wait()

    # Called by the loop when no callback is ready.

    def _jump(self) -> None:
        loop = self.loop
        now = loop.time()
        if self._quiet:
            quiet, self._quiet = self._quiet, []
            for one in quiet:
                loop.call_at(now, one.notify)
            return
        if self._due_at is not None and (due := self._next()) < self._due_at:
            self._due_at = max(due, now + TICK)
            loop.call_at(self._due_at, self._due.notify)
        if self._idle():
            soonest = loop.soonest()
            upcoming = min((when for one, when in soonest.items() if one is not self._run_queue), default=now)
            if upcoming - now >= SHORTEST:
                loop.shift({self._run_queue}, upcoming - now)
                self._resting_clock.suspended += upcoming - now

    def _next(self) -> float:
        """Return the loop time at which a job or a tick next becomes due; infinity if none does."""
        due = self._backend.next_due()
        return math.inf if due is None else (due - self.options.start).total_seconds()

    def _idle(self) -> bool:
        """Return whether the worker holds no job, so that it only sends heartbeats."""
        running = None if self._worker is None else self._worker._lifecycle  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        return running is not None and not running.shared.state.jobs


def with_resources(catalog: Catalog, resources: Any) -> Catalog:
    """Return a copy of a catalog whose handlers get these resources."""

    @asynccontextmanager
    async def give() -> AsyncGenerator[Any]:
        yield resources

    copied = Catalog(
        defaults=catalog.defaults, payload_cap=catalog.payload_cap, output_cap=catalog.output_cap
    )
    copied.include(catalog)
    copied.resources = give
    return copied


async def _nothing() -> None:
    """Do nothing."""
