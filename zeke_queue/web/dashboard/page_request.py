"""What a page of the dashboard works with while it answers one request."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote, urlencode, urlsplit

from starlette.responses import HTMLResponse, RedirectResponse

from zeke_queue.storage.access import Scope
from zeke_queue.web.access.guard import COOKIE, csrf_token
from zeke_queue.web.dashboard.drawing import parameters

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.datastructures import FormData
    from starlette.requests import Request
    from starlette.responses import Response

    from zeke_queue.web.access.guard import Caller, Standing
    from zeke_queue.web.api import Api
    from zeke_queue.web.dashboard.dashboard import Dashboard

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
"""The content security policy of every page: nothing comes from another host, nothing stands inline."""

NOTE: Final = "zeke_note"
NOTE_MAX: Final = 1_000
NOTE_SECONDS: Final = 60
THEME: Final = "zeke_theme"
_THEMES: Final = ("light", "dark")
_WHY: Final = {
    Scope.TRIGGER: "Your key may not send jobs: that needs the scope jobs.trigger",
    Scope.ADMIN: "Your key may look, but not change: that needs the scope jobs.admin",
    Scope.READ: "Your key may not look: that needs the scope jobs.read",
}


class Desk:
    """One request of somebody who may make it.

    Attributes:
        request: what was asked.
        parts: the application's.
        caller: who asked; None on the pages for those who are not signed in.
        form: what a form said; empty for one that has none.
        words: values of the path, by name.
    """

    def __init__(
        self, dashboard: Dashboard, request: Request, caller: Caller | None, form: FormData | None = None
    ) -> None:
        self._dashboard = dashboard
        self.request = request
        self.parts: Api = dashboard.parts
        self.caller = caller
        self.form: Mapping[str, Any] = form if form is not None else {}
        self._form = form
        self.words: dict[str, str] = dict(request.path_params)

    @property
    def root(self) -> str:
        """Where the dashboard is mounted, as it stands in addresses; without a slash at its end."""
        return quote(self.request.scope.get("root_path", ""), safe="/~")

    @property
    def somebody(self) -> Caller:
        """Who asked."""
        if self.caller is None:
            raise LookupError("This page is for those too who did not sign in")
        return self.caller

    @property
    def dashboard(self) -> Dashboard:
        """What all requests share."""
        return self._dashboard

    @property
    def is_partial(self) -> bool:
        """Whether a page that is open asks, to bring a part of itself up to date."""
        return "hx-request" in self.request.headers

    def field(self, name: str) -> str:
        """Return what a form says in a field; empty if it has none, or a file."""
        value = self.form.get(name, "")
        return value if isinstance(value, str) else ""

    def fields(self, name: str) -> list[str]:
        """Return all that a form says under one name."""
        given = [] if self._form is None else self._form.getlist(name)
        return [value for value in given if isinstance(value, str)]

    def asked(self, name: str) -> str:
        """Return what the address asks by a parameter; empty if it has none."""
        return self.request.query_params.get(name, "")

    def may(self, scope: Scope) -> bool:
        """Return whether the caller holds a scope."""
        return self.caller is not None and self.caller.may(scope)

    def still(self) -> Standing:
        """Return what says, whenever it is asked, whether who asked may still look."""
        return self.parts.guard.still(self.request, self.somebody, Scope.READ)

    def url(self, *path: object, **query: Any) -> str:
        """Return the address of a page of the dashboard."""
        place = "/".join(quote(str(part), safe="") for part in path)
        asked = parameters(query)
        return f"{self.root}/{place}" + (f"?{urlencode(asked)}" if asked else "")

    def asset(self, name: str) -> str:
        """Return the address of a file that pages load."""
        return self.root + self._dashboard.assets.path(name)

    def draw(self, template: str, **shown: Any) -> str:
        """Draw a template."""
        return self._dashboard.templates.get_template(template).render(**self._common(), **shown)

    def page(self, template: str, *, status: int = 200, **shown: Any) -> HTMLResponse:
        """Answer with a page."""
        note = None if self.is_partial else read_note(self.request)
        response = HTMLResponse(
            self.draw(template, note=note, **shown), status, headers={"content-security-policy": POLICY}
        )
        if note is not None:
            response.delete_cookie(NOTE, path=self.root or "/")
        return response

    def go(self, url: str, note: str | None = None, *, kind: str = "done") -> RedirectResponse:
        """Answer a form by leading on to a page, which shows a note once."""
        response = RedirectResponse(url, 303)
        if note is not None:
            self.keep(response, NOTE, write_note(note, kind), seconds=NOTE_SECONDS)
        return response

    def keep(self, response: Response, name: str, value: str, *, seconds: int) -> None:
        """Set a cookie for this dashboard alone, which scripts cannot read."""
        secure = self.parts.settings.api_secure_cookies
        response.set_cookie(
            name,
            value,
            max_age=seconds,
            path=self.root or "/",
            httponly=True,
            samesite="lax",
            secure=secure == "always" or (secure == "auto" and self.request.url.scheme == "https"),
        )

    def _common(self) -> dict[str, Any]:
        """Return what every template may use."""
        session = self.request.cookies.get(COOKIE)
        theme = self.request.cookies.get(THEME)
        return {
            "desk": self,
            "url": self.url,
            "asset": self.asset,
            "caller": self.caller,
            "csrf": csrf_token(session) if session and self.caller is not None else "",
            "theme": theme if theme in _THEMES else "",
            "pages": self._dashboard.pages,
            "here": self.request.url.path.removeprefix(self.root).split("/")[1:2],
            "may_trigger": self.may(Scope.TRIGGER),
            "may_admin": self.may(Scope.ADMIN),
            "why_no_trigger": _WHY[Scope.TRIGGER],
            "why_no_admin": _WHY[Scope.ADMIN],
            "htmx_config": HTMX,
            "make_key": self.parts.guard.make_key,
        }


HTMX: Final = json.dumps(
    {
        "allowEval": False,
        "includeIndicatorStyles": False,
        "selfRequestsOnly": True,
        "historyCacheSize": 0,
        "refreshOnHistoryMiss": True,
        "allowScriptTags": False,
        "globalViewTransitions": False,
    }
)
"""How htmx is set: it runs nothing, adds no style, asks nobody else, and keeps no page in the browser."""


def write_note(text: str, kind: str) -> str:
    """Write a note as a cookie keeps it."""
    said = json.dumps({"text": text[:NOTE_MAX], "kind": kind})
    return base64.urlsafe_b64encode(said.encode()).decode()


def read_note(request: Request) -> dict[str, str] | None:
    """Return the note that an earlier answer left; None if there is none, or none of ours."""
    kept = request.cookies.get(NOTE)
    if kept is None:
        return None
    try:
        said = json.loads(base64.urlsafe_b64decode(kept.encode()))
        return {"text": str(said["text"]), "kind": "done" if said["kind"] == "done" else "wrong"}
    except (ValueError, TypeError, LookupError, RecursionError):
        return None


def local_path(text: str, root: str) -> str | None:
    """Return an address if it leads to the dashboard at this root; None if it may lead elsewhere.

    A proxy or a browser may take a quoted dot or slash for a plain one, so it is refused where either of the
    two leads elsewhere.
    """
    if not text.startswith(f"{root}/") or not text.isprintable() or not text.isascii():
        return None
    try:
        parts = urlsplit(text)
    except ValueError:
        return None
    if parts.scheme or parts.netloc:
        return None
    path = _plain(parts.path)
    if not path.startswith(f"{_plain(root)}/") or not path.isprintable() or "\\" in path:
        return None
    steps = [step.partition(";")[0] for step in path.split("/")]
    return None if {".", ".."} & {*steps} or "" in steps[1:-1] else text


def _plain(path: str) -> str:
    """Return a path without anything that is quoted in it, however often it was quoted."""
    while (plain := unquote(path)) != path:
        path = plain
    return path
