"""Who is let in, and who is told what: keys, scopes, loopback, requests that other sites forge."""

from __future__ import annotations

import asyncio
import hmac
from typing import TYPE_CHECKING, Any

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from zeke_queue.callers import Scope
from zeke_queue.core import apikeys
from zeke_queue.errors import StorageUnavailable
from zeke_queue.web import Caller, create_app, guard
from zeke_queue.web.errors import ApiError
from zeke_queue.web.settings import WebSettings

if TYPE_CHECKING:
    from fastapi import FastAPI

    from tests.clocks import FrozenClock
    from tests.web.conftest import Web
    from zeke_queue.queue import Queue

WRONG = "mid_" + "0" * 64


@pytest.mark.parametrize(
    ("header", "message"),
    [
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
    ],
)
async def test_whoever_shows_no_good_key_is_told_what_is_wrong(
    call: Web, header: str | None, message: str
) -> None:
    await call.key()
    headers = {} if header is None else {"authorization": header}
    for method, path in (("POST", "/trigger"), ("GET", "/trigger/runs"), ("GET", "/metrics")):
        async with call.client() as client:
            answer = await client.request(method, path, headers=headers)
        assert (answer.status_code, answer.json()) == (401, {"error": message})
        assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_key_is_good_from_anywhere(call: Web) -> None:
    key = await call.key(Scope.READ)
    async with call.client(key, host="jobs.example.org", peer="203.0.113.9") as client:
        assert (await client.get("/queues")).status_code == 200
        assert (await client.get("/queues", headers={"authorization": f"bearer {key}"})).status_code == 200


@pytest.mark.parametrize(
    ("scope", "method", "path", "may"),
    [
        (Scope.READ, "GET", "/queues", True),
        (Scope.READ, "POST", "/trigger", False),
        (Scope.READ, "POST", "/queues/mail/pause", False),
        (Scope.TRIGGER, "GET", "/queues", True),
        (Scope.TRIGGER, "POST", "/trigger", True),
        (Scope.TRIGGER, "POST", "/queues/mail/pause", False),
        (Scope.ADMIN, "GET", "/metrics", True),
        (Scope.ADMIN, "POST", "/trigger", True),
        (Scope.ADMIN, "POST", "/queues/mail/pause", True),
    ],
)
async def test_a_scope_permits_what_it_implies(
    call: Web, scope: Scope, method: str, path: str, *, may: bool
) -> None:
    key = await call.key(scope, name="the reader")
    body = {"json": {"taskId": "break"}} if path == "/trigger" else {}
    answer = await call(method, path, key, **body)
    if may:
        assert answer.status_code == 200
    else:
        assert answer.status_code == 403
        assert answer.json()["error"] == "Forbidden"
        assert "the reader lacks" in answer.json()["description"]


async def test_a_key_that_expired_or_was_revoked_is_good_no_more(
    call: Web, queue: Queue, clock: FrozenClock
) -> None:
    expiring, revoked = await call.key(expires_in=60), await call.key(name="old")
    assert (await call("GET", "/queues", expiring)).status_code == 200
    clock.advance(60)
    assert (await call("GET", "/queues", expiring)).json() == {"error": "Invalid API key"}
    assert (await call("GET", "/queues", revoked)).status_code == 200
    (old,) = [key for key in await queue.storage.keys() if key.name == "old"]
    await queue.storage.revoke_key(old.id)
    assert (await call("GET", "/queues", revoked)).json() == {"error": "Invalid API key"}


async def test_a_key_tells_when_it_was_last_used(call: Web, queue: Queue, clock: FrozenClock) -> None:
    key = await call.key()
    used = clock.advance(5)
    await call("GET", "/queues", key)
    clock.advance(10)
    await call("GET", "/queues", key)
    assert [one.last_used_on for one in await queue.storage.keys()] == [used]
    later = clock.advance(60)
    await call("GET", "/queues", key)
    assert [one.last_used_on for one in await queue.storage.keys()] == [later]


