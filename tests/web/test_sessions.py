"""Requests that a browser sends with the cookie of somebody who signed in to the dashboard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from zeke_queue.callers import Scope
from zeke_queue.core import apikeys
from zeke_queue.web.guard import COOKIE, CSRF_HEADER, csrf_token

if TYPE_CHECKING:
    import httpx2

    from tests.clocks import FrozenClock
    from tests.web.conftest import Web
    from zeke_queue.queue import Queue

TOKEN = "5e551011"


@pytest.fixture
async def signed_in(call: Web, queue: Queue) -> Any:
    """Somebody who signed in with a key that may send jobs, for an hour."""
    await call.key(Scope.TRIGGER, name="ada")
    (key,) = await queue.storage.keys()
    assert await queue.storage.open_session(apikeys.digest_of(TOKEN), key.id, 3600)
    return key


async def sent(
    call: Web, method: str, path: str, *, session: str = TOKEN, **headers: str | bytes
) -> httpx2.Response:
    body: dict[str, Any] = {"json": {"taskId": "break"}} if method == "POST" else {}
    return await call(method, path, headers={"cookie": f"{COOKIE}={session}", **headers}, **body)


async def test_a_session_looks_and_changes_with_the_token_of_its_pages(call: Web, signed_in: Any) -> None:
    del signed_in
    assert (await sent(call, "GET", "/queues")).status_code == 200
    changed = await sent(call, "POST", "/trigger", **{CSRF_HEADER: csrf_token(TOKEN)})
    assert changed.status_code == 200
    assert (
        await sent(call, "POST", "/queues/mail/pause", **{CSRF_HEADER: csrf_token(TOKEN)})
    ).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {CSRF_HEADER: ""},
        {CSRF_HEADER: csrf_token("another")},
        {CSRF_HEADER: "\u00e9"},
        {CSRF_HEADER: csrf_token(TOKEN), "origin": "https://evil.example"},
        {CSRF_HEADER: csrf_token(TOKEN), "sec-fetch-site": "cross-site"},
    ],
)
async def test_a_session_changes_nothing_for_another_page(
    call: Web, queue: Queue, signed_in: Any, headers: dict[str, str]
) -> None:
    del signed_in
    sendable: dict[str, Any] = {name: value.encode() for name, value in headers.items()}
    assert (await sent(call, "POST", "/trigger", **sendable)).status_code == 403
    assert await queue.count() == []


async def test_a_session_ends_with_its_time(call: Web, signed_in: Any, clock: FrozenClock) -> None:
    del signed_in
    clock.advance(3599)
    assert (await sent(call, "GET", "/queues")).status_code == 200
    clock.advance(1)
    assert (await sent(call, "GET", "/queues")).status_code == 401


async def test_a_session_ends_with_its_key(call: Web, queue: Queue, signed_in: Any) -> None:
    await queue.storage.revoke_key(signed_in.id)
    assert (await sent(call, "GET", "/queues")).json() == {"error": "Authorization header required"}


async def test_a_cookie_of_no_session_is_nobody(call: Web, signed_in: Any) -> None:
    del signed_in
    for session in ("", "x", "'; drop table pgboss.api_session; --"):
        assert (await sent(call, "GET", "/queues", session=session)).status_code == 401


async def test_a_header_counts_before_a_cookie(call: Web, signed_in: Any) -> None:
    del signed_in
    wrong = await sent(call, "GET", "/queues", authorization="Bearer mid_" + "0" * 64)
    assert wrong.json() == {"error": "Invalid API key"}
