"""Sending jobs, looking at one, and following it: the routes of the earlier system, with its shapes."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Response
from starlette.requests import Request

from zeke_queue.api_client import model as answers
from zeke_queue.errors import JobNotFoundError
from zeke_queue.storage.access import Scope
from zeke_queue.storage.inspect import require
from zeke_queue.web.api import Parts, Reads, Triggers
from zeke_queue.web.errors import ApiError, problems
from zeke_queue.web.ids import parse_id
from zeke_queue.web.request_bodies import JsonRoute, Trigger
from zeke_queue.web.triggers import KEY

router = APIRouter(tags=["runs"], route_class=JsonRoute)

_EVENT: Final = {
    "type": "object",
    "required": ["event", "data"],
    "properties": {
        "id": {"type": "string", "description": "Send it as Last-Event-ID to continue after this event."},
        "event": {"enum": ["status", "progress", "log", "close", "error", "timeout"]},
        "data": {"type": "string", "description": "JSON, except for `close`."},
    },
}


@router.post(
    "/trigger", summary="Send a job", responses=problems(400, 401, 403, 404, 409, 413, 422, 429, 503)
)
async def trigger(
    body: Trigger,
    response: Response,
    parts: Parts,
    caller: Triggers,
    idempotency_key: Annotated[
        str | None,
        Header(
            description="1 to 255 printable ASCII characters. A repeated key of the same caller returns the"
            " job that the first request sent, with the header Idempotent-Replayed.",
            json_schema_extra={"pattern": f"^{KEY.pattern}$"},
        ),
    ] = None,
) -> answers.Triggered:
    """Send a job to a task of the catalog; the payload is validated against the task's model."""
    sent = await parts.jobs.trigger(caller, body.task_id, body.payload, idempotency_key=idempotency_key)
    response.headers.update(sent.headers)
    if sent.replayed:
        response.headers["idempotent-replayed"] = "true"
    return sent.triggered


@router.get("/trigger/runs/{run_id}", summary="Get a job", responses=problems(401, 403, 404, 503))
async def run(run_id: str, parts: Parts, _caller: Reads) -> answers.Run:
    """Return a live or archived job."""
    return parts.presenter.run(await require(parts.storage, parse_id(run_id)))


@router.get(
    "/trigger/runs/{run_id}/detail", summary="Get a job in detail", responses=problems(401, 403, 404, 503)
)
async def detail(run_id: str, parts: Parts, _caller: Reads) -> answers.RunDetail:
    """Return a live or archived job with its options, its family and its failed attempts."""
    return parts.presenter.detail(await require(parts.storage, parse_id(run_id)))


@router.get(
    "/jobs/stream/{run_id}",
    summary="Stream a job's updates",
    response_class=Response,
    responses={
        200: {
            "description": "Server-sent events: status, progress, log, close; error and timeout.",
            "content": {"text/event-stream": {"schema": _EVENT}},
        },
        204: {"description": "The client has the end of the stream, and the job has not changed since."},
        **problems(401, 403, 404, 429, 503),
    },
)
async def stream(
    run_id: str,
    request: Request,
    parts: Parts,
    caller: Reads,
    last_event_id: Annotated[
        str | None, Header(description="The id of the last received event, after which the stream continues.")
    ] = None,
) -> Any:
    """Stream a job's status as it changes, its progress and its log lines, until it has ended."""
    job_id = parse_id(run_id, "Job not found")
    check = parts.guard.authorization_check(request, caller, Scope.READ)
    seen = last_event_id or request.query_params.get("lastEventId")
    try:
        return await parts.live.open(job_id, seen, is_authorized=check, caller=caller.id)
    except JobNotFoundError:
        raise ApiError(404, "Job not found") from None
