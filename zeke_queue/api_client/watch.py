"""The watch of a job by its stream, across lost connections and streams that the server ends."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, cast

import httpx2
from pydantic import ValidationError

from zeke_queue.api_client.errors import AWAY, ServerUnavailableError, refusal, retry_after, unreadable
from zeke_queue.api_client.http import FIRST_PAUSE
from zeke_queue.api_client.model import LogLine, Progress, Run, StatusChange
from zeke_queue.errors import JobNotFoundError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping
    from uuid import UUID

    from zeke_queue.api_client.http import Http
    from zeke_queue.api_client.model import Update

SILENCE_MAX: Final = 60.0
"""Seconds of silence after which a connection counts as lost; a server sends a keep-alive every 15."""

_KINDS: Final[Mapping[str, type[StatusChange | Progress | LogLine]]] = {
    "status": StatusChange,
    "progress": Progress,
    "log": LogLine,
}
_GONE: Final = ("Job not found", "Job run not found")


class Watch:
    """A watch on one job.

    Args:
        patience: seconds without the server after which to give up, once it has been reached.
    """

    def __init__(self, http: Http, run_id: UUID, patience: float) -> None:
        self._http = http
        self._run_id = run_id
        self._patience = patience
        self._last: StatusChange | None = None
        self._last_event_id = ""
        self._first_pause = FIRST_PAUSE
        self._reached = False
        self._closed = False
        self._failures = 0
        self._heard_at = http.clock.monotonic()

    async def updates(self) -> AsyncGenerator[Update]:
        """Yield the job's updates until it has ended.

        Raises:
            ZekeError: see ``JobsClient.watch``.
        """
        while True:
            away: ServerUnavailableError | None = None
            asked: float | None = None
            try:
                async for update in self._connection():
                    yield update
            except httpx2.TransportError as error:
                away = self._http.away(error)
            except _AwayError as error:
                away, asked = error.away, error.retry_after
            if self._closed and (self._last is None or not self._last.ended):
                # The job had ended before the event after which this stream continued.
                end = await self._as_stored()
                if end is not None:
                    yield end
            if self._last is not None and self._last.ended:
                return
            self._closed = False
            await self._pause(away, asked)

    async def _connection(self) -> AsyncGenerator[Update]:
        """Yield the updates of one connection."""
        timeout = httpx2.Timeout(self._http.client.timeout.connect, read=SILENCE_MAX)
        headers = {"last-event-id": self._last_event_id} if self._last_event_id else {}
        path = f"/jobs/stream/{self._run_id}"
        # An event may contain an output, whose size is capped where it is stored.
        async with self._http.client.sse(
            path, headers=headers, timeout=timeout, max_event_size=None
        ) as source:
            response = source.response
            if response.status_code in AWAY:
                await response.aread()
                raise _AwayError(self._http.away(response), retry_after(response))
            if not response.is_success:
                await response.aread()
                raise refusal(response)
            if response.status_code == HTTPStatus.NO_CONTENT and self._last_event_id:
                self._closed = True  # the last event was the end of a stream
                return
            if not response.headers.get("content-type", "").lower().startswith("text/event-stream"):
                raise unreadable(response, "It is not an event stream")
            async for event in source:
                self._heard()
                self._last_event_id = event.id or self._last_event_id
                self._first_pause = self._first_pause if event.retry is None else event.retry / 1000
                if event.event == "close":
                    self._closed = True
                    return
                if event.event == "timeout":
                    return
                if event.event == "error":
                    raise self._stream_error(event)
                update = self._read(event, response)
                if update is not None:
                    yield update

    def _read(self, event: httpx2.ServerSentEvent, response: httpx2.Response) -> Update | None:
        """Return the update in an event; None for an unknown kind, or for one without an update."""
        kind = _KINDS.get(event.event)
        if kind is None:
            return None
        try:
            update = kind.model_validate_json(event.data)
        except ValidationError as error:
            raise unreadable(response, f"event {event.event}: {error.errors()[0]['msg']}") from None
        if not isinstance(update, StatusChange):
            return update
        if update == self._last or update.output_follows:
            return None  # each connection begins with the status, which is new only the first time
        self._last = update
        return update

    def _stream_error(self, event: httpx2.ServerSentEvent) -> Exception:
        """Return the error in an event: the job was purged, or the server can't continue."""
        try:
            body: object = event.json()
        except ValueError:
            body = None
        said: Any = cast("dict[str, Any]", body).get("error") if isinstance(body, dict) else None
        if said in _GONE:
            return JobNotFoundError(str(said))
        return _AwayError(
            ServerUnavailableError(f"The server ended the stream of job {self._run_id}: {said}"), None
        )

    async def _as_stored(self) -> StatusChange | None:
        """Return the stored final state of the job.

        None if it has not ended, or the caller has seen it already.
        """
        run = await self._http.ask(Run, "GET", f"/trigger/runs/{self._run_id}")
        if not run.ended:
            return None
        self._last = StatusChange(
            id=run.id,
            status=run.status,
            task_id=run.task_id,
            output=run.output,
            completed_on=run.completed_on,
        )
        return self._last

    def _heard(self) -> None:
        self._reached = True
        self._failures = 0
        self._heard_at = self._http.clock.monotonic()

    async def _pause(self, away: ServerUnavailableError | None, asked: float | None) -> None:
        """Wait before the next connection."""
        self._failures += 1
        silent = self._http.clock.monotonic() - self._heard_at
        # A server that never answered probably does not exist, so give up on it sooner.
        spent = silent >= self._patience if self._reached else self._failures > self._http.retries
        if spent:
            raise away or ServerUnavailableError(
                f"The server ends each stream of job {self._run_id} at once; a proxy between may be why"
            )
        await self._http.pause(self._failures, first=self._first_pause, asked=asked)


class _AwayError(Exception):
    """A stream that failed to open, or broke, for now."""

    def __init__(self, away: ServerUnavailableError, asked: float | None) -> None:
        super().__init__(str(away))
        self.away = away
        self.retry_after = asked
