"""The page of a job: its attempts, payload, output, log, and related jobs."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from zeke_queue.client.parts import parts_of
from zeke_queue.errors import JobConflictError, JobNotFoundError, StorageError
from zeke_queue.model import CARRIED, ENDED, Job, JobEvent, JobQuery, JobStatus, RowState
from zeke_queue.storage.access import Scope
from zeke_queue.storage.inspect import require
from zeke_queue.web.dashboard import formatting
from zeke_queue.web.dashboard.page import View
from zeke_queue.web.dashboard.queues import served_by
from zeke_queue.web.dashboard.trigger import why_not_again
from zeke_queue.web.errors import ApiError
from zeke_queue.web.ids import parse_id
from zeke_queue.web.inspect import all_workers
from zeke_queue.web.sse import ServerEvent

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from starlette.responses import Response

    from zeke_queue.web.dashboard.page_request import PageRequest
    from zeke_queue.web.triggers import Change

CHILDREN: Final = 50
"""Maximum number of listed children."""

LINES: Final = 1000
"""Maximum number of log lines on a new page, which is the storage's limit per read."""

ACTIONS: Final = {"cancel": "cancelled", "retry": "retried", "resume": "resumed"}
"""The actions on a job, and the participle for each result."""

_WIDTH: Final = 600.0


@dataclass(frozen=True, slots=True)
class Moment:
    """An event in the life of a job.

    Attributes:
        kind: the style: ``created``, ``due``, ``failed``, ``running``, ``completed`` and so on.
        x: the position on the timeline, 0 to 600.
        width: the width on the timeline; 0 for an instant.
        error: the error without hidden values.
    """

    kind: str
    title: str
    at: datetime
    x: float
    width: float = 0.0
    length: float | None = None
    worker: UUID | None = None
    error: Any = None


async def job(request: PageRequest) -> Response:
    """Show a job."""
    found = await _require(request)
    events = await request.parts.storage.events({found.id: 0})
    query = JobQuery(parent=found.id, without=CARRIED, limit=CHILDREN)
    children = (await request.parts.find(query)).jobs
    return request.page(
        "job.html",
        children=children,
        children_most=CHILDREN,
        query=_query(request, found),
        hides=request.parts.presenter.rules(found.name),
        data=request.parts.presenter.data(found),
        **await _changing_parts(request, found),
        **_log_and_progress(request, found, events),
    )


async def held(request: PageRequest) -> Response:
    """Return the reasons why a waiting job does not start; empty for a job that does not wait."""
    found = await _require(request)
    return request.page("_job_held.html", job=found, holds=await _holds(request, found))


async def live(request: PageRequest) -> Response:
    """Stream the changes of a job: its state, progress and log lines."""
    found = await _require(request)
    resumed = request.request.headers.get("last-event-id") or request.asked("after")
    after = int(resumed) if resumed.isdecimal() and len(resumed) < len(str(2**63)) else 0
    return request.parts.live.stream(
        _frames(request, found, after),
        is_authorized=request.authorization_check(),
        caller=request.known_caller.id,
    )


async def cancel(request: PageRequest) -> Response:
    """Cancel a job."""
    found = await _require(request)
    changed = await request.parts.jobs.change(request.known_caller, "cancel", found.id)
    return await _done(request, found, changed, "is cancelled", "has already ended")


async def retry(request: PageRequest) -> Response:
    """Run a failed job again."""
    return await _requeue(request, "retry", "is queued again", "has not failed, or is archived")


async def resume(request: PageRequest) -> Response:
    """Requeue a cancelled job."""
    return await _requeue(request, "resume", "is queued again", "is not cancelled, or is archived")


VIEWS: Final = (
    View("/jobs/{job_id}", job),
    View("/jobs/{job_id}/held", held),
    View("/jobs/{job_id}/live", live),
    View("/jobs/{job_id}/cancel", cancel, changes=True, scope=Scope.ADMIN),
    View("/jobs/{job_id}/retry", retry, changes=True, scope=Scope.ADMIN),
    View("/jobs/{job_id}/resume", resume, changes=True, scope=Scope.ADMIN),
)


