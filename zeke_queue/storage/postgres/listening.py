"""Notifications of work and changed jobs: one listening connection per storage.

A notification carries a queue's name or a job's id, and wakes the waiters registered for it. It may be lost
with its connection, so waiters poll as well. After a lost connection is restored all waiters are woken, since
notifications sent meanwhile are unknown.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import psycopg
from psycopg import AsyncConnection, sql

from zeke_queue.storage.postgres.verbs import job_channel, work_channel
from zeke_queue.system.logging import get_logger

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable
    from uuid import UUID

    from zeke_queue.storage.told import Told
    from zeke_queue.system.clock import Clock

_RECONNECT_SECONDS: Final = (0.1, 0.5, 2.0, 5.0)
_READY_SECONDS: Final = 2.0


class Bell:
    """Wakes one waiter, once for any number of notifications since its last wait."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Wake the waiter, now or at its next wait."""
        self._rung.set()

    async def wait(self, timeout: float) -> bool:
        """Return True once notified since the last call, False after ``timeout`` seconds."""
        if not self._rung.is_set():
            try:
                async with asyncio.timeout(max(0.0, timeout)):
                    await self._rung.wait()
            except TimeoutError:
                return False
        self._rung.clear()
        return True


class Listener:
    """The waiters of a storage, and the connection that notifies them.

    Args:
        conninfo: where to connect; the connection is opened on first use.
        schema: the schema whose channels to listen on.
        clock: times attempts to reconnect.
        enabled: if False, there are no notifications, and waits end by timeout only.

    Attributes:
        enabled: whether it listens.
    """

    def __init__(self, conninfo: str, schema: str, clock: Clock, *, enabled: bool) -> None:
        self._conninfo = conninfo
        self._channels = {work_channel(schema): self._ring_queue, job_channel(schema): self._ring_job}
        self._clock = clock
        self.enabled = enabled
        self._bells: defaultdict[str, set[Bell]] = defaultdict(set)
        self._watched: dict[str, dict[Told, UUID]] = {}
        self._task: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()

    @contextmanager
    def bell(self, queues: Iterable[str]) -> Generator[Bell]:
        """Register a waiter that is notified when one of these queues is named."""
        self.start()
        bell, places = Bell(), list(queues)
        for place in places:
            self._bells[place].add(bell)
        try:
            yield bell
        finally:
            for place in places:
                self._bells[place].discard(bell)
                if not self._bells[place]:
                    del self._bells[place]

    def hang(self, told: Told, ids: Iterable[UUID]) -> None:
        """Register a watch for jobs."""
        for job_id in ids:
            self._watched.setdefault(str(job_id), {})[told] = job_id

    def take_down(self, told: Told, ids: Iterable[UUID]) -> None:
        """Unregister a watch from jobs."""
        for name in map(str, ids):
            watches = self._watched.get(name, {})
            watches.pop(told, None)
            if not watches:
                self._watched.pop(name, None)

    def start(self) -> None:
        """Start listening, unless that has happened."""
        if self.enabled and self._task is None:
            self._task = asyncio.ensure_future(self._listen())

    async def ready(self) -> bool:
        """Wait a moment until the connection listens; return False if it does not, so nothing is received."""
        self.start()
        if not self.enabled:
            return False
        try:
            async with asyncio.timeout(_READY_SECONDS):
                await self._ready.wait()
        except TimeoutError:
            return False
        return True

    async def stop(self) -> None:
        """Stop listening."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _listen(self) -> None:
        failures, lost = 0, False
        while True:
            try:
                async with await AsyncConnection.connect(self._conninfo, autocommit=True) as connection:
                    for channel in self._channels:
                        await connection.execute(sql.SQL("listen {}").format(sql.Identifier(channel)))
                    failures = 0
                    self._ready.set()
                    if lost:
                        self._ring_all()
                    async for notification in connection.notifies():
                        self._channels[notification.channel](notification.payload)
            except (psycopg.Error, OSError) as error:
                self._ready.clear()
                lost = True
                if failures == 0:
                    get_logger().warning("listening_lost", reason=str(error).strip(), consequence="polling")
                await self._clock.sleep(_RECONNECT_SECONDS[min(failures, len(_RECONNECT_SECONDS) - 1)])
                failures += 1

    def _ring_queue(self, name: str) -> None:
        for bell in self._bells.get(name, ()):
            bell.ring()

    def _ring_job(self, name: str) -> None:
        for told, job_id in self._watched.get(name, {}).items():
            told.ring(job_id)

    def _ring_all(self) -> None:
        for bells in self._bells.values():
            for bell in bells:
                bell.ring()
        for name in self._watched:
            self._ring_job(name)
