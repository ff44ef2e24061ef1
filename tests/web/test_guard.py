"""Authentication and authorization: keys, scopes, loopback, host applications and forged requests."""

from __future__ import annotations

import asyncio
import hmac
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from tests.cases import check_each_async
from tests.clocks import FrozenClock
from tests.web.conftest import Web, new_web, on_both_storages
from zeke_queue.client.parts import parts_of
from zeke_queue.client.queue import Queue
from zeke_queue.core import apikeys
from zeke_queue.errors import StorageUnavailableError
from zeke_queue.storage.access import Scope
from zeke_queue.web import Caller, WebSettings, create_app
from zeke_queue.web.access import guard
from zeke_queue.web.access.guard import COOKIE, CSRF_HEADER, csrf_token
from zeke_queue.web.errors import ApiError

WRONG = "mid_" + "0" * 64
BREAK = {"taskId": "break"}
EVIL = {"origin": "https://evil.example"}


# Keys


async def test_invalid_key_is_rejected_with_reason(call: Web) -> None:
    await call.key()

    async def check(header: str | None, message: str) -> None:
        headers = {} if header is None else {"authorization": header}
        for method, path in (("POST", "/trigger"), ("GET", "/trigger/runs"), ("GET", "/metrics")):
            answer = await call(method, path, headers=headers)
            assert (answer.status_code, answer.json()) == (401, {"error": message})
            assert answer.headers["www-authenticate"] == "Bearer"

    cases = [
        (None, "Authorization header required"),
        ("", "Invalid authorization scheme"),
        ("Basic dTpw", "Invalid authorization scheme"),
        (WRONG, "Invalid authorization scheme"),
        ("Bearer", "Token required"),
        ("Bearer  ", "Token required"),
        ("Bearer abc", "Invalid token format"),
        ("Bearer mid_" + "g" * 64, "Invalid token format"),
        ("Bearer mid_" + "A" * 64, "Invalid token format"),
        (f"Bearer {WRONG}0", "Invalid token format"),
        (f"Bearer {WRONG}", "Invalid API key"),
    ]
    await check_each_async(cases, check)


@on_both_storages
async def test_key_is_accepted_from_any_host_and_only_as_a_whole(call: Web) -> None:
    key = await call.key(Scope.READ)
    async with call.client(key, host="jobs.example.org", peer="203.0.113.9") as client:
        assert (await client.get("/queues")).status_code == 200
        assert (await client.get("/queues", headers={"authorization": f"bearer {key}"})).status_code == 200
    for place in (12, 40, len(key) - 1):
        other = f"{key[:place]}{'0' if key[place] != '0' else '1'}{key[place + 1 :]}"
        assert (await call("GET", "/queues", other)).json() == {"error": "Invalid API key"}


@on_both_storages
async def test_expired_or_revoked_key_is_rejected(call: Web, queue: Queue, clock: FrozenClock) -> None:
    expiring, revoked = await call.key(expires_in=60), await call.key(name="old")
    assert (await call("GET", "/queues", expiring)).status_code == 200
    clock.advance(60)
    assert (await call("GET", "/queues", expiring)).json() == {"error": "Invalid API key"}
    assert (await call("GET", "/queues", revoked)).status_code == 200
    (old,) = [key for key in await parts_of(queue).storage.access.keys() if key.name == "old"]
    await parts_of(queue).storage.access.revoke_key(old.id)
    assert (await call("GET", "/queues", revoked)).json() == {"error": "Invalid API key"}


@on_both_storages
async def test_last_use_of_a_key_is_recorded_once_a_minute(
    call: Web, queue: Queue, clock: FrozenClock
) -> None:
    key = await call.key()
    used = clock.advance(5)
    await call("GET", "/queues", key)
    clock.advance(10)
    await call("GET", "/queues", key)
    assert [one.last_used_on for one in await parts_of(queue).storage.access.keys()] == [used]
    later = clock.advance(60)
    await call("GET", "/queues", key)
    assert [one.last_used_on for one in await parts_of(queue).storage.access.keys()] == [later]


async def test_digests_are_compared_in_constant_time(
    call: Web, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[bytes, bytes]] = []
    real = hmac.compare_digest

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return real(one, other)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    key = await call.key(Scope.ADMIN)
    (stored,) = await parts_of(queue).storage.access.keys()
    assert (await call("GET", "/queues", key)).status_code == 200
    other = f"{key[:-1]}{'0' if key[-1] != '0' else '1'}"
    assert (await call("GET", "/queues", other)).status_code == 401
    assert compared == [(stored.digest, apikeys.digest_of(text)) for text in (key, other)]
    compared.clear()
    token, wrong = guard.csrf_token("session"), b"0" * 64
    connection = HTTPConnection({"type": "http", "headers": [(b"cookie", b"zeke_session=session")]})
    guard.check_csrf(connection, token)
    with pytest.raises(ApiError):
        guard.check_csrf(connection, wrong.decode())
    assert compared == [(token.encode(), token.encode()), (token.encode(), wrong)]


# Scopes


