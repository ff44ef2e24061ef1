"""One request to a page of the dashboard, and the means to answer it."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote, urlencode, urlsplit

from starlette.responses import HTMLResponse, RedirectResponse

from zeke_queue.storage.access import Scope
from zeke_queue.web.access.guard import COOKIE, csrf_token
from zeke_queue.web.dashboard.renderer import parameters

if TYPE_CHECKING:
    from collections.abc import Mapping

    import jinja2
    from starlette.datastructures import FormData
    from starlette.requests import Request
    from starlette.responses import Response

    from zeke_queue.web.access.guard import AuthorizationCheck, Caller
    from zeke_queue.web.api import Api
    from zeke_queue.web.dashboard.renderer import Assets
    from zeke_queue.web.dashboard.sampler import Sampler

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
"""The content security policy of every page: no content from other hosts, and no inline scripts or styles."""

NOTE: Final = "zeke_note"
NOTE_MAX: Final = 1_000
NOTE_SECONDS: Final = 60
THEME: Final = "zeke_theme"
_THEMES: Final = ("light", "dark")
_WHY: Final = {
    Scope.TRIGGER: "Your key may not send jobs: that needs the scope jobs.trigger",
    Scope.ADMIN: "Your key may only read: changes need the scope jobs.admin",
    Scope.READ: "Your key may not read: that needs the scope jobs.read",
}


@dataclass(frozen=True, slots=True)
class Shared:
    """What all requests to a dashboard share.

    Attributes:
        templates, assets: the templates and the static files of pages.
        sampler: reads the storage once for all viewers of live figures.
    """

    parts: Api
    templates: jinja2.Environment
    assets: Assets
    sampler: Sampler


class PageRequest:
    """One authorized request.

    Attributes:
        caller: the caller; None on pages that do not require a session.
        form: the submitted form; empty without one.
        words: the path parameters by name.
    """

    def __init__(
        self, shared: Shared, request: Request, caller: Caller | None, form: FormData | None = None
    ) -> None:
        self._shared = shared
        self.request = request
        self.parts: Api = shared.parts
        self.caller = caller
        self.form: Mapping[str, Any] = form if form is not None else {}
        self._form = form
        self.words: dict[str, str] = dict(request.path_params)

    @property
    def root(self) -> str:
        """The path at which the dashboard is mounted, without a trailing slash."""
        return quote(self.request.scope.get("root_path", ""), safe="/~")

    @property
    def known_caller(self) -> Caller:
        """The caller, on pages that require a session."""
        if self.caller is None:
            raise LookupError("This page requires no session, so there may be no caller")
        return self.caller

    @property
    def sampler(self) -> Sampler:
        """The figures of live pages."""
        return self._shared.sampler

    @property
    def is_partial(self) -> bool:
        """Whether an open page makes the request to update a part of itself."""
        return "hx-request" in self.request.headers

    def field(self, name: str) -> str:
        """Return the value of a form field; empty if it is absent or a file."""
        value = self.form.get(name, "")
        return value if isinstance(value, str) else ""

    def fields(self, name: str) -> list[str]:
        """Return all values of a form field."""
        given = [] if self._form is None else self._form.getlist(name)
        return [value for value in given if isinstance(value, str)]

    def asked(self, name: str) -> str:
        """Return the value of a query parameter; empty if it is absent."""
        return self.request.query_params.get(name, "")

    def may(self, scope: Scope) -> bool:
        """Return whether the caller holds a scope."""
        return self.caller is not None and self.caller.has_scope(scope)

    def authorization_check(self) -> AuthorizationCheck:
        """Return a check of whether the caller may still read."""
        return self.parts.guard.authorization_check(self.request, self.known_caller, Scope.READ)

    def url(self, *path: object, **query: Any) -> str:
        """Return the URL of a page of the dashboard."""
        place = "/".join(quote(str(part), safe="") for part in path)
        asked = parameters(query)
        return f"{self.root}/{place}" + (f"?{urlencode(asked)}" if asked else "")

    def asset(self, name: str) -> str:
        """Return the URL of a static file."""
        return self.root + self._shared.assets.path(name)

    def draw(self, template: str, **shown: Any) -> str:
        """Render a template."""
        return self._shared.templates.get_template(template).render(**self._common(), **shown)

    def page(self, template: str, *, status: int = 200, **shown: Any) -> HTMLResponse:
        """Return a page as the response."""
        note = None if self.is_partial else read_note(self.request)
        response = HTMLResponse(
            self.draw(template, note=note, **shown), status, headers={"content-security-policy": POLICY}
        )
        if note is not None:
            response.delete_cookie(NOTE, path=self.root or "/")
        return response

    def go(self, url: str, note: str | None = None, *, kind: str = "done") -> RedirectResponse:
        """Return a redirect after a form, to a page that shows a note once."""
        response = RedirectResponse(url, 303)
        if note is not None:
            self.keep(response, NOTE, write_note(note, kind), seconds=NOTE_SECONDS)
        return response

    def keep(self, response: Response, name: str, value: str, *, seconds: int) -> None:
        """Set a cookie that is limited to this dashboard and not readable by scripts."""
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
        """Return the variables for all templates."""
        session = self.request.cookies.get(COOKIE)
        theme = self.request.cookies.get(THEME)
        return {
            "page_request": self,
            "url": self.url,
            "asset": self.asset,
            "caller": self.caller,
            "csrf": csrf_token(session) if session and self.caller is not None else "",
            "theme": theme if theme in _THEMES else "",
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
"""The configuration of htmx: no evaluation, no added styles, same origin only, no history cache."""


def write_note(text: str, kind: str) -> str:
    """Encode a note for a cookie."""
    said = json.dumps({"text": text[:NOTE_MAX], "kind": kind})
    return base64.urlsafe_b64encode(said.encode()).decode()


def read_note(request: Request) -> dict[str, str] | None:
    """Return the note of an earlier response; None if it is absent or invalid."""
    kept = request.cookies.get(NOTE)
    if kept is None:
        return None
    try:
        said = json.loads(base64.urlsafe_b64decode(kept.encode()))
        return {"text": str(said["text"]), "kind": "done" if said["kind"] == "done" else "wrong"}
    except (ValueError, TypeError, LookupError, RecursionError):
        return None


def local_path(text: str, root: str) -> str | None:
    """Return a URL if it leads to the dashboard at this root; None if it may lead elsewhere.

    Proxies and browsers may decode percent-encoded dots and slashes, so both forms of the URL are checked.
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


_DECODINGS_MAX: Final = 10
"""How many times a path is decoded, which takes as long as the path each time."""


def _plain(path: str) -> str:
    """Decode a path until no percent-encoding is left; return an empty text if that takes too many times."""
    for _ in range(_DECODINGS_MAX):
        if (plain := unquote(path)) == path:
            return path
        path = plain
    return ""
