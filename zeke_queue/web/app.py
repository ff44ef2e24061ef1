"""The application: its parts put together, its routes, and what stands before them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse

from zeke_queue.errors import ZekeError
from zeke_queue.web.access.guard import CSRF_HEADER, MAKE_KEY, Guard
from zeke_queue.web.api import Api
from zeke_queue.web.dashboard import Dashboard
from zeke_queue.web.document import describe
from zeke_queue.web.errors import ApiError, answer, answer_http, answer_invalid
from zeke_queue.web.jobs import Jobs
from zeke_queue.web.middleware import BodyCap, Failures, Gate, SecurityHeaders
from zeke_queue.web.presenter import Showing
from zeke_queue.web.rest import ROUTERS
from zeke_queue.web.settings import WebSettings
from zeke_queue.web.sse import Live
from zeke_queue.web.trpc.router import router as trpc

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zeke_queue.client.queue import Queue
    from zeke_queue.web.access.guard import Authenticator
    from zeke_queue.web.dashboard import Page

_ABOUT: Final = """Background jobs: send them, follow them live, look after queues and schedules.

Every request but those for health carries `Authorization: Bearer mid_…`; until the first key exists, this
machine alone is served, without one.
"""

_CORS_HEADERS: Final = ("authorization", "content-type", "idempotency-key", "last-event-id", CSRF_HEADER)
_CORS_EXPOSED: Final = (
    "idempotent-replayed",
    "ratelimit-limit",
    "ratelimit-remaining",
    "ratelimit-reset",
    "retry-after",
)


def create_app(
    queue: Queue,
    settings: WebSettings | None = None,
    *,
    authenticator: Authenticator | None = None,
    pages: Sequence[Page] = (),
    make_key: str = MAKE_KEY,
) -> FastAPI:
    """Make the HTTP application of an open queue.

    It is served by any ASGI server, or mounted: ``app.mount("/jobs-api", create_app(queue))`` in a FastAPI or
    Starlette application. It needs no lifespan; whoever closes the queue first awaits ``close_app``, which
    ends the streams that are open.

    Args:
        queue: open; it stays the caller's to close.
        settings: the deployment's; read from the environment by default.
        authenticator: the host application's own way to tell who calls; keys go on to work beside it.
        pages: further pages of the dashboard, such as ``installed_pages()`` returns.
        make_key: what people are told to type to make a key.
    """
    settings = settings or WebSettings.load()
    showing = Showing(queue.catalog)
    app = FastAPI(
        title="Zeke's jobs",
        version="1",
        description=_ABOUT,
        # Pages that would load scripts from elsewhere, and the document for everybody; ours asks for a key.
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    app.state.zeke = Api(
        queue=queue,
        settings=settings,
        guard=Guard(queue.storage, queue.clock, settings, authenticator, make_key=make_key),
        jobs=Jobs(queue, settings, showing),
        showing=showing,
        live=Live(
            queue,
            showing=showing,
            timeout=settings.api_stream_timeout,
            keep_alive=settings.api_stream_keep_alive,
            most=settings.api_streams_max,
            most_of_one=settings.streams_of_one,
        ),
    )
    for router in (*ROUTERS, trpc):
        app.include_router(router)
    if settings.api_dashboard:
        _mount_dashboard(app, pages)
    _handle_errors(app)
    _stand_before(app, settings)
    describe(app, queue.catalog)
    return app


async def close_app(app: FastAPI) -> None:
    """End the streams that are open, so that a server can stop; call it before the queue is closed."""
    parts: Api = app.state.zeke
    await parts.live.close()
    if (dashboard := getattr(app.state, "dashboard", None)) is not None:
        await dashboard.close()


def _mount_dashboard(app: FastAPI, pages: Sequence[Page]) -> None:
    """Serve the dashboard beside the API, and lead browsers there that ask for nothing in particular."""
    dashboard = Dashboard(app.state.zeke, pages)
    app.state.dashboard = dashboard

    async def to_dashboard(request: Request) -> RedirectResponse:
        return RedirectResponse(f"{request.scope.get('root_path', '')}/dashboard/")

    app.add_route("/", to_dashboard, include_in_schema=False)
    app.mount("/dashboard", dashboard.app)


def _handle_errors(app: FastAPI) -> None:
    handlers: dict[type[Exception], Any] = {
        ApiError: answer,
        ZekeError: answer,
        HTTPException: answer_http,
        RequestValidationError: answer_invalid,
    }
    for error, handler in handlers.items():
        app.add_exception_handler(error, handler)


def _stand_before(app: FastAPI, settings: WebSettings) -> None:
    """Add what every request passes; what is added last comes first."""
    app.add_middleware(BodyCap, most=settings.api_body_max)
    app.add_middleware(Gate, guard=app.state.zeke.guard, elsewhere=("/dashboard", "/trpc"))
    app.add_middleware(Failures)
    if settings.api_cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.api_cors_origins),
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=list(_CORS_HEADERS),
            expose_headers=list(_CORS_EXPOSED),
        )
    app.add_middleware(SecurityHeaders)
