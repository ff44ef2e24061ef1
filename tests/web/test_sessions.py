"""Requests with the cookie of a session, which browsers send after signing in to the dashboard."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from tests.cases import check_each_async
from tests.web.conftest import Web
from zeke_queue.client.parts import parts_of
from zeke_queue.client.queue import Queue
from zeke_queue.core import apikeys
from zeke_queue.storage.access import Scope
from zeke_queue.web.access.guard import COOKIE, CSRF_HEADER, csrf_token

TOKEN = "5e551011"


@pytest.fixture
async def signed_in(call: Web, queue: Queue) -> Any:
    """The key of a session of an hour; it may send jobs."""
    await call.key(Scope.TRIGGER, name="ada")
    (key,) = await parts_of(queue).storage.access.keys()
    assert await parts_of(queue).storage.access.create_session(apikeys.digest_of(TOKEN), key.id, 3600)
    return key


async def sent(
    call: Web, method: str, path: str, *, session: str = TOKEN, **headers: str | bytes
) -> httpx2.Response:
    body: dict[str, Any] = {"json": {"taskId": "break"}} if method == "POST" else {}
    return await call(method, path, headers={"cookie": f"{COOKIE}={session}", **headers}, **body)


@pytest.mark.usefixtures("signed_in")
async def test_session_reads_and_changes_with_its_csrf_token(call: Web) -> None:
    token = {CSRF_HEADER: csrf_token(TOKEN)}
    assert (await sent(call, "GET", "/queues")).status_code == 200
    assert (await sent(call, "POST", "/trigger", **token)).status_code == 200
    assert (await sent(call, "POST", "/queues/mail/pause", **token)).status_code == 403


@pytest.mark.usefixtures("signed_in")
async def test_session_changes_nothing_for_another_page(call: Web, queue: Queue) -> None:
    async def check(headers: dict[str, str]) -> None:
        sendable: dict[str, Any] = {name: value.encode() for name, value in headers.items()}
        assert (await sent(call, "POST", "/trigger", **sendable)).status_code == 403
        assert await queue.stats() == []

    cases: list[dict[str, str]] = [
        {},
        {CSRF_HEADER: ""},
        {CSRF_HEADER: csrf_token("another")},
        {CSRF_HEADER: "\u00e9"},
        {CSRF_HEADER: csrf_token(TOKEN), "origin": "https://evil.example"},
        {CSRF_HEADER: csrf_token(TOKEN), "sec-fetch-site": "cross-site"},
    ]
    await check_each_async(cases, check)


@pytest.mark.usefixtures("signed_in")
async def test_unknown_session_or_invalid_key_beside_one_is_rejected(call: Web) -> None:
    for session in ("", "x", "'; drop table pgboss.api_session; --"):
        assert (await sent(call, "GET", "/queues", session=session)).status_code == 401, session
    # A header counts before a cookie.
    wrong = await sent(call, "GET", "/queues", authorization="Bearer mid_" + "0" * 64)
    assert wrong.json() == {"error": "Invalid API key"}
