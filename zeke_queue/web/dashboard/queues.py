"""The page of queues: their jobs, their lag, and pausing them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from zeke_queue.storage.access import Scope
from zeke_queue.web.admin import set_queue_paused
from zeke_queue.web.dashboard.page import View
from zeke_queue.web.inspect import all_workers, known_queues, waiting

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.responses import Response

    from zeke_queue.api_client.model import QueueInfo, WorkerInfo
    from zeke_queue.web.dashboard.page_request import PageRequest


async def queues(request: PageRequest) -> Response:
    """Show all queues."""
    catalog = request.parts.queue.catalog
    known = await known_queues(request.parts)
    return request.page(
        "queues.html",
        queues=known,
        unserved=unserved(known, await all_workers(request.parts)),
        described={name: task.description for name, task in catalog.served.items()},
    )


def served_by(workers: Iterable[WorkerInfo]) -> set[str]:
    """Return the names of the queues that a live worker serves."""
    return {name for worker in workers if worker.alive for name in worker.queues}


def unserved(queues: Iterable[QueueInfo], workers: Iterable[WorkerInfo]) -> list[str]:
    """Return the names of the queues with waiting jobs that no live worker serves."""
    served = served_by(workers)
    return [queue.name for queue in queues if waiting(queue) and queue.name not in served]


async def pause(request: PageRequest) -> Response:
    """Pause or resume a queue."""
    name, paused = request.field("name"), request.field("do") == "pause"
    await set_queue_paused(request.parts, name, paused=paused)
    told = "is paused: waiting jobs are not started, running jobs continue" if paused else "is resumed"
    return request.go(request.url("queues"), f"{name} {told}")


VIEWS: Final = (View("/queues", queues), View("/queues", pause, changes=True, scope=Scope.ADMIN))
