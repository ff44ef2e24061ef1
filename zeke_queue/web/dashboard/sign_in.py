"""Sign-in with a key or a link, and sign-out. The browser stores only a session's token, never the key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from zeke_queue.client.parts import parts_of
from zeke_queue.core import apikeys
from zeke_queue.storage.access import Scope
from zeke_queue.web.access.first_key import TOKEN_BYTES, use_link
from zeke_queue.web.access.guard import COOKIE, permits
from zeke_queue.web.dashboard.page import View
from zeke_queue.web.dashboard.page_request import local_path
from zeke_queue.web.errors import ApiError

if TYPE_CHECKING:
    from starlette.responses import Response

    from zeke_queue.storage.access import ApiKey
    from zeke_queue.web.dashboard.page_request import PageRequest

USED: Final = "The link has been used or has expired; restart `zeke up` for a new one, or enter a key"


async def ask(request: PageRequest) -> Response:
    """Show the form for a key; with the token of a sign-in link, open a session."""
    token = request.asked("token")
    # A browser that prepares a page in advance must not use the link up.
    if not token or request.request.method != "GET" or "sec-purpose" in request.request.headers:
        return _form(request, request.asked("next"))
    key = await use_link(request.parts.storage.access, token)
    if key is None:
        return _form(request, "", wrong=USED, status=401)
    return await _open(request, key, request.asked("next"))


async def sign_in(request: PageRequest) -> Response:
    """Open a session with a key, and redirect to the page that was requested first."""
    onward = request.field("next")
    try:
        key = await _key(request)
    except ApiError as error:
        return _form(request, onward, wrong=error.message, status=error.status)
    return await _open(request, key, onward)


async def _open(request: PageRequest, key: ApiKey, onward: str) -> Response:
    """Open a session of a key, in place of the browser's present one."""
    settings, queue = request.parts.settings, request.parts.queue
    token = parts_of(queue).entropy.stream("session").randbytes(TOKEN_BYTES).hex()
    await _close(request)
    access = request.parts.storage.access
    if not await access.create_session(apikeys.digest_of(token), key.id, settings.api_session):
        return _form(request, onward, wrong="The key has just been revoked", status=401)
    response = request.go(local_path(onward, request.root) or request.url(""))
    request.keep(response, COOKIE, token, seconds=int(settings.api_session))
    return response


async def sign_out(request: PageRequest) -> Response:
    """End the session."""
    await _close(request)
    response = request.go(request.url("sign-in"), "Signed out")
    response.delete_cookie(COOKIE, path=request.root or "/")
    return response


SIGN_OUT: Final = View("/sign-out", sign_out, changes=True)


async def _close(request: PageRequest) -> None:
    """End the browser's session, if any."""
    token = request.request.cookies.get(COOKIE)
    if token is not None:
        await request.parts.storage.access.delete_session(apikeys.digest_of(token))


async def _key(request: PageRequest) -> ApiKey:
    """Return the submitted key."""
    text = request.field("key").strip()
    if not apikeys.is_well_formed(text):
        raise ApiError(401, "This is not an API key")
    key = await request.parts.guard.key(text)
    if not permits(key.scopes, Scope.READ):
        raise ApiError(403, f"The key {key.name} can't read jobs: it needs the scope jobs.read")
    return key


def _form(request: PageRequest, onward: str, *, wrong: str | None = None, status: int = 200) -> Response:
    return request.page(
        "sign_in.html",
        status=status,
        onward=local_path(onward, request.root) or "",
        wrong=wrong,
    )
