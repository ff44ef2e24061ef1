"""The parts shared by all routes, and the dependency that authenticates callers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final

from fastapi import Depends
from starlette.requests import HTTPConnection, Request

from zeke_queue.client.parts import parts_of
from zeke_queue.storage.access import Scope
from zeke_queue.web.access.guard import Caller

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from zeke_queue.client.queue import Queue
    from zeke_queue.model import JobPage, JobQuery
    from zeke_queue.storage import Storage
    from zeke_queue.web.access.guard import Guard
    from zeke_queue.web.presenter import Presenter
    from zeke_queue.web.search_budget import SearchBudget
    from zeke_queue.web.settings import WebSettings
    from zeke_queue.web.sse import EventStreams
    from zeke_queue.web.triggers import Jobs


@dataclass(frozen=True, slots=True)
class Api:
    """The parts of one application.

    Attributes:
        jobs: sends jobs on behalf of callers.
        presenter: converts stored values to what callers may see.
        live: streams of changes.
        searches: what this interface may read at once.
    """

    queue: Queue
    settings: WebSettings
    guard: Guard
    jobs: Jobs
    presenter: Presenter
    live: EventStreams
    searches: SearchBudget

    @property
    def storage(self) -> Storage:
        """The storage of the queue."""
        return parts_of(self.queue).storage

    async def find(self, query: JobQuery) -> JobPage:
        """Return jobs that match, as one of this interface's searches.

        Raises:
            ApiError: 503 if too many run at once.
        """
        async with self.searches.search():
            return await self.storage.find(query)


def api_of(connection: HTTPConnection) -> Api:
    """Return the parts of the application that serves a request, whether mounted or not."""
    return connection.app.state.zeke


def requires(scope: Scope) -> Callable[[Request], Awaitable[Caller]]:
    """Return a dependency that provides the caller and requires a scope."""

    async def require(request: Request) -> Caller:
        return await api_of(request).guard.require(request, scope)

    return require


Parts = Annotated[Api, Depends(api_of)]
READS: Final = Depends(requires(Scope.READ))
Reads = Annotated[Caller, READS]
Triggers = Annotated[Caller, Depends(requires(Scope.TRIGGER))]
Administers = Annotated[Caller, Depends(requires(Scope.ADMIN))]
