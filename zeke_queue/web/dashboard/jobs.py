"""The page of jobs: search, and actions on many jobs at once."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Final, cast
from uuid import UUID

from zeke_queue.errors import JobNotFoundError
from zeke_queue.model import CARRIED, JobQuery, JobStatus
from zeke_queue.storage.access import Scope
from zeke_queue.web.dashboard import job as single
from zeke_queue.web.dashboard import list_query
from zeke_queue.web.dashboard.job import ACTIONS
from zeke_queue.web.dashboard.page import View
from zeke_queue.web.errors import ApiError
from zeke_queue.web.inspect import page_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.responses import Response

    from zeke_queue.model import Job
    from zeke_queue.web.dashboard.list_query import ListQuery
    from zeke_queue.web.dashboard.page_request import PageRequest
    from zeke_queue.web.triggers import Change

MOST_AT_ONCE: Final = 1000
"""Maximum number of jobs that one action changes."""


async def jobs(request: PageRequest) -> Response:
    """Show a page of jobs."""
    filters = list_query.read(request.asked, request.request.query_params.getlist)
    return await _page(request, filters)


async def _page(
    request: PageRequest, filters: ListQuery, *, status: int = 200, wrong: str | None = None
) -> Response:
    try:
        found, last = await page_of(request.parts, filters.job_query())
    except JobNotFoundError:
        raise ApiError(404, "The job before this page was purged; start at the first page") from None
    # Not the names of all jobs, which only a search of every job knows.
    names = {*request.parts.queue.catalog.tasks, *(one.name for one in await request.parts.storage.queues())}
    names |= {job.name for job in found}
    if filters.task:
        names.add(filters.task)
    return request.page(
        "jobs.html",
        status=status,
        wrong=wrong,
        filters=filters,
        jobs=[(job, request.parts.presenter.data(job), request.parts.presenter.output(job)) for job in found],
        next_cursor=None if last is None else filters.cursor_after(last),
        tasks=sorted(names),
        statuses=list(JobStatus),
        columns=list_query.COLUMNS,
        sizes=list_query.SIZES,
        most=MOST_AT_ONCE,
        now=await request.parts.storage.now(),
    )


async def confirm(request: PageRequest) -> Response:
    """Ask for confirmation of an action on these jobs."""
    filters = list_query.read(request.field, request.fields)
    action = _action(request)
    every = request.field("every") == "1"
    found = await _chosen(request, filters, every=every)
    if not found:
        return await _page(
            request, filters, status=422, wrong="Select jobs first: tick them, or select all that match"
        )
    return request.page(
        "confirm.html",
        filters=filters,
        action=action,
        done=ACTIONS[action],
        every=every,
        jobs=found,
        fitting=sum(single.fits(job, action) for job in found),
        most=MOST_AT_ONCE,
    )


async def change(request: PageRequest) -> Response:
    """Cancel, retry or resume the selected jobs, and report the result."""
    filters = list_query.read(request.field, request.fields)
    action = _action(request)
    found = await _chosen(request, filters, every=False)
    ids = [job.id for job in found]
    changed = await request.parts.jobs.change_many(request.known_caller, action, ids)
    left = [job_id for job_id in ids if job_id not in changed]
    after = await _stored(request, left)
    note = _summary(
        action, len(ids) - len(left), len(changed - set(ids)), [_why(action, after.get(i)) for i in left]
    )
    return request.go(
        request.url("jobs", **filters.query()), note, kind="done" if changed or not ids else "wrong"
    )


VIEWS: Final = (
    View("/jobs", jobs),
    View("/jobs/confirm", confirm, changes=True, scope=Scope.ADMIN),
    View("/jobs/change", change, changes=True, scope=Scope.ADMIN),
    *single.VIEWS,
)


def _action(request: PageRequest) -> Change:
    action = request.field("operation")
    if action not in ACTIONS:
        raise ApiError(422, "operation: must be cancel, retry or resume")
    return cast("Change", action)


async def _chosen(request: PageRequest, filters: ListQuery, *, every: bool) -> list[Job]:
    """Return the selected jobs, or the newest that match, without payloads and outputs."""
    if every:
        query = replace(filters.whole().job_query(MOST_AT_ONCE), without=CARRIED)
        return (await page_of(request.parts, query))[0]
    ids: list[UUID] = []
    for text in [*request.fields("id"), *request.field("ids").split()][:MOST_AT_ONCE]:
        try:
            ids.append(UUID(text))
        except ValueError:
            raise ApiError(422, "id: must be ids of jobs; select the jobs again") from None
    stored = await _stored(request, ids)
    return [stored[job_id] for job_id in dict.fromkeys(ids) if job_id in stored]


async def _stored(request: PageRequest, ids: Sequence[UUID]) -> dict[UUID, Job]:
    """Return the jobs that exist, live or archived, without payloads and outputs."""
    found: dict[UUID, Job] = {}
    for archived in (False, True):
        left = tuple(job_id for job_id in dict.fromkeys(ids) if job_id not in found)
        if left:
            query = JobQuery(ids=left, archived=archived, without=CARRIED, limit=len(left))
            found |= {job.id: job for job in (await request.parts.find(query)).jobs}
    return found


def _why(action: str, job: Job | None) -> str:
    """Return why a job was not changed."""
    if job is None:
        return "gone"
    if job.archived_on is not None:
        return "already archived"
    if not single.fits(job, action):
        return {"cancel": "already ended", "retry": "not failed", "resume": "not cancelled"}[action]
    return "blocked by another job with the same key or slot"


def _summary(action: str, changed: int, along: int, reasons: Sequence[str]) -> str:
    """Return the result of an action in one or two sentences."""
    said = f"{_jobs(changed)} {ACTIONS[action]}"
    if along:
        said += f", and {along} that they wait for"
    if not reasons:
        return f"{said}."
    listed = ", ".join(f"{count} {why}" for why, count in Counter(reasons).most_common())
    return f"{said}; {len(reasons)} not: {listed}."


def _jobs(count: int) -> str:
    return f"{count} job" if count == 1 else f"{count} jobs"
