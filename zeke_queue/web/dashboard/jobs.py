"""The page of jobs: search, and actions on many jobs at once."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Final
from uuid import UUID

from zeke_queue.client.parts import parts_of
from zeke_queue.errors import JobNotFoundError
from zeke_queue.model import CARRIED, JobQuery, JobStatus
from zeke_queue.storage.access import Scope
from zeke_queue.web.dashboard import job as single
from zeke_queue.web.dashboard import listing
from zeke_queue.web.dashboard.job import DEEDS
from zeke_queue.web.dashboard.page import View
from zeke_queue.web.errors import ApiError
from zeke_queue.web.inspect import page_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.responses import Response

    from zeke_queue.model import Job
    from zeke_queue.web.dashboard.listing import Asked
    from zeke_queue.web.dashboard.page_request import Desk

MOST_AT_ONCE: Final = 1000
"""Maximum number of jobs that one action changes."""


async def jobs(desk: Desk) -> Response:
    """Show a page of jobs."""
    asked = listing.read(desk.asked, desk.request.query_params.getlist)
    return await _page(desk, asked)


async def _page(desk: Desk, asked: Asked, *, status: int = 200, wrong: str | None = None) -> Response:
    try:
        found, last = await page_of(desk.parts, asked.job_query())
    except JobNotFoundError:
        raise listing.no_such_page() from None
    names = {*desk.parts.queue.catalog.tasks, *(one.name for one in await desk.parts.queue.stats())}
    if asked.task:
        names.add(asked.task)
    return desk.page(
        "jobs.html",
        status=status,
        wrong=wrong,
        asked=asked,
        jobs=[(job, desk.parts.showing.data(job), desk.parts.showing.output(job)) for job in found],
        next_cursor=None if last is None else asked.cursor_after(last),
        tasks=sorted(names),
        statuses=list(JobStatus),
        columns=listing.COLUMNS,
        sizes=listing.SIZES,
        most=MOST_AT_ONCE,
        now=await parts_of(desk.parts.queue).storage.now(),
    )


async def confirm(desk: Desk) -> Response:
    """Ask for confirmation of an action on these jobs."""
    asked = listing.read(desk.field, desk.fields)
    deed = _deed(desk)
    every = desk.field("every") == "1"
    found = await _chosen(desk, asked, every=every)
    if not found:
        return await _page(
            desk, asked, status=422, wrong="Select jobs first: tick them, or select all that match"
        )
    return desk.page(
        "confirm.html",
        asked=asked,
        deed=deed,
        done=DEEDS[deed],
        every=every,
        jobs=found,
        fitting=sum(single.fits(job, deed) for job in found),
        most=MOST_AT_ONCE,
    )


async def change(desk: Desk) -> Response:
    """Cancel, retry or resume the selected jobs, and report the result."""
    asked = listing.read(desk.field, desk.fields)
    deed = _deed(desk)
    found = await _chosen(desk, asked, every=False)
    ids = [job.id for job in found]
    storage = parts_of(desk.parts.queue).storage
    verb = {"cancel": storage.cancel, "retry": storage.retry, "resume": storage.resume}[deed]
    changed = await verb(ids) if ids else set[UUID]()
    left = [job_id for job_id in ids if job_id not in changed]
    after = await _stored(desk, left)
    note = _told(
        deed, len(ids) - len(left), len(changed - set(ids)), [_why(deed, after.get(i)) for i in left]
    )
    return desk.go(desk.url("jobs", **asked.query()), note, kind="done" if changed or not ids else "wrong")


VIEWS: Final = (
    View("/jobs", jobs),
    View("/jobs/confirm", confirm, changes=True, scope=Scope.ADMIN),
    View("/jobs/change", change, changes=True, scope=Scope.ADMIN),
    *single.VIEWS,
)


def _deed(desk: Desk) -> str:
    deed = desk.field("deed")
    if deed not in DEEDS:
        raise ApiError(422, "deed: must be cancel, retry or resume")
    return deed


async def _chosen(desk: Desk, asked: Asked, *, every: bool) -> list[Job]:
    """Return the selected jobs, or all that match, newest first, without payloads and outputs."""
    if every:
        return await _matching(desk, asked)
    ids: list[UUID] = []
    for text in [*desk.fields("id"), *desk.field("ids").split()][:MOST_AT_ONCE]:
        try:
            ids.append(UUID(text))
        except ValueError:
            raise ApiError(422, "id: must be ids of jobs; select the jobs again") from None
    stored = await _stored(desk, ids)
    return [stored[job_id] for job_id in dict.fromkeys(ids) if job_id in stored]


async def _matching(desk: Desk, asked: Asked) -> list[Job]:
    """Return the newest ``MOST_AT_ONCE`` jobs of a list, without payloads and outputs."""
    query = replace(asked.whole().job_query(MOST_AT_ONCE), without=CARRIED)
    found, _ = await page_of(desk.parts, query)
    return found


async def _stored(desk: Desk, ids: Sequence[UUID]) -> dict[UUID, Job]:
    """Return the jobs that exist, live or archived, without payloads and outputs."""
    found: dict[UUID, Job] = {}
    for archived in (False, True):
        left = tuple(job_id for job_id in dict.fromkeys(ids) if job_id not in found)
        if left:
            query = JobQuery(ids=left, archived=archived, without=CARRIED, limit=len(left))
            found |= {job.id: job for job in (await parts_of(desk.parts.queue).storage.find(query)).jobs}
    return found


def _why(deed: str, job: Job | None) -> str:
    """Return why a job was not changed."""
    if job is None:
        return "gone"
    if job.archived_on is not None:
        return "already archived"
    if not single.fits(job, deed):
        return {
            "cancel": "already ended",
            "retry": "not failed",
            "resume": "not cancelled",
        }[deed]
    return "blocked by another job with the same key or slot"


def _told(deed: str, changed: int, along: int, reasons: Sequence[str]) -> str:
    """Return the result of an action in one or two sentences."""
    said = f"{_jobs(changed)} {DEEDS[deed]}"
    if along:
        said += f", and {along} that they wait for"
    if not reasons:
        return f"{said}."
    listed = ", ".join(f"{count} {why}" for why, count in Counter(reasons).most_common())
    return f"{said}; {len(reasons)} not: {listed}."


def _jobs(count: int) -> str:
    return f"{count} job" if count == 1 else f"{count} jobs"