async def test_without_a_key_this_machine_is_served(call: Web) -> None:
    for host in ("localhost", "127.0.0.1:3003", "[::1]:3003", "LOCALHOST"):
        async with call.client(host=host) as client:
            assert (await client.get("/queues")).status_code == 200
    async with call.client(host="localhost", peer="::1") as client:
        assert (await client.get("/queues")).status_code == 200


@pytest.mark.parametrize("server", [("/run/zeke.sock", None), ("127.0.0.1", 3003), None])
async def test_a_peer_of_which_nothing_is_known_is_not_on_this_machine(
    app: FastAPI, server: tuple[str, int | None] | None
) -> None:
    connection = HTTPConnection(
        {
            "type": "http",
            "headers": [(b"host", b"localhost")],
            "client": None,
            "server": server,
            "method": "GET",
        }
    )
    with pytest.raises(ApiError):
        await app.state.zeke.guard.caller(connection)


@pytest.mark.parametrize(
    ("host", "peer", "headers"),
    [
        ("localhost", "203.0.113.9", {}),
        ("localhost", "10.0.0.7", {}),
        ("rebound.example.org", "127.0.0.1", {}),
        ("localhost.example.org", "127.0.0.1", {}),
        ("localhost", "127.0.0.1", {"x-forwarded-for": "203.0.113.9"}),
        ("localhost", "127.0.0.1", {"forwarded": "for=203.0.113.9"}),
        ("localhost", "127.0.0.1", {"x-forwarded-proto": "https"}),
        ("localhost", "127.0.0.1", {"x-forwarded-host": "jobs.example.org"}),
        ("localhost", "127.0.0.1", {"x-real-ip": "203.0.113.9"}),
        ("localhost", "127.0.0.1", {"via": "1.1 proxy"}),
        ("localhost", "127.0.0.1", {"cf-connecting-ip": "203.0.113.9"}),
        ("localhost", "127.0.0.1", {"true-client-ip": "203.0.113.9"}),
    ],
)
async def test_without_a_key_nobody_else_is_served_and_is_told_how(
    call: Web, host: str, peer: str, headers: dict[str, str]
) -> None:
    async with call.client(host=host, peer=peer, **headers) as client:
        for method, path in (("GET", "/queues"), ("POST", "/trigger"), ("GET", "/metrics")):
            answer = await client.request(method, path)
            assert answer.status_code == 403
            assert "zeke keys create" in answer.json()["description"]
        assert (await client.get("/healthz")).status_code == 200


async def test_once_a_key_exists_this_machine_needs_one_too_even_if_it_is_revoked(
    call: Web, queue: Queue
) -> None:
    assert (await call("GET", "/queues")).status_code == 200
    await call.key()
    assert (await call("GET", "/queues")).status_code == 401
    (key,) = await queue.storage.keys()
    await queue.storage.revoke_key(key.id)
    assert (await call("GET", "/queues")).status_code == 401


@pytest.mark.parametrize(
    ("headers", "served"),
    [
        ({"origin": "http://localhost"}, True),
        ({"sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "none"}, True),
        ({}, True),
        ({"origin": "https://evil.example"}, False),
        ({"origin": "null"}, False),
        ({"origin": "http://localhost:8080"}, False),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "same-site"}, False),
    ],
)
async def test_without_a_key_a_page_of_another_site_can_change_nothing(
    call: Web, headers: dict[str, str], *, served: bool
) -> None:
    answer = await call("POST", "/trigger", json={"taskId": "break"}, headers=headers)
    assert answer.status_code == (200 if served else 403)
    assert (await call("GET", "/queues", headers=headers)).status_code == 200


async def test_with_a_key_the_origin_is_no_matter(call: Web) -> None:
    key = await call.key()
    answer = await call(
        "POST", "/trigger", key, json={"taskId": "break"}, headers={"origin": "https://app.example.org"}
    )
    assert answer.status_code == 200


async def test_a_browser_sends_no_json_as_plain_text(call: Web) -> None:
    answer = await call(
        "POST", "/trigger", content=b'{"taskId": "break"}', headers={"content-type": "text/plain"}
    )
    assert answer.status_code == 422


