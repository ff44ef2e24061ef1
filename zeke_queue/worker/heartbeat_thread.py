"""Heartbeats from a thread with an event loop and a connection of its own.

So a handler that blocks the worker's loop, or a pool that others have used up, does not end the lease. Code
that holds the interpreter's lock for as long still does.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from zeke_queue.system.loop_thread import LoopThread
from zeke_queue.worker.heartbeat_sender import HeartbeatSender
from zeke_queue.worker.loops import Part

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping
    from uuid import UUID

    from zeke_queue.errors import StorageError
    from zeke_queue.storage.workers import HeartbeatStore
    from zeke_queue.system.entropy import Entropy
    from zeke_queue.worker.loops import Shared
    from zeke_queue.worker.unknown_jobs import Sent


class HeartbeatThread(Part):
    """Sends heartbeats and renews the lease from a thread, and passes answers on to the worker's loop.

    While that loop is blocked, only the latest answer and the latest error are kept for it.

    Args:
        connection: sends the heartbeats; closed at the end.
        renew: called in the thread with the time when an answered heartbeat was sent.
        answered: called on the worker's loop with an answer, and with what had happened before it was sent.
        failed: called on the worker's loop with the error of a heartbeat.
    """

    def __init__(
        self,
        shared: Shared,
        connection: HeartbeatStore,
        renew: Callable[[float], None],
        answered: Callable[[Mapping[UUID, int], Sent], None],
        failed: Callable[[StorageError], None],
    ) -> None:
        super().__init__(shared)
        self._connection = connection
        self._renew = renew
        self._answered = answered
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._posting = threading.Lock()
        self._posted: dict[str, Callable[[], None]] = {}

    async def run(self, interval: float, entropy: Entropy) -> None:
        """Send heartbeats until cancelled; the caller has sent the first one."""
        sender = HeartbeatSender(self._send, self._post_error, interval, self._clock, entropy)
        thread = LoopThread("zeke-heartbeat", self._open())
        try:
            await asyncio.wrap_future(thread.start(sender.run()))
        finally:
            await asyncio.to_thread(thread.close)

    @asynccontextmanager
    async def _open(self) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            await self._connection.close()

    async def _send(self) -> None:
        sent_at, sent = self._clock.monotonic(), self._state.sent()
        answer = await self._connection.heartbeat(self._info)
        self._renew(sent_at)
        self._post("answer", lambda: self._answered(answer, sent))

    def _post_error(self, error: StorageError) -> None:
        self._post("error", lambda: self._failed(error))

    def _post(self, kind: str, report: Callable[[], None]) -> None:
        """Queue a report for the worker's loop, in place of an earlier one of its kind."""
        with self._posting:
            pending = bool(self._posted)
            self._posted.pop(kind, None)
            self._posted[kind] = report
        if not pending:
            with suppress(RuntimeError):  # the worker's loop is closed
                self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        with self._posting:
            posted, self._posted = self._posted, {}
        for report in posted.values():
            report()