def fits(job: Job, action: str) -> bool:
    """Return whether an action is possible in a job's current state."""
    if job.archived_on is not None:
        return False
    if action == "cancel":
        return job.status not in ENDED
    return job.status is (JobStatus.FAILED if action == "retry" else JobStatus.CANCELLED)


async def _require(request: PageRequest) -> Job:
    """Return the job of the URL."""
    gone = "No job has this id; it never existed or was purged"
    try:
        return await require(request.parts.storage, parse_id(request.words["job_id"], gone))
    except JobNotFoundError:
        raise ApiError(404, gone) from None


async def _requeue(request: PageRequest, action: Change, done: str, otherwise: str) -> Response:
    found = await _require(request)
    try:
        changed = await request.parts.jobs.change(request.known_caller, action, found.id)
    except JobConflictError as refused:
        return request.go(request.url("jobs", found.id), str(refused), kind="wrong")
    return await _done(request, found, changed, done, otherwise)


async def _done(request: PageRequest, found: Job, changed: bool, done: str, otherwise: str) -> Response:  # noqa: FBT001 - the result of the action
    note = f"The job {done}" if changed else f"Nothing changed: the job {otherwise}"
    return request.go(request.url("jobs", found.id), note, kind="done" if changed else "wrong")


# Displayed data


async def _changing_parts(request: PageRequest, job: Job) -> dict[str, Any]:
    """Return the parts of the page that change with a job's state."""
    now = await request.parts.storage.now()
    output = request.parts.presenter.output(job)
    is_error = job.status is JobStatus.FAILED or (job.row_state is RowState.RETRY and bool(job.history))
    return {
        "job": job,
        "now": now,
        "ended": job.status in ENDED,
        "error": output if is_error else None,
        "output": None if is_error else output,
        "moments": timeline(request, job, now),
        "waited": _between(job.start_after, job.started_on),
        "ran": _between(
            job.started_on, job.completed_on or (now if job.row_state is RowState.ACTIVE else None)
        ),
        "fitting": [action for action in ACTIONS if fits(job, action)],
        "why_not_again": why_not_again(request, job),
        "holds": await _holds(request, job),
    }


async def _holds(request: PageRequest, job: Job) -> list[str]:
    """Return the reasons why a waiting job, due or not, does not start: ``paused``, ``unserved``."""
    if job.status is not JobStatus.QUEUED:
        return []
    settings = {one.name: one for one in await request.parts.storage.queues()}
    paused = job.name in settings and settings[job.name].paused_on is not None
    served = job.name in served_by(await all_workers(request.parts))
    return ["paused"] * paused + ["unserved"] * (not served)


def _log_and_progress(request: PageRequest, job: Job, events: Sequence[JobEvent]) -> dict[str, Any]:
    """Return the log and the latest progress of a job."""
    lines = [(event, _whole(request.parts.presenter.event(job.name, event))) for event in events]
    progress = [data for event, data in lines if event.kind == "progress"]
    return {
        "lines": [(event, data, _more(data)) for event, data in lines if event.kind == "log"],
        "progress": progress[-1] if progress else None,
        "seq": events[-1].seq if events else 0,
    }


