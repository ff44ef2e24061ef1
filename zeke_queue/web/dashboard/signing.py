"""Sign-in with a key, and sign-out. The browser stores only a session's token, never the key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from zeke_queue.client.parts import parts_of
from zeke_queue.core import apikeys
from zeke_queue.storage.access import Scope
from zeke_queue.web.access.guard import COOKIE, permits
from zeke_queue.web.dashboard.page import View
from zeke_queue.web.dashboard.page_request import local_path
from zeke_queue.web.errors import ApiError

if TYPE_CHECKING:
    from starlette.responses import Response

    from zeke_queue.storage.access import ApiKey
    from zeke_queue.web.dashboard.page_request import Desk

TOKEN_BYTES: Final = 32


async def ask(desk: Desk) -> Response:
    """Show the form for a key."""
    return await _form(desk, desk.asked("next"))


async def sign_in(desk: Desk) -> Response:
    """Open a session with a key, and redirect to the page that was requested first."""
    onward = desk.field("next")
    try:
        key = await _key(desk)
    except ApiError as error:
        return await _form(desk, onward, wrong=error.message, status=error.status)
    settings, queue = desk.parts.settings, desk.parts.queue
    token = parts_of(queue).entropy.stream("session").randbytes(TOKEN_BYTES).hex()
    await _close(desk)
    access = parts_of(queue).storage.access
    if not await access.create_session(apikeys.digest_of(token), key.id, settings.api_session):
        return await _form(desk, onward, wrong="The key has just been revoked", status=401)
    response = desk.go(local_path(onward, desk.root) or desk.url(""))
    desk.keep(response, COOKIE, token, seconds=int(settings.api_session))
    return response


async def sign_out(desk: Desk) -> Response:
    """End the session."""
    await _close(desk)
    response = desk.go(desk.url("sign-in"), "Signed out")
    response.delete_cookie(COOKIE, path=desk.root or "/")
    return response


SIGN_OUT: Final = View("/sign-out", sign_out, changes=True)


async def _close(desk: Desk) -> None:
    """End the browser's session, if there is one."""
    token = desk.request.cookies.get(COOKIE)
    if token is not None:
        await parts_of(desk.parts.queue).storage.access.delete_session(apikeys.digest_of(token))


async def _key(desk: Desk) -> ApiKey:
    """Return the submitted key.

    Raises:
        ApiError: 401 if the key is invalid; 403 if it lacks the scope to read.
    """
    text = desk.field("key").strip()
    if not apikeys.is_well_formed(text):
        raise ApiError(401, "This is not an API key")
    key = await desk.parts.guard.key(text)
    if not permits(key.scopes, Scope.READ):
        raise ApiError(403, f"The key {key.name} can't read jobs: it needs the scope jobs.read")
    return key


async def _form(desk: Desk, onward: str, *, wrong: str | None = None, status: int = 200) -> Response:
    return desk.page(
        "sign_in.html",
        status=status,
        onward=local_path(onward, desk.root) or "",
        wrong=wrong,
        keys_exist=await desk.parts.guard.keys_exist(),
    )
