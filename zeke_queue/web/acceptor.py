"""Accepts connections up to a limit that leaves files to the rest of the process.

The worker, the database connections and the log need files too. At the limit, the connection that has waited
longest for a whole request, or for its client to read, is closed for a new one, so that clients that do
neither do not exclude others; a part of a request gets 503 first. If all are busy, new connections wait, one
accepted and the others in the listen backlog, until one ends.
"""

from __future__ import annotations

import asyncio
import errno
from collections import Counter
from typing import TYPE_CHECKING, Final

from zeke_queue.system.logging import get_logger

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from zeke_queue.system.clock import Clock
    from zeke_queue.web.http_connection import HttpConnection

ACCEPT_PAUSE: Final = 1.0
"""Seconds without accepting after the system had no file or memory for a connection."""

LOG_INTERVAL: Final = 60.0
"""Minimum seconds between two log lines about the same condition, each with its number since the last one."""

FILES_SHARE: Final = 0.5
"""Share of the process's open files (``ulimit -n``) that connections may use."""


class Acceptor:
    """Accepts the connections of a listening socket.

    Args:
        limit: connections at most.
        clock: the clock of pauses.
    """

    def __init__(self, listening: socket.socket, limit: int, clock: Clock) -> None:
        self.limit = limit
        self._listening = listening
        self._clock = clock
        self._open: set[HttpConnection] = set()
        # In the order in which they began to wait.
        self._waiting: dict[HttpConnection, None] = {}
        self._changed = asyncio.Event()
        self._logged: dict[str, float] = {}
        self._counts: Counter[str] = Counter()

    def on_change(self, connection: HttpConnection) -> None:
        """Note the phase or the end of a connection."""
        self._waiting.pop(connection, None)
        if not connection.is_open:
            self._open.discard(connection)
        else:
            self._open.add(connection)
            if connection.is_evictable:
                self._waiting[connection] = None
        self._changed.set()

    def on_late(self, what: str) -> None:
        """Count a client that is disconnected because it took too long for a header, a body or reading."""
        self._log("clients_too_slow", latest=what)

    async def run(self, make: Callable[[], HttpConnection]) -> None:
        """Accept connections until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, _ = await loop.sock_accept(self._listening)
            except OSError as error:
                if error.errno != errno.ECONNABORTED:  # the client has disconnected already
                    self._log("connections_not_accepted", error=error.strerror, pause=ACCEPT_PAUSE)
                    await self._clock.sleep(ACCEPT_PAUSE)
                continue
            # Now, since before it no other connection had to make room.
            try:
                await self._has_room()
                await loop.connect_accepted_socket(make, accepted)
            except OSError:
                accepted.close()
            except asyncio.CancelledError:
                accepted.close()
                raise

    async def _has_room(self) -> None:
        """Wait until there may be one more connection, closing one whose client neither sends nor reads."""
        is_counted = False
        while len(self._open) >= self.limit:
            self._changed.clear()
            if self._waiting:
                next(iter(self._waiting)).abort()
            if not is_counted:
                is_counted = True
                hint = "raise API_CONNECTIONS_MAX and ulimit -n"
                self._log("connections_at_limit", limit=self.limit, hint=hint)
            await self._changed.wait()

    def _log(self, event: str, **fields: object) -> None:
        now = self._clock.monotonic()
        self._counts[event] += 1
        if now - self._logged.get(event, -LOG_INTERVAL) >= LOG_INTERVAL:
            self._logged[event] = now
            get_logger().warning(event, times=self._counts.pop(event), **fields)


def connection_limit(most: int) -> int:
    """Return the maximum number of connections: ``most``, or fewer if the process may open few files."""
    try:
        import resource  # noqa: PLC0415 - not every system has it
    except ImportError:
        return most
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return most if files == resource.RLIM_INFINITY else max(1, min(most, int(files * FILES_SHARE)))