async def test_a_host_application_tells_who_calls_and_keys_go_on_to_work(queue: Queue, call: Web) -> None:
    async def authenticate(connection: HTTPConnection) -> Caller | None:
        user = connection.headers.get("x-user")
        if user == "banned":
            raise ApiError(403, "Forbidden", description="banned")
        return None if user is None else Caller(f"user:{user}", user, frozenset({Scope.READ}))

    app = create_app(queue, WebSettings(), authenticator=authenticate)
    key = await call.key()
    hosted = type(call)(app, queue)
    assert (await hosted("GET", "/queues", headers={"x-user": "ada"})).status_code == 200
    refused = await hosted("POST", "/trigger", headers={"x-user": "ada"}, json={"taskId": "break"})
    assert (refused.status_code, refused.json()["error"]) == (403, "Forbidden")
    banned = await hosted("GET", "/queues", headers={"x-user": "banned"})
    assert banned.json() == {"error": "Forbidden", "description": "banned"}
    assert (await hosted("GET", "/queues", key)).status_code == 200
    assert (await hosted("GET", "/queues")).status_code == 401


async def test_a_host_applications_caller_is_guarded_against_forgery_but_for_keys(
    queue: Queue, call: Web
) -> None:
    async def authenticate(connection: HTTPConnection) -> Caller | None:
        via: Any = connection.headers.get("x-via")
        return Caller("user:ada", "ada", frozenset({Scope.ADMIN}), via=via)

    hosted = type(call)(create_app(queue, WebSettings(), authenticator=authenticate), queue)
    for via, status in (("host", 403), ("session", 403), ("key", 200)):
        headers = {"x-via": via, "origin": "https://evil.example"}
        forged = await hosted("POST", "/trigger", headers=headers, json={"taskId": "break"})
        assert forged.status_code == status, via
        own = await hosted("POST", "/trigger", headers={"x-via": via}, json={"taskId": "break"})
        assert own.status_code == 200, via


@pytest.mark.parametrize("path", ["/queues", "/trpc/trigger.run", "/dashboard/"])
@pytest.mark.parametrize("how", ["hangs", "breaks"])
async def test_a_host_application_that_can_not_tell_who_calls_is_waited_for_no_longer(
    queue: Queue,
    call: Web,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    how: str,
    path: str,
) -> None:
    async def authenticate(connection: HTTPConnection) -> Caller | None:
        del connection
        if how == "hangs":
            await asyncio.Event().wait()
        raise RuntimeError("the users' table, password s3cret, is gone")

    monkeypatch.setattr(guard, "PATIENCE", 0.01)
    hosted = type(call)(create_app(queue, WebSettings(), authenticator=authenticate), queue)
    answer = await hosted("GET", path)
    assert answer.status_code == 503
    assert "s3cret" not in answer.text
    assert "Who calls can't be told now" in answer.text.replace("&#39;", "'")
    assert "authenticator_failed" in capsys.readouterr().err
    if path == "/queues":
        assert answer.headers["retry-after"] == "5"
        assert (await hosted("POST", "/trigger", json={"taskId": "break"})).status_code == 503


@pytest.mark.parametrize(
    ("detail", "said"), [("Sign in first", "Sign in first"), ({"password": "s3cret"}, "Unauthorized")]
)
async def test_a_host_application_may_refuse_as_its_own_routes_do(
    queue: Queue, call: Web, *, detail: Any, said: str
) -> None:
    async def authenticate(connection: HTTPConnection) -> Caller | None:
        del connection
        raise HTTPException(401, detail, {"WWW-Authenticate": "Basic"})

    hosted = type(call)(create_app(queue, WebSettings(), authenticator=authenticate), queue)
    for method, path in (("GET", "/queues"), ("POST", "/trigger")):
        refused = await hosted(method, path)
        assert (refused.status_code, refused.json()) == (401, {"error": said})
        assert refused.headers["www-authenticate"] == "Basic"


