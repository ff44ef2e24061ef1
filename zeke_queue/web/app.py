"""The application: its parts, routes and middleware."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse

from zeke_queue.client.parts import parts_of
from zeke_queue.errors import ZekeError
from zeke_queue.web.access.guard import CSRF_HEADER, MAKE_KEY, Guard
from zeke_queue.web.api import Api
from zeke_queue.web.dashboard import Dashboard
from zeke_queue.web.document import describe
from zeke_queue.web.errors import ApiError, answer, answer_disconnected, answer_http, answer_invalid
from zeke_queue.web.extension import add_extensions
from zeke_queue.web.metrics import Metrics
from zeke_queue.web.middleware import BodyCap, Failures, Gate, SecurityHeaders
from zeke_queue.web.presenter import Presenter
from zeke_queue.web.rest import ROUTERS
from zeke_queue.web.search_budget import SearchBudget
from zeke_queue.web.settings import WebSettings
from zeke_queue.web.sse import EventStreams
from zeke_queue.web.triggers import Jobs
from zeke_queue.web.trpc.procedures import PROCEDURES
from zeke_queue.web.trpc.router import router as trpc

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zeke_queue.client.queue import Queue
    from zeke_queue.web.access.guard import Authenticator
    from zeke_queue.web.dashboard import Page
    from zeke_queue.web.extension import Extension

_ABOUT: Final = """Background jobs: send them, stream their updates, and manage queues and schedules.

Every request except a health check needs `Authorization: Bearer mid_…`.
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
    extensions: Sequence[Extension] = (),
    make_key: str = MAKE_KEY,
) -> FastAPI:
    """Create the HTTP application of an open queue.

    Serve it with any ASGI server, or mount it in a FastAPI or Starlette application:
    ``app.mount("/jobs-api", create_app(queue))``. It needs no lifespan. Await ``close_app``, which ends open
    streams, before you close the queue.

    Args:
        queue: an open queue, which the caller closes.
        settings: the deployment's settings; by default read from the environment.
        authenticator: the host application's authentication, in addition to keys.
        pages: additional pages of the dashboard, such as those of ``installed_pages()``.
        extensions: additional routes and procedures, such as those of ``installed_extensions()``.
        make_key: the command to create a key, shown to users.

    Raises:
        UsageError: an extension has a path of another route or procedure, or a route without a caller.
    """
    settings = settings or WebSettings.load()
    presenter = Presenter(queue.catalog)
    searches, of_dashboard = SearchBudget.of_both(queue.settings.jobs_pool_max)
    app = FastAPI(
        title="Zeke's jobs",
        version="1",
        description=_ABOUT,
        # FastAPI's pages load scripts from other hosts, and its document is public; ours requires a key.
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    app.state.zeke = Api(
        queue=queue,
        settings=settings,
        guard=Guard(parts_of(queue).storage.access, queue.clock, settings, authenticator, make_key=make_key),
        jobs=Jobs(queue, settings, presenter),
        presenter=presenter,
        live=EventStreams(
            queue,
            presenter,
            timeout=settings.api_stream_timeout,
            keep_alive=settings.api_stream_keep_alive,
            max_streams=settings.api_streams_max,
            max_per_caller=settings.streams_of_one,
        ),
        searches=searches,
    )
    app.state.metrics = Metrics(app.state.zeke)
    app.state.procedures = PROCEDURES
    for router in (*ROUTERS, trpc):
        app.include_router(router)
    if settings.api_dashboard:
        _mount_dashboard(app, Dashboard(replace(app.state.zeke, searches=of_dashboard), pages))
    _handle_errors(app)
    _stand_before(app, settings)
    describe(app, queue.catalog)
    served = [one for one in extensions if one.needs is None or one.needs in queue.catalog.served]
    add_extensions(app, served, (route for router in (*ROUTERS, trpc) for route in router.routes))
    return app


async def close_app(app: FastAPI) -> None:
    """End all open streams and reads, so that a server can stop; call it before closing the queue."""
    parts: Api = app.state.zeke
    metrics: Metrics = app.state.metrics
    await parts.live.close()
    await metrics.close()
    if (dashboard := getattr(app.state, "dashboard", None)) is not None:
        await dashboard.close()


def _mount_dashboard(app: FastAPI, dashboard: Dashboard) -> None:
    """Mount the dashboard, and redirect browsers from the root path to it."""
    app.state.dashboard = dashboard

    async def to_dashboard(request: Request) -> RedirectResponse:
        return RedirectResponse(f"{request.scope.get('root_path', '')}/dashboard/")

    app.add_route("/", to_dashboard, include_in_schema=False)
    app.mount("/dashboard", dashboard.app)


def _handle_errors(app: FastAPI) -> None:
    handlers: dict[type[Exception], Any] = {
        ApiError: answer,
        ZekeError: answer,
        ClientDisconnect: answer_disconnected,
        HTTPException: answer_http,
        RequestValidationError: answer_invalid,
    }
    for error, handler in handlers.items():
        app.add_exception_handler(error, handler)


def _stand_before(app: FastAPI, settings: WebSettings) -> None:
    """Add the middleware; the one added last runs first."""
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
