"""Handlers in threads that exceed their time: they cannot be ended, but it must be logged."""

from __future__ import annotations

import threading

from tests.runtime.workers.handler import logged
from tests.runtime.workers.place import Place, turns, until
from zeke_queue.model import RowState
from zeke_queue.worker.state import RECANCEL_INTERVAL


async def test_thread_past_its_deadline_is_logged(place: Place) -> None:
    """It occupies its slot, and a worker whose slots are all occupied would otherwise seem idle."""
    go = threading.Event()

    @place.catalog.task("endless", expire_in=60, retry_limit=0)
    def endless() -> None:
        go.wait()

    with logged() as lines:
        async with place.working(lease=1000, heartbeat_interval=RECANCEL_INTERVAL):
            job_id = await place.send(endless)
            await until(lambda: place.active("endless"))
            await turns()
            place.clock.advance(60)
            await turns()
            assert "cancellation_ignored" not in lines.messages
            place.clock.advance(RECANCEL_INTERVAL)
            await until(lambda: "cancellation_ignored" in lines.messages)
            go.set()
            await until(lambda: place.state(job_id) is RowState.EXPIRED)