async def test_a_host_application_that_needs_the_storage_waits_for_it_as_others_do(
    queue: Queue, call: Web
) -> None:
    async def authenticate(connection: HTTPConnection) -> Caller | None:
        del connection
        raise StorageUnavailable("away")

    hosted = type(call)(create_app(queue, WebSettings(), authenticator=authenticate), queue)
    answer = await hosted("GET", "/queues")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert answer.json()["error"].startswith("The database can't be reached")


async def test_digests_are_compared_in_a_time_that_tells_nothing(
    call: Web, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[bytes, bytes]] = []
    real = hmac.compare_digest

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return real(one, other)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    key = await call.key(Scope.ADMIN)
    (stored,) = await queue.storage.keys()
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


async def test_the_older_http_which_proxies_speak_is_not_this_machines(app: FastAPI) -> None:
    scope = {
        "type": "http",
        "headers": [(b"host", b"localhost")],
        "client": ("127.0.0.1", 5),
        "method": "GET",
    }
    guard = app.state.zeke.guard
    assert (await guard.caller(HTTPConnection({**scope, "http_version": "1.1"}))).via == "loopback"
    with pytest.raises(ApiError):
        await guard.caller(HTTPConnection({**scope, "http_version": "1.0"}))


@pytest.mark.parametrize("host", ["evil.com@localhost", "localhost#evil.com", "localhost:x", "[::1", ""])
async def test_a_host_that_is_spelt_strangely_is_not_this_machine(call: Web, host: str) -> None:
    answer = await call("GET", "/queues", headers={"host": host})
    assert answer.status_code == 403


async def test_a_key_is_more_than_its_beginning(call: Web) -> None:
    key = await call.key()
    for place in (12, 40, len(key) - 1):
        other = f"{key[:place]}{'0' if key[place] != '0' else '1'}{key[place + 1 :]}"
        assert (await call("GET", "/queues", other)).json() == {"error": "Invalid API key"}
    assert (await call("GET", "/queues", key)).status_code == 200


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


def test_the_changes_are_all_that_there_are(app: FastAPI) -> None:
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


@pytest.mark.parametrize(("method", "path", "needed"), CHANGES)
async def test_each_change_takes_its_scope(
    call: Web, queue: Queue, method: str, path: str, needed: Scope
) -> None:
    await queue.schedule("break", "0 0 * * *")
    lesser = [Scope.READ] if needed is Scope.TRIGGER else [Scope.READ, Scope.TRIGGER]
    body: dict[str, Any] = (
        {"json": {"cron": "1 1 * * *"}} if method == "PUT" else {"json": {"taskId": "break"}}
    )
    before = await queue.schedules()
    for scope in lesser:
        refused = await call(method, path, await call.key(scope), **body)
        assert refused.status_code == 403, scope
    assert (await queue.schedules(), await queue.count(), await queue.storage.queues()) == (before, [], [])
    allowed = await call(method, path, await call.key(needed), **body)
    assert allowed.status_code != 403


async def test_with_an_authenticator_being_on_this_machine_is_not_enough(queue: Queue, call: Web) -> None:
    async def nobody(connection: HTTPConnection) -> None:
        del connection

    hosted = type(call)(create_app(queue, WebSettings(), authenticator=nobody), queue)
    assert (await hosted("GET", "/queues")).json() == {"error": "Authorization header required"}


async def test_people_are_told_the_command_that_works_for_them(queue: Queue, call: Web) -> None:
    app = create_app(queue, WebSettings(), make_key="zeke keys create NAME --embedded")
    async with type(call)(app, queue).client(host="elsewhere.example") as client:
        refused = await client.get("/queues")
    assert refused.json()["description"].endswith("zeke keys create NAME --embedded")
    assert "NAME --embedded --scope" in (await type(call)(app, queue)("GET", "/dashboard/")).text


async def test_the_log_says_that_only_this_machine_is_served(
    call: Web, capsys: pytest.CaptureFixture[str]
) -> None:
    await call("GET", "/queues")
    await call("GET", "/queues")
    said: Any = capsys.readouterr().err
    assert said.count("only loopback is served") == 1
