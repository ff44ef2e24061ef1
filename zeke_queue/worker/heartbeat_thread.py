"""Heartbeats from a thread with an event loop and a connection of its own.

A handler that blocks the worker's loop, or a used-up pool, does not end the lease. Code that holds the
interpreter's lock for that long does. If the loop stays blocked for ``BLOCKED_LEASES``, heartbeats stop on
purpose: it may never run again, and other workers can run the jobs that have not begun.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

from zeke_queue.system import logging as log
from zeke_queue.system.loop_thread import LoopThread
from zeke_queue.system.waiting import Waiter, end
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

BLOCKED_LEASES: Final = 4
"""Leases (each as long as a heartbeat is valid) for which heartbeats continue while the loop is blocked."""

CLOSE_SECONDS: Final = 2.0
"""Maximum seconds that a stopping worker waits for the thread to end."""


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
        self._posted_at = 0.0
        self._stopped = False

    async def run(self, interval: float, entropy: Entropy) -> None:
        """Send heartbeats until cancelled; the caller has sent the first one."""
        sender = HeartbeatSender(self._send, self._post_error, interval, self._clock, entropy)
        thread = LoopThread("zeke-heartbeat", self._sending(sender))
        try:
            await asyncio.wrap_future(thread.start(_result(thread.value)))
        finally:
            # No other thread waits for this one, since handlers may have used up the loop's executor.
            ended = Waiter()
            thread.stop().add_done_callback(lambda _: self._call(ended.notify))
            await ended.wait_for(CLOSE_SECONDS, self._clock)

    @asynccontextmanager
    async def _sending(self, sender: HeartbeatSender) -> AsyncGenerator[asyncio.Task[None]]:
        sending = asyncio.ensure_future(sender.run())
        try:
            yield sending
        finally:
            # The driver takes a second cancellation of a statement for a broken connection.
            await end(sending)
            await self._connection.close()

    async def _send(self) -> bool:
        """Send one heartbeat; return False at once if the worker's loop is blocked for too long."""
        sent = self._state.sent(self._clock.monotonic())
        if self._is_loop_blocked(sent.at):
            return False
        answer = await self._connection.heartbeat(self._info)
        self._renew(sent.at)
        self._post("answer", lambda: self._answered(answer, sent))
        return True

    def _is_loop_blocked(self, now: float) -> bool:
        """Return whether the worker's loop has taken no report for too long, and log it once."""
        with self._posting:
            blocked = now - self._posted_at if self._posted else 0.0
        stopped, self._stopped = self._stopped, blocked > BLOCKED_LEASES * self._info.lease
        if self._stopped and not stopped:
            log.get_logger().error(
                "heartbeats_stopped",
                reason="the event loop is blocked",
                seconds=round(blocked, 1),
                hint="other workers will run this worker's jobs; loop_blocked names the handler",
            )
        return self._stopped

    def _post_error(self, error: StorageError) -> None:
        self._post("error", lambda: self._failed(error))

    def _post(self, kind: str, report: Callable[[], None]) -> None:
        """Queue a report for the worker's loop, in place of an earlier one of its kind."""
        with self._posting:
            pending = bool(self._posted)
            self._posted.pop(kind, None)
            self._posted[kind] = report
            if not pending:
                self._posted_at = self._clock.monotonic()
        if not pending:
            self._call(self._deliver)

    def _call(self, function: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the worker's loop is closed
            self._loop.call_soon_threadsafe(function)

    def _deliver(self) -> None:
        with self._posting:
            posted, self._posted = self._posted, {}
        for report in posted.values():
            report()


async def _result(sending: asyncio.Task[None]) -> None:
    """Wait for the end of a task, without cancelling it, and raise its error."""
    await asyncio.wait([sending])
    sending.result()
