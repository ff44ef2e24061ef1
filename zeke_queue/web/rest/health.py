"""Liveness, readiness, and metrics for Prometheus.

Load balancers probe with HEAD, which is not part of the OpenAPI document.
"""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request, Response

from zeke_queue.api_client import model as answers
from zeke_queue.errors import StorageError
from zeke_queue.web.api import Parts, Reads
from zeke_queue.web.errors import ApiError, problems
from zeke_queue.web.metrics import CONTENT_TYPE, Metrics

router = APIRouter(tags=["health"])


class Health(answers.Answer):
    """The health of the process."""

    status: Literal["ok"] = "ok"


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz", summary="Check liveness")
async def healthz() -> Health:
    """Return 200 while the process runs; the database is not queried."""
    return Health()


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", summary="Check readiness", responses=problems(503))
async def readyz(parts: Parts) -> Health:
    """Return 200 if the database is available, else 503."""
    try:
        await parts.storage.now()
    except StorageError:
        raise ApiError(503, "The database is unavailable") from None
    return Health()


@router.head("/metrics", include_in_schema=False)
@router.get(
    "/metrics",
    summary="Get metrics",
    response_class=Response,
    responses={
        200: {
            "description": "Prometheus's text format.",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        },
        **problems(401, 403, 503),
    },
)
async def metrics(request: Request, _caller: Reads) -> Response:
    """Return metrics of all queues, schedules and workers, and of this process."""
    read: Metrics = request.app.state.metrics
    return Response(await read.exposition(), media_type=CONTENT_TYPE)