def _whole(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return a line's content with all displayed fields present, even if another program wrote it."""
    value = data.get("value")
    is_share = isinstance(value, int | float) and not isinstance(value, bool)
    return {
        **data,
        "level": str(data.get("level") or "info"),
        "message": data.get("message"),
        "value": min(1.0, max(0.0, value)) if is_share and value is not None else None,
    }


def _more(data: dict[str, Any]) -> str:
    """Return a log line's fields other than its level and message."""
    more = {name: value for name, value in data.items() if name not in ("level", "message", "value")}
    return formatting.excerpt(more) if more else ""


def _between(begin: datetime | None, end: datetime | None) -> float | None:
    return None if begin is None or end is None else max(0.0, (end - begin).total_seconds())


def timeline(request: PageRequest, job: Job, now: datetime) -> list[Moment]:
    """Return the events of a job in order.

    For failed attempts, only the end is known; for the last attempt, the start too.
    """
    moments: list[tuple[str, str, datetime, datetime | None, Any, UUID | None]] = [
        ("created", "Created", job.created_on, None, None, None)
    ]
    if (job.start_after - job.created_on).total_seconds() > 1 and job.start_after <= max(now, job.created_on):
        moments.append(("due", "Due again" if job.history else "Due", job.start_after, None, None, None))
    for attempt in job.history:
        is_last = attempt.attempt == job.attempt and job.started_on is not None
        begin = job.started_on if is_last and job.started_on else attempt.at
        title = (
            f"Attempt {attempt.attempt} {'expired' if attempt.row_state is RowState.EXPIRED else 'failed'}"
        )
        error = request.parts.presenter.error(job, attempt)
        moments.append(("failed", title, begin, attempt.at, error, attempt.worker))
    if job.started_on is not None and job.attempt not in {attempt.attempt for attempt in job.history}:
        kind = "active" if job.row_state is RowState.ACTIVE else job.row_state.value
        end = now if job.row_state is RowState.ACTIVE else job.completed_on
        title = f"Attempt {job.attempt} {_BECAME.get(job.row_state, 'was released')}"
        moments.append((kind, title, job.started_on, end, None, job.worker))
    elif job.row_state is RowState.CANCELLED and job.completed_on is not None:
        moments.append(("cancelled", "Cancelled", job.completed_on, None, None, None))
    moments.sort(key=lambda moment: moment[2])
    first = min(moment[2] for moment in moments)
    last = max(moment[3] or moment[2] for moment in moments)
    scale = _WIDTH / max((last - first).total_seconds(), 1e-3)
    return [
        Moment(
            kind=kind,
            title=title,
            at=begin,
            x=round((begin - first).total_seconds() * scale, 2),
            width=0.0 if end is None else round((end - begin).total_seconds() * scale, 2),
            length=None if end is None or end == begin else (end - begin).total_seconds(),
            worker=worker,
            error=error,
        )
        for kind, title, begin, end, error, worker in moments
    ]


_BECAME: Final = {
    RowState.ACTIVE: "runs",
    RowState.COMPLETED: "completed",
    RowState.CANCELLED: "was cancelled",
    RowState.FAILED: "failed",
    RowState.EXPIRED: "expired",
}


def _query(request: PageRequest, job: Job) -> str:
    """Return the SQL statement that selects a job."""
    table = "archive" if job.archived_on is not None else "job"
    return f"select * from {request.parts.queue.settings.jobs_schema}.{table} where id = '{job.id}';"  # noqa: S608 - displayed, never executed


# Live updates


async def _frames(request: PageRequest, job: Job, after: int) -> AsyncGenerator[ServerEvent]:
    """Yield the parts of a job's page as they change, until the job has ended and all lines are sent."""
    try:
        async with aclosing(parts_of(request.parts.queue).watcher.batches(job.id, after=after)) as batches:
            async for batch in batches:
                for event in _lines(request, job, [news for news in batch if isinstance(news, JobEvent)]):
                    yield event
                if isinstance(change := batch[-1], Job):
                    job = change
                    shown = await _changing_parts(request, job)
                    yield ServerEvent("state", request.draw("_job_state.html", **shown))
                    yield ServerEvent("actions", request.draw("_job_actions.html", **shown))
        yield ServerEvent("end", "")
    except JobNotFoundError:
        yield ServerEvent("gone", "")
    except StorageError:
        return  # the page reports a lost connection and reconnects


def _lines(request: PageRequest, job: Job, events: Sequence[JobEvent]) -> list[ServerEvent]:
    """Return the events of log lines, and of the latest progress among them, in order of ``seq``.

    A browser that reconnects sends the id of its last event.
    """
    data = _log_and_progress(request, job, events)
    drawn = {
        event.seq: ("log", request.draw("_log_line.html", event=event, line=line, more=more))
        for event, line, more in data["lines"]
    }
    if (last := max((event.seq for event in events if event.kind == "progress"), default=None)) is not None:
        drawn[last] = ("progress", request.draw("_progress.html", **data))
    return [ServerEvent(*drawn[seq], str(seq)) for seq in sorted(drawn)]
