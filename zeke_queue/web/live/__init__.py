"""Live status: streams of server-sent events."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from starlette.responses import StreamingResponse

from zeke_queue.errors import JobNotFound
from zeke_queue.model import FINAL

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from uuid import UUID

    from starlette.responses import Response

    from zeke_queue.queue import Queue
    from zeke_queue.web.showing import Showing


class Live:
    """Streams of changes."""

    def __init__(
        self, queue: Queue, *, showing: Showing, timeout: float, keep_alive: float, most: int
    ) -> None:
        self._queue = queue
        self._showing = showing
        self.open_streams = 0
        del timeout, keep_alive, most

    async def open(self, job_id: UUID, last_event_id: str | None) -> Response:
        """Open a stream.

        Raises:
            JobNotFound: there is no such job.
        """
        del last_event_id
        if await self._queue.get(job_id) is None:
            raise JobNotFound("Job not found")
        return StreamingResponse(self._events(job_id), media_type="text/event-stream")

    async def _events(self, job_id: UUID) -> AsyncGenerator[str]:
        async for job in self._queue.watch(job_id):
            run = self._showing.run(job).model_dump(mode="json", by_alias=True)
            names = ["id", "status", "taskId", *(["output", "completedOn"] if job.state in FINAL else [])]
            shown: dict[str, Any] = {name: run[name] for name in names}
            yield f"event: status\ndata: {json.dumps(shown)}\n\n"
        yield "event: close\ndata: complete\n\n"

    async def close(self) -> None:
        """End all streams."""
