"""The page of workers: their state, and the jobs that each holds."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from zeke_queue.model import CARRIED, JobQuery, JobStatus
from zeke_queue.web.dashboard.page import View
from zeke_queue.web.inspect import all_workers

if TYPE_CHECKING:
    from uuid import UUID

    from starlette.responses import Response

    from zeke_queue.model import Job
    from zeke_queue.web.dashboard.page_request import PageRequest

HELD_AT_MOST: Final = 1000
"""Maximum number of running jobs that are read."""

SHOWN: Final = 8
"""Maximum number of listed jobs per worker; the rest is shown as a count."""


async def workers(request: PageRequest) -> Response:
    """Show all workers."""
    storage = request.parts.storage
    held: defaultdict[UUID | None, list[Job]] = defaultdict(list)
    executing = JobQuery(status=(JobStatus.EXECUTING,), without=CARRIED, limit=HELD_AT_MOST)
    for job in (await request.parts.find(executing)).jobs:
        held[job.worker].append(job)
    known = await all_workers(request.parts)
    ids = {worker.id for worker in known}
    return request.page(
        "workers.html",
        now=await storage.now(),
        workers=sorted(known, key=lambda worker: not worker.alive),
        held=held,
        shown=SHOWN,
        orphans=[job for holder, jobs in held.items() if holder not in ids for job in jobs],
    )


VIEWS: Final = (View("/workers", workers),)
