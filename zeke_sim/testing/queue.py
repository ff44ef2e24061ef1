"""An application's queue in virtual time, which code on any loop can use."""

from __future__ import annotations

import inspect
from contextlib import asynccontextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, cast

from zeke_queue.client import open_transactions
from zeke_queue.client.parts import parts_of
from zeke_queue.client.queue import Queue
from zeke_queue.task.senders import Sender

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine
    from uuid import UUID

    from zeke_queue.client.schedules import Schedules
    from zeke_queue.model import Job, JobEvent
    from zeke_queue.storage import Storage
    from zeke_queue.system.entropy import Entropy
    from zeke_queue.system.settings import Settings
    from zeke_queue.task.catalog import Catalog
    from zeke_queue.task.run import RunSource
    from zeke_sim.testing.environment import TestEnvironment

__tracebackhide__ = True  # pytest then shows the test's own lines

NO_CONNECTION: Final = (
    "zeke: in memory a transaction has no connection; mark the test with "
    "@pytest.mark.zeke_backend('postgres')"
)


class DrivenQueue(Queue):
    """A ``zeke_queue.Queue`` for a test and the code it calls.

    On the virtual loop, where handlers run, it behaves as an ordinary queue. On any other loop, each call
    runs the virtual loop until it is answered; waiting for a job there (``result``, ``watch``) advances time.
    """

    def __init__(
        self,
        environment: TestEnvironment,
        catalog: Catalog[Any],
        storage: Storage,
        entropy: Entropy,
        settings: Settings,
    ) -> None:
        self._environment = environment
        super().__init__(catalog, storage, clock=environment.clock, entropy=entropy, settings=settings)
        self.schedules = cast("Schedules", Driven(self.schedules, environment))

    @asynccontextmanager
    async def transaction(self, *args: Any, **options: Any) -> AsyncGenerator[Any]:
        """Open a transaction; see ``Queue.transaction``."""
        block = super().transaction(*args, **options)
        try:
            async with self._transaction(block, *args, **options) as transaction:
                yield transaction
        except AttributeError as error:
            if error.obj is None and self._environment.dsn is None:
                error.add_note(NO_CONNECTION)
            raise

    @asynccontextmanager
    async def _transaction(self, block: Any, *args: Any, **options: Any) -> AsyncGenerator[Any]:
        if self._environment.is_current or any(one is not None for one in (*args, options.get("connection"))):
            async with block as transaction:
                yield transaction
            return
        opened = self._environment.drive(block.__aenter__())
        try:
            with open_transactions.inside(parts_of(self).storage):
                yield Driven(opened, self._environment)
        except BaseException as error:
            if not self._environment.drive(block.__aexit__(type(error), error, error.__traceback__)):
                raise
        else:
            self._environment.drive(block.__aexit__(None, None, None))

    def _run_source(self) -> RunSource:
        return DrivenRuns(super()._run_source(), self._environment)


class DrivenRuns:
    """The source of runs of a ``DrivenQueue``: waiting for a job advances time."""

    def __init__(self, plain: RunSource, environment: TestEnvironment) -> None:
        self._plain = plain
        self._environment = environment

    async def get(self, job_id: UUID) -> Job | None:
        """Return a job; see ``RunSource``."""
        return await self._environment.answer(self._plain.get(job_id))

    async def ended(self, job_id: UUID, timeout: float | None) -> Job | None:
        """Return a job once it has ended; see ``RunSource``."""
        return await self._environment.answer(self._plain.ended(job_id, timeout), working=True)

    async def cancel(self, job_id: UUID) -> bool:
        """Cancel a job; see ``RunSource``."""
        return await self._environment.answer(self._plain.cancel(job_id))

    async def watch(self, job_id: UUID) -> AsyncGenerator[Job | JobEvent]:
        """Yield the job at each change of its status; see ``RunSource``."""
        changes = self._plain.watch(job_id)
        try:
            while (news := await self._environment.answer(_next(changes), working=True)) is not None:
                yield news
        finally:
            await self._environment.answer(_close(changes))


async def _next(changes: AsyncGenerator[Job | JobEvent]) -> Job | JobEvent | None:
    return await anext(changes, None)


async def _close(changes: AsyncGenerator[Job | JobEvent]) -> None:
    await changes.aclose()


def _driven(plain: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
    @wraps(plain)
    async def driven(self: DrivenQueue, *args: Any, **options: Any) -> Any:
        environment = self._environment  # pyright: ignore[reportPrivateUsage]
        return await environment.answer(plain(self, *args, **options))

    return driven


for _name, _member in [*vars(Sender).items(), *vars(Queue).items()]:
    if inspect.iscoroutinefunction(_member) and not _name.startswith("_"):
        setattr(DrivenQueue, _name, _driven(_member))


class Driven:
    """A proxy for an object of the virtual loop, whose coroutines any loop can await."""

    def __init__(self, target: Any, environment: TestEnvironment) -> None:
        self._target = target
        self._environment = environment

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._target, name)
        if not inspect.iscoroutinefunction(attribute):
            return attribute

        @wraps(attribute)
        async def driven(*args: Any, **options: Any) -> Any:
            return await self._environment.answer(attribute(*args, **options))

        return driven
