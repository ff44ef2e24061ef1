"""No body of an unknown caller is read: not at any route, and not a large one of a form for a key."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from tests.cases import check_each_async
from tests.conformance.driver import soon
from tests.web.conftest import Web
from zeke_queue.web.dashboard.dashboard import FORM_MAX
from zeke_queue.web.rest import ROUTERS
from zeke_queue.web.trpc.router import router as trpc

FORM = "application/x-www-form-urlencoded"
SIGN_IN = ("POST", "/dashboard/sign-in")


def routes_of(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Yield method and path of every route, with a word for each parameter."""
    routes: list[tuple[str, Any]] = [("/dashboard", route) for route in app.state.dashboard.app.routes]
    routes += [("", route) for router in (*ROUTERS, trpc) for route in router.routes]
    for prefix, route in routes:
        path = prefix + re.sub(r"{[^}]*}", "x", route.path)
        yield from ((method, path) for method in route.methods)


async def without_a_body(
    app: FastAPI, method: str, path: str, media_type: str = "application/json", *, parts: int | None = None
) -> tuple[int, dict[bytes, bytes], int]:
    """Send a request whose body never ends; return status, headers, and how often it was read.

    After so many ``parts`` of the body its client leaves.
    """
    reads = 0
    sent: list[Any] = []

    async def receive() -> Any:
        nonlocal reads
        reads += 1
        if parts is not None and reads > parts:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": b"a" * 64, "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = {"host": "localhost", "content-type": media_type, "transfer-encoding": "chunked"}
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 50_000),
        "server": ("localhost", 80),
        "state": {},
    }
    await soon(app(scope, receive, send))
    return sent[0]["status"], dict(sent[0]["headers"]), reads


async def test_no_route_reads_the_body_of_an_unknown_caller(app: FastAPI, call: Web) -> None:
    await call.key()
    routes = sorted({route for route in routes_of(app) if route[0] not in ("GET", "HEAD")} - {SIGN_IN})
    assert len(routes) > 15
    assert ("POST", "/trpc/x") in routes
    assert ("POST", "/dashboard/trigger") in routes

    async def check(method: str, path: str) -> None:
        for media_type in ("application/json", FORM):
            status, headers, reads = await without_a_body(app, method, path, media_type)
            if path.startswith("/dashboard"):
                assert (status, headers[b"location"][:18]) == (303, b"/dashboard/sign-in")
            elif not path.startswith("/trpc") or status != 404:  # no procedure is named x
                assert status in (401, 415)
            assert reads == 0

    await check_each_async(routes, check)
    status, _, reads = await without_a_body(app, "POST", "/trpc/trigger.trigger")
    assert (status, reads) == (401, 0)


async def test_form_for_a_key_is_read_up_to_its_limit(app: FastAPI, call: Web) -> None:
    key = await call.key()
    status, _, reads = await without_a_body(app, *SIGN_IN, FORM)
    assert (status, reads) == (413, FORM_MAX // 64 + 1)
    async with call.client() as client:
        answer = await client.post(SIGN_IN[1], data={"key": key, "next": "x" * FORM_MAX})
        assert answer.status_code == 413
        answer = await client.post(SIGN_IN[1], data={"key": key, "next": "x" * (FORM_MAX - 200)})
        assert answer.status_code == 303, answer.text


async def test_client_that_leaves_before_the_end_of_its_body_is_not_logged(
    app: FastAPI, capfd: pytest.CaptureFixture[str]
) -> None:
    async def check(path: str, media_type: str) -> None:
        _, _, reads = await without_a_body(app, "POST", path, media_type, parts=2)
        assert reads == 3

    json = "application/json"
    cases = [
        (SIGN_IN[1], FORM),
        ("/dashboard/trigger", FORM),
        ("/trigger", json),
        ("/trpc/trigger.trigger", json),
    ]
    await check_each_async(cases, check)
    assert capfd.readouterr().err == ""


async def test_unauthorized_batch_is_answered_call_by_call_without_its_body(app: FastAPI, call: Web) -> None:
    await call.key()
    answer: httpx2.Response = await call(
        "POST",
        "/trpc/trigger.trigger,trigger.trigger?batch=1",
        content=b"{",
        headers={"content-type": "application/json"},
    )
    assert answer.status_code == 401
    assert [one["error"]["json"]["data"]["code"] for one in answer.json()] == ["UNAUTHORIZED"] * 2