async def test_scope_permits_all_lesser_requests(call: Web) -> None:
    async def check(scope: Scope, method: str, path: str) -> None:
        answer = await call(method, path, await call.key(scope), json=BREAK if method == "POST" else None)
        assert answer.status_code == 200

    cases = [
        (Scope.READ, "GET", "/queues"),
        (Scope.TRIGGER, "GET", "/queues"),
        (Scope.ADMIN, "GET", "/metrics"),
        (Scope.ADMIN, "POST", "/trigger"),
        (Scope.TRIGGER, "POST", "/trigger"),
        (Scope.ADMIN, "POST", "/queues/mail/pause"),
    ]
    await check_each_async(cases, check)
    refused = await call("POST", "/trigger", await call.key(Scope.READ, name="the reader"), json=BREAK)
    assert (refused.status_code, refused.json()["error"]) == (403, "Forbidden")
    assert "the reader does not have" in refused.json()["description"]


CHANGES = [
    ("POST", "/trigger", Scope.TRIGGER),
    ("POST", "/trpc/trigger.trigger", Scope.TRIGGER),
    ("POST", "/trpc/trigger.ingestUrl", Scope.TRIGGER),
    ("POST", "/trpc/trigger.runPlaybook", Scope.TRIGGER),
    ("POST", "/trigger/runs/1/cancel", Scope.ADMIN),
    ("POST", "/trigger/runs/1/retry", Scope.ADMIN),
    ("POST", "/trigger/runs/1/resume", Scope.ADMIN),
    ("POST", "/queues/mail/pause", Scope.ADMIN),
    ("POST", "/queues/mail/resume", Scope.ADMIN),
    ("PUT", "/schedules/break", Scope.ADMIN),
    ("DELETE", "/schedules/break", Scope.ADMIN),
    ("POST", "/schedules/break/run", Scope.ADMIN),
    ("POST", "/schedules/break/pause", Scope.ADMIN),
    ("POST", "/schedules/break/resume", Scope.ADMIN),
]


def test_changes_above_are_all_that_the_api_has(app: FastAPI) -> None:
    paths = app.openapi()["paths"]
    listed = {f"{method.upper()} {path}" for path, its in paths.items() for method in its if method != "get"}
    named = {
        "{} {}".format(
            method,
            path.replace("runs/1", "runs/{run_id}").replace("/mail", "/{name}").replace("/break", "/{name}"),
        )
        for method, path, _ in CHANGES
        if "trpc" not in path
    }
    assert named == listed


async def test_each_change_requires_its_scope() -> None:
    async def check(method: str, path: str, needed: Scope) -> None:
        async with new_web() as call:
            queue = call.queue
            await queue.schedules.put("break", "0 0 * * *")
            lesser = [Scope.READ] if needed is Scope.TRIGGER else [Scope.READ, Scope.TRIGGER]
            body: Any = {"cron": "1 1 * * *"} if method == "PUT" else BREAK
            before = await queue.schedules.list()
            for scope in lesser:
                refused = await call(method, path, await call.key(scope), json=body)
                assert refused.status_code == 403, scope
            assert (await queue.schedules.list(), await queue.stats()) == (before, [])
            assert await parts_of(queue).storage.queues() == []
            allowed = await call(method, path, await call.key(needed), json=body)
            assert allowed.status_code != 403

    await check_each_async(CHANGES, check)


# Without keys


async def test_without_keys_no_caller_is_served_not_even_on_this_machine(queue: Queue) -> None:
    web = Web(create_app(queue, WebSettings.load()), queue)

    async def check(host: str, peer: str, headers: dict[str, str]) -> None:
        async with web.client(host=host, peer=peer, **headers) as client:
            for method, path in (("GET", "/queues"), ("POST", "/trigger"), ("GET", "/metrics")):
                answer = await client.request(method, path, json=BREAK)
                assert answer.status_code == 401
                assert answer.json() == {"error": "Authorization header required"}
            page = await client.get("/dashboard/", follow_redirects=True)
            assert "Sign in" in page.text
            assert (await client.get("/healthz")).status_code == 200

    cases = [
        ("localhost", "127.0.0.1", {}),
        ("localhost", "::1", {}),
        ("localhost", "203.0.113.9", {}),
        ("jobs.example.org", "127.0.0.1", {"x-forwarded-for": "127.0.0.1"}),
    ]
    await check_each_async(cases, check)
    assert await queue.stats() == []


async def test_configured_command_for_creating_keys_is_shown(call: Web) -> None:
    web = call.with_app(make_key="zeke keys create NAME --embedded", authenticator=None)
    async with web.client() as client:
        page = await client.get("/dashboard/", follow_redirects=True)
    assert "NAME --embedded --scope" in page.text


# Other sites


