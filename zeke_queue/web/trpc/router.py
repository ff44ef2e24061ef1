"""tRPC's endpoint ``/trpc``: converts the framework's requests to the protocol's, and back."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from zeke_queue.web.api import api_of
from zeke_queue.web.request_bodies import LARGE, check_parts
from zeke_queue.web.trpc.procedures import TrpcContext, to_trpc_error
from zeke_queue.web.trpc.protocol import Code, TrpcError, TrpcRequest, answer, refused

router: Final = APIRouter()


# tRPC is not part of the OpenAPI document; docs/javascript.md has the router's TypeScript type.
@router.api_route("/trpc/{path:path}", methods=["GET", "HEAD", "POST"], include_in_schema=False)
async def call(path: str, request: Request) -> Response:
    """Answer the calls of a tRPC client."""
    context = TrpcContext(api_of(request), request)
    body = b""
    try:
        # The calls of an unknown caller are refused one by one, without their inputs.
        if request.method == "POST" and await context.is_authenticated():
            body = await request.body()
            check_parts(body)
    except HTTPException as too_large:
        answered = refused(TrpcError(Code.of_status(too_large.status_code), too_large.detail))
    else:
        trpc_request = TrpcRequest(
            method=request.method,
            path=path,
            query=dict(reversed(request.query_params.multi_items())),
            media_type=request.headers.get("content-type"),
            body=body,
        )
        context.is_large = len(body) > LARGE
        procedures = request.app.state.procedures
        answered = await answer(procedures, trpc_request, context, to_trpc_error, authorize=context.caller)
    headers = {"vary": "trpc-accept, accept", **answered.headers}
    return Response(answered.body, answered.status, headers, "application/json" if answered.body else None)
