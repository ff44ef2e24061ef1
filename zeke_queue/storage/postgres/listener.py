"""Notifications of work and changed jobs: one listening connection per storage.

A notification carries a queue's name or a job's id, and wakes the waiters registered for it. It may be lost
with its connection, so waiters poll as well. After a lost connection is restored all waiters are woken, since
notifications sent meanwhile are unknown. Behind a pooler that gives each transaction another connection
nothing can be received, so then it does not listen, and says so once.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final
from uuid import UUID

import psycopg
from psycopg import AsyncConnection, sql

from zeke_queue.storage.notifier import Notifier
from zeke_queue.storage.postgres.pooler import is_shared
from zeke_queue.storage.postgres.verbs import job_channel, work_channel
from zeke_queue.system.logging import get_logger
from zeke_queue.system.waiting import start_detached

if TYPE_CHECKING:
    from collections.abc import Iterable

    from zeke_queue.system.clock import Clock

_RECONNECT_SECONDS: Final = (0.1, 0.5, 1.0)
_READY_SECONDS: Final = 2.0


class Listener:
    """The waiters of a storage, and the connection that notifies them.

    Args:
        conninfo: where to connect; the connection is opened on first use.
        schema: the schema whose channels to listen on.
        clock: times waits and attempts to reconnect.
        enabled: if False, there are no notifications, and waits end by timeout only.

    Attributes:
        enabled: whether it listens; set to False if it finds that it cannot.
    """

    def __init__(self, conninfo: str, schema: str, clock: Clock, *, enabled: bool) -> None:
        self._conninfo = conninfo
        self.notifier = Notifier(clock)
        self._channels = {work_channel(schema): self.notifier.queue, job_channel(schema): self._notify_job}
        self._clock = clock
        self.enabled = enabled
        self._task: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()

    async def wait(self, queues: Iterable[str], timeout: float) -> bool:
        """Return True once one of these queues is named, False after ``timeout`` seconds."""
        self.start()
        return await self.notifier.sleep(queues, timeout)

    def start(self) -> None:
        """Start listening, unless that has happened."""
        if self.enabled and self._task is None:
            self._task = start_detached(self._listen())

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
        return self.enabled

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
                    if await is_shared(connection, self._conninfo, in_doubt=False):
                        self._stop_listening()
                        return
                    for channel in self._channels:
                        await connection.execute(sql.SQL("listen {}").format(sql.Identifier(channel)))
                    failures = 0
                    self._ready.set()
                    if lost:
                        self.notifier.all_queues()
                        self.notifier.all_jobs()
                    async for notification in connection.notifies():
                        self._channels[notification.channel](notification.payload)
            except (psycopg.Error, OSError) as error:
                self._ready.clear()
                lost = True
                if failures == 0:
                    reason = str(error).strip() or type(error).__name__
                    get_logger().warning("listening_lost", reason=reason, consequence="polling")
                await self._clock.sleep(_RECONNECT_SECONDS[min(failures, len(_RECONNECT_SECONDS) - 1)])
                failures += 1

    def _stop_listening(self) -> None:
        self.enabled = False
        self._ready.set()
        get_logger().warning(
            "listening_impossible",
            reason="a pooler gives each transaction another connection",
            consequence="jobs and changes of other processes are found by polling",
            hint="set JOBS_LISTEN=false, or connect to Postgres directly",
        )

    def _notify_job(self, name: str) -> None:
        with suppress(ValueError):  # sent by another program
            self.notifier.job(UUID(name))
