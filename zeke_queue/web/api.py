"""What every route works with, and how a route asks who calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection, Request

from zeke_queue.storage.access import Scope
from zeke_queue.web.access.guard import Caller

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from zeke_queue.client.queue import Queue
    from zeke_queue.web.access.guard import Guard
    from zeke_queue.web.jobs import Jobs
    from zeke_queue.web.presenter import Showing
    from zeke_queue.web.settings import WebSettings
    from zeke_queue.web.sse import Live


@dataclass(frozen=True, slots=True)
class Api:
    """The parts of one application.

    Attributes:
        queue: whose jobs it shows.
        settings: the deployment's.
        guard: tells who calls.
        jobs: sends in the name of callers.
        showing: what is shown of what is stored.
        live: streams of changes.
    """

    queue: Queue
    settings: WebSettings
    guard: Guard
    jobs: Jobs
    showing: Showing
    live: Live


def api_of(connection: HTTPConnection) -> Api:
    """Return the parts of the application that serves a request, be it mounted into another one or not."""
    return connection.app.state.zeke


def may(scope: Scope) -> Callable[[Request], Awaitable[Caller]]:
    """Return a dependency that gives the caller, who has to hold a scope."""

    async def require(request: Request) -> Caller:
        return await api_of(request).guard.require(request, scope)

    return require


Parts = Annotated[Api, Depends(api_of)]
Reads = Annotated[Caller, Depends(may(Scope.READ))]
Triggers = Annotated[Caller, Depends(may(Scope.TRIGGER))]
Administers = Annotated[Caller, Depends(may(Scope.ADMIN))]
