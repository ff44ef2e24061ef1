"""The dashboard: a separate application, which is mounted in the API's application and shares its parts.

Every request is processed the same way: authentication and authorization, then the page's handler; errors are
shown as a page.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from zeke_queue.errors import ReadTimeoutError, StorageError, ZekeError, is_outage
from zeke_queue.web.access.guard import CSRF_HEADER, check_csrf, check_origin, permitted
from zeke_queue.web.dashboard import jobs, overview, queues, schedules, sign_in, trigger, workers
from zeke_queue.web.dashboard.page_request import PageRequest, Shared, local_path
from zeke_queue.web.dashboard.renderer import Assets, environment
from zeke_queue.web.dashboard.sampler import Sampler
from zeke_queue.web.errors import ApiError, answer_disconnected, to_api_error
from zeke_queue.web.request_bodies import capped, read_form

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from zeke_queue.web.access.guard import Caller
    from zeke_queue.web.api import Api
    from zeke_queue.web.dashboard.page import Page, View

VIEWS: Final = (*overview.VIEWS, *queues.VIEWS, *jobs.VIEWS, *trigger.VIEWS, *schedules.VIEWS, *workers.VIEWS)

FORM_MAX: Final = 65_536
"""Bytes of a form that a caller without a session may send."""

_TITLES: Final = {
    400: "Bad request",
    401: "Sign in first",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    409: "Not possible now",
    413: "Too large",
    415: "Unsupported form",
    422: "Invalid input",
    429: "Too many requests",
    503: "Not possible at the moment",
}
_WHY: Final = {
    404: "The dashboard has no page at this address.",
    405: "This address does not accept this kind of request; open its page first.",
}
"""The messages for requests that match no page."""


class Dashboard:
    """The application of all pages.

    Attributes:
        app: the application to mount.
        sampler: reads the storage once for all viewers of live figures.
    """

    def __init__(self, parts: Api, pages: Sequence[Page] = ()) -> None:
        served = parts.queue.catalog.served
        self.pages = tuple(page for page in pages if page.needs is None or page.needs in served)
        folders = [page.templates for page in self.pages if page.templates is not None]
        templates = environment(folders, pages=self.pages)
        self.sampler = Sampler(parts)
        self._shared = Shared(parts, templates, Assets(), self.sampler)
        self.app = Starlette(
            routes=self._routes(),
            exception_handlers={
                ApiError: self._error_page,
                ZekeError: self._error_page,
                HTTPException: self._error_page,
                ClientDisconnect: answer_disconnected,
                Exception: self._error_page,
            },
        )

    async def close(self) -> None:
        """Stop the sampler; call it after the streams are closed."""
        await self.sampler.close()

    def _routes(self) -> list[Route]:
        return [
            Route("/static/{digest}/{name:path}", self._asset),
            Route("/sign-in", self._open(sign_in.ask)),
            Route("/sign-in", self._open(sign_in.sign_in), methods=["POST"]),
            *(self._route(view) for view in (*VIEWS, sign_in.SIGN_OUT)),
            *(self._route(view, f"/{page.slug}") for page in self.pages for view in page.views),
        ]

    def _route(self, view: View, prefix: str = "") -> Route:
        async def answer(request: Request) -> Response:
            # The body of an unknown caller is not read.
            caller, needs_token = await self._shared.parts.guard.identify(request)
            permitted(caller, view.scope)
            form = await read_form(request) if view.changes else None
            if needs_token:
                csrf = None if form is None else form.get("csrf")
                check_csrf(request, csrf if isinstance(csrf, str) else request.headers.get(CSRF_HEADER))
            request.state.caller = caller
            return await view.handle(PageRequest(self._shared, request, caller, form))

        return Route(prefix + view.path, answer, methods=["POST"] if view.changes else ["GET"])

    def _open(
        self, handle: Callable[[PageRequest], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """Return an endpoint that does not require a session."""

        async def answer(request: Request) -> Response:
            form = None
            if request.method == "POST":
                check_origin(request)  # there is no caller yet for the guard to check
                receive = capped(request.scope, request.receive, FORM_MAX)
                form = await read_form(Request(request.scope, receive))
            return await handle(PageRequest(self._shared, request, None, form))

        return answer

    async def _asset(self, request: Request) -> Response:
        found = self._shared.assets.response(request.path_params["digest"], request.path_params["name"])
        if found is None:
            raise HTTPException(404)
        return found

    async def _error_page(self, request: Request, error: Exception) -> Response:
        """Return the error page of a failed request."""
        if isinstance(error, HTTPException):
            said = _WHY.get(error.status_code, str(error.detail))
            problem = ApiError(error.status_code, said, headers=error.headers)
        else:
            problem = to_api_error(error)
        if problem.status == HTTPStatus.UNAUTHORIZED:
            return self._to_sign_in(request)
        caller = getattr(request.state, "caller", None)
        if caller is None and request.method == "GET" and not isinstance(error, StorageError):
            caller = await self._known(request)
        page_request = PageRequest(self._shared, request, caller)
        shown: dict[str, Any] = {
            "title": _title(error, problem.status),
            "code": problem.status,
            "message": _error_message(problem),
        }
        response = page_request.page("error.html", status=problem.status, **shown)
        response.headers.update(problem.headers)
        return response

    async def _known(self, request: Request) -> Caller | None:
        """Return the caller of an unknown page if it is authenticated, so that the page has navigation."""
        try:
            return await self._shared.parts.guard.caller(request)
        except (ApiError, ZekeError):
            return None

    def _to_sign_in(self, request: Request) -> Response:
        """Redirect to the sign-in page, and from there back to the requested page."""
        page_request = PageRequest(self._shared, request, None)
        asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        if request.method != "GET" or page_request.is_partial:
            asked = request.headers.get("hx-current-url") or request.headers.get("referer") or ""
            base = f"{request.url.scheme}://{request.url.netloc}"
            asked = asked.removeprefix(base)
        there = page_request.url("sign-in", next=local_path(asked, page_request.root))
        if "text/event-stream" in request.headers.get("accept", ""):
            return Response(status_code=401)
        if page_request.is_partial:
            return Response(status_code=401, headers={"hx-redirect": there})
        return RedirectResponse(there, 303)


def _title(error: Exception, status: int) -> str:
    if isinstance(error, ReadTimeoutError):
        return "The search took too long"
    return "The database is unavailable" if is_outage(error) else _TITLES.get(status, "Something went wrong")


def _error_message(problem: ApiError) -> str:
    """Return the message of an error, without the status, which the page shows itself."""
    description = problem.more.get("description")
    return problem.message if description is None else str(description)
