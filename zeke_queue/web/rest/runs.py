"""Lists of jobs, and actions on one job: cancel, retry, resume."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import AfterValidator, AwareDatetime, BeforeValidator
from starlette.requests import Request

from zeke_queue.api_client import model as answers
from zeke_queue.core.status import read_status
from zeke_queue.errors import JobNotFoundError
from zeke_queue.model import JobQuery, JobStatus
from zeke_queue.storage.inspect import require
from zeke_queue.system.logging import get_logger
from zeke_queue.web.api import Administers, Api, Parts, Reads
from zeke_queue.web.errors import INSTANT, ApiError, field_errors, problems
from zeke_queue.web.ids import cursor_after, no_cursor, parse_cursor, parse_id
from zeke_queue.web.inspect import BYTES_MOST, page_of

if TYPE_CHECKING:
    from zeke_queue.web.access.guard import Caller
    from zeke_queue.web.triggers import Change

router = APIRouter(tags=["runs"])

MOST: Final = 200

_WORDS_LOGGED: Final = 10
"""Deprecated words of a request that are logged at most."""

_FILTERS: Final = frozenset(
    {"archived", "createdFrom", "createdTo", "cursor", "limit", "parent", "status", "task", "text"}
)


def _written(value: object) -> object:
    """Reject a number, which pydantic would interpret as seconds since 1970."""
    if isinstance(value, str) and _NUMBER.fullmatch(value) is not None:
        raise ValueError(INSTANT)
    return value


_NUMBER: Final = re.compile(r"[\s+-]*[\d._]*")


def _in_utc(instant: datetime) -> datetime:
    """Reject an instant that cannot be converted to UTC."""
    try:
        return instant.astimezone(UTC)
    except OverflowError:
        raise ValueError("Input should be in the years 1 to 9999, in UTC too") from None


def _read_status(value: object) -> object:
    """Convert a row state of pg-boss to a status; return other values unchanged."""
    if isinstance(value, str):
        with suppress(ValueError):
            return read_status(value)[0]
    return value


Status = Annotated[JobStatus, BeforeValidator(_read_status)]
Instant = Annotated[AwareDatetime, BeforeValidator(_written), AfterValidator(_in_utc)]
Name = Annotated[str, Query(max_length=512)]


@router.get("/trigger/runs", summary="List jobs", responses=problems(401, 403, 422, 503))
async def runs(  # noqa: PLR0917 - one argument for each parameter of the query
    request: Request,
    parts: Parts,
    _caller: Reads,
    task: Annotated[list[Name] | None, Query(description="Only jobs of these tasks.")] = None,
    status: Annotated[list[Status] | None, Query(description="Only jobs of these statuses.")] = None,
    parent: Annotated[UUID | None, Query(description="Only jobs that this one triggered.")] = None,
    text: Annotated[
        str | None,
        Query(
            description="Only jobs whose id, singleton key, payload, output or meta contains this.",
            min_length=1,
            max_length=200,
        ),
    ] = None,
    created_from: Annotated[Instant | None, Query(alias="createdFrom")] = None,
    created_to: Annotated[Instant | None, Query(alias="createdTo")] = None,
    archived: Annotated[bool, Query(description="Archived jobs instead of live ones.")] = False,  # noqa: FBT002 - it is named in the URL
    cursor: Annotated[
        str | None, Query(description="`nextCursor` of the previous page.", max_length=64)
    ] = None,
    limit: Annotated[
        int,
        Query(
            ge=1,
            le=MOST,
            description="Maximum number of jobs in a page. A page with a `nextCursor` may have fewer, to keep"
            f" its payloads and outputs under {BYTES_MOST // 2**20} MiB together.",
        ),
    ] = 50,
) -> answers.Page:
    """Return jobs, newest first, a page at a time."""
    check_known(request, _FILTERS)
    if deprecated := {*request.query_params.getlist("status")} - {*JobStatus}:
        get_logger().warning("status_deprecated", words=sorted(deprecated)[:_WORDS_LOGGED])
    filters: dict[str, object] = {
        "task": sorted(task or ()),
        "status": sorted(status or ()),
        "parent": str(parent or ""),
        "text": text,
        "from": _text(created_from),
        "to": _text(created_to),
        "archived": archived,
    }
    query = JobQuery(
        names=tuple(task or ()),
        status=tuple(status or ()),
        parent=parent,
        archived=archived,
        before=None if cursor is None else parse_cursor(cursor, filters),
        created_from=created_from,
        created_to=created_to,
        text=text,
        without=("meta", "history"),
        limit=limit,
    )
    try:
        page, last = await page_of(parts, query)
    except JobNotFoundError:
        raise no_cursor(
            "must be of a job that exists, but the job was purged; omit it to start at the first page"
        ) from None
    return answers.Page(
        runs=tuple(parts.presenter.run(job) for job in page),
        next_cursor=None if last is None else cursor_after(last, filters),
    )


def check_known(request: Request, known: frozenset[str]) -> None:
    """Reject unknown parameters, since a misspelt filter would list all jobs.

    Raises:
        ApiError: 422 if there is an unknown parameter.
    """
    others = sorted(set(request.query_params) - known)
    if others:
        why = f"must be one of the filters {', '.join(sorted(known))}"
        raise field_errors(f"{others[0]}: {why}", [(name, why) for name in others])


def _text(instant: datetime | None) -> str:
    return "" if instant is None else answers.iso(instant)


@router.get(
    "/trigger/runs/{run_id}/events",
    summary="List progress and log lines",
    responses=problems(401, 403, 404, 422, 503),
)
async def events(
    run_id: str,
    parts: Parts,
    _caller: Reads,
    after: Annotated[int, Query(ge=0, le=2**63 - 1, description="Only those with a greater `seq`.")] = 0,
) -> answers.Events:
    """Return progress and log lines, oldest first, at most 1000."""
    job = await require(parts.storage, parse_id(run_id))
    found = await parts.storage.events({job.id: after})
    return answers.Events(
        events=tuple(
            answers.Event(
                seq=event.seq,
                attempt=event.attempt,
                kind=event.kind,
                at=event.at or job.created_on,
                data=parts.presenter.event(job.name, event),
            )
            for event in found
        )
    )


@router.post(
    "/trigger/runs/{run_id}/cancel", summary="Cancel a job", responses=problems(401, 403, 404, 409, 503)
)
async def cancel(run_id: str, parts: Parts, caller: Administers) -> answers.RunDetail:
    """Cancel a job permanently, with the children that it waits for; a running job is asked to stop."""
    return await _change(parts, caller, run_id, "cancel", "it has ended")


@router.post(
    "/trigger/runs/{run_id}/retry", summary="Retry a failed job", responses=problems(401, 403, 404, 409, 503)
)
async def retry(run_id: str, parts: Parts, caller: Administers) -> answers.RunDetail:
    """Requeue a failed or expired job, due immediately."""
    return await _change(parts, caller, run_id, "retry", "it has not failed, or is archived")


@router.post(
    "/trigger/runs/{run_id}/resume",
    summary="Resume a cancelled job",
    responses=problems(401, 403, 404, 409, 503),
)
async def resume(run_id: str, parts: Parts, caller: Administers) -> answers.RunDetail:
    """Requeue a cancelled job, due immediately."""
    return await _change(parts, caller, run_id, "resume", "it is not cancelled, or is archived")


async def _change(
    parts: Api, caller: Caller, run_id: str, action: Change, otherwise: str
) -> answers.RunDetail:
    job_id = parse_id(run_id)
    changed = await parts.jobs.change(caller, action, job_id)
    job = await require(parts.storage, job_id)
    if not changed:
        raise ApiError(409, f"Job {job_id} stays {job.status.value}: {otherwise}", id=str(job_id))
    return parts.presenter.detail(job)