async def test_page_of_another_site_changes_nothing_without_a_key(call: Web) -> None:
    async def check(headers: dict[str, str], status: int) -> None:
        answer = await call("POST", "/trigger", json=BREAK, headers=headers)
        assert answer.status_code == status
        assert (await call("GET", "/queues", headers=headers)).status_code == 200

    cases = [
        ({"origin": "http://localhost"}, 200),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-site": "none"}, 200),
        ({}, 200),
        (EVIL, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://localhost:8080"}, 403),
        ({"origin": "http://["}, 403),
        *(
            ({"origin": f"http://{host}"}, 403)
            for host in ("evil-localhost", "a.localhost", "localhost.evil")
        ),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
    ]
    await check_each_async(cases, check)
    plain = {"content-type": "text/plain"}  # which a browser sends elsewhere without asking first
    refused = await call("POST", "/trigger", content=b'{"taskId": "break"}', headers=plain)
    assert refused.status_code == 422
    # A key is not a cookie: only a caller that knows it can send it.
    with_key = await call("POST", "/trigger", await call.key(), json=BREAK, headers=EVIL)
    assert with_key.status_code == 200


# Host applications


async def test_host_application_authenticates_beside_keys(call: Web) -> None:
    async def authenticate(connection: HTTPConnection) -> Caller | None:
        user = connection.headers.get("x-user")
        if user == "banned":
            raise ApiError(403, "Forbidden", description="banned")
        return None if user is None else Caller(f"user:{user}", user, frozenset({Scope.READ}))

    hosted = call.with_app(authenticator=authenticate)
    assert (await hosted("GET", "/queues")).json() == {"error": "Authorization header required"}
    key = await call.key()
    assert (await hosted("GET", "/queues", headers={"x-user": "ada"})).status_code == 200
    refused = await hosted("POST", "/trigger", headers={"x-user": "ada"}, json=BREAK)
    assert (refused.status_code, refused.json()["error"]) == (403, "Forbidden")
    banned = await hosted("GET", "/queues", headers={"x-user": "banned"})
    assert banned.json() == {"error": "Forbidden", "description": "banned"}
    assert (await hosted("GET", "/queues", key)).status_code == 200
    assert (await hosted("GET", "/queues")).status_code == 401


async def test_caller_of_a_host_application_is_guarded_against_forgery(call: Web) -> None:
    async def authenticate(connection: HTTPConnection) -> Caller | None:
        via: Any = connection.headers.get("x-via")
        return Caller("user:ada", "ada", frozenset({Scope.ADMIN}), via=via)

    hosted = call.with_app(authenticator=authenticate)
    for via, status in (("host", 403), ("session", 403), ("key", 200)):
        forged = await hosted("POST", "/trigger", headers={"x-via": via, **EVIL}, json=BREAK)
        assert forged.status_code == status, via
        own = await hosted("POST", "/trigger", headers={"x-via": via}, json=BREAK)
        assert own.status_code == 200, via


async def test_failing_authenticator_is_answered_by_503_without_details(
    call: Web, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def hang(_: HTTPConnection) -> Caller | None:
        await asyncio.Event().wait()

    async def fail(_: HTTPConnection) -> Caller | None:
        raise RuntimeError("the users' table, password s3cret, is gone")

    async def lose_the_storage(_: HTTPConnection) -> Caller | None:
        raise StorageUnavailableError("away")

    monkeypatch.setattr(guard, "ANSWER_SECONDS", 0.01)

    async def check(authenticate: Any, path: str) -> None:
        hosted = call.with_app(authenticator=authenticate)
        answer = await hosted("GET", path)
        assert answer.status_code == 503
        assert "s3cret" not in answer.text
        assert "Authentication is temporarily unavailable" in answer.text
        assert "authenticator_failed" in capsys.readouterr().err
        if path == "/queues":
            assert answer.headers["retry-after"] == "5"
            assert (await hosted("POST", "/trigger", json=BREAK)).status_code == 503

    paths = ("/queues", "/trpc/trigger.run", "/dashboard/")
    await check_each_async([(how, path) for how in (hang, fail) for path in paths], check)
    answer = await call.with_app(authenticator=lose_the_storage)("GET", "/queues")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert answer.json()["error"].startswith("The database is unavailable")


async def test_http_exception_of_an_authenticator_is_answered_as_raised(call: Web) -> None:
    async def check(detail: Any, error: str, status: int = 401) -> None:
        async def authenticate(_: HTTPConnection) -> Caller | None:
            raise HTTPException(status, detail, {"WWW-Authenticate": "Basic"})

        hosted = call.with_app(authenticator=authenticate)
        for method, path in (("GET", "/queues"), ("POST", "/trigger")):
            refused = await hosted(method, path)
            assert (refused.status_code, refused.json()) == (status, {"error": error})
            assert refused.headers["www-authenticate"] == "Basic"

    cases = [
        ("Sign in first", "Sign in first"),
        ({"password": "s3cret"}, "Unauthorized"),
        ({"tenant": "closed"}, "Refused", 460),
    ]
    await check_each_async(cases, check)


async def test_http_exception_of_a_route_may_have_any_status(queue: Queue) -> None:
    app = create_app(queue, WebSettings.load())

    @app.get("/closed")
    async def closed() -> None:
        raise HTTPException(460, "The tenant is closed")

    answer = await Web(app, queue)("GET", "/closed")
    assert (answer.status_code, answer.json()) == (460, {"error": "The tenant is closed"})


# Sessions, whose cookies browsers send after signing in to the dashboard


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
